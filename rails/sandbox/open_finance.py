"""The bank's Open Finance API, under `/open_finance-api`: in the shapes of Open Finance Brasil (https://openfinancebrasil.atlassian.net,
consents 3, accounts 2, automatic payments 2), on the same book.

What the ecosystem publishes is as it is there: consents to read with their permissions, recurring consents to pay with their limits,
payments under them, their states and refusals, accounts, balances and transactions in pages. These things differ. The ecosystem asks
for mutual TLS, signed requests, and an access token that is bound to a consent; here the API listens on loopback, an initiator shows the
API key of the account, and says under which consent it reads in the header `x-consent-id`. A holder would log in to the bank to say yes;
here whoever knows the address of the consent, `/authorise/{consent}`, is the holder: that page is not part of the initiator's API. The
endToEndId is made by the bank, not by the initiator. A transaction also says its endToEndId and the other side's Pix key, and
transactions are told in the order in which they were booked.
"""

from __future__ import annotations

import dataclasses
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rails.sandbox import entries, pix_reading, requests
from rails.sandbox import open_finance_consents as consents
from rails.sandbox import open_finance_shapes as shapes
from rails.sandbox.book import Order, Refusal
from rails.sandbox.open_finance_problems import refuse, shown
from rails.sandbox.requests import Answer, Manners, Request, Route

if TYPE_CHECKING:
    from rails.sandbox.api import Bank

PREFIX = "/open_finance-api"
CONSENTS, RECURRING = "/open-banking/consents/v3/consents", "/open-banking/automatic-payments/v2/recurring-consents"
PAYMENTS, ACCOUNTS = "/open-banking/automatic-payments/v2/pix/recurring-payments", "/open-banking/accounts/v2/accounts"
MOST = 100
_ID, _UUID, _ACCOUNT = f"({consents.ID})", "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", "([0-9a-f]{32})"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"


def authenticate(bank: Bank, request: Request) -> Request:
    """By the account's API key; the page where a holder says yes is nobody's API."""
    if request.path.startswith(f"{PREFIX}/authorise/"):
        return request
    account = bank.owner(request.bearer)
    if not account:
        raise refuse("NAO_AUTORIZADO", "send Authorization: Bearer <api key>")
    return dataclasses.replace(request, account=account)


# Consents.


def post_consent(bank: Bank, request: Request) -> Answer:
    data = consents.data_of(request, {"permissions", "expirationDateTime"})
    asked = data["permissions"]
    if (
        not isinstance(asked, list)
        or not asked
        or len(set(map(str, asked))) != len(asked)
        or not set(map(str, asked)) <= set(consents.PERMISSIONS)
    ):
        raise refuse("COMBINACAO_PERMISSOES_INCORRETA", f"permissions are some of {', '.join(consents.PERMISSIONS)}")
    if "ACCOUNTS_READ" not in asked:
        raise refuse("COMBINACAO_PERMISSOES_INCORRETA", "who reads balances or transactions reads which accounts there are, too")
    row = consents.make(bank, request.account, "data", consents.expiry(data), " ".join(sorted(asked)))
    return 201, shapes.answer(shapes.consent(row), request.path)


def get_consent(bank: Bank, request: Request, consent: str) -> Answer:
    return 200, shapes.answer(shapes.consent(consents.stored(bank, consent, "data", request.account)), request.path)


def delete_consent(bank: Bank, request: Request, consent: str) -> Answer:
    consents.stored(bank, consent, "data", request.account)
    consents.end(bank, consent, "REJECTED", "CUSTOMER_MANUALLY_REVOKED")
    return 204, {}


def post_recurring(bank: Bank, request: Request) -> Answer:
    data = consents.data_of(request, {"expirationDateTime", "recurringConfiguration"})
    configuration = data["recurringConfiguration"]
    vrp = configuration.get("vrp") if isinstance(configuration, dict) and set(configuration) == {"vrp"} else None
    limits = vrp.get("globalLimits") if isinstance(vrp, dict) and set(vrp) == {"transactionLimit", "globalLimits"} else None
    if not isinstance(vrp, dict) or not isinstance(limits, dict) or set(limits) != {"transactionLimit"}:
        raise refuse(
            "PARAMETRO_NAO_INFORMADO", "recurringConfiguration must be {vrp: {transactionLimit, globalLimits: {transactionLimit}}}"
        )
    most, total = consents.minor(vrp, "transactionLimit"), consents.minor(limits, "transactionLimit")
    if most > total:
        raise refuse("PARAMETRO_INVALIDO", "one payment may not be more than all of them")
    row = consents.make(bank, request.account, "payments", consents.expiry(data), most=most, total=total)
    return 201, shapes.answer(shapes.consent(row), request.path)


def get_recurring(bank: Bank, request: Request, consent: str) -> Answer:
    return 200, shapes.answer(shapes.consent(consents.stored(bank, consent, "payments", request.account)), request.path)


def patch_recurring(bank: Bank, request: Request, consent: str) -> Answer:
    """The initiator revokes what it was allowed: nothing else about a consent can be changed here."""
    data = consents.data_of(request, {"status"}, {"revocation"})
    row = consents.stored(bank, consent, "payments", request.account)
    if data["status"] != "REVOKED":
        raise refuse("PARAMETRO_INVALIDO", "status must be REVOKED")
    consents.end(bank, row["id"], "REVOKED" if row["status"] == "AUTHORISED" else "REJECTED", "NAO_INFORMADO")
    return get_recurring(bank, request, consent)


def get_page(bank: Bank, request: Request, consent: str) -> Answer:
    """What the holder is asked, and by whom."""
    row = bank.book.write(lambda db: consents.read(db, consent))
    if row is None:
        raise refuse("CONSENTIMENTO_NAO_ENCONTRADO", "there is no such consent")
    return 200, shapes.answer(shapes.consent(row) | {"account": shapes.account(row["account"])}, request.path)


def post_page(bank: Bank, request: Request, consent: str) -> Answer:
    """The holder says yes or no; or takes a yes back, which is the holder's right at any time."""
    decision = requests.members(request, {"decision"})["decision"]
    if decision == "revoke":
        row = bank.book.write(lambda db: consents.read(db, consent))
        if row is None:
            raise refuse("CONSENTIMENTO_NAO_ENCONTRADO", "there is no such consent")
        consents.end(bank, consent, "REJECTED" if row["kind"] == "data" else "REVOKED", "CUSTOMER_MANUALLY_REVOKED")
        return get_page(bank, request, consent)
    if decision not in ("authorise", "reject"):
        raise refuse("REQUISICAO_INVALIDA", "decision is authorise, reject or revoke")
    return 200, shapes.answer(shapes.consent(consents.decide(bank, consent, decision)), request.path)


# Payments.


def post_payment(bank: Bank, request: Request) -> Answer:
    """The one payment of this x-idempotency-key."""
    key = request.idempotency_key or ""
    if not re.fullmatch("[A-Za-z0-9]{1,40}", key):
        raise refuse("PARAMETRO_INVALIDO", "send x-idempotency-key: 1 to 40 letters and digits")
    needed = {"recurringConsentId", "date", "payment", "localInstrument", "proxy", "remittanceInformation"}
    data = consents.data_of(request, needed)
    consent, order = str(data["recurringConsentId"]), _order(data)
    initiated = (request.account, key, consent)

    def first(db: sqlite3.Connection) -> None:
        consents.cover(request.account, consent, order.amount)(db)
        db.execute("INSERT INTO initiated VALUES (?, ?, ?)", initiated)

    if bank.book.read(lambda db: _initiated(db, request.account, key)) not in (None, consent):
        raise refuse("ERRO_IDEMPOTENCIA", "this key was used for a payment under another consent")
    try:
        bank.book.pay(request.account, key, order, _no(bank, order), first=first)
    except Refusal as refusal:
        if refusal.code != "conflict":
            raise
        raise refuse("ERRO_IDEMPOTENCIA", refusal.detail) from None
    return 201, shapes.answer(shapes.payment(_paid(bank, request.account, key), consent), request.path)


def _order(data: dict[str, Any]) -> Order:
    payment = data["payment"]
    if not isinstance(payment, dict) or set(payment) != {"amount", "currency"} or payment["currency"] != "BRL":
        raise refuse("PARAMETRO_INVALIDO", "payment must be {amount, currency}, in BRL")
    if data["localInstrument"] != "DICT" or data["date"] != f"{datetime.now(UTC):%Y-%m-%d}":
        raise refuse("PARAMETRO_INVALIDO", "localInstrument must be DICT, and date today's, in UTC: nothing is scheduled here")
    text = data["remittanceInformation"]
    if not isinstance(text, str) or not 1 <= len(text) <= 140 or not text.isprintable():
        raise refuse("PARAMETRO_INVALIDO", "remittanceInformation must be a printable string of 1 to 140 characters")
    try:
        payee = pix_reading.chave(data, "proxy")
    except Refusal as refusal:
        raise refuse("PARAMETRO_INVALIDO", refusal.detail) from None
    return Order(consents.minor(payment, "amount"), "BRL", payee, None, text)


def _no(bank: Bank, order: Order) -> str | None:
    row = bank.book.read(lambda db: db.execute("SELECT present FROM pix_keys WHERE key = ?", (order.payee,)).fetchone())
    return None if row is None or row["present"] else "payee_unknown"


def _initiated(db: sqlite3.Connection, account: str, key: str) -> str | None:
    row = db.execute("SELECT consent FROM initiated WHERE account = ? AND key = ?", (account, key)).fetchone()
    return None if row is None else str(row["consent"])


def _paid(bank: Bank, account: str, key: str) -> sqlite3.Row:
    return entries.must(bank.book.read(lambda db: entries.payment(db, account, key)))


def get_payment(bank: Bank, request: Request, payment: str) -> Answer:
    query = "SELECT payments.*, consent FROM payments JOIN initiated USING (account, key) WHERE account = ?"
    rows = bank.book.read(lambda db: db.execute(query, (request.account,)).fetchall())
    found = next((row for row in rows if shapes.payment_id(row["id"]) == payment), None)
    if found is None or bank.faults.take("lookup", [payment]):
        raise refuse("PAGAMENTO_NAO_ENCONTRADO", "this account has initiated no payment with this id")
    return 200, shapes.answer(shapes.payment(found, found["consent"]), request.path)


def list_payments(bank: Bank, request: Request) -> Answer:
    """The payments under one consent, in the order in which they came."""
    consent = request.query.get("recurringConsentId", "")
    consents.stored(bank, consent, "payments", request.account)
    first, last = _dates(request, "startDate", "endDate")
    query = (
        "SELECT payments.* FROM payments JOIN initiated USING (account, key) WHERE account = ? AND consent = ?"
        " AND substr(created_at, 1, 10) BETWEEN ? AND ? ORDER BY payments.rowid"
    )
    rows = bank.book.read(lambda db: db.execute(query, (request.account, consent, first, last)).fetchall())
    if bank.faults.take("lookup", [row["key"] for row in rows]):
        rows = []
    return _page(request, [shapes.payment(row, consent) for row in rows])


# Reads.


def list_accounts(bank: Bank, request: Request) -> Answer:
    consents.require(bank, request.account, request.consent, "ACCOUNTS_READ")
    return _page(request, [shapes.account(request.account)])


def get_balances(bank: Bank, request: Request, account: str) -> Answer:
    consents.require(bank, request.account, request.consent, "ACCOUNTS_BALANCES_READ")
    _own(request, account)
    row = bank.book.read(lambda db: entries.holder(db, request.account))
    return 200, shapes.answer(shapes.balances(row), request.path)


def list_transactions(bank: Bank, request: Request, account: str) -> Answer:
    consents.require(bank, request.account, request.consent, "ACCOUNTS_TRANSACTIONS_READ")
    _own(request, account)
    first, last = _dates(request, "fromBookingDate", "toBookingDate")
    query = "SELECT line FROM lines WHERE account = ? AND substr(at, 1, 10) BETWEEN ? AND ? ORDER BY line"
    numbers = [row["line"] for row in bank.book.read(lambda db: db.execute(query, (request.account, first, last)).fetchall())]
    page, size = _paging(request)
    wanted = numbers[(page - 1) * size : page * size]
    found = bank.book.statement(request.account, wanted[0] - 1, size * 2, wanted[-1])["lines"] if wanted else []
    lines = [line for line in found if line["line"] in set(wanted)]
    texts = bank.book.read(lambda db: {line["line"]: _remittance(db, request.account, line) for line in lines})
    shown_lines = [shapes.transaction(line, texts[line["line"]]) for line in lines]
    pages = max(1, -(-len(numbers) // size))
    return 200, shapes.answer(shown_lines, request.path, len(numbers), pages)


def _remittance(db: sqlite3.Connection, account: str, line: dict[str, Any]) -> str:
    """What was written beside a payment; for a line that somebody else made, what stands in it."""
    if line["kind"] == "deposit":
        row = db.execute("SELECT reference FROM deposits WHERE id = ? AND account = ?", (line["id"], account)).fetchone()
    else:
        row = db.execute("SELECT reference FROM payments WHERE account = ? AND key = ?", (account, line["key"])).fetchone()
    return str(row["reference"]) if row else str(line["key"] or "")


def _own(request: Request, account: str) -> None:
    if account != shapes.account_id(request.account):
        raise refuse("PERMISSAO_NEGADA", "the consent does not have this account")


def _dates(request: Request, first: str, last: str) -> tuple[str, str]:
    """Both ends of a period; today when they are not given, as the ecosystem says."""
    today = datetime.now(UTC)
    found = request.query.get(first, f"{today:%Y-%m-%d}"), request.query.get(last, f"{today + timedelta(days=1):%Y-%m-%d}")
    if not all(re.fullmatch(_DATE, date) for date in found):
        raise refuse("REQUISICAO_INVALIDA", f"{first} and {last} are dates such as 2026-01-02")
    return found


def _paging(request: Request) -> tuple[int, int]:
    return requests.number(request, "page", 1, 1, 10**9), requests.number(request, "page-size", 25, 1, MOST)


def _page(request: Request, rows: list[Any]) -> Answer:
    page, size = _paging(request)
    shown_rows = rows[(page - 1) * size : page * size]
    return 200, shapes.answer(shown_rows, request.path, len(rows), max(1, -(-len(rows) // size)))


ROUTES: list[Route] = [
    ("POST", PREFIX + CONSENTS, post_consent),
    ("GET", f"{PREFIX}{CONSENTS}/{_ID}", get_consent),
    ("DELETE", f"{PREFIX}{CONSENTS}/{_ID}", delete_consent),
    ("POST", PREFIX + RECURRING, post_recurring),
    ("GET", f"{PREFIX}{RECURRING}/{_ID}", get_recurring),
    ("PATCH", f"{PREFIX}{RECURRING}/{_ID}", patch_recurring),
    ("GET", f"{PREFIX}/authorise/{_ID}", get_page),
    ("POST", f"{PREFIX}/authorise/{_ID}", post_page),
    ("POST", PREFIX + PAYMENTS, post_payment),
    ("GET", PREFIX + PAYMENTS, list_payments),
    ("GET", f"{PREFIX}{PAYMENTS}/{_UUID}", get_payment),
    ("GET", PREFIX + ACCOUNTS, list_accounts),
    ("GET", f"{PREFIX}{ACCOUNTS}/{_ACCOUNT}/balances", get_balances),
    ("GET", f"{PREFIX}{ACCOUNTS}/{_ACCOUNT}/transactions", list_transactions),
]


def _lie(fault: str, body: dict[str, Any]) -> dict[str, Any]:
    """What a fault changes in an answer about a payment, also in a list of them."""
    data = body.get("data")
    if isinstance(data, list):
        return {"data": [_lied(fault, one) for one in data]}
    return {"data": _lied(fault, data)} if isinstance(data, dict) else {}


def _lied(fault: str, one: dict[str, Any]) -> dict[str, Any]:
    if "recurringPaymentId" not in one:
        return one
    if fault == "wrong_amount":
        amount = int(one["payment"]["amount"].replace(".", "")) + 1
        return one | {"payment": shapes.money(amount, one["payment"]["currency"])}
    if fault == "wrong_payee":
        return one | {"proxy": "somebody-else@example.com"}
    if fault == "wrong_id":
        return one | {"endToEndId": one["endToEndId"][:-11] + "Wrong000000", "remittanceInformation": "somebody else's"}
    return one


MANNERS = Manners(authenticate, shown, "application/json", _lie, lambda body: body or "")
