"""The bank's wires, under `/wire-api`: messages of ISO 20022 over HTTP, and in folders (`wire_drop.py`), on the same book.

A client sends pain.001 and camt.056, and asks by their ids what became of them. The bank is slow on purpose: a transfer settles after
`settle_seconds`, and what a recall brings back is booked after `recall_seconds`; the control plane sets both, holds and settles single
transfers, and decides what becomes of recalls. A refusal of the API itself is JSON; everything about money is ISO 20022.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rails.sandbox import entries, requests, tables, wire_reading, wire_shapes
from rails.sandbox.book import Ask, Order, Refusal
from rails.sandbox.requests import Answer, Manners, Request, Route

if TYPE_CHECKING:
    from rails.sandbox.api import Bank

PREFIX = "/wire-api"
PAGE = 25
# What the control plane may set, and what holds until it does.
DEFAULTS: dict[str, Any] = {"settle_seconds": 2.0, "recall_seconds": 2.0, "recalls": "accept"}
_ID = r"([A-Za-z0-9/\-?:().,'+ ]{1,35})"


def authenticate(bank: Bank, request: Request) -> Request:
    from rails.sandbox import api

    return api.authenticate(bank, request)


def post_message(bank: Bank, request: Request) -> Answer:
    told = wire_reading.read(request.raw, request.account)
    if request.idempotency_key != told["id"]:
        raise Refusal(400, "invalid_request", "the Idempotency-Key header must equal the message's id")
    return 201, take(bank, request.account, told, request.raw)


def take(bank: Bank, account: str, told: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """Carries the message out, once; the same bytes again are answered as they stand now. Raises `Refusal`."""
    bank.book.write(lambda db: _keep(db, account, told, raw))
    if told["kind"] == "transfer":
        _pay(bank, account, told)
    else:
        _recall(bank, account, told)
    return bank.book.read(lambda db: shown(db, account, told["id"]))


def shown(db: sqlite3.Connection, account: str, key: str) -> dict[str, Any]:
    """What the bank says of a message now; raises `Refusal` for one that it does not have."""
    kind = wire_shapes.message(db, account, key).get("kind")
    if kind is None or (kind == "transfer" and entries.payment(db, account, key) is None):
        raise Refusal(404, "not_found", "no message with this id")
    return wire_shapes.status(db, account, key) if kind == "transfer" else wire_shapes.resolution(db, account, key)


def _keep(db: sqlite3.Connection, account: str, told: dict[str, Any], raw: bytes) -> None:
    row = db.execute("SELECT raw FROM wire_messages WHERE account = ? AND id = ?", (account, told["id"])).fetchone()
    if row is None:
        kept = (account, told["id"], told["kind"], raw, tables.compact(told), "new", tables.timestamp())
        db.execute("INSERT INTO wire_messages VALUES (?, ?, ?, ?, ?, ?, ?)", kept)
    elif bytes(row["raw"]) != raw:
        raise Refusal(409, "conflict", "this id was used for a message with other bytes")


def _pay(bank: Bank, account: str, told: dict[str, Any]) -> None:
    payee = told["iban"] + (f"/{told['bic']}" if told["bic"] else "")
    order = Order(told["amount"], told["currency"], payee, told["name"], told["remittance"])
    bank.book.pay(account, told["id"], order, told["no"], setting(bank, "settle_seconds"))


def _recall(bank: Bank, account: str, told: dict[str, Any]) -> None:
    """What was decided stays so; what was not is decided now."""
    known = bank.book.read(lambda db: wire_shapes.message(db, account, told["id"]))
    if known["outcome"] == "new":
        wish = setting(bank, "recalls")
        decide(bank, account, known, {"accept": "accept", "refuse": "CUST", "wait": "wait"}[wish])


def decide(bank: Bank, account: str, told: dict[str, Any], wish: str) -> None:
    """`wish` is accept, wait, or the code with which the recall is refused. A transfer that was never sent or differs is refused."""
    row = bank.book.read(lambda db: entries.payment(db, account, told["of"]))
    of = bank.book.read(lambda db: wire_shapes.message(db, account, told["of"]))
    same = all(told[name] == of.get(name) for name in ("instruction", "end_to_end", "uetr", "amount", "currency"))
    if row is None or not same or row["status"] == "rejected":
        outcome = "refused:NOOR"
    elif wish != "accept":
        outcome = "pending" if wish == "wait" else f"refused:{wish}"
    else:
        outcome = _brought_back(bank, account, told, row)
    change = "UPDATE wire_messages SET outcome = ? WHERE account = ? AND id = ?"
    bank.book.write(lambda db: db.execute(change, (outcome, account, told["id"])) and None)


def _brought_back(bank: Bank, account: str, told: dict[str, Any], row: sqlite3.Row) -> str:
    """Stopped if nothing has moved, returned if all has; what is half on its way cannot be stopped."""
    if row["status"] == "accepted" and not row["moved"] and bank.book.cancel(account, row["key"])["status"] == "canceled":
        return "canceled"
    if row["status"] == "canceled":
        return "canceled"
    if told["stop_only"]:
        return "refused:AGNT"
    try:
        bank.book.refund(account, row["key"], told["id"], Ask(told["amount"], waits=True, delay=setting(bank, "recall_seconds")))
    except Refusal:
        return "refused:AGNT"
    return "refund"


def get_message(bank: Bank, request: Request, key: str) -> Answer:
    if bank.faults.take("lookup", [key]):
        raise Refusal(404, "not_found", "no message with this id")
    return 200, bank.book.read(lambda db: shown(db, request.account, key))


def get_statement(bank: Bank, request: Request) -> Answer:
    after = requests.number(request, "after", 0, 0, requests.MOST)
    return 200, statement(bank, request.account, after)


def statement(bank: Bank, account: str, after: int, until: int | None = None) -> dict[str, Any]:
    found = bank.book.statement(account, after, PAGE, until)
    return bank.book.read(lambda db: wire_shapes.statement(db, account, found, after))


def get_notification(bank: Bank, request: Request, reference: str) -> Answer:
    found = bank.book.read(lambda db: wire_shapes.notification(db, request.account, reference))
    if not found["entries"]:
        raise Refusal(404, "not_found", "no booking with this reference")
    return 200, found


ROUTES: list[Route] = [
    ("POST", rf"{PREFIX}/messages", post_message),
    ("GET", rf"{PREFIX}/messages/{_ID}", get_message),
    ("GET", rf"{PREFIX}/statements", get_statement),
    ("GET", rf"{PREFIX}/notifications/([A-Za-z0-9]{{1,35}})", get_notification),
]


def lie(fault: str, body: dict[str, Any]) -> dict[str, Any]:
    if fault == "wrong_amount" and "amount" in body:
        return {"amount": body["amount"] + 1}
    if fault == "wrong_payee" and "iban" in body:
        return {"iban": "GB33BUKB20201555555555"}
    if fault == "wrong_id" and "end_to_end" in body:
        return {"end_to_end": "0" * 34 + "x"}
    return {}


def error(refusal: Refusal) -> dict[str, Any]:
    return {"code": refusal.code, "detail": refusal.detail}


MANNERS = Manners(authenticate, error, "application/json", lie, wire_shapes.render, "application/xml")


# The control plane.


def setting(bank: Bank, name: str) -> Any:
    row = bank.book.read(lambda db: db.execute("SELECT value FROM settings WHERE name = ?", (f"wire_{name}",)).fetchone())
    return json.loads(row["value"]) if row else DEFAULTS[name]


def set_manners(bank: Bank, request: Request) -> Answer:
    """How slow the bank is, and what it does with recalls, from now on; `drop` makes the folders of this account."""
    body = requests.members(request, set(), {*DEFAULTS, "drop"})
    for name in ("settle_seconds", "recall_seconds"):
        if name in body and (type(body[name]) not in (int, float) or not 0 <= body[name] <= 10**7):
            raise Refusal(400, "invalid_request", f"{name} is a number of seconds")
    if body.get("recalls", "accept") not in ("accept", "refuse", "wait"):
        raise Refusal(400, "invalid_request", "recalls is accept, refuse or wait")
    rows = [(f"wire_{name}", json.dumps(body[name])) for name in DEFAULTS if name in body]
    bank.book.write(lambda db: db.executemany("REPLACE INTO settings VALUES (?, ?)", rows) and None)
    if "drop" in body:
        from rails.sandbox import wire_drop

        return 200, {"drop": str(wire_drop.folder(bank.data / "drop", requests.text(body, "drop", 34)))}
    return 200, {name: setting(bank, name) for name in DEFAULTS}


def move_payment(bank: Bank, request: Request) -> Answer:
    """Holds an accepted transfer until it is told otherwise, settles it now, or rejects it with a code."""
    body = requests.members(request, {"account", "id", "do"}, {"code"})
    account, key, wish = (requests.text(body, name, 100) for name in ("account", "id", "do"))
    code = body.get("code", "MS03")
    if wish not in ("hold", "settle", "reject") or not re.fullmatch("[A-Z]{2}[0-9]{2}", str(code)):
        raise Refusal(400, "invalid_request", "do is hold, settle or reject; code is a reason such as AC04")

    def work(db: sqlite3.Connection) -> None:
        row = entries.payment(db, account, key)
        if row is None or row["status"] != "accepted":
            raise Refusal(409, "conflict", "only a transfer that was accepted and has not settled can be moved")
        if wish == "settle":
            bank.book.settle(db, account, key)
        elif wish == "hold":
            db.execute("UPDATE payments SET settle_due = NULL WHERE account = ? AND key = ?", (account, key))
        else:
            _reject(bank, db, row, code)

    bank.book.write(work)
    return 200, {"status": bank.book.payment(account, key)["status"]}


def _reject(bank: Bank, db: sqlite3.Connection, row: sqlite3.Row, code: str) -> None:
    account, key = row["account"], row["key"]
    left = "UPDATE accounts SET reserved = reserved - ? WHERE account = ?"
    db.execute(left, (row["amount"] - row["moved"], account))
    ended = "UPDATE payments SET status = 'rejected', reason = ?, settle_due = NULL WHERE account = ? AND key = ?"
    db.execute(ended, (code, account, key))
    bank.book.event(db, account, "payment.rejected", tables.payment(entries.must(entries.payment(db, account, key))), [key])


def move_recall(bank: Bank, request: Request) -> Answer:
    """Answers a recall that waits: accept, book (what is on its way back is booked now), or refuse with a code."""
    body = requests.members(request, {"account", "id", "do"}, {"code"})
    account, key, wish = (requests.text(body, name, 100) for name in ("account", "id", "do"))
    told = bank.book.read(lambda db: wire_shapes.message(db, account, key))
    code = str(body.get("code", "CUST"))
    if told.get("kind") != "recall" or wish not in ("accept", "book", "refuse"):
        raise Refusal(400, "invalid_request", "id is a recall's, do is accept, book or refuse")
    if wish == "book":
        bank.book.write(lambda db: bank.book.settle_refund(db, account, told["of"], key))
    elif told["outcome"] == "pending":
        decide(bank, account, told, "accept" if wish == "accept" else code)
    elif wish == "refuse":
        ended = "UPDATE refunds SET status = 'rejected', reason = ?, settle_due = NULL"
        change = f"{ended} WHERE status = 'accepted' AND account = ? AND key = ?"
        bank.book.write(lambda db: db.execute(change, (code, account, key)) and None)
    return 200, bank.book.read(lambda db: wire_shapes.resolution(db, account, key))


OPERATIONS: dict[tuple[str, str], Callable[[Bank, Request], Answer]] = {
    ("POST", "/_control/wire"): set_manners,
    ("POST", "/_control/wire/payments"): move_payment,
    ("POST", "/_control/wire/recalls"): move_recall,
}
