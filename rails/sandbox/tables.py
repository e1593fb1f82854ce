"""The tables of the bank's book, and how a row is shown to a client."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
    account TEXT PRIMARY KEY, currency TEXT NOT NULL, opening INTEGER NOT NULL,
    balance INTEGER NOT NULL, reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved BETWEEN 0 AND balance),
    key_digest TEXT UNIQUE, webhook_url TEXT, webhook_secret TEXT, api TEXT NOT NULL DEFAULT 'v1'
) STRICT;
CREATE TABLE IF NOT EXISTS payments (
    account TEXT NOT NULL REFERENCES accounts, key TEXT NOT NULL, id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('accepted', 'settled', 'canceled', 'rejected')),
    amount INTEGER NOT NULL CHECK (amount > 0), moved INTEGER NOT NULL DEFAULT 0 CHECK (moved BETWEEN 0 AND amount),
    currency TEXT NOT NULL,
    payee TEXT NOT NULL, payee_name TEXT, reference TEXT NOT NULL, txid TEXT, reason TEXT,
    created_at TEXT NOT NULL, settle_due REAL, settled_at TEXT,
    PRIMARY KEY (account, key)
) STRICT;
CREATE INDEX IF NOT EXISTS payments_due ON payments (settle_due) WHERE status = 'accepted';
CREATE TABLE IF NOT EXISTS refunds (
    account TEXT NOT NULL, payment TEXT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('accepted', 'settled', 'rejected')),
    amount INTEGER NOT NULL CHECK (amount > 0), currency TEXT NOT NULL, note TEXT, reason TEXT,
    created_at TEXT NOT NULL, settle_due REAL, settled_at TEXT,
    PRIMARY KEY (account, payment, key), FOREIGN KEY (account, payment) REFERENCES payments (account, key)
) STRICT;
CREATE TABLE IF NOT EXISTS deposits (
    id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, amount INTEGER NOT NULL CHECK (amount > 0),
    currency TEXT NOT NULL, payer TEXT NOT NULL, reference TEXT NOT NULL, created_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS lines (
    account TEXT NOT NULL REFERENCES accounts, line INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('payment', 'refund', 'deposit')), id TEXT NOT NULL, key TEXT,
    amount INTEGER NOT NULL, currency TEXT NOT NULL, at TEXT NOT NULL, party TEXT NOT NULL,
    PRIMARY KEY (account, line)
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, account TEXT NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL,
    due REAL NOT NULL, held INTEGER NOT NULL DEFAULT 0, joins INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, delivered_at TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due) WHERE delivered_at IS NULL;
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, at TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    idempotency_key TEXT, status INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS access_tokens (
    digest TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, scopes TEXT NOT NULL, expires REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pix_keys (
    key TEXT PRIMARY KEY, present INTEGER NOT NULL, name TEXT, kind TEXT NOT NULL, account TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS charges (
    account TEXT NOT NULL REFERENCES accounts, txid TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0),
    key TEXT NOT NULL, note TEXT, seconds INTEGER NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (account, txid)
) STRICT;
CREATE TABLE IF NOT EXISTS card_methods (
    id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, brand TEXT NOT NULL,
    last4 TEXT NOT NULL CHECK (length(last4) = 4), declines TEXT, challenges INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS card_intents (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES accounts, charge TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('processing', 'requires_action', 'requires_payment_method', 'requires_capture', 'succeeded', 'canceled')),
    amount INTEGER NOT NULL CHECK (amount > 0), moved INTEGER NOT NULL DEFAULT 0 CHECK (moved BETWEEN 0 AND amount),
    currency TEXT NOT NULL, method TEXT NOT NULL, destination TEXT, metadata TEXT NOT NULL, decline TEXT,
    legs REAL, aim TEXT, due REAL, created INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS card_intents_due ON card_intents (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS card_refunds (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL REFERENCES accounts,
    intent TEXT NOT NULL REFERENCES card_intents (id), status TEXT NOT NULL CHECK (status IN ('succeeded', 'failed')),
    amount INTEGER NOT NULL CHECK (amount > 0), metadata TEXT NOT NULL, created INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS card_answers (
    account TEXT NOT NULL REFERENCES accounts, key TEXT NOT NULL, request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (account, key)
) STRICT;
CREATE TABLE IF NOT EXISTS consents (
    id TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts, kind TEXT NOT NULL CHECK (kind IN ('data', 'payments')),
    status TEXT NOT NULL CHECK (status IN ('AWAITING_AUTHORISATION', 'AUTHORISED', 'REJECTED', 'REVOKED')),
    permissions TEXT NOT NULL, most INTEGER NOT NULL, total INTEGER NOT NULL, expires_at TEXT NOT NULL, reason TEXT,
    created_at TEXT NOT NULL, changed_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS initiated (
    account TEXT NOT NULL, key TEXT NOT NULL, consent TEXT NOT NULL REFERENCES consents, PRIMARY KEY (account, key)
) STRICT;
CREATE TABLE IF NOT EXISTS wire_messages (
    account TEXT NOT NULL REFERENCES accounts, id TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('transfer', 'recall')),
    raw BLOB NOT NULL, told TEXT NOT NULL, outcome TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (account, id)
) STRICT;
"""


def payment(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "key": row["key"],
        "status": row["status"],
        "amount": row["amount"],
        "moved": row["moved"],
        "currency": row["currency"],
        "payee": {"key": row["payee"]},
        "reference": row["reference"],
        "settled_at": row["settled_at"],
        "reason": row["reason"],
    }


def refund(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "key": row["key"],
        "payment": row["payment"],
        "status": row["status"],
        "amount": row["amount"],
        "currency": row["currency"],
        "at": row["created_at"],
        "reason": row["reason"],
    }


def deposit(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "account": row["account"],
        "status": "settled",
        "amount": row["amount"],
        "currency": row["currency"],
        "payer": {"key": row["payer"]},
        "reference": row["reference"],
        "at": row["created_at"],
    }


def line(row: sqlite3.Row) -> dict[str, Any]:
    shown = {name: row[name] for name in ("line", "kind", "id", "key", "amount", "currency", "at")}
    return shown | {"payer" if row["kind"] == "deposit" else "payee": {"key": row["party"]}}


def ledger(db: sqlite3.Connection) -> dict[str, Any]:
    """Everything that was booked, by account, in the order it was booked."""

    def rows(query: str) -> list[sqlite3.Row]:
        return db.execute(query).fetchall()

    return {
        "payments": [payment(r) | {"account": r["account"]} for r in rows("SELECT * FROM payments ORDER BY rowid")],
        "refunds": [refund(r) | {"account": r["account"]} for r in rows("SELECT * FROM refunds ORDER BY rowid")],
        "deposits": [deposit(r) for r in rows("SELECT * FROM deposits ORDER BY rowid")],
        "charges": [dict(r) for r in rows("SELECT account, txid, amount, key, note FROM charges ORDER BY rowid")],
        "consents": [dict(r) for r in rows("SELECT id, account, kind, status, expires_at FROM consents ORDER BY rowid")],
        "messages": [dict(r) for r in rows("SELECT account, id, kind, outcome FROM wire_messages ORDER BY rowid")],
        "requests": [dict(r) for r in rows("SELECT at, method, path, idempotency_key, status FROM requests ORDER BY rowid")],
        "webhooks": [dict(r) for r in rows("SELECT id, account, type, attempts, delivered_at FROM outbox ORDER BY seq")],
        "balances": {r["account"]: r["balance"] for r in rows("SELECT account, balance FROM accounts")},
    }


def timestamp() -> str:
    """Now, as the book writes times."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def compact(value: object) -> str:
    """JSON without spaces, non-ASCII left as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
