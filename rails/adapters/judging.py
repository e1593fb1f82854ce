"""From what came back to what it proves: a pure judge says it of an answer, and trouble on the way proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from rails.adapters import reading
from rails.adapters.base import Check, Outcome, Result, Unreadable
from rails.adapters.exchange import Exchange

T = TypeVar("T")
# Trouble before the first byte, after which the same request may be made again.
BEFORE_A_BYTE = ("connect_failed", "pool_timeout")
# Trouble after which a question may be asked again: nobody answered it.
UNHEARD = (*BEFORE_A_BYTE, "timeout", "disconnected")
# What a rail says when it has not looked at the request.
NOT_NOW = (429, 502, 503)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer proves; fields as in `Outcome`."""

    result: Result
    code: str
    reason: str
    provider_id: str | None = None
    moved: int | None = None


def outcome(done: Exchange, judge: Callable[[int, bytes], Verdict], *, asks: bool, repeats: bool) -> Outcome:
    """The outcome of an exchange. `asks`: it was a question and not a request; `repeats` as `Capabilities.key_repeats`."""
    verdict = Verdict(Result.UNKNOWN, done.failure, done.detail)
    if done.status is not None:
        verdict = _only_what_was_asked(done.status, judge(done.status, done.body), asks=asks)
    unsent = done.status is None and not done.sent and done.failure in BEFORE_A_BYTE
    return Outcome(
        result=verdict.result,
        reason=verdict.reason,
        provider_id=verdict.provider_id,
        sent=done.sent,
        raw=done.body,
        request=done.request,
        code=verdict.code,
        http_status=done.status,
        moved=verdict.moved,
        again=unsent or (repeats and verdict.result is Result.UNKNOWN and done.status in NOT_NOW),
        invalid=verdict.code == "invalid_response" or verdict.code.startswith("mismatch_"),
    )


def unsent(code: str, reason: str) -> Outcome:
    """Nothing was written: the reason is ours, and not the rail's."""
    return Outcome(result=Result.UNKNOWN, reason=reason, provider_id=None, sent=False, raw=b"", request=b"", code=code)


def unfit(code: str, detail: str) -> tuple[Check, ...]:
    """The preflight of an account whose statement could not be read. Who turns our credentials away is there."""
    known = code == "unauthorized"
    return (
        Check(name="reachable", ok=known, detail="the bank answers" if known else detail),
        Check(name="account", ok=False, detail=detail),
    )


def invalid(status: int, reason: object) -> Verdict:
    """The answer is not what was agreed: it proves nothing."""
    return Verdict(Result.UNKNOWN, "invalid_response", f"the rail answered {status}, not as agreed: {reason}")


def outage(status: int) -> Verdict:
    """The rail failed: it may have done what it was asked, or not."""
    return Verdict(Result.UNKNOWN, "unavailable", f"the rail answered {status}")


def mismatch(name: str, provider_id: str | None) -> Verdict:
    """The rail has something else than what was asked for under our key: a human's."""
    return Verdict(Result.CONFLICTED, f"mismatch_{name}", f"{name} in the rail's answer does not equal the instruction", provider_id)


def read(
    done: Exchange, of: Callable[[dict[str, Any]], T], refused: Callable[[int, dict[str, Any]], Verdict], *, fractions: bool = False
) -> T | None:
    """What `of` makes of the answer, None for a not_found (`refused` tells); raises `Unreadable` for all that proves nothing."""
    if done.status is None:
        raise Unreadable(done.failure, done.detail, done.body)
    try:
        answer = reading.parse_object(done.body, fractions=fractions) if done.status < 500 else {}
        if done.status == 200:
            return of(answer)
        verdict = refused(done.status, answer) if answer else outage(done.status)
    except ValueError as error:
        raise Unreadable("invalid_response", str(error), done.body) from None
    if verdict.result is Result.NOT_FOUND:
        return None
    raise Unreadable(verdict.code, verdict.reason, done.body)


def _only_what_was_asked(status: int, verdict: Verdict, *, asks: bool) -> Verdict:
    """A refused question says nothing about the payment; a request to pay is not answered by not_found."""
    beside = (Result.REJECTED, Result.CONFLICTED) if asks else (Result.NOT_FOUND,)
    if status in (200, 201) or verdict.result not in beside:
        return verdict
    return invalid(status, "it does not answer the request")
