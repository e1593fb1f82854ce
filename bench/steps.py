"""Where the time of a payment goes: stopwatches around the engine's own functions, put there from outside.

A process that is told a folder by BENCH_STEPS writes there what each step took: wall-clock and processor seconds, without the steps
inside it. Without that variable nothing is touched.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = "BENCH_STEPS"
_EVERY_SECONDS = 0.5
# module, function, what a reader calls it
_API = (
    ("codespar.identity.principals", "authenticate", "authenticate"),
    ("codespar.lib.cache", "require", "ask Redis"),
    ("rails.actions.payments", "look", "snapshot"),
    ("mandates.decision", "decide", "decide"),
    ("codespar.identity.acting", "sign", "sign"),
    ("rails.actions.payments", "decided", "write the record"),
    ("rails.hints", "work", "hint the dispatcher"),
    ("rails.answering", "_wait", "wait"),
    ("rails.hints", "wait", "wait for the hint"),
    ("rails.queries", "payment", "read the answer"),
    ("rails.answering", "render", "render"),
    ("rails.answering", "freeze", "freeze the answer"),
)
_DISPATCHER = (
    ("rails.dispatch", "run", "dispatch"),
    ("rails.queue", "claim", "claim"),
    ("rails.queue", "payments", "read"),
    ("rails.evidence", "public_keys", "evidence"),
    ("rails.evidence", "fault", "evidence"),
    ("codespar.identity.acting", "sign", "sign"),
    ("rails.dispatch", "_recorded", "submit"),
    ("rails.accounts", "adapter", "open the credential"),
    ("rails.calls", "each", "call the rail"),
    ("rails.outcomes", "book", "book the result"),
    ("rails.hints", "outcome", "hint who waits"),
)


class _Totals:
    """What this process has measured: step -> [times, wall seconds, processor seconds]."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: dict[str, list[float]] = {}
        self.pid = 0

    def add(self, step: str, wall: float, cpu: float) -> None:
        with self.lock:
            row = self.rows.setdefault(step, [0, 0.0, 0.0])
            row[0] += 1
            row[1] += wall
            row[2] += cpu
            if self.pid != os.getpid():
                # A fork keeps no threads, and begins with nothing.
                self.pid, self.rows = os.getpid(), {step: [1, wall, cpu]}
                threading.Thread(target=self._write_forever, name="bench-steps", daemon=True).start()

    def _write_forever(self) -> None:
        path = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
        while True:
            time.sleep(_EVERY_SECONDS)
            with self.lock:
                text = json.dumps(self.rows)
            path.write_text(text, encoding="utf-8")


class _Stack(threading.local):
    """The steps that are open in this thread: each one's inner (wall, processor) seconds."""

    def __init__(self) -> None:
        self.inner: list[list[float]] = []


_totals = _Totals()
_stack = _Stack()


def timed(step: str | Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, with a stopwatch. A step that is named by a function of the arguments gets these."""
    if not os.environ.get(FOLDER):
        return function

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        name = step if isinstance(step, str) else step(*arguments)
        _stack.inner.append([0.0, 0.0])
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            inner = _stack.inner.pop()
            if _stack.inner:
                _stack.inner[-1][0] += wall
                _stack.inner[-1][1] += cpu
            _totals.add(name, wall - inner[0], cpu - inner[1])

    return run


def watch_api() -> None:
    _watch(_API)


def watch_dispatcher() -> None:
    _watch(_DISPATCHER)


def _watch(places: tuple[tuple[str, str, str], ...]) -> None:
    if not os.environ.get(FOLDER):
        return
    for module, function, step in (*places, ("codespar.lib.db", "call", ""), ("codespar.lib.db", "rows", "")):
        found = import_module(module)
        setattr(found, function, timed(step or (lambda name, *_: f"sql: {name}"), getattr(found, function)))


def read(folder: Path) -> dict[str, list[float]]:
    """The sums over all processes that wrote into `folder`."""
    total: dict[str, list[float]] = {}
    for path in folder.glob("*.json"):
        for step, row in json.loads(path.read_text(encoding="utf-8")).items():
            total[step] = [a + b for a, b in zip(total.get(step, [0, 0.0, 0.0]), row, strict=True)]
    return total


def settle() -> None:
    """Wait until every process has written what it knows."""
    time.sleep(2.5 * _EVERY_SECONDS)


def since(before: dict[str, list[float]], now: dict[str, list[float]]) -> dict[str, list[float]]:
    """What has come between two readings."""
    return {step: [a - b for a, b in zip(row, before.get(step, [0, 0.0, 0.0]), strict=True)] for step, row in now.items()}
