"""Talking to rails: what they are told, what they say, and that none of it holds a database connection."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import structlog
from django.conf import settings

from codespar.lib import clock, db, ids, targets
from rails import booking, breakers, retries
from rails.adapters.base import Adapter, Instruction, NotSendable, Outcome, RefundInstruction, Result
from rails.faults import FAULTS

log = structlog.get_logger(__name__)
THREADS = 32
# Answers that come this close together are booked together: a record costs more than the wait.
GATHER_SECONDS = 0.005
# What an adapter calls an operation, where that is another word.
_METHODS = {"pay": "send"}
Row = dict[str, Any]
T = TypeVar("T")
Order = TypeVar("Order", Instruction, RefundInstruction)


def prepare(payment: Row) -> str | None:
    """Make the payment ready for its rail, and keep what that took. Why the rail cannot carry it, or None. Never raises."""
    adapter = payment["adapter"]
    try:
        if adapter is None:
            # It is not sent, and says so, when its turn comes.
            return None
        payment["terms"] = adapter.prepare(instruction(payment | {"send_by": payment["submit_by"]}, adapter), _deadline()).terms
        return None
    except NotSendable as error:
        log.warning("not_sendable", row=str(payment["id"]), code=error.code, reason=error.reason)
        return error.code
    except Exception as error:
        log.error("not_prepared", row=str(payment["id"]), error=type(error).__name__, exc_info=error)
        return "not_sendable"


def leave(row: Row, operation: str, told: Callable[[Row, Adapter], Order]) -> Outcome:
    """The one place where money leaves: by whoever holds the attempt, once. Never raises.

    `operation` is pay, capture, cancel or refund. A request that was not heard is made again, where the rail allows it.
    """
    adapter = row["adapter"]
    try:
        if adapter is None:
            return unsent("not_sendable")
        order = told(row, adapter)
    except FAULTS as error:
        log.error("not_sendable", row=str(row["id"]), error=type(error).__name__)
        return unsent("not_sendable")
    try:
        ask: Callable[[Any, float], Outcome] = getattr(adapter, _METHODS.get(operation, operation))
        return retries.until_answered(
            order, lambda: _reported(row, operation, ask(order, _deadline())), lambda: breakers.allowance(row["rail"], operation) > 0
        )
    except Exception as error:
        # An adapter does not raise. When one does, what has left is not known.
        log.error("adapter_raised", row=str(row["id"]), error=type(error).__name__, exc_info=error)
        return _said("adapter_raised", sent=True)


def _reported(row: Row, operation: str, outcome: Outcome) -> Outcome:
    failing = outcome.result is Result.UNKNOWN and outcome.code in breakers.FAILING
    breakers.report(row, operation, code=outcome.code, failing=failing, invalid=outcome.invalid)
    return outcome


def _deadline() -> float:
    return time.monotonic() + settings.CONFIG.rail_seconds


def learn(row: Row, told: Callable[[Row, Adapter], Order], ask: Callable[[Adapter], Callable[[Order, float], Outcome]]) -> Outcome | None:
    """What the rail knows; None when it cannot even be asked."""
    adapter = row["adapter"]
    try:
        if adapter is None:
            return None
        expected = told(row, adapter)
        row["asked_at"] = clock.now()
        return ask(adapter)(expected, _deadline())
    except FAULTS as error:
        log.error("not_askable", row=str(row["id"]), error=type(error).__name__)
        return None


def unsent(code: str) -> Outcome:
    """Nothing has left, and nothing will."""
    return _said(code, sent=False)


def _said(code: str, *, sent: bool) -> Outcome:
    return Outcome(result=Result.UNKNOWN, reason="", provider_id=None, sent=sent, raw=b"", request=b"", code=code)


def instruction(payment: Row, adapter: Adapter) -> Instruction:
    """What the rail is told: amount and payee from our own rows, never from a request, nor from what is paid for."""
    account = next(a for a in payment["counterparty"]["accounts"] if a["id"] == payment["account_id"])
    named = None if payment["target_value"] is None else bytes(payment["target_value"]).decode()
    return Instruction(
        key=adapter.rail_key(bytes(payment["rail_key"])),
        amount=payment["amount"],
        currency=payment["currency"],
        payee_type=account["type"],
        payee_account=account["value"],
        payee_name=payment["counterparty"]["name"],
        reference=ids.wire("pay", payment["id"]),
        send_by=payment["send_by"],
        target=targets.told(payment["rail"], named),
        provider_id=payment["provider_id"],
        terms=payment.get("terms"),
        consent=payment["provider_consent"],
    )


def refund_instruction(refund: Row, adapter: Adapter) -> RefundInstruction:
    """The same of a refund: which payment by our key, and how much of it."""
    return RefundInstruction(
        key=adapter.rail_key(bytes(refund["rail_key"])),
        payment_key=adapter.rail_key(bytes(refund["payment_key"])),
        payment_id=refund["payment_provider_id"],
        amount=refund["amount"],
        currency=refund["currency"],
        send_by=refund["send_by"],
        provider_id=refund["provider_id"],
    )


def each(rows: list[Row], call: Callable[[Row], T], book: Callable[[list[tuple[Row, T]]], None]) -> None:
    """Talk to the rail about all rows at once; book what has come back, together, without waiting for the slow ones.

    The threads touch the network only; the database is this thread's alone, who has given it back meanwhile.
    """
    if rows:
        # The rail may be slow, and connections are few.
        db.release()
    if len(rows) == 1:
        book([(rows[0], call(rows[0]))])
    elif rows:
        _at_once(rows, call, book)


def _at_once(rows: list[Row], call: Callable[[Row], T], book: Callable[[list[tuple[Row, T]]], None]) -> None:
    with ThreadPoolExecutor(max_workers=min(THREADS, len(rows))) as pool:
        running: dict[Future[T], Row] = {pool.submit(call, row): row for row in rows}
        while running:
            wait(running, return_when=FIRST_COMPLETED)
            finished, _ = wait(running, GATHER_SECONDS)
            answers = [(running.pop(future), future.result()) for future in finished]
            for batch in booking.by_mode(answers, key=lambda pair: pair[0]["livemode"]):
                book(batch)
