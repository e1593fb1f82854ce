"""The state folder: everything that must survive a restart, readable by its owner alone."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from codespar.launcher.errors import LauncherError


def private_folder(path: Path, mode: int = 0o700) -> Path:
    """Make `path`, parents included, and give it exactly `mode`."""
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)
    return path


def write_private(path: Path, content: str) -> None:
    """Replace `path` atomically by a 0600 file: a reader sees the old content or the new, also after a crash."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


class State:
    """One state folder, `.codespar` or `CODESPAR_STATE_DIR`."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder).absolute()

    def __repr__(self) -> str:
        return f"State({str(self.folder)!r})"

    @property
    def digest(self) -> str:
        """Eight characters that stand for this folder in names outside it (a socket's path must stay short)."""
        return hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]

    def path(self, *names: str) -> Path:
        return self.folder.joinpath(*names)

    def make(self) -> State:
        """Make the folder; raises LauncherError when another user made it.

        Root leaves it traversable (0711), because there Postgres runs as another user and lives in a folder below.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            owner = self.folder.stat().st_uid
        except OSError as error:
            raise LauncherError(
                f"The state folder {self.folder} cannot be made ({error.strerror}); set CODESPAR_STATE_DIR elsewhere."
            ) from error
        if owner != os.geteuid():
            raise LauncherError(f"The state folder {self.folder} belongs to user {owner}; run as that user or set CODESPAR_STATE_DIR.")
        private_folder(self.folder, 0o711 if os.geteuid() == 0 else 0o700)
        private_folder(self.path("logs"))
        return self

    def read(self, name: str) -> dict[str, Any]:
        """A state file's object; empty when it is missing or was torn by a power cut."""
        try:
            value = json.loads(self.path(name).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def write(self, name: str, value: dict[str, Any]) -> None:
        write_private(self.path(name), json.dumps(value, indent=2) + "\n")

    def update(self, name: str, **values: Any) -> None:
        self.write(name, self.read(name) | values)

    def secret(self, name: str, make: Callable[[], str] = lambda: secrets.token_hex(24)) -> str:
        """The secret in the 0600 file `name`, made once; two processes that race get the same one."""
        path = self.path(name)
        with self.lock("secrets.lock"):
            if not path.exists():
                write_private(path, make())
        return path.read_text(encoding="utf-8").strip()

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Wait for the lock file `name`; the kernel gives it back when this process dies, however it dies."""
        descriptor = self.take_lock(name)
        try:
            yield
        finally:
            os.close(descriptor)

    def take_lock(self, name: str, *, shared: bool = False) -> int:
        """Wait for the lock file `name`: a descriptor whose closing gives it back."""
        descriptor = self._flock(name, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        assert descriptor is not None
        return descriptor

    def try_lock(self, name: str) -> int | None:
        """Take the lock file `name` without waiting: a descriptor to close, or None when somebody else has it."""
        return self._flock(name, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _flock(self, name: str, operation: int) -> int | None:
        descriptor = os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """Hold this state folder for one launcher; raises LauncherError at once while another one holds it."""
        descriptor = self.try_lock("launcher.lock")
        if descriptor is None:
            holder = self.path("launcher.lock").read_text(encoding="utf-8").strip() or "unknown"
            raise LauncherError(
                f"Another launcher (process {holder}) is already running on {self.folder}; "
                "stop it, or set CODESPAR_STATE_DIR to another folder."
            )
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)
