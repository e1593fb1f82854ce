"""The bank's own ledger on disk: accounts, payments, refunds, deposits, statement lines, and events to deliver.

Every function that books does so in one transaction: the row, the balance, the statement line and the event to send.
What was answered is on disk. Money is integer minor units; times are RFC 3339 UTC.
"""

from __future__ import annotations

import functools
import hashlib
import pathlib
import secrets
import sqlite3
import string
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from rails.sandbox import edits, entries, outbox, tables
from rails.sandbox.edits import Edit
from rails.sandbox.entries import Ask as Ask
from rails.sandbox.entries import Order as Order
from rails.sandbox.entries import Refusal as Refusal
from rails.sandbox.faults import Faults
from rails.sandbox.tables import timestamp
from rails.sandbox.writer import Writer

ISPB = "99999004"
T = TypeVar("T")


def digest(api_key: str) -> str:
    return hashlib.sha256(api_key.encode()).hexdigest()


def new_id(letter: str) -> str:
    """An identifier in the form of Pix: letter, ISPB, `yyyyMMddHHmm` in UTC, eleven alphanumerics."""
    tail = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(11))
    return f"{letter}{ISPB}{datetime.now(UTC):%Y%m%d%H%M}{tail}"


class Book:
    def __init__(self, folder: pathlib.Path, faults: Faults) -> None:
        self._writer = Writer(folder / "book.sqlite3", tables.SCHEMA)
        self._faults = faults
        rows = self._writer.read(lambda db: db.execute("SELECT account, key_digest FROM accounts").fetchall())
        self._owners = {row["key_digest"]: row["account"] for row in rows if row["key_digest"]}
        self._known = {row["account"] for row in rows}

    def close(self) -> None:
        self._writer.close()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work` in a transaction of its own, for tables that only one API has."""
        return self._writer.run(work)

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._writer.read(work)

    @property
    def faults(self) -> Faults:
        return self._faults

    # Accounts.

    def owner(self, key_digest: str) -> str | None:
        """The account that the API key with this digest belongs to."""
        return self._owners.get(key_digest)

    def ensure_account(self, account: str) -> None:
        if account not in self._known:
            self.open_account(account, currency="BRL", balance=0)

    def open_account(
        self,
        account: str,
        *,
        currency: str,
        balance: int,
        api_key: str | None = None,
        webhook_url: str | None = None,
        webhook_secret: str | None = None,
        api: str | None = None,
    ) -> dict[str, Any]:
        """Opens the account, or changes the key and webhook of one that exists; its balance stays then.

        `api` is the API in whose shape its events are told: a name in `outbox.SHAPES`.
        """
        key_digest = digest(api_key) if api_key else None
        if key_digest and self._owners.get(key_digest, account) != account:
            raise Refusal(409, "conflict", "this api_key belongs to another account")

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            db.execute(
                "INSERT INTO accounts (account, currency, opening, balance, key_digest, webhook_url, webhook_secret, api)"
                " VALUES (:account, :currency, :balance, :balance, :key, :url, :secret, coalesce(:api, 'v1'))"
                " ON CONFLICT (account) DO UPDATE"
                " SET key_digest = coalesce(:key, key_digest), webhook_url = coalesce(:url, webhook_url),"
                " webhook_secret = coalesce(:secret, webhook_secret), api = coalesce(:api, api)",
                {
                    "account": account,
                    "currency": currency,
                    "balance": balance,
                    "key": key_digest,
                    "url": webhook_url,
                    "secret": webhook_secret,
                    "api": api,
                },
            )
            row = entries.holder(db, account)
            return {name: row[name] for name in ("account", "currency", "balance", "webhook_url")}

        shown = self._writer.run(work)
        self._known.add(account)
        if key_digest:
            old = [known for known, owner in self._owners.items() if owner == account and known != key_digest]
            self._owners[key_digest] = account
            for known in old:
                self._owners.pop(known, None)
        return shown

    # Payments.

    def pay(
        self,
        account: str,
        key: str,
        order: Order,
        no: str | None = None,
        delay: float | None = None,
        first: Callable[[sqlite3.Connection], None] = lambda db: None,
    ) -> dict[str, Any]:
        """The one payment of this key: made now, or the stored one; 409 when the stored one has another body.

        `no` is why a new one is rejected, `delay` in how many seconds one settles that is not; None is at once. `first` is done before a
        new one in the same transaction, and may refuse it.
        """

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            stored = entries.payment(db, account, key)
            if stored is None:
                first(db)
                return self._new_payment(db, account, key, order, no, delay)
            told = Order(*(stored[n] for n in ("amount", "currency", "payee", "payee_name", "reference", "txid")))
            if told != order:
                raise Refusal(409, "conflict", "this key was used for a payment with another body")
            return tables.payment(stored)

        return self._writer.run(work)

    def _new_payment(
        self, db: sqlite3.Connection, account: str, key: str, order: Order, no: str | None, delay: float | None
    ) -> dict[str, Any]:
        fault = self._faults.take("book", [key])
        reason = "declined" if fault and fault.fault == "decline" else no or entries.shortfall(db, account, order)
        status = "rejected" if reason else "accepted"
        waits = fault.seconds if fault else delay
        due = time.time() + waits if waits is not None and not reason else None
        db.execute(
            "INSERT INTO payments (account, key, id, status, amount, currency, payee, payee_name, reference, txid,"
            " reason, created_at, settle_due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(account, key, new_id("E"), status, order.amount, order.currency, order.payee, order.payee_name),
                *(order.reference, order.txid, reason, timestamp(), due),
            ),
        )
        if reason:
            self.event(db, account, "payment.rejected", tables.payment(entries.must(entries.payment(db, account, key))), [key])
        else:
            db.execute("UPDATE accounts SET reserved = reserved + ? WHERE account = ?", (order.amount, account))
            if due is None:
                self.settle(db, account, key)
            elif fault and fault.fault == "in_two_legs" and order.amount > 1:
                self._move(db, entries.must(entries.payment(db, account, key)), order.amount // 2, timestamp())
        return tables.payment(entries.must(entries.payment(db, account, key)))

    def settle(self, db: sqlite3.Connection, account: str, key: str) -> None:
        at = timestamp()
        changed = db.execute(
            "UPDATE payments SET status = 'settled', settled_at = ?, settle_due = NULL"
            " WHERE account = ? AND key = ? AND status = 'accepted'",
            (at, account, key),
        )
        if not changed.rowcount:
            return
        row = entries.must(entries.payment(db, account, key))
        self._move(db, row, row["amount"] - row["moved"], at)
        self.event(db, account, "payment.settled", tables.payment(entries.must(entries.payment(db, account, key))), [key])

    def _move(self, db: sqlite3.Connection, row: sqlite3.Row, amount: int, at: str) -> None:
        """A leg of the payment: its money leaves the account, with a line of its own."""
        account, key = row["account"], row["key"]
        db.execute("UPDATE payments SET moved = moved + ? WHERE account = ? AND key = ?", (amount, account, key))
        db.execute("UPDATE accounts SET reserved = reserved - ? WHERE account = ?", (amount, account))
        entries.line(db, account, "payment", row["id"], key, -amount, row["currency"], at, row["payee"])

    def cancel(self, account: str, key: str) -> dict[str, Any]:
        """Stops what has not moved yet; what has moved, and what is over, stays."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            row = entries.payment(db, account, key)
            if row is None:
                raise Refusal(404, "not_found", "no payment with this key")
            if row["status"] == "accepted":
                left = "UPDATE accounts SET reserved = reserved - ? WHERE account = ?"
                db.execute(left, (row["amount"] - row["moved"], account))
                ended = "UPDATE payments SET status = 'canceled', settle_due = NULL WHERE account = ? AND key = ?"
                db.execute(ended, (account, key))
                row = entries.must(entries.payment(db, account, key))
                self.event(db, account, "payment.canceled", tables.payment(row), [key])
            return tables.payment(row)

        return self._writer.run(work)

    def settle_due(self) -> int:
        """Settles what was accepted and whose time has come; how many."""
        query = (
            "SELECT account, key, NULL AS payment FROM payments WHERE status = 'accepted' AND settle_due <= ?1"
            " UNION ALL SELECT account, key, payment FROM refunds WHERE status = 'accepted' AND settle_due <= ?1"
        )
        due = self._writer.read(lambda db: db.execute(query, (time.time(),)).fetchall())
        for row in due:
            if row["payment"] is None:
                self._writer.run(functools.partial(self.settle, account=row["account"], key=row["key"]))
            else:
                self._writer.run(functools.partial(self.settle_refund, account=row["account"], payment=row["payment"], key=row["key"]))
        return len(due)

    def payment(self, account: str, key: str) -> dict[str, Any]:
        row = self._writer.read(lambda db: entries.payment(db, account, key))
        if row is None:
            raise Refusal(404, "not_found", "no payment with this key")
        return tables.payment(row)

    # Refunds.

    def refund(self, account: str, payment: str, key: str, ask: Ask) -> dict[str, Any]:
        """The one refund of this key: made now, or the stored one; what was refunded never exceeds the payment."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            stored = entries.refund(db, account, payment, key)
            if stored is None:
                return self._new_refund(db, account, payment, key, ask)
            if (stored["amount"], stored["note"]) != (ask.amount, ask.note):
                raise Refusal(409, "conflict", "this refund key was used with another amount")
            return tables.refund(stored)

        return self._writer.run(work)

    def _new_refund(self, db: sqlite3.Connection, account: str, payment: str, key: str, ask: Ask) -> dict[str, Any]:
        paid = entries.payment(db, account, payment)
        if paid is None:
            raise Refusal(404, "payment_not_found", "no payment with this key")
        if not paid["moved"] or paid["status"] not in ("settled", "canceled"):
            raise Refusal(422, "payment_not_settled", f"the payment is {paid['status']}: only what has moved is refunded")
        if (paid["settled_at"] or ask.since) < ask.since:
            raise Refusal(422, "too_late", f"the payment was settled on {paid['settled_at']}: the time for refunds is over")
        fault = self._faults.take("book", [key, payment])
        reason = "declined" if fault and fault.fault == "decline" else entries.excess(db, paid, ask.amount)
        waits = fault.seconds if fault and ask.waits else ask.delay
        due = time.time() + waits if waits is not None and not reason else None
        db.execute(
            "INSERT INTO refunds (account, payment, key, id, status, amount, currency, note, reason, created_at, settle_due)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(account, payment, key, new_id("D"), "rejected" if reason else "accepted", ask.amount, paid["currency"]),
                *(ask.note, reason, timestamp(), due),
            ),
        )
        if not reason and due is None:
            self.settle_refund(db, account, payment, key)
        return tables.refund(entries.must(entries.refund(db, account, payment, key)))

    def settle_refund(self, db: sqlite3.Connection, account: str, payment: str, key: str) -> None:
        row = entries.must(entries.refund(db, account, payment, key))
        if row["status"] != "accepted":
            return
        at = timestamp()
        settled = "UPDATE refunds SET status = 'settled', settled_at = ?, settle_due = NULL WHERE account = ? AND payment = ? AND key = ?"
        db.execute(settled, (at, account, payment, key))
        party = entries.must(entries.payment(db, account, payment))["payee"]
        entries.line(db, account, "refund", row["id"], key, row["amount"], row["currency"], at, party)
        self.event(db, account, "refund.settled", tables.refund(entries.must(entries.refund(db, account, payment, key))), [key, payment])

    def stored_refund(self, account: str, payment: str, key: str) -> dict[str, Any]:
        row = self._writer.read(lambda db: entries.refund(db, account, payment, key))
        if row is None:
            raise Refusal(404, "not_found", "no refund with this key")
        return tables.refund(row)

    # Incoming money and statements.

    def deposit(self, account: str, amount: int, currency: str, payer: str, reference: str) -> dict[str, Any]:
        """Credits the account; raises 422 when the account keeps another currency."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            if entries.holder(db, account)["currency"] != currency:
                raise Refusal(422, "currency_mismatch", f"the account does not keep {currency}")
            at, deposit_id = timestamp(), new_id("E")
            db.execute(
                "INSERT INTO deposits VALUES (?, ?, ?, ?, ?, ?, ?)",
                (deposit_id, account, amount, currency, payer, reference, at),
            )
            entries.line(db, account, "deposit", deposit_id, None, amount, currency, at, payer)
            row = db.execute("SELECT * FROM deposits WHERE id = ?", (deposit_id,)).fetchone()
            self.event(db, account, "deposit.received", tables.deposit(row), [deposit_id])
            return tables.deposit(row)

        return self._writer.run(work)

    def stored_deposit(self, account: str, deposit_id: str) -> dict[str, Any]:
        query = "SELECT * FROM deposits WHERE id = ? AND account = ?"
        row = self._writer.read(lambda db: db.execute(query, (deposit_id, account)).fetchone())
        if row is None:
            raise Refusal(404, "not_found", "no deposit with this id")
        return tables.deposit(row)

    def statement(self, account: str, after: int, limit: int, until: int | None = None) -> dict[str, Any]:
        """Lines after line `after` (to `until`), the balance before the first and after the last, and whether these were all."""

        def work(db: sqlite3.Connection) -> dict[str, Any]:
            query = "SELECT * FROM lines WHERE account = ? AND line > ? ORDER BY line LIMIT ?"
            rows = db.execute(query, (account, after, limit + 1)).fetchall()
            shown = [row for row in rows[:limit] if until is None or row["line"] <= until]
            before = "SELECT coalesce(sum(amount), 0) FROM lines WHERE account = ? AND line <= ?"
            opening = entries.holder(db, account)["opening"] + db.execute(before, (account, after)).fetchone()[0]
            closing = opening + sum(row["amount"] for row in shown)
            return {
                "account": account,
                "opening": opening,
                "lines": [tables.line(row) for row in shown],
                "closing": closing + (1 if self._faults.take("statement", [account]) else 0),
                "complete": len(rows) == len(shown),
            }

        return self._writer.read(work)

    def ledger(self) -> dict[str, Any]:
        return self._writer.run(tables.ledger)

    def edit(self, account: str, edit: Edit) -> list[dict[str, Any]]:
        """Falsifies the statement, never the payments: the account's lines as they stand after it."""
        self._writer.run(lambda db: edits.apply(db, account, edit))
        lines = "SELECT * FROM lines WHERE account = ? ORDER BY line"
        return [tables.line(row) for row in self._writer.read(lambda db: db.execute(lines, (account,)).fetchall())]

    # The request log and the outbox.

    def note_request(self, method: str, path: str, idempotency_key: str | None) -> str:
        """Notes that a request arrived; the note is written with the next batch."""
        note = uuid.uuid4().hex
        row = (note, timestamp(), method, path, idempotency_key)
        insert = "INSERT INTO requests (id, at, method, path, idempotency_key) VALUES (?, ?, ?, ?, ?)"
        self._writer.later(lambda db: db.execute(insert, row))
        return note

    def note_status(self, note: str, status: int) -> None:
        self._writer.later(lambda db: db.execute("UPDATE requests SET status = ? WHERE id = ?", (status, note)))

    def event(self, db: sqlite3.Connection, account: str, kind: str, data: dict[str, Any], keys: list[str]) -> None:
        outbox.put(db, entries.holder(db, account), kind, data, self._faults.take("webhook", keys))

    def due_events(self, limit: int, most_attempts: int, default_url: str | None) -> list[sqlite3.Row]:
        """Events to deliver now, oldest first, with the address and the secret of their account."""
        return self._writer.read(lambda db: outbox.due(db, limit, most_attempts, default_url))

    def event_delivered(self, seq: int, account: str) -> None:
        """Marks the event delivered, and lets go those that were held back to arrive after it."""
        self._writer.run(lambda db: outbox.delivered(db, seq, account))

    def event_failed(self, seq: int, retry_in: float) -> None:
        self._writer.run(lambda db: outbox.failed(db, seq, retry_in))
