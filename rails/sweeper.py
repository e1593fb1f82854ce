"""The sweeper: every five seconds, with or without Redis, each row whose time has come is driven on or handed to a human.

It runs inside the dispatcher, in threads of its own: a broker that is away stops hints and tasks, not this. What asks a rail has a
thread for each rail, so that a slow one holds up nobody else.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog
from celery import bootsteps

from codespar.lib import db
from rails import consents, credits, dispatch, preflight, queue, rollback, schedules, stops, webhooks
from rails.adapters import ADAPTERS

log = structlog.get_logger(__name__)
EVERY_SECONDS = 5.0
JOBS = (queue.free_the_dead, stops.record_flags, rollback.hurry, webhooks.read_new, schedules.run_due)
JOBS_OF_RAIL = (consents.run_due, preflight.run_due, dispatch.run_once, credits.confirm_due)


class Sweeper(bootsteps.StartStopStep):
    """Started with the worker of the `rail` queue (see `codespar.celery`), and only there."""

    # Before the consumer, which waits for the broker.
    requires = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def include_if(self, parent: Any) -> bool:
        return "rail" in parent.app.amqp.queues

    def start(self, parent: Any) -> None:
        rounds = {"sweeper": JOBS} | {f"sweeper-{rail}": tuple(partial(job, rail) for job in JOBS_OF_RAIL) for rail in ADAPTERS}
        self._threads = [threading.Thread(target=self._run, args=(jobs,), name=name, daemon=True) for name, jobs in rounds.items()]
        for thread in self._threads:
            thread.start()

    def stop(self, parent: Any) -> None:
        self._stop.set()
        until = time.monotonic() + 20
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))

    def _run(self, jobs: Sequence[Callable[[], object]]) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            for job in jobs:
                try:
                    job()
                except Exception as error:
                    log.error("sweep_failed", thread=threading.current_thread().name, error=type(error).__name__, detail=str(error))
                finally:
                    db.release()
