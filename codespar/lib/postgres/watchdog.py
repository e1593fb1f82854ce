"""A database that hangs is a database that is away: a query that is not answered in time loses its connection.

The server's own statement_timeout cannot help when the server, or the way to it, is what hangs. One thread watches for the whole process;
a query costs it two dictionary writes.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.db.backends.postgresql.base import Cursor

SECONDS = 6.0
_EVERY = 0.25
_watched: dict[object, tuple[float, int]] = {}
_lock = threading.Lock()
_started: set[int] = set()


@contextlib.contextmanager
def guard(connection: Any) -> Iterator[None]:
    """While this runs, `connection` has SECONDS to answer; then its socket is shut and the query fails as disconnected."""
    _start()
    token = object()
    _watched[token] = (time.monotonic() + SECONDS, connection.fileno())
    try:
        yield
    finally:
        with _lock:
            _watched.pop(token, None)


class WatchedCursor(Cursor):
    """Django's cursor, under guard."""

    def execute(self, *arguments: Any, **options: Any) -> Any:
        with guard(self.connection):  # type: ignore[attr-defined]  # the stubs see psycopg2
            return super().execute(*arguments, **options)  # type: ignore[misc]


def forget() -> None:
    """After a fork: what the parent's threads watch, and a lock that one of them may hold, are not this process's."""
    global _watched, _lock
    _watched, _lock = {}, threading.Lock()


def _start() -> None:
    pid = os.getpid()
    if pid not in _started:
        # A fork keeps no threads: each process has a watchdog of its own.
        _started.add(pid)
        threading.Thread(target=_watch, name="database-watchdog", daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(_EVERY)
        with _lock:
            late = [(token, descriptor) for token, (deadline, descriptor) in list(_watched.items()) if time.monotonic() > deadline]
            for token, descriptor in late:
                # Under the lock, so that the descriptor is still this query's.
                _watched.pop(token, None)
                _shut(descriptor)


def _shut(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        copy = socket.socket(fileno=os.dup(descriptor))
        with contextlib.closing(copy), contextlib.suppress(OSError):
            copy.shutdown(socket.SHUT_RDWR)
