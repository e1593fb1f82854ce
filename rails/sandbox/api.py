"""What the bank answers: every route, without HTTP. A handler takes a `Request` and returns a status and a body."""

from __future__ import annotations

import dataclasses
import hmac
import pathlib
import re
import threading
import urllib.parse
from collections.abc import Callable
from typing import Any

from rails.sandbox import card, card_shapes, edits, open_finance, outbox, pix, requests, tables, wire
from rails.sandbox.book import Ask, Book, Order, Refusal, digest
from rails.sandbox.faults import Fault, Faults, UnknownFault
from rails.sandbox.requests import Answer, Handler, HangUp, Manners, Request, Route
from rails.sandbox.secret_file import SecretFile


class Bank:
    """The bank's front desk: authenticates, applies faults, and lets the book do the rest."""

    def __init__(self, book: Book, faults: Faults, secrets: SecretFile, data: pathlib.Path) -> None:
        self.book, self.faults, self.secrets, self.data = book, faults, secrets, data
        self.stopping = threading.Event()

    def answer(self, request: Request) -> Answer:
        """Raises `Refusal`, or `HangUp` when the connection is to be closed without an answer."""
        if request.path.startswith("/_"):
            return self._operate(request)
        return self._serve(manners(request.path).authenticate(self, request))

    def owner(self, api_key: str) -> str | None:
        """The account that this API key opens."""
        known = digest(api_key)
        listed = self.secrets.current().owners.get(known)
        if listed:
            self.book.ensure_account(listed)
        return listed or self.book.owner(known)

    def _serve(self, request: Request) -> Answer:
        for method, pattern, handler in APIS:
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                return self._with_faults(request, list(match.groups()), handler)
        raise Refusal(404, "no_such_route", f"{request.method} {request.path} is not part of this API")

    def _with_faults(self, request: Request, groups: list[str], handler: Handler) -> Answer:
        keys = groups + ([request.idempotency_key] if request.idempotency_key else [])
        on = "token" if request.path.endswith("/oauth/token") else "read" if request.method == "GET" else "write"
        self._strike_before(self.faults.take("before", keys, on))
        status, body = handler(self, request, *groups)
        return self._strike_answer(self.faults.take("answer", keys, on), status, body, manners(request.path))

    def _strike_before(self, fault: Fault | None) -> None:
        name = fault.fault if fault else ""
        if fault and name in ("slow", "timeout_before"):
            self.stopping.wait(fault.seconds)
        if name in ("timeout_before", "disconnect_before"):
            raise HangUp
        if name == "unavailable":
            raise Refusal(503, "unavailable", "the bank is not available now")

    def _strike_answer(self, fault: Fault | None, status: int, body: dict[str, Any], how: Manners) -> Answer:
        name = fault.fault if fault else ""
        if fault and name == "timeout_after":
            self.stopping.wait(fault.seconds)
        if name in ("timeout_after", "disconnect_after"):
            raise HangUp
        if name == "rubbish":
            return status, "<html><body>It works!</body></html>"
        return status, how.show(body | how.lie(name, body))

    def _operate(self, request: Request) -> Answer:
        route = OPERATIONS.get((request.method, request.path))
        if route is None:
            raise Refusal(404, "no_such_route", f"{request.method} {request.path} is not part of this control plane")
        token = self.secrets.current().control_token
        if token and request.path != "/_health" and not hmac.compare_digest(digest(token), digest(request.bearer)):
            raise Refusal(401, "unauthorized", "send Authorization: Bearer <control token>")
        return route(self, request)


def _lie(fault: str, body: dict[str, Any]) -> dict[str, Any]:
    if fault == "wrong_amount" and "amount" in body:
        return {"amount": body["amount"] + 1}
    if fault == "wrong_payee" and "payee" in body:
        return {"payee": {"key": "somebody-else@example.com"}}
    if fault == "wrong_id" and "key" in body:
        return {"key": "0" * 63 + "x", "id": body["id"][:-11] + "Wrong000000"}
    return {}


# The bank's own API.


def authenticate(bank: Bank, request: Request) -> Request:
    account = bank.owner(request.bearer)
    if not account:
        raise Refusal(401, "unauthorized", "send Authorization: Bearer <api key>")
    return dataclasses.replace(request, account=account)


def put_payment(bank: Bank, request: Request, key: str) -> Answer:
    body = requests.members(request, {"amount", "currency", "payee", "reference", "account"})
    if request.idempotency_key != key:
        raise Refusal(400, "invalid_request", "the Idempotency-Key header must equal the key in the path")
    if body["account"] != request.account:
        raise Refusal(403, "wrong_account", "this API key belongs to another account")
    payee = body["payee"]
    if not isinstance(payee, dict) or not {"key"} <= set(payee) <= {"key", "name"}:
        raise Refusal(400, "invalid_request", "payee must be {key, name?}")
    name = None if payee.get("name") is None else requests.text(payee, "name", 140)
    order = Order(
        requests.amount(body), requests.currency(body), requests.text(payee, "key", 77), name, requests.text(body, "reference", 140)
    )
    return 201, bank.book.pay(request.account, key, order)


def get_payment(bank: Bank, request: Request, key: str) -> Answer:
    if bank.faults.take("lookup", [key]):
        raise Refusal(404, "not_found", "no payment with this key")
    return 200, bank.book.payment(request.account, key)


def delete_payment(bank: Bank, request: Request, key: str) -> Answer:
    return 200, bank.book.cancel(request.account, key)


def put_refund(bank: Bank, request: Request, payment: str, key: str) -> Answer:
    body = requests.members(request, {"amount"})
    if request.idempotency_key not in (None, key):
        raise Refusal(400, "invalid_request", "the Idempotency-Key header must equal the refund key in the path")
    return 201, bank.book.refund(request.account, payment, key, Ask(requests.amount(body)))


def get_refund(bank: Bank, request: Request, payment: str, key: str) -> Answer:
    if bank.faults.take("lookup", [key]):
        raise Refusal(404, "not_found", "no refund with this key")
    return 200, bank.book.stored_refund(request.account, payment, key)


def get_deposit(bank: Bank, request: Request, deposit_id: str) -> Answer:
    return 200, bank.book.stored_deposit(request.account, deposit_id)


def get_statement(bank: Bank, request: Request) -> Answer:
    if request.query.get("account", request.account) != request.account:
        raise Refusal(403, "wrong_account", "this API key belongs to another account")
    after, limit = requests.number(request, "after", 0, 0, requests.MOST), requests.number(request, "limit", 100, 1, 1000)
    return 200, bank.book.statement(request.account, after, limit)


ROUTES: list[Route] = [
    ("PUT", rf"/v1/payments/({requests.KEY})", put_payment),
    ("GET", rf"/v1/payments/({requests.KEY})", get_payment),
    ("DELETE", rf"/v1/payments/({requests.KEY})", delete_payment),
    ("PUT", rf"/v1/payments/({requests.KEY})/refunds/({requests.KEY})", put_refund),
    ("GET", rf"/v1/payments/({requests.KEY})/refunds/({requests.KEY})", get_refund),
    ("GET", rf"/v1/deposits/({requests.KEY})", get_deposit),
    ("GET", r"/v1/statement", get_statement),
]
APIS: list[Route] = [*ROUTES, *pix.ROUTES, *card.ROUTES, *wire.ROUTES, *open_finance.ROUTES]


# The control plane, for the people who play with the bank.


def set_fault(bank: Bank, request: Request) -> Answer:
    try:
        bank.faults.add(request.body or {})
    except UnknownFault as error:
        raise Refusal(400, "unknown_fault", str(error)) from None
    return 201, {"faults": bank.faults.listing()}


def list_faults(bank: Bank, request: Request) -> Answer:
    return 200, {"faults": bank.faults.listing()}


def clear_faults(bank: Bank, request: Request) -> Answer:
    bank.faults.clear()
    return 200, {"faults": []}


def open_account(bank: Bank, request: Request) -> Answer:
    body = requests.members(request, {"account"}, {"api_key", "balance", "currency", "webhook_url", "webhook_secret", "api"})
    url = body.get("webhook_url")
    if url is not None and urllib.parse.urlsplit(str(url)).scheme not in ("http", "https"):
        raise Refusal(400, "invalid_request", "webhook_url must be an http or https URL")
    if body.get("api", "v1") not in outbox.SHAPES:
        raise Refusal(400, "invalid_request", f"api, in whose shape events are told, must be one of {', '.join(sorted(outbox.SHAPES))}")
    texts = {n: requests.text(body, n, 2000) for n in ("api_key", "webhook_url", "webhook_secret", "api") if body.get(n) is not None}
    balance = body.get("balance", 0)
    if type(balance) is not int or not 0 <= balance <= requests.MOST:
        raise Refusal(400, "invalid_request", "balance must be an integer of minor units, from 0 to 2^53-1")
    currency = requests.currency({"currency": body.get("currency", "BRL")})
    return 201, bank.book.open_account(requests.text(body, "account", 100), currency=currency, balance=balance, **texts)


def make_deposit(bank: Bank, request: Request) -> Answer:
    body = requests.members(request, {"account", "amount", "currency", "payer"}, {"reference"})
    payer = body["payer"] if isinstance(body["payer"], dict) else {"key": body["payer"]}
    reference = requests.text(body, "reference", 140) if "reference" in body else ""
    account = requests.text(body, "account", 100)
    return 201, bank.book.deposit(account, requests.amount(body), requests.currency(body), requests.text(payer, "key", 77), reference)


def edit_statement(bank: Bank, request: Request) -> Answer:
    body = request.body or {}
    try:
        return 200, {"lines": bank.book.edit(requests.text(body, "account", 100), edits.parse(body))}
    except edits.BadEdit as error:
        raise Refusal(400, "bad_edit", str(error)) from None


def show_ledger(bank: Bank, request: Request) -> Answer:
    shown = bank.book.ledger()
    cards = bank.book.read(card_shapes.ledger)
    return 200, shown | {name: shown[name] + rows for name, rows in cards.items()}


def health(bank: Bank, request: Request) -> Answer:
    return 200, {"status": "ok"}


OPERATIONS: dict[tuple[str, str], Callable[[Bank, Request], Answer]] = {
    ("POST", "/_control"): set_fault,
    ("GET", "/_control"): list_faults,
    ("DELETE", "/_control"): clear_faults,
    ("POST", "/_control/accounts"): open_account,
    ("POST", "/_control/deposits"): make_deposit,
    ("POST", "/_control/statement"): edit_statement,
    ("GET", "/_ledger"): show_ledger,
    ("GET", "/_health"): health,
    **pix.OPERATIONS,
    **card.OPERATIONS,
    **wire.OPERATIONS,
}


def error(refusal: Refusal) -> dict[str, Any]:
    return {"code": refusal.code, "detail": refusal.detail}


MANNERS = Manners(authenticate, error, "application/json", _lie)


def manners(path: str) -> Manners:
    found = (api.MANNERS for api in (pix, card, wire, open_finance) if path.startswith(f"{api.PREFIX}/"))
    return next(found, MANNERS)


def encode(body: object) -> bytes:
    return body.encode() if isinstance(body, str) else tables.compact(body).encode()
