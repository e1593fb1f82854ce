"""Consents at the bank: what an initiator may read, or pay, for how long and how much, and what the account's holder said to it."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Callable, Set
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rails.sandbox import requests
from rails.sandbox.open_finance_problems import refuse
from rails.sandbox.requests import Request
from rails.sandbox.tables import timestamp

if TYPE_CHECKING:
    from rails.sandbox.api import Bank

# Nobody has to answer for longer than that: what was not authorised by then is rejected.
ANSWER_WITHIN = timedelta(minutes=60)
LONGEST = timedelta(days=366)
PERMISSIONS = ("ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "ACCOUNTS_TRANSACTIONS_READ")
TIME = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
ID = "urn:sandboxbank:[A-Za-z0-9]{32}"


def data_of(request: Request, needed: set[str], allowed: Set[str] = frozenset()) -> dict[str, Any]:
    """The member `data` of the body, with these members and no others."""
    body = requests.members(request, {"data"})
    data = body["data"]
    if not isinstance(data, dict) or not needed <= set(data) <= needed | allowed:
        names = ", ".join(sorted(needed)) + "".join(f", {name}?" for name in sorted(allowed))
        raise refuse("PARAMETRO_NAO_INFORMADO", f"data must be an object of {names}")
    return data


def minor(body: dict[str, Any], name: str) -> int:
    """Minor units of a decimal such as "10.50"."""
    found = body.get(name)
    if not isinstance(found, str) or not re.fullmatch(r"[0-9]{1,13}\.[0-9]{2}", found) or not int(found.replace(".", "")):
        raise refuse("PARAMETRO_INVALIDO", f'{name} must be a decimal above zero with two digits, such as "10.50"')
    return int(found.replace(".", ""))


def expiry(data: dict[str, Any]) -> str:
    """`expirationDateTime`: to the second, in UTC, to come, and within a year."""
    text = data.get("expirationDateTime")
    if not isinstance(text, str) or not re.fullmatch(TIME, text):
        raise refuse("PARAMETRO_INVALIDO", "expirationDateTime must be a time such as 2026-01-02T15:04:05Z")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise refuse("PARAMETRO_INVALIDO", "expirationDateTime is no time") from None
    if not datetime.now(UTC) < at <= datetime.now(UTC) + LONGEST:
        raise refuse("DATA_EXPIRACAO_INVALIDA", "a consent ends within a year, and not in the past")
    return text


def make(bank: Bank, account: str, kind: str, expires_at: str, permissions: str = "", most: int = 0, total: int = 0) -> sqlite3.Row:
    """Writes a consent that waits for the holder's word."""
    found = f"urn:sandboxbank:{secrets.token_hex(16)}"
    at = timestamp()
    row = (found, account, kind, "AWAITING_AUTHORISATION", permissions, most, total, expires_at, None, at, at)
    bank.book.write(lambda db: db.execute(f"INSERT INTO consents VALUES ({', '.join('?' * len(row))})", row) and None)
    return stored(bank, found, kind)


def stored(bank: Bank, consent: str, kind: str, account: str | None = None) -> sqlite3.Row:
    """The consent as it is now, its time considered. Raises 404, also for another account's."""
    row = bank.book.write(lambda db: read(db, consent))
    if row is None or row["kind"] != kind or account not in (None, row["account"]):
        raise refuse("CONSENTIMENTO_NAO_ENCONTRADO", "there is no such consent of this account")
    return row


def read(db: sqlite3.Connection, consent: str) -> sqlite3.Row | None:
    """The same inside a transaction; None when there is none. One that nobody answered in time is rejected, one whose time is over ends."""
    row: sqlite3.Row | None = db.execute("SELECT * FROM consents WHERE id = ?", (consent,)).fetchone()
    if row is None:
        return None
    now, asked = datetime.now(UTC), datetime.fromisoformat(row["created_at"])
    if row["status"] == "AWAITING_AUTHORISATION" and now >= asked + ANSWER_WITHIN:
        _end(db, consent, "REJECTED", "CONSENT_EXPIRED")
    elif row["status"] in ("AUTHORISED", "AWAITING_AUTHORISATION") and now >= datetime.fromisoformat(row["expires_at"]):
        _end(db, consent, "REJECTED" if row["kind"] == "data" else "REVOKED", "CONSENT_MAX_DATE_REACHED")
    found: sqlite3.Row = db.execute("SELECT * FROM consents WHERE id = ?", (consent,)).fetchone()
    return found


def end(bank: Bank, consent: str, status: str, reason: str) -> None:
    """Ends a consent that is not over. One that is over stays as it ended."""
    bank.book.write(lambda db: _end(db, consent, status, reason))


def _end(db: sqlite3.Connection, consent: str, status: str, reason: str) -> None:
    ended = "UPDATE consents SET status = ?, reason = ?, changed_at = ? WHERE id = ? AND status IN ('AUTHORISED', 'AWAITING_AUTHORISATION')"
    db.execute(ended, (status, reason, timestamp(), consent))


def decide(bank: Bank, consent: str, decision: str) -> sqlite3.Row:
    """The holder's word, which counts once and in time."""

    def work(db: sqlite3.Connection) -> sqlite3.Row | None:
        row = read(db, consent)
        if row is None or row["status"] != "AWAITING_AUTHORISATION":
            return None
        if decision == "authorise":
            authorised = "UPDATE consents SET status = 'AUTHORISED', changed_at = ? WHERE id = ?"
            db.execute(authorised, (timestamp(), consent))
        else:
            _end(db, consent, "REJECTED", "CUSTOMER_MANUALLY_REJECTED")
        return read(db, consent)

    row = bank.book.write(work)
    if row is None:
        raise refuse("CONSENTIMENTO_INVALIDO", "there is no such consent, or it waits for nobody")
    return row


def require(bank: Bank, account: str, consent: str, permission: str) -> sqlite3.Row:
    """The consent under which data may be read now: 401 without an authorised one, 403 when it does not name this."""
    row = bank.book.write(lambda db: read(db, consent))
    if row is None or row["account"] != account or row["kind"] != "data" or row["status"] != "AUTHORISED":
        raise refuse("CONSENTIMENTO_NAO_AUTORIZADO", "send x-consent-id: <a consent that the holder of this account has authorised>")
    if permission not in row["permissions"].split():
        raise refuse("PERMISSAO_NEGADA", f"the consent does not have the permission {permission}")
    return row


def cover(account: str, consent: str, amount: int) -> Callable[[sqlite3.Connection], None]:
    """What is looked at in the transaction that books a payment: the consent is authorised, and its limits hold."""

    def look(db: sqlite3.Connection) -> None:
        row = read(db, consent)
        if row is None or row["account"] != account or row["kind"] != "payments":
            raise refuse("CONSENTIMENTO_INVALIDO", "there is no such consent of this account to pay")
        if row["status"] == "AWAITING_AUTHORISATION":
            raise refuse("CONSENTIMENTO_PENDENTE_AUTORIZACAO", "the holder has not authorised this consent")
        if row["status"] != "AUTHORISED":
            raise refuse("CONSENTIMENTO_INVALIDO", f"the consent is {row['status']}")
        if amount > row["most"]:
            raise refuse("LIMITE_VALOR_TRANSACAO_CONSENTIMENTO_EXCEDIDO", "the consent allows less for one payment")
        if _used(db, account, consent) + amount > row["total"]:
            raise refuse("LIMITE_VALOR_TOTAL_CONSENTIMENTO_EXCEDIDO", "the consent does not allow so much in total")

    return look


def _used(db: sqlite3.Connection, account: str, consent: str) -> int:
    query = (
        "SELECT coalesce(sum(amount), 0) FROM payments JOIN initiated USING (account, key)"
        " WHERE account = ? AND consent = ? AND status IN ('accepted', 'settled')"
    )
    return int(db.execute(query, (account, consent)).fetchone()[0])
