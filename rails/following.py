"""What a rail is told after the payment: to move what it holds, or to let go what must come back. What must come back is not moved.

A capture or a cancellation can happen once at the rail, so it may be asked for again when nobody knows whether it was heard.
"""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings

from codespar.lib import clock, db, ids
from rails import booking, calls, debts, outcomes, queue, workers
from rails.adapters.base import Action, Capabilities, Outcome, Result

Row = dict[str, Any]


def drive(org: UUID, found: list[Row]) -> list[Row]:
    """Follow what is to be followed. Returns the payments that are only to be asked about."""
    staged = [payment["id"] for payment in found if payment["stage"] and payment["adapter"]]
    if not staged:
        return found
    returning = {row[0] for row in db.rows("payments_to_return", org, staged)}
    followed = queue.followed(org, staged)
    asked: list[Row] = []
    told: list[Row] = []
    for payment in found:
        named = payment["id"]
        payment["operation"] = (
            operation(payment, payment["adapter"].capabilities, named in returning, followed.get(named)) if named in staged else None
        )
        (told if payment["operation"] else asked).append(payment)
    for batch in booking.by_mode(told):
        _follow(org, batch)
    return asked


def operation(payment: Row, capabilities: Capabilities, returns: bool, followed: Row | None) -> str | None:
    """capture, cancel, or None when there is nothing to say to the rail now. `followed` is the last capture or cancellation, if any."""
    if followed and followed["result"] is None and clock.now() < followed["send_by"] and not workers.is_dead(followed["worker"]):
        return None
    if not returns:
        return "capture" if payment["stage"] == Result.RESERVED else None
    asked_for = followed is not None and followed["operation"] == "cancel" and followed["result"] == Result.ACCEPTED
    way_back = capabilities.step_from(Result(payment["stage"])).action
    return "cancel" if way_back in (Action.VOID, Action.RECALL) and not asked_for else None


def _follow(org: UUID, batch: list[Row]) -> None:
    send_by = clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    for payment in batch:
        payment["attempt_id"], payment["send_by"] = ids.new(), send_by
    batch = _recorded(batch)
    clear = {row[0] for row in db.rows("may_send", org, [payment["attempt_id"] for payment in batch])} if batch else set()
    calls.each(batch, lambda payment: _tell(payment, payment["attempt_id"] in clear), _book)


def _recorded(batch: list[Row]) -> list[Row]:
    """Record an attempt for each; those that have one now."""
    while batch:
        items = [_item(payment) for payment in batch]
        parts = [{"part": "attempt", **item} for item in items]
        done = booking.write(
            "payments_follow",
            kind="payments.followed",
            subject=items[0]["payment"],
            data={"items": items},
            parts=parts,
            **booking.about(batch),
        )
        if "moved" not in done:
            break
        batch = [payment for payment in batch if ids.wire("pay", payment["id"]) not in done["moved"]]
    return batch


def _item(payment: Row) -> Row:
    return {"payment": ids.wire("pay", payment["id"]), "operation": payment["operation"], **booking.attempt(payment)}


def _tell(payment: Row, clear: bool) -> Outcome:
    if not clear:
        return calls.unsent("stopped_before_send")
    return calls.leave(payment, payment["operation"], calls.instruction)


def _book(answers: list[tuple[Row, Outcome]]) -> None:
    debts.book(partial(outcomes.book, [outcomes.of_following(payment, answer) for payment, answer in answers]))
