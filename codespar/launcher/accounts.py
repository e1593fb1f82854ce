"""The operating system's user that Postgres runs as: it refuses root, and an ordinary user is itself."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codespar.launcher.errors import LauncherError


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def for_servers() -> Account | None:
    """None for an ordinary user; for root the system's `postgres` user if there is one, else `nobody`."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return _usable(Account(entry.pw_name, entry.pw_uid, entry.pw_gid))
    raise LauncherError("Postgres does not run as root and there is no user postgres or nobody; run as another user.")


def _usable(account: Account) -> Account:
    """Containers that map a single user cannot change to another one: say so before something stranger does."""
    try:
        subprocess.run(["true"], check=True, cwd="/", **options(account))
    except (OSError, subprocess.SubprocessError) as error:
        raise LauncherError(
            f"Postgres does not run as root and this system cannot change to user {account.name} ({error}); run as an ordinary user."
        ) from error
    return account


def options(account: Account | None) -> dict[str, Any]:
    """Keyword arguments for subprocess that make the child run as `account`."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def may_use(account: Account | None, path: Path) -> bool:
    """Whether the account can reach and read `path` (asked of the kernel: modes alone do not tell)."""
    script = 'test -r "$1" && { test ! -d "$1" || test -x "$1"; }'
    return _passes(account, ["sh", "-c", script, "sh", str(path)])


def may_enter(account: Account | None, folder: Path) -> bool:
    """Whether the account can pass through `folder` to what lies below."""
    return _passes(account, ["sh", "-c", 'test -x "$1"', "sh", str(folder)])


def may_run(account: Account | None, program: Path) -> bool:
    """Whether `program --version` works for the account, shared libraries included."""
    return _passes(account, [str(program), "--version"])


def _passes(account: Account | None, argv: list[str]) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False, cwd="/", **options(account)).returncode == 0
    except OSError:
        return False


def own(path: Path, account: Account | None) -> None:
    """Give `path` to the account; nothing to do when it is us."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
