"""Hints between processes over Redis: there is work, there is an outcome. A lost hint costs time, never a payment."""

import time
from contextlib import suppress
from uuid import UUID

from codespar.lib import cache

_WORK = "codespar:work"
_CHECK = "codespar:check"
_KEEP_SECONDS = 60


def work(rail: str) -> None:
    """Tell the dispatcher that something is due on this rail."""
    _push(f"{_WORK}:{rail}")


def check(rail: str) -> None:
    """Tell the dispatcher that an account at this rail is to be checked, or a consent or a look under one is asked for."""
    _push(f"{_CHECK}:{rail}")


def take(rail: str, most: int = 32) -> str | None:
    """Wait for hints about this rail, at most a second, and take up to `most` of them: "work", "check", or None without any."""
    names: dict[bytes | str, str] = {f"{_WORK}:{rail}".encode(): "work", f"{_CHECK}:{rail}".encode(): "check"}
    try:
        found = cache.client().blpop(list(names), timeout=1.0)
        told = names.get(found[0]) if found else None
        if found and told:
            # One look at what is due answers all of them.
            cache.client().lpop(found[0], most - 1)
        return told
    except cache.AWAY:
        time.sleep(1.0)
        return None


def outcome(payment: UUID) -> None:
    """Tell whoever waits for this payment, or for an account's check, a consent or a look under one, that its state has changed."""
    _push(_name(payment))


def wait(payment: UUID, seconds: float) -> None:
    """Wait for such a hint, at most `seconds` and never longer than one. Returning says nothing about the payment: read it.

    A hint wakes one: whoever finds the payment at its end gives the hint again, for others who wait for it.
    """
    try:
        cache.client().blpop([_name(payment)], timeout=max(0.01, min(seconds, 1.0)))
    except cache.AWAY:
        time.sleep(min(0.1, seconds))


def _push(name: str) -> None:
    with suppress(*cache.AWAY):
        pipe = cache.client().pipeline(transaction=False)
        pipe.rpush(name, "1")
        pipe.expire(name, _KEEP_SECONDS)
        pipe.execute()


def _name(payment: UUID) -> str:
    return f"codespar:outcome:{payment.hex}"
