"""Stopped under load: whatever is held has a smaller seq than the stop, on every process, every time."""

import os
import secrets
import time
from functools import partial
from statistics import median
from typing import Any

from tests.races.test_changes import paying, until_one_settled
from tests.support.parallel import outcome
from tests.support.world import World, raw_id

TRIALS = int(os.environ.get("CODESPAR_TEST_STOPS", "20"))
AFTER = """
SELECT count(*) AS n FROM holds h JOIN ledger_entries e ON e.org_id = h.org_id AND e.id = h.entry_id
WHERE h.org_id = %s AND e.seq > (SELECT seq FROM ledger_entries WHERE org_id = %s AND id = %s)
"""
SENT = "SELECT extract(epoch FROM max(created_at)) AS at FROM attempts WHERE org_id = %s"


def test_nothing_is_held_after_a_stop_on_any_process(racing: World) -> None:
    """Each trial stops a random scope while sixteen callers pay, looks, and lifts it again."""
    scopes: dict[str, str | None] = {
        "org": None,
        "project": racing.project,
        "agent": racing.agent,
        "mandate": racing.mandate,
        "counterparty": racing.counterparty,
        "rail": "sandbox",
    }
    told: list[float] = []
    late: list[float] = []
    racing.people("oncall"), racing.people("operator")
    with paying(partial(pay, racing), threads=16) as answers:
        until_one_settled(answers)
        for _ in range(TRIALS):
            time.sleep(secrets.randbelow(40) / 1000)
            scope = secrets.choice(list(scopes))
            began = time.monotonic()
            stop = racing.stop(scope, scopes[scope])
            told.append(time.monotonic() - began)
            refused = pay(racing)
            assert outcome(refused) == "stopped", refused.text
            assert held_after(racing, stop) == 0, f"a hold after the stop of {scope}"
            late.append(last_submission(racing, stop))
            racing.lift(stop)
    slow = sorted(told)
    print(f"{len(told)} stops: acknowledged after {median(told) * 1000:.0f} ms (at most {slow[-1] * 1000:.0f} ms); ", end="")
    print(f"the last submission before the look came at most {max(late) * 1000:.0f} ms after the stop's record")
    strange = {outcome(answer) for answer in answers} - {"settled", "authorized", "submitted", "canceled", "failed", "stopped", "reversed"}
    assert strange <= {"contention", "unavailable", "reversing"}, strange


def pay(world: World) -> Any:
    return world.pay(1)


def held_after(world: World, stop: dict[str, Any]) -> int:
    org = raw_id(world.org)
    return int(world.rows(AFTER, org, org, raw_id(stop["entry"]))[0]["n"])


def last_submission(world: World, stop: dict[str, Any]) -> float:
    """Seconds from the stop's record to the last attempt that was recorded."""
    stamp = "SELECT extract(epoch FROM appended_at) AS at FROM ledger_entries WHERE org_id = %s AND id = %s"
    record = world.rows(stamp, raw_id(world.org), raw_id(stop["entry"]))[0]["at"]
    return max(0.0, float(world.rows(SENT, raw_id(world.org))[0]["at"]) - float(record))
