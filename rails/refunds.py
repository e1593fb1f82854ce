"""Refunds on their way: sent once, and asked about until they are over, as payments are."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings

from codespar.lib import clock, db, ids
from codespar.lib.errors import Unavailable
from rails import accounts, booking, breakers, calls, debts, outcomes, queue, workers
from rails.faults import guarded

Row = dict[str, Any]


def drive(org: UUID, rows: list[UUID]) -> None:
    """Send what is new, ask about what was sent. One refund's fault does not hold up another."""
    for refund in queue.refunds(org, rows):
        if refund["status"] == "authorized":
            guarded(_send, refund)
        elif refund["attempt_id"]:
            guarded(_ask, refund)


def _send(refund: Row) -> None:
    if not breakers.allowance(refund["rail"], "refund"):
        db.call("work_later", refund["org_id"], "refund", refund["id"], workers.identity())
        return
    accounts.open_for([refund])
    refund["attempt_id"], refund["send_by"] = ids.new(), clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    try:
        clear = _recorded(refund)
    except Unavailable:
        debts.owe(partial(outcomes.book_refund, refund, outcomes.of_answer(refund, calls.unsent("interrupted"))))
        raise
    if clear is None:
        return
    db.release()
    answer = calls.leave(refund, "refund", calls.refund_instruction) if clear else calls.unsent("stopped_before_send")
    debts.book(partial(outcomes.book_refund, refund, outcomes.of_answer(refund, answer)))


def _recorded(refund: Row) -> bool | None:
    """Record the attempt. Whether it may be sent; None when somebody else drove the refund on."""
    wire, attempt = ids.wire("ref", refund["id"]), booking.attempt(refund)
    refund["status"] = "submitted"
    done = booking.write(
        "refund_submit",
        kind="refund.submitted",
        subject=wire,
        data={"refund": {"id": wire, **attempt}},
        parts=[{"part": "attempt", "refund": wire, "operation": "refund", **attempt}],
        **booking.about([refund]),
    )
    return None if "moved" in done else bool(db.rows("may_send", refund["org_id"], [refund["attempt_id"]]))


def _ask(refund: Row) -> None:
    accounts.open_for([refund])
    db.release()
    step = outcomes.of_question(refund, calls.learn(refund, calls.refund_instruction, lambda adapter: adapter.query_refund), "refund")
    if step is not None:
        outcomes.book_refund(refund, step)
