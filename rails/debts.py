"""What this process has seen of its own attempts and could not book yet: nobody else knows it, so it is kept until it is booked."""

import threading
from collections import deque
from collections.abc import Callable

import structlog

from codespar.lib.errors import Unavailable
from rails.faults import FAULTS

log = structlog.get_logger(__name__)
_owed: deque[Callable[[], None]] = deque()
_paying = threading.Lock()


def book(debt: Callable[[], None]) -> None:
    """Book it now, or owe it: behind what is owed already."""
    if not _owed:
        try:
            debt()
            return
        except Unavailable as error:
            log.error("result_owed", detail=str(error))
    owe(debt)


def owe(debt: Callable[[], None]) -> None:
    """Book it later."""
    _owed.append(debt)


def any_owed() -> bool:
    """Whether something waits to be booked."""
    return bool(_owed)


def pay() -> None:
    """Book what is owed. What the database refuses is logged, and found by asking. Raises `Unavailable` when the database is."""
    with _paying:
        for _ in range(len(_owed)):
            debt = _owed.popleft()
            try:
                debt()
            except Unavailable:
                _owed.append(debt)
                raise
            except FAULTS as error:
                log.error("result_not_booked", error=type(error).__name__, detail=str(error))
