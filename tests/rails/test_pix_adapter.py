"""The Pix adapter against the bank's own Pix API, and against raw servers that behave worse than any bank."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rails import adapters
from rails.adapters import base, pix_tokens
from rails.adapters.base import Instruction, NotSendable, RefundInstruction, Result, Unreadable, WebhookRefused
from rails.adapters.pix import PixAdapter
from rails.adapters.pix_answers import judge_payment, judge_refund
from rails.sandbox.launch import Provider
from rails.sandbox.webhooks import signature
from tests.support.inbox import Inbox
from tests.support.raw_servers import Raw, RawServer, answering, dripping, http_answer, within

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
SOON = timedelta(seconds=30)
SLACK = 0.5
E2E = "E99999004202601021504abcDEF12345"
RTR = "D99999004202601021504abcDEF12345"
MAKER = PixAdapter("http://127.0.0.1:1", "k", "a")
PAYS, BACK = MAKER.rail_key(b"p" * 32), MAKER.rail_key(b"r" * 32)


def order(key: str = PAYS, **changes: Any) -> Instruction:
    fields: dict[str, Any] = {
        "key": key,
        "amount": 1050,
        "currency": "BRL",
        "payee_type": "pix_key",
        "payee_account": "Maria@Example.com",
        "payee_name": "Maria",
        "reference": "inv 7",
        "send_by": datetime.now(UTC) + SOON,
    }
    return Instruction(**(fields | changes))


def undo(key: str = BACK, amount: int = 50, **changes: Any) -> RefundInstruction:
    fields: dict[str, Any] = {"key": key, "payment_key": PAYS, "payment_id": None, "amount": amount, "currency": "BRL"}
    return RefundInstruction(**({"send_by": datetime.now(UTC) + SOON} | fields | changes))


@pytest.fixture
def account(running: Provider, request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub("[^A-Za-z0-9]", "", request.node.name)[-90:]
    running.open_account(name, f"key-{name}", 10_000, api="pix")
    yield name
    running.call("DELETE", "/_control")
    running.call("POST", "/_control/tokens", {"expires_in": 3600})


@pytest.fixture
def adapter(running: Provider, account: str) -> base.Adapter:
    """With its access token, so that the first request that meets a fault is the test's."""
    found = adapters.adapter_for("pix", connection(running, account))
    assert all(check.ok for check in found.preflight(within(5)))
    return found


def connection(running: Provider, account: str, **changes: Any) -> base.Connection:
    fields = {"base_url": f"{running.url}/pix-api", "account": account, "secrets": {"api_key": f"key-{account}"}}
    return base.Connection(**(fields | changes))


def booked(provider: Provider, account: str, kind: str = "payments") -> list[dict[str, Any]]:
    return [row for row in provider.ledger()[kind] if row["account"] == account]


def asked(provider: Provider, path: str) -> int:
    return sum(row["path"].startswith(path) for row in provider.ledger()["requests"])


# The ordinary life of a Pix.


def test_a_pix_settles_and_the_query_says_the_same(adapter: base.Adapter, running: Provider, account: str) -> None:
    sent = adapter.send(order(), within(5))
    assert (sent.result, sent.code, sent.sent, sent.http_status, sent.again) == (Result.SETTLED, "settled", True, 201, False)
    found = adapter.query(order(provider_id=sent.provider_id), within(5))
    assert (found.result, found.provider_id, found.http_status) == (Result.SETTLED, sent.provider_id, 200)
    [row] = booked(running, account)
    assert (row["key"], row["amount"], row["payee"], row["reference"]) == (PAYS, 1050, {"key": "maria@example.com"}, "inv 7")


@pytest.mark.parametrize(
    ("spelling", "normal"),
    [("123.456.789-09", "12345678909"), ("+55 (11) 98765-4321", "+5511987654321"), ("12.abc.345/01de-35", "12ABC34501DE35")],
)
def test_a_key_in_any_spelling_is_paid_in_its_normal_form(
    adapter: base.Adapter, running: Provider, account: str, spelling: str, normal: str
) -> None:
    ready = adapter.prepare(order(payee_account=spelling), within(5))
    assert adapter.send(ready, within(5)).result is Result.SETTLED
    assert adapter.query(order(payee_account=spelling), within(5)).result is Result.SETTLED
    assert booked(running, account)[0]["payee"] == {"key": normal}


def test_the_txid_of_a_br_code_is_paid_and_compared(adapter: base.Adapter) -> None:
    assert adapter.send(order(target="abc123"), within(5)).result is Result.SETTLED
    assert json.loads(adapter.query(order(target="abc123"), within(5)).raw)["txid"] == "abc123"
    assert adapter.query(order(), within(5)).code == "mismatch_target"


def test_every_write_carries_its_key_in_the_header(adapter: base.Adapter, running: Provider) -> None:
    mine = order(MAKER.rail_key(b"h" * 32))
    adapter.send(mine, within(5))
    adapter.refund(undo(MAKER.rail_key(b"i" * 32), payment_key=mine.key), within(5))
    rows = [
        row
        for row in running.ledger()["requests"]
        if row["method"] == "PUT" and row["idempotency_key"] and row["idempotency_key"] in row["path"]
    ]
    assert {mine.key, MAKER.rail_key(b"i" * 32)[:35]} <= {row["idempotency_key"] for row in rows}


def test_the_evidence_has_the_request_without_the_credentials(adapter: base.Adapter, account: str) -> None:
    sent = adapter.send(order(), within(5))
    assert sent.request.startswith(f"PUT /pix-api/v2/pix/{PAYS} HTTP/1.1\r\n".encode())
    assert b'"valor":"10.50"' in sent.request
    assert b"Idempotency-Key: " + PAYS.encode() in sent.request
    assert b"Bearer" not in sent.request
    assert f"key-{account}".encode() not in sent.request


def test_an_unknown_key_is_not_found(adapter: base.Adapter) -> None:
    found = adapter.query(order(), within(5))
    assert (found.result, found.code, found.sent) == (Result.NOT_FOUND, "not_found", True)


def test_a_key_used_for_something_else_is_conflicted(adapter: base.Adapter) -> None:
    adapter.send(order(), within(5))
    assert adapter.send(order(amount=1051), within(5)).result is Result.CONFLICTED
    found = adapter.query(order(amount=1051), within(5))
    assert (found.result, found.code) == (Result.CONFLICTED, "mismatch_amount")
    assert adapter.query(order(provider_id=E2E), within(5)).code == "mismatch_id"


def test_insufficient_funds_is_rejected(adapter: base.Adapter) -> None:
    sent = adapter.send(order(amount=10_001), within(5))
    assert (sent.result, sent.code) == (Result.REJECTED, "declined")
    assert "insufficient_funds" in sent.reason
    assert adapter.query(order(amount=10_001), within(5)).result is Result.REJECTED


def test_a_request_the_bank_refuses_is_rejected(adapter: base.Adapter) -> None:
    sent = adapter.send(order(reference="x" * 141), within(5))
    assert (sent.result, sent.code, sent.http_status) == (Result.REJECTED, "refused", 400)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"currency": "USD"}, "currency_unsupported"),
        ({"payee_account": "12345678900"}, "payee_malformed"),
        ({"payee_type": "iban"}, "account_type_unsupported"),
        ({"target": "a-b"}, "target_malformed"),
        ({"amount": 10**12}, "amount_too_large"),
    ],
)
def test_what_pix_cannot_carry_is_not_sent(
    adapter: base.Adapter, running: Provider, account: str, change: dict[str, Any], code: str
) -> None:
    with pytest.raises(NotSendable) as refusal:
        adapter.prepare(order(**change), within(5))
    assert refusal.value.code == code
    sent = adapter.send(order(**change), within(5))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, code, False, False)
    assert booked(running, account) == []


def test_the_dict_is_asked_before_and_tells_whose_key_it_is(adapter: base.Adapter, running: Provider) -> None:
    running.call("POST", "/_control/dict", {"key": "ana+#/?pix@example.com", "name": "Ana Lima", "kind": "SVGS"})
    mine = order(payee_account="Ana+#/?Pix@example.com")
    ready = adapter.prepare(mine, within(5))
    assert json.loads(ready.terms or "") == {"nome": "Ana Lima", "tipoConta": "SVGS"}
    assert replace(ready, terms=None) == mine
    running.call("POST", "/_control/dict", {"key": "nobody@example.com", "exists": False})
    with pytest.raises(NotSendable) as refusal:
        adapter.prepare(order(payee_account="nobody@example.com"), within(5))
    assert refusal.value.code == "payee_unknown"
    sent = adapter.send(order(payee_account="nobody@example.com"), within(5))
    assert (sent.result, "payee_unknown" in sent.reason) == (Result.REJECTED, True)


@pytest.mark.parametrize("fault", ["unavailable", "disconnect_before", "rubbish"])
def test_a_dict_that_does_not_answer_forbids_nothing(adapter: base.Adapter, running: Provider, fault: str) -> None:
    running.fault(fault, on="read")
    mine = order()
    assert adapter.prepare(mine, within(5)) == mine


def test_an_accepted_pix_is_stopped_and_a_settled_one_stays(adapter: base.Adapter, running: Provider) -> None:
    running.fault("accepted_then_settled", seconds=60)
    assert adapter.send(order(), within(5)).result is Result.ACCEPTED
    stopped = adapter.cancel(order(), within(5))
    assert (stopped.result, stopped.moved) == (Result.CANCELED, 0)
    assert adapter.query(order(), within(5)).result is Result.CANCELED
    other = order(MAKER.rail_key(b"o" * 32))
    adapter.send(other, within(5))
    assert adapter.cancel(other, within(5)).result is Result.SETTLED
    assert adapter.cancel(order(MAKER.rail_key(b"x" * 32)), within(5)).result is Result.NOT_FOUND


def test_two_legs_tell_how_much_has_moved(adapter: base.Adapter, running: Provider) -> None:
    running.fault("in_two_legs", seconds=60)
    sent = adapter.send(order(amount=1001), within(5))
    assert (sent.result, sent.moved) == (Result.ACCEPTED, 500)
    stopped = adapter.cancel(order(amount=1001), within(5))
    assert (stopped.result, stopped.moved) == (Result.CANCELED, 500)
    assert adapter.refund(undo(amount=500), within(5)).result is Result.SETTLED


def test_a_reservation_there_is_none_so_a_capture_asks(adapter: base.Adapter) -> None:
    assert adapter.capture(order(), within(5)).result is Result.NOT_FOUND
    assert not adapter.capabilities.captures


# Refunds.


def test_a_refund_settles_and_is_never_more_than_the_payment(adapter: base.Adapter, running: Provider, account: str) -> None:
    e2e = adapter.send(order(), within(5)).provider_id
    done = adapter.refund(undo(payment_id=e2e), within(5))
    assert (done.result, (done.provider_id or "")[0]) == (Result.SETTLED, "D")
    assert adapter.query_refund(undo(payment_id=e2e), within(5)).provider_id == done.provider_id
    assert adapter.query_refund(undo(), within(5)).provider_id == done.provider_id
    assert adapter.refund(undo(amount=51), within(5)).result is Result.CONFLICTED
    assert adapter.query_refund(undo(amount=51), within(5)).code == "mismatch_amount"
    second, third, fourth = (MAKER.rail_key(bytes([n]) * 32) for n in range(3))
    too_much = adapter.refund(undo(second, amount=1001), within(5))
    assert (too_much.result, "amount_exceeds_payment" in too_much.reason) == (Result.REJECTED, True)
    assert adapter.refund(undo(third, amount=1000), within(5)).result is Result.SETTLED
    assert adapter.query_refund(undo(fourth), within(5)).result is Result.NOT_FOUND
    assert sum(row["amount"] for row in booked(running, account, "refunds") if row["status"] == "settled") == 1050


def test_a_refund_that_waits_is_accepted_and_then_settled(adapter: base.Adapter, running: Provider) -> None:
    adapter.send(order(), within(5))
    running.fault("accepted_then_settled", seconds=0.3)
    assert adapter.refund(undo(), within(5)).result is Result.ACCEPTED
    time.sleep(0.8)
    assert adapter.query_refund(undo(), within(5)).result is Result.SETTLED


def test_a_refund_of_nothing_leaves_nothing(adapter: base.Adapter, running: Provider, account: str) -> None:
    done = adapter.refund(undo(), within(5))
    assert (done.result, done.code, done.sent, done.again) == (Result.UNKNOWN, "not_found", False, False)
    assert adapter.query_refund(undo(), within(5)).result is Result.NOT_FOUND
    unknown = adapter.refund(undo(payment_id=E2E), within(5))
    assert (unknown.result, unknown.http_status) == (Result.REJECTED, 404)


def test_a_refund_whose_payment_cannot_be_looked_up_is_not_sent_and_may_be_again(
    adapter: base.Adapter, running: Provider, account: str
) -> None:
    adapter.send(order(), within(5))
    running.fault("unavailable", on="read")
    done = adapter.refund(undo(), within(5))
    assert (done.result, done.code, done.sent, done.again) == (Result.UNKNOWN, "unavailable", False, True)
    assert booked(running, account, "refunds") == []


@pytest.mark.parametrize(
    ("fault", "result", "code", "refunds"),
    [
        ("decline", Result.REJECTED, "declined", 1),
        ("timeout_before", Result.UNKNOWN, "timeout", 0),
        ("timeout_after", Result.UNKNOWN, "timeout", 1),
        ("unavailable", Result.UNKNOWN, "unavailable", 0),
        ("wrong_amount", Result.CONFLICTED, "mismatch_amount", 1),
        ("wrong_id", Result.CONFLICTED, "mismatch_key", 1),
        ("rubbish", Result.UNKNOWN, "invalid_response", 1),
        ("disconnect_before", Result.UNKNOWN, "disconnected", 0),
        ("disconnect_after", Result.UNKNOWN, "disconnected", 1),
    ],
)
def test_each_fault_has_its_outcome_for_a_refund(
    adapter: base.Adapter, running: Provider, account: str, fault: str, result: Result, code: str, refunds: int
) -> None:
    e2e = adapter.send(order(), within(5)).provider_id
    running.fault(fault, seconds=2)
    done = adapter.refund(undo(payment_id=e2e), within(0.5))
    assert (done.result, done.code, done.sent) == (result, code, True)
    assert len(booked(running, account, "refunds")) == refunds


def test_not_found_once_is_no_proof_about_a_refund(adapter: base.Adapter, running: Provider) -> None:
    e2e = adapter.send(order(), within(5)).provider_id
    adapter.refund(undo(), within(5))
    running.fault("not_found_once", key=BACK[:35])
    assert [adapter.query_refund(undo(payment_id=e2e), within(5)).result for _ in range(2)] == [Result.NOT_FOUND, Result.SETTLED]


# The key.


def test_the_rail_key_is_one_to_one_and_in_the_banks_alphabet() -> None:
    keys = [MAKER.rail_key(digest) for digest in (b"\0" * 32, b"\0" * 31 + b"\1", b"\xff" * 32, bytes(range(32)))]
    assert keys[0] == "0" * 43
    assert keys[1] == "0" * 42 + "1"
    assert all(re.fullmatch("[0-9A-Za-z]{43}", key) for key in keys)
    with pytest.raises(ValueError, match="32 bytes"):
        MAKER.rail_key(b"short")


@given(digest=st.binary(min_size=32, max_size=32))
def test_the_digest_can_be_read_from_the_key(digest: bytes) -> None:
    number = 0
    for digit in MAKER.rail_key(digest):
        number = number * 62 + "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".index(digit)
    assert number.to_bytes(32) == digest


def test_two_refunds_that_share_an_id_are_a_conflict_and_never_each_others_answer(
    adapter: base.Adapter, running: Provider, account: str
) -> None:
    e2e = adapter.send(order(), within(5)).provider_id
    twin = BACK[:42] + ("0" if BACK[42] != "0" else "1")
    assert adapter.refund(undo(payment_id=e2e), within(5)).result is Result.SETTLED
    assert adapter.refund(undo(twin, payment_id=e2e), within(5)).result is Result.CONFLICTED
    assert adapter.query_refund(undo(twin, payment_id=e2e), within(5)).code == "mismatch_key"
    assert len(booked(running, account, "refunds")) == 1


# Deposits and the statement.


def test_deposits_and_the_statement_are_read(adapter: base.Adapter, running: Provider, account: str) -> None:
    deposit = {"account": account, "amount": 7, "currency": "BRL", "payer": "joao@example.com", "reference": "thanks"}
    made = running.call("POST", "/_control/deposits", deposit)[1]
    e2e = adapter.send(order(), within(5)).provider_id
    rtr = adapter.refund(undo(), within(5)).provider_id
    found = adapter.deposit(made["id"], within(5))
    assert found is not None
    assert (found.id, found.account, found.amount, found.currency, found.payer_key, found.reference, found.at.utcoffset()) == (
        *(made["id"], account, 7, "BRL", "joao@example.com", "thanks", timedelta(0)),
    )
    assert adapter.deposit(E2E, within(5)) is None
    assert adapter.deposit("../secrets", within(5)) is None
    statement = adapter.statement("", within(5))
    assert [(x.id, x.kind, x.provider_id, x.key, x.amount, x.currency, x.party) for x in statement.lines] == [
        ("1", "deposit", made["id"], None, 7, "BRL", "joao@example.com"),
        ("2", "payment", e2e, PAYS, -1050, "BRL", "maria@example.com"),
        ("3", "refund", rtr, BACK, 50, "BRL", "maria@example.com"),
    ]
    assert (statement.opening, statement.closing, statement.complete, statement.cursor) == (10_000, 9007, True, "3")
    assert adapter.statement("3", within(5)).lines == ()


def test_a_deposit_for_a_charge_names_its_txid(adapter: base.Adapter, running: Provider, account: str) -> None:
    token = pix_tokens.of(f"{running.url}/pix-api", account, f"key-{account}").get(within(5)).text
    status, refused = running.call("PUT", "/pix-api/v2/cob/" + "c" * 26, {}, {"Authorization": f"Bearer {token}"})
    assert (status, "cob.write" in refused["detail"]) == (403, True)
    made = running.call(
        "POST", "/_control/deposits", {"account": account, "amount": 7, "currency": "BRL", "payer": "j@e.com", "reference": "c" * 26}
    )[1]
    found = adapter.deposit(made["id"], within(5))
    assert found is not None
    assert found.reference == "c" * 26


def test_long_statements_are_read_in_parts(adapter: base.Adapter, running: Provider, account: str) -> None:
    deposit = {"account": account, "amount": 1, "currency": "BRL", "payer": "j" * 65 + "@example.com", "reference": "x"}
    for _ in range(101):
        running.call("POST", "/_control/deposits", deposit)
    first = adapter.statement("", within(5))
    assert (len(first.lines), first.complete, first.cursor, first.closing) == (100, False, "100", 10_100)
    last = adapter.statement(first.cursor, within(5))
    assert (len(last.lines), last.complete, last.opening, last.closing) == (1, True, 10_100, 10_101)


def test_a_falsified_statement_is_read_as_it_is(adapter: base.Adapter, running: Provider, account: str) -> None:
    adapter.send(order(), within(5))
    edits: list[dict[str, Any]] = [
        {"edit": "payee", "payee": "eve"},
        {"edit": "currency", "currency": "USD"},
        {"edit": "amount", "amount": -7},
    ]
    edits.append({"edit": "add", "key": "k9", "amount": -5, "currency": "BRL", "payee": "eve", "at": "2026-01-01T00:00:00Z"})
    for edit in edits:
        assert running.call("POST", "/_control/statement", {"account": account, "key": PAYS, **edit})[0] == 200
    lines = adapter.statement("", within(5)).lines
    assert [(x.key, x.amount, x.currency, x.party) for x in lines] == [(PAYS, -7, "USD", "eve"), ("k9", -5, "BRL", "eve")]


def test_a_gap_in_the_statement_is_given_as_the_bank_said_it(adapter: base.Adapter, running: Provider, account: str) -> None:
    running.fault("statement_gap", key=account)
    found = adapter.statement("", within(5))
    assert (found.opening, found.closing) == (10_000, 10_001)


# Tokens and preflight.


def test_preflight_says_what_holds(adapter: base.Adapter, running: Provider, account: str) -> None:
    assert [(check.name, check.ok) for check in adapter.preflight(within(5))] == [("reachable", True), ("account", True), ("scopes", True)]
    stranger = PixAdapter.connect(connection(running, account, secrets={"api_key": "wrong"}))
    assert [(check.name, check.ok) for check in stranger.preflight(within(5))] == [("reachable", True), ("account", False)]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    nobody = PixAdapter(url, "k", "a").preflight(within(2))
    assert [(check.name, check.ok) for check in nobody] == [("reachable", False), ("account", False)]


def test_a_wrong_api_key_sends_nothing_and_is_never_served_anothers_token(adapter: base.Adapter, running: Provider, account: str) -> None:
    stranger = PixAdapter.connect(connection(running, account, secrets={"api_key": "wrong"}))
    sent = stranger.send(order(), within(5))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, "unauthorized", False, False)
    assert stranger.query(order(), within(5)).code == "unauthorized"
    assert booked(running, account) == []


def test_one_token_serves_all_threads_and_adapters_of_a_process(running: Provider, account: str) -> None:
    before = asked(running, "/pix-api/oauth/token")
    with ThreadPoolExecutor(64) as pool:
        made = (PixAdapter.connect(connection(running, account)) for _ in range(64))
        same = list(pool.map(lambda adapter: adapter.send(order(), within(20)), made))
    assert {(done.result, done.provider_id) for done in same} == {(Result.SETTLED, same[0].provider_id)}
    assert len(booked(running, account)) == 1
    assert asked(running, "/pix-api/oauth/token") == before + 1


def test_a_token_is_renewed_before_it_expires(running: Provider, account: str) -> None:
    running.call("POST", "/_control/tokens", {"expires_in": 2})
    adapter = PixAdapter.connect(connection(running, account))
    tokens = pix_tokens.of(f"{running.url}/pix-api", account, f"key-{account}")
    first = tokens.get(within(5))
    assert tokens.get(within(5)) is first
    time.sleep(1.7)
    before = asked(running, "/pix-api/v2/extrato")
    assert adapter.statement("", within(5)).complete
    assert tokens.get(within(5)).text != first.text
    assert asked(running, "/pix-api/v2/extrato") == before + 1


def test_a_read_is_asked_once_more_with_a_new_token_and_a_write_never(adapter: base.Adapter, running: Provider, account: str) -> None:
    running.call("DELETE", "/_control/tokens")
    assert adapter.query(order(), within(5)).result is Result.NOT_FOUND
    running.call("DELETE", "/_control/tokens")
    sent = adapter.send(order(), within(5))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, "unauthorized", True, True)
    assert booked(running, account) == []
    assert adapter.send(order(), within(5)).result is Result.SETTLED


@pytest.mark.parametrize(
    ("fault", "code"),
    [("unavailable", "unavailable"), ("disconnect_before", "disconnected"), ("timeout_before", "timeout"), ("rubbish", "invalid_response")],
)
def test_without_a_token_nothing_is_sent(running: Provider, account: str, fault: str, code: str) -> None:
    adapter = PixAdapter.connect(connection(running, account))
    running.fault(fault, on="token", count=3, seconds=2)
    started = time.monotonic()
    sent = adapter.send(order(), within(0.5))
    assert time.monotonic() - started < 0.5 + SLACK
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, code, False, code != "invalid_response")
    assert adapter.query(order(), within(0.5)).code == code
    with pytest.raises(Unreadable) as failure:
        adapter.statement("", within(0.5))
    assert failure.value.code == code
    assert booked(running, account) == []
    running.call("DELETE", "/_control")
    assert adapter.send(order(), within(5)).result is Result.SETTLED


def test_waiting_for_anothers_token_keeps_the_deadline(raw: Raw) -> None:
    server = raw(lambda server, connection: time.sleep(3))
    adapter = PixAdapter(server.url, "k", "a")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(adapter.send, order(), within(1.5))
        while not server.connections:
            time.sleep(0.01)
        started = time.monotonic()
        quick = adapter.send(order(), within(0.3))
        assert time.monotonic() - started < 0.3 + SLACK
        assert (quick.code, quick.sent) == ("timeout", False)
        assert (slow.result().code, slow.result().sent) == ("timeout", False)


TOKEN = {"access_token": "t0ken", "token_type": "Bearer", "expires_in": 3600}


@pytest.mark.parametrize(
    "answer",
    [
        *(TOKEN | change for change in ({"access_token": "a b"}, {"access_token": ""}, {"access_token": 1}, {"token_type": "mac"})),
        *(TOKEN | change for change in ({"expires_in": 0}, {"expires_in": "3600"}, {"expires_in": -1}, {"scope": 1})),
        {},
        [],
        "t0ken",
    ],
)
def test_what_is_no_token_is_not_used(raw: Raw, answer: object) -> None:
    server = raw(answering(http_answer(json.dumps(answer).encode(), 200)))
    sent = PixAdapter(server.url, "k", "a").send(order(), within(5))
    assert (sent.result, sent.code, sent.sent, sent.raw) == (Result.UNKNOWN, "invalid_response", False, b"")
    assert server.requests == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "unauthorized"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (429, "rate_limited"),
        (302, "unavailable"),
        (500, "unavailable"),
    ],
)
def test_a_token_that_is_refused_has_its_code(raw: Raw, status: int, code: str) -> None:
    sent = PixAdapter(raw(answering(http_answer(b"{}", status))).url, "k", "a").send(order(), within(5))
    assert (sent.result, sent.code, sent.sent) == (Result.UNKNOWN, code, False)


def test_a_token_with_fewer_scopes_does_not_pass_preflight(raw: Raw) -> None:
    server = raw(answering(http_answer(json.dumps(TOKEN | {"scope": "pix.read pix.write"}).encode(), 200)))
    checks = PixAdapter(server.url, "k", "a").preflight(within(5))
    assert [(check.name, check.ok) for check in checks] == [("reachable", True), ("account", True), ("scopes", False)]
    assert "dict.read, extrato.read, pix.send" in checks[-1].detail


def test_the_token_is_asked_for_as_oauth_wants_it(raw: Raw) -> None:
    seen: list[bytes] = []

    def script(server: RawServer, connection: socket.socket) -> None:
        seen.append(server.read_request(connection))
        connection.sendall(http_answer(json.dumps(TOKEN).encode(), 200))

    PixAdapter(raw(script).url, "k%y", "a:ç").send(order(), within(2))
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /oauth/token HTTP/1.1\r\n")
    assert b"authorization: basic " + base64.b64encode(b"a%3A%C3%A7:k%25y").lower() in head.lower()
    assert body == b"grant_type=client_credentials&scope=pix.send+pix.read+pix.write+dict.read+extrato.read"


# Faults at the bank.


@pytest.mark.parametrize(
    ("fault", "result", "code", "payments", "again"),
    [
        ("decline", Result.REJECTED, "declined", 1, False),
        ("accepted_then_settled", Result.ACCEPTED, "accepted", 1, False),
        ("in_two_legs", Result.ACCEPTED, "accepted", 1, False),
        ("timeout_before", Result.UNKNOWN, "timeout", 0, False),
        ("timeout_after", Result.UNKNOWN, "timeout", 1, False),
        ("unavailable", Result.UNKNOWN, "unavailable", 0, True),
        ("slow", Result.UNKNOWN, "timeout", 0, False),
        ("wrong_amount", Result.CONFLICTED, "mismatch_amount", 1, False),
        ("wrong_payee", Result.CONFLICTED, "mismatch_payee", 1, False),
        ("wrong_id", Result.CONFLICTED, "mismatch_key", 1, False),
        ("rubbish", Result.UNKNOWN, "invalid_response", 1, False),
        ("disconnect_before", Result.UNKNOWN, "disconnected", 0, False),
        ("disconnect_after", Result.UNKNOWN, "disconnected", 1, False),
    ],
)
def test_each_fault_has_its_outcome(
    adapter: base.Adapter, running: Provider, account: str, fault: str, result: Result, code: str, payments: int, again: bool
) -> None:
    running.fault(fault, seconds=2)
    started = time.monotonic()
    done = adapter.send(order(), within(0.5))
    assert time.monotonic() - started < 0.5 + SLACK
    assert (done.result, done.code, done.sent, done.again) == (result, code, True, again)
    assert len(booked(running, account)) == payments


def test_not_found_once_is_an_answer_of_now_and_not_a_proof(adapter: base.Adapter, running: Provider) -> None:
    adapter.send(order(), within(5))
    running.fault("not_found_once")
    assert [adapter.query(order(), within(5)).result for _ in range(2)] == [Result.NOT_FOUND, Result.SETTLED]


def test_an_unknown_is_decided_by_a_query(adapter: base.Adapter, running: Provider) -> None:
    running.fault("timeout_after", seconds=5)
    assert adapter.send(order(), within(0.4)).result is Result.UNKNOWN
    assert adapter.query(order(), within(5)).result is Result.SETTLED


def test_accepted_becomes_settled(adapter: base.Adapter, running: Provider) -> None:
    running.fault("accepted_then_settled", seconds=0.3)
    assert adapter.send(order(), within(5)).result is Result.ACCEPTED
    time.sleep(0.8)
    assert adapter.query(order(), within(5)).result is Result.SETTLED


@pytest.mark.parametrize(
    ("fault", "code"),
    [("rubbish", "invalid_response"), ("unavailable", "unavailable"), ("disconnect_before", "disconnected")],
)
def test_reads_that_fail_are_unreadable_and_queries_unknown(
    adapter: base.Adapter, running: Provider, account: str, fault: str, code: str
) -> None:
    e2e = adapter.send(order(), within(5)).provider_id
    assert adapter.refund(undo(payment_id=e2e), within(5)).result is Result.SETTLED
    made = running.call("POST", "/_control/deposits", {"account": account, "amount": 7, "currency": "BRL", "payer": "j@e.com"})[1]
    running.fault(fault, count=4, on="read")
    with pytest.raises(Unreadable) as failure:
        adapter.statement("", within(5))
    assert failure.value.code == code
    with pytest.raises(Unreadable):
        adapter.deposit(made["id"], within(5))
    for found in (adapter.query(order(), within(5)), adapter.query_refund(undo(payment_id=e2e), within(5))):
        assert (found.result, found.code) == (Result.UNKNOWN, code)


def test_after_kill_9_the_query_finds_the_one_pix(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    provider.open_account("a", "key-a", 10_000, api="pix")
    adapter = PixAdapter.connect(connection(provider, "a"))
    assert adapter.query(order(), within(5)).result is Result.NOT_FOUND
    provider.fault("timeout_after", seconds=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(adapter.send, order(), within(5))
        while not booked(provider, "a"):
            time.sleep(0.02)
        provider.kill()
        assert (waiting.result().result, waiting.result().sent) == (Result.UNKNOWN, True)
    down = adapter.send(order(BACK), within(2))
    assert (down.result, down.code, down.sent, down.again) == (Result.UNKNOWN, "connect_failed", False, True)
    provider.start()
    assert adapter.query(order(), within(5)).result is Result.SETTLED
    assert len(booked(provider, "a")) == 1
    provider.stop()


# Servers that behave worse than any bank.


def good(**changes: Any) -> dict[str, Any]:
    answer = {
        "idEnvio": PAYS,
        "e2eId": E2E,
        "valor": "10.50",
        "valorLiquidado": "10.50",
        "horario": {"solicitacao": "2026-01-02T15:04:05.123Z", "liquidacao": "2026-01-02T15:04:05.123Z"},
        "status": "REALIZADO",
        "pagador": {"conta": "a"},
        "favorecido": {"chave": "maria@example.com"},
        "infoPagador": "inv 7",
    }
    return answer | changes


def good_return(**changes: Any) -> dict[str, Any]:
    answer = {
        "id": BACK[:35],
        "rtrId": RTR,
        "endToEndId": E2E,
        "valor": "0.50",
        "natureza": "ORIGINAL",
        "descricao": BACK,
        "horario": {"solicitacao": "2026-01-02T15:04:05Z", "liquidacao": "2026-01-02T15:04:05Z"},
        "status": "DEVOLVIDO",
    }
    return answer | changes


def after_the_token(script: Callable[[RawServer, socket.socket], None]) -> Callable[[RawServer, socket.socket], None]:
    """A server that gives a token to the first connection, and does what the script says on that and on every other one."""
    given = threading.Event()

    def told(server: RawServer, connection: socket.socket) -> None:
        if not given.is_set():
            given.set()
            server.read_request(connection)
            connection.sendall(http_answer(json.dumps(TOKEN).encode(), 200))
        script(server, connection)

    return told


def sent_to(raw: Raw, payload: bytes, call: str = "send") -> base.Outcome:
    adapter = PixAdapter(raw(after_the_token(answering(payload))).url, "k", "a")
    found: base.Outcome = getattr(adapter, call)(order(), within(5))
    return found


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 201 X\r\nContent-Length: 60000\r\n\r\n", b"x"),
        (b"HTTP/1.1 201 X\r\n", b"X-Drop: 1\r\n"),
    ],
)
def test_a_slow_drip_does_not_extend_the_deadline(raw: Raw, head: bytes, drop: bytes) -> None:
    server = raw(after_the_token(dripping(head, drop)))
    started = time.monotonic()
    done = PixAdapter(server.url, "k", "a").send(order(), within(0.6))
    assert 0.5 < time.monotonic() - started < 0.6 + SLACK
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "timeout", True)


def test_token_and_request_share_one_deadline(raw: Raw) -> None:
    def slow(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        time.sleep(0.4)
        connection.sendall(http_answer(json.dumps(TOKEN).encode(), 200))
        server.read_request(connection)
        time.sleep(3)

    started = time.monotonic()
    done = PixAdapter(raw(slow).url, "k", "a").send(order(), within(0.7))
    assert time.monotonic() - started < 0.7 + SLACK
    assert (done.code, done.sent) == ("timeout", True)


def test_a_send_by_that_has_passed_sends_nothing(adapter: base.Adapter, running: Provider, account: str) -> None:
    done = adapter.send(order(send_by=datetime.now(UTC)), within(5))
    assert (done.result, done.code, done.sent, done.again) == (Result.UNKNOWN, "send_by_passed", False, False)
    refund = adapter.refund(undo(payment_id=E2E, send_by=datetime.now(UTC)), within(5))
    assert (refund.code, refund.sent) == ("send_by_passed", False)
    late = adapter.send(order(), time.monotonic() - 1)
    assert (late.code, late.sent) == ("pool_timeout", False)
    assert booked(running, account) == []


def test_send_by_that_passes_while_the_token_is_fetched_sends_nothing(raw: Raw) -> None:
    mine = order()
    server = raw(after_the_token(answering(http_answer(json.dumps(good()).encode()))))
    done = PixAdapter(server.url, "k", "a", lambda: mine.send_by).send(mine, within(5))
    assert (done.code, done.sent, server.requests) == ("send_by_passed", False, 1)


def test_a_stale_connection_is_not_followed_by_a_second_request(raw: Raw) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.close()

    server = raw(after_the_token(script))
    done = PixAdapter(server.url, "k", "a").send(order(), within(5))
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "disconnected", True)
    assert (server.requests, server.connections) == (2, 1)


DUPLICATE = json.dumps(good()).replace('"valor": "10.50"', '"valor": "10.50", "valor": "10.50"').encode()


@pytest.mark.parametrize(
    "payload",
    [
        http_answer(b""),
        http_answer(b"[]"),
        http_answer(b"\xff\xfe"),
        http_answer(DUPLICATE),
        *(
            http_answer(json.dumps(good(**change)).encode())
            for change in (
                {"valor": 10.5},
                {"valor": 1050},
                {"valor": "10.5"},
                {"valor": "0.00"},
                {"valor": "-10.50"},
                {"status": "realizado"},
                {"status": "DEVOLVIDO"},
                {"horario": {"solicitacao": "2026-01-02T15:04:05Z"}},
                {"horario": "2026-01-02T15:04:05Z"},
                {"horario": {"liquidacao": "2026-99-99T00:00:00Z"}},
                {"e2eId": "E1"},
                {"e2eId": RTR},
                {"e2eId": "E99999004202613021504abcDEF12345"},
                {"e2eId": None},
                {"favorecido": "maria@example.com"},
                {"infoPagador": None},
                {"txid": None},
                {"valorLiquidado": "10.49"},
                {"valorLiquidado": "10.51"},
                {"valorLiquidado": None},
                {"status": "NAO_REALIZADO", "motivo": "declined"},
                {"status": "NAO_REALIZADO", "valorLiquidado": "0.00"},
                {"status": "CANCELADO", "valorLiquidado": "10.51"},
                {"note": "x" * 70_000},
            )
        ),
        http_answer(json.dumps(good()).encode(), status=202),
        http_answer(json.dumps(good()).encode(), status=307, more="Location: /elsewhere\r\n"),
        http_answer(b"<html>", status=400),
        http_answer(b'{"code": "invalid_request"}', status=400),
    ],
)
def test_what_is_not_an_answer_is_unknown(raw: Raw, payload: bytes) -> None:
    done = sent_to(raw, payload)
    assert (done.result, done.code, done.sent, done.invalid) == (Result.UNKNOWN, "invalid_response", True, True)


def problem(status: int, name: str, *violated: str, **more: Any) -> bytes:
    found = {"type": f"https://pix.bcb.gov.br/api/v2/error/{name}", "title": "t", "status": status, "detail": "d"}
    return json.dumps(found | ({"violacoes": [{"razao": "r", "propriedade": one} for one in violated]} if violated else {}) | more).encode()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, problem(400, "PixDevolucaoInvalida", "devolucao.valor")),
        (400, problem(404, "RequisicaoInvalida")),
        (400, problem(400, "BrandNew")),
        (400, problem(400, "RequisicaoInvalida", type="https://example.com/api/v2/error/RequisicaoInvalida")),
        (404, problem(404, "PagamentoNaoEncontrado")),
        (404, problem(404, "NaoEncontrado")),
        (410, problem(410, "RequisicaoInvalida")),
    ],
)
def test_a_problem_about_something_else_proves_nothing(raw: Raw, status: int, body: bytes) -> None:
    done = sent_to(raw, http_answer(body, status))
    assert (done.result, done.code) == (Result.UNKNOWN, "invalid_response")


@pytest.mark.parametrize(("status", "code"), [(403, "unauthorized"), (429, "rate_limited"), (500, "unavailable"), (503, "unavailable")])
def test_what_speaks_of_the_caller_or_of_an_outage_proves_nothing(raw: Raw, status: int, code: str) -> None:
    for body in (problem(status, "RequisicaoInvalida"), b"{}"):
        done = sent_to(raw, http_answer(body, status))
        assert (done.result, done.code, done.again) == (Result.UNKNOWN, code, status in (429, 503))


@pytest.mark.parametrize(("status", "name"), [(400, "RequisicaoInvalida"), (409, "PagamentoConflitante")])
def test_a_refused_query_says_nothing_about_the_pix(raw: Raw, status: int, name: str) -> None:
    for call in ("query", "cancel", "capture"):
        found = sent_to(raw, http_answer(problem(status, name), status), call)
        assert (found.result, found.code, found.http_status) == (Result.UNKNOWN, "invalid_response", status)


@pytest.mark.parametrize(
    ("violated", "result"),
    [
        (("devolucao.valor",), Result.REJECTED),
        (("id",), Result.CONFLICTED),
        (("devolucao.valor", "id"), Result.CONFLICTED),
        ((), Result.UNKNOWN),
    ],
)
def test_a_refused_devolucao_is_what_its_violation_is_about(violated: tuple[str, ...], result: Result) -> None:
    assert judge_refund(400, problem(400, "PixDevolucaoInvalida", *violated), undo(), E2E).result is result


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"valor": "10.51"}, "mismatch_amount"),
        ({"valor": "10.49"}, "mismatch_amount"),
        ({"idEnvio": BACK}, "mismatch_key"),
        ({"favorecido": {"chave": "b@example.com"}}, "mismatch_payee"),
        ({"favorecido": {"chave": "Maria@Example.com"}}, "mismatch_payee"),
        ({"infoPagador": "inv 8"}, "mismatch_reference"),
        ({"txid": "abc"}, "mismatch_target"),
        ({"valor": "0.01", "valorLiquidado": "0.00", "status": "NAO_REALIZADO", "motivo": "declined"}, "mismatch_amount"),
    ],
)
def test_a_field_that_differs_is_conflicted_and_named(change: dict[str, Any], code: str) -> None:
    verdict = judge_payment(201, json.dumps(good(**change)).encode(), order())
    assert (verdict.result, verdict.code, verdict.provider_id) == (Result.CONFLICTED, code, E2E)


def test_an_instruction_in_another_currency_is_never_settled() -> None:
    assert judge_payment(201, json.dumps(good()).encode(), order(currency="USD")).code == "mismatch_currency"
    assert judge_refund(201, json.dumps(good_return()).encode(), undo(currency="USD"), E2E).code == "mismatch_currency"


def test_a_forked_child_has_its_own_token_and_connections(raw: Raw) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        while request := server.read_request(connection):
            answer = TOKEN if request.startswith(b"POST") else good()
            connection.sendall(http_answer(json.dumps(answer).encode(), 200))

    server = raw(script)
    adapter = PixAdapter(server.url, "k", "a")
    assert adapter.send(order(), within(5)).result is Result.SETTLED
    # Another thread of the parent is fetching a token at the moment of the fork, and its lock is held in the child for ever.
    tokens = pix_tokens.of(server.url, "a", "k")
    with tokens._lock:
        tokens._token = None
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if adapter.send(order(), within(3)).result is Result.SETTLED else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
    assert server.connections == 2


def test_a_deposit_of_another_account_or_id_is_unreadable(raw: Raw) -> None:
    received = {
        "endToEndId": E2E,
        "valor": "0.07",
        "horario": "2026-01-02T15:04:05Z",
        "infoPagador": "thanks",
        "pagador": {"chave": "j@e.com"},
        "recebedor": {"conta": "a"},
    }
    for change, good_one in (
        ({}, True),
        ({"endToEndId": E2E[:-1] + "x"}, False),
        ({"recebedor": {"conta": "b"}}, False),
        ({"valor": "0"}, False),
    ):
        server = raw(after_the_token(answering(http_answer(json.dumps(received | change).encode(), 200))))
        adapter = PixAdapter(server.url, "k", "a")
        if good_one:
            assert adapter.deposit(E2E, within(5)) is not None
        else:
            with pytest.raises(Unreadable) as failure:
                adapter.deposit(E2E, within(5))
            assert failure.value.code == "invalid_response"


def extrato(*lines: dict[str, Any], **changes: Any) -> bytes:
    found = {"conta": "a", "saldoInicial": "0.01", "lancamentos": lines, "saldoFinal": "-0.02", "completo": True, "cursor": "0"}
    return json.dumps(found | changes).encode()


def line(number: int, **changes: Any) -> dict[str, Any]:
    found = {"lancamento": str(number), "tipo": "PIX_ENVIADO", "valor": "-10.50", "moeda": "BRL", "horario": "2026-01-02T15:04:05Z"}
    return found | {"endToEndId": E2E, "idEnvio": PAYS, "chave": "maria@example.com"} | changes


def read_statement(raw: Raw, body: bytes) -> base.Statement:
    return PixAdapter(raw(after_the_token(answering(http_answer(body, 200)))).url, "k", "a").statement("", within(5))


def test_a_statement_that_does_not_add_up_is_given_as_the_bank_said_it(raw: Raw) -> None:
    found = read_statement(raw, extrato())
    assert (found.opening, found.closing, found.cursor) == (1, -2, "0")


def test_lines_that_are_no_pix_are_other_and_returns_of_others_have_no_key(raw: Raw) -> None:
    fee = {"lancamento": "4", "tipo": "TARIFA", "valor": "-0.01", "moeda": "BRL", "horario": "2026-01-02T15:04:05Z"}
    back = {"tipo": "DEVOLUCAO_RECEBIDA", "rtrId": RTR, "valor": "0.50", "id": BACK[:35]}
    body = extrato(line(1, **back, descricao=BACK), line(2, **back, descricao="sorry"), line(3, **back), fee, cursor="4")
    assert [(x.kind, x.key, x.provider_id, x.amount, x.party) for x in read_statement(raw, body).lines] == [
        ("refund", BACK, RTR, 50, "maria@example.com"),
        ("refund", None, RTR, 50, "maria@example.com"),
        ("refund", None, RTR, 50, "maria@example.com"),
        ("other", None, "4", -1, ""),
    ]


@pytest.mark.parametrize(
    "body",
    [
        extrato(conta="b"),
        extrato(saldoFinal="1"),
        extrato(completo=1),
        extrato(line(1), cursor="2"),
        extrato(line(2), line(1), cursor="1"),
        extrato(line(0), cursor="0"),
        extrato(line(1, valor="-10.5"), cursor="1"),
        extrato(line(1, endToEndId="E1"), cursor="1"),
        extrato(line(1, idEnvio="a-b"), cursor="1"),
        extrato(line(1, horario="yesterday"), cursor="1"),
        extrato("line", cursor="1"),  # type: ignore[arg-type]
    ],
)
def test_a_statement_that_is_none_is_unreadable(raw: Raw, body: bytes) -> None:
    with pytest.raises(Unreadable) as failure:
        read_statement(raw, body)
    assert (failure.value.code, failure.value.raw) == ("invalid_response", body)


# What an answer proves, over random answers.

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
NEAR = VALUES | st.sampled_from(
    [
        "10.50",
        "10.5",
        "0.50",
        1050,
        "REALIZADO",
        "DEVOLVIDO",
        "EM_PROCESSAMENTO",
        "NAO_REALIZADO",
        PAYS,
        PAYS.lower(),
        BACK,
        BACK[:35],
        E2E,
        RTR,
    ]
    + ["inv 7", {"chave": "maria@example.com"}, {"chave": 1}, {"liquidacao": "2026-01-02T15:04:05Z"}]
)


@settings(max_examples=400, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*good(), "txid", "motivo"]), NEAR, max_size=3),
    gone=st.sets(st.sampled_from(list(good())), max_size=1),
    status=st.sampled_from([200, 201, 202, 404, 500]),
)
def test_settled_only_when_every_field_is_equal(changes: dict[str, Any], gone: set[str], status: int) -> None:
    answer = {name: value for name, value in good(**changes).items() if name not in gone}
    verdict = judge_payment(status, json.dumps(answer).encode(), order())
    if verdict.result is Result.SETTLED:
        assert status in (200, 201)
        for name in ("idEnvio", "valor", "valorLiquidado", "infoPagador", "status"):
            assert answer[name] == good()[name]
        assert answer["favorecido"]["chave"] == "maria@example.com"
        assert "txid" not in answer
        assert "liquidacao" in answer["horario"]
    if not changes and not gone and status in (200, 201):
        assert verdict.result is Result.SETTLED


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from([*good_return(), "motivo"]), NEAR, max_size=3))
def test_a_refund_is_settled_only_when_every_field_is_equal(changes: dict[str, Any]) -> None:
    answer = good_return(**changes)
    verdict = judge_refund(201, json.dumps(answer).encode(), undo(), E2E)
    if verdict.result is Result.SETTLED:
        for name in ("id", "descricao", "endToEndId", "valor", "status"):
            assert answer[name] == good_return()[name]
    if not changes:
        assert verdict.result is Result.SETTLED


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()), status=st.integers(100, 599))
def test_random_answers_prove_nothing(body: bytes, status: int) -> None:
    assert judge_payment(status, body, order()).result is Result.UNKNOWN
    assert judge_refund(status, body, undo(), E2E).result is Result.UNKNOWN


# Webhooks.

NOW = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
WATCHER = PixAdapter("http://127.0.0.1:1", "k", "a")


def event(**changes: Any) -> dict[str, Any]:
    return {
        "endToEndId": E2E,
        "idEnvio": PAYS,
        "status": "REALIZADO",
        "valor": "10.50",
        "pagador": {"conta": "a"},
        "devolucoes": [],
    } | changes


RECEIVED = {"endToEndId": E2E[:-1] + "9", "valor": "0.07", "recebedor": {"conta": "a"}, "devolucoes": []}


def webhook(*events: Any, age: float = 0, secret: str = SECRET, body: bytes | None = None) -> tuple[dict[str, str], bytes]:
    body = json.dumps({"pix": events or [event()]}).encode() if body is None else body
    stamp = int(NOW.timestamp() - age)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(stamp)}
    return headers | {"Webhook-Signature": signature(secret, "msg_1", stamp, body)}, body


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER_SECRET, SECRET]])
def test_an_authentic_webhook_is_read(secrets: list[str]) -> None:
    [notice] = WATCHER.parse_webhook(*webhook(), secrets, NOW)
    assert (notice.id, notice.kind, notice.key, notice.provider_id) == ("msg_1:0", "payment", PAYS, E2E)


def test_one_message_holds_several_events() -> None:
    back = [{"id": BACK[:35], "rtrId": RTR, "descricao": BACK}, {"id": "other", "rtrId": RTR[:-1] + "6"}]
    notices = WATCHER.parse_webhook(*webhook(event(), event(devolucoes=back), RECEIVED), [SECRET], NOW)
    assert [(n.id, n.kind, n.key, n.provider_id) for n in notices] == [
        ("msg_1:0", "payment", PAYS, E2E),
        ("msg_1:1", "refund", BACK, RTR),
        ("msg_1:2", "refund", None, RTR[:-1] + "6"),
        ("msg_1:3", "deposit", None, E2E[:-1] + "9"),
    ]


def test_the_bank_itself_is_understood(running: Provider, inbox: Inbox) -> None:
    running.open_account("hook", "key-hook", 10_000, webhook_url=inbox.url, webhook_secret=SECRET, api="pix")
    adapter = PixAdapter.connect(connection(running, "hook"))
    running.fault("webhook_together", key=PAYS)
    adapter.send(order(), within(5))
    adapter.refund(undo(), within(5))
    inbox.wait(1)
    running.fault("webhook_twice")
    running.call("POST", "/_control/deposits", {"account": "hook", "amount": 7, "currency": "BRL", "payer": "j@e.com"})
    inbox.wait(3)
    told = [adapter.parse_webhook(headers, body, [SECRET], datetime.now(UTC)) for headers, body in inbox.events]
    assert [[(n.kind, n.key) for n in notices] for notices in told] == [[("payment", PAYS), ("refund", BACK)], *[[("deposit", None)]] * 2]
    assert told[1] == told[2]


def _refused(headers: dict[str, str], body: bytes, *secrets: str) -> None:
    with pytest.raises(WebhookRefused) as refusal:
        WATCHER.parse_webhook(headers, body, secrets or [SECRET], NOW)
    assert str(refusal.value) == "webhook refused"


@pytest.mark.parametrize("age", [301, -301])
def test_an_old_or_early_webhook_is_refused(age: int) -> None:
    _refused(*webhook(age=age))
    assert WATCHER.parse_webhook(*webhook(age=300 if age > 0 else -300), [SECRET], NOW)


def test_a_forged_or_altered_webhook_is_refused() -> None:
    headers, body = webhook()
    _refused(headers, body.replace(b"10.50", b"10.51"))
    _refused(headers | {"Webhook-Id": "msg_2"}, body)
    _refused(headers | {"Webhook-Timestamp": str(int(NOW.timestamp()) + 1)}, body)
    _refused({k: v for k, v in headers.items() if k != "Webhook-Signature"}, body)
    _refused(headers, body, OTHER_SECRET)
    with pytest.raises(WebhookRefused):
        WATCHER.parse_webhook(headers, body, [], NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"pix": []}',
        b'{"pix": {}}',
        b'{"pix": ["x"]}',
        b'{"pix": [1.5]}',
        *(
            json.dumps({"pix": [event(), one]}).encode()
            for one in (
                event(pagador={"conta": "b"}),
                event(pagador=None),
                event(endToEndId="E1"),
                event(idEnvio="a-b"),
                event(idEnvio=None),
                event(devolucoes={}),
                event(devolucoes=[1]),
                event(devolucoes=[{"rtrId": RTR}]),
                event(devolucoes=[{"rtrId": "D1", "id": "x"}]),
                RECEIVED | {"recebedor": {"conta": "b"}},
                {"valor": "1.00"},
            )
        ),
    ],
)
def test_an_authentic_webhook_that_is_not_for_us_or_not_readable_is_refused(body: bytes) -> None:
    _refused(*webhook(body=body))


@settings(max_examples=200, deadline=None)
@given(value=VALUES | st.lists(VALUES | st.builds(event, devolucoes=VALUES), max_size=3).map(lambda found: {"pix": found}))
def test_random_webhooks_are_read_or_refused(value: object) -> None:
    try:
        notices = WATCHER.parse_webhook(*webhook(body=json.dumps(value).encode()), [SECRET], NOW)
    except WebhookRefused:
        return
    assert all(notice.provider_id and notice.kind in ("payment", "refund", "deposit") for notice in notices)
