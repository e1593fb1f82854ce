"""An embedded PostgreSQL: made, started, found again after a crash, and stopped, in one state folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from codespar.launcher import accounts, binaries, identity, interrupts, ports
from codespar.launcher.errors import LauncherError
from codespar.launcher.logs import LogFile
from codespar.launcher.state import State, private_folder

SUPERUSER = "codespar_super"
START_SECONDS = 60.0
ANSWER_SECONDS = 10.0
STOP_SECONDS = 30.0

# What a production server would have: the demo and the tests must not be braver than it.
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "unix_socket_permissions": "0700",
}

_STATE_FILE = "postgres.json"
_PASSWORD_FILE = "postgres.password"


@dataclass(frozen=True)
class _PidFile:
    """What `postmaster.pid` says: line 1 the pid, line 4 the port (missing until the server has got that far)."""

    pid: int
    port: int | None


class Postgres:
    """One server of one state folder; `start` and `stop` may be called by any process that may write there."""

    def __init__(self, state_dir: Path | str, port: int | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        """`port` fixes the TCP port; without it the last one is taken again, or a free one."""
        self.state = State(state_dir)
        self.settings = SETTINGS | dict(settings or {})
        self.log = LogFile(self.state.path("logs", "postgres.log"))
        self._fixed_port = port
        self._child: subprocess.Popen[bytes] | None = None
        self._account: accounts.Account | None = None
        self._binaries: binaries.PostgresBinaries | None = None

    @property
    def port(self) -> int:
        return int(self._fixed_port or self.state.read(_STATE_FILE).get("port", 0))

    @property
    def folder(self) -> Path:
        """The folder that the server's user owns; it holds the data directory."""
        return Path(self.state.read(_STATE_FILE).get("folder", self.state.path("postgres")))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        """Short on purpose: a Unix socket's path has a limit of about 107 bytes."""
        return Path("/tmp") / f"cs-{os.geteuid()}-{self.state.digest}"

    @property
    def title(self) -> str:
        """`cluster_name`: it stands in the process titles, where orphans of a killed postmaster are found by it."""
        return f"cs-{self.state.digest}"

    @property
    def password(self) -> str:
        """The superuser's; raises LauncherError when the data directory outlived it."""
        try:
            return self.state.path(_PASSWORD_FILE).read_text(encoding="utf-8").strip()
        except FileNotFoundError as error:
            raise LauncherError(
                f"{self.state.path(_PASSWORD_FILE)} is missing, so {self.data} cannot be opened; "
                "restore that file or delete the state folder."
            ) from error

    def connect(self, dbname: str = "postgres", **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A superuser's connection in autocommit mode (CREATE DATABASE allows nothing else)."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=dbname,
            **({"autocommit": True, "connect_timeout": 5} | options),
        )

    def healthy(self) -> bool:
        """Whether our server, not another one on its port, answers a query now."""
        return self.port > 0 and self._answers(self.port)

    def start(self) -> Postgres:
        """Bring the server up, reusing one that already runs; raises LauncherError with the way out.

        A crash at any point leaves either no data directory or a whole one, and a server that the next start finds.
        """
        self.state.make()
        with self.state.lock("postgres.lock"):
            self._prepare()
            if not self._reuse():
                self._launch()
        return self

    def stop(self) -> None:
        """End the server: a fast shutdown first, then an immediate one, then SIGKILL; nothing to do when it is down."""
        pid_file = self._pid_file()
        process = identity.find(pid_file.pid) if pid_file and self._is_postmaster(pid_file.pid) else None
        if process is None and self._child is not None:
            process = identity.find(self._child.pid)
        if process is not None:
            self._end(process, ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)))
        if self._child is not None:
            self._child.wait()
            self._child = None
        self._end_orphans()
        shutil.rmtree(self.sockets, ignore_errors=True)

    def remove(self) -> None:
        """Stop the server and delete its data, wherever it lives."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.state.path(_STATE_FILE).unlink(missing_ok=True)
        self.state.path(_PASSWORD_FILE).unlink(missing_ok=True)

    def _prepare(self) -> None:
        self._account = accounts.for_servers()
        found = binaries.postgres()
        self._refuse_other_major(found)
        self._binaries = binaries.for_account(found, self._account)
        self._make_folder()
        if not (self.data / "PG_VERSION").exists():
            self._initdb()
        _ = self.password

    def _refuse_other_major(self, found: binaries.PostgresBinaries) -> None:
        try:
            major = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return
        if major != str(found.major):
            raise LauncherError(
                f"{self.data} was made by PostgreSQL {major} and {found.folder} is PostgreSQL {found.version}; "
                f"set CODESPAR_PG_BIN to version {major}, upgrade with pg_upgrade, or delete the state folder."
            )

    def _make_folder(self) -> None:
        """Below the state folder when the server's user can get there, else below /var/tmp with a pointer to it."""
        if self.folder.exists():
            return
        inside = self.state.path("postgres")
        if accounts.may_enter(self._account, self.state.folder):
            private_folder(inside)
        else:
            prefix = f"codespar-{os.geteuid()}-{self.state.digest}-"
            inside = Path(tempfile.mkdtemp(dir=binaries.SHARED_FOLDER, prefix=prefix))
        accounts.own(inside, self._account)
        self.state.update(_STATE_FILE, folder=str(inside))

    def _initdb(self) -> None:
        """Into another folder, then a rename: an interrupted initdb is never mistaken for a data directory."""
        assert self._binaries is not None
        fresh, password_file = self.folder / "data.new", self.folder / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        password_file.write_text(self.state.secret(_PASSWORD_FILE) + "\n", encoding="utf-8")
        accounts.own(password_file, self._account)
        # macOS has no C.UTF-8 in all its versions; C sorts the same bytes the same way.
        locale = "C" if os.uname().sysname == "Darwin" else "C.UTF-8"
        argv = [
            *(str(self._binaries.folder / "initdb"), "-D", str(fresh), "-U", SUPERUSER, "-A", "scram-sha-256"),
            *(f"--pwfile={password_file}", f"--locale={locale}", "--encoding=UTF8", "--data-checksums"),
        ]
        # Held, for it takes a second and killing it leaves the server that it runs inside writing to the folder.
        with interrupts.hold():
            done = subprocess.run(argv, capture_output=True, text=True, check=False, **self._child_options())
        password_file.unlink()
        if done.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
            raise LauncherError(f"initdb could not make {self.data}: {reason}.")
        fresh.rename(self.data)

    def _make_sockets(self) -> None:
        """A fresh folder: a socket's lock file has the same trouble with reused pids as `postmaster.pid`."""
        owner = self._account.uid if self._account else os.geteuid()
        shutil.rmtree(self.sockets, ignore_errors=True)
        try:
            self.sockets.mkdir(mode=0o700)
            accounts.own(self.sockets, self._account)
        except FileExistsError:
            binaries.trust_folder(self.sockets, owner)

    def _child_options(self) -> dict[str, Any]:
        """No PG* variable reaches the servers: a developer's shell must not change what they do."""
        environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        return {
            "env": environment | {"LANG": "C.UTF-8", "TZ": "UTC"},
            "cwd": "/",
            "umask": 0o077,
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
        } | accounts.options(self._account)

    def _pid_file(self) -> _PidFile | None:
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            return _PidFile(int(lines[0]), int(lines[3]) if len(lines) > 3 and lines[3].strip() else None)
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _is_postmaster(self, pid: int) -> bool:
        """By its command line, which every user may read (its working directory may not be read in a container)."""
        command = identity.commands().get(pid, "")
        return f"-D {self.data} " in f"{command} " and "postgres" in command.partition(" ")[0]

    def _reuse(self) -> bool:
        """Take over a server that an earlier launcher left running; end it when it does not answer."""
        found = self._pid_file()
        if found is None:
            self._end_orphans()
            return False
        process = identity.find(found.pid)
        if process is not None and self._is_postmaster(found.pid):
            if self._wait_answer(process, START_SECONDS if found.port is None else ANSWER_SECONDS):
                return True
            self._end(process, ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)))
        self._end_orphans()
        # Only now: the file also guards against orphans that still write to the data directory. Left in place, it would
        # stop the next start while the pid belongs to a stranger, or to a zombie that nobody has reaped.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        return False

    def _wait_answer(self, process: identity.Process, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while process.alive and time.monotonic() < deadline:
            found = self._pid_file()
            if found and found.port and self._answers(found.port):
                self.state.update(_STATE_FILE, port=found.port)
                return True
            time.sleep(0.02)
        return False

    def _answers(self, port: int) -> bool:
        """Ours only: SCRAM proves to us that the server knows our password, and the data directory is its own word."""
        with contextlib.suppress(psycopg.Error, LauncherError):
            where = f"host=127.0.0.1 port={port} user={SUPERUSER} dbname=postgres connect_timeout=2"
            with psycopg.connect(where, password=self.password, autocommit=True) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
                return row is not None and Path(row[0]).resolve() == self.data.resolve()
        return False

    def _launch(self) -> None:
        for _ in range(3):
            port = self._fixed_port or ports.free(self.port or None)
            self.state.update(_STATE_FILE, port=port)
            self._make_sockets()
            process, start_of_log = self._spawn(port)
            if self._wait_answer(process, START_SECONDS):
                return
            said = self.log.since(start_of_log)
            if process.alive or not any(text in said for text in ("already in use", "pre-existing shared memory")):
                self.stop()
                break
            self._end_orphans()
        raise LauncherError(f"Postgres did not start ({_reason(said)}); its log is {self.log.path}.")

    def _spawn(self, port: int) -> tuple[identity.Process, int]:
        assert self._binaries is not None
        where = ["-D", str(self.data), "-h", "127.0.0.1", "-p", str(port), "-k", str(self.sockets)]
        settings = [f"--{name}={value}" for name, value in (self.settings | {"cluster_name": self.title}).items()]
        with interrupts.hold(), self.log.open() as log:
            start_of_log = log.tell()
            self._child = subprocess.Popen(
                [str(self._binaries.folder / "postgres"), *where, *settings],
                stdout=log,
                stderr=log,
                **self._child_options(),
            )
        process = identity.find(self._child.pid) or identity.Process(self._child.pid, "ended")
        return process, start_of_log

    def _end(self, process: identity.Process, steps: tuple[tuple[int, float], ...]) -> None:
        for number, seconds in steps:
            identity.send(process, number)
            if identity.wait_gone(process, seconds):
                return

    def _end_orphans(self) -> None:
        """Backends of a killed postmaster end by themselves within moments; those that do not are killed.

        Two postmasters on one data directory destroy it, so this comes before every start.
        """
        deadline = time.monotonic() + 3.0
        while orphans := self._orphans():
            if time.monotonic() > deadline:
                for process in orphans:
                    self._end(process, ((signal.SIGKILL, 5.0),))
                return
            time.sleep(0.05)

    def _orphans(self) -> list[identity.Process]:
        mark = f"postgres: {self.title}: "
        found = (identity.find(pid) for pid, command in identity.commands().items() if command.startswith(mark))
        return [process for process in found if process is not None]


def _reason(said: str) -> str:
    """The last line of the log that blames something, without its time stamp."""
    blames = [line for line in said.splitlines() if "FATAL" in line or "PANIC" in line]
    return blames[-1].partition("] ")[2] if blames else "no reason given"
