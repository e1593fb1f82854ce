"""What can go wrong at a bank, on request: each fault is consumed a given number of times."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

# name -> (stage at which it strikes, default seconds). A request meets at most one fault at each stage:
# before anything is booked, while booking, in a status query, in the answer, in a statement, and when the webhook is queued.
FAULTS: Mapping[str, tuple[str, float]] = {
    "timeout_before": ("before", 30.0),
    "disconnect_before": ("before", 0.0),
    "unavailable": ("before", 0.0),
    "slow": ("before", 2.0),
    "decline": ("book", 0.0),
    "accepted_then_settled": ("book", 2.0),
    "in_two_legs": ("book", 2.0),
    "not_found_once": ("lookup", 0.0),
    "timeout_after": ("answer", 30.0),
    "disconnect_after": ("answer", 0.0),
    "rubbish": ("answer", 0.0),
    "wrong_amount": ("answer", 0.0),
    "wrong_payee": ("answer", 0.0),
    "wrong_id": ("answer", 0.0),
    "statement_gap": ("statement", 0.0),
    "webhook_twice": ("webhook", 0.0),
    "webhook_late": ("webhook", 2.0),
    "webhook_out_of_order": ("webhook", 5.0),
    "webhook_together": ("webhook", 5.0),
}
ON = ("write", "read", "token", "any")


class UnknownFault(ValueError):
    """The fault asked for cannot be set; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `count` is how often it is left to strike, `key` limits it to one of the client's keys.

    `on` says which requests `before` and `answer` faults strike: writes (PUT, the default), reads (GET), those for a token, or any.
    """

    fault: str
    count: int
    key: str | None
    seconds: float
    on: str


class Faults:
    """The faults that are set, in memory: a restart clears them. Thread-safe."""

    def __init__(self) -> None:
        self._set: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, body: Mapping[str, Any]) -> Fault:
        """Sets a fault from `{fault, count?, key?, seconds?, on?}`; raises `UnknownFault`."""
        fault = parse(body)
        with self._lock:
            self._set.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._set = []

    def listing(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._set]

    def take(self, stage: str, keys: Iterable[str], on: str = "any") -> Fault | None:
        """The first fault set for this stage, one of these keys and this kind of request; it counts down by one."""
        names = set(keys)
        with self._lock:
            for at, fault in enumerate(self._set):
                if FAULTS[fault.fault][0] == stage and fault.key in names | {None} and _strikes(fault, stage, on):
                    left = Fault(fault.fault, fault.count - 1, fault.key, fault.seconds, fault.on)
                    self._set[at : at + 1] = [left] if left.count else []
                    return fault
        return None


def _strikes(fault: Fault, stage: str, on: str) -> bool:
    return stage not in ("before", "answer") or fault.on in ("any", on)


def parse(body: Mapping[str, Any]) -> Fault:
    name = body.get("fault")
    if not isinstance(name, str) or name not in FAULTS:
        raise UnknownFault(f"unknown fault {name!r}; valid faults are {', '.join(sorted(FAULTS))}")
    if extra := set(body) - {"fault", "count", "key", "seconds", "on"}:
        raise UnknownFault(f"unknown field {sorted(extra)[0]!r}; valid fields are fault, count, key, seconds, on")
    count, key, on = body.get("count", 1), body.get("key"), body.get("on", "write")
    seconds = body.get("seconds", FAULTS[name][1])
    if type(count) is not int or not 1 <= count <= 1_000_000:
        raise UnknownFault("count must be an integer from 1 to 1000000")
    if type(seconds) not in (int, float) or not 0 <= seconds <= 600:
        raise UnknownFault("seconds must be a number from 0 to 600")
    if on not in ON or not (key is None or isinstance(key, str)):
        raise UnknownFault("on must be write, read, token or any; key must be a string")
    return Fault(name, count, key, float(seconds), on)
