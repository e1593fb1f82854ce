"""The rollback of what settled too late: it was on its way when somebody stopped it, or revoked its mandate.

What has left is not called back by hand: the rail has moved the money, so all of it is asked back by a refund of the engine's own, and
the payment ends `reversed`. Nothing is booked that did not happen.
"""

from typing import Any
from uuid import UUID

from codespar.lib import ids
from rails import booking, queue


def begin(org: UUID, rows: list[UUID]) -> None:
    """settled -> reversing, with a refund that the dispatcher sends next. A crash leaves either, and the row is due until it is done."""
    for payment in queue.payments(org, rows):
        if payment["status"] == "settled":
            _initiate(payment)


def _initiate(payment: dict[str, Any]) -> None:
    pay, refund = ids.wire("pay", payment["id"]), ids.wire("ref", ids.new())
    amount = payment["captured"] - payment["refunded"] - payment["refunding"]
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
