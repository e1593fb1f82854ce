"""Ctrl-C, TERM and HUP as one exception, which never strikes between starting a process and noting that it exists."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A person or the system asked this launcher to stop; not an Exception, so that nothing swallows it."""


class _Gate:
    def __init__(self) -> None:
        self.held = 0
        self.pending = False


_gate = _Gate()


def _on_signal(number: int, frame: FrameType | None) -> None:
    _gate.pending = True
    if not _gate.held:
        _strike()


def _strike() -> None:
    _gate.pending = False
    raise Interrupted


@contextlib.contextmanager
def hold() -> Iterator[None]:
    """Delay the exception to the end of the block; for the main thread only, the others are never interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _gate.held += 1
    try:
        yield
    finally:
        _gate.held -= 1
    if _gate.pending and not _gate.held:
        _strike()


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Raise `Interrupted` on the signals inside the block, and put the old handlers back after it."""
    old = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ignored() -> Iterator[None]:
    """Let nothing interrupt the block: stopping is bounded in time, and half stopped is the worst state."""
    old = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
