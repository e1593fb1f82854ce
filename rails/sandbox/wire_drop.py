"""The bank's wires over folders: `drop/<account>/out` is what the client sends, `in` what the bank answers.

A file counts once it is called `.xml`. What was taken is moved to `done`, what was refused to `refused`. Every answer is written whole,
under another name, and then renamed: a status or a resolution replaces the one before it, a statement is one file for each 25 lines.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import sqlite3
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

from rails.sandbox import wire, wire_reading, wire_shapes
from rails.sandbox.book import Refusal
from rails.sandbox.faults import Fault

if TYPE_CHECKING:
    from rails.sandbox.api import Bank

TICK = 0.1
LARGEST = 64 * 1024
FOLDERS = ("out", "in", "done", "refused")
OVER = ("ACSC", "RJCT", "CANC")


def folder(drop: pathlib.Path, account: str) -> pathlib.Path:
    """Makes the folders of an account; raises `Refusal` for a name that cannot be a folder's."""
    if not re.fullmatch("[A-Za-z0-9_-][A-Za-z0-9._-]{0,33}", account):
        raise Refusal(400, "invalid_request", "an account with folders is named with letters, digits, dots, _ and -")
    for name in FOLDERS:
        (drop / account / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    return drop / account


class Drop:
    """The background thread: takes what was sent, and writes what has changed."""

    def __init__(self, bank: Bank, drop: pathlib.Path) -> None:
        self._bank, self._drop = bank, drop
        self._stop = threading.Event()
        self._held: dict[pathlib.Path, float] = {}
        self._written: dict[pathlib.Path, str] = {}
        self._over: set[pathlib.Path] = set()
        self._version: dict[str, int] = {}
        self._last = drop
        self._thread = threading.Thread(target=self._loop, name="drop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _loop(self) -> None:
        while not self._stop.wait(TICK):
            try:
                self._round(sorted(self._drop.iterdir()) if self._drop.is_dir() else [])
            except Exception:
                traceback.print_exc()

    def _round(self, accounts: list[pathlib.Path]) -> None:
        """Takes everything that was sent, and writes news for a little while: whoever was left out comes first the next time."""
        for found in accounts:
            ready = [path for path in sorted((found / "out").glob("*.xml")) if self._held.get(path, 0) <= time.time()]
            for path in ready:
                self._take(found, path)
            if ready:
                self._answer(found)
        until = time.monotonic() + TICK
        for found in [each for each in accounts if each > self._last] + [each for each in accounts if each <= self._last]:
            self._answer(found)
            self._last = found
            if time.monotonic() > until:
                return

    # What was sent.

    def _take(self, found: pathlib.Path, path: pathlib.Path) -> None:
        key, late = path.stem.partition("-")[2], path in self._held
        fault = None if late else self._bank.faults.take("before", [key], "write")
        if fault and self._waits(path, fault):
            return
        note = self._bank.book.note_request("DROP", f"/{found.name}/out/{path.name}", key)
        if self._held.pop(path, None) == 0.0:
            # Lost on its way: it was never read, and nobody is told.
            self._move(path, found / "done")
            return
        try:
            status, where = 201, "done"
            self._carry_out(found, path)
        except Refusal as refusal:
            status, where = refusal.status, "refused"
        self._bank.book.note_status(note, status)
        self._move(path, found / where)

    def _waits(self, path: pathlib.Path, fault: Fault) -> bool:
        """Whether the file stays where it is for now; one that is to be lost is marked so."""
        if fault.fault in ("timeout_before", "disconnect_before"):
            self._held[path] = 0.0
            return False
        self._held[path] = time.time() + fault.seconds
        return True

    def _carry_out(self, found: pathlib.Path, path: pathlib.Path) -> None:
        if path.stat().st_size > LARGEST:
            raise wire_reading.invalid("the message is too long")
        raw = path.read_bytes()
        told = wire_reading.read(raw, found.name)
        if path.stem != f"{'pain.001' if told['kind'] == 'transfer' else 'camt.056'}-{told['id']}":
            raise wire_reading.invalid("the file is not named after its message")
        shape = wire.take(self._bank, found.name, told, raw)
        self._strike(found, told["id"], shape)

    def _strike(self, found: pathlib.Path, key: str, shape: dict[str, Any]) -> None:
        """A fault of the answer is the first answer's: what follows is as it is."""
        path = found / "in" / f"{shape['doc']}-{key}.xml"
        if self._bank.faults.take("lookup", [key]):
            self._held[path] = time.time() + 5 * TICK
        fault = self._bank.faults.take("answer", [key], "write")
        name = fault.fault if fault else ""
        if fault and name in ("timeout_after", "disconnect_after"):
            self._held[path] = time.time() + fault.seconds if name == "timeout_after" else float("inf")
            self._written[path] = _mark(shape)
        elif name == "rubbish":
            self._write(path, "<html><body>It works!</body></html>", shape)
        elif name:
            self._write(path, wire_shapes.render(shape | wire.lie(name, shape)), shape)

    def _move(self, path: pathlib.Path, where: pathlib.Path) -> None:
        target = where / path.name
        path.replace(target if not target.exists() else where / f"{path.stem}-{time.time_ns()}.xml")

    # What is answered.

    def _answer(self, found: pathlib.Path) -> None:
        version = self._bank.book.read(lambda db: int(db.execute("PRAGMA data_version").fetchone()[0]))
        waiting = any(path.parent.parent == found for path in self._held)
        if self._version.get(found.name) == version and not waiting:
            return
        self._version[found.name] = version
        query = "SELECT id FROM wire_messages WHERE account = ?"
        for row in self._bank.book.read(lambda db: db.execute(query, (found.name,)).fetchall()):
            self._tell(found, row["id"])
        self._book(found)

    def _tell(self, found: pathlib.Path, key: str) -> None:
        try:
            shape = self._bank.book.read(lambda db: wire.shown(db, found.name, key))
        except Refusal:
            return
        path, mark = found / "in" / f"{shape['doc']}-{key}.xml", _mark(shape)
        if path in self._over or (self._held.get(path, 0) > time.time() and self._written.get(path) in (None, mark)):
            return
        if self._held.pop(path, None) is not None or self._written.get(path) != mark:
            self._write(path, wire_shapes.render(shape), shape)
        if shape.get("status") in OVER:
            self._over.add(path)

    def _book(self, found: pathlib.Path) -> None:
        account, after, complete = found.name, 0, False
        self._bank.book.ensure_account(account)
        while not complete:
            until = after + wire.PAGE
            path = found / "in" / f"camt.053-{after}.xml"
            rows, complete = self._bank.book.read(partial(_lines, account, after, until))
            mark = hashlib.sha256(repr((rows, complete)).encode()).hexdigest()
            if self._written.get(path) != mark:
                shape = wire.statement(self._bank, account, after, until)
                self._write(path, wire_shapes.render(shape | {"complete": complete}), {})
                self._written[path] = mark
                for row in shape["entries"]:
                    self._notify(found, row["id"])
            after = until

    def _notify(self, found: pathlib.Path, reference: str) -> None:
        shape = self._bank.book.read(lambda db: wire_shapes.notification(db, found.name, reference))
        self._write(found / "in" / f"camt.054-{reference}.xml", wire_shapes.render(shape), shape)

    def _write(self, path: pathlib.Path, text: str, shape: dict[str, Any]) -> None:
        draft = path.with_suffix(".part")
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        self._written[path] = _mark(shape)


def _lines(account: str, after: int, until: int, db: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], bool]:
    """The lines after one and to another, and whether none is beyond."""
    query = "SELECT * FROM lines WHERE account = ? AND line > ? AND line <= ? ORDER BY line"
    most = db.execute("SELECT coalesce(max(line), 0) FROM lines WHERE account = ?", (account,)).fetchone()[0]
    return [tuple(row) for row in db.execute(query, (account, after, until)).fetchall()], most <= until


def _mark(shape: dict[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(shape.items(), key=str)).encode()).hexdigest()
