"""A rail's day as a chart: where each bar stands and how high it is, in the chart's own units. The page draws it as SVG."""

from collections.abc import Iterator
from dataclasses import dataclass

from rails.rail_days import Day, Hour

# A column for each hour: what matched stands above the line, what is open hangs below it.
COLUMN, BAR, UP, DOWN = 12, 9, 56, 28


@dataclass(frozen=True, slots=True)
class Bar:
    """A column of a chart, in its own units."""

    hour: Hour
    x: int
    top: float
    matched: float
    open: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One rail's day as it is drawn. `most_matched` and `most_open` are what a whole column stands for."""

    day: Day
    bars: list[Bar]
    most_matched: int
    most_open: int

    @property
    def width(self) -> int:
        return COLUMN * len(self.bars)


def chart(day: Day) -> Chart:
    """A bar is as high as its number, beside the highest of its kind that day; what is not zero is at least visible."""
    matched = max(1, *(hour.matched for hour in day.hours))
    open_ = max(1, *(hour.open for hour in day.hours))
    return Chart(day, list(_bars(day, matched, open_)), matched, open_)


def _bars(day: Day, matched: int, open_: int) -> Iterator[Bar]:
    for number, hour in enumerate(day.hours):
        up, down = _high(hour.matched, matched, UP), _high(hour.open, open_, DOWN)
        yield Bar(hour, number * COLUMN, UP - up, up, down)


def _high(value: int, most: int, room: int) -> float:
    return 0.0 if value == 0 else max(2.0, round(room * value / most, 1))
