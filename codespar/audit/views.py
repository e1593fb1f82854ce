"""Giving the ledger out."""

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from codespar.audit import exports
from codespar.identity.authentication import principal
from codespar.lib import canonical, clock
from codespar.lib.errors import Invalid
from codespar.rest.views import Endpoint

_SEQ = {"type": "integer", "minimum": 1, "maximum": canonical.MAX_SAFE_INTEGER}
_FIRST = OpenApiParameter("first_seq", {**_SEQ, "default": 1}, OpenApiParameter.QUERY, description="The first entry of the copy.")
_LAST = OpenApiParameter(
    "last_seq", _SEQ, OpenApiParameter.QUERY, description="The last entry of the copy; the head of this moment otherwise."
)
_OPENINGS = OpenApiParameter(
    "openings",
    {"type": "boolean", "default": True},
    OpenApiParameter.QUERY,
    description="Whether the texts that records commit to are in it.",
)


class _Zip(JSONRenderer):
    # Whoever accepts nothing but a zip gets the file, or a problem in JSON.
    media_type = "application/zip"
    format = "zip"


class Export(Endpoint):
    """A signed copy of the chain, or of a range of it, as a zip. Taking one is itself an entry of the chain."""

    scopes = {"GET": "ledger:export"}
    query_parameters = {"GET": [_FIRST, _LAST, _OPENINGS]}
    renderer_classes = [JSONRenderer, _Zip]

    @extend_schema(operation_id="ledger_export", responses={(200, "application/zip"): OpenApiTypes.BINARY})
    def get(self, request: Request) -> StreamingHttpResponse:
        asked = request.query_params
        last = _seq(asked["last_seq"], "last_seq") if "last_seq" in asked else None
        taken = exports.take(
            principal(request),
            first_seq=_seq(asked.get("first_seq", "1"), "first_seq"),
            last_seq=last,
            openings=_yes(asked.get("openings", "true")),
            now=clock.now(),
        )
        headers: dict[str, Any] = {"Content-Disposition": f'attachment; filename="{taken.name}"', "Cache-Control": "no-store"}
        return StreamingHttpResponse(exports.stream(taken), content_type="application/zip", headers=headers)


def _seq(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 16 or not 1 <= int(text) <= canonical.MAX_SAFE_INTEGER:
        raise Invalid(f"{name} is the seq of an entry: a whole number from 1 on.")
    return int(text)


def _yes(text: str) -> bool:
    if text not in ("true", "false"):
        raise Invalid("openings is true or false.")
    return text == "true"
