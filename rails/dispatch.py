"""The dispatcher: authorised payments leave exactly once, and what was sent is followed to its end.

Each step is durable before the next begins, and each may be repeated by another process after a crash: a payment is sent only by the
process that wrote its attempt, before `send_by`, once; whoever comes later only asks.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import clock, db, ids
from codespar.lib.errors import CodesparError, Unavailable
from mandates.decision import MOST_SKEW
from rails import accounts, booking, evidence, hints, outcomes, queue, rollback, workers
from rails.adapters.base import Adapter, Instruction, Outcome, RefundInstruction, Result
from rails.booking import Head

log = structlog.get_logger(__name__)
THREADS = 32
ORGANISATIONS = 8
# What can be wrong with one organisation's rows, credentials or rail, and must not stop anybody else's.
FAULTS = (CodesparError, LookupError, ValueError)
Row = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
Order = TypeVar("Order", Instruction, RefundInstruction)
# What this process has seen of its own attempts and could not book yet.
_owed: deque[Callable[[], None]] = deque()
_paying = threading.Lock()


def run_once() -> int:
    """Take what is due and drive each of it one step on. Returns how many rows were taken.

    One organisation's fault never holds up another's work. A crash leaves rows under a lease that runs out; the next run takes them.
    Raises `Unavailable` when the database is.
    """
    _pay_debts()
    if not _clock_agrees():
        return 0
    due = queue.claim(workers.identity())
    jobs = [
        (step, org, rows)
        for org, work in due.items()
        for step, rows in (
            (_expire, work.waiting),
            (_send, work.unsent),
            (_ask, work.asked),
            (rollback.begin, work.rolled_back),
            (_refund, work.refunds),
        )
        if rows
    ]
    if len(jobs) == 1:
        _guarded(*jobs[0])
    elif jobs:
        with ThreadPoolExecutor(max_workers=min(ORGANISATIONS, len(jobs))) as pool:
            list(pool.map(lambda job: _releasing(_guarded, *job), jobs))
    return sum(len(w.unsent) + len(w.waiting) + len(w.asked) + len(w.rolled_back) + len(w.refunds) for w in due.values())


def run(patience: float = 60.0) -> None:
    """Drive what is due until nothing is. While this process owes a result, it waits up to `patience` seconds for the database."""
    until = time.monotonic() + patience
    while True:
        try:
            if not run_once():
                return
        except Unavailable:
            if not _owed or time.monotonic() > until:
                raise
            time.sleep(1)


def _pay_debts() -> None:
    """Book what this process knows and could not book before. What the database refuses is logged, and found by asking."""
    with _paying:
        for _ in range(len(_owed)):
            debt = _owed.popleft()
            try:
                debt()
            except Unavailable:
                _owed.append(debt)
                raise
            except FAULTS as error:
                log.error("result_not_booked", error=type(error).__name__, detail=str(error))


def _book_or_owe(debt: Callable[[], None]) -> None:
    """Nobody else knows what this process has seen of its own attempt: it is kept until the database takes it."""
    if not _owed:
        try:
            debt()
            return
        except Unavailable as error:
            log.error("result_owed", detail=str(error))
    _owed.append(debt)


def _clock_agrees() -> bool:
    """Deadlines are told by this machine's clock and held by the database's: where they disagree, nothing is sent or concluded."""
    skew = clock.now() - db.now()
    if abs(skew) <= MOST_SKEW:
        return True
    log.error("clock_skew", seconds=skew.total_seconds())
    return False


def _guarded(step: Callable[..., None], *arguments: Any) -> None:
    try:
        step(*arguments)
    except FAULTS as error:
        # The rows stay as they are and their lease runs out: tried again then, by whoever is well.
        log.error("dispatch_step_failed", step=step.__name__, error=type(error).__name__, detail=str(error))


def _expire(org: UUID, rows: list[UUID]) -> None:
    for payment in queue.payments(org, rows):
        _end_unsent(payment, "expired", "approval_expired")


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
            _end_unsent(payment, "canceled", f"evidence_{fault}")
    for batch in _by_mode(good):
        _submit(org, batch, found.head)


def _submit(org: UUID, batch: list[Row], head: Head) -> None:
    accounts.open_for(batch)
    sent_by = clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    for payment in batch:
        payment["attempt_id"], payment["send_by"] = ids.new(), min(sent_by, payment["submit_by"])
    try:
        batch, clear = _recorded(org, batch, head)
    except Unavailable:
        # The attempts may have been recorded: then it is for this process to say that nothing left.
        _owed.append(partial(outcomes.book, [outcomes.of_answer(payment, _unsent("interrupted")) for payment in batch]))
        raise
    _call(batch, lambda payment: _pay(payment, payment["attempt_id"] in clear), _book_answers)


def _recorded(org: UUID, batch: list[Row], head: Head) -> tuple[list[Row], set[UUID]]:
    """Record an attempt for each payment that may still leave: (those that have one now, the attempts that may be sent)."""
    while batch:
        done = booking.write(
            "payments_submit", org=org, livemode=batch[0]["livemode"], kind="payments.submitted", after=head, **_submission(batch)
        )
        if "moved" not in done:
            for payment in batch:
                payment["head"] = Head(done)
            break
        reasons = {item["payment"]: item["reason"] for item in done["moved"]}
        for payment in batch:
            _blocked(payment, reasons.get(ids.wire("pay", payment["id"])))
        batch = [payment for payment in batch if ids.wire("pay", payment["id"]) not in reasons]
    # The last look writes nothing and comes after the commit: a stop that was recorded before it wins.
    return batch, {row[0] for row in db.rows("may_send", org, [payment["attempt_id"] for payment in batch])} if batch else set()


def _submission(batch: list[Row]) -> dict[str, Any]:
    items, parts = [], []
    for payment in batch:
        wire, attempt = ids.wire("pay", payment["id"]), _attempt(payment)
        items.append({"payment": wire, "from": "authorized", "to": "submitted", **attempt})
        parts += [
            {"part": "attempt", "payment": wire, "operation": "pay", **attempt},
            {"part": "transition", "subject": wire, "from": "authorized", "to": "submitted"},
        ]
    return {"subject": items[0]["payment"], "data": {"items": items}, "parts": parts, **booking.context(batch)}


def _attempt(row: Row) -> Row:
    """What a record says of the attempt that this process is about to make."""
    return {
        "attempt": ids.wire("att", row["attempt_id"]),
        "rail": row["rail"],
        "rail_key": bytes(row["rail_key"]).hex(),
        "send_by": clock.stamp(row["send_by"]),
        "worker": workers.identity(),
    }


def _blocked(payment: Row, reason: str | None) -> None:
    if reason == "expired":
        _end_unsent(payment, "expired", "submit_by_passed")
    elif reason not in (None, "state"):
        _end_unsent(payment, "canceled", reason)


def _end_unsent(payment: Row, state: str, code: str) -> None:
    """Nothing has left: the hold goes back whole."""
    wire, before = ids.wire("pay", payment["id"]), payment["status"]
    parts: list[Row] = [{"part": "release", "payment": wire}] if before == "authorized" else []
    parts.append({"part": "transition", "subject": wire, "from": before, "to": state})
    booking.write(
        "payments_end_unsent",
        org=payment["org_id"],
        livemode=payment["livemode"],
        kind=f"payment.{state}",
        subject=wire,
        data={"items": [{"payment": wire, "from": before, "to": state, "code": code}]},
        parts=parts,
        **booking.context([payment]),
    )
    hints.outcome(payment["id"])


def _ask(org: UUID, rows: list[UUID]) -> None:
    """What was sent and is not over: ask the rail by our key. Nothing is ever sent again."""
    asked = [payment for payment in queue.payments(org, rows) if payment["status"] in ("submitted", "uncertain") and payment["attempt_id"]]
    accounts.open_for(asked)
    _call(asked, _query, _book_queries)


def _pay(payment: Row, clear: bool) -> Outcome:
    return _leave(payment, instruction, lambda adapter: adapter.send) if clear else _unsent("stopped_before_send")


def _query(payment: Row) -> Outcome | None:
    return _learn(payment, instruction, lambda adapter: adapter.query)


def _leave(row: Row, told: Callable[[Row, Adapter], Order], send: Callable[[Adapter], Callable[[Order, float], Outcome]]) -> Outcome:
    """The one place where money leaves: once, by whoever holds the attempt. Never raises."""
    adapter = row["adapter"]
    try:
        if adapter is None:
            return _unsent("not_sendable")
        order = told(row, adapter)
    except FAULTS as error:
        log.error("not_sendable", row=str(row["id"]), error=type(error).__name__)
        return _unsent("not_sendable")
    try:
        return send(adapter)(order, time.monotonic() + settings.CONFIG.rail_seconds)
    except Exception as error:
        # An adapter does not raise. When one does, what has left is not known.
        log.error("adapter_raised", row=str(row["id"]), error=type(error).__name__, exc_info=error)
        return _said("adapter_raised", sent=True)


def _learn(
    row: Row, told: Callable[[Row, Adapter], Order], ask: Callable[[Adapter], Callable[[str, Order, float], Outcome]]
) -> Outcome | None:
    """What the rail knows; None when it cannot even be asked."""
    adapter = row["adapter"]
    try:
        if adapter is None:
            return None
        expected = told(row, adapter)
        row["asked_at"] = clock.now()
        return ask(adapter)(expected.key, expected, time.monotonic() + settings.CONFIG.rail_seconds)
    except FAULTS as error:
        log.error("not_askable", row=str(row["id"]), error=type(error).__name__)
        return None


def _unsent(code: str) -> Outcome:
    """Nothing has left, and nothing will."""
    return _said(code, sent=False)


def _said(code: str, *, sent: bool) -> Outcome:
    return Outcome(result=Result.UNKNOWN, reason="", provider_id=None, sent=sent, raw=b"", request=b"", code=code)


def instruction(payment: Row, adapter: Adapter) -> Instruction:
    """What the rail is told: amount and payee from our own rows, never from a request."""
    account = next(a for a in payment["counterparty"]["accounts"] if a["id"] == payment["account_id"])
    return Instruction(
        key=adapter.rail_key(bytes(payment["rail_key"])),
        amount=payment["amount"],
        currency=payment["currency"],
        payee_key=account["value"],
        payee_name=payment["counterparty"]["name"],
        reference=ids.wire("pay", payment["id"]),
        send_by=payment["send_by"],
    )


def _call(rows: list[Row], call: Callable[[Row], T], book: Callable[[list[tuple[Row, T]]], None]) -> None:
    """Talk to the rail about all rows at once; book what has come back, together, without waiting for the slow ones.

    The threads touch the network only; the database is this thread's alone, who has given it back meanwhile.
    """
    # The rail may be slow, and connections are few.
    db.release()
    if len(rows) == 1:
        book([(rows[0], call(rows[0]))])
    elif rows:
        _call_all(rows, call, book)


def _call_all(rows: list[Row], call: Callable[[Row], T], book: Callable[[list[tuple[Row, T]]], None]) -> None:
    with ThreadPoolExecutor(max_workers=min(THREADS, len(rows))) as pool:
        running: dict[Future[T], Row] = {pool.submit(call, row): row for row in rows}
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            answers = [(running.pop(future), future.result()) for future in finished]
            for batch in _by_mode(answers, key=lambda pair: pair[0]["livemode"]):
                book(batch)


def _releasing(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run a thread's work, and give its database connection back."""
    try:
        return call(*arguments, **named)
    finally:
        db.release()


def _book_answers(answers: list[tuple[Row, Outcome]]) -> None:
    _book_or_owe(partial(outcomes.book, [outcomes.of_answer(payment, answer) for payment, answer in answers]))


def _book_queries(answers: list[tuple[Row, Outcome | None]]) -> None:
    steps = [_step_of(payment, answer, "payment") for payment, answer in answers]
    outcomes.book([step for step in steps if step is not None])


def _step_of(row: Row, answer: Outcome | None, kind: str) -> outcomes.Step | None:
    """What to book of a question's answer; None when it is to be asked again, later."""
    step = outcomes.unasked(row) if answer is None else outcomes.of_query(row, answer, row["adapter"].capabilities)
    if step is None:
        db.call("work_later", row["org_id"], kind, row["id"], workers.identity())
    return step


def _refund(org: UUID, rows: list[UUID]) -> None:
    for refund in queue.refunds(org, rows):
        if refund["status"] == "authorized":
            _guarded(_send_refund, refund)
        elif refund["attempt_id"]:
            _guarded(_ask_refund, refund)


def _send_refund(refund: Row) -> None:
    accounts.open_for([refund])
    refund["attempt_id"], refund["send_by"] = ids.new(), clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    try:
        clear = _refund_recorded(refund)
    except Unavailable:
        _owed.append(partial(outcomes.book_refund, refund, outcomes.of_answer(refund, _unsent("interrupted"))))
        raise
    if clear is None:
        return
    db.release()
    answer = _leave(refund, _refund_instruction, lambda adapter: adapter.refund) if clear else _unsent("stopped_before_send")
    _book_or_owe(partial(outcomes.book_refund, refund, outcomes.of_answer(refund, answer)))


def _refund_recorded(refund: Row) -> bool | None:
    """Record the attempt. Whether it may be sent; None when somebody else drove the refund on."""
    wire, attempt = ids.wire("ref", refund["id"]), _attempt(refund)
    refund["status"] = "submitted"
    done = booking.write(
        "refund_submit",
        org=refund["org_id"],
        livemode=refund["livemode"],
        kind="refund.submitted",
        subject=wire,
        data={"refund": {"id": wire, **attempt}},
        parts=[{"part": "attempt", "refund": wire, "operation": "refund", **attempt}],
        **booking.context([refund]),
    )
    return None if "moved" in done else bool(db.rows("may_send", refund["org_id"], [refund["attempt_id"]]))


def _ask_refund(refund: Row) -> None:
    accounts.open_for([refund])
    db.release()
    step = _step_of(refund, _learn(refund, _refund_instruction, lambda adapter: adapter.query_refund), "refund")
    if step is not None:
        outcomes.book_refund(refund, step)


def _refund_instruction(refund: Row, adapter: Adapter) -> RefundInstruction:
    return RefundInstruction(
        key=adapter.rail_key(bytes(refund["rail_key"])),
        payment_key=adapter.rail_key(bytes(refund["payment_key"])),
        amount=refund["amount"],
        currency=refund["currency"],
        send_by=refund["send_by"],
    )


def _by_mode(rows: Iterable[Any], key: Callable[[Any], bool] = lambda row: row["livemode"]) -> list[list[Any]]:
    """One record speaks of one mode."""
    found: dict[bool, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())
