"""Everything that takes part, on this one machine: Postgres with the durability of production, Valkey, the engine's own processes."""

import json
import os
import platform
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Self

import psycopg

from bench import steps
from codespar.launcher import ports
from codespar.launcher.cluster import PROJECT, Cluster
from codespar.launcher.processes import Spec
from codespar.launcher.stack import Stack, StackInfo
from codespar.launcher.state import private_folder

STATE = Path(os.environ.get("CODESPAR_STATE_DIR") or PROJECT / ".codespar" / "bench")
# Two engines and a floor with a connection for each thread share the server. Durability is the launcher's, which is production's.
SETTINGS = {"max_connections": "400", "shared_preload_libraries": "pg_stat_statements"}
# Each access token may ask as often as it can.
UNLIMITED = {"CODESPAR_REQUESTS_PER_MINUTE": "10000000"}
SQL = [Path(__file__).with_name("sql") / name for name in ("floor.sql", "history.sql", "mandates.sql", "statements.sql")]
TEMPLATE = "bench_template"
# Where the floor's server finds its database.
DSN = "BENCH_DSN"
_TICKS = os.sysconf("SC_CLK_TCK")


def cluster() -> Cluster:
    """The bench's own servers, apart from those of the demo and of the tests."""
    return Cluster(STATE, deployment="bench.localhost", settings=SETTINGS)


def about(servers: Cluster) -> str:
    """The machine in one line."""
    with servers.postgres.connect() as connection:
        row = connection.execute("SELECT version(), current_setting('fsync'), current_setting('synchronous_commit')").fetchone()
    assert row is not None
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    server = " ".join(row[0].split()[:2])
    return f"{os.cpu_count()} cores, {kernel}, Python {platform.python_version()}, {server} (fsync {row[1]}, synchronous_commit {row[2]})"


class Machine:
    """One database with an engine on it, and the floor's web server when it is wanted. As a context manager it starts and stops.

    `rails` says where rails are, for a bench that has others than the null rail.
    """

    def __init__(
        self, servers: Cluster, database: str, redis_db: int, *, timings: Path | None = None, rails: dict[str, str] | None = None
    ) -> None:
        self.servers = servers
        self.database = database
        extra = UNLIMITED | ({steps.FOLDER: str(timings)} if timings else {}) | ({"CODESPAR_RAIL_URLS": json.dumps(rails)} if rails else {})
        self.stack = Stack(servers, database=database, redis_db=redis_db, names=("api", "console", "dispatcher"), extra_env=extra)
        self.floor_url = f"http://127.0.0.1:{ports.free()}"
        self._timed = timings is not None

    @property
    def info(self) -> StackInfo:
        return self.stack.info

    def __enter__(self) -> Self:
        try:
            specs = [*self._engine(), self._floor()]
            for spec in specs:
                self.stack.supervisor.start(spec, wait=False)
            for spec in specs:
                self.stack.supervisor.wait_ready(spec.name)
        except BaseException:
            self.stack.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stack.stop()

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's connection in autocommit mode."""
        connection = self.servers.postgres.connect(self.database)
        connection.execute("SET search_path = codespar, bench")
        return connection

    def tidy(self) -> None:
        """Clear away the old versions of the rows that every payment updates, so that nobody pays for whoever had the turn before."""
        with self.connect() as connection:
            connection.execute("VACUUM accounts, mandate_usages, counters, ledger_heads")

    def cpu(self) -> dict[str, float]:
        """Processor seconds that each process has used so far, with its children; empty where the kernel does not tell."""
        table = list(_processes())
        if not table:
            return {}
        used = {name: _of(table, self.stack.supervisor.pid(name)) for name in ("api", "dispatcher", "floor")}
        used["postgres"] = _of_children(table, f"{self.servers.postgres.data}/postmaster.pid")
        used["load"] = sum(os.times()[:2])
        return used

    def _engine(self) -> list[Spec]:
        """As in production, but for the dispatcher, who knows the null rail."""
        entries = {"codespar.celery": "bench.dispatcher", **({"codespar.wsgi:application": "bench.api:application"} if self._timed else {})}
        return [replace(spec, argv=[entries.get(word, word) for word in spec.argv]) for spec in self.stack.specs()]

    def _floor(self) -> Spec:
        """The api's server with its settings, another application and another port."""
        api = next(spec for spec in self.stack.specs() if spec.name == "api")
        port = {self.info.base_url.rpartition(":")[2]: self.floor_url.rpartition(":")[2]}
        entries = {"codespar.wsgi:application": "bench.floor_http:application", **port}
        argv = [entries.get(word, word) for word in api.argv]
        env = {**os.environ, DSN: self.dsn()}
        return Spec("floor", argv, env, PROJECT, health_url=f"{self.floor_url}/")

    def dsn(self) -> str:
        """The superuser's way to the database: the floor's rows are not the engine's, and no role may write them."""
        postgres = self.servers.postgres
        return (
            f"host=127.0.0.1 port={postgres.port} dbname={self.database} user=codespar_super password={postgres.password} "
            "options='-c search_path=codespar,bench'"
        )


def make(servers: Cluster, database: str) -> None:
    """A fresh database with the engine's schema and the floor's functions."""
    _template(servers)
    servers.roles.drop_database(database)
    servers.roles.create_database(database, template=TEMPLATE)


@cache
def _template(servers: Cluster) -> None:
    """Migrated once in a run: every database is a copy of it."""
    servers.roles.drop_database(TEMPLATE)
    private_folder(STATE / "stacks")
    servers.roles.create_database(TEMPLATE)
    servers.migrate(TEMPLATE)
    with servers.postgres.connect(TEMPLATE) as connection:
        connection.execute("SET search_path = codespar")
        for file in SQL:
            connection.execute(file.read_bytes())
        connection.execute("CREATE EXTENSION pg_stat_statements SCHEMA bench")


def _processes() -> list[tuple[int, int, int, float, float]]:
    """(pid, parent, session, own seconds, seconds of children that have ended)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own, ended = (sum(map(int, fields[at : at + 2])) / _TICKS for at in (11, 13))
        found.append((int(path.parent.name), int(fields[1]), int(fields[3]), own, ended))
    return found


def _of(table: list[tuple[int, int, int, float, float]], leader: int) -> float:
    return sum(own + ended for pid, _, session, own, ended in table if session == leader or pid == leader)


def _of_children(table: list[tuple[int, int, int, float, float]], pid_file: str) -> float:
    """Postgres' backends lead sessions of their own: they are known by their parent."""
    postmaster = int(Path(pid_file).read_text().split()[0])
    return sum(own + (ended if pid == postmaster else 0.0) for pid, parent, _, own, ended in table if postmaster in (pid, parent))
