"""A statement of many lines, held against our books, beside the bare SQL join that compares the same fields and marks the same rows.

The engine's functions are called as the engine calls them, by its role and within its limits. Both take turns on the same lines, in a
transaction that is rolled back. Then one organisation with all these lines behind it and one with few read some new ones each.
"""

import statistics
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg.types.json import Jsonb

from bench import machine, scene
from bench.machine import Machine
from bench.report import Goal, Table
from codespar.launcher.cluster import Cluster
from codespar.launcher.progress import Progress

DATABASE = "bench_matching"
JOIN, ENGINE = "sql join", "engine"
# As the rail's page, its settlement, what may be missing in its statement, and the engine's limits.
PAGE, LATE, MISSING, PART, MOST = 100, 70, 5, 10_000, 500


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, the lines of the long statement and of the short one, and how many new ones are read in each round."""

    rounds: int
    lines: tuple[int, int]
    more: int


FULL = Plan(rounds=5, lines=(1_000_000, 1_000), more=1_000)
QUICK = Plan(rounds=3, lines=(100_000, 1_000), more=1_000)
SMOKE = Plan(rounds=1, lines=(300, 100), more=50)

Connection = psycopg.Connection[Any]
# Seconds of each turn, by who had it, in the order of the rounds.
Times = dict[str, list[float]]


def measure(servers: Cluster, plan: Plan, progress: Progress) -> list[Table]:
    """Make two organisations with their statements, take the turns, compare."""
    try:
        with progress.step("Making two organisations"):
            machine.make(servers, DATABASE)
            with Machine(servers, DATABASE, 3) as here:
                long, short = (payer.id for payer in scene.payers(here, 2))
        with servers.postgres.connect(DATABASE) as admin:
            admin.execute("SET search_path = codespar, bench")
            with progress.step(f"Writing {plan.lines[0]:,} payments and a line for each"):
                for org, count in zip((long, short), plan.lines, strict=True):
                    _write(admin, org, count)
            with progress.step(f"Matching, {plan.rounds} rounds"):
                whole = _rounds(servers, admin, long, plan)
            for org in (long, short):
                with _rail(servers) as rail:
                    _read(rail, org, [])
            _tidy(admin)
            with progress.step(f"Reading {plan.more:,} lines more, {plan.rounds} rounds"):
                more = _more(servers, admin, {"after many": long, "after few": short}, plan)
        return [_table(whole, more, plan), _goals(whole, more, plan)]
    finally:
        servers.roles.drop_database(DATABASE)


def _write(admin: Connection, org: UUID, count: int) -> None:
    admin.execute("CALL bench.pay(%s, %s)", [org, count])
    admin.execute("CALL bench.store(%s, %s)", [org, _run(admin, org)])
    _tidy(admin)


def _tidy(admin: Connection) -> None:
    admin.execute("VACUUM ANALYZE")


def _run(connection: Connection, org: UUID) -> UUID:
    """A run that has begun."""
    run = uuid4()
    connection.execute("SELECT reconciliation_begin(%s, %s, %s)", [org, _account(connection, org), run])
    return run


def _account(connection: Connection, org: UUID) -> UUID:
    connection.execute("SELECT set_config('codespar.org', %s, false)", [str(org)])
    row = connection.execute("SELECT rail_account_id FROM reconciliation_states WHERE org_id = %s", [org]).fetchone()
    return UUID(str(row[0])) if row else uuid4()


def _rounds(servers: Cluster, admin: Connection, org: UUID, plan: Plan) -> Times:
    times: Times = {JOIN: [], ENGINE: []}
    for number in range(plan.rounds):
        for name in (JOIN, ENGINE) if number % 2 else (ENGINE, JOIN):
            _tidy(admin)
            times[name].append(_turn(servers, admin, name, org, plan.lines[0]))
    return times


def _turn(servers: Cluster, admin: Connection, name: str, org: UUID, lines: int) -> float:
    with _rail(servers) as rail:
        connection = admin if name == JOIN else rail
        with connection.transaction(force_rollback=True):
            run = _run(rail, org) if name == ENGINE else org
            began = time.perf_counter()
            matched = _match(rail, org, run) if name == ENGINE else _join(admin, org)
            seconds = time.perf_counter() - began
    if matched != lines:
        raise RuntimeError(f"{name} matched {matched} of {lines} lines.")
    return seconds


def _rail(servers: Cluster) -> Connection:
    connection = psycopg.connect(servers.dsn("rail", DATABASE), autocommit=True)
    connection.execute("SET search_path = codespar")
    return connection


_JOIN = """
UPDATE codespar.statement_lines l SET matched = true FROM codespar.payments y
WHERE l.org_id = %(org)s AND l.current AND NOT l.matched AND y.org_id = %(org)s AND y.rail = 'sandbox' AND y.rail_ref = l.ref
  AND y.status = 'settled' AND -l.amount = y.captured AND l.currency = y.currency AND l.party = y.rail_payee
"""


def _join(admin: Connection, org: UUID) -> int:
    return admin.execute(_JOIN, {"org": org}).rowcount


_MISSING = "SELECT statement_missing(%s, %s, %s, %s, %s)"


def _match(rail: Connection, org: UUID, run: UUID) -> int:
    """As `rails.reconciliation` does."""
    matched = 0
    after: str | None = ""
    while after is not None:
        part = _value(rail, "SELECT statement_agree(%s, %s, %s, %s, %s)", org, run, LATE, after, PART)
        matched, after = matched + part["matched"], part["last"]
    rest = _value(rail, "SELECT statement_match(%s, %s, %s, %s, %s)", org, run, LATE, MISSING, MOST)
    missing = _value(rail, _MISSING, org, run, MISSING, None, PART)
    while missing["last"] is not None and not missing["found"]:
        missing = _value(rail, _MISSING, org, run, MISSING, missing["last"], PART)
    if rest["found"] or rest["pending"] or missing["found"]:
        raise RuntimeError(f"Something does not agree: {rest} {missing}")
    return int(matched + rest["matched"])


def _value(connection: Connection, query: str, *arguments: object) -> Any:
    row = connection.execute(query, arguments).fetchone()
    return row[0] if row else None


def _more(servers: Cluster, admin: Connection, orgs: dict[str, UUID], plan: Plan) -> Times:
    """Each organisation reads, stores and matches so many lines more, from the first to the last step of a run."""
    times: Times = {name: [] for name in orgs}
    for number in range(plan.rounds):
        for name in list(orgs) if number % 2 else reversed(orgs):
            admin.execute("CALL bench.pay(%s, %s)", [orgs[name], plan.more])
            admin.execute("ANALYZE bench.paid")
            rows = admin.execute("SELECT line FROM bench.lines WHERE org_id = %s ORDER BY n", [orgs[name]]).fetchall()
            pages = [[row[0] for row in rows[at : at + PAGE]] for at in range(0, len(rows), PAGE)]
            with _rail(servers) as rail:
                began = time.perf_counter()
                matched = _read(rail, orgs[name], pages)
                times[name].append(time.perf_counter() - began)
            if matched != plan.more:
                raise RuntimeError(f"{matched} of {plan.more} lines were matched.")
    return times


def _read(rail: Connection, org: UUID, pages: list[list[Any]]) -> int:
    """A whole run over these pages: how many lines were matched."""
    run = _run(rail, org)
    for page in pages:
        rail.execute("SELECT statement_store(%s, %s, false, %s)", [org, run, Jsonb(page)])
    matched = _match(rail, org, run)
    end = "SELECT reconciliation_end(%s, %s, 'done', NULL, %s, 0, 0, NULL, NULL, '', NULL, NULL, NULL, 60)"
    rail.execute(end, [org, run, matched])
    return matched


def _table(whole: Times, more: Times, plan: Plan) -> Table:
    rows = [(f"match {plan.lines[0]:,} lines: {name}", statistics.median(seen) * 1000) for name, seen in whole.items()]
    rows += [
        (f"read and match {plan.more:,} lines: {name} ({count:,})", statistics.median(seen) * 1000)
        for (name, seen), count in zip(more.items(), plan.lines, strict=True)
    ]
    return Table("Statements", ("what", "median ms"), rows)


def _goals(whole: Times, more: Times, plan: Plan) -> Table:
    ratio = lambda times, over, under: statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))
    goals = [
        Goal(f"match {plan.lines[0]:,} lines: engine / sql join", ratio(whole, ENGINE, JOIN), at_most=2.0),
        Goal(f"{plan.more:,} lines more: after {plan.lines[0]:,} / {plan.lines[1]:,}", ratio(more, "after many", "after few"), at_most=2.0),
    ]
    return Table("Goals", ("what", "measured", "goal", ""), [goal.row() for goal in goals])
