"""What the card API does to the book: authorise, capture, cancel, refund, and what happens by itself when its time has come.

Each function works inside one transaction that its caller has opened. An authorisation reserves the money, a capture moves it.
"""

from __future__ import annotations

import functools
import json
import secrets
import sqlite3
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rails.sandbox import card_shapes, entries, outbox, tables
from rails.sandbox.book import Book
from rails.sandbox.card_shapes import CardRefusal
from rails.sandbox.entries import Order
from rails.sandbox.faults import Fault
from rails.sandbox.requests import Answer
from rails.sandbox.tables import timestamp

# What can be changed in the control plane: how long a key is remembered, and how long an authorisation holds that nobody captures.
SETTINGS = {"key_seconds": 24 * 3600.0, "authorisation_seconds": 7 * 24 * 3600.0}
CANCELABLE = ("requires_payment_method", "requires_capture", "requires_action", "processing")
DECLINES = {"insufficient_funds": "insufficient_funds", "currency_mismatch": "currency_not_supported"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What an intent is asked to be; `keys` are the client's, for faults."""

    account: str
    amount: int
    currency: str
    method: str
    destination: str | None
    metadata: Mapping[str, str]
    off_session: bool
    keys: tuple[str, ...]


def setting(db: sqlite3.Connection, name: str) -> float:
    row = db.execute("SELECT value FROM settings WHERE name = ?", (f"card_{name}",)).fetchone()
    return float(row["value"]) if row else SETTINGS[name]


def new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(24))


# Intents.


def intent(db: sqlite3.Connection, account: str, intent_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM card_intents WHERE account = ? AND id = ?", (account, intent_id)).fetchone()
    if row is None:
        raise CardRefusal(404, "resource_missing", f"No such payment_intent: '{intent_id}'", param="intent")
    return row


def authorise(db: sqlite3.Connection, book: Book, asked: Asked) -> Answer:
    """A new intent: its money is reserved, or its card is declined."""
    fault = book.faults.take("book", asked.keys)
    card = _method(db, asked)
    decline = _why_not(db, asked, card, fault)
    challenged = bool(card["challenges"]) and decline is None
    if challenged and asked.off_session:
        decline = "authentication_required"
    row = _insert(db, asked, "requires_payment_method" if decline else "requires_action" if challenged else "requires_capture", decline)
    if decline:
        return _tell_decline(db, book, row)
    if not challenged:
        _reserve(db, row, fault)
    return 200, card_shapes.intent(intent(db, asked.account, row["id"]))


def _method(db: sqlite3.Connection, asked: Asked) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute(
        "SELECT * FROM card_methods WHERE account = ? AND id = ?", (asked.account, asked.method)
    ).fetchone()
    if row is None:
        raise CardRefusal(400, "resource_missing", f"No such PaymentMethod: '{asked.method}'", param="payment_method")
    return row


def _why_not(db: sqlite3.Connection, asked: Asked, card: sqlite3.Row, fault: Fault | None) -> str | None:
    if fault and fault.fault == "decline":
        return "generic_decline"
    order = Order(asked.amount, asked.currency, asked.destination or "", None, "")
    shortfall = entries.shortfall(db, asked.account, order)
    return card["declines"] or (DECLINES[shortfall] if shortfall else None)


def _insert(db: sqlite3.Connection, asked: Asked, status: str, decline: str | None) -> sqlite3.Row:
    name = new_id("")
    db.execute(
        "INSERT INTO card_intents (id, account, charge, status, amount, currency, method, destination, metadata, decline, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(f"pi_{name}", asked.account, f"ch_{name}", status, asked.amount, asked.currency, asked.method, asked.destination),
            *(tables.compact(asked.metadata), decline, int(time.time())),
        ),
    )
    return intent(db, asked.account, f"pi_{name}")


def _reserve(db: sqlite3.Connection, row: sqlite3.Row, fault: Fault | None) -> None:
    name = fault.fault if fault else ""
    db.execute("UPDATE accounts SET reserved = reserved + ? WHERE account = ?", (row["amount"], row["account"]))
    if fault and name == "accepted_then_settled":
        _aim(db, row, "processing", "requires_capture", fault.seconds)
        return
    _hold(db, row)
    if fault and name == "in_two_legs":
        db.execute("UPDATE card_intents SET legs = ? WHERE id = ?", (fault.seconds, row["id"]))


def _hold(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    _aim(db, row, "requires_capture", "canceled", setting(db, "authorisation_seconds"))


def _aim(db: sqlite3.Connection, row: sqlite3.Row, status: str, aim: str | None, seconds: float = 0.0) -> None:
    """The intent is `status` now, and becomes `aim` by itself in `seconds`."""
    due = None if aim is None else time.time() + seconds
    db.execute("UPDATE card_intents SET status = ?, aim = ?, due = ? WHERE id = ?", (status, aim, due, row["id"]))


def _tell_decline(db: sqlite3.Connection, book: Book, row: sqlite3.Row) -> Answer:
    shown = card_shapes.intent(row)
    tell(db, book, row, "payment_intent.payment_failed", shown)
    return 402, {"error": card_shapes.declined(row) | {"payment_intent": shown}}


def capture(db: sqlite3.Connection, book: Book, row: sqlite3.Row, keys: tuple[str, ...]) -> Answer:
    """Moves all that is reserved, at once or, when a fault wants it so, later or in two legs."""
    if row["status"] != "requires_capture":
        raise unexpected(row, "captured")
    fault = book.faults.take("book", (*keys, *names(row)))
    name = fault.fault if fault else ""
    if name == "decline":
        return _lose(db, book, row)
    legs = fault.seconds if fault and name == "in_two_legs" else row["legs"]
    if legs is not None and row["amount"] > 1:
        _move(db, row, row["amount"] // 2)
        _aim(db, row, "processing", "succeeded", legs)
    elif fault and name == "accepted_then_settled":
        _aim(db, row, "processing", "succeeded", fault.seconds)
    else:
        _succeed(db, book, row)
    return 200, card_shapes.intent(intent(db, row["account"], row["id"]))


def _lose(db: sqlite3.Connection, book: Book, row: sqlite3.Row) -> Answer:
    """The issuer takes its word back: what was reserved is let go."""
    _release(db, row)
    _aim(db, row, "requires_payment_method", None)
    db.execute("UPDATE card_intents SET decline = 'generic_decline' WHERE id = ?", (row["id"],))
    return _tell_decline(db, book, intent(db, row["account"], row["id"]))


def _succeed(db: sqlite3.Connection, book: Book, row: sqlite3.Row) -> None:
    _move(db, row, row["amount"] - row["moved"])
    _aim(db, row, "succeeded", None)
    tell(db, book, row, "payment_intent.succeeded", card_shapes.intent(intent(db, row["account"], row["id"])))


def _move(db: sqlite3.Connection, row: sqlite3.Row, amount: int) -> None:
    db.execute("UPDATE card_intents SET moved = moved + ? WHERE id = ?", (amount, row["id"]))
    db.execute("UPDATE accounts SET reserved = reserved - ? WHERE account = ?", (amount, row["account"]))
    key, party = names(row)[0], row["destination"] or ""
    entries.line(db, row["account"], "payment", row["id"], key, -amount, row["currency"], timestamp(), party)


def _release(db: sqlite3.Connection, row: sqlite3.Row) -> None:
    left = row["amount"] - row["moved"] if row["status"] in ("requires_capture", "processing") else 0
    db.execute("UPDATE accounts SET reserved = reserved - ? WHERE account = ?", (left, row["account"]))


def cancel(db: sqlite3.Connection, book: Book, row: sqlite3.Row) -> Answer:
    """Lets go what is reserved; what has moved stays."""
    if row["status"] not in CANCELABLE:
        raise unexpected(row, "canceled")
    _release(db, row)
    _aim(db, row, "canceled", None)
    shown = card_shapes.intent(intent(db, row["account"], row["id"]))
    tell(db, book, row, "payment_intent.canceled", shown)
    return 200, shown


def unexpected(row: sqlite3.Row, what: str) -> CardRefusal:
    text = f"This PaymentIntent could not be {what} because it has a status of {row['status']}."
    return CardRefusal(400, "payment_intent_unexpected_state", text, payment_intent=card_shapes.intent(row))


def settle_due(book: Book) -> int:
    """Ends what processes and lets expire what nobody captured; how many."""
    query = "SELECT account, id FROM card_intents WHERE due <= ?"
    due = book.read(lambda db: db.execute(query, (time.time(),)).fetchall())
    for row in due:
        book.write(functools.partial(_settle, book=book, account=row["account"], intent_id=row["id"]))
    return len(due)


def _settle(db: sqlite3.Connection, book: Book, account: str, intent_id: str) -> None:
    row = intent(db, account, intent_id)
    if row["due"] is None or row["due"] > time.time():
        return
    if row["aim"] == "requires_capture":
        _hold(db, row)
    elif row["aim"] == "succeeded":
        _succeed(db, book, row)
    else:
        cancel(db, book, row)


# Refunds.


def refunds(db: sqlite3.Connection, intent_id: str) -> list[sqlite3.Row]:
    """The refunds of an intent, the newest first."""
    return db.execute("SELECT * FROM card_refunds WHERE intent = ? ORDER BY seq DESC", (intent_id,)).fetchall()


def refund(db: sqlite3.Connection, book: Book, row: sqlite3.Row, amount: int | None, metadata: Mapping[str, str]) -> Answer:
    """A refund of what has moved, all that is left when `amount` is None; never more than that."""
    if not row["moved"] or row["status"] not in ("succeeded", "canceled"):
        raise unexpected(row, "refunded")
    left = row["moved"] - sum(one["amount"] for one in refunds(db, row["id"]) if one["status"] == "succeeded")
    if left == 0:
        raise CardRefusal(400, "charge_already_refunded", f"Charge {row['charge']} has already been refunded.")
    if (amount or left) > left:
        text = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise CardRefusal(400, "amount_too_large", text, param="amount")
    keys = (metadata.get("codespar_key", ""), *names(row))
    fault = book.faults.take("book", keys)
    failed = fault is not None and fault.fault == "decline"
    made = (new_id("re_"), row["account"], row["id"], "failed" if failed else "succeeded", amount or left, tables.compact(metadata))
    insert = "INSERT INTO card_refunds (id, account, intent, status, amount, metadata, created) VALUES (?, ?, ?, ?, ?, ?, ?)"
    db.execute(insert, (*made, int(time.time())))
    if not failed:
        _give_back(db, book, row, made[0], amount or left, keys)
    return 200, card_shapes.refund(refunds(db, row["id"])[0], row)


def _give_back(db: sqlite3.Connection, book: Book, row: sqlite3.Row, refund_id: str, amount: int, keys: tuple[str, ...]) -> None:
    party = row["destination"] or ""
    entries.line(db, row["account"], "refund", refund_id, keys[0] or refund_id, amount, row["currency"], timestamp(), party)
    tell(db, book, row, "charge.refunded", card_shapes.charge(row, refunds(db, row["id"])), keys)


# Events.


def names(row: sqlite3.Row) -> tuple[str, str]:
    """What the client knows the intent by: its own key, and the id."""
    return str(json.loads(row["metadata"]).get("codespar_key", row["id"])), row["id"]


def tell(db: sqlite3.Connection, book: Book, row: sqlite3.Row, kind: str, shown: dict[str, Any], keys: tuple[str, ...] = ()) -> None:
    """Puts an event about the intent into the outbox."""
    fault = book.faults.take("webhook", keys or names(row))
    outbox.put(db, entries.holder(db, row["account"]), kind, shown, fault)
