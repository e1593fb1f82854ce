"""A supervisor of child processes: starts, watches, restarts and stops them, and cleans up after a killed one.

Each child leads a session of its own, so that Ctrl-C in a terminal reaches only the launcher, which stops them in order.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from codespar.launcher import identity, interrupts
from codespar.launcher.errors import LauncherError
from codespar.launcher.logs import LogFile
from codespar.launcher.state import State as StateFolder
from codespar.launcher.state import private_folder

MARKER = "CODESPAR_LAUNCHER_TOKEN"
HEALTH_SECONDS = 60.0
STOP_SECONDS = 15.0
# A child that lived this long was healthy: its earlier deaths are forgotten.
FORGIVEN_AFTER_SECONDS = 60.0

_STATE_FILE = "processes.json"


@dataclass(frozen=True)
class Spec:
    """A child to run: its environment is exactly `env`; it is ready when `health_url` answers 2xx, or when its log
    says `ready_text`, or at once when neither is given."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    health_url: str | None = None
    ready_text: str | None = None


@dataclass
class _Child:
    spec: Spec
    log: LogFile
    popen: subprocess.Popen[bytes]
    process: identity.Process
    log_start: int
    started: float
    deaths: int = 0
    due: float | None = None
    given_up: bool = False


@dataclass
class Supervisor:
    """The children of one folder (logs in `<folder>/logs`, who runs in `<folder>/processes.json`).

    A child that dies is started again after a pause twice as long as the last one, up to a bound. After `max_restarts` deaths in a
    row it stays down, and `failure` says why.
    """

    folder: Path
    max_restarts: int = 5
    backoff_seconds: float = 0.5
    longest_backoff_seconds: float = 30.0
    failure: str | None = None
    _children: dict[str, _Child] = field(default_factory=dict)
    _token: str = field(default_factory=lambda: secrets.token_hex(16))
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _watcher: threading.Thread | None = None

    def start(self, spec: Spec, *, wait: bool = True) -> None:
        """Start a child and, by default, wait until it is ready; raises LauncherError with the end of its log."""
        if not self._children:
            if not self.folder.exists():
                # A state folder keeps its mode: servers of another user, which live below it, go through it when they recover.
                private_folder(self.folder)
            private_folder(self.folder / "logs")
            kill_leftovers(self.folder)
            self._stopping.clear()
        with interrupts.hold(), self._lock:
            if spec.name in self._children:
                raise LauncherError(f"There is already a process {spec.name} in {self.folder}.")
            self._children[spec.name] = self._spawn(spec)
            self._write()
        self._watch()
        if wait:
            self.wait_ready(spec.name)

    def wait_ready(self, name: str, seconds: float = HEALTH_SECONDS) -> None:
        """Wait for a child's health; raises LauncherError when it dies twice meanwhile, as a misconfigured one does."""
        deadline = time.monotonic() + seconds
        too_many = self._children[name].deaths + 2
        while not self._ready(child := self._children[name]):
            late = time.monotonic() > deadline
            if child.given_up or child.deaths >= too_many or late or self._stopping.is_set():
                what = f"was not ready after {seconds:.0f} seconds" if late else "does not stay up"
                raise LauncherError(f"{name} {what}; its log {child.log.path} ends:\n{child.log.tail(child.log_start)}")
            time.sleep(0.05)

    def pid(self, name: str) -> int:
        return self._children[name].process.pid

    def log(self, name: str) -> Path:
        return self._children[name].log.path

    def stop(self, name: str | None = None) -> None:
        """End one child, or all in the reverse order of their start: TERM, wait, then KILL for its whole group."""
        if name is None:
            self._stopping.set()
        with interrupts.hold(), self._lock:
            for each in [name] if name else list(reversed(self._children)):
                _end(self._children.pop(each))
                self._write()
        if name is None and self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _spawn(self, spec: Spec, deaths: int = 0) -> _Child:
        log = LogFile(self.folder / "logs" / f"{spec.name}.log")
        with log.open() as file:
            log_start = file.tell()
            try:
                popen = subprocess.Popen(
                    list(spec.argv),
                    env={**spec.env, MARKER: self._token},
                    cwd=spec.cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
            except OSError as error:
                raise LauncherError(f"{spec.name} cannot be started: {error}.") from error
        process = identity.find(popen.pid) or identity.Process(popen.pid, "ended")
        return _Child(spec, log, popen, process, log_start, time.monotonic(), deaths)

    def _write(self) -> None:
        """Who runs, for the next launcher should this one be killed; written after each change."""
        own = identity.find(os.getpid())
        StateFolder(self.folder).write(
            _STATE_FILE,
            {
                "launcher": {"pid": os.getpid(), "start": own.start if own else ""},
                "token": self._token,
                "children": [
                    {"name": name, "pid": child.process.pid, "start": child.process.start} for name, child in self._children.items()
                ],
            },
        )

    def _ready(self, child: _Child) -> bool:
        if not child.process.alive:
            return False
        if child.spec.health_url:
            return answers(child.spec.health_url)
        return child.spec.ready_text is None or child.spec.ready_text in child.log.since(child.log_start)

    def _watch(self) -> None:
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch_forever, name="supervisor", daemon=True)
            self._watcher.start()

    def _watch_forever(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                for child in list(self._children.values()):
                    if not self._stopping.is_set():
                        self._tend(child)

    def _tend(self, child: _Child) -> None:
        """Note a death, and bring the child back when its pause is over."""
        now = time.monotonic()
        if child.given_up or child.process.alive:
            return
        if child.due is None:
            _kill_group(child)
            code = child.popen.wait()
            child.deaths = 1 if now - child.started > FORGIVEN_AFTER_SECONDS else child.deaths + 1
            if child.deaths > self.max_restarts:
                self._give_up(child, f"it ended {child.deaths} times, the last time with status {code}")
            else:
                child.due = now + min(self.backoff_seconds * 2 ** (child.deaths - 1), self.longest_backoff_seconds)
        elif now >= child.due:
            try:
                self._children[child.spec.name] = self._spawn(child.spec, child.deaths)
            except LauncherError as error:
                self._give_up(child, str(error))
            self._write()

    def _give_up(self, child: _Child, why: str) -> None:
        child.given_up = True
        self.failure = f"{child.spec.name} stays down: {why}; its log is {child.log.path}."


def answers(url: str) -> bool:
    """Whether the URL answers with a 2xx status within two seconds; no proxy is ever asked about loopback."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as response:
            return 200 <= int(response.status) < 300
    except (OSError, ValueError):
        return False


def kill_leftovers(folder: Path) -> int:
    """End what a killed launcher left running in this folder, and return how many processes that were.

    A pid alone proves nothing: the leader must have the noted start time, and the members of a session whose leader
    is gone must carry that launcher's random token in their environment. Raises LauncherError while the launcher lives.
    """
    noted = StateFolder(folder).read(_STATE_FILE)
    launcher = _process(noted.get("launcher"))
    if launcher and launcher.alive and launcher.pid != os.getpid():
        raise LauncherError(f"Process {launcher.pid} still runs the processes of {folder}; stop it first.")
    marker = f"{MARKER}={noted.get('token', '')}"
    left = []
    for child in filter(None, map(_process, reversed(noted.get("children", [])))):
        members = identity.session_members(child.pid, marker)
        left += [child] if child.alive and child not in members else []
        left += members
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        for process in left:
            identity.send(process, number)
        for process in left:
            identity.wait_gone(process, max(0.0, deadline - time.monotonic()))
    (folder / _STATE_FILE).unlink(missing_ok=True)
    return len(left)


def _process(noted: object) -> identity.Process | None:
    if isinstance(noted, dict) and isinstance(noted.get("pid"), int) and noted.get("start"):
        return identity.Process(noted["pid"], noted["start"])
    return None


def _end(child: _Child) -> None:
    identity.send(child.process, signal.SIGTERM)
    if not identity.wait_gone(child.process, STOP_SECONDS):
        identity.send(child.process, signal.SIGKILL)
        identity.wait_gone(child.process, 5.0)
    _kill_group(child)
    child.popen.wait()


def _kill_group(child: _Child) -> None:
    """Whatever the dead leader left in its group; it is not reaped yet, so its number cannot belong to anybody else."""
    if child.popen.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.popen.pid, signal.SIGKILL)
