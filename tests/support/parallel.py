"""Many callers at one moment."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx2

T = TypeVar("T")


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all `calls`, each in a thread of its own, let go at once."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        gate.wait(timeout=30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def codes(answers: Sequence[httpx2.Response]) -> Counter[str]:
    """How often each outcome came: a 2xx by the payment's status, everything else by its problem code."""
    return Counter(outcome(answer) for answer in answers)


def outcome(answer: httpx2.Response) -> str:
    body: dict[str, Any] = answer.json()
    return str(body.get("status") if answer.status_code < 300 else body.get("code"))
