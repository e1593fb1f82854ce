"""The bank's card API, under `/card-api`: in the shapes of Stripe's (https://docs.stripe.com/api), on the same book.

Requests are forms, answers JSON, errors `{"error": {...}}`. A repeated Idempotency-Key gets the first answer again, byte for byte; with
another request, an `idempotency_error`; and a request that was refused before anything was done may be made again under its key.
A card is a token that the control plane made from a brand and four digits: there is no place for its number.

Smaller than Stripe: an intent is confirmed when it is created and captured by hand, whole; one destination gets all of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sqlite3
import time
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rails.sandbox import card_book, card_shapes, requests, tables
from rails.sandbox.card_book import Asked
from rails.sandbox.card_shapes import CardRefusal
from rails.sandbox.entries import Refusal
from rails.sandbox.requests import Answer, Manners, Request, Route

if TYPE_CHECKING:
    from rails.sandbox.api import Bank

PREFIX = "/card-api"
LARGEST = 99_999_999
_INTENT, _REFUND, _METHOD, _TOPUP = "(pi_[A-Za-z0-9]{1,64})", "(re_[A-Za-z0-9]{1,64})", "(pm_[A-Za-z0-9_]{1,64})", "tu_([A-Za-z0-9]{1,64})"
_FIXED = {"confirm": "true", "capture_method": "manual", "payment_method_types[]": "card"}
_OPTIONAL = {"off_session", "payment_method_types[]", "transfer_data[destination]"}
_METADATA = re.compile(r"metadata\[([A-Za-z0-9_]{1,40})\]")
BRANDS = ("visa", "mastercard", "amex", "discover", "diners", "jcb", "unionpay", "elo")


def authenticate(bank: Bank, request: Request) -> Request:
    account = bank.owner(request.bearer)
    if not account:
        raise Refusal(401, "unauthorized", "Invalid API Key provided")
    return dataclasses.replace(request, account=account)


def lie(fault: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a fault makes of an intent or a refund; everything else is told as it is."""
    found = body.get("metadata")
    if fault == "wrong_amount" and "amount" in body:
        return {"amount": body["amount"] + 1}
    if fault == "wrong_payee" and "transfer_data" in body:
        return {"transfer_data": {"destination": "acct_somebodyElse"}}
    if fault == "wrong_id" and found:
        return {"id": body["id"][:-5] + "Wrong", "metadata": found | {"codespar_key": "0" * 63 + "x"}}
    return {}


# Forms.


def form(request: Request) -> dict[str, str]:
    """The fields of the body, each once. Raises `Refusal`."""
    try:
        pairs = urllib.parse.parse_qsl(request.raw.decode(), keep_blank_values=True, strict_parsing=bool(request.raw))
    except ValueError:
        pairs = [("", "")]
    if len(dict(pairs)) != len(pairs) or "" in dict(pairs):
        raise CardRefusal(400, "parameter_invalid", "send a form, with each field once")
    return dict(pairs)


def known(found: dict[str, str], needed: set[str], allowed: set[str]) -> dict[str, str]:
    """The metadata among the fields; all others must be known ones."""
    metadata = {match[1]: value for name, value in found.items() if (match := _METADATA.fullmatch(name))}
    others = {name for name in found if not _METADATA.fullmatch(name)}
    for name in sorted(others - needed - allowed):
        raise CardRefusal(400, "parameter_unknown", f"Received unknown parameter: {name}", param=name)
    for name in sorted(needed - others):
        raise CardRefusal(400, "parameter_missing", f"Missing required param: {name}.", param=name)
    if len(metadata) > 50 or any(len(value) > 500 for value in metadata.values()):
        raise CardRefusal(400, "parameter_invalid", "Metadata has at most 50 values of at most 500 characters", param="metadata")
    return metadata


def _amount(found: dict[str, str]) -> int:
    if not re.fullmatch("[0-9]{1,12}", found["amount"]) or int(found["amount"]) == 0:
        raise CardRefusal(400, "parameter_invalid_integer", f"Invalid integer: {found['amount']}", param="amount")
    if int(found["amount"]) > LARGEST:
        raise CardRefusal(400, "amount_too_large", f"Amount must be no more than {LARGEST}", param="amount")
    return int(found["amount"])


def once(bank: Bank, request: Request, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
    """What `work` does, in one transaction with its answer, which is kept under the request's key."""
    asked = hashlib.sha256("\n".join((request.path, *sorted(f"{k}={v}" for k, v in form(request).items()))).encode()).hexdigest()
    key = request.idempotency_key

    def done(db: sqlite3.Connection) -> Answer:
        since = time.time() - card_book.setting(db, "key_seconds")
        query = "SELECT * FROM card_answers WHERE account = ? AND key = ? AND at > ?"
        kept = db.execute(query, (request.account, key, since)).fetchone()
        if kept and kept["request"] != asked:
            text = "Keys for idempotent requests can only be used with the same parameters they were first used with."
            raise Refusal(400, "idempotency_error", text)
        if kept:
            return kept["status"], json.loads(kept["body"])
        status, body = work(db)
        if key:
            row = (request.account, key, asked, status, tables.compact(body), time.time())
            db.execute("INSERT OR REPLACE INTO card_answers VALUES (?, ?, ?, ?, ?, ?)", row)
        return status, body

    return bank.book.write(done)


# Payment intents.


def post_intent(bank: Bank, request: Request) -> Answer:
    found = form(request)
    metadata = known(found, {"amount", "currency", "payment_method", "confirm", "capture_method"}, _OPTIONAL)
    for name, value in _FIXED.items():
        if found.get(name, value) != value:
            raise CardRefusal(400, "parameter_invalid", f"{name} must be {value} here", param=name)
    if not re.fullmatch("[a-z]{3}", found["currency"]):
        raise CardRefusal(400, "parameter_invalid", f"Invalid currency: {found['currency']}", param="currency")
    destination = found.get("transfer_data[destination]")
    if destination is not None and not re.fullmatch("acct_[A-Za-z0-9]{1,64}", destination):
        raise CardRefusal(400, "resource_missing", f"No such destination: '{destination}'", param="transfer_data[destination]")
    asked = Asked(
        account=request.account,
        amount=_amount(found),
        currency=found["currency"].upper(),
        method=found["payment_method"],
        destination=destination,
        metadata=metadata,
        off_session=found.get("off_session") == "true",
        keys=(metadata.get("codespar_key", ""), request.idempotency_key or ""),
    )
    return once(bank, request, lambda db: card_book.authorise(db, bank.book, asked))


def get_intent(bank: Bank, request: Request, intent_id: str) -> Answer:
    row = bank.book.read(lambda db: card_book.intent(db, request.account, intent_id))
    if bank.faults.take("lookup", card_book.names(row)):
        raise CardRefusal(404, "resource_missing", f"No such payment_intent: '{intent_id}'", param="intent")
    return 200, card_shapes.intent(row)


def capture_intent(bank: Bank, request: Request, intent_id: str) -> Answer:
    known(form(request), set(), set())
    keys = (request.idempotency_key or "",)

    def work(db: sqlite3.Connection) -> Answer:
        return card_book.capture(db, bank.book, card_book.intent(db, request.account, intent_id), keys)

    return once(bank, request, work)


def cancel_intent(bank: Bank, request: Request, intent_id: str) -> Answer:
    known(form(request), set(), set())
    return once(bank, request, lambda db: card_book.cancel(db, bank.book, card_book.intent(db, request.account, intent_id)))


# Refunds.


def post_refund(bank: Bank, request: Request) -> Answer:
    found = form(request)
    metadata = known(found, {"payment_intent"}, {"amount"})
    amount = _amount(found) if "amount" in found else None

    def work(db: sqlite3.Connection) -> Answer:
        return card_book.refund(db, bank.book, card_book.intent(db, request.account, found["payment_intent"]), amount, metadata)

    return once(bank, request, work)


def get_refund(bank: Bank, request: Request, refund_id: str) -> Answer:
    row = bank.book.read(
        lambda db: db.execute("SELECT * FROM card_refunds WHERE account = ? AND id = ?", (request.account, refund_id)).fetchone()
    )
    if row is None or bank.faults.take("lookup", card_book.names(row)):
        raise CardRefusal(404, "resource_missing", f"No such refund: '{refund_id}'", param="id")
    return 200, card_shapes.refund(row, bank.book.read(lambda db: card_book.intent(db, request.account, row["intent"])))


# Lists, the newest first.


def _page(bank: Bank, request: Request, table: str, values: tuple[object, ...], place: Callable[[str], int]) -> Answer:
    """Rows of `table`, which has a `seq`, and whether there are more in the direction that was asked for."""
    limit = requests.number(request, "limit", 10, 1, 100)
    after, before = request.query.get("starting_after"), request.query.get("ending_before")
    if after is not None and before is not None:
        raise CardRefusal(400, "parameter_invalid", "send starting_after or ending_before", param="ending_before")
    where, order, at = ("seq > ?", "seq", place(before)) if before is not None else ("seq < ?", "seq DESC", requests.MOST)
    at = place(after) if after is not None else at
    query = f"SELECT * FROM ({table}) WHERE {where} ORDER BY {order} LIMIT ?"
    rows = bank.book.read(lambda db: db.execute(query, (*values, at, limit + 1)).fetchall())
    shown = rows[:limit] if before is None else rows[:limit][::-1]
    return 200, {"object": "list", "url": request.path, "has_more": len(rows) > limit, "data": shown}


def _place(bank: Bank, request: Request, table: str) -> Callable[[str], int]:
    def place(found: str) -> int:
        query = f"SELECT seq FROM {table} WHERE account = ? AND id = ?"
        row = bank.book.read(lambda db: db.execute(query, (request.account, found)).fetchone())
        if row is None:
            raise CardRefusal(400, "resource_missing", f"No such object: '{found}'", param="starting_after")
        return int(row["seq"])

    return place


def _asks_only(request: Request, *allowed: str) -> None:
    for name in sorted(set(request.query) - {"limit", "starting_after", "ending_before", *allowed}):
        raise CardRefusal(400, "parameter_unknown", f"Received unknown parameter: {name}", param=name)


def _seen(bank: Bank, rows: list[sqlite3.Row]) -> list[sqlite3.Row]:
    """Without what a fault hides: the row it names, or all of them."""
    hidden = bank.faults.take("lookup", [name for row in rows for name in card_book.names(row)])
    return [row for row in rows if hidden is None or (hidden.key is not None and hidden.key not in card_book.names(row))]


def list_intents(bank: Bank, request: Request) -> Answer:
    _asks_only(request, "created[gte]")
    since = requests.number(request, "created[gte]", 0, 0, requests.MOST)
    table = "SELECT * FROM card_intents WHERE account = ? AND created >= ?"
    status, body = _page(bank, request, table, (request.account, since), _place(bank, request, "card_intents"))
    return status, body | {"data": [card_shapes.intent(row) for row in _seen(bank, body["data"])]}


def list_refunds(bank: Bank, request: Request) -> Answer:
    _asks_only(request, "payment_intent")
    of = bank.book.read(lambda db: card_book.intent(db, request.account, request.query.get("payment_intent", "")))
    table = "SELECT * FROM card_refunds WHERE account = ? AND intent = ?"
    status, body = _page(bank, request, table, (request.account, of["id"]), _place(bank, request, "card_refunds"))
    return status, body | {"data": [card_shapes.refund(row, of) for row in _seen(bank, body["data"])]}


def list_lines(bank: Bank, request: Request) -> Answer:
    _asks_only(request, "expand[]")
    expand = request.query.get("expand[]")
    if expand not in (None, "data.source"):
        raise CardRefusal(400, "parameter_invalid", f"This property cannot be expanded ({expand}).", param="expand")
    table = "SELECT *, line AS seq FROM lines WHERE account = ?"
    place = lambda found: card_shapes.line_number(request.account, found)
    status, body = _page(bank, request, table, (request.account,), place)
    gap = -1 if body["data"] and bank.faults.take("statement", [request.account]) else None
    return status, body | {"data": [card_shapes.line(row, expanded=expand is not None) for row in body["data"][:gap]]}


# Single things.


def get_method(bank: Bank, request: Request, method_id: str) -> Answer:
    query = "SELECT * FROM card_methods WHERE account = ? AND id = ?"
    row = bank.book.read(lambda db: db.execute(query, (request.account, method_id)).fetchone())
    if row is None:
        raise CardRefusal(404, "resource_missing", f"No such PaymentMethod: '{method_id}'", param="payment_method")
    return 200, card_shapes.method(row)


def get_topup(bank: Bank, request: Request, deposit_id: str) -> Answer:
    try:
        return 200, card_shapes.topup(bank.book.stored_deposit(request.account, deposit_id))
    except Refusal:
        raise CardRefusal(404, "resource_missing", f"No such topup: 'tu_{deposit_id}'", param="id") from None


_V1 = f"{PREFIX}/v1"
ROUTES: list[Route] = [
    ("POST", f"{_V1}/payment_intents", post_intent),
    ("GET", f"{_V1}/payment_intents", list_intents),
    ("GET", f"{_V1}/payment_intents/{_INTENT}", get_intent),
    ("POST", f"{_V1}/payment_intents/{_INTENT}/capture", capture_intent),
    ("POST", f"{_V1}/payment_intents/{_INTENT}/cancel", cancel_intent),
    ("POST", f"{_V1}/refunds", post_refund),
    ("GET", f"{_V1}/refunds", list_refunds),
    ("GET", f"{_V1}/refunds/{_REFUND}", get_refund),
    ("GET", f"{_V1}/balance_transactions", list_lines),
    ("GET", f"{_V1}/payment_methods/{_METHOD}", get_method),
    ("GET", f"{_V1}/topups/{_TOPUP}", get_topup),
]
MANNERS = Manners(authenticate, card_shapes.error, "application/json", lie)


# The control plane.


def make_method(bank: Bank, request: Request) -> Answer:
    body = requests.members(request, {"account", "brand", "last4"}, {"id", "declines", "challenges"})
    if body["brand"] not in BRANDS or not re.fullmatch("[0-9]{4}", str(body["last4"])):
        raise Refusal(400, "invalid_request", f"brand must be one of {', '.join(BRANDS)}; last4 is four digits, and never more of a number")
    method_id, declines = body.get("id", card_book.new_id("pm_")), body.get("declines")
    if not re.fullmatch(_METHOD, str(method_id)) or not (declines is None or re.fullmatch("[a-z_]{1,40}", str(declines))):
        raise Refusal(400, "invalid_request", "id must begin with pm_; declines must be a decline code such as lost_card")
    row = (method_id, requests.text(body, "account", 100), body["brand"], body["last4"], declines, body.get("challenges") is True)
    insert = "INSERT OR REPLACE INTO card_methods (id, account, brand, last4, declines, challenges) VALUES (?, ?, ?, ?, ?, ?)"
    bank.book.write(lambda db: db.execute(insert, row) and None)
    return 201, {"id": method_id, "brand": body["brand"], "last4": body["last4"]}


def set_times(bank: Bank, request: Request) -> Answer:
    body = requests.members(request, set(), card_book.SETTINGS.keys())
    if any(type(value) not in (int, float) or not 0 < value <= 10**8 for value in body.values()):
        raise Refusal(400, "invalid_request", "seconds are numbers from 0 to 100000000")
    insert = "INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)"
    bank.book.write(lambda db: db.executemany(insert, [(f"card_{name}", str(value)) for name, value in body.items()]) and None)
    return 200, bank.book.read(lambda db: {name: card_book.setting(db, name) for name in card_book.SETTINGS})


OPERATIONS: dict[tuple[str, str], Callable[[Bank, Request], Answer]] = {
    ("POST", "/_control/payment_methods"): make_method,
    ("POST", "/_control/card"): set_times,
}
