"""An engine with a Postgres and a Valkey of its own, so that every process of it may be killed, and the way to each of them."""

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from codespar.launcher import identity
from codespar.launcher.cluster import PROJECT, Cluster
from codespar.launcher.errors import LauncherError
from codespar.launcher.identity import Process
from codespar.launcher.stack import NAMES, Stack
from tests.support.request_proxy import RequestProxy

# In the environment of all that the launcher starts, and so of what those start.
_MARK = "PYTHONUNBUFFERED=1"
# Celery ends a worker whose children die before it looks at them for the first time, which it does as soon as it is ready.
_CELERY, _SETTLED_SECONDS = ("dispatcher", "worker"), 2.0


@dataclass
class Engine:
    """The servers, the processes on them, and the proxies between dispatcher and bank: one for each rail, `rail` the sandbox's."""

    cluster: Cluster
    stack: Stack
    rails: Mapping[str, RequestProxy]
    _ready: dict[int, float] = field(default_factory=dict)

    @property
    def rail(self) -> RequestProxy:
        return self.rails["sandbox"]

    def find(self, part: str) -> list[Process]:
        """The processes that are `part` now: a server or one of the stack's names, or its `child`. None of them while it starts."""
        name, _, which = part.partition(" ")
        if name == "postgres":
            return self._backends() if which else _alive(int(_first_line(self.cluster.postgres.data / "postmaster.pid")))
        if name == "valkey":
            return _alive(self.cluster.state.read("valkey.json").get("pid", 0))
        main = _alive(self.stack.supervisor.pid(name))
        if not main or (which and name in _CELERY and not self._settled(name, main[0].pid)):
            return []
        return [one for one in identity.session_members(main[0].pid, _MARK) if one != main[0]] if which else main

    def restart(self, server: str) -> None:
        """Start the server again that was killed, on its old port."""
        found = self.cluster.postgres if server == "postgres" else self.cluster.valkey
        port = found.port
        found.stop()
        found.start()
        assert found.port == port, f"{server} came back on port {found.port} instead of {port}"

    def _settled(self, name: str, pid: int) -> bool:
        try:
            self.stack.supervisor.wait_ready(name, 0)
        except LauncherError:
            return False
        return time.monotonic() - self._ready.setdefault(pid, time.monotonic()) > _SETTLED_SECONDS

    def _backends(self) -> list[Process]:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> current_user ORDER BY pid"
        try:
            with self.cluster.postgres.connect(connect_timeout=2) as connection:
                return [process for (pid,) in connection.execute(query) for process in _alive(pid)]
        except psycopg.Error:
            return []


@contextmanager
def alone(names: Sequence[str] = NAMES, **settings: str) -> Iterator[Engine]:
    """An engine in a folder of its own, with production's settings of Postgres and those given over them."""
    cluster = Cluster(PROJECT / ".codespar" / f"crash-{os.getpid()}", deployment="test.localhost", settings=settings)
    with contextlib.ExitStack() as open_:
        open_.callback(shutil.rmtree, cluster.state.make().folder)
        open_.enter_context(cluster.state.only_one())
        open_.callback(cluster.postgres.remove)
        open_.callback(cluster.stop)
        yield open_.enter_context(behind_proxy(Stack(cluster.start(), names=names)))


@contextmanager
def behind_proxy(
    plan: Stack, rails: Sequence[str] = ("sandbox",), stack: type[Stack] = Stack, node: str | None = None, **more: str
) -> Iterator[Engine]:
    """`plan`, which was not started, with a proxy between its dispatcher and its bank for each of `rails`; `more` is for its environment.

    The bank of the rail x402 is `node`, a chain's.
    """
    with contextlib.ExitStack() as open_:
        places = {rail: node if rail == "x402" and node else plan.info.sandbox_url for rail in rails}
        proxies = {rail: open_.enter_context(proxied(url)) for rail, url in places.items()}
        paths = {"sandbox": "", "x402": ""}
        urls = {rail: f"http://127.0.0.1:{proxy.port}{paths.get(rail, f'/{rail}-api')}" for rail, proxy in proxies.items()}
        extra = {"CODESPAR_REQUESTS_PER_MINUTE": "1000000", "CODESPAR_RAIL_URLS": json.dumps(urls), **more}
        # The bank's port is kept from one stack to the next.
        where = {"database": plan.info.database, "redis_db": plan.info.redis_db}
        running = stack(plan.cluster, names=plan.names, extra_env=extra, **where)
        running.supervisor.max_restarts, running.supervisor.longest_backoff_seconds = 10**6, 0.001
        with running:
            yield Engine(plan.cluster, running, proxies)


def proxied(url: str) -> RequestProxy:
    """A proxy in front of what listens at `url`."""
    place = urlsplit(url)
    assert place.hostname and place.port
    return RequestProxy(place.hostname, place.port)


def kill(process: Process) -> bool:
    """kill -9, and its end. False when it was gone before."""
    return identity.send(process, signal.SIGKILL) and identity.wait_gone(process, 10)


def _alive(pid: int) -> list[Process]:
    found = identity.find(pid) if pid > 0 else None
    return [found] if found else []


def _first_line(path: Path) -> str:
    try:
        return path.read_text().partition("\n")[0] or "0"
    except FileNotFoundError:
        return "0"
