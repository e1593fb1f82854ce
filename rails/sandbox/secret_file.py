"""The bank's secrets, in a file that only its owner may read, read again whenever it changes."""

from __future__ import annotations

import json
import pathlib
import stat
import threading
from dataclasses import dataclass, field
from typing import Any

from rails.sandbox.book import digest


class BadSecretFile(ValueError):
    """The secret file cannot be used; the message says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """`owners` maps the SHA-256 of an API key to its account; the webhook fields serve accounts without their own."""

    owners: dict[str, str] = field(default_factory=dict)
    webhook_secret: str | None = None
    webhook_url: str | None = None
    control_token: str | None = None


class SecretFile:
    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen = self._mark()
        self._secrets = load(path)

    def current(self) -> Secrets:
        """The secrets of now; while the file is being replaced or is broken, those of before."""
        with self._lock:
            try:
                mark = self._mark()
                if mark != self._seen:
                    self._secrets, self._seen = load(self._path), mark
            except (OSError, BadSecretFile):
                pass
            return self._secrets

    def _mark(self) -> tuple[int, int, int]:
        found = self._path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino


def load(path: pathlib.Path) -> Secrets:
    """Reads `{"api_keys": {key: account}, "webhook_secret"?, "webhook_url"?, "control_token"?}`."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise BadSecretFile(f"{path} can be read by others: chmod 600 it")
    try:
        found: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadSecretFile(f"{path} is not JSON: {error}") from None
    keys = found.get("api_keys") if isinstance(found, dict) else None
    if not isinstance(keys, dict) or not all(isinstance(account, str) for account in keys.values()):
        raise BadSecretFile(f'{path} needs {{"api_keys": {{"<key>": "<account>"}}}}')
    owners = {digest(key): account for key, account in keys.items()}
    return Secrets(owners, found.get("webhook_secret"), found.get("webhook_url"), found.get("control_token"))
