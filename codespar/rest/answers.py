"""Answers: bytes that are said once and then repeated, and pages of lists."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.lib import canonical, db, idempotency, ids, pages
from codespar.lib.errors import Invalid
from codespar.lib.idempotency import Key
from codespar.lib.models import TenantModel
from codespar.rest import problem

MOST = 100


class Caller(Protocol):
    """What is needed of whoever asks: the tenant and the token's digest."""

    @property
    def org(self) -> UUID: ...

    @property
    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the bytes of a JSON body."""

    status: int
    body: bytes
    replayed: bool = False

    def response(self) -> HttpResponse:
        kind = problem.CONTENT_TYPE if self.status >= 400 else "application/json"
        response = HttpResponse(self.body, status=self.status, content_type=kind)
        if self.replayed:
            response.headers["Idempotent-Replayed"] = "true"
        return response


def asking(request: Request) -> Any:
    """Whoever asks, as the authentication made them: this layer knows no identity."""
    return request.user


def key(request: Request, operation: str) -> Key:
    """The request's idempotency key, with the fingerprint of the request. Raises `KeyRequired`."""
    raw = request._request
    return idempotency.read(
        request.headers.get("Idempotency-Key"),
        operation=operation,
        method=raw.method or "",
        path=raw.path,
        query=raw.META.get("QUERY_STRING", ""),
        body=request.data,
    )


def once(request: Request, key: Key, act: Callable[[], Any], render: Callable[[str], tuple[int, Any]]) -> HttpResponse:
    """Do `act` under `key` once; answer with `render(subject)` of whatever the first request under this key made.

    `act` returns None when another request claimed the key first. The answer is frozen by whoever renders it first, also after a crash.
    """
    caller = asking(request)
    kept = _kept(caller, key)
    if kept is None:
        first = act() is not None
        kept = _kept(caller, key)
        assert kept is not None
        if not first:
            # Somebody else's request took the key in the meantime: it may have been another one.
            idempotency.check(key, kept["fingerprint"], kept["expired"])
        return _freeze(caller, key, *render(kept["subject"]), replayed=not first).response()
    idempotency.check(key, kept["fingerprint"], kept["expired"])
    if kept["status"] is not None:
        return Answer(kept["status"], canonical.unbase64(kept["body"]), replayed=True).response()
    return _freeze(caller, key, *render(kept["subject"]), replayed=True).response()


def freeze(caller: Caller, key: Key, status: int, body: bytes) -> Answer:
    """Say `body` under `key`, unless something was said before: then that is the answer."""
    row = db.call("answer_freeze", caller.org, caller.digest, key.operation, key.key_hash, status, body)
    return Answer(row["status"], canonical.unbase64(row["body"])) if row else Answer(status, body)


def page(
    request: Request, rows: Callable[[Any, int], list[Any]], render: Callable[[list[Any]], list[Any]], cursor: Callable[[Any], str]
) -> dict[str, Any]:
    """One page of a list: `rows(cursor, n)` reads, newest first; `cursor(row)` names where the next page begins."""
    most = limit(request)
    found = rows(request.query_params.get("cursor"), most + 1)
    more = len(found) > most
    shown = found[:most]
    following = None
    if more:
        query = {**request.query_params.dict(), "cursor": cursor(shown[-1]), "limit": str(most)}
        following = f"{request._request.path}?{urlencode(query)}"
    return {"data": render(shown), "has_more": more, "next_page_url": following}


def listing(request: Request, model: type[TenantModel], prefix: str, render: Callable[[list[Any]], list[Any]], **where: Any) -> Response:
    """One page of an organisation's rows, newest first; `render` takes the rows of the page together."""
    org = asking(request).org
    found = page(
        request,
        lambda cursor, limit: pages.newest(model, org, prefix, cursor, limit, **where),
        render,
        lambda row: ids.wire(prefix, row.id),
    )
    return Response(found)


def each(render: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    """A renderer of one row as a renderer of a page."""
    return lambda rows: [render(row) for row in rows]


def _kept(caller: Caller, key: Key) -> dict[str, Any] | None:
    found = db.call("idempotency_read", caller.org, caller.digest, key.operation, key.key_hash)
    return dict(found) if found else None


def _freeze(caller: Caller, key: Key, status: int, body: Any, *, replayed: bool) -> Answer:
    said = freeze(caller, key, status, canonical.compact(body))
    return Answer(said.status, said.body, replayed=replayed)


def limit(request: Request) -> int:
    """How many rows a page has at most, as the request asks. Raises `Invalid`."""
    text = request.query_params.get("limit", "20")
    if not text.isascii() or not text.isdigit() or len(text) > 6 or not 1 <= int(text) <= MOST:
        raise Invalid(f"limit is a whole number from 1 to {MOST}.", pointer="")
    return int(text)
