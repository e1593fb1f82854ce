"""The Open Finance adapter against the bank's own API, and against raw servers that behave worse than any bank."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rails import adapters
from rails.adapters import base
from rails.adapters.base import (
    Action,
    Consent,
    ConsentAsk,
    ConsentStatus,
    Instruction,
    NotSendable,
    RefundInstruction,
    Result,
    Unreadable,
    WebhookRefused,
)
from rails.adapters.open_finance import OpenFinanceAdapter
from rails.adapters.open_finance_answers import judge_list, judge_payment, written
from rails.adapters.open_finance_bank import PAY, PERMISSIONS
from rails.sandbox.launch import Provider
from tests.support.raw_servers import Raw, answering, http_answer, within

SOON = timedelta(seconds=30)
E2E = "E99999004202601021504abcDEF12345"
MAKER = OpenFinanceAdapter("http://127.0.0.1:1", "k", "a")
KEY, OTHER = MAKER.rail_key(b"p" * 32), MAKER.rail_key(b"q" * 32)
READS = tuple(PERMISSIONS)
CONSENT = "urn:bank:1"


class Holder:
    """An account of one test's own: whoever initiates over it, and its holder at the bank."""

    def __init__(self, provider: Provider, name: str) -> None:
        self.provider, self.name = provider, name
        provider.open_account(name, f"key-{name}", 10_000)

    def adapter(self, **consents: str) -> OpenFinanceAdapter:
        url = f"{self.provider.url}/open_finance-api"
        named = {scope.replace("_", "."): consent for scope, consent in consents.items()}
        connection = base.Connection(base_url=url, account=self.name, secrets={"api_key": f"key-{self.name}"}, consents=named)
        found = adapters.adapter_for("open_finance", connection)
        assert isinstance(found, OpenFinanceAdapter)
        return found

    def ask(self, *scopes: str, **changes: Any) -> Consent:
        limits = {"max_payment": 5_000, "max_total": 8_000} if PAY in scopes else {}
        fields: dict[str, Any] = {"key": secrets.token_hex(16), "scopes": scopes, "expires_at": datetime.now(UTC) + timedelta(days=1)}
        return self.adapter().register(ConsentAsk(**fields | limits | changes), within(5))

    def says(self, consent: Consent, decision: str) -> None:
        path = consent.address.removeprefix(self.provider.url)
        assert self.provider.call("POST", path, {"decision": decision})[0] == 200

    def allows(self, *scopes: str, **changes: Any) -> str:
        made = self.ask(*scopes, **changes)
        self.says(made, "authorise")
        return made.id

    def ready(self) -> tuple[OpenFinanceAdapter, str]:
        """An adapter with everything that a payment and its statement need, and the consent to pay."""
        pays, reads = self.allows(PAY), self.allows(*READS)
        return self.adapter(payments_initiate=pays, **{scope.replace(".", "_"): reads for scope in READS}), pays

    def booked(self) -> list[dict[str, Any]]:
        return [row for row in self.provider.ledger()["payments"] if row["account"] == self.name]


@pytest.fixture
def account(running: Provider, request: pytest.FixtureRequest) -> Iterator[Holder]:
    yield Holder(running, re.sub("[^A-Za-z0-9]", "", request.node.name)[-60:] + secrets.token_hex(4))
    running.call("DELETE", "/_control")


def order(key: str = KEY, **changes: Any) -> Instruction:
    fields: dict[str, Any] = {
        "key": key,
        "amount": 1050,
        "currency": "BRL",
        "payee_type": "pix_key",
        "payee_account": "Maria@Example.com",
        "payee_name": "Maria",
        "reference": "pay_1",
        "send_by": datetime.now(UTC) + SOON,
        "consent": CONSENT,
    }
    return Instruction(**(fields | changes))


def test_it_declares_that_nothing_comes_back_by_itself() -> None:
    found = OpenFinanceAdapter.capabilities
    assert (found.consents, found.can_void, found.can_refund, found.captures) == (True, False, False, False)
    assert found.step_from(Result.ACCEPTED).action is Action.WAIT
    assert found.step_from(Result.SETTLED).action is Action.HUMAN
    assert adapters.ADAPTERS["open_finance"] is OpenFinanceAdapter


# Consents.


def test_a_consent_is_registered_authorised_and_revoked(account: Holder) -> None:
    for scopes in (READS, ("accounts.read",), (PAY,)):
        made = account.ask(*scopes)
        assert made.status is ConsentStatus.AWAITING
        account.says(made, "authorise")
        adapter = account.adapter()
        found = adapter.registered(made.id, scopes, within(5))
        assert found is not None and found.status is ConsentStatus.AUTHORISED
        adapter.revoke(made.id, scopes, within(5))
        # Telling it again changes nothing.
        adapter.revoke(made.id, scopes, within(5))
        found = adapter.registered(made.id, scopes, within(5))
        assert found is not None and found.status in (ConsentStatus.REJECTED, ConsentStatus.REVOKED)


def test_a_consent_that_the_bank_does_not_know_is_none(account: Holder) -> None:
    nobodys = f"urn:sandboxbank:{'0' * 32}"
    assert account.adapter().registered(nobodys, READS, within(5)) is None
    other = Holder(account.provider, account.name + "b")
    assert account.adapter().registered(other.allows(*READS), READS, within(5)) is None
    with pytest.raises(Unreadable) as refused:
        other.adapter().register(ConsentAsk(key="k", scopes=READS, expires_at=datetime.now(UTC) + timedelta(days=900)), within(5))
    assert refused.value.code == "refused"


def test_a_revocation_that_the_bank_did_not_confirm_is_not_told(account: Holder) -> None:
    for scopes in (READS, (PAY,)):
        consent = account.allows(*scopes)
        for fault in ("unavailable", "disconnect_before", "disconnect_after"):
            account.provider.fault(fault, on="write")
            with pytest.raises(Unreadable):
                account.adapter().revoke(consent, scopes, within(5))


# Payments.


def test_a_payment_settles_and_the_query_says_the_same(account: Holder) -> None:
    adapter, consent = account.ready()
    sent = adapter.send(order(consent=consent), within(5))
    assert (sent.result, sent.code, sent.sent, sent.http_status, sent.again) == (Result.SETTLED, "settled", True, 201, False)
    found = adapter.query(order(consent=consent, provider_id=sent.provider_id), within(5))
    assert (found.result, found.provider_id) == (Result.SETTLED, sent.provider_id)
    [row] = account.booked()
    assert (row["key"], row["amount"], row["payee"], row["reference"]) == (KEY[:40], 1050, {"key": "maria@example.com"}, f"pay_1 {KEY}")


def test_the_same_request_again_is_the_same_payment(account: Holder) -> None:
    adapter, consent = account.ready()
    first, second = (adapter.send(order(consent=consent), within(5)) for _ in range(2))
    assert first.provider_id == second.provider_id and len(account.booked()) == 1
    changed = adapter.send(order(consent=consent, amount=1051), within(5))
    assert (changed.result, changed.code) == (Result.CONFLICTED, "conflict")


def test_what_no_consent_covers_is_a_validated_no(account: Holder) -> None:
    adapter, consent = account.ready()
    waiting, reads = account.ask(PAY), account.allows(*READS)
    told = {
        "consent_refused": order(consent=waiting.id),
        "consent_limit": order(consent=consent, amount=5_001),
        "declined": order(OTHER, consent=account.allows(PAY, max_payment=50_000, max_total=50_000), amount=20_000),
    }
    for code, instruction in told.items():
        said = adapter.send(instruction, within(5))
        assert (said.result, said.code) == (Result.REJECTED, code), said
    assert adapter.send(order(consent=reads), within(5)).code == "consent_refused"
    account.provider.call("POST", f"/open_finance-api/authorise/{consent}", {"decision": "revoke"})
    assert adapter.send(order(consent=consent), within(5)).code == "consent_refused"
    assert [row["status"] for row in account.booked()] == ["rejected"]


def test_without_a_consent_nothing_leaves(account: Holder) -> None:
    adapter, _ = account.ready()
    with pytest.raises(NotSendable) as refused:
        adapter.prepare(order(consent=None), within(5))
    assert refused.value.code == "consent_missing"
    said = adapter.send(order(consent=None), within(5))
    assert (said.result, said.sent, said.code) == (Result.UNKNOWN, False, "consent_missing")
    for changes, code in (
        ({"currency": "USD"}, "currency_unsupported"),
        ({"payee_type": "iban"}, "account_type_unsupported"),
        ({"payee_account": "nobody"}, "payee_malformed"),
    ):
        with pytest.raises(NotSendable) as refused:
            adapter.prepare(order(**changes), within(5))
        assert refused.value.code == code


@pytest.mark.parametrize("fault", ["timeout_after", "disconnect_after", "rubbish", "unavailable"])
def test_silence_proves_nothing_and_the_query_finds_what_happened(account: Holder, fault: str) -> None:
    adapter, consent = account.ready()
    account.provider.fault(fault, on="write", **({"seconds": 3} if fault == "timeout_after" else {}))
    sent = adapter.send(order(consent=consent), within(1))
    assert (sent.result, sent.sent) == (Result.UNKNOWN, True)
    found = adapter.query(order(consent=consent), within(5))
    assert found.result is (Result.NOT_FOUND if fault == "unavailable" else Result.SETTLED)


@pytest.mark.parametrize(
    ("fault", "code"), [("wrong_amount", "mismatch_amount"), ("wrong_payee", "mismatch_payee"), ("wrong_id", "mismatch_key")]
)
def test_an_answer_about_something_else_settles_nothing(account: Holder, fault: str, code: str) -> None:
    adapter, consent = account.ready()
    account.provider.fault(fault)
    said = adapter.send(order(consent=consent), within(5))
    assert (said.result, said.code, said.invalid) == (Result.CONFLICTED, code, True)
    assert adapter.query(order(consent=consent), within(5)).result is Result.SETTLED


def test_what_settles_later_is_accepted_first(account: Holder) -> None:
    adapter, consent = account.ready()
    account.provider.fault("accepted_then_settled", seconds=0.5)
    assert adapter.send(order(consent=consent), within(5)).result is Result.ACCEPTED
    until = within(10)
    while (found := adapter.query(order(consent=consent), within(5))).result is Result.ACCEPTED:
        assert until > within(0)
    assert found.result is Result.SETTLED


def test_ours_is_found_among_the_other_payments_of_the_consent(account: Holder) -> None:
    adapter, _ = account.ready()
    consent = account.allows(PAY, max_payment=100, max_total=8_000)
    keys = [MAKER.rail_key(bytes([number]) * 32) for number in range(105)]
    for key in keys:
        assert adapter.send(order(key, consent=consent, amount=10), within(5)).result is Result.SETTLED
    # The last ones stand on the second page.
    for key in (keys[0], keys[-1]):
        assert adapter.query(order(key, consent=consent, amount=10), within(5)).result is Result.SETTLED
    assert adapter.query(order(OTHER, consent=consent, amount=10), within(5)).result is Result.NOT_FOUND


def test_what_was_initiated_is_neither_canceled_nor_refunded(account: Holder) -> None:
    adapter, consent = account.ready()
    adapter.send(order(consent=consent), within(5))
    assert adapter.cancel(order(consent=consent), within(5)).result is Result.SETTLED
    back = RefundInstruction(key=OTHER, payment_key=KEY, payment_id=None, amount=1, currency="BRL", send_by=datetime.now(UTC) + SOON)
    for said in (adapter.refund(back, within(5)), adapter.query_refund(back, within(5))):
        assert (said.result, said.sent, said.code) == (Result.UNKNOWN, False, "refund_unsupported")
    with pytest.raises(WebhookRefused):
        adapter.parse_webhook({}, b"{}", ["whsec_c2VjcmV0"], datetime.now(UTC))


def test_nothing_is_sent_after_its_time(account: Holder) -> None:
    adapter, consent = account.ready()
    late = adapter.send(order(consent=consent, send_by=datetime.now(UTC)), within(5))
    assert (late.result, late.sent, late.code, account.booked()) == (Result.UNKNOWN, False, "send_by_passed", [])


# The statement, and what is read.


def test_the_statement_is_read_under_the_consent_page_by_page(account: Holder) -> None:
    adapter, _ = account.ready()
    consent = account.allows(PAY, max_payment=100, max_total=8_000)
    keys = [MAKER.rail_key(bytes([number]) * 32) for number in range(103)]
    for key in keys:
        adapter.send(order(key, consent=consent, amount=10), within(5))
    first = adapter.statement("", within(5))
    assert (len(first.lines), first.complete, first.opening, first.closing) == (100, False, None, None)
    lines, cursor, page = list(first.lines), first.cursor, first
    while not page.complete:
        page = adapter.statement(cursor, within(5))
        lines, cursor = lines + list(page.lines), page.cursor
    # The last day is read from its beginning: a line is one by its id, however often it is told.
    assert {line.key for line in lines} == set(keys) and len({line.id for line in lines}) == 103
    assert {(line.kind, line.amount, line.currency, line.party) for line in lines} == {("payment", -10, "BRL", "maria@example.com")}
    again = adapter.statement(cursor, within(5))
    assert again.complete and again.lines == page.lines


def test_a_deposit_is_confirmed_among_the_transactions_of_its_day(account: Holder) -> None:
    adapter, _ = account.ready()
    body = {"account": account.name, "amount": 777, "currency": "BRL", "payer": "joao@example.com"}
    made = account.provider.call("POST", "/_control/deposits", body)[1]
    [line] = adapter.statement("", within(5)).lines
    assert (line.kind, line.provider_id, line.amount, line.key) == ("deposit", made["id"], 777, None)
    found = adapter.deposit(made["id"], within(5))
    assert found is not None and (found.amount, found.account, found.payer_key) == (777, account.name, "joao@example.com")
    assert adapter.deposit(made["id"][:-1] + "~", within(5)) is None
    assert adapter.deposit(made["id"][:-3] + "000", within(5)) is None


def test_without_a_consent_to_read_there_is_no_statement_and_the_account_is_not_ready(account: Holder) -> None:
    with pytest.raises(Unreadable) as refused:
        account.adapter().statement("", within(5))
    assert refused.value.code == "consent_missing"
    assert {check.name: check.ok for check in account.adapter().preflight(within(5))} == {
        "reachable": True,
        "account": True,
        "consent": False,
        "statement": False,
    }
    adapter, consent = account.ready()
    assert all(check.ok for check in adapter.preflight(within(5)))
    account.provider.call("POST", f"/open_finance-api/authorise/{consent}", {"decision": "revoke"})
    assert {check.name for check in adapter.preflight(within(5)) if not check.ok} == {"consent"}


def test_a_bank_that_is_away_or_does_not_take_our_key_is_told_apart(account: Holder, raw: Raw) -> None:
    url = f"{account.provider.url}/open_finance-api"
    stranger = OpenFinanceAdapter(url, "wrong", account.name)
    assert {check.name: check.ok for check in stranger.preflight(within(5))} == {"reachable": True, "account": False}
    away = OpenFinanceAdapter("http://127.0.0.1:1", "k", "a")
    assert {check.name: check.ok for check in away.preflight(within(5))} == {"reachable": False, "account": False}


@pytest.mark.parametrize("resource", ["accounts", "balances", "transactions"])
def test_a_read_says_what_the_bank_has_or_why_not(account: Holder, resource: str) -> None:
    consent, only = account.allows(*READS), account.allows("accounts.read")
    adapter = account.adapter()
    found = adapter.read(resource, consent, None, 1, within(5))
    assert (len(found.rows), found.more) == (0 if resource == "transactions" else 1, False)
    if resource != "accounts":
        with pytest.raises(Unreadable) as refused:
            adapter.read(resource, only, None, 1, within(5))
        assert refused.value.code == "refused"
    with pytest.raises(Unreadable) as refused:
        adapter.read(resource, account.ask(*READS).id, None, 1, within(5))
    assert refused.value.code == "consent_refused"
    account.provider.fault("rubbish", on="read")
    with pytest.raises(Unreadable) as refused:
        adapter.read(resource, consent, None, 1, within(5))
    assert refused.value.code == "invalid_response"


# Answers that nobody agreed on.


def said(**changes: Any) -> dict[str, Any]:
    data = {
        "recurringPaymentId": "1",
        "recurringConsentId": CONSENT,
        "endToEndId": E2E,
        "status": "ACSC",
        "payment": {"amount": "10.50", "currency": "BRL"},
        "proxy": "maria@example.com",
        "remittanceInformation": written("pay_1", KEY),
    }
    return data | changes


def test_settled_only_when_every_field_is_equal() -> None:
    assert judge_payment(201, json.dumps({"data": said()}).encode(), order()).result is Result.SETTLED
    other = {
        "recurringConsentId": "urn:bank:2",
        "payment": {"amount": "10.51", "currency": "BRL"},
        "proxy": "joao@example.com",
        "remittanceInformation": written("pay_2", KEY),
    }
    for name, value in {**other, "payment ": {"amount": "10.50", "currency": "USD"}}.items():
        found = judge_payment(201, json.dumps({"data": said(**{name.strip(): value})}).encode(), order())
        assert found.result is Result.CONFLICTED, name
    known = replace(order(), provider_id=E2E.replace("abc", "xyz"))
    assert judge_payment(201, json.dumps({"data": said()}).encode(), known).code == "mismatch_id"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "DONE"},
        {"status": "SCHD"},
        {"endToEndId": "1"},
        {"payment": {"amount": "10.5", "currency": "BRL"}},
        {"payment": {"amount": 10.5, "currency": "BRL"}},
        {"payment": "10.50"},
        {"proxy": None},
        {"status": "RJCT"},
    ],
)
def test_an_answer_that_is_not_in_its_form_proves_nothing(changes: dict[str, Any]) -> None:
    found = judge_payment(201, json.dumps({"data": said(**changes)}).encode(), order())
    assert (found.result, found.code) == (Result.UNKNOWN, "invalid_response")


def test_two_payments_under_one_key_are_a_humans() -> None:
    body = {"data": [said(), said()], "meta": {"totalPages": 1}}
    assert judge_list(200, json.dumps(body).encode(), order(), 1)[0].result is Result.CONFLICTED
    nothing = {"data": [said(remittanceInformation="x"), said(remittanceInformation=written("pay_1", OTHER))], "meta": {"totalPages": 2}}
    verdict, more = judge_list(200, json.dumps(nothing).encode(), order(), 1)
    assert (verdict.result, more) == (Result.NOT_FOUND, True)


@given(
    st.sampled_from([200, 201, 400, 401, 403, 404, 409, 422, 429, 500, 503]),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)
def test_random_answers_prove_nothing(status: int, body: object) -> None:
    raw = json.dumps(body).encode()
    for verdict in (judge_payment(status, raw, order()), judge_list(status, raw, order(), 1)[0]):
        assert verdict.result is Result.UNKNOWN


def test_no_secret_stands_in_the_evidence(account: Holder, raw: Raw) -> None:
    server = raw(answering(http_answer(json.dumps({"data": said()}).encode())))
    told = OpenFinanceAdapter(server.url, "very-secret", "a").send(order(), within(5))
    assert told.result is Result.SETTLED
    assert b"very-secret" not in told.request and KEY[:40].encode() in told.request
