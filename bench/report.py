"""Tables of figures, as people read them and as docs/performance.md keeps them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A title, the names of the columns, and the rows: texts are left as they are, numbers get the digits that they deserve."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]

    def lines(self) -> list[str]:
        """The table in Markdown, with its columns aligned."""
        cells = [list(self.head), *([_text(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(self.head))]
        left = [all(isinstance(row[at], str) for row in self.rows) for at in range(len(self.head))]
        shown = [
            "| " + " | ".join(cell.ljust(w) if go else cell.rjust(w) for cell, w, go in zip(row, widths, left, strict=True)) + " |"
            for row in cells
        ]
        rule = "|" + "|".join("-" * (w + 2) if go else "-" * (w + 1) + ":" for w, go in zip(widths, left, strict=True)) + "|"
        return [f"### {self.title}", "", shown[0], rule, *shown[1:], ""]


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and what it ought to be. Missing it is told, and fails nothing."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    def row(self) -> tuple[str, float, str, str]:
        met = self.value >= self.at_least if self.at_least is not None else self.value <= (self.at_most or 0.0)
        goal = f"at least {self.at_least}" if self.at_least is not None else f"at most {self.at_most}"
        return (self.name, self.value, goal, "met" if met else "missed")


def share(cpu: Mapping[str, float], payments: int) -> list[float]:
    """Milliseconds of processor time a payment, by process, and their sum."""
    each = [seconds * 1000 / max(1, payments) for seconds in cpu.values()]
    return [*each, sum(each)]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return str(value)
