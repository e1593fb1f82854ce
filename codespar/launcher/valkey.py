"""An embedded Valkey on loopback: a broker and cache, so nothing of it is kept on disk."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from codespar.launcher import binaries, identity, interrupts, ports
from codespar.launcher.errors import LauncherError
from codespar.launcher.logs import LogFile
from codespar.launcher.state import State, private_folder

DATABASES = 64
START_SECONDS = 15.0

_STATE_FILE = "valkey.json"
_PASSWORD_FILE = "valkey.password"


class Valkey:
    """One server of one state folder; a server that a killed launcher left behind is used again."""

    def __init__(self, state_dir: Path | str, port: int | None = None) -> None:
        self.state = State(state_dir)
        self.log = LogFile(self.state.path("logs", "valkey.log"))
        self._fixed_port = port
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self._fixed_port or self.state.read(_STATE_FILE).get("port", 0))

    @property
    def password(self) -> str:
        return self.state.secret(_PASSWORD_FILE)

    def url(self, database: int = 0) -> str:
        """`redis://` with the password, for database number 0 to 63."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        """Without the library's own retries: whoever waits for the server asks again much sooner."""
        retry = Retry(NoBackoff(), 0)
        return redis.Redis.from_url(self.url(database), socket_connect_timeout=2, socket_timeout=2, retry=retry)

    def healthy(self) -> bool:
        """Whether our own process answers on our port."""
        process = self._process()
        return process is not None and self._answers(process)

    def start(self) -> Valkey:
        """Bring the server up, reusing one that already runs; raises LauncherError with the way out."""
        self.state.make()
        with self.state.lock("valkey.lock"):
            if not self.healthy():
                self._end()
                self._launch()
        return self

    def stop(self) -> None:
        """End the server; nothing to do when it is down."""
        self._end()

    def _process(self) -> identity.Process | None:
        kept = self.state.read(_STATE_FILE)
        process = identity.Process(kept.get("pid", 0), kept.get("start", ""))
        return process if process.pid and process.alive else None

    def _answers(self, process: identity.Process) -> bool:
        with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
            info = client.info("server")
            return isinstance(info, dict) and info.get("process_id") == process.pid
        return False

    def _launch(self) -> None:
        program = binaries.valkey()
        start_of_log = 0
        for _ in range(3):
            port = self._fixed_port or ports.free(self.port or None)
            process, start_of_log = self._spawn(program, port)
            if self._wait_answer(process):
                return
            self._end()
            if "already in use" not in self.log.since(start_of_log):
                break
        raise LauncherError(f"Valkey did not start; its log is {self.log.path}: {self.log.tail(start_of_log, 2)}")

    def _spawn(self, program: Path, port: int) -> tuple[identity.Process, int]:
        """The configuration goes through stdin: on the command line every user of the machine reads the password."""
        password = self.password
        folder = private_folder(self.state.path("valkey"))
        config = (
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndatabases {DATABASES}\n"
            f'dir "{folder}"\nsave ""\nappendonly no\ndaemonize no\n'
        )
        with interrupts.hold(), self.log.open() as log:
            start_of_log = log.tell()
            child = subprocess.Popen(
                [str(program), "-"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=folder,
                start_new_session=True,
            )
            self._child = child
            process = identity.find(child.pid) or identity.Process(child.pid, "ended")
            self.state.write(_STATE_FILE, {"port": port, "pid": process.pid, "start": process.start})
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(config.encode())
        return process, start_of_log

    def _wait_answer(self, process: identity.Process) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.alive and time.monotonic() < deadline:
            if self._answers(process):
                return True
            time.sleep(0.02)
        return False

    def _end(self) -> None:
        process = self._process()
        for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            if process is None or (identity.send(process, number), identity.wait_gone(process, seconds))[1]:
                break
        if self._child is not None:
            self._child.wait()
            self._child = None
