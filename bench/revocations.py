"""A revocation of everything, beside one of nearly nothing: one row, however many mandates it ends.

Two organisations, one with few live mandates and one with many, take turns: each revokes its agent, its project and itself, and asks
for a payment, which is refused. What a call of the one costs is told as a ratio to the same call of the other in the same round.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import machine, scene
from bench.machine import Machine
from bench.report import Goal, Table
from bench.scene import Payer
from codespar.demo.client import Api
from codespar.launcher.cluster import Cluster
from codespar.launcher.progress import Progress

DATABASE = "bench_revocations"
SCOPES = ("agent", "project", "org")


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, and the live mandates of the one organisation and of the other."""

    rounds: int
    mandates: tuple[int, int]


FULL = Plan(rounds=30, mandates=(10, 1_000_000))
QUICK = Plan(rounds=10, mandates=(10, 100_000))
SMOKE = Plan(rounds=1, mandates=(10, 100))

# Seconds of each call, by (what, mandates), in the order of the rounds.
Times = dict[tuple[str, int], list[float]]


def measure(servers: Cluster, plan: Plan, progress: Progress) -> list[Table]:
    """Make the two organisations, take the turns, compare."""
    try:
        with progress.step("Making two organisations"):
            machine.make(servers, DATABASE)
        with Machine(servers, DATABASE, 3) as here:
            payers = scene.payers(here, 2)
            for payer, count in zip(payers, plan.mandates, strict=True):
                with progress.step(f"Writing {count:,} mandates"), here.connect() as connection:
                    connection.execute("CALL bench.mandates(%s, %s)", [payer.id, count - 1])
                    connection.execute("VACUUM ANALYZE mandates, mandate_usages")
            with progress.step(f"Revoking, {plan.rounds} rounds"):
                before = _rows(here)
                times = _rounds(here, payers, plan)
                written = _rows(here) - before
        return [_table(times), _goals(times, plan), _written(written)]
    finally:
        servers.roles.drop_database(DATABASE)


def _rounds(here: Machine, payers: list[Payer], plan: Plan) -> Times:
    times: Times = defaultdict(list)
    for number in range(plan.rounds):
        pairs = list(zip(payers, plan.mandates, strict=True))
        for payer, count in pairs if number % 2 else reversed(pairs):
            owner, agent = Api(here.info.console_url, payer.owner), Api(here.info.base_url, payer.token)
            for scope in SCOPES:
                body = {"scope": scope, "reason": "a benchmark"} | ({} if scope == "org" else {"id": payer.ids[scope]})
                times[f"revoke {scope}", count].append(_timed(partial(owner.post, "/v1/revocations", body)))
            times["refuse the next payment", count].append(_timed(partial(_refused, agent, payer)))
    return times


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _refused(agent: Api, payer: Payer) -> None:
    answer = agent.send("/v1/payments", payer.body)
    if answer.status_code != 403:
        raise RuntimeError(f"Expected a refusal, got {answer.status_code}: {answer.text}")


def _rows(here: Machine) -> int:
    """Rows that say what is revoked or stopped."""
    with here.connect() as connection:
        row = connection.execute("SELECT count(*) FROM scope_states WHERE scope <> 'policy'").fetchone()
    return int(str(row[0])) if row else 0


def _table(times: Times) -> Table:
    rows = []
    for (what, count), seen in times.items():
        ordered = sorted(seen)
        rows.append((what, f"{count:,}", *(ordered[int(part * (len(ordered) - 1))] * 1000 for part in (0.5, 0.95))))
    return Table("One call, over HTTP, beside few and beside many live mandates", ("what", "live mandates", "p50 ms", "p95 ms"), rows)


def _goals(times: Times, plan: Plan) -> Table:
    few, many = plan.mandates
    goals = []
    for what in dict.fromkeys(what for what, _ in times):
        pairs = zip(times[what, many], times[what, few], strict=True)
        goals.append(Goal(f"{what}: {many:,} / {few:,} mandates", statistics.median(a / b for a, b in pairs), at_most=1.1))
    return Table("Goals", ("what", "measured", "goal", ""), [goal.row() for goal in goals])


def _written(rows: int) -> Table:
    said = (f"{len(SCOPES)} revoked scopes of two organisations, however often", rows)
    return Table("Rows that say what is revoked", ("what", "rows"), [said])
