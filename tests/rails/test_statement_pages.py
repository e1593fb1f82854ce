"""How a statement of many pages is read to its end, where most of them have nothing of ours, and where a rail never comes to the end."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from codespar.launcher.stack import StackInfo
from rails.adapters.base import Statement, StatementLine, Unreadable

LINE = StatementLine(
    id="l1", kind="deposit", provider_id="d1", key=None, amount=7, currency="USDC", at=datetime(2026, 3, 4, tzinfo=UTC), party="p"
)


def page(cursor: str, *lines: StatementLine, complete: bool = False) -> Statement:
    return Statement(opening=None, lines=lines, closing=None, cursor=cursor, complete=complete, raw=b"")


def read(pages: Any) -> list[tuple[str, int]]:
    """(cursor, lines) of each page as the engine takes them from a rail that gives these."""
    from rails import reconciliation

    given = iter(pages)
    rail = SimpleNamespace(statement=lambda cursor, deadline: next(given))
    run: Any = SimpleNamespace(org=uuid4(), begun={"rail": "x402", "livemode": False})
    return [(cursor, len(found.lines)) for cursor, found in reconciliation._statement(run, rail, "")]  # type: ignore[arg-type]


def test_pages_without_a_line_are_read_over(stack: StackInfo) -> None:
    found = read([page("1"), page("2"), page("3", LINE), page("4"), page("5", LINE, complete=True)])
    assert found == [("", 0), ("1", 0), ("2", 1), ("3", 0), ("4", 1)]


def test_a_statement_that_stands_still_is_no_statement(stack: StackInfo) -> None:
    with pytest.raises(Unreadable, match="does not go on"):
        read([page("1", LINE), page("1", LINE)])


def test_a_rail_that_never_comes_to_the_end_is_left(stack: StackInfo) -> None:
    from rails import reconciliation

    with pytest.raises(Unreadable, match="does not go on"):
        read(page(str(number)) for number in range(1, 10**6))
    long = [*(page(str(number)) for number in range(1, reconciliation.MOST_EMPTY)), page("x", complete=True)]
    assert len(read(long)) == reconciliation.MOST_EMPTY


@pytest.mark.parametrize(("now", "before", "changed"), [(5, 5, False), (5, 6, True), (None, 5, False), (5, None, False), (0, 5, True)])
def test_a_balance_that_is_not_told_any_more_has_not_changed(stack: StackInfo, now: int | None, before: int | None, changed: bool) -> None:
    from rails import reconciliation

    assert reconciliation._changed(now, before) is changed
