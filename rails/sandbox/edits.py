"""Statements that do not say what the bank did: what reconciliation must find, on request."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What each edit does to the lines of one key, and what it needs beside the key.
EDITS: Mapping[str, frozenset[str]] = {
    "remove": frozenset(),
    "amount": frozenset({"amount"}),
    "currency": frozenset({"currency"}),
    "payee": frozenset({"payee"}),
    "at": frozenset({"at"}),
    "duplicate": frozenset(),
    "add": frozenset({"amount", "currency", "payee", "at"}),
}
_COLUMNS = {"amount": "amount", "currency": "currency", "payee": "party", "at": "at"}


class BadEdit(ValueError):
    """The edit cannot be made; the message says what would be right."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change to the statement: `edit` is a name in `EDITS`, `key` the client's key, `values` what it needs."""

    edit: str
    key: str
    values: Mapping[str, Any]


def parse(body: Mapping[str, Any]) -> Edit:
    """Reads `{edit, key, amount?, currency?, payee?, at?}`; raises `BadEdit`. `amount` is signed minor units, `at` RFC 3339."""
    name, key = body.get("edit"), body.get("key")
    if not isinstance(name, str) or name not in EDITS:
        raise BadEdit(f"unknown edit {name!r}; valid edits are {', '.join(sorted(EDITS))}")
    values = {member: value for member, value in body.items() if member not in ("account", "edit", "key")}
    if not isinstance(key, str) or set(values) != EDITS[name]:
        raise BadEdit(f"the edit {name} needs {', '.join(['account', 'key', *sorted(EDITS[name])])}")
    kinds = {"amount": int, "currency": str, "payee": str, "at": str}
    if any(type(value) is not kinds[member] for member, value in values.items()):
        raise BadEdit("amount is an integer; currency, payee and at are strings")
    return Edit(name, key, values)


def apply(db: sqlite3.Connection, account: str, edit: Edit) -> None:
    """Change the lines. A line keeps its number: what a client has read does not move. Raises `BadEdit` without such a line."""
    if edit.edit == "add":
        _insert(db, account, edit)
        return
    chosen = "account = ? AND key = ?"
    if not db.execute(f"SELECT 1 FROM lines WHERE {chosen}", (account, edit.key)).fetchone():
        raise BadEdit("the statement has no line with this key")
    if edit.edit == "remove":
        db.execute(f"DELETE FROM lines WHERE {chosen}", (account, edit.key))
    elif edit.edit == "duplicate":
        db.execute(
            "INSERT INTO lines (account, line, kind, id, key, amount, currency, at, party) SELECT account, (SELECT max(line) + 1 FROM lines"
            f" WHERE account = ?), kind, id, key, amount, currency, at, party FROM lines WHERE {chosen} ORDER BY line LIMIT 1",
            (account, account, edit.key),
        )
    else:
        db.execute(f"UPDATE lines SET {_COLUMNS[edit.edit]} = ? WHERE {chosen}", (edit.values[edit.edit], account, edit.key))


def _insert(db: sqlite3.Connection, account: str, edit: Edit) -> None:
    found = edit.values
    provider_id = "E" + "9" * 20 + edit.key[:11].ljust(11, "x")
    db.execute(
        "INSERT INTO lines (account, line, kind, id, key, amount, currency, at, party) SELECT ?, 1 + coalesce("
        "(SELECT max(line) FROM lines WHERE account = ?), 0), 'payment', ?, ?, ?, ?, ?, ?",
        (account, account, provider_id, edit.key, found["amount"], found["currency"], found["at"], found["payee"]),
    )
