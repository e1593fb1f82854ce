"""Which process is this, and is that one dead? A hold is released on a missing payment only when whoever could send it is gone."""

import os
import socket
from functools import cache
from pathlib import Path


def identity() -> str:
    """host:machine/boot/pid-namespace/pid/start: this process, and no later one with its number."""
    return _identity(os.getpid())


@cache
def _identity(pid: int) -> str:
    return "/".join([_host(), _boot(), _namespace(), str(pid), _started(pid) or "?"])


def is_dead(worker: str) -> bool:
    """Whether the process of that identity is proven gone. Another host, another container, or no proof: False."""
    try:
        host, boot, namespace, pid, started = worker.split("/")
    except ValueError:
        return False
    if host != _host() or "?" in (boot, started):
        return False
    if boot != _boot():
        # The same machine has started anew. Without a machine id it may be another one of that name.
        return not host.endswith(":?")
    if namespace != _namespace():
        return False
    return _started(int(pid)) != started


def _host() -> str:
    """The name that people know, and the id that the machine was given when it was installed."""
    return f"{socket.gethostname()}:{(_read(Path('/etc/machine-id')) or '?')[:32]}"


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
