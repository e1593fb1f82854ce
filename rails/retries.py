"""Asking a rail again: only where its answer allows it, ever more slowly, and not after the time to send by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import stamina

from codespar.lib import clock
from rails.adapters.base import Instruction, Outcome, RefundInstruction

ATTEMPTS = 5
FIRST_SECONDS, MOST_SECONDS, JITTER_SECONDS = 0.2, 2.0, 0.2


class _Again(Exception):
    """The rail asks to try again."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.code)
        self.outcome = outcome


def until_answered(order: Instruction | RefundInstruction, call: Callable[[], Outcome], allowed: Callable[[], bool]) -> Outcome:
    """The outcome of `call`, made again while `Outcome.again` and `allowed()` say so: gaps of 0.2, 0.4, 0.8 ... seconds, with jitter.

    What once may have been written stays so: a later call that wrote nothing does not prove that nothing left.
    """
    sent = False
    last: Outcome | None = None
    # A retry context takes no zero; an order whose time has passed is asked once, and not again (below).
    left = max(0.001, (order.send_by - clock.now()).total_seconds())
    try:
        for attempt in stamina.retry_context(
            on=_Again, attempts=ATTEMPTS, timeout=left, wait_initial=FIRST_SECONDS, wait_max=MOST_SECONDS, wait_jitter=JITTER_SECONDS
        ):
            with attempt:
                if last is not None and not allowed():
                    return last
                found = call()
                sent = sent or found.sent
                last = replace(found, sent=sent)
                if found.again and clock.now() < order.send_by:
                    raise _Again(last)
                return last
    except _Again as given_up:
        return given_up.outcome
    raise AssertionError("a retry context ends by a return or an exception")
