"""The dispatcher: authorised payments leave exactly once, and what was sent is followed to its end.

Each step is durable before the next begins, and each may be repeated by another process after a crash: a payment is sent only by the
process that wrote its attempt, before `send_by`, once; whoever comes later only asks.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import clock, db, ids
from codespar.lib.errors import Unavailable
from mandates.decision import MOST_SKEW
from rails import accounts, booking, breakers, calls, debts, evidence, following, hints, outcomes, queue, refunds, rollback, workers
from rails.adapters.base import Outcome
from rails.booking import Head
from rails.faults import guarded

log = structlog.get_logger(__name__)
ORGANISATIONS = 8
# How soon a payment that waits for its rail looks again.
WAIT_SECONDS = 1.0
Row = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


def run_once(rail: str) -> int:
    """Take what is due on this rail and drive each of it one step on. Returns how many rows were taken.

    One organisation's fault never holds up another's work. A crash leaves rows under a lease that runs out; the next run takes them.
    Raises `Unavailable` when the database is.
    """
    debts.pay()
    breakers.record()
    if not _clock_agrees():
        return 0
    due = queue.claim(workers.identity(), rail)
    jobs = [
        (step, org, rows)
        for org, work in due.items()
        for step, rows in (
            (_expire, work.waiting),
            (_send, work.unsent),
            (_ask, work.asked),
            (rollback.begin, work.rolled_back),
            (refunds.drive, work.refunds),
        )
        if rows
    ]
    if len(jobs) == 1:
        guarded(*jobs[0])
    elif jobs:
        with ThreadPoolExecutor(max_workers=min(ORGANISATIONS, len(jobs))) as pool:
            list(pool.map(lambda job: _releasing(guarded, *job), jobs))
    return sum(len(w.unsent) + len(w.waiting) + len(w.asked) + len(w.rolled_back) + len(w.refunds) for w in due.values())


def run(rail: str, patience: float = 60.0) -> None:
    """Drive what is due on this rail until nothing is. While this process owes a result, it waits `patience` seconds for the database."""
    until = time.monotonic() + patience
    while True:
        try:
            if not run_once(rail):
                return
        except Unavailable:
            if not debts.any_owed() or time.monotonic() > until:
                raise
            time.sleep(1)


def _clock_agrees() -> bool:
    """Deadlines are told by this machine's clock and held by the database's: where they disagree, nothing is sent or concluded."""
    skew = clock.now() - db.now()
    if abs(skew) <= MOST_SKEW:
        return True
    log.error("clock_skew", seconds=skew.total_seconds())
    return False


def _expire(org: UUID, rows: list[UUID]) -> None:
    for payment in queue.payments(org, rows):
        end_unsent(payment, "expired", "approval_expired")


def _send(org: UUID, rows: list[UUID]) -> None:
    """authorized -> submitted -> whatever the rail says. Signatures are verified here again, by this process and role."""
    found = queue.to_send(org, rows)
    known = evidence.public_keys(found.keys)
    good: list[Row] = []
    for payment in found.payments:
        if payment["status"] != "authorized":
            continue
        fault = evidence.fault(payment, known=known, deployment=settings.CONFIG.deployment, now=clock.now())
        if fault is None:
            good.append(payment)
        else:
            log.error("payment_evidence_fault", payment=ids.wire("pay", payment["id"]), fault=fault)
            end_unsent(payment, "canceled", f"evidence_{fault}")
    for batch in booking.by_mode(good):
        _submit(org, batch, found.head)


def _submit(org: UUID, batch: list[Row], head: Head) -> None:
    batch = _let_through(org, batch)
    accounts.open_for(batch)
    batch = _prepared(batch)
    if not batch:
        return
    sent_by = clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    for payment in batch:
        payment["attempt_id"], payment["send_by"] = ids.new(), min(sent_by, payment["submit_by"])
    try:
        batch, clear = _recorded(org, batch, head)
    except Unavailable:
        # The attempts may have been recorded: then it is for this process to say that nothing left.
        _left(batch)
        debts.owe(partial(outcomes.book, [outcomes.of_answer(payment, calls.unsent("interrupted")) for payment in batch]))
        raise
    calls.each(batch, lambda payment: _pay(payment, payment["attempt_id"] in clear), _book_answers)


def _let_through(org: UUID, batch: list[Row]) -> list[Row]:
    """Those that the rail's breaker lets through; the others wait for it as long as they may leave at all."""
    most = breakers.allowance(batch[0]["rail"], "pay")
    if most >= len(batch):
        return batch
    now = clock.now()
    waiting = [payment["id"] for payment in batch[most:] if now < payment["submit_by"]]
    for payment in batch[most:]:
        if now >= payment["submit_by"]:
            end_unsent(payment, "expired", "rail_unavailable")
    db.call("work_wait", org, waiting, workers.identity(), timedelta(seconds=WAIT_SECONDS))
    return batch[:most]


def _prepared(batch: list[Row]) -> list[Row]:
    """Those that their rail can carry as they are; the others end here: nothing has left."""
    found: list[tuple[Row, str | None]] = []
    asking = [payment for payment in batch if payment["adapter"] and payment["adapter"].capabilities.asks_first]
    calls.each(asking, calls.prepare, found.extend)
    asked = {payment["id"] for payment in asking}
    found += [(payment, calls.prepare(payment)) for payment in batch if payment["id"] not in asked]
    for payment, code in found:
        if code:
            end_unsent(payment, "canceled", code)
    return [payment for payment, code in found if code is None]


def _left(batch: list[Row]) -> None:
    for payment in batch:
        payment["status"] = "submitted"


def _recorded(org: UUID, batch: list[Row], head: Head) -> tuple[list[Row], set[UUID]]:
    """Record an attempt for each payment that may still leave: (those that have one now, the attempts that may be sent)."""
    while batch:
        done = booking.write("payments_submit", kind="payments.submitted", after=head, **_submission(batch))
        if "moved" not in done:
            for payment in batch:
                payment["head"] = Head(done)
            break
        reasons = {item["payment"]: item["reason"] for item in done["moved"]}
        for payment in batch:
            _blocked(payment, reasons.get(ids.wire("pay", payment["id"])))
        batch = [payment for payment in batch if ids.wire("pay", payment["id"]) not in reasons]
    _left(batch)
    # The last look writes nothing and comes after the commit: a stop that was recorded before it wins.
    return batch, {row[0] for row in db.rows("may_send", org, [payment["attempt_id"] for payment in batch])} if batch else set()


def _submission(batch: list[Row]) -> dict[str, Any]:
    items, parts = [], []
    for payment in batch:
        wire, attempt = ids.wire("pay", payment["id"]), booking.attempt(payment)
        items.append({"payment": wire, "from": "authorized", "to": "submitted", **attempt})
        parts += [
            {"part": "attempt", "payment": wire, "operation": "pay", **attempt},
            {"part": "transition", "subject": wire, "from": "authorized", "to": "submitted"},
        ]
    return {"subject": items[0]["payment"], "data": {"items": items}, "parts": parts, **booking.about(batch)}


def _blocked(payment: Row, reason: str | None) -> None:
    if reason == "expired":
        end_unsent(payment, "expired", "submit_by_passed")
    elif reason not in (None, "state"):
        end_unsent(payment, "canceled", reason)


def end_unsent(payment: Row, state: str, code: str) -> None:
    """Nothing has left: the hold goes back whole."""
    wire, before = ids.wire("pay", payment["id"]), payment["status"]
    parts: list[Row] = [{"part": "release", "payment": wire}] if before == "authorized" else []
    parts.append({"part": "transition", "subject": wire, "from": before, "to": state})
    booking.write(
        "payments_end_unsent",
        kind=f"payment.{state}",
        subject=wire,
        data={"items": [{"payment": wire, "from": before, "to": state, "code": code}]},
        parts=parts,
        **booking.about([payment]),
    )
    hints.outcome(payment["id"])


def _ask(org: UUID, rows: list[UUID]) -> None:
    """What was sent and is not over: capture or cancel what is to be, and ask the rail about the rest. No payment is ever sent again."""
    found = [payment for payment in queue.payments(org, rows) if payment["status"] in ("submitted", "uncertain") and payment["attempt_id"]]
    accounts.open_for(found)
    asked = following.drive(org, found)
    calls.each(asked, _query, _book_queries)


def _pay(payment: Row, clear: bool) -> Outcome:
    return calls.leave(payment, "pay", calls.instruction) if clear else calls.unsent("stopped_before_send")


def _query(payment: Row) -> Outcome | None:
    return calls.learn(payment, calls.instruction, lambda adapter: adapter.query)


def _book_answers(answers: list[tuple[Row, Outcome]]) -> None:
    debts.book(partial(outcomes.book, [outcomes.of_answer(payment, answer) for payment, answer in answers]))


def _book_queries(answers: list[tuple[Row, Outcome | None]]) -> None:
    steps = [outcomes.of_question(payment, answer, "payment") for payment, answer in answers]
    outcomes.book([step for step in steps if step is not None])


def _releasing(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run a thread's work, and give its database connection back."""
    try:
        return call(*arguments, **named)
    finally:
        db.release()
