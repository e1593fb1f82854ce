"""The bank's Open Finance API over real HTTP: consents and the holder's word, payments under them, reads under them, and no without."""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rails.sandbox.launch import Provider

API = "/open_finance-api"
CONSENTS, RECURRING = f"{API}/open-banking/consents/v3/consents", f"{API}/open-banking/automatic-payments/v2/recurring-consents"
PAYMENTS, ACCOUNTS = f"{API}/open-banking/automatic-payments/v2/pix/recurring-payments", f"{API}/open-banking/accounts/v2/accounts"
READS = ["ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ", "ACCOUNTS_TRANSACTIONS_READ"]


def at(**delta: float) -> str:
    return f"{datetime.now(UTC) + timedelta(**delta):%Y-%m-%dT%H:%M:%SZ}"


class Initiator:
    """One account at the bank, opened for one test, and whoever initiates over it."""

    def __init__(self, provider: Provider, account: str) -> None:
        self.provider, self.account, self.api_key = provider, account, f"key-{account}"
        provider.open_account(account, self.api_key, 10_000)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.provider.call(method, path, body, {"Authorization": f"Bearer {self.api_key}"} | named)

    def to_read(self, *permissions: str, expires: str = "") -> tuple[int, Any]:
        asked = {"permissions": list(permissions or READS), "expirationDateTime": expires or at(days=1)}
        return self.call("POST", CONSENTS, {"data": asked})

    def to_pay(self, most: str = "50.00", total: str = "80.00", expires: str = "") -> tuple[int, Any]:
        limits = {"transactionLimit": most, "globalLimits": {"transactionLimit": total}}
        asked = {"expirationDateTime": expires or at(days=1), "recurringConfiguration": {"vrp": limits}}
        return self.call("POST", RECURRING, {"data": asked})

    def holder(self, consent: str, decision: str) -> tuple[int, Any]:
        """The account's holder, at the bank: without the initiator's key."""
        return self.provider.call("POST", f"{API}/authorise/{consent}", {"decision": decision})

    def reads(self, *permissions: str) -> str:
        consent = str(self.to_read(*permissions)[1]["data"]["consentId"])
        assert self.holder(consent, "authorise")[1]["data"]["status"] == "AUTHORISED"
        return consent

    def pays(self, **limits: str) -> str:
        consent = str(self.to_pay(**limits)[1]["data"]["recurringConsentId"])
        assert self.holder(consent, "authorise")[1]["data"]["status"] == "AUTHORISED"
        return consent

    def pay(self, consent: str, key: str, amount: str = "10.50", **changes: Any) -> tuple[int, Any]:
        data = {
            "recurringConsentId": consent,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "payment": {"amount": amount, "currency": "BRL"},
            "localInstrument": "DICT",
            "proxy": "maria@example.com",
            "remittanceInformation": f"pay_1 {key}",
        }
        return self.call("POST", PAYMENTS, {"data": data | changes}, x_idempotency_key=key)

    def booked(self) -> list[dict[str, Any]]:
        return [row for row in self.provider.ledger()["payments"] if row["account"] == self.account]


@pytest.fixture
def initiator(running: Provider, request: pytest.FixtureRequest) -> Iterator[Initiator]:
    yield Initiator(running, re.sub("[^A-Za-z0-9]", "", request.node.name)[-60:] + secrets.token_hex(4))
    running.call("DELETE", "/_control")


def no(answer: tuple[int, Any], status: int, code: str) -> bool:
    """Whether the bank said no with this code, in the ecosystem's shape."""
    [error] = answer[1]["errors"]
    return (
        (answer[0], error["code"]) == (status, code) and bool(error["title"] and error["detail"]) and "requestDateTime" in answer[1]["meta"]
    )


def test_a_consent_waits_for_the_holder_and_reads_nothing_before(initiator: Initiator) -> None:
    status, made = initiator.to_read()
    consent = made["data"]["consentId"]
    assert (status, made["data"]["status"]) == (201, "AWAITING_AUTHORISATION")
    assert re.fullmatch(r"urn:[a-zA-Z0-9][a-zA-Z0-9-]{0,31}:[a-zA-Z0-9]+", consent)
    assert no(initiator.call("GET", ACCOUNTS, x_consent_id=consent), 401, "CONSENTIMENTO_NAO_AUTORIZADO")
    assert initiator.holder(consent, "authorise")[1]["data"]["status"] == "AUTHORISED"
    status, found = initiator.call("GET", ACCOUNTS, x_consent_id=consent)
    assert (status, len(found["data"]), found["meta"]["totalRecords"]) == (200, 1, 1)


def test_nobody_authorises_with_the_api_and_a_word_counts_once(initiator: Initiator) -> None:
    consent = initiator.to_read()[1]["data"]["consentId"]
    assert initiator.holder(consent, "reject")[1]["data"]["status"] == "REJECTED"
    assert no(initiator.holder(consent, "authorise"), 422, "CONSENTIMENTO_INVALIDO")
    assert initiator.call("PATCH", f"{CONSENTS}/{consent}", {"data": {"status": "AUTHORISED"}})[0] == 404


def test_reads_need_the_permission_for_just_this(initiator: Initiator) -> None:
    consent = initiator.reads("ACCOUNTS_READ", "ACCOUNTS_BALANCES_READ")
    account = initiator.call("GET", ACCOUNTS, x_consent_id=consent)[1]["data"][0]["accountId"]
    status, balances = initiator.call("GET", f"{ACCOUNTS}/{account}/balances", x_consent_id=consent)
    assert (status, balances["data"]["availableAmount"]) == (200, {"amount": "100.00", "currency": "BRL"})
    assert no(initiator.call("GET", f"{ACCOUNTS}/{account}/transactions", x_consent_id=consent), 403, "PERMISSAO_NEGADA")
    assert no(initiator.call("GET", f"{ACCOUNTS}/{'0' * 32}/balances", x_consent_id=consent), 403, "PERMISSAO_NEGADA")
    assert no(initiator.call("GET", ACCOUNTS), 401, "CONSENTIMENTO_NAO_AUTORIZADO")
    assert no(initiator.to_read("ACCOUNTS_BALANCES_READ"), 422, "COMBINACAO_PERMISSOES_INCORRETA")


def test_a_consent_that_was_deleted_or_is_over_reads_and_pays_nothing(initiator: Initiator) -> None:
    reads, pays = initiator.reads(), initiator.pays()
    assert initiator.call("GET", f"{CONSENTS}/{reads}")[1]["data"]["status"] == "AUTHORISED"
    connection = sqlite3.connect(initiator.provider.folder / "data" / "book.sqlite3")
    with connection:
        connection.execute("UPDATE consents SET expires_at = ? WHERE id IN (?, ?)", (at(seconds=-1), reads, pays))
    connection.close()
    assert no(initiator.call("GET", ACCOUNTS, x_consent_id=reads), 401, "CONSENTIMENTO_NAO_AUTORIZADO")
    assert no(initiator.pay(pays, "k1"), 422, "CONSENTIMENTO_INVALIDO")
    again, payer = initiator.reads(), initiator.pays()
    assert initiator.provider.call("GET", "/_health")[0] == 200
    assert initiator.call("PATCH", f"{RECURRING}/{payer}", {"data": {"status": "REVOKED"}})[1]["data"]["status"] == "REVOKED"
    assert initiator.holder(again, "revoke")[1]["data"]["status"] == "REJECTED"
    assert no(initiator.call("GET", ACCOUNTS, x_consent_id=again), 401, "CONSENTIMENTO_NAO_AUTORIZADO")
    assert no(initiator.pay(payer, "k2"), 422, "CONSENTIMENTO_INVALIDO")
    assert initiator.booked() == []


def test_a_payment_needs_an_authorised_consent_and_stays_within_its_limits(initiator: Initiator) -> None:
    waiting = initiator.to_pay()[1]["data"]["recurringConsentId"]
    assert no(initiator.pay(waiting, "k0"), 422, "CONSENTIMENTO_PENDENTE_AUTORIZACAO")
    assert no(initiator.pay(initiator.reads(), "k0"), 422, "CONSENTIMENTO_INVALIDO")
    consent = initiator.pays()
    assert no(initiator.pay(consent, "k1", "50.01"), 422, "LIMITE_VALOR_TRANSACAO_CONSENTIMENTO_EXCEDIDO")
    status, paid = initiator.pay(consent, "k2", "50.00")
    assert (status, paid["data"]["status"], paid["data"]["payment"]) == (201, "ACSC", {"amount": "50.00", "currency": "BRL"})
    assert no(initiator.pay(consent, "k3", "30.01"), 422, "LIMITE_VALOR_TOTAL_CONSENTIMENTO_EXCEDIDO")
    assert initiator.pay(consent, "k4", "30.00")[0] == 201
    assert [row["amount"] for row in initiator.booked()] == [5000, 3000]


def test_a_key_is_one_payment_and_no_other(initiator: Initiator) -> None:
    consent, other = initiator.pays(), initiator.pays()
    first = initiator.pay(consent, "k")[1]["data"]
    assert initiator.pay(consent, "k")[1]["data"] == first
    assert no(initiator.pay(consent, "k", "10.51"), 422, "ERRO_IDEMPOTENCIA")
    assert no(initiator.pay(other, "k"), 422, "ERRO_IDEMPOTENCIA")
    assert no(initiator.pay(consent, "x" * 41), 422, "PARAMETRO_INVALIDO")
    assert len(initiator.booked()) == 1
    assert initiator.call("GET", f"{PAYMENTS}/{first['recurringPaymentId']}")[1]["data"] == first
    status, listed = initiator.call("GET", f"{PAYMENTS}?recurringConsentId={consent}")
    assert (status, listed["data"], listed["meta"]["totalPages"]) == (200, [first], 1)
    assert initiator.call("GET", f"{PAYMENTS}?recurringConsentId={other}")[1]["data"] == []


def test_what_the_bank_does_not_pay_is_rejected_with_a_reason(initiator: Initiator) -> None:
    consent = initiator.pays(most="500.00", total="900.00")
    rejected = initiator.pay(consent, "k1", "400.00")[1]["data"]
    assert (rejected["status"], rejected["rejectionReason"]["code"]) == ("RJCT", "SALDO_INSUFICIENTE")
    initiator.provider.fault("accepted_then_settled", seconds=600)
    assert initiator.pay(consent, "k2")[1]["data"]["status"] == "PDNG"


def test_transactions_come_in_pages_in_their_order(initiator: Initiator) -> None:
    consent, reads = initiator.pays(), initiator.reads()
    for number in range(5):
        assert initiator.pay(consent, f"k{number}", "1.00")[0] == 201
    account = initiator.call("GET", ACCOUNTS, x_consent_id=reads)[1]["data"][0]["accountId"]
    path = f"{ACCOUNTS}/{account}/transactions?page-size=2"
    pages = [initiator.call("GET", f"{path}&page={page}", x_consent_id=reads)[1] for page in (1, 2, 3, 4)]
    names = [line["transactionName"] for page in pages for line in page["data"]]
    assert names == [f"PIX ENVIADO pay_1 k{number}" for number in range(5)]
    assert [page["meta"]["totalPages"] for page in pages] == [3, 3, 3, 3]
    line = pages[0]["data"][0]
    assert (line["creditDebitType"], line["transactionAmount"]) == ("DEBITO", {"amount": "1.00", "currency": "BRL"})
    early = initiator.call("GET", f"{path}&fromBookingDate=2020-01-01&toBookingDate=2020-01-02", x_consent_id=reads)[1]
    assert early["data"] == []


def test_another_accounts_consent_is_nobodys(initiator: Initiator) -> None:
    other = Initiator(initiator.provider, f"{initiator.account}-b")
    reads, pays = other.reads(), other.pays()
    assert no(initiator.call("GET", f"{CONSENTS}/{reads}"), 404, "CONSENTIMENTO_NAO_ENCONTRADO")
    assert no(initiator.call("DELETE", f"{CONSENTS}/{reads}"), 404, "CONSENTIMENTO_NAO_ENCONTRADO")
    assert no(initiator.call("GET", ACCOUNTS, x_consent_id=reads), 401, "CONSENTIMENTO_NAO_AUTORIZADO")
    assert no(initiator.pay(pays, "k1"), 422, "CONSENTIMENTO_INVALIDO")
    assert no(initiator.call("GET", ACCOUNTS, Authorization="Bearer wrong"), 401, "NAO_AUTORIZADO")


def test_consents_and_payments_outlive_a_kill(initiator: Initiator) -> None:
    consent = initiator.pays()
    paid = initiator.pay(consent, "k1")[1]["data"]
    initiator.provider.kill()
    initiator.provider.start()
    assert initiator.pay(consent, "k1")[1]["data"] == paid
    assert initiator.call("GET", f"{RECURRING}/{consent}")[1]["data"]["status"] == "AUTHORISED"
