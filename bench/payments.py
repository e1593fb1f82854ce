"""A payment, from the request to settled, beside its floors.

`floor_sql` writes a payment's rows in as many commits by hand, `floor_http` does that behind a bare Django view on the api's server,
and `engine_http` is `POST /v1/payments` over the null rail. They take turns in each round, so that whatever slows the machine down
hits all of them alike, and each figure is told as a ratio to a floor of the same round.
"""

import http.client
import itertools
import json
import secrets
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg

from bench import floor, load, machine, scene, steps
from bench.load import Pay, Sample
from bench.machine import Machine
from bench.report import Goal, Table, share
from bench.scene import Payer
from codespar.launcher.cluster import Cluster
from codespar.launcher.progress import Progress

SMALL, LARGE = "bench_small", "bench_large"
CONTESTANTS = ("floor_sql", "floor_http", "engine_http")
ENTRIES_OF_A_PAYMENT = 3
# The organisation that is hot, and that has the long chain.
HOT = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done: seconds of each turn, organisations beside the hot one, connections, entries of the short and the long chain."""

    rounds: int
    seconds: float
    organisations: int
    connections: tuple[int, ...]
    entries: tuple[int, int]


FULL = Plan(rounds=5, seconds=4.0, organisations=100, connections=(1, 16, 64), entries=(10_000, 1_000_000))
QUICK = Plan(rounds=2, seconds=1.5, organisations=20, connections=(1, 16), entries=(10_000, 100_000))
SMOKE = Plan(rounds=1, seconds=0.3, organisations=2, connections=(1, 2), entries=(30, 60))


@dataclass(frozen=True, slots=True)
class Cell:
    """One way of paying: from which database and organisations, over how many connections."""

    database: str
    organisations: str
    connections: int


@dataclass(slots=True)
class Measured:
    """What was seen of one contestant in one cell: a sample of each round, and the processor seconds of each process."""

    rounds: list[Sample] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def all(self) -> Sample:
        return sum(self.rounds, Sample())

    @property
    def rate(self) -> float:
        return statistics.median(sample.rate for sample in self.rounds)


Results = dict[tuple[Cell, str], Measured]


def measure(servers: Cluster, plan: Plan, progress: Progress) -> list[Table]:
    """Everything: make the databases, take the turns, and say where the time goes."""
    try:
        return _measured(servers, plan, progress, _prepare(servers, plan, progress))
    finally:
        for database in (SMALL, LARGE):
            servers.roles.drop_database(database)


def _measured(servers: Cluster, plan: Plan, progress: Progress, payers: list[Payer]) -> list[Table]:
    hot, many = payers[:HOT], payers[HOT:]
    with Machine(servers, SMALL, 1) as small, Machine(servers, LARGE, 2) as large:
        turns = [
            *((small, Cell(SMALL, name, n), some) for name, some in (("one", hot), (str(len(many)), many)) for n in plan.connections),
            *((large, Cell(LARGE, "one", n), hot) for n in plan.connections[:2]),
        ]
        with progress.step(f"Paying: {len(turns)} cells, {plan.rounds} rounds"):
            results = _rounds(turns, plan)
    with progress.step("Paying with a stopwatch"):
        timings = _timings(servers, plan, hot)
    return [_rates(results), _sizes(results, plan), _goals(results, plan, str(len(many))), _processes(results), *timings]


def _prepare(servers: Cluster, plan: Plan, progress: Progress) -> list[Payer]:
    """Two databases with the same organisations: one where the hot one's chain is short, one where it is long."""
    with progress.step(f"Making {plan.organisations + HOT} organisations"):
        machine.make(servers, SMALL)
        with Machine(servers, SMALL, 1) as small:
            payers = scene.payers(small, plan.organisations + HOT)
    servers.roles.drop_database(LARGE)
    servers.roles.create_database(LARGE, template=SMALL)
    for database, entries in zip((SMALL, LARGE), plan.entries, strict=True):
        with progress.step(f"Writing {entries:,} entries"), servers.postgres.connect(database) as connection:
            connection.execute("SET search_path = codespar, bench")
            connection.execute("CALL bench.fill(%s, %s)", [payers[0].id, entries // ENTRIES_OF_A_PAYMENT])
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
    return payers


def _rounds(turns: list[tuple[Machine, Cell, list[Payer]]], plan: Plan) -> Results:
    """In each round everybody has a turn in each cell; who begins changes from round to round."""
    results: Results = {(cell, name): Measured() for _, cell, _ in turns for name in CONTESTANTS}
    for number in range(plan.rounds):
        order = CONTESTANTS[number % 3 :] + CONTESTANTS[: number % 3]
        for here, cell, payers in turns:
            for name in order:
                _turn(results[cell, name], here, _clients(name, here, payers, cell.connections), plan.seconds)
    return results


def _turn(measured: Measured, here: Machine, clients: list[Pay], seconds: float) -> None:
    here.tidy()
    load.run(clients, min(0.3, seconds / 4))
    before = here.cpu()
    measured.rounds.append(load.run(clients, seconds))
    for name, used in here.cpu().items():
        measured.cpu[name] = measured.cpu.get(name, 0.0) + used - before[name]


def _clients(name: str, here: Machine, payers: list[Payer], count: int) -> list[Pay]:
    make: Callable[[Machine, Iterator[Payer], int], Pay] = {"floor_sql": _sql, "floor_http": _http, "engine_http": _engine}[name]
    return [make(here, itertools.islice(itertools.cycle(payers), number, None, count), number) for number in range(count)]


@cache
def _connected(here: Machine, number: int) -> psycopg.Connection[tuple[object, ...]]:
    """Kept from turn to turn, as every server keeps its own: a new connection has planned nothing yet."""
    return floor.connect(here.dsn())


def _sql(here: Machine, payers: Iterator[Payer], number: int) -> Pay:
    connection = _connected(here, number)
    return lambda: floor.pay(connection, str(next(payers).id))


def _http(here: Machine, payers: Iterator[Payer], number: int) -> Pay:
    connection = _connection(here.floor_url)
    filling = "." * 2500

    def pay() -> bool:
        body = json.dumps({"org": str(next(payers).id), "filling": filling})
        status, _ = _post(connection, "/", body, {})
        return status == 201

    return pay


def _engine(here: Machine, payers: Iterator[Payer], number: int) -> Pay:
    return client(here, payers)


def client(here: Machine, payers: Iterator[Payer]) -> Pay:
    """Pays for one after the other of `payers`, over a connection of its own, and waits for each to settle."""
    connection = _connection(here.info.base_url)

    def pay() -> bool:
        payer = next(payers)
        headers = {"Authorization": f"Bearer {payer.token}", "Idempotency-Key": secrets.token_hex(16)}
        status, answer = _post(connection, "/v1/payments", json.dumps(payer.body), headers)
        return status == 201 and json.loads(answer)["status"] == "settled"

    return pay


def _connection(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)


def _post(connection: http.client.HTTPConnection, path: str, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
    connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read()


def _timings(servers: Cluster, plan: Plan, payers: list[Payer]) -> list[Table]:
    """The same payments once more, with a stopwatch around each step and every statement counted."""
    folder = Path(machine.STATE / "timings")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    connections = plan.connections[-1 if len(plan.connections) < 3 else 1]
    with Machine(servers, SMALL, 1, timings=folder) as here:
        clients = _clients("engine_http", here, payers, connections)
        load.run(clients, min(1.0, plan.seconds))
        steps.settle()
        before = steps.read(folder)
        with here.connect() as connection:
            connection.execute("SELECT pg_stat_statements_reset()")
            sample = load.run(clients, 2 * plan.seconds)
            steps.settle()
            spent = steps.since(before, steps.read(folder))
            rows = connection.execute(_STATEMENTS).fetchall()
    return [_steps(spent, len(sample.latencies), connections), _statements(rows, len(sample.latencies))]


_STATEMENTS = """
SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 90), calls, total_exec_time FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query NOT LIKE '%pg_stat%'
ORDER BY total_exec_time DESC LIMIT 20
"""


def _steps(spent: dict[str, list[float]], payments: int, connections: int) -> Table:
    rows = sorted(spent.items(), key=lambda item: -item[1][2])
    return Table(
        f"Where the time goes in Python: milliseconds a payment, {connections} connections, one organisation, with stopwatches",
        ("step", "times", "wall ms", "cpu ms"),
        [(step, row[0] / payments, row[1] * 1000 / payments, row[2] * 1000 / payments) for step, row in rows],
    )


def _statements(rows: list[tuple[object, ...]], payments: int) -> Table:
    return Table(
        "Where the time goes in Postgres: milliseconds a payment, by statement (commits count as statements of their own)",
        ("statement", "times", "ms"),
        [(str(query), int(str(calls)) / payments, float(str(ms)) / payments) for query, calls, ms in rows],
    )


def _ratio(results: Results, cell: Cell, name: str, other: Cell, than: str) -> float:
    """The median over the rounds of one rate through the other of the same round."""
    pairs = zip(results[cell, name].rounds, results[other, than].rounds, strict=True)
    return statistics.median(a.rate / b.rate for a, b in pairs)


def _rates(results: Results) -> Table:
    rows = []
    for (cell, name), measured in results.items():
        if cell.database == SMALL:
            seen, ratios = measured.all, [_ratio(results, cell, name, cell, than) for than in CONTESTANTS[:2]]
            rows.append((cell.organisations, cell.connections, name, measured.rate, *_latencies(seen), *ratios, seen.unsettled))
    latencies, ratios_ = ("p50 ms", "p95 ms", "p99 ms"), ("of floor_sql", "of floor_http")
    head = ("organisations", "connections", "what", "a second", *latencies, *ratios_, "not settled")
    return Table("Payments from the request to settled", head, rows)


def _latencies(sample: Sample) -> list[float]:
    return [sample.percentile(percent) * 1000 for percent in (50, 95, 99)]


def _sizes(results: Results, plan: Plan) -> Table:
    rows = []
    for (cell, name), measured in results.items():
        if cell.database == LARGE:
            near = Cell(SMALL, "one", cell.connections)
            cost = _ratio(results, near, name, cell, name)
            rows.append((cell.connections, name, results[near, name].rate, measured.rate, cost))
    short, long = (f"{entries:,} entries" for entries in plan.entries)
    head = ("connections", "what", f"a second, {short}", f"a second, {long}", "cost, long to short")
    return Table("The same with a long chain behind it", head, rows)


def _goals(results: Results, plan: Plan, many: str) -> Table:
    engine, rows = CONTESTANTS[2], list[Goal]()
    for n in plan.connections:
        one, all_ = Cell(SMALL, "one", n), Cell(SMALL, many, n)
        for cell, who in ((one, "one hot organisation"), (all_, f"{many} organisations")):
            rows.append(
                Goal(f"engine_http / floor_http: {who}, connections: {n}", _ratio(results, cell, engine, cell, "floor_http"), at_least=0.5)
            )
        rows.append(Goal(f"one hot organisation / {many}, connections: {n}", _ratio(results, one, engine, all_, engine), at_least=0.8))
    for n in plan.connections[:2]:
        cost = _ratio(results, Cell(SMALL, "one", n), engine, Cell(LARGE, "one", n), engine)
        rows.append(Goal(f"cost with {plan.entries[1]:,} entries / {plan.entries[0]:,}, connections: {n}", cost, at_most=1.1))
    usual = plan.connections[1]
    steady = results[Cell(SMALL, "one", usual), engine].all
    rows.append(Goal(f"p99 / p50: one hot organisation, connections: {usual}", steady.percentile(99) / steady.percentile(50), at_most=4.0))
    return Table("Goals", ("what", "measured", "goal", ""), [goal.row() for goal in rows])


def _processes(results: Results) -> Table:
    rows = []
    for (cell, name), measured in results.items():
        if cell.database == SMALL and measured.cpu:
            rows.append((cell.organisations, cell.connections, name, *share(measured.cpu, len(measured.all.latencies))))
    head = ("organisations", "connections", "what", "api", "dispatcher", "floor", "postgres", "load", "all")
    return Table("Processor milliseconds a payment, by process", head, rows)
