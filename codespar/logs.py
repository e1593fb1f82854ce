"""Logs: one JSON line an event, to standard error. Tokens, keys and bodies are never in them."""

import logging.config
from collections.abc import MutableMapping
from typing import Any

import structlog

from codespar.lib import cards


def _masked(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Whatever is logged, a card number in it is not."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = cards.mask(value)
    return event


def configure(_: dict[str, Any] | None = None) -> None:
    """Set up standard logging and structlog alike. Django calls this once at the start."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _masked,
    ]
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "processor": structlog.processors.JSONRenderer(),
                    "foreign_pre_chain": shared,
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
            "loggers": {
                # Which URL a request asked for is the access log's; errors are the exception handler's.
                "django.request": {"level": "CRITICAL"},
                "httpx2": {"level": "WARNING"},
            },
        }
    )
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
