"""What can be wrong with one organisation's rows, credentials or rail, and must not stop anybody else's work."""

from collections.abc import Callable
from typing import Any

import structlog

from codespar.lib.errors import CodesparError

log = structlog.get_logger(__name__)
FAULTS = (CodesparError, LookupError, ValueError)


def guarded(step: Callable[..., None], *arguments: Any) -> None:
    """Run a step. A fault is logged, the rows stay as they are and their lease runs out: tried again then, by whoever is well."""
    try:
        step(*arguments)
    except FAULTS as error:
        log.error("dispatch_step_failed", step=step.__name__, error=type(error).__name__, detail=str(error))
