"""The engine's processes on one database: provider, api, console, dispatcher, worker and beat."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from codespar.launcher import ports
from codespar.launcher.cluster import DATABASE, PROJECT, Cluster
from codespar.launcher.processes import Spec, Supervisor
from codespar.launcher.state import State, private_folder

# In the order of their start; they stop in the reverse order.
NAMES = ("provider", "api", "console", "dispatcher", "worker", "beat")

_STATE_FILE = "ports.json"

# The rails whose protocols the sandbox bank speaks, beside its own.
BANK_SPEAKS = ("pix", "card", "wire", "open_finance")


@dataclass(frozen=True)
class StackInfo:
    """What somebody who talks to a running stack needs: URLs without a trailing slash, and the way to its database."""

    base_url: str
    console_url: str
    sandbox_url: str
    provider_secret_file: Path
    folder: Path
    database: str
    redis_db: int
    cluster: Cluster
    # Where rails are that the bank does not speak.
    rails: Mapping[str, str] = field(default_factory=dict)

    def env(self, role: str, service: str = "api") -> dict[str, str]:
        """The environment of a process of this stack, for example a management command as the owner."""
        return self.cluster.env(
            role,
            database=self.database,
            redis_db=self.redis_db,
            service=service,
            base_url=self.base_url,
            console_url=self.console_url,
            rail_urls=json.dumps(
                {"sandbox": self.sandbox_url, **{rail: f"{self.sandbox_url}/{rail}-api" for rail in BANK_SPEAKS}, **self.rails}
            ),
        )

    def dsn(self, role: str) -> str:
        return self.cluster.dsn(role, self.database)


class Stack:
    """Processes on `database`, on ports that are kept from one start to the next while they are free.

    Several stacks live in one cluster when each has its own database and its own `redis_db`. `names` picks some of
    NAMES; `extra_env` is added to every process; `rails` says where rails are that the bank does not speak. As a context manager it starts
    and stops.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        database: str = DATABASE,
        redis_db: int = 0,
        api_workers: int = 1,
        names: Sequence[str] = NAMES,
        extra_env: dict[str, str] | None = None,
        rails: Mapping[str, str] | None = None,
    ) -> None:
        self.cluster = cluster
        self.names = [name for name in NAMES if name in names]
        self.folder = cluster.folder(database)
        self.supervisor = Supervisor(self.folder)
        self._database = database
        self._redis_db = redis_db
        self._api_workers = api_workers
        self._extra_env = dict(extra_env or {})
        self._rails = dict(rails or {})
        self._info: StackInfo | None = None

    @property
    def info(self) -> StackInfo:
        """URLs and ports; they are chosen by the first use and stay for the life of this object."""
        if self._info is None:
            self._info = self._choose()
        return self._info

    def start(self, on_start: Callable[[str], object] = lambda name: None) -> Self:
        """Start the processes and wait until each is ready; `on_start` hears each name before.

        The slow starters overlap: all are spawned first, then waited for. Raises LauncherError; what was started
        before it is stopped again.
        """
        try:
            for spec in self.specs():
                on_start(spec.name)
                self.supervisor.start(spec, wait=spec.name == "provider")
            for name in self.names:
                self.supervisor.wait_ready(name)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self.supervisor.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def specs(self) -> list[Spec]:
        """The processes as they are started, each with the environment of its role and nothing more."""
        info = self.info
        every = {
            "provider": self._provider(),
            "api": self._web("api", "agent", info.base_url, self._api_workers),
            "console": self._web("console", "control", info.console_url, 1),
            "dispatcher": self._celery("dispatcher", "worker", "-Q", "rail", "--pool", "prefork", "-c", "2"),
            "worker": self._celery("worker", "worker", "-Q", "default", "-c", "1"),
            "beat": self._celery("beat", "beat", "-s", str(self.folder / "beat-schedule")),
        }
        return [every[name] for name in self.names]

    def _choose(self) -> StackInfo:
        private = private_folder if self.folder != self.cluster.state.folder else lambda folder: folder
        kept = State(private(self.folder))
        chosen = {name: ports.free(kept.read(_STATE_FILE).get(name)) for name in ("api", "console", "provider")}
        kept.write(_STATE_FILE, chosen)
        urls = {name: f"http://127.0.0.1:{port}" for name, port in chosen.items()}
        # No account yet: whoever opens one through the provider's control plane brings its key.
        kept.secret("provider.secret", lambda: '{"api_keys": {}}')
        return StackInfo(
            base_url=urls["api"],
            console_url=urls["console"],
            sandbox_url=urls["provider"],
            provider_secret_file=kept.path("provider.secret"),
            folder=self.folder,
            database=self._database,
            redis_db=self._redis_db,
            cluster=self.cluster,
            rails=self._rails,
        )

    def _spec(self, name: str, role: str, service: str, argv: list[str], **ready: str | None) -> Spec:
        env = self.info.env(role, service) | self._extra_env
        return Spec(name, [sys.executable, "-m", *argv], env, PROJECT, **ready)

    def _provider(self) -> Spec:
        """The sandbox provider stands for somebody else's system: it gets no database, no broker and no key."""
        env = self.info.env("agent")
        env = {name: value for name, value in env.items() if not name.startswith("CODESPAR_")} | self._extra_env
        url = self.info.sandbox_url
        argv = ["rails.sandbox.provider", "--port", _port(url)]
        argv += ["--data", str(private_folder(self.folder / "provider"))]
        argv += ["--secret-file", str(self.info.provider_secret_file)]
        return Spec("provider", [sys.executable, "-m", *argv], env, PROJECT, f"{url}/_health")

    def _web(self, name: str, role: str, url: str, workers: int) -> Spec:
        argv = ["granian", "--interface", "wsgi", "codespar.wsgi:application"]
        argv += ["--host", "127.0.0.1", "--port", _port(url), "--no-ws", "--respawn-failed-workers"]
        argv += ["--workers", str(workers), "--blocking-threads", "96", "--workers-kill-timeout", "10"]
        return self._spec(name, role, name, argv, health_url=f"{url}/v1/status")

    def _celery(self, name: str, command: str, *options: str) -> Spec:
        argv = ["celery", "-A", "codespar.celery", command, *options, "--loglevel", "INFO"]
        # The workers share nothing but the queue: there is nothing to learn from neighbours before the first task.
        argv += ["-n", f"{name}@%h", "--without-mingle", "--without-gossip"] if command == "worker" else []
        ready = " ready." if command == "worker" else "beat: Starting"
        return self._spec(name, "rail", "api", argv, ready_text=ready)


def _port(url: str) -> str:
    return url.rpartition(":")[2]
