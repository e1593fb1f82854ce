"""The way back of what was on its way when somebody stopped it, or revoked its mandate. Each rail declares its own.

What the rail still holds or has not moved is canceled (`rails.following`); what has moved is asked back by a refund of the engine's
own, and the payment ends `reversed`; on a rail with no way back it is a human's, with the amount owed. Nothing is booked that did not
happen.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from codespar.lib import clock, db, ids
from rails import booking, hints, queue
from rails.adapters import ADAPTERS
from rails.adapters.base import Action, Result

# How far back a look for new stops and revocations goes: longer than a sweep may be late.
LOOK_BACK = timedelta(minutes=10)


def hurry() -> None:
    """Payments that a rail has accepted or reserved are asked about seldom: after a stop or a revocation their turn is now."""
    for (org,) in db.rows("stopped_lately", LOOK_BACK):
        for (rail,) in db.rows("work_stopped", org):
            hints.work(rail)


def begin(org: UUID, rows: list[UUID]) -> None:
    """settled -> reversing, with a refund that the dispatcher sends next, or a human's. A crash leaves the row due until it is done."""
    for payment in queue.payments(org, rows):
        if payment["status"] == "settled":
            _way_back(payment)


def _way_back(payment: dict[str, Any]) -> None:
    step = ADAPTERS[payment["rail"]].capabilities.step_from(Result.SETTLED)
    over = step.within_seconds is not None and clock.now() > payment["updated_at"] + timedelta(seconds=step.within_seconds)
    if step.action is not Action.REFUND:
        _hand_over(payment, "no_way_back")
    elif over:
        _hand_over(payment, "way_back_over")
    else:
        _initiate(payment)


def _initiate(payment: dict[str, Any]) -> None:
    pay, refund, amount = ids.wire("pay", payment["id"]), ids.wire("ref", ids.new()), _owed(payment)
    booking.write(
        "refund_initiate",
        kind="refund.initiated",
        subject=pay,
        data={"refund": {"id": refund, "payment": pay, "amount": amount, "currency": payment["currency"], "reason": "stopped_in_flight"}},
        parts=[
            {"part": "refund", "id": refund, "payment": pay, "amount": amount, "currency": payment["currency"]},
            {"part": "transition", "subject": pay, "from": "settled", "to": "reversing"},
        ],
        **booking.about([payment]),
    )


def _hand_over(payment: dict[str, Any], code: str) -> None:
    pay = ids.wire("pay", payment["id"])
    booking.write(
        "payment_hand_over",
        kind="payment.handed_over",
        subject=pay,
        data={"payment": {"id": pay, "code": code, "owed": _owed(payment), "currency": payment["currency"]}},
        parts=[{"part": "transition", "subject": pay, "from": "settled", "to": "needs_human"}],
        **booking.about([payment]),
    )


def _owed(payment: dict[str, Any]) -> int:
    owed: int = payment["captured"] - payment["refunded"] - payment["refunding"]
    return owed
