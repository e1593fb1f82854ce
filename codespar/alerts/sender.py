"""Who sends: threads of the worker's main process, with or without Redis, which no payment ever waits for.

An endpoint takes one thread while it has its turn, so that a slow receiver delays its own events and nobody else's.
"""

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import structlog
from celery import bootsteps

from codespar.alerts import sending
from codespar.lib import db
from rails import lags, workers

log = structlog.get_logger(__name__)
EVERY_SECONDS = 1.0
LAGS_EVERY_SECONDS = 5.0
THREADS = 16


class Sender(bootsteps.StartStopStep):
    """Started with the worker of the `default` queue (see `codespar.celery`), and only there."""

    # Before the consumer, which waits for the broker.
    requires = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._free = threading.Semaphore(THREADS)
        self._threads: list[threading.Thread] = []

    def include_if(self, parent: Any) -> bool:
        # Not whether there is such a queue, which every worker knows: whether this one works on it.
        return "default" in parent.app.amqp.queues.consume_from

    def start(self, parent: Any) -> None:
        rounds: dict[str, tuple[Callable[[], object], float]] = {
            "sender": (self._hand_out, EVERY_SECONDS),
            "lags": (lags.record_due, LAGS_EVERY_SECONDS),
        }
        self._threads = [threading.Thread(target=self._run, args=job, name=name, daemon=True) for name, job in rounds.items()]
        for thread in self._threads:
            thread.start()

    def stop(self, parent: Any) -> None:
        self._stop.set()
        until = time.monotonic() + 10
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        # What has begun may end. What does not is told again by the next process.
        for _ in range(THREADS):
            self._free.acquire(timeout=max(0.0, until - time.monotonic()))

    def _run(self, job: Callable[[], object], every: float) -> None:
        while not self._stop.wait(every):
            _guarded(job)

    def _hand_out(self) -> None:
        """Give every free thread an endpoint that has something to be told."""
        free = 0
        while self._free.acquire(blocking=False):
            free += 1
        found: list[tuple[UUID, UUID]] = []
        try:
            found = db.rows("webhooks_due", workers.identity(), free, sending.LEASE_SECONDS) if free else []
        finally:
            for _ in range(free - len(found)):
                self._free.release()
        for org, endpoint in found:
            threading.Thread(target=self._turn, args=(org, endpoint), name="sender-turn", daemon=True).start()

    def _turn(self, org: UUID, endpoint: UUID) -> None:
        try:
            _guarded(lambda: sending.turn(org, endpoint))
        finally:
            self._free.release()


def _guarded(job: Callable[[], object]) -> None:
    try:
        job()
    except Exception as error:
        log.error("alerts_failed", thread=threading.current_thread().name, error=type(error).__name__, detail=str(error))
    finally:
        db.release()
