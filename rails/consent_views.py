"""Consents and what is read under them over REST: parse, one action, render."""

from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.identity.authentication import principal
from codespar.lib import pages
from codespar.lib.errors import Invalid
from codespar.rest import answers, fields
from codespar.rest.openapi import PAGE, listed
from codespar.rest.views import Endpoint
from rails import consent_serializers as serializers
from rails.actions import consents
from rails.models import Consent

_REASON = OpenApiParameter("reason", serializers.REASON.schema, OpenApiParameter.QUERY, required=True, description="Why it is revoked.")
_ACCOUNT = OpenApiParameter(
    "account",
    {"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9-]{0,99}$"},
    OpenApiParameter.QUERY,
    description="The account's id at the bank; the consent's first one without it.",
)
_CURSOR = OpenApiParameter("cursor", str, OpenApiParameter.QUERY, description="From `next_page_url`; opaque.")


class ReadConsents(Endpoint):
    """What holders of accounts allow, or were asked to, the newest first."""

    scopes = {"GET": "consents:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="consents_list", responses={200: listed(serializers.ConsentOut)})
    def get(self, request: Request) -> Response:
        return answers.listing(request, Consent, "cns", answers.each(serializers.consent), livemode=principal(request).livemode)


class Consents(ReadConsents):
    scopes = {"GET": "consents:read", "POST": "consents:write"}

    @extend_schema(operation_id="consents_create", request=serializers.ConsentIn, responses={201: serializers.ConsentOut})
    def post(self, request: Request) -> Response:
        """The account's holder says yes at `authorise_url`; nothing is read or paid before."""
        body, caller = fields.read(serializers.ConsentIn, request), principal(request)
        return Response(serializers.consent(_row(caller, consents.register(caller, **body))), status=201)


class ReadConsent(Endpoint):
    scopes = {"GET": "consents:read"}

    @extend_schema(operation_id="consents_get", responses={200: serializers.ConsentOut})
    def get(self, request: Request, consent: str) -> Response:
        """The provider is asked about a consent that waits for its holder."""
        caller, row = principal(request), _consent(request, consent)
        consents.refresh(caller, consent=row.id)
        return Response(serializers.consent(_row(caller, row.id)))


class ConsentDetail(ReadConsent):
    scopes = {"GET": "consents:read", "DELETE": "consents:revoke"}
    query_parameters = {"DELETE": [_REASON]}

    @extend_schema(operation_id="consents_revoke", responses={200: serializers.ConsentOut})
    def delete(self, request: Request, consent: str) -> Response:
        """At once and for ever. The provider is told afterwards, until it knows."""
        reason, row = serializers.REASON.read(request.query_params.get("reason")), _consent(request, consent)
        consents.revoke(principal(request), consent=row, reason=reason)
        return Response(serializers.consent(_row(principal(request), row.id)))


class _Look(Endpoint):
    """One page of what the bank has, read now under the consent."""

    scopes = {"GET": "consents:use"}
    resource: ClassVar[str]
    kind: ClassVar[str]

    def look(self, request: Request, consent: str) -> Response:
        caller, row = principal(request), _consent(request, consent)
        page, account = serializers.page_number(request.query_params.get("cursor")), _account(request)
        found = consents.look(caller, consent=row.id, resource=self.resource, account=account, page=page)
        query = {**request.query_params.dict(), "cursor": str(page + 1)}
        return Response(
            {
                "data": [serializers.told(self.kind, one, caller.livemode) for one in found["rows"]],
                "has_more": found["more"],
                "next_page_url": f"{request._request.path}?{urlencode(query)}" if found["more"] else None,
            }
        )


class ConsentAccounts(_Look):
    resource, kind = "accounts", "bank_account"
    query_parameters = {"GET": [_CURSOR]}

    @extend_schema(operation_id="consents_accounts", responses={200: listed(serializers.BankAccountOut)})
    def get(self, request: Request, consent: str) -> Response:
        return self.look(request, consent)


class ConsentBalances(_Look):
    resource, kind = "balances", "bank_balance"
    query_parameters = {"GET": [_ACCOUNT, _CURSOR]}

    @extend_schema(operation_id="consents_balances", responses={200: listed(serializers.BankBalanceOut)})
    def get(self, request: Request, consent: str) -> Response:
        return self.look(request, consent)


class ConsentTransactions(_Look):
    resource, kind = "transactions", "bank_transaction"
    query_parameters = {"GET": [_ACCOUNT, _CURSOR]}

    @extend_schema(operation_id="consents_transactions", responses={200: listed(serializers.BankTransactionOut)})
    def get(self, request: Request, consent: str) -> Response:
        return self.look(request, consent)


def _consent(request: Request, text: str) -> Consent:
    caller = principal(request)
    found: Consent = pages.one(Consent, caller.org, pages.path_id(text, "cns", "consent"), "consent", livemode=caller.livemode)
    return found


def _row(caller: Any, consent: UUID) -> Consent:
    found: Consent = pages.one(Consent, caller.org, consent, "consent", livemode=caller.livemode)
    return found


def _account(request: Request) -> str | None:
    text = request.query_params.get("account")
    if text is not None and not (text.isascii() and len(text) <= 100 and text.replace("-", "").isalnum()):
        raise Invalid("account is the id of an account at the bank: letters, digits and hyphens.")
    return text
