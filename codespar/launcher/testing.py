"""Databases and stacks for pytest: `pytest_plugins = ["codespar.launcher.testing"]` in the top conftest.

One cluster under `.codespar/test` serves every worker of every session on this checkout. One template database is
migrated once for each state of the migrations and SQL files; `copy` makes a fresh database from it in a moment.
Every pytest process holds a shared lock; whoever gives back the last one stops the servers, also after crashes.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from codespar.launcher import identity, valkey
from codespar.launcher.cluster import PROJECT, Cluster, Migrate, migrate_with_django
from codespar.launcher.errors import LauncherError
from codespar.launcher.processes import kill_leftovers
from codespar.launcher.stack import Stack
from codespar.launcher.state import State

PACKAGES = ("codespar", "wallets", "mandates", "ledger", "rails")
# Several stacks with their own pools share the cluster. The rest is as in production: crash tests rely on it.
SETTINGS = {"max_connections": "400"}

_USERS_LOCK = "launcher.lock"


@dataclass(frozen=True)
class Copy:
    """A migrated, empty database of one test worker, with a Redis database number that nobody else uses."""

    name: str
    redis_db: int
    cluster: Cluster

    def dsn(self, role: str) -> str:
        """`postgresql://` for agent, control, rail, auditor or owner."""
        return self.cluster.dsn(role, self.name)

    def env(self, role: str, **options: str) -> dict[str, str]:
        """The environment of a process on this copy; options as in `Cluster.env`."""
        return self.cluster.env(role, database=self.name, redis_db=self.redis_db, **options)

    def stack(self, **options: Any) -> Stack:
        """Processes on this copy; options as in `Stack`. Start and stop it with `with`."""
        return Stack(self.cluster, database=self.name, redis_db=self.redis_db, **options)


class Session:
    """What one pytest process uses of the shared cluster; `begin` and `end` may be called more than once."""

    def __init__(self, folder: Path | str, *, migrate: Migrate = migrate_with_django) -> None:
        self.state = State(folder)
        self.cluster = Cluster(self.state.folder, deployment="test.localhost", migrate=migrate, settings=SETTINGS)
        self._users: int | None = None
        self._slots: list[int] = []
        self._copies: list[str] = []

    def begin(self) -> None:
        """Say that the servers are in use (waits while another process stops them)."""
        if self._users is None:
            self.state.make()
            self._users = self.state.take_lock(_USERS_LOCK, shared=True)
            atexit.register(self.end)

    def template(self, sources: Iterable[Path] | None = None) -> str:
        """The name of the migrated template database, made when `sources` have changed; starts the servers."""
        self.begin()
        name = f"template_{digest(sources)}"
        with self.state.lock("template.lock"):
            self.cluster.start_servers()
            self._sweep(keep=name)
            if not self.cluster.roles.exists(name):
                self._build(name)
        return name

    def copy(self, worker_id: str, sources: Iterable[Path] | None = None) -> Copy:
        """A fresh database for `worker_id` (`gw0`, `master`, or any name that is unique in this process)."""
        template = self.template(sources)
        name = f"test_{re.sub(r'[^a-z0-9]', '_', worker_id.lower())}_{os.getpid()}"
        with self.state.lock("template.lock"):
            self.cluster.roles.drop_database(name)
            self.cluster.roles.create_database(name, template=template)
        self._copies.append(name)
        return Copy(name, self._redis_db(), self.cluster)

    def end(self) -> None:
        """Drop this process's copies, and stop the servers when no other process uses them."""
        if self._users is None:
            return
        atexit.unregister(self.end)
        with self.state.lock("template.lock"), contextlib.suppress(psycopg.Error):
            for name in self._copies:
                self._drop(name)
        for descriptor in (*self._slots, self._users):
            os.close(descriptor)
        self._users, self._slots, self._copies = None, [], []
        last = self.state.try_lock(_USERS_LOCK)
        if last is not None:
            try:
                self.cluster.stop()
            finally:
                os.close(last)

    def _build(self, name: str) -> None:
        """Under another name until it is whole: a failed migration never leaves a template."""
        building = name.replace("template_", "building_")
        self.cluster.roles.create_database(building)
        self.cluster.migrate(building)
        shutil.rmtree(self.cluster.folder(building), ignore_errors=True)
        self.cluster.roles.rename_database(building, name)

    def _redis_db(self) -> int:
        """An empty Redis database, claimed by a lock file that the kernel gives back when this process dies."""
        for number in range(1, valkey.DATABASES):
            descriptor = self.state.try_lock(f"redis-{number}.lock")
            if descriptor is not None:
                self._slots.append(descriptor)
                with self.cluster.valkey.client(number) as client:
                    client.flushdb()
                return number
        raise LauncherError(f"All {valkey.DATABASES - 1} Redis databases are in use by other test processes.")

    def _sweep(self, keep: str) -> None:
        """Drop old templates and what killed sessions left: their databases, processes and folders."""
        with self.cluster.postgres.connect() as connection:
            names = [row[0] for row in connection.execute("SELECT datname FROM pg_database")]
        for name in names:
            if name.startswith(("template_", "building_")) and name != keep:
                self._drop(name)
        abandoned = {*names, *(path.name for path in self.state.path("stacks").glob("*"))}
        for name in abandoned:
            match = re.fullmatch(r"test_.*_(\d+)", name)
            if match and identity.find(int(match[1])) is None:
                self._drop(name)

    def _drop(self, name: str) -> None:
        folder = self.cluster.folder(name)
        if folder.exists():
            kill_leftovers(folder)
            shutil.rmtree(folder, ignore_errors=True)
        self.cluster.roles.drop_database(name)


def digest(sources: Iterable[Path] | None = None) -> str:
    """A short hash over names and contents of all migrations and SQL files, the grants and the locked libraries."""
    total = hashlib.sha256()
    for path in sorted(_default_sources() if sources is None else sources):
        total.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:12]


def _default_sources() -> list[Path]:
    found = [PROJECT / "codespar" / "launcher" / "roles.py", PROJECT / "uv.lock"]
    for package in PACKAGES:
        found += (PROJECT / package).rglob("migrations/*.py")
        found += (PROJECT / package).rglob("sql/*.sql")
    return [path for path in found if path.is_file()]


@cache
def session() -> Session:
    """This process's session on `.codespar/test`, or on the folder that CODESPAR_TEST_STATE_DIR names."""
    return Session(os.environ.get("CODESPAR_TEST_STATE_DIR") or PROJECT / ".codespar" / "test")


def template() -> str:
    return session().template()


def copy(worker_id: str) -> Copy:
    return session().copy(worker_id)


def pytest_configure() -> None:
    session().begin()


def pytest_unconfigure() -> None:
    session().end()
