"""Hints between processes over Redis: there is work, there is an outcome. A lost hint costs time, never a payment."""

import time
from contextlib import suppress
from uuid import UUID

import redis
from celery import current_app
from kombu.exceptions import OperationalError

from codespar.lib import cache

_KEEP_SECONDS = 60


def work() -> None:
    """Tell the dispatcher that something is due."""
    with suppress(OperationalError, redis.RedisError, OSError):
        current_app.send_task("rails.tasks.dispatch", queue="rail", expires=30, retry=False, ignore_result=True)


def outcome(payment: UUID) -> None:
    """Tell whoever waits for this payment that its state has changed."""
    with suppress(redis.RedisError):
        pipe = cache.client().pipeline(transaction=False)
        pipe.rpush(_name(payment), "1")
        pipe.expire(_name(payment), _KEEP_SECONDS)
        pipe.execute()


def wait(payment: UUID, seconds: float) -> None:
    """Wait for such a hint, at most `seconds` and never longer than one. Returning says nothing about the payment: read it.

    A hint wakes one: whoever finds the payment at its end gives the hint again, for others who wait for it.
    """
    try:
        cache.client().blpop([_name(payment)], timeout=max(0.01, min(seconds, 1.0)))
    except redis.RedisError:
        time.sleep(min(0.1, seconds))


def _name(payment: UUID) -> str:
    return f"codespar:outcome:{payment.hex}"
