"""Webhook endpoints and events over REST: parse, one action, render."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.alerts import actions, events, queries, serializers
from codespar.alerts.models import WebhookDelivery, WebhookEndpoint
from codespar.identity.authentication import principal
from codespar.lib import clock, ids, pages
from codespar.rest import answers, fields
from codespar.rest.openapi import PAGE, listed
from codespar.rest.views import Endpoint

_TYPE = OpenApiParameter("type", {"type": "string", "enum": list(events.TYPES)}, OpenApiParameter.QUERY)
_OVERLAP_SECONDS = 24 * 3600
_STATUSES = ("enabled", "disabled", "gone")


class Events(Endpoint):
    """What happened that people are told of, newest first. It is read from the ledger itself: whoever missed a delivery finds it here.

    A page may be short, or empty, and have a next one all the same.
    """

    scopes = {"GET": "events:read"}
    query_parameters = {"GET": [*PAGE, _TYPE]}

    @extend_schema(operation_id="events_list", responses={200: listed(serializers.EventOut)})
    def get(self, request: Request) -> Response:
        caller, limit = principal(request), answers.limit(request)
        asked = {name: request.query_params.get(name) for name in ("type", "cursor")}
        found = queries.page(caller, **asked, limit=limit)
        query = {**request.query_params.dict(), "cursor": found["next"], "limit": limit}
        following = f"{request._request.path}?{urlencode(query)}" if found["next"] else None
        data = [serializers.event(event, caller.livemode) for event in found["events"]]
        return Response({"data": data, "has_more": following is not None, "next_page_url": following})


class Endpoints(Endpoint):
    scopes = {"GET": "webhooks:read", "POST": "webhooks:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="webhook_endpoints_list", responses={200: listed(serializers.EndpointOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        return answers.listing(
            request, WebhookEndpoint, "whe", lambda rows: _shown(caller.org, rows), livemode=caller.livemode, status__in=_STATUSES
        )

    @extend_schema(operation_id="webhook_endpoints_create", request=serializers.EndpointIn, responses={201: serializers.NewEndpointOut})
    def post(self, request: Request) -> Response:
        body, caller = fields.read(serializers.EndpointIn, request), principal(request)
        made = actions.create(caller, url=body["url"], types=body.get("types", events.USUAL), now=clock.now())
        return Response({**_one(request, made.endpoint), "secret": made.text}, status=201)


class EndpointDetail(Endpoint):
    scopes = {"GET": "webhooks:read", "PATCH": "webhooks:write", "DELETE": "webhooks:write"}

    @extend_schema(operation_id="webhook_endpoints_get", responses={200: serializers.EndpointOut})
    def get(self, request: Request, endpoint: str) -> Response:
        return Response(_one(request, _found(request, endpoint).id))

    @extend_schema(operation_id="webhook_endpoints_update", request=serializers.EndpointChangeIn, responses={200: serializers.EndpointOut})
    def patch(self, request: Request, endpoint: str) -> Response:
        row, body = _found(request, endpoint), fields.read(serializers.EndpointChangeIn, request)
        actions.update(principal(request), endpoint=row, now=clock.now(), **body)
        return Response(_one(request, row.id))

    @extend_schema(operation_id="webhook_endpoints_delete", responses={200: serializers.EndpointOut})
    def delete(self, request: Request, endpoint: str) -> Response:
        row = _found(request, endpoint)
        actions.delete(principal(request), endpoint=row.id, now=clock.now())
        return Response(_one(request, row.id))


class EndpointRotate(Endpoint):
    """A new secret, shown this once. Until the overlap is over, every delivery carries a signature by each of the two."""

    scopes = {"POST": "webhooks:write"}

    @extend_schema(operation_id="webhook_endpoints_rotate", request=serializers.RotateSecretIn, responses={201: serializers.NewEndpointOut})
    def post(self, request: Request, endpoint: str) -> Response:
        row, body = _found(request, endpoint), fields.read(serializers.RotateSecretIn, request)
        overlap = timedelta(seconds=body.get("overlap_seconds", _OVERLAP_SECONDS))
        made = actions.rotate(principal(request), endpoint=row.id, overlap=overlap, now=clock.now())
        return Response({**_one(request, row.id), "secret": made.text}, status=201)


class EndpointTest(Endpoint):
    """Sends this endpoint an event of the type `webhook_endpoint.tested`."""

    scopes = {"POST": "webhooks:write"}

    @extend_schema(operation_id="webhook_endpoints_test", request=None, responses={200: serializers.EndpointOut})
    def post(self, request: Request, endpoint: str) -> Response:
        row = _found(request, endpoint)
        actions.test(principal(request), endpoint=row.id, now=clock.now())
        return Response(_one(request, row.id))


class EndpointReplay(Endpoint):
    """Sends everything again from an event, or from a time on, under the ids that it had."""

    scopes = {"POST": "webhooks:write"}

    @extend_schema(operation_id="webhook_endpoints_replay", request=serializers.ReplayIn, responses={200: serializers.EndpointOut})
    def post(self, request: Request, endpoint: str) -> Response:
        row, body = _found(request, endpoint), fields.read(serializers.ReplayIn, request)
        actions.replay(principal(request), endpoint=row.id, now=clock.now(), **body)
        return Response(_one(request, row.id))


class Deliveries(Endpoint):
    """What was told to an endpoint or is to be, newest first."""

    scopes = {"GET": "webhooks:read"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="webhook_endpoints_deliveries", responses={200: listed(serializers.DeliveryOut)})
    def get(self, request: Request, endpoint: str) -> Response:
        row = _found(request, endpoint)
        shown = answers.each(lambda delivery: serializers.delivery(delivery, row.livemode))
        return answers.listing(request, WebhookDelivery, "evt", shown, endpoint_id=row.id)


def _found(request: Request, text: str) -> WebhookEndpoint:
    caller, what = principal(request), "webhook endpoint"
    named = pages.path_id(text, "whe", what)
    found: WebhookEndpoint = pages.one(WebhookEndpoint, caller.org, named, what, livemode=caller.livemode)
    return found


def _one(request: Request, endpoint: UUID) -> dict[str, Any]:
    return _shown(principal(request).org, [_found(request, ids.wire("whe", endpoint))])[0]


def _shown(org: UUID, rows: list[WebhookEndpoint]) -> list[dict[str, Any]]:
    kept = queries.secrets_of(org, rows)
    return [serializers.endpoint(row, kept.get(row.id, [])) for row in rows]
