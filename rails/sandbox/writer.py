"""One thread owns the writing connection: many callers, one commit (and one fsync) for each batch of them."""

from __future__ import annotations

import pathlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

# How long a note that nobody waits for may stay in memory, in seconds: what a kill -9 can lose of the request log.
LINGER = 0.05


def connect(path: pathlib.Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


class Writer:
    """Runs work against one sqlite file, in the order it was handed in, each piece all or nothing.

    What `run` returned is on disk: it survives kill -9 and a power cut.
    """

    def __init__(self, path: pathlib.Path, schema: str) -> None:
        self._db = connect(path)
        self._db.executescript(schema)
        self._reader = connect(path)
        self._read_lock = threading.Lock()
        self._queue: list[tuple[Work, Future[Any] | None]] = []
        self._urgent = False
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="book-writer", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work`, once it is committed; raises what `work` raised, then nothing of it is kept."""
        future: Future[T] = Future()
        with self._wake:
            if self._closing:
                raise RuntimeError("the book is closed")
            self._queue.append((work, future))
            self._urgent = True
            self._wake.notify()
        return future.result()

    def later(self, work: Work) -> None:
        """Hands `work` in without waiting: it is written with the next batch, at the latest after `LINGER` seconds."""
        with self._wake:
            if not self._closing:
                self._queue.append((work, None))
                self._wake.notify()

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of a read of what is committed; it does not wait for the writer."""
        with self._read_lock:
            return work(self._reader)

    def close(self) -> None:
        """Writes what is queued and closes the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=10)
        with self._read_lock:
            self._reader.close()

    def _loop(self) -> None:
        while True:
            batch, closing = self._next_batch()
            if batch:
                self._commit(batch)
            elif closing:
                self._db.close()
                return

    def _next_batch(self) -> tuple[list[tuple[Work, Future[Any] | None]], bool]:
        with self._wake:
            while not (self._queue or self._closing):
                self._wake.wait()
            until = time.monotonic() + LINGER
            while not (self._urgent or self._closing) and (left := until - time.monotonic()) > 0:
                self._wake.wait(left)
            batch, self._queue, self._urgent = self._queue, [], False
            return batch, self._closing

    def _commit(self, batch: list[tuple[Work, Future[Any] | None]]) -> None:
        done: list[tuple[Future[Any] | None, Any, BaseException | None]] = []
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for work, future in batch:
                done.append((future, *self._attempt(work)))
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            done = [(future, None, error) for _, future in batch]
        for future, result, failure in done:
            if future and failure:
                future.set_exception(failure)
            elif future:
                future.set_result(result)

    def _attempt(self, work: Work) -> tuple[Any, BaseException | None]:
        self._db.execute("SAVEPOINT piece")
        try:
            result = work(self._db)
        except Exception as error:
            self._db.execute("ROLLBACK TO piece")
            self._db.execute("RELEASE piece")
            return None, error
        self._db.execute("RELEASE piece")
        return result, None
