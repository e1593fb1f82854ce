"""A breaker's change is one process's doing: the others see it and say nothing."""

from uuid import uuid4

import pytest


@pytest.mark.usefixtures("stack")
def test_a_change_is_told_by_the_process_that_made_it_and_by_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from rails import breakers

    rail = f"r{uuid4().hex}"
    row = {"org_id": uuid4(), "livemode": False, "rail": rail}
    here, elsewhere = (tuple(breakers._breaker(f"{rail}:pay:{kind}", most) for kind, most in breakers.MOST.items()) for _ in range(2))

    def told(process: tuple[object, ...]) -> list[tuple[str, str]]:
        """What comes of a call that fails in that process."""
        monkeypatch.setattr(breakers, "_breakers", lambda rail, operation: process)
        breakers._changes.clear()
        breakers.report(row, "pay", code="unavailable", failing=True)
        return [(change.before, change.after) for change in breakers._changes]

    assert [told(here) for _ in range(breakers.MOST["failing"])] == [[], [], [], [], [("closed", "open")]]
    assert told(elsewhere) == []
    breakers._changes.clear()
