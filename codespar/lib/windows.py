"""Time windows on a wall clock: {days, from, to} outside, {days, start, end} in minutes inside. Pure."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from codespar.lib.errors import Invalid

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\Z|24:00\Z")
EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]
_TIME = {"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"}
SCHEMA: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 50,
    "items": {
        "type": "object",
        "properties": {
            "days": {
                "type": "array",
                "minItems": 1,
                "maxItems": 7,
                "uniqueItems": True,
                "items": {"type": "integer", "minimum": 1, "maximum": 7},
            },
            "from": _TIME,
            "to": _TIME,
        },
        "required": ["from", "to"],
        "additionalProperties": False,
    },
}


def parse(value: object, pointer: str) -> list[dict[str, Any]]:
    """Windows as they are asked for: `days` are ISO weekdays (all when left out), `from` and `to` are HH:MM, `to` exclusive.

    22:00 to 07:00 runs over midnight and belongs to the day on which it began. Raises `Invalid`.
    """
    if not isinstance(value, list) or not 1 <= len(value) <= 50:
        raise Invalid(
            'Time windows are a list of 1 to 50 objects such as {"days": [1, 2], "from": "09:00", "to": "18:00"}.', pointer=pointer
        )
    return [_window(item, f"{pointer}/{index}") for index, item in enumerate(value)]


def render(windows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Windows as people read them."""
    return [{"days": list(w["days"]), "from": _clock(w["start"]), "to": _clock(w["end"])} for w in windows]


def inside(windows: Sequence[Mapping[str, Any]], local: datetime) -> bool:
    """Whether the wall-clock time `local` lies in one of the windows."""
    minute, today = local.hour * 60 + local.minute, local.isoweekday()
    yesterday = (today - 2) % 7 + 1
    for window in windows:
        start, end, days = window["start"], window["end"], window["days"]
        if start < end:
            if today in days and start <= minute < end:
                return True
        elif (today in days and minute >= start) or (yesterday in days and minute < end):
            return True
    return False


def _window(item: object, pointer: str) -> dict[str, Any]:
    if not isinstance(item, dict) or set(item) - {"days", "from", "to"} or not {"from", "to"} <= set(item):
        raise Invalid("A time window has `from`, `to`, and `days` if not every day.", pointer=pointer)
    days = item.get("days", EVERY_DAY)
    if not isinstance(days, list) or not days or any(type(d) is not int or not 1 <= d <= 7 for d in days) or len(set(days)) != len(days):
        raise Invalid("days are ISO weekdays, 1 (Monday) to 7 (Sunday), each once.", pointer=f"{pointer}/days")
    start, end = _minutes(item["from"], f"{pointer}/from"), _minutes(item["to"], f"{pointer}/to")
    if start == end or start == 1440:
        raise Invalid("A window begins before 24:00 and does not end when it begins: 00:00 to 24:00 is the whole day.", pointer=pointer)
    return {"days": sorted(days), "start": start, "end": end}


def _minutes(text: object, pointer: str) -> int:
    match = _CLOCK.match(text) if isinstance(text, str) else None
    if match is None:
        raise Invalid("This must be a time of day such as 09:30, from 00:00 to 24:00.", pointer=pointer)
    return 1440 if match[1] is None else int(match[1]) * 60 + int(match[2])


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
