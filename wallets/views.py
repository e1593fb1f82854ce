"""Wallets over REST: parse, one action, render."""

from typing import Any

from django.db.models import Q
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.identity.authentication import principal
from codespar.identity.models import Agent
from codespar.lib import clock, db, ids, pages
from codespar.rest import answers, fields
from codespar.rest.openapi import IDEMPOTENCY_KEY, PAGE, listed
from codespar.rest.views import Endpoint
from wallets import actions, serializers
from wallets.models import Account, Transfer


class Wallets(Endpoint):
    """An agent sees its own wallets; people see all of the token's mode, and the main accounts."""

    scopes = {"GET": "wallets:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="wallets_list", responses={200: listed(serializers.WalletOut)})
    def get(self, request: Request) -> Response:
        return answers.listing(request, Account, "wal", answers.each(serializers.wallet), **visible(request))


class OpenWallets(Wallets):
    scopes = {"GET": "wallets:read", "POST": "wallets:write"}

    @extend_schema(operation_id="wallets_create", request=serializers.WalletIn, responses={201: serializers.WalletOut})
    def post(self, request: Request) -> Response:
        body, caller = fields.read(serializers.WalletIn, request), principal(request)
        agent = pages.one(Agent, caller.org, ids.parse(body["agent"], "agt"), "agent", livemode=caller.livemode)
        made = actions.create_wallet(caller, agent=agent.id, project=agent.project_id, currency=body["currency"], now=clock.now())
        return Response(serializers.wallet(pages.one(Account, caller.org, made, "wallet")), status=201)


class WalletDetail(Endpoint):
    scopes = {"GET": "wallets:read"}

    @extend_schema(operation_id="wallets_get", responses={200: serializers.WalletOut})
    def get(self, request: Request, wallet: str) -> Response:
        return Response(serializers.wallet(_wallet(request, wallet)))


class Statement(Endpoint):
    """Every transfer of one wallet, newest first."""

    scopes = {"GET": "wallets:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="wallets_statement", responses={200: listed(serializers.TransferOut)})
    def get(self, request: Request, wallet: str) -> Response:
        account = _wallet(request, wallet)

        def rows(cursor: str | None, limit: int) -> list[Any]:
            older = {"id__lt": pages.cursor_id(cursor, "tr")} if cursor else {}
            with db.tenant(account.org_id):
                found = Transfer.objects.for_org(account.org_id).filter(Q(debit_id=account.id) | Q(credit_id=account.id), **older)
                return list(found.order_by("-id")[:limit])

        return Response(answers.page(request, rows, answers.each(serializers.transfer), lambda row: ids.wire("tr", row.id)))


class Move(Endpoint):
    """Main account to wallet, or back."""

    scopes = {"POST": "wallets:fund"}
    kind = "wallet.funded"

    @extend_schema(request=serializers.MoveIn, responses={201: serializers.TransferOut}, parameters=[IDEMPOTENCY_KEY])
    def post(self, request: Request, wallet: str) -> HttpResponse:
        key = answers.key(request, self.kind)
        body, account = fields.read(serializers.MoveIn, request), _wallet(request, wallet)
        money = body["amount"]

        def act() -> object:
            return actions.move(
                principal(request),
                kind=self.kind,
                wallet=account.id,
                amount=money["amount"],
                currency=money["currency"],
                idempotency=key,
                now=clock.now(),
            )

        return answers.once(request, key, act, lambda made: (201, _transfer(request, made)))


class Return(Move):
    kind = "wallet.returned"


def visible(request: Request) -> dict[str, Any]:
    """Which accounts this caller sees."""
    caller = principal(request)
    kinds = {"kind__in": ["wallet"], "agent_id": caller.agent} if caller.agent else {"kind__in": ["wallet", "main"]}
    return {"livemode": caller.livemode, **kinds}


def _wallet(request: Request, text: str) -> Account:
    found: Account = pages.one(Account, principal(request).org, pages.path_id(text, "wal", "wallet"), "wallet", **visible(request))
    return found


def _transfer(request: Request, made: str) -> dict[str, Any]:
    return serializers.transfer(pages.one(Transfer, principal(request).org, ids.parse(made, "tr"), "transfer"))
