"""The dispatcher: authorised payments leave exactly once, and what was sent is followed to its end.

Each step is durable before the next begins, and each may be repeated by another process after a crash: a payment is sent only by the
process that wrote its attempt, before `send_by`, once; whoever comes later only asks.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import clock, db, ids
from codespar.lib.errors import CodesparError
from rails import accounts, booking, evidence, hints, outcomes, queue, workers
from rails.adapters.base import Adapter, Instruction, Outcome, RefundInstruction

log = structlog.get_logger(__name__)
THREADS = 32
ORGANISATIONS = 8
# What can be wrong with one organisation's rows, credentials or rail, and must not stop anybody else's.
FAULTS = (CodesparError, LookupError, ValueError)
Row = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")


def run_once() -> int:
    """Take what is due and drive each of it one step on. Returns how many rows were taken.

    One organisation's fault never holds up another's work. A crash leaves rows under a lease that runs out; the next run takes them.
    """
    due = queue.claim(workers.identity())
    jobs = [
        (step, org, rows)
        for org, work in due.items()
        for step, rows in ((_expire, work.waiting), (_send, work.unsent), (_ask, work.asked), (_refund, work.refunds))
        if rows
    ]
    if len(jobs) == 1:
        _guarded(*jobs[0])
    elif jobs:
        with ThreadPoolExecutor(max_workers=min(ORGANISATIONS, len(jobs))) as pool:
            list(pool.map(lambda job: _releasing(_guarded, *job), jobs))
    return sum(len(w.unsent) + len(w.waiting) + len(w.asked) + len(w.refunds) for w in due.values())


def _guarded(step: Callable[[UUID, list[UUID]], None], org: UUID, rows: list[UUID]) -> None:
    try:
        step(org, rows)
    except FAULTS as error:
        # The rows stay as they are and their lease runs out: tried again then, by whoever is well.
        log.error("dispatch_step_failed", step=step.__name__, org=str(org), rows=len(rows), error=type(error).__name__, detail=str(error))


def _expire(org: UUID, rows: list[UUID]) -> None:
    for payment in queue.payments(org, rows):
        _end_unsent(payment, "expired", "approval_expired")


def _send(org: UUID, rows: list[UUID]) -> None:
    """authorized -> submitted -> whatever the rail says. Signatures are verified here again, by this process and role."""
    known = evidence.public_keys(org)
    good: list[Row] = []
    for payment in queue.payments(org, rows):
        if payment["status"] != "authorized":
            continue
        fault = evidence.fault(payment, known=known, deployment=settings.CONFIG.deployment, now=clock.now())
        if fault is None:
            good.append(payment)
        else:
            log.error("payment_evidence_fault", payment=ids.wire("pay", payment["id"]), fault=fault)
            _end_unsent(payment, "canceled", f"evidence_{fault}")
    for batch in _by_mode(good):
        _submit(org, batch)


def _submit(org: UUID, batch: list[Row]) -> None:
    sent_by = clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    for payment in batch:
        payment["attempt_id"], payment["send_by"] = ids.new(), min(sent_by, payment["submit_by"])
    while batch:
        done = booking.write("payments_submit", org=org, livemode=batch[0]["livemode"], kind="payments.submitted", **_submission(batch))
        if "moved" not in done:
            break
        reasons = {item["payment"]: item["reason"] for item in done["moved"]}
        for payment in batch:
            _blocked(payment, reasons.get(ids.wire("pay", payment["id"])))
        batch = [payment for payment in batch if ids.wire("pay", payment["id"]) not in reasons]
    # The last look writes nothing and comes after the commit: a stop that was recorded before it wins.
    clear = {row[0] for row in db.rows("may_send", org, [payment["attempt_id"] for payment in batch])} if batch else set()
    _call(batch, lambda payment: _pay(payment, payment["attempt_id"] in clear), _book_answers)


def _submission(batch: list[Row]) -> dict[str, Any]:
    items, parts = [], []
    for payment in batch:
        wire = ids.wire("pay", payment["id"])
        attempt = {
            "attempt": ids.wire("att", payment["attempt_id"]),
            "rail": payment["rail"],
            "rail_key": bytes(payment["rail_key"]).hex(),
            "send_by": clock.stamp(payment["send_by"]),
            "worker": workers.identity(),
        }
        items.append({"payment": wire, "from": "authorized", "to": "submitted", **attempt})
        parts += [
            {"part": "attempt", "payment": wire, "operation": "pay", **attempt},
            {"part": "transition", "subject": wire, "from": "authorized", "to": "submitted"},
        ]
    return {"subject": items[0]["payment"], "data": {"items": items}, "parts": parts, **booking.context(batch)}


def _blocked(payment: Row, reason: str | None) -> None:
    if reason == "expired":
        _end_unsent(payment, "expired", "submit_by_passed")
    elif reason in ("stopped", "mandate_revoked", "mandate_expired"):
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
    _call(asked, _query, _book_queries)


def _pay(payment: Row, clear: bool) -> Outcome | None:
    """The one place where a payment leaves. None: it was not sent, and the last look is the reason."""
    if not clear:
        return None
    try:
        adapter = accounts.adapter(payment["org_id"], payment["rail"], payment["livemode"])
        told = instruction(payment, adapter)
    except FAULTS as error:
        # Before the adapter was asked to send anything, so nothing has left.
        log.error("payment_not_sendable", payment=ids.wire("pay", payment["id"]), error=type(error).__name__)
        return None
    return adapter.send(told, time.monotonic() + settings.CONFIG.rail_seconds)


def _query(payment: Row) -> Outcome | None:
    """What the rail knows; None when it cannot even be asked."""
    try:
        return _asked(payment)
    except FAULTS as error:
        log.error("payment_not_askable", payment=ids.wire("pay", payment["id"]), error=type(error).__name__)
        return None


def _asked(payment: Row) -> Outcome:
    adapter = accounts.adapter(payment["org_id"], payment["rail"], payment["livemode"])
    expected = instruction(payment, adapter)
    return adapter.query(expected.key, expected, time.monotonic() + settings.CONFIG.rail_seconds)


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


def _call(rows: list[Row], call: Callable[[Row], Outcome | None], book: Callable[[list[tuple[Row, Outcome | None]]], None]) -> None:
    """Talk to the rail about all rows at once; book what has come back, together, without waiting for the slow ones.

    The threads touch the network only, but for opening the credential; the database is written by this thread alone.
    """
    if not rows:
        return
    with ThreadPoolExecutor(max_workers=min(THREADS, len(rows))) as pool:
        running: dict[Future[Outcome | None], Row] = {pool.submit(_releasing, call, row): row for row in rows}
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


def _book_answers(answers: list[tuple[Row, Outcome | None]]) -> None:
    outcomes.book([outcomes.of_answer(payment, answer) for payment, answer in answers])


def _book_queries(answers: list[tuple[Row, Outcome | None]]) -> None:
    steps = []
    for payment, answer in answers:
        step = outcomes.unasked(payment)
        if answer is not None:
            adapter = accounts.adapter(payment["org_id"], payment["rail"], payment["livemode"])
            step = outcomes.of_query(payment, answer, adapter.capabilities)
        if step is None:
            db.call("work_later", payment["org_id"], "payment", payment["id"], workers.identity())
        else:
            steps.append(step)
    outcomes.book(steps)


def _refund(org: UUID, rows: list[UUID]) -> None:
    for refund in queue.refunds(org, rows):
        if refund["status"] == "authorized":
            _send_refund(refund)
        elif refund["attempt_id"]:
            _ask_refund(refund)


def _send_refund(refund: Row) -> None:
    refund["attempt_id"], refund["send_by"] = ids.new(), clock.now() + timedelta(seconds=settings.CONFIG.send_seconds)
    wire = ids.wire("ref", refund["id"])
    attempt = {
        "attempt": ids.wire("att", refund["attempt_id"]),
        "rail": refund["rail"],
        "rail_key": bytes(refund["rail_key"]).hex(),
        "send_by": clock.stamp(refund["send_by"]),
        "worker": workers.identity(),
    }
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
    if "moved" in done:
        return
    refund["status"] = "submitted"
    if not db.rows("may_send", refund["org_id"], [refund["attempt_id"]]):
        outcomes.book_refund(refund, outcomes.of_answer(refund, None))
        return
    adapter = accounts.adapter(refund["org_id"], refund["rail"], refund["livemode"])
    answer = adapter.refund(_refund_instruction(refund, adapter), time.monotonic() + settings.CONFIG.rail_seconds)
    outcomes.book_refund(refund, outcomes.of_answer(refund, answer))


def _ask_refund(refund: Row) -> None:
    adapter = accounts.adapter(refund["org_id"], refund["rail"], refund["livemode"])
    expected = _refund_instruction(refund, adapter)
    answer = adapter.query_refund(expected.key, expected, time.monotonic() + settings.CONFIG.rail_seconds)
    step = outcomes.of_query(refund, answer, adapter.capabilities)
    if step is None:
        db.call("work_later", refund["org_id"], "refund", refund["id"], workers.identity())
    else:
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
