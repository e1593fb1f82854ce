"""The engine's dispatcher with the null rail in the bank's place: `celery -A bench.dispatcher`, on the bench's own database."""

from bench import steps
from bench.null_rail import NullRail
from codespar.celery import app
from rails.adapters import ADAPTERS

ADAPTERS["sandbox"] = NullRail
steps.watch_dispatcher()

__all__ = ["app"]
