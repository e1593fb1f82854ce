"""The sweeper: every five seconds, with or without Redis, each row whose time has come is driven on or handed to a human.

It runs inside the dispatcher, in a thread of its own: a broker that is away stops hints and tasks, not this.
"""

import threading
from typing import Any

import structlog
from celery import bootsteps

from codespar.lib import db
from rails import credits, dispatch, queue, stops, webhooks

log = structlog.get_logger(__name__)
EVERY_SECONDS = 5.0
JOBS = (queue.free_the_dead, stops.record_flags, dispatch.run_once, webhooks.read_new, credits.confirm_due)


class Sweeper(bootsteps.StartStopStep):
    """Started with the worker of the `rail` queue (see `codespar.celery`), and only there."""

    # Before the consumer, which waits for the broker.
    requires = {"celery.worker.components:Pool"}

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def include_if(self, parent: Any) -> bool:
        return "rail" in parent.app.amqp.queues

    def start(self, parent: Any) -> None:
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def stop(self, parent: Any) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=20)

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            for job in JOBS:
                try:
                    job()
                except Exception as error:
                    log.error("sweep_failed", job=job.__module__, error=type(error).__name__, detail=str(error))
                finally:
                    db.release()
