"""Which process is this, and is that one dead? A hold is released on a missing payment only when whoever could send it is gone."""

import os
import socket
from functools import cache
from pathlib import Path


def identity() -> str:
    """host/boot/pid-namespace/pid/start: this process, and no later one with its number."""
    return _identity(os.getpid())


@cache
def _identity(pid: int) -> str:
    return "/".join([socket.gethostname(), _boot(), _namespace(), str(pid), _started(pid) or "?"])


def is_dead(worker: str) -> bool:
    """Whether the process of that identity is proven gone. Another host, another container, or no proof: False."""
    try:
        host, boot, namespace, pid, started = worker.split("/")
    except ValueError:
        return False
    if host != socket.gethostname() or "?" in (boot, started):
        return False
    if boot != _boot():
        return True
    if namespace != _namespace():
        return False
    return _started(int(pid)) != started


def _boot() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id")) or "?"


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return "?"


def _started(pid: int) -> str | None:
    """Clock ticks since boot at which the process began; None when there is no such process (a zombie has ended)."""
    text = _read(Path(f"/proc/{pid}/stat"))
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in ("Z", "X") else fields[19]


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
