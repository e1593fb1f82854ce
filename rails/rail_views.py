"""Rails, accounts at them, and reconciliation over REST: parse, one action, render."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.identity.authentication import principal
from codespar.lib import ids, pages
from codespar.lib.errors import Unavailable
from codespar.rest import answers, fields
from codespar.rest.openapi import PAGE, listed
from codespar.rest.views import Endpoint
from rails import rail_queries, rail_serializers
from rails.actions import connections, discrepancies
from rails.models import Discrepancy, Reconciliation


class Rails(Endpoint):
    """What each rail can do, and how it is now."""

    scopes = {"GET": "rails:read"}

    @extend_schema(operation_id="rails_list", responses={200: listed(rail_serializers.RailOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        return Response({"data": rail_queries.rails(caller.org, caller.livemode), "has_more": False, "next_page_url": None})


class RailAccounts(Endpoint):
    scopes = {"GET": "projects:read", "POST": "rails:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="rail_accounts_list", responses={200: listed(rail_serializers.RailAccountOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        rows = lambda cursor, limit: rail_queries.rail_accounts(caller.org, caller.livemode, cursor, limit)
        return Response(answers.page(request, rows, answers.each(rail_serializers.rail_account), lambda row: ids.wire("key", row.id)))

    @extend_schema(
        operation_id="rail_accounts_create", request=rail_serializers.RailAccountIn, responses={201: rail_serializers.RailAccountOut}
    )
    def post(self, request: Request) -> Response:
        body, caller = fields.read(rail_serializers.RailAccountIn, request), principal(request)
        made = connections.connect(caller, rail=body["rail"], provider_account=body["account"], secrets=body["secrets"])
        return Response(rail_serializers.rail_account(rail_queries.rail_account(caller.org, made)), status=201)


class RailAccountPreflight(Endpoint):
    """Everything that must hold before the account carries money, asked now. It only reads at the provider."""

    scopes = {"POST": "rails:write"}

    @extend_schema(operation_id="rail_accounts_preflight", request=None, responses={200: rail_serializers.RailAccountOut})
    def post(self, request: Request, account: str) -> Response:
        caller, named = principal(request), pages.path_id(account, "key", "account at a rail")
        if not connections.preflight(caller, named):
            raise Unavailable("The account was not checked in time. It is as ready as it was; ask again shortly.", code="not_checked")
        return Response(rail_serializers.rail_account(rail_queries.rail_account(caller.org, named)))


class RailAccountRotate(Endpoint):
    """Another credential for the same account. It is checked at once, and no payment leaves over it before it has passed."""

    scopes = {"POST": "rails:write"}

    @extend_schema(
        operation_id="rail_accounts_rotate", request=rail_serializers.CredentialIn, responses={200: rail_serializers.RailAccountOut}
    )
    def post(self, request: Request, account: str) -> Response:
        caller, named = principal(request), pages.path_id(account, "key", "account at a rail")
        connections.rotate(caller, named, fields.read(rail_serializers.CredentialIn, request)["secrets"])
        return Response(rail_serializers.rail_account(rail_queries.rail_account(caller.org, named)))


class Reconciliations(Endpoint):
    """What came of each look at the providers' own records, the newest first."""

    scopes = {"GET": "reconciliations:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="reconciliations_list", responses={200: listed(rail_serializers.ReconciliationOut)})
    def get(self, request: Request) -> Response:
        return answers.listing(
            request, Reconciliation, "rcn", answers.each(rail_serializers.reconciliation), livemode=principal(request).livemode
        )


class Discrepancies(Endpoint):
    scopes = {"GET": "discrepancies:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="discrepancies_list", responses={200: listed(rail_serializers.DiscrepancyOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        shown = lambda rows: rail_queries.discrepancies(caller.org, rows)
        return answers.listing(request, Discrepancy, "dsc", shown, livemode=caller.livemode)


class DiscrepancyDetail(Endpoint):
    scopes = {"GET": "discrepancies:read"}

    @extend_schema(operation_id="discrepancies_get", responses={200: rail_serializers.DiscrepancyOut})
    def get(self, request: Request, discrepancy: str) -> Response:
        return Response(rail_queries.discrepancies(principal(request).org, [_discrepancy(request, discrepancy)])[0])


class DiscrepancyResolve(Endpoint):
    """A named person closes a case, with a reason. It moves no money."""

    scopes = {"POST": "discrepancies:resolve"}

    @extend_schema(
        operation_id="discrepancies_resolve", request=rail_serializers.ResolveIn, responses={200: rail_serializers.DiscrepancyOut}
    )
    def post(self, request: Request, discrepancy: str) -> Response:
        caller, row, body = principal(request), _discrepancy(request, discrepancy), fields.read(rail_serializers.ResolveIn, request)
        discrepancies.resolve(caller, discrepancy=row, verdict=body["verdict"], reason=body["reason"])
        return Response(rail_queries.discrepancies(caller.org, [row])[0])


def _discrepancy(request: Request, text: str) -> Discrepancy:
    caller = principal(request)
    named = pages.path_id(text, "dsc", "discrepancy")
    found: Discrepancy = pages.one(Discrepancy, caller.org, named, "discrepancy", livemode=caller.livemode)
    return found
