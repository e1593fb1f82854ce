"""How the card API shows what is in the book: Stripe's objects, as far as the bank has something to say in them.

Amounts are Stripe's integers, currencies small letters, times seconds since 1970. A charge is money that the merchant got: its line in
the balance has a plus, though the account of the card's holder has less.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import uuid
from datetime import datetime
from typing import Any

from rails.sandbox.entries import Refusal

API_VERSION = "2025-09-30.clover"
EVENTS = {"deposit.received": "topup.succeeded"}
LINES = {"payment": "charge", "refund": "refund", "deposit": "topup"}
# What the ledger of the bank calls the states of an intent: the words of its other APIs.
LEDGER = {
    "succeeded": "settled",
    "requires_capture": "reserved",
    "requires_payment_method": "rejected",
    "requires_action": "rejected",
    "processing": "accepted",
}


class CardRefusal(Refusal):
    """A refusal with the members that Stripe puts beside its message, such as `param` or `payment_intent`."""

    def __init__(self, status: int, code: str, detail: str, **more: Any) -> None:
        super().__init__(status, code, detail)
        self.more = more


def error(refusal: Refusal) -> dict[str, Any]:
    """Stripe's error object. What is no code of Stripe's stands in the message only."""
    kind = "api_error" if refusal.status >= 500 else "idempotency_error" if refusal.code == "idempotency_error" else "invalid_request_error"
    more: dict[str, Any] = {"code": refusal.code} | refusal.more if isinstance(refusal, CardRefusal) else {}
    return {"error": {"type": kind, "message": refusal.detail} | more}


def method(row: sqlite3.Row) -> dict[str, Any]:
    card = {"brand": row["brand"], "last4": row["last4"]}
    return {"id": row["id"], "object": "payment_method", "type": "card", "card": card, "livemode": False, "metadata": {}}


def intent(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "payment_intent",
        "amount": row["amount"],
        "amount_capturable": row["amount"] if row["status"] == "requires_capture" else 0,
        "amount_received": row["moved"],
        "capture_method": "manual",
        "client_secret": f"{row['id']}_secret_{_digest(row['id'])[:24]}",
        "created": row["created"],
        "currency": row["currency"].lower(),
        "last_payment_error": declined(row) if row["decline"] else None,
        "latest_charge": row["charge"],
        "livemode": False,
        "metadata": json.loads(row["metadata"]),
        "next_action": {"type": "use_stripe_sdk"} if row["status"] == "requires_action" else None,
        "payment_method": None if row["decline"] else row["method"],
        "payment_method_types": ["card"],
        "status": row["status"],
        "transfer_data": {"destination": row["destination"]} if row["destination"] else None,
    }


def declined(row: sqlite3.Row) -> dict[str, Any]:
    """The error of a declined card, as it stands in the intent."""
    code = row["decline"] if row["decline"] == "authentication_required" else "card_declined"
    text = "Your card was declined."
    return {"type": "card_error", "code": code, "decline_code": row["decline"], "message": text, "charge": row["charge"]}


def charge(row: sqlite3.Row, refunds: list[sqlite3.Row]) -> dict[str, Any]:
    """The charge of an intent, with its refunds, the newest first."""
    back = sum(one["amount"] for one in refunds if one["status"] == "succeeded")
    return {
        "id": row["charge"],
        "object": "charge",
        "amount": row["amount"],
        "amount_captured": row["moved"],
        "amount_refunded": back,
        "captured": row["moved"] > 0,
        "created": row["created"],
        "currency": row["currency"].lower(),
        "livemode": False,
        "metadata": json.loads(row["metadata"]),
        "payment_intent": row["id"],
        "refunded": back == row["amount"],
        "refunds": {"object": "list", "data": [refund(one, row) for one in refunds], "has_more": False},
        "status": "succeeded",
    }


def refund(row: sqlite3.Row, of: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "object": "refund",
        "amount": row["amount"],
        "charge": of["charge"],
        "created": row["created"],
        "currency": of["currency"].lower(),
        "failure_reason": "declined" if row["status"] == "failed" else None,
        "metadata": json.loads(row["metadata"]),
        "payment_intent": row["intent"],
        "status": row["status"],
    }


def topup(deposit: dict[str, Any]) -> dict[str, Any]:
    """A deposit, as `tables.deposit` shows it."""
    return {
        "id": f"tu_{deposit['id']}",
        "object": "topup",
        "amount": deposit["amount"],
        "created": _seconds(deposit["at"]),
        "currency": deposit["currency"].lower(),
        "description": deposit["reference"] or None,
        "livemode": False,
        "metadata": {},
        "source": {"id": deposit["payer"]["key"], "object": "source"},
        "status": "succeeded",
    }


def line_id(account: str, line: int) -> str:
    """The id of a line: the same whenever it is read, and another one in each account."""
    return f"txn_{_digest(account)[:8]}{line:012}"


def line_number(account: str, text: str) -> int:
    """The line with this id; raises `Refusal` for an id of somebody else."""
    start = f"txn_{_digest(account)[:8]}"
    if not text.startswith(start) or not text[len(start) :].isdecimal():
        raise CardRefusal(400, "resource_missing", f"No such balance transaction: '{text}'", param="id")
    return int(text[len(start) :])


def line(row: sqlite3.Row, *, expanded: bool) -> dict[str, Any]:
    amount = row["amount"] if row["kind"] == "deposit" else -row["amount"]
    source = _source(row)
    return {
        "id": line_id(row["account"], row["line"]),
        "object": "balance_transaction",
        "amount": amount,
        "created": _seconds(row["at"]),
        "currency": row["currency"].lower(),
        "exchange_rate": None,
        "fee": 0,
        "net": amount,
        "reporting_category": LINES[row["kind"]],
        "source": source if expanded else source["id"],
        "status": "available",
        "type": LINES[row["kind"]],
    }


def _source(row: sqlite3.Row) -> dict[str, Any]:
    source = {"object": LINES[row["kind"]], "amount": abs(row["amount"]), "currency": row["currency"].lower()}
    if row["kind"] == "deposit":
        return source | {"id": f"tu_{row['id']}", "source": {"id": row["party"], "object": "source"}}
    if row["kind"] == "refund":
        return source | {"id": row["id"], "metadata": {"codespar_key": row["key"]}}
    found = {"codespar_key": row["key"], "codespar_payee": row["party"]}
    name = row["id"].removeprefix("pi_")
    return source | {"id": f"ch_{name}", "captured": True, "payment_intent": f"pi_{name}", "metadata": found}


def event(db: sqlite3.Connection, account: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """The event of a thing that `data` shows."""
    return {
        "id": f"evt_{uuid.uuid4().hex[:24]}",
        "object": "event",
        "account": account,
        "api_version": API_VERSION,
        "created": int(time.time()),
        "data": {"object": topup(data) if kind == "deposit.received" else data},
        "livemode": False,
        "type": EVENTS.get(kind, kind),
    }


def ledger(db: sqlite3.Connection) -> dict[str, list[dict[str, Any]]]:
    """What was booked over the card API, in the form of the bank's ledger."""
    intents = db.execute("SELECT * FROM card_intents ORDER BY seq").fetchall()
    refunds = db.execute(
        "SELECT r.*, i.currency, i.metadata AS paid FROM card_refunds r JOIN card_intents i ON i.id = r.intent ORDER BY r.seq"
    ).fetchall()
    return {"payments": [_payment_row(row) for row in intents], "refunds": [_refund_row(row) for row in refunds]}


def _payment_row(row: sqlite3.Row) -> dict[str, Any]:
    found = json.loads(row["metadata"])
    return {
        **{name: row[name] for name in ("account", "id", "amount", "moved", "currency")},
        "key": found.get("codespar_key", row["id"]),
        "status": LEDGER.get(row["status"], row["status"]),
        "payee": {"key": row["destination"] or found.get("codespar_payee")},
        "reference": found.get("codespar_reference", ""),
        "reason": row["decline"],
    }


def _refund_row(row: sqlite3.Row) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("account", "id", "amount", "currency")},
        "key": json.loads(row["metadata"]).get("codespar_key", row["id"]),
        "payment": json.loads(row["paid"]).get("codespar_key", row["intent"]),
        "status": "settled" if row["status"] == "succeeded" else "rejected",
    }


def _seconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
