"""What anybody may read: status, keys, the contract. No token, no tenant's data."""

import json
import threading
import time
from functools import cache
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpResponse, JsonResponse
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from codespar import __version__
from codespar.lib import cache as redis_cache
from codespar.lib import ids
from codespar.rest.views import Endpoint
from codespar.vault import keys
from ledger.kinds import KINDS

_ORG = OpenApiParameter("org", str, OpenApiParameter.QUERY, description="Only this organisation's.")
_making = threading.Lock()
_STATUS = inline_serializer(
    "Status",
    {
        "status": serializers.ChoiceField(["ok", "degraded"]),
        "version": serializers.CharField(),
        "contracts": serializers.DictField(child=serializers.IntegerField()),
        "checks": serializers.DictField(child=serializers.CharField()),
    },
)


class Public(Endpoint):
    """Open to everybody."""

    authentication_classes = ()
    permission_classes = ()


class Status(Public):
    """Whether this service works, which version it is, and how large its contract is."""

    @extend_schema(operation_id="status", responses={200: _STATUS, 503: _STATUS})
    def get(self, request: Request) -> Response:
        database, ledger = _database()
        checks = {"database": database, "queue": _queue(), "ledger": ledger}
        well = all(state == "ok" for state in checks.values())
        body = {"status": "ok" if well else "degraded", "version": __version__, "contracts": _contracts(), "checks": checks}
        return Response(body, status=200 if checks["database"] == "ok" else 503)


class Jwks(Public):
    """Every organisation's public keys: what records, mandates and receipts are verified with."""

    query_parameters = {"GET": [_ORG]}

    @extend_schema(
        operation_id="jwks",
        responses={200: inline_serializer("Jwks", {"keys": serializers.ListField(child=serializers.DictField())})},
    )
    def get(self, request: Request) -> Response:
        org = request.query_params.get("org")
        found = keys.public_keys(ids.parse(org, "org") if org else None)
        return Response({"keys": [{**key["jwk"], "org": ids.wire("org", key["org"])} for key in found]})


class OpenApi(Public):
    """The contract of this service: OpenAPI 3.1."""

    schema = None

    @method_decorator(cache_control(max_age=300))
    def get(self, request: Request) -> HttpResponse:
        return JsonResponse(document(), json_dumps_params={"indent": 1})


def document() -> dict[str, Any]:
    """The OpenAPI document, made from the code once."""
    # The generator is not made for two threads at a time.
    with _making:
        return _document()


@cache
def _document() -> dict[str, Any]:
    found = SchemaGenerator().get_schema(request=None, public=True)
    return dict(json.loads(json.dumps(found)))


def _contracts() -> dict[str, int]:
    return {
        "paths": len({str(p.pattern) for p in _patterns(get_resolver().url_patterns)}),
        "operations": _operations(),
        "record_kinds": len(KINDS),
    }


@cache
def _operations() -> int:
    return sum(len(methods) for methods in document()["paths"].values())


def _patterns(found: Any) -> list[URLPattern]:
    flat: list[URLPattern] = []
    for pattern in found:
        if isinstance(pattern, URLResolver):
            continue
        if str(pattern.pattern).startswith("v1/"):
            flat.append(pattern)
    return flat


def _database() -> tuple[str, str]:
    """(ok or down; ok, down, or `rewound` while nothing is written because the database was set back to an older copy).

    A connection may have died with an earlier fault: what fails at once is tried again with the next one.
    """
    until = time.monotonic() + 1
    while True:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT EXISTS (SELECT FROM ledger_rewinds WHERE entry_id IS NULL)")
                return "ok", "rewound" if cursor.fetchone()[0] else "ok"
        except (DatabaseError, InterfaceError):
            connection.close()
        if time.monotonic() > until:
            return "down", "down"
        time.sleep(0.05)


def _queue() -> str:
    try:
        redis_cache.client().ping()
    except redis_cache.AWAY:
        return "down"
    return "ok"
