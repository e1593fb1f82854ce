"""Reading the ledger. There is no verb that changes it."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.lib import db, pages
from codespar.lib.errors import Invalid
from codespar.rest import answers
from codespar.rest.openapi import PAGE, listed
from codespar.rest.views import Endpoint
from ledger import serializers
from ledger.models import Entry

_AFTER = OpenApiParameter("after_seq", {"type": "integer", "minimum": 0}, OpenApiParameter.QUERY)


class Entries(Endpoint):
    """The organisation's chain, in order."""

    scopes = {"GET": "ledger:read"}
    query_parameters = {"GET": [_AFTER, PAGE[0]]}

    @extend_schema(operation_id="ledger_entries_list", responses={200: listed(serializers.EntryOut)})
    def get(self, request: Request) -> Response:
        org, start = answers.asking(request).org, _seq(request.query_params.get("after_seq", "0"))
        found = answers.page(request, lambda _, limit: _entries(org, start, limit), answers.each(serializers.render), lambda entry: "")
        if found["has_more"]:
            limit = len(found["data"])
            found["next_page_url"] = f"{request._request.path}?after_seq={found['data'][-1]['seq']}&limit={limit}"
        return Response(found)


class EntryDetail(Endpoint):
    """One record."""

    scopes = {"GET": "ledger:read"}

    @extend_schema(operation_id="ledger_entries_get", responses={200: serializers.EntryOut})
    def get(self, request: Request, entry: str) -> Response:
        row = pages.one(Entry, answers.asking(request).org, pages.path_id(entry, "ent", "ledger entry"), "ledger entry")
        return Response(serializers.render(row))


def _entries(org: UUID, after: int, limit: int) -> list[Any]:
    with db.tenant(org):
        return list(Entry.objects.for_org(org).filter(seq__gt=after).order_by("seq")[:limit])


def _seq(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid("after_seq is the seq of the last entry that you have: a whole number, 0 for the beginning.")
    return int(text)
