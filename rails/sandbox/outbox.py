"""Events to deliver: written in the transaction that books what they tell of, delivered by `webhooks.py`."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from typing import Any

from rails.sandbox import card_shapes, pix_shapes, tables, wire_shapes
from rails.sandbox.faults import Fault

# How the APIs tell an event: shape(db, account, kind, data) is the body of its message.
Shape = Callable[[sqlite3.Connection, str, str, dict[str, Any]], dict[str, Any]]


def _v1(db: sqlite3.Connection, account: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "timestamp": tables.timestamp(), "account": account, "data": data}


SHAPES: dict[str, Shape] = {"v1": _v1, "pix": pix_shapes.event, "card": card_shapes.event, "wire": wire_shapes.event}
# The APIs whose messages hold several events, in a list of this name.
LISTS = {"pix": "pix", "wire": "entries"}


def put(db: sqlite3.Connection, account: sqlite3.Row, kind: str, data: dict[str, Any], fault: Fault | None) -> None:
    """Writes the event, as the fault wants it."""
    name, api = fault.fault if fault else "", account["api"]
    body = SHAPES[api](db, account["account"], kind, data)
    several = LISTS.get(api) in body
    if several:
        body[LISTS[api]] = _waiting(db, account["account"], LISTS[api]) + body[LISTS[api]]
    joins = name == "webhook_together" and several
    delay = fault.seconds if fault and (joins or name in ("webhook_late", "webhook_out_of_order")) else 0.0
    row = (f"msg_{uuid.uuid4().hex}", account["account"], kind, tables.compact(body), time.time() + delay)
    for _ in range(2 if name == "webhook_twice" else 1):
        insert = "INSERT INTO outbox (id, account, type, body, due, held, joins) VALUES (?, ?, ?, ?, ?, ?, ?)"
        db.execute(insert, (*row, name == "webhook_out_of_order", joins))


def _waiting(db: sqlite3.Connection, account: str, name: str) -> list[Any]:
    """The events that waited to leave together with the next one, taken out of the outbox."""
    chosen = "account = ? AND joins = 1 AND delivered_at IS NULL AND attempts = 0 AND due > ?"
    values = (account, time.time())
    found = db.execute(f"SELECT body FROM outbox WHERE {chosen} ORDER BY seq", values).fetchall()
    db.execute(f"DELETE FROM outbox WHERE {chosen}", values)
    return [event for row in found for event in json.loads(row["body"])[name]]


def written(event: sqlite3.Row) -> tuple[bytes, str]:
    """The message as it is sent, and its type."""
    if event["api"] == "wire":
        return wire_shapes.render(json.loads(event["body"])).encode(), "application/xml"
    return event["body"].encode(), "application/json"


def due(db: sqlite3.Connection, limit: int, most_attempts: int, default_url: str | None) -> list[sqlite3.Row]:
    """Events to deliver now, oldest first, with the address and the secret of their account."""
    query = (
        "SELECT seq, outbox.id, outbox.account, api, body, attempts, coalesce(webhook_url, ?) AS url, webhook_secret"
        " FROM outbox JOIN accounts USING (account)"
        " WHERE delivered_at IS NULL AND due <= ? AND attempts < ? AND url IS NOT NULL ORDER BY due, seq LIMIT ?"
    )
    return db.execute(query, (default_url, time.time(), most_attempts, limit)).fetchall()


def delivered(db: sqlite3.Connection, seq: int, account: str) -> None:
    """Marks the event delivered, and lets go those that were held back to arrive after it."""
    sent = "UPDATE outbox SET delivered_at = ?, attempts = attempts + 1 WHERE seq = ?"
    db.execute(sent, (tables.timestamp(), seq))
    freed = "UPDATE outbox SET due = ?, held = 0 WHERE account = ? AND held = 1 AND seq < ?"
    db.execute(freed, (time.time(), account, seq))


def failed(db: sqlite3.Connection, seq: int, retry_in: float) -> None:
    db.execute("UPDATE outbox SET attempts = attempts + 1, due = ? WHERE seq = ?", (time.time() + retry_in, seq))
