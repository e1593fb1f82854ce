"""Which process is behind a pid: numbers are reused, so every signal checks the start time first.

Linux answers from /proc (and signals through a pidfd, so nothing can slip in between); elsewhere `ps` answers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_LINUX = Path("/proc/self/stat").exists()


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    start: str

    @property
    def alive(self) -> bool:
        """False also for a zombie: it only waits for its parent."""
        return started(self.pid) == self.start


def find(pid: int) -> Process | None:
    """The process that has `pid` now, or None."""
    start = started(pid)
    return Process(pid, start) if start else None


def started(pid: int) -> str | None:
    """When `pid` started, as an opaque text that is unique across reboots; None for nobody and for a zombie."""
    return _started_proc(pid) if _LINUX else _started_ps(pid)


def send(process: Process, number: int) -> bool:
    """Send a signal to exactly this process; False when it is gone."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor: int | None = os.pidfd_open(process.pid)  # type: ignore[attr-defined,unused-ignore]
        except (AttributeError, OSError):
            descriptor = None
        if descriptor is not None:
            stack.callback(os.close, descriptor)
        if not process.alive:
            return False
        try:
            if descriptor is None:
                os.kill(process.pid, number)
            else:
                signal.pidfd_send_signal(descriptor, number)  # type: ignore[attr-defined,unused-ignore]
        except ProcessLookupError:
            return False
        return True


def wait_gone(process: Process, seconds: float) -> bool:
    """Wait until the process has ended; False when it still runs after `seconds`."""
    deadline = time.monotonic() + seconds
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def commands() -> dict[int, str]:
    """pid -> command line of every process that we may see (arguments joined by spaces)."""
    return _commands_proc() if _LINUX else _commands_ps()


def session_members(session: int, marker: str) -> list[Process]:
    """Live processes of a session whose environment carries `marker`; Linux only, empty elsewhere."""
    if not _LINUX:
        return []
    members = []
    for pid in _pids():
        fields = _stat(pid)
        if fields and int(fields[3]) == session and marker.encode() in _bytes(pid, "environ").split(b"\0"):
            process = find(pid)
            members += [process] if process else []
    return members


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "boot"


def _bytes(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[str]:
    """proc(5) stat from field 3 (state) on; the name before it may hold spaces and brackets."""
    return _bytes(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _started_proc(pid: int) -> str | None:
    fields = _stat(pid)
    if not fields or fields[0] in "ZXx":
        return None
    return f"{_boot()}:{fields[19]}"


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _commands_proc() -> dict[int, str]:
    lines = {pid: _bytes(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip() for pid in _pids()}
    return {pid: line for pid, line in lines.items() if line}


def _ps(*arguments: str) -> str:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=False).stdout


def _started_ps(pid: int) -> str | None:
    state, _, start = _ps("-o", "stat=,lstart=", "-p", str(pid)).strip().partition(" ")
    return start.strip() if state and not state.startswith("Z") else None


def _commands_ps() -> dict[int, str]:
    lines = (line.strip().partition(" ") for line in _ps("-axww", "-o", "pid=,command=").splitlines())
    return {int(pid): command.strip() for pid, _, command in lines if pid.isdigit()}
