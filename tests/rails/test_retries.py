"""Asking again: what once may have left stays so, and nobody asks after the time to send by, or where the answer does not allow it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rails import retries
from rails.adapters.base import Outcome, RefundInstruction, Result


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(retries, "MOST_SECONDS", 0.002)
    monkeypatch.setattr(retries, "JITTER_SECONDS", 0.0)


def order(seconds: float = 30) -> RefundInstruction:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return RefundInstruction(key="k", payment_key="p", payment_id=None, amount=1, currency="BRL", send_by=until)


def said(result: Result = Result.UNKNOWN, *, sent: bool = True, again: bool = False) -> Outcome:
    return Outcome(result=result, reason="", provider_id=None, sent=sent, raw=b"", request=b"", code="x", again=again)


def ask(*answers: Outcome, allowed: bool = True, seconds: float = 30) -> tuple[Outcome, int]:
    """What came of it, and how often the rail was asked."""
    left: Iterator[Outcome] = iter(answers)
    asked = 0

    def call() -> Outcome:
        nonlocal asked
        asked += 1
        return next(left)

    return retries.until_answered(order(seconds), call, lambda: allowed), asked


AGAIN, UNSENT = said(again=True), said(sent=False, again=True)


def test_it_is_asked_until_it_answers() -> None:
    found, asked = ask(UNSENT, AGAIN, said(Result.SETTLED))
    assert (found.result, asked) == (Result.SETTLED, 3)


def test_five_times_and_no_more() -> None:
    found, asked = ask(*[AGAIN] * 9)
    assert (found.result, asked) == (Result.UNKNOWN, retries.ATTEMPTS)


@pytest.mark.parametrize("answer", [said(), said(Result.REJECTED), said(Result.CONFLICTED), said(sent=False)])
def test_what_does_not_allow_it_is_not_asked_again(answer: Outcome) -> None:
    assert ask(answer, said(Result.SETTLED)) == (answer, 1)


def test_a_later_try_that_wrote_nothing_does_not_prove_that_nothing_left() -> None:
    """The first request was written and answered 503; the next ones met a closed door."""
    found, _ = ask(AGAIN, *[UNSENT] * 9)
    assert (found.result, found.sent) == (Result.UNKNOWN, True)
    found, _ = ask(AGAIN, said(sent=False))
    assert found.sent


def test_nothing_that_was_written_stays_nothing() -> None:
    found, asked = ask(*[UNSENT] * 9)
    assert (found.sent, asked) == (False, retries.ATTEMPTS)


def test_an_open_breaker_ends_it() -> None:
    assert ask(AGAIN, said(Result.SETTLED), allowed=False) == (AGAIN, 1)


def test_nothing_is_asked_again_after_the_time_to_send_by() -> None:
    assert ask(AGAIN, said(Result.SETTLED), seconds=-1) == (AGAIN, 1)
