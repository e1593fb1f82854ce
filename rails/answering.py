"""The answer to a payment: when it is given, what it is, and that it is given once."""

import threading
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from codespar.identity.principals import Principal
from codespar.lib import canonical, db, ids
from codespar.lib.errors import CodesparError
from codespar.lib.idempotency import Key, KeyInFlight
from codespar.rest import failures, problem
from codespar.rest.answers import Answer, freeze
from mandates import queries as mandates
from rails import hints, queries
from rails.actions import batches
from rails.actions.payments import Order, Paid
from rails.states import TRANSITIONS

# States in which nothing more is to be waited for, within one request.
_DONE = frozenset(TRANSITIONS) - {"new", "authorized", "submitted", "uncertain"}
_STOPPABLE = {"project": "prj", "agent": "agt", "mandate": "mnd", "counterparty": "ctp"}
# Requests that wait hold a thread each: when these are taken, the answer is what is known.
_waiting = threading.BoundedSemaphore(80)


def answer(request: HttpRequest, caller: Principal, paid: Paid, key: Key, *, at_once: bool) -> Answer:
    """Wait for the outcome until the deadline, then say what is known, once for all who ask under this key.

    Raises `KeyInFlight` for a twin that does not want to wait.
    """
    if paid.frozen is not None:
        return Answer(paid.frozen.status, paid.frozen.body, replayed=True)
    done = not paid.leaves and queries.status(caller.org, paid.payment) in _DONE
    if at_once and not (done or paid.first):
        # The first request may still be waiting for the outcome: its answer is not ours to give.
        raise KeyInFlight("The first request under this key has not been answered yet. Ask again shortly.")
    shown = None if at_once or done else _wait(caller.org, paid.payment)
    code, body = render(request, caller.org, shown or queries.payment(caller.org, paid.payment), at_once=at_once)
    if paid.presented:
        return Answer(code, canonical.compact(body), replayed=True)
    said = freeze(caller, key, code, canonical.compact(body))
    return Answer(said.status, said.body, replayed=not paid.first)


def batch(request: HttpRequest, caller: Principal, items: Sequence[Order | Exception]) -> list[dict[str, Any]]:
    """Pay what could be read of a batch, and answer each of its items at once: {status, body}, in their order."""
    orders = [item for item in items if isinstance(item, Order)]
    paid = iter(batches.pay(caller, orders))
    said: dict[UUID, dict[str, Any]] = {}
    return [_item(request, caller, item, next(paid), said) if isinstance(item, Order) else _failed(request, item) for item in items]


def _item(
    request: HttpRequest, caller: Principal, order: Order, paid: Paid | CodesparError, said: dict[UUID, dict[str, Any]]
) -> dict[str, Any]:
    """One item's answer; `said` has those of this list by their payments, for a line that is there twice."""
    if isinstance(paid, CodesparError):
        return _failed(request, paid)
    if paid.payment not in said:
        try:
            given = answer(request, caller, paid, order.idempotency, at_once=True)
        except CodesparError as error:
            return _failed(request, error)
        said[paid.payment] = {"status": given.status, "body": canonical.loads(given.body)}
    return said[paid.payment]


def _failed(request: HttpRequest, error: Exception) -> dict[str, Any]:
    body = failures.document(error, request)
    return {"status": body["status"], "body": body}


def render(request: HttpRequest, org: UUID, shown: dict[str, Any], *, at_once: bool = False) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the body for a payment as it stands."""
    if shown["status"] == "denied":
        return 403, denied(request, org, shown)
    waits = shown["status"] in ("requires_approval", "scheduled") or (at_once and shown["status"] not in _DONE)
    return (202 if waits else 201), shown


def denied(request: HttpRequest, org: UUID, shown: dict[str, Any]) -> dict[str, Any]:
    """A denied payment as a problem document; what was revoked or stopped comes with the signed receipt of it."""
    reasons = shown["decision"]["reasons"]
    code = shown["code"] or "denied"
    detail = next((r["detail"] for r in reasons if r["code"] == code), "The payment was denied.")
    return problem.document(code, detail, request=request, reasons=reasons, payment=shown, **_receipts(org, code, shown))


def _receipts(org: UUID, code: str, shown: dict[str, Any]) -> dict[str, str]:
    receipt = None
    if code == "mandate_revoked":
        receipt = mandates.revocation_receipt(org, ids.parse(shown["mandate"], "mnd"))
    elif code == "stopped":
        named = {name: shown[name] and ids.parse(shown[name], prefix) for name, prefix in _STOPPABLE.items()}
        receipt = mandates.stop_receipt(org, livemode=shown["livemode"], rail=shown["rail"], **named)
    return {"revocation_receipt" if code == "mandate_revoked" else "stop_receipt": receipt} if receipt else {}


def _wait(org: UUID, payment: UUID) -> dict[str, Any] | None:
    """Wait without holding a database connection. The payment as it is shown at its end; None when that did not come."""
    if not _waiting.acquire(blocking=False):
        return None
    try:
        until = time.monotonic() + settings.CONFIG.wait_seconds
        while (left := until - time.monotonic()) > 0:
            db.release()
            hints.wait(payment, left)
            shown = queries.payment(org, payment)
            if shown["status"] in _DONE:
                hints.outcome(payment)
                return shown
        return None
    finally:
        _waiting.release()
