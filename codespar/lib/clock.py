"""Time: UTC, and the one text form that is signed."""

import re
from datetime import UTC, datetime

from codespar.lib.errors import Invalid

_SHAPE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z\Z")


def now() -> datetime:
    """This machine's clock, UTC. Decisions take `now` as an argument; only the edge calls this."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 with six decimals and `Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: object, pointer: str = "") -> datetime:
    """A moment from RFC 3339 text in UTC. Raises `Invalid` for anything else, offsets and leap seconds included."""
    if isinstance(text, str) and _SHAPE.match(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise Invalid("This must be a time such as 2026-01-31T12:00:00Z (RFC 3339, UTC, ending in Z).", pointer=pointer)
