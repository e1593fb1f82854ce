"""The drivers: a thread for each rail, in each of the dispatcher's processes, that waits for hints and drives what is due, at once.

A rail has its own thread, so that a slow one holds up nobody else's payments.

Not a Celery task for each hint: a task costs more than the payment, and Celery closes the database connections after each. When Redis is
away there are no hints, and the sweeper alone drives.
"""

import threading
import time
from collections.abc import Callable

import structlog
from celery import current_app
from celery.signals import worker_process_init

from codespar.lib import db
from rails import consents, dispatch, hints, preflight
from rails.adapters import ADAPTERS

log = structlog.get_logger(__name__)


def _look(rail: str) -> None:
    """What somebody waits for that moves no money."""
    consents.run_due(rail)
    preflight.run_due(rail)


_JOBS: dict[str, Callable[[str], object]] = {"work": dispatch.run, "check": _look}


@worker_process_init.connect
def start(**_: object) -> None:
    """Celery's children begin here; those of another queue than `rail` drive nothing."""
    if "rail" in current_app.amqp.queues:
        for rail in ADAPTERS:
            threading.Thread(target=_drive_forever, args=(rail,), name=f"driver-{rail}", daemon=True).start()


def _drive_forever(rail: str) -> None:
    while True:
        try:
            told = hints.take(rail)
            if told:
                _JOBS[told](rail)
        except Exception as error:
            # What is due stays due: the next hint or the sweeper finds it.
            log.error("drive_failed", error=type(error).__name__, detail=str(error))
            time.sleep(1.0)
        finally:
            db.release()
