"""Circuit breakers: one for each rail and operation, shared by all processes over Redis. Without Redis they count as open.

A rail that fails five times in a row, or answers three times with what was not agreed, is left alone for a while; then one call is let
through, and what comes of it closes the breaker or opens it again. An open breaker stops what has not left: payments wait for it, and
expire if it stays open. It never makes an unknown, and questions about what has left go past it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

import pybreaker
from django.conf import settings

from codespar.lib import cache as redis
from codespar.lib import ids
from codespar.lib.errors import Unavailable
from rails import booking

# Failures in a row that open a breaker, by their kind.
MOST = {"failing": 5, "invalid": 3}
OPERATIONS = ("pay", "capture", "cancel", "refund", "statement")
EVERY = 10**9
CLOSED = pybreaker.STATE_CLOSED
# Codes that say that the rail itself is not well; with any other, it has answered.
FAILING = frozenset({"connect_failed", "timeout", "disconnected", "unavailable"})
# It logs each miss of Redis with its stack.
logging.getLogger(pybreaker.CircuitRedisStorage.__module__).setLevel(logging.CRITICAL)


class _Failed(Exception):
    """What a breaker counts."""


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker that changed its state, seen by a call of this organisation's."""

    org: UUID
    livemode: bool
    rail: str
    operation: str
    kind: str
    before: str
    after: str
    code: str


class _Listener(pybreaker.CircuitBreakerListener):
    def __init__(self) -> None:
        # Who is calling: a breaker changes inside the call that made it.
        self.calling = threading.local()

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        # Told before what all share is written: what stands there already is another process's change, which that one tells.
        if cb.current_state == new_state.name:
            return
        row, code = self.calling.row, self.calling.code
        rail, operation, kind = str(cb.name).split(":")
        _changes.append(Change(row["org_id"], row["livemode"], rail, operation, kind, old_state.name, new_state.name, code))


_changes: deque[Change] = deque()
_listener = _Listener()


@cache
def _breakers(rail: str, operation: str) -> tuple[pybreaker.CircuitBreaker, ...]:
    return tuple(_breaker(f"{rail}:{operation}:{kind}", most) for kind, most in MOST.items())


# A lock that somebody held when the process forked would be held for ever in the child.
os.register_at_fork(after_in_child=_breakers.cache_clear)


def _breaker(name: str, most: int) -> pybreaker.CircuitBreaker:
    storage = pybreaker.CircuitRedisStorage(
        pybreaker.STATE_CLOSED, redis.client(), namespace=f"codespar:breaker:{name}", fallback_circuit_state=pybreaker.STATE_OPEN
    )
    return pybreaker.CircuitBreaker(
        fail_max=most,
        reset_timeout=settings.CONFIG.breaker_seconds,
        listeners=[_listener],
        state_storage=storage,
        name=name,
        throw_new_error_on_trip=False,
    )


def allowance(rail: str, operation: str) -> int:
    """How many calls may be made now: `EVERY`, one as a probe, or none."""
    try:
        found = [(breaker, breaker.current_state) for breaker in _breakers(rail, operation)]
        if all(state == pybreaker.STATE_CLOSED for _, state in found):
            return EVERY
        if any(state == pybreaker.STATE_OPEN and _resting(breaker) for breaker, state in found):
            return 0
        lock = f"codespar:breaker:{rail}:{operation}:probe"
        return int(bool(redis.client().set(lock, "1", nx=True, px=int(settings.CONFIG.breaker_seconds * 1000))))
    except redis.AWAY:
        return 0


def report(row: Mapping[str, Any], operation: str, *, code: str, failing: bool = False, invalid: bool = False) -> None:
    """Tell the breakers what came of a call; `row` says over which rail and for whom it was made.

    `failing`: the rail is not well. `invalid`: it answered with what was not agreed.
    """
    seen = {"failing": failing, "invalid": invalid}
    _listener.calling.row, _listener.calling.code = row, code
    try:
        for breaker, kind in zip(_breakers(row["rail"], operation), MOST, strict=True):
            if seen[kind] or breaker.current_state != pybreaker.STATE_CLOSED or breaker.fail_counter:
                _count(breaker, failed=seen[kind])
    except redis.AWAY:
        # Nobody may send then: there is nothing to be learnt.
        return


def _count(breaker: pybreaker.CircuitBreaker, *, failed: bool) -> None:
    def call() -> None:
        if failed:
            raise _Failed

    try:
        breaker.call(call)
    except (_Failed, pybreaker.CircuitBreakerError):
        return


def states(rail: str) -> list[dict[str, Any]]:
    """Each operation's breaker: {operation, state, since}. Without Redis all are open, since a time that is not known."""
    try:
        # Asked once: a Redis that hangs would be waited for at each breaker.
        redis.client().ping()
        return [_state(rail, operation) for operation in OPERATIONS]
    except redis.AWAY:
        return [{"operation": operation, "state": pybreaker.STATE_OPEN, "since": None} for operation in OPERATIONS]


def state(rail: str, operation: str) -> str:
    """One operation's breaker: closed, open or half-open."""
    return str(_state(rail, operation)["state"])


def _state(rail: str, operation: str) -> dict[str, Any]:
    found = {str(breaker.current_state): breaker for breaker in _breakers(rail, operation)}
    worst = next(state for state in (pybreaker.STATE_OPEN, pybreaker.STATE_HALF_OPEN, pybreaker.STATE_CLOSED) if state in found)
    since = None if worst == pybreaker.STATE_CLOSED else _opened_at(found[worst])
    return {"operation": operation, "state": worst, "since": since}


def _resting(breaker: pybreaker.CircuitBreaker) -> bool:
    opened = _opened_at(breaker)
    return opened is not None and datetime.now(UTC) < opened + timedelta(seconds=settings.CONFIG.breaker_seconds)


def _opened_at(breaker: pybreaker.CircuitBreaker) -> datetime | None:
    found: datetime | None = breaker._state_storage.opened_at
    return found


def record() -> None:
    """Write down which breakers changed, in the chain of whose call changed them. Raises `Unavailable`; then they are kept."""
    while _changes:
        change = _changes.popleft()
        try:
            _record(change)
        except Unavailable:
            _changes.appendleft(change)
            raise


def _record(change: Change) -> None:
    wire = ids.wire("brk", ids.new())
    data = {
        "id": wire,
        "rail": change.rail,
        "operation": change.operation,
        "reason": change.kind,
        "from": change.before,
        "to": change.after,
        "code": change.code,
    }
    booking.write(
        "breaker_change", org=change.org, livemode=change.livemode, kind="rail.breaker_changed", subject=f"rail_{change.rail}", data=data
    )
