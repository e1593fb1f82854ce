"""Single rows of the bank's book, read and written inside a transaction that somebody else has opened."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


class Refusal(Exception):
    """A request the bank does not carry out: HTTP status, stable code, and a sentence for people."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail


@dataclass(frozen=True, slots=True)
class Order:
    """What a payment is asked to be. Two orders with one key must be equal."""

    amount: int
    currency: str
    payee: str
    payee_name: str | None
    reference: str
    txid: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a refund is asked to be; `note` is the client's own.

    `waits`: the API can say that a refund is on its way, so that it may be; `delay`: how many seconds it is, None for not at all.
    What was settled before `since` is not refunded any more.
    """

    amount: int
    note: str | None = None
    waits: bool = False
    delay: float | None = None
    since: str = ""


def must(row: sqlite3.Row | None) -> sqlite3.Row:
    assert row is not None
    return row


def holder(db: sqlite3.Connection, account: str) -> sqlite3.Row:
    row: sqlite3.Row | None = db.execute("SELECT * FROM accounts WHERE account = ?", (account,)).fetchone()
    if row is None:
        raise Refusal(404, "not_found", "no such account")
    return row


def payment(db: sqlite3.Connection, account: str, key: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM payments WHERE account = ? AND key = ?", (account, key)).fetchone()
    return row


def refund(db: sqlite3.Connection, account: str, payment: str, key: str) -> sqlite3.Row | None:
    query = "SELECT * FROM refunds WHERE account = ? AND payment = ? AND key = ?"
    row: sqlite3.Row | None = db.execute(query, (account, payment, key)).fetchone()
    return row


def shortfall(db: sqlite3.Connection, account: str, order: Order) -> str | None:
    kept = holder(db, account)
    if kept["currency"] != order.currency:
        return "currency_mismatch"
    return "insufficient_funds" if kept["balance"] - kept["reserved"] < order.amount else None


def excess(db: sqlite3.Connection, paid: sqlite3.Row, amount: int) -> str | None:
    query = "SELECT coalesce(sum(amount), 0) FROM refunds WHERE account = ? AND payment = ? AND status <> 'rejected'"
    refunded: int = db.execute(query, (paid["account"], paid["key"])).fetchone()[0]
    return "amount_exceeds_payment" if refunded + amount > paid["moved"] else None


def line(
    db: sqlite3.Connection,
    account: str,
    kind: str,
    row_id: str,
    key: str | None,
    amount: int,
    currency: str,
    at: str,
    party: str,
) -> None:
    db.execute("UPDATE accounts SET balance = balance + ? WHERE account = ?", (amount, account))
    db.execute(
        "INSERT INTO lines (account, line, kind, id, key, amount, currency, at, party) SELECT ?, 1 + coalesce("
        "(SELECT max(line) FROM lines WHERE account = ?), 0), ?, ?, ?, ?, ?, ?, ?",
        (account, account, kind, row_id, key, amount, currency, at, party),
    )
