"""Mandates, counterparties and policies over REST: parse, one action, render."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.identity.authentication import principal
from codespar.identity.models import Agent, Organisation
from codespar.lib import clock, db, ids, pages
from codespar.lib.errors import Conflict, Invalid, NotFound
from codespar.rest import answers, fields
from codespar.rest.openapi import PAGE, listed
from codespar.rest.views import Endpoint
from mandates import queries, scopes, serializers
from mandates.actions import counterparties, mandates, policies, stops
from mandates.models import Counterparty, Mandate, Policy, Revocation, Stop

REASON = OpenApiParameter("reason", serializers.REASON.schema, OpenApiParameter.QUERY, required=True, description="Why it is lifted.")


class Mandates(Endpoint):
    """An agent sees its own mandates; people see all of the token's mode."""

    scopes = {"GET": "mandates:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="mandates_list", responses={200: listed(serializers.MandateOut)})
    def get(self, request: Request) -> Response:
        org = principal(request).org
        return answers.listing(request, Mandate, "mnd", lambda rows: queries.mandates(org, rows), **own(request))


class IssueMandates(Mandates):
    scopes = {"GET": "mandates:read", "POST": "mandates:write"}

    @extend_schema(operation_id="mandates_issue", request=serializers.MandateIn, responses={201: serializers.MandateOut})
    def post(self, request: Request) -> Response:
        body, caller = fields.read(serializers.MandateIn, request), principal(request)
        made = mandates.issue(caller, wanted=_wanted(request, body), now=clock.now())
        return Response(queries.mandate(caller.org, made), status=201)


class MandateDetail(Endpoint):
    scopes = {"GET": "mandates:read"}

    @extend_schema(operation_id="mandates_get", responses={200: serializers.MandateOut})
    def get(self, request: Request, mandate: str) -> Response:
        return Response(_mandate(request, mandate))


class MandatePause(Endpoint):
    scopes = {"POST": "mandates:pause"}

    @extend_schema(operation_id="mandates_pause", request=None, responses={200: serializers.MandateOut})
    def post(self, request: Request, mandate: str) -> Response:
        found = pages.path_id(_mandate(request, mandate)["id"], "mnd", "mandate")
        mandates.pause(principal(request), mandate=found, now=clock.now())
        return Response(_mandate(request, mandate))


class MandateResume(Endpoint):
    scopes = {"POST": "mandates:write"}

    @extend_schema(operation_id="mandates_resume", request=None, responses={200: serializers.MandateOut})
    def post(self, request: Request, mandate: str) -> Response:
        found = pages.path_id(_mandate(request, mandate)["id"], "mnd", "mandate")
        mandates.resume(principal(request), mandate=found, now=clock.now())
        return Response(_mandate(request, mandate))


class MandateRevoke(Endpoint):
    scopes = {"POST": "mandates:revoke"}

    @extend_schema(operation_id="mandates_revoke", request=serializers.ReasonIn, responses={200: serializers.MandateOut})
    def post(self, request: Request, mandate: str) -> Response:
        body, row = fields.read(serializers.ReasonIn, request), _mandate(request, mandate)
        project = ids.parse(row["project"], "prj")
        target = scopes.Target("mandate", row["id"])
        stops.revoke(principal(request), target=target, project=project, reason=body["reason"], now=clock.now())
        return Response(_mandate(request, mandate))


class Revocations(Endpoint):
    """For ever: one mandate, or every mandate signed so far for an agent, a project, the organisation."""

    scopes = {"GET": "stops:read", "POST": "mandates:revoke"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="revocations_list", responses={200: listed(serializers.RevocationOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        render = lambda rows: queries.revocations(caller.org, rows)  # noqa: E731
        return answers.listing(request, Revocation, "rev", render, livemode=caller.livemode)

    @extend_schema(operation_id="revocations_create", request=serializers.RevocationIn, responses={201: serializers.RevocationOut})
    def post(self, request: Request) -> Response:
        body, caller = fields.read(serializers.RevocationIn, request), principal(request)
        made = stops.revoke(caller, target=_target(body, caller.org_wire), reason=body["reason"], now=clock.now())
        return Response(queries.revocation(caller.org, made), status=201)


class RevocationDetail(Endpoint):
    scopes = {"GET": "stops:read"}

    @extend_schema(operation_id="revocations_get", responses={200: serializers.RevocationOut})
    def get(self, request: Request, revocation: str) -> Response:
        caller, found = principal(request), pages.path_id(revocation, "rev", "revocation")
        return Response(queries.revocation(caller.org, found, livemode=caller.livemode))


class Stops(Endpoint):
    """At once, until somebody else lifts it. 202 says that the stop holds and that its record follows."""

    scopes = {"GET": "stops:read", "POST": "stops:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="stops_list", responses={200: listed(serializers.StopOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        render = lambda rows: queries.stops(caller.org, rows)  # noqa: E731
        return answers.listing(request, Stop, "stp", render, livemode=caller.livemode)

    @extend_schema(operation_id="stops_create", request=serializers.StopIn, responses={201: serializers.StopOut, 202: serializers.StopOut})
    def post(self, request: Request) -> Response:
        body, caller = fields.read(serializers.StopIn, request), principal(request)
        target = _target(body, caller.org_wire)
        made = stops.stop(caller, target=target, reason=body["reason"], now=clock.now())
        if made is None:
            return Response(serializers.flagged(caller.livemode, target, caller.actor), status=202)
        return Response(queries.stop(caller.org, made), status=201)


class StopDetail(Endpoint):
    scopes = {"GET": "stops:read", "DELETE": "stops:lift"}
    query_parameters = {"DELETE": [REASON]}

    @extend_schema(operation_id="stops_get", responses={200: serializers.StopOut})
    def get(self, request: Request, stop: str) -> Response:
        return Response(_stop(request, stop))

    @extend_schema(operation_id="stops_lift", responses={200: serializers.StopOut})
    def delete(self, request: Request, stop: str) -> Response:
        """The stop stays on record, with who lifted it and why."""
        reason, row = serializers.REASON.read(request.query_params.get("reason")), _stop(request, stop)
        target = scopes.Target(row["scope"], row["target"])
        stops.lift(principal(request), stop=ids.parse(row["id"], "stp"), target=target, reason=reason, now=clock.now())
        return Response(_stop(request, stop))


class Counterparties(Endpoint):
    """The registry. Whoever reads it sees all of the token's mode; an agent that posts proposes."""

    scopes = {"GET": "counterparties:read", "POST": "counterparties:propose"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="counterparties_list", responses={200: listed(serializers.CounterpartyOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        render = lambda rows: queries.counterparties(caller.org, rows)  # noqa: E731
        return answers.listing(request, Counterparty, "ctp", render, livemode=caller.livemode)

    @extend_schema(operation_id="counterparties_create", request=serializers.CounterpartyIn, responses={201: serializers.CounterpartyOut})
    def post(self, request: Request) -> Response:
        caller = principal(request)
        made = counterparties.create(caller, **_document(request, serializers.CounterpartyIn), now=clock.now())
        return Response(queries.counterparty(caller.org, made), status=201)


class PeoplesCounterparties(Counterparties):
    scopes = {"GET": "counterparties:read", "POST": "counterparties:write"}


class CounterpartyDetail(Endpoint):
    scopes = {"GET": "counterparties:read"}

    @extend_schema(operation_id="counterparties_get", responses={200: serializers.CounterpartyOut})
    def get(self, request: Request, counterparty: str) -> Response:
        return Response(_counterparty(request, counterparty))


class PeoplesCounterpartyDetail(CounterpartyDetail):
    scopes = {"GET": "counterparties:read", "PUT": "counterparties:write"}

    @extend_schema(
        operation_id="counterparties_update", request=serializers.CounterpartyChangeIn, responses={200: serializers.CounterpartyOut}
    )
    def put(self, request: Request, counterparty: str) -> Response:
        found = ids.parse(_counterparty(request, counterparty)["id"], "ctp")
        body = _document(request, serializers.CounterpartyChangeIn)
        counterparties.update(principal(request), counterparty=found, **body, now=clock.now())
        return Response(_counterparty(request, counterparty))


class CounterpartyConfirm(Endpoint):
    scopes = {"POST": "counterparties:write"}

    @extend_schema(operation_id="counterparties_confirm", request=serializers.VersionIn, responses={200: serializers.CounterpartyOut})
    def post(self, request: Request, counterparty: str) -> Response:
        body, found = fields.read(serializers.VersionIn, request), ids.parse(_counterparty(request, counterparty)["id"], "ctp")
        counterparties.confirm(principal(request), counterparty=found, from_version=body["from_version"], now=clock.now())
        return Response(_counterparty(request, counterparty))


class CounterpartyRetire(Endpoint):
    scopes = {"POST": "counterparties:write"}

    @extend_schema(operation_id="counterparties_retire", request=serializers.VersionIn, responses={200: serializers.CounterpartyOut})
    def post(self, request: Request, counterparty: str) -> Response:
        body, found = fields.read(serializers.VersionIn, request), ids.parse(_counterparty(request, counterparty)["id"], "ctp")
        counterparties.retire(principal(request), counterparty=found, from_version=body["from_version"], now=clock.now())
        return Response(_counterparty(request, counterparty))


class Policies(Endpoint):
    scopes = {"GET": "policies:read", "POST": "policies:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="policies_list", responses={200: listed(serializers.PolicyOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        render = lambda rows: queries.policies(caller.org, rows)  # noqa: E731
        return answers.listing(request, Policy, "pol", render, livemode=caller.livemode)

    @extend_schema(operation_id="policies_create", request=serializers.PolicyIn, responses={201: serializers.PolicyOut})
    def post(self, request: Request) -> Response:
        body, caller = fields.read(serializers.PolicyIn, request), principal(request)
        scope_id = _scope_id(body["scope"], body.get("scope_id"), caller.org)
        made = policies.create(
            caller, name=body["name"], scope=body["scope"], scope_id=scope_id, document=body["document"], now=clock.now()
        )
        return Response(queries.policy(caller.org, made), status=201)


class PolicyDetail(Endpoint):
    scopes = {"GET": "policies:read"}

    @extend_schema(operation_id="policies_get", responses={200: serializers.PolicyOut})
    def get(self, request: Request, policy: str) -> Response:
        return Response(_policy(request, policy))


class PolicyVersions(Endpoint):
    scopes = {"POST": "policies:write"}

    @extend_schema(operation_id="policies_write_version", request=serializers.PolicyVersionIn, responses={201: serializers.PolicyOut})
    def post(self, request: Request, policy: str) -> Response:
        body, row = fields.read(serializers.PolicyVersionIn, request), _policy(request, policy)
        policies.write_version(
            principal(request),
            policy=ids.parse(row["id"], "pol"),
            version=len(row["versions"]) + 1,
            scope=row["scope"],
            scope_id=row["scope_id"],
            document=body["document"],
            now=clock.now(),
        )
        return Response(_policy(request, policy), status=201)


class PolicyActivate(Endpoint):
    scopes = {"POST": "policies:write"}

    @extend_schema(operation_id="policies_activate", request=serializers.ActivateIn, responses={200: serializers.PolicyOut})
    def post(self, request: Request, policy: str) -> Response:
        body, row = fields.read(serializers.ActivateIn, request), _policy(request, policy)
        if body["version"] > len(row["versions"]):
            raise Conflict(f"The policy has {len(row['versions'])} versions: write this one first.")
        found = ids.parse(row["id"], "pol")
        policies.activate(principal(request), policy=found, version=body["version"], state=body.get("state", "active"), now=clock.now())
        return Response(_policy(request, policy))


def own(request: Request) -> dict[str, Any]:
    """Which mandates this caller sees."""
    caller = principal(request)
    return {"livemode": caller.livemode, **({"agent_id": caller.agent} if caller.agent else {})}


def _target(body: dict[str, Any], org: str) -> scopes.Target:
    return scopes.target(body["scope"], body.get("id"), org=org)


def _stop(request: Request, text: str) -> dict[str, Any]:
    caller = principal(request)
    return queries.stop(caller.org, pages.path_id(text, "stp", "stop"), livemode=caller.livemode)


def _mandate(request: Request, text: str) -> dict[str, Any]:
    return queries.mandate(principal(request).org, pages.path_id(text, "mnd", "mandate"), **own(request))


def _counterparty(request: Request, text: str) -> dict[str, Any]:
    caller = principal(request)
    return queries.counterparty(caller.org, pages.path_id(text, "ctp", "counterparty"), livemode=caller.livemode)


def _policy(request: Request, text: str) -> dict[str, Any]:
    caller = principal(request)
    return queries.policy(caller.org, pages.path_id(text, "pol", "policy"), livemode=caller.livemode)


def _document(request: Request, serializer: Any) -> dict[str, Any]:
    body = fields.read(serializer, request)
    return {"country": None, "category": None, **body}


def _scope_id(scope: str, given: str | None, org: UUID) -> str:
    if scope == "org":
        if given not in (None, ids.wire("org", org)):
            raise Invalid("A policy of scope org is for your own organisation: leave scope_id out.", pointer="/scope_id")
        return ids.wire("org", org)
    prefix = {"project": "prj", "agent": "agt"}[scope]
    return ids.wire(prefix, ids.parse(given, prefix, "/scope_id"))


def _wanted(request: Request, body: dict[str, Any]) -> mandates.Wanted:
    caller = principal(request)
    agent = pages.one(Agent, caller.org, ids.parse(body["agent"], "agt"), "agent", livemode=caller.livemode)
    payees = _payees(caller.org, body.get("counterparties"), caller.livemode)
    lists = {name: body.get(name) for name in ("budget", "max_uses", "purposes", "countries", "categories", "rails", "not_before")}
    return mandates.Wanted(
        agent=agent.id,
        project=agent.project_id,
        agent_jwk=agent.public_jwk,
        profile=body.get("profile", "extended"),
        currency=body["currency"],
        max_amount=body["max_amount"],
        expires_at=body["expires_at"],
        counterparties=payees,
        time_windows=_zoned(caller.org, body.get("time_windows")),
        **lists,
    )


def _payees(org: UUID, wanted: list[str] | None, livemode: bool) -> list[tuple[str, str]] | None:
    if wanted is None:
        return None
    found = {ids.wire("ctp", row.id): row for row in queries.payees(org, [ids.parse(one, "ctp") for one in wanted], livemode)}
    missing = [one for one in wanted if one not in found]
    if missing:
        raise NotFound(f"There is no such counterparty: {missing[0]}.")
    return [(one, found[one].name) for one in wanted]


def _zoned(org: UUID, windows: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """A mandate's windows are in the organisation's zone, which is signed with them."""
    if windows is None:
        return None
    with db.tenant(org):
        zone = Organisation.objects.get(id=org).timezone
    return [{**window, "tz": zone} for window in windows]
