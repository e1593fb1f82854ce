"""Messages through folders that we share with the bank: `out` is ours to write, `in`, `done` and `refused` are the bank's.

A message is sent at the moment when its file gets its name in `out`, and not before: it is written under another name, synced, and linked
to its own, which fails when the name is taken. Every call is an `Exchange`, as one over HTTP is. What takes no time on a disk may take some
on a share over the network: the deadline is looked at between the steps, and cannot end one.
"""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import time
import urllib.parse
from collections.abc import Callable
from datetime import datetime

from rails.adapters.exchange import LARGEST_BODY, Exchange

# How long a sender waits for the first answer, and how often it looks.
ANSWER_SECONDS, LOOK_SECONDS = 2.0, 0.05
# Where a file is that was sent, in the order in which it moves.
SENT = ("out", "done", "refused")
_ACCOUNT = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,33}"


class Folders:
    """The folders of one account below `base_url`, which is `file:///absolute/folder`. Raises ValueError for any other."""

    def __init__(self, base_url: str, account: str, clock: Callable[[], datetime]) -> None:
        parts = urllib.parse.urlsplit(base_url)
        path = urllib.parse.unquote(parts.path)
        if parts.scheme != "file" or parts.netloc or not path.startswith("/") or parts.query or parts.fragment or "\0" in path:
            raise ValueError("the address of folders is file:///absolute/folder")
        if not re.fullmatch(_ACCOUNT, account):
            raise ValueError("an account with folders is named with letters, digits, dots, _ and -")
        self._folder, self._clock = pathlib.Path(path) / account, clock

    def send(self, name: str, answer: str, body: bytes, deadline: float, send_by: datetime) -> Exchange:
        """Puts the file `name` in the bank's way, once, and waits a little for the file `answer`."""
        sent, failure, detail = self._put(name, body, deadline, send_by)
        if not sent:
            return _nothing(name, body, failure, detail, sent=False)
        until = min(deadline, time.monotonic() + ANSWER_SECONDS)
        while (found := self._read(self._folder / "in" / answer)) is None and time.monotonic() < until and not failure:
            if (self._folder / "refused" / name).exists():
                break
            time.sleep(LOOK_SECONDS)
        if found is not None and not failure:
            return Exchange(status=201, body=found, sent=True, failure="", detail="", request=_request(name, body))
        return _nothing(name, body, failure or "waiting", detail or "the file lies in the folder, the bank has not answered", sent=True)

    def ask(self, name: str, answer: str, deadline: float) -> Exchange:
        """What the bank has answered to the file `name`; `failure` is absent, waiting, refused or connect_failed without an answer."""
        if time.monotonic() >= deadline:
            return _nothing(answer, b"", "timeout", "the deadline has passed", sent=False)
        try:
            # In the order in which a file moves, so that one that moves meanwhile is not missed.
            seen = [where for where in SENT if (self._folder / where / name).exists()]
            found = self._read(self._folder / "in" / answer)
            if found is not None:
                return Exchange(status=200, body=found, sent=True, failure="", detail="", request=_request(answer, b""))
            if not (self._folder / "out").is_dir():
                return _nothing(answer, b"", "connect_failed", "the folders are not there", sent=False)
            if seen == ["refused"]:
                raw = self._read(self._folder / "refused" / name)
                return _nothing(answer, b"", "refused", "the bank has put the file into refused", sent=True, answered=raw or b"")
        except OSError as error:
            return _nothing(answer, b"", "connect_failed", f"the folders cannot be read: {error.strerror}", sent=False)
        if seen:
            return _nothing(answer, b"", "waiting", "the bank has the file and has not answered", sent=True)
        return _nothing(answer, b"", "absent", "no folder has the file", sent=True)

    def latest(self, prefix: str, at_most: int) -> Exchange:
        """The file `prefix-N.xml` with the greatest N that is not above `at_most`."""
        try:
            numbers = [int(path.stem.rpartition("-")[2]) for path in (self._folder / "in").glob(f"{prefix}-*.xml")]
            return self.file(f"{prefix}-{max(number for number in numbers if number <= at_most)}.xml")
        except (OSError, ValueError):
            return _nothing(prefix, b"", "connect_failed", "the folder in has no such file", sent=False)

    def file(self, name: str) -> Exchange:
        """A file of the bank's; without it, `failure` is absent."""
        try:
            found = self._read(self._folder / "in" / name)
        except OSError as error:
            return _nothing(name, b"", "connect_failed", f"the folders cannot be read: {error.strerror}", sent=False)
        if found is None:
            return _nothing(name, b"", "absent", "the folder in has no such file", sent=True)
        return Exchange(status=200, body=found, sent=True, failure="", detail="", request=_request(name, b""))

    def writable(self) -> bool:
        return os.access(self._folder / "out", os.W_OK | os.X_OK)

    def _put(self, name: str, body: bytes, deadline: float, send_by: datetime) -> tuple[bool, str, str]:
        """(whether it was sent, failure, why)."""
        out = self._folder / "out"
        target, draft = out / name, out / f".{name}.{secrets.token_hex(8)}.part"
        try:
            if any((self._folder / where / name).exists() for where in SENT):
                return self._sent_before(name, body)
            _write(draft, body)
            if self._clock() >= send_by:
                return False, "send_by_passed", "the time to send by had passed before the file got its name"
            if time.monotonic() >= deadline:
                return False, "pool_timeout", "the deadline had passed before the file got its name"
            return self._name(draft, target, body)
        except OSError as error:
            return False, "connect_failed", f"the file could not be written: {error.strerror}"
        finally:
            draft.unlink(missing_ok=True)

    def _sent_before(self, name: str, body: bytes) -> tuple[bool, str, str]:
        """The same message again is that message, and is not written again; another one under its name is not sent at all."""
        same = any(self._read(self._folder / where / name) == body for where in SENT)
        return (True, "", "") if same else (True, "already_sent", "another file of this name was sent before")

    def _name(self, draft: pathlib.Path, target: pathlib.Path, body: bytes) -> tuple[bool, str, str]:
        """From here on the bank may have it. A link, unlike a rename, never replaces a file."""
        try:
            os.link(draft, target)
        except FileExistsError:
            return self._sent_before(target.name, body)
        except OSError as error:
            there = os.path.lexists(target) or os.path.lexists(self._folder / "done" / target.name)
            return there, "disconnected" if there else "connect_failed", f"the file did not get its name: {error.strerror}"
        try:
            _sync(target.parent)
        except OSError as error:
            return True, "disconnected", f"the folder could not be synced: {error.strerror}"
        return True, "", ""

    def _read(self, path: pathlib.Path) -> bytes | None:
        try:
            with path.open("rb") as file:
                return file.read(LARGEST_BODY + 1)
        except FileNotFoundError:
            return None


def _write(path: pathlib.Path, body: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: pathlib.Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _request(name: str, body: bytes) -> bytes:
    return f"FILE {name}\r\n\r\n".encode() + body


def _nothing(name: str, body: bytes, failure: str, detail: str, *, sent: bool, answered: bytes = b"") -> Exchange:
    return Exchange(status=None, body=answered, sent=sent, failure=failure, detail=detail, request=_request(name, body))
