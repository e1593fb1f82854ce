"""Money asked back. The dispatcher moves it; the rail's word books it."""

from typing import Any
from uuid import UUID

from codespar.identity import acting, principals
from codespar.identity.principals import Principal
from codespar.lib import clock, ids, pages
from codespar.lib.errors import CodesparError, Unavailable
from codespar.lib.idempotency import Key
from rails import hints
from rails.models import Payment

TRIES = 8


class NotRefundable(CodesparError):
    """Only what a settled payment moved, and has not given back yet, can be refunded."""

    code = "not_refundable"


def request(principal: Principal, *, payment: UUID, amount: int, idempotency: Key) -> UUID | None:
    """Ask for `amount` (minor units) back, in part or whole. Returns the refund's id, or None for a twin's key.

    Raises `NotRefundable`; `Unavailable` when other refunds kept coming first. A crash leaves no trace, or a refund that the
    dispatcher or the sweeper finds.
    """
    principals.require(principal, "payments:refund")
    for _ in range(TRIES):
        refund = ids.new()
        found = pages.one(Payment, principal.org, payment, "payment")
        done = _request(principal, found, refund, amount, idempotency)
        if "moved" not in done:
            hints.work(found.rail)
            return None if done.get("twin") else refund
    raise Unavailable("Other refunds of this payment kept coming first. Nothing was asked for; try again shortly.", code="contention")


def _request(principal: Principal, payment: Payment, refund: UUID, amount: int, idempotency: Key) -> dict[str, Any]:
    wire, pay = ids.wire("ref", refund), ids.wire("pay", payment.id)
    parts: list[dict[str, object]] = [{"part": "refund", "id": wire, "payment": pay, "amount": amount, "currency": payment.currency}]
    if payment.refunded + payment.refunding + amount == payment.captured:
        parts.append({"part": "transition", "subject": pay, "from": "settled", "to": "reversing"})
    record = acting.draft(
        principal,
        kind="refund.requested",
        subject=wire,
        data={"refund": {"id": wire, "payment": pay, "amount": amount, "currency": payment.currency}, "idempotency": idempotency.data},
        parts=parts,
        project=ids.wire("prj", payment.project_id),
    )
    refusals = {
        "payments_refunds": lambda _: NotRefundable("Only what a settled payment moved, and has not given back yet, can be refunded.")
    }
    return acting.write(principal, "refund_create", record, now=clock.now(), refusals=refusals)
