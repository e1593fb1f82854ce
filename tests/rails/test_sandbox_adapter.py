"""The sandbox adapter against a real bank process, and against raw servers that behave worse than any bank."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rails import adapters
from rails.adapters import base, exchange
from rails.adapters.base import Instruction, RefundInstruction, Result, Unreadable, WebhookRefused
from rails.adapters.sandbox import SandboxAdapter, judge_payment, judge_refund
from rails.sandbox.launch import Provider
from rails.sandbox.webhooks import signature
from tests.support.raw_servers import Raw, RawServer, answering, dripping, http_answer, within

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
SOON = timedelta(seconds=30)
SLACK = 0.5


def order(key: str = "k1", **changes: Any) -> Instruction:
    fields: dict[str, Any] = {
        "key": key,
        "amount": 1050,
        "currency": "BRL",
        "payee_type": "pix_key",
        "payee_account": "maria@example.com",
        "payee_name": "Maria",
        "reference": "inv 7",
        "send_by": datetime.now(UTC) + SOON,
    }
    return Instruction(**(fields | changes))


def undo(key: str = "r1", payment_key: str = "k1", amount: int = 50, **changes: Any) -> RefundInstruction:
    fields: dict[str, Any] = {"key": key, "payment_key": payment_key, "payment_id": None, "amount": amount, "currency": "BRL"}
    return RefundInstruction(**({"send_by": datetime.now(UTC) + SOON} | fields | changes))


@pytest.fixture
def account(running: Provider, request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub("[^A-Za-z0-9]", "", request.node.name)
    running.open_account(name, f"key-{name}", 10_000)
    yield name
    running.call("DELETE", "/_control")


@pytest.fixture
def adapter(running: Provider, account: str) -> base.Adapter:
    return adapters.adapter_for("sandbox", base.Connection(base_url=running.url, account=account, secrets={"api_key": f"key-{account}"}))


def booked(provider: Provider, account: str) -> int:
    return sum(row["account"] == account for row in provider.ledger()["payments"])


# The ordinary life of a payment.


def test_a_payment_settles_and_the_query_says_the_same(adapter: base.Adapter) -> None:
    sent = adapter.send(order(), within(5))
    assert (sent.result, sent.code, sent.sent, sent.http_status) == (Result.SETTLED, "settled", True, 201)
    asked = adapter.query(order(), within(5))
    assert (asked.result, asked.provider_id, asked.http_status) == (Result.SETTLED, sent.provider_id, 200)
    assert json.loads(asked.raw)["key"] == "k1"


def test_the_evidence_has_the_request_without_the_credentials(adapter: base.Adapter, account: str) -> None:
    sent = adapter.send(order(), within(5))
    assert sent.request.startswith(b"PUT /v1/payments/k1 HTTP/1.1\r\n")
    assert b'"amount":1050' in sent.request
    assert f"key-{account}".encode() not in sent.request
    assert json.loads(sent.raw)["id"] == sent.provider_id


def test_an_unknown_key_is_not_found(adapter: base.Adapter) -> None:
    asked = adapter.query(order(), within(5))
    assert (asked.result, asked.code, asked.sent) == (Result.NOT_FOUND, "not_found", True)


def test_a_key_used_for_something_else_is_conflicted(adapter: base.Adapter) -> None:
    adapter.send(order(), within(5))
    assert adapter.send(order(amount=1051), within(5)).result is Result.CONFLICTED
    asked = adapter.query(order(amount=1051), within(5))
    assert (asked.result, asked.code) == (Result.CONFLICTED, "mismatch_amount")


def test_insufficient_funds_is_rejected(adapter: base.Adapter) -> None:
    sent = adapter.send(order(amount=10_001), within(5))
    assert (sent.result, sent.code) == (Result.REJECTED, "declined")
    assert "insufficient_funds" in sent.reason


def test_a_request_the_bank_refuses_is_rejected(adapter: base.Adapter) -> None:
    sent = adapter.send(order(payee_account="x" * 78), within(5))
    assert (sent.result, sent.code, sent.http_status) == (Result.REJECTED, "refused", 400)


def test_a_wrong_api_key_proves_nothing(running: Provider, account: str) -> None:
    stranger = SandboxAdapter(running.url, "nobody", account)
    sent = stranger.send(order(), within(5))
    assert (sent.result, sent.code) == (Result.UNKNOWN, "unauthorized")
    assert stranger.query(order(), within(5)).code == "unauthorized"


def test_a_refund_settles_and_is_never_more_than_the_payment(adapter: base.Adapter) -> None:
    adapter.send(order(), within(5))
    done = adapter.refund(undo(), within(5))
    assert (done.result, (done.provider_id or "")[0]) == (Result.SETTLED, "D")
    assert adapter.query_refund(undo(), within(5)).provider_id == done.provider_id
    assert adapter.refund(undo(amount=51), within(5)).result is Result.CONFLICTED
    assert adapter.query_refund(undo(amount=51), within(5)).code == "mismatch_amount"
    assert adapter.refund(undo("r2", amount=1001), within(5)).result is Result.REJECTED
    assert adapter.query_refund(undo("r9"), within(5)).result is Result.NOT_FOUND


def test_a_refund_of_nothing_is_rejected(adapter: base.Adapter) -> None:
    assert adapter.refund(undo(), within(5)).code == "refused"


def test_deposits_and_the_statement_are_read(adapter: base.Adapter, running: Provider, account: str) -> None:
    deposit = {"account": account, "amount": 7, "currency": "BRL", "payer": "joão", "reference": "thanks"}
    made = running.call("POST", "/_control/deposits", deposit)[1]
    adapter.send(order(), within(5))
    found = adapter.deposit(made["id"], within(5))
    assert found is not None
    assert (found.amount, found.payer_key, found.at.utcoffset()) == (7, "joão", timedelta(0))
    assert adapter.deposit("E" + "0" * 31, within(5)) is None
    assert adapter.deposit("../secrets", within(5)) is None
    statement = adapter.statement("", within(5))
    assert [(x.id, x.kind, x.amount, x.party) for x in statement.lines] == [
        ("1", "deposit", 7, "joão"),
        ("2", "payment", -1050, "maria@example.com"),
    ]
    assert (statement.opening, statement.closing, statement.complete) == (10_000, 8957, True)
    assert adapter.statement("2", within(5)).lines == ()


def test_the_rail_key_is_one_to_one_and_in_the_banks_alphabet(adapter: base.Adapter) -> None:
    assert base.KEY.fullmatch(adapter.rail_key(bytes(range(32))))
    assert adapter.rail_key(b"\0" * 32) != adapter.rail_key(b"\0" * 31 + b"\1")
    with pytest.raises(ValueError, match="32 bytes"):
        adapter.rail_key(b"short")


def test_sixty_four_threads_share_one_adapter(adapter: base.Adapter, running: Provider, account: str) -> None:
    with ThreadPoolExecutor(64) as pool:
        same = list(pool.map(lambda _: adapter.send(order(), within(20)), range(64)))
    assert {(done.result, done.provider_id) for done in same} == {(Result.SETTLED, same[0].provider_id)}
    assert booked(running, account) == 1


@pytest.mark.parametrize("change", [{"amount": 1.5}, {"amount": True}, {"amount": 0}, {"key": "a-b"}, {"send_by": datetime(2030, 1, 1)}])
def test_an_instruction_that_cannot_be_sent_is_refused_when_it_is_made(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"amount|key|send_by"):
        order(**change)


@pytest.mark.parametrize("url", ["http://bank.example.com", "ftp://127.0.0.1", "https://u:p@bank.example.com", "x"])
def test_a_base_url_that_would_leak_the_key_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        SandboxAdapter(url, "k", "a")


def test_an_unknown_rail_names_those_there_are() -> None:
    with pytest.raises(LookupError, match="sandbox"):
        adapters.adapter_for("barter", base.Connection(base_url="http://127.0.0.1:1", account="a", secrets={"api_key": "k"}))


# Faults at the bank.


@pytest.mark.parametrize(
    ("fault", "result", "code", "payments"),
    [
        ("decline", Result.REJECTED, "declined", 1),
        ("accepted_then_settled", Result.ACCEPTED, "accepted", 1),
        ("timeout_before", Result.UNKNOWN, "timeout", 0),
        ("timeout_after", Result.UNKNOWN, "timeout", 1),
        ("unavailable", Result.UNKNOWN, "unavailable", 0),
        ("slow", Result.UNKNOWN, "timeout", 0),
        ("wrong_amount", Result.CONFLICTED, "mismatch_amount", 1),
        ("wrong_payee", Result.CONFLICTED, "mismatch_payee", 1),
        ("wrong_id", Result.CONFLICTED, "mismatch_key", 1),
        ("rubbish", Result.UNKNOWN, "invalid_response", 1),
        ("disconnect_before", Result.UNKNOWN, "disconnected", 0),
        ("disconnect_after", Result.UNKNOWN, "disconnected", 1),
    ],
)
def test_each_fault_has_its_outcome(
    adapter: base.Adapter, running: Provider, account: str, fault: str, result: Result, code: str, payments: int
) -> None:
    running.fault(fault, seconds=2)
    started = time.monotonic()
    done = adapter.send(order(), within(0.5))
    assert time.monotonic() - started < 0.5 + SLACK
    assert (done.result, done.code, done.sent) == (result, code, True)
    assert booked(running, account) == payments


def test_not_found_once_is_an_answer_of_now_and_not_a_proof(adapter: base.Adapter, running: Provider) -> None:
    adapter.send(order(), within(5))
    running.fault("not_found_once")
    assert [adapter.query(order(), within(5)).result for _ in range(2)] == [Result.NOT_FOUND, Result.SETTLED]


def test_a_slow_bank_that_is_fast_enough_settles(adapter: base.Adapter, running: Provider) -> None:
    running.fault("slow", seconds=0.3)
    assert adapter.send(order(), within(5)).result is Result.SETTLED


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
    adapter.send(order(), within(5))
    deposit = {"account": account, "amount": 7, "currency": "BRL", "payer": "joão"}
    made = running.call("POST", "/_control/deposits", deposit)[1]
    running.fault(fault, count=3, on="read")
    with pytest.raises(Unreadable) as failure:
        adapter.statement("", within(5))
    assert failure.value.code == code
    with pytest.raises(Unreadable):
        adapter.deposit(made["id"], within(5))
    asked = adapter.query(order(), within(5))
    assert (asked.result, asked.code) == (Result.UNKNOWN, code)


def test_after_kill_9_the_query_finds_the_one_payment(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    provider.open_account("a", "key", 10_000)
    adapter = SandboxAdapter(provider.url, "key", "a")
    provider.fault("timeout_after", seconds=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(adapter.send, order(), within(5))
        while not booked(provider, "a"):
            time.sleep(0.02)
        provider.kill()
        assert (waiting.result().result, waiting.result().sent) == (Result.UNKNOWN, True)
    down = adapter.send(order("k2"), within(2))
    assert (down.result, down.code, down.sent) == (Result.UNKNOWN, "connect_failed", False)
    provider.start()
    assert adapter.query(order(), within(5)).result is Result.SETTLED
    assert booked(provider, "a") == 1
    provider.stop()


# Servers that behave worse than any bank.


def good(**changes: Any) -> dict[str, Any]:
    answer = {
        "id": "E99999004202601021504abcDEF12345",
        "key": "k1",
        "status": "settled",
        "amount": 1050,
        "currency": "BRL",
        "payee": {"key": "maria@example.com"},
        "reference": "inv 7",
        "settled_at": "2026-01-02T15:04:05.123Z",
        "reason": None,
    }
    return answer | changes


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 201 X\r\nContent-Length: 60000\r\n\r\n", b"x"),
        (b"HTTP/1.1 201 X\r\n", b"X-Drop: 1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_slow_drip_does_not_extend_the_deadline(raw: Raw, head: bytes, drop: bytes) -> None:
    server = raw(dripping(head, drop))
    started = time.monotonic()
    done = SandboxAdapter(server.url, "k", "a").send(order(), within(0.6))
    assert 0.5 < time.monotonic() - started < 0.6 + SLACK
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "timeout", True)


def test_an_unreachable_address_keeps_the_deadline_and_sends_nothing() -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(full.getsockname())
        fillers.append(filler)
    started = time.monotonic()
    done = SandboxAdapter(f"http://127.0.0.1:{full.getsockname()[1]}", "k", "a").send(order(), within(0.5))
    assert time.monotonic() - started < 0.5 + SLACK
    assert (done.result, done.code, done.sent, done.raw) == (Result.UNKNOWN, "connect_failed", False, b"")
    for opened in (*fillers, full):
        opened.close()


def test_a_refused_connection_sends_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = SandboxAdapter(url, "k", "a").send(order(), within(2))
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "connect_failed", False)


def test_a_deadline_that_has_passed_sends_nothing(adapter: base.Adapter, running: Provider, account: str) -> None:
    done = adapter.send(order(), time.monotonic() - 1)
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "pool_timeout", False)
    assert booked(running, account) == 0


def test_a_send_by_that_has_passed_sends_nothing(adapter: base.Adapter, running: Provider, account: str) -> None:
    adapter.query(order(), within(5))
    done = adapter.send(order(send_by=datetime.now(UTC)), within(5))
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "send_by_passed", False)
    refund = adapter.refund(undo(send_by=datetime.now(UTC)), within(5))
    assert (refund.code, refund.sent) == ("send_by_passed", False)
    assert adapter.query(order(), within(5)).result is Result.NOT_FOUND
    assert booked(running, account) == 0


def test_send_by_is_read_at_the_write_and_not_at_the_call(raw: Raw) -> None:
    server = raw(answering(http_answer(json.dumps(good()).encode())))
    instruction = order()

    def clock() -> datetime:
        while not server.connections:
            time.sleep(0.01)
        return instruction.send_by

    done = SandboxAdapter(server.url, "k", "a", clock).send(instruction, within(5))
    assert (done.code, done.sent, server.requests) == ("send_by_passed", False, 0)


def test_send_by_that_passes_between_two_writes_is_not_called_unsent(raw: Raw) -> None:
    server = raw(answering(http_answer(json.dumps(good()).encode())))
    instruction = order()
    times = iter([instruction.send_by - SOON, instruction.send_by])
    done = SandboxAdapter(server.url, "k", "a", lambda: next(times)).send(instruction, within(5))
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "send_by_passed", True)
    assert server.requests == 0


def test_a_stale_connection_is_not_followed_by_a_second_request(raw: Raw) -> None:
    """The server answers one request, then closes the connection on the second after reading it."""

    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(http_answer(json.dumps(good()).encode()))
        server.read_request(connection)
        connection.close()

    server = raw(script)
    adapter = SandboxAdapter(server.url, "k", "a")
    assert adapter.send(order(), within(5)).result is Result.SETTLED
    second = adapter.send(order(), within(5))
    assert (second.result, second.code, second.sent) == (Result.UNKNOWN, "disconnected", True)
    assert (server.requests, server.connections) == (2, 1)


def test_an_exhausted_pool_sends_nothing(raw: Raw) -> None:
    server = raw(lambda server, connection: time.sleep(3))
    adapter = SandboxAdapter(server.url, "k", "a")
    with ThreadPoolExecutor(128) as pool:
        waiting = [pool.submit(adapter.send, order(), within(2)) for _ in range(128)]
        while server.connections < 128:
            time.sleep(0.02)
        late = adapter.send(order(), within(0.3))
        assert {done.result().code for done in waiting} == {"timeout"}
    assert (late.result, late.code, late.sent) == (Result.UNKNOWN, "pool_timeout", False)


def test_a_redirect_is_not_followed(raw: Raw) -> None:
    server = raw(answering(http_answer(b"{}", 307, "Location: /elsewhere\r\n")))
    done = SandboxAdapter(server.url, "k", "a").send(order(), within(5))
    assert (done.result, done.code, server.requests) == (Result.UNKNOWN, "invalid_response", 1)


DUPLICATE = json.dumps(good()).replace('"amount": 1050', '"amount": 1050, "amount": 1050').encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"nonsense\r\n\r\n",
        http_answer(b""),
        http_answer(b"[]"),
        http_answer(b"\xff\xfe"),
        http_answer(b"[" * 60_000),
        http_answer(DUPLICATE),
        http_answer(json.dumps(good(amount=1050.0)).encode()),
        http_answer(json.dumps(good(amount="1050")).encode()),
        http_answer(json.dumps(good(amount=True)).encode()),
        http_answer(json.dumps(good(status="SETTLED")).encode()),
        http_answer(json.dumps(good(settled_at=None)).encode()),
        http_answer(json.dumps(good(settled_at="2026-99-99T00:00:00Z")).encode()),
        http_answer(json.dumps(good(id="E1")).encode()),
        http_answer(json.dumps(good(id=None)).encode()),
        http_answer(json.dumps(good(payee="maria@example.com")).encode()),
        http_answer(json.dumps(good(note="x" * 70_000)).encode()),
        http_answer(json.dumps(good()).encode(), more="Content-Encoding: gzip\r\n"),
        http_answer(json.dumps(good()).encode(), status=204),
        http_answer(json.dumps(good()).encode(), status=202),
        http_answer(b'{"code": "not_found"}', status=404),
        http_answer(b'{"code": "brand_new"}', status=422),
        http_answer(b"<html>", status=400),
    ],
)
def test_what_is_not_an_answer_is_unknown(raw: Raw, payload: bytes) -> None:
    done = SandboxAdapter(raw(answering(payload)).url, "k", "a").send(order(), within(5))
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "invalid_response", True)
    assert len(done.raw) <= exchange.LARGEST_BODY


@pytest.mark.parametrize(("status", "code"), [(400, "invalid_request"), (409, "conflict"), (422, "payment_not_settled")])
def test_a_refused_query_says_nothing_about_the_payment(raw: Raw, status: int, code: str) -> None:
    server = raw(answering(http_answer(json.dumps({"code": code}).encode(), status)))
    asked = SandboxAdapter(server.url, "k", "a").query(order(), within(5))
    assert (asked.result, asked.code, asked.http_status) == (Result.UNKNOWN, "invalid_response", status)


def test_an_answer_cut_short_is_unknown_and_kept(raw: Raw) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(http_answer(json.dumps(good()).encode())[:-20])
        connection.close()

    done = SandboxAdapter(raw(script).url, "k", "a").send(order(), within(5))
    assert (done.result, done.code) == (Result.UNKNOWN, "disconnected")
    assert done.raw.startswith(b'{"id"')


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 1051}, "mismatch_amount"),
        ({"currency": "USD"}, "mismatch_currency"),
        ({"key": "k2"}, "mismatch_key"),
        ({"payee": {"key": "b@example.com"}}, "mismatch_payee"),
        ({"reference": "inv 8"}, "mismatch_reference"),
        ({"amount": 1, "status": "rejected", "reason": "declined"}, "mismatch_amount"),
    ],
)
def test_a_field_that_differs_is_conflicted_and_named(change: dict[str, Any], code: str) -> None:
    verdict = judge_payment(201, json.dumps(good(**change)).encode(), order())
    assert (verdict.result, verdict.code) == (Result.CONFLICTED, code)


def test_a_statement_that_does_not_add_up_is_given_as_the_bank_said_it(raw: Raw) -> None:
    body = json.dumps({"account": "a", "opening": 1, "lines": [], "closing": 2, "complete": True}).encode()
    found = SandboxAdapter(raw(answering(http_answer(body, 200))).url, "k", "a").statement("", within(5))
    assert (found.opening, found.closing) == (1, 2)


def test_a_forked_child_opens_its_own_connections(raw: Raw) -> None:
    server = raw(answering(http_answer(json.dumps(good()).encode())))
    adapter = SandboxAdapter(server.url, "k", "a")
    assert adapter.send(order(), within(5)).result is Result.SETTLED
    child = os.fork()
    if child == 0:
        os._exit(0 if adapter.send(order(), within(5)).result is Result.SETTLED else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert server.connections == 2


# What an answer proves, over random answers.

NAMES = ["id", "key", "status", "amount", "currency", "payee", "reference", "settled_at", "reason", "payment", "at"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
NEAR = VALUES | st.sampled_from(
    [1050, 1050.0, "1050", "settled", "accepted", "k1", "K1", "BRL", "inv 7", {"key": "maria@example.com"}, {"key": 1}]
)
CHANGES = st.dictionaries(st.sampled_from(NAMES), NEAR, max_size=3)


def proves(answer: dict[str, Any], fields: dict[str, Any]) -> bool:
    return all(type(answer.get(name)) is type(value) and answer[name] == value for name, value in fields.items())


@settings(max_examples=400, deadline=None)
@given(changes=CHANGES, gone=st.sets(st.sampled_from(NAMES), max_size=1), status=st.sampled_from([200, 201, 202, 404, 500]))
def test_settled_only_when_every_field_is_equal(changes: dict[str, Any], gone: set[str], status: int) -> None:
    answer = {name: value for name, value in good(**changes).items() if name not in gone}
    verdict = judge_payment(status, json.dumps(answer).encode(), order())
    wanted = {name: good()[name] for name in ("key", "amount", "currency", "reference", "status")}
    equal = proves(answer, wanted) and isinstance(answer.get("payee"), dict)
    if verdict.result is Result.SETTLED:
        assert status in (200, 201)
        assert equal
        assert answer["payee"]["key"] == "maria@example.com"
    if not changes and not gone and status in (200, 201):
        assert verdict.result is Result.SETTLED


@settings(max_examples=200, deadline=None)
@given(changes=CHANGES)
def test_a_refund_is_settled_only_when_every_field_is_equal(changes: dict[str, Any]) -> None:
    sure = {"key": "r1", "payment": "k1", "amount": 50, "currency": "BRL", "status": "settled"}
    answer = {"id": "D99999004202601021504abcDEF12345", "at": "2026-01-02T15:04:05Z"} | sure | changes
    if judge_refund(201, json.dumps(answer).encode(), undo()).result is Result.SETTLED:
        assert proves(answer, sure)


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()), status=st.integers(100, 599))
def test_random_answers_prove_nothing(body: bytes, status: int) -> None:
    assert judge_payment(status, body, order()).result is Result.UNKNOWN


# Webhooks.

NOW = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
WATCHER = SandboxAdapter("http://127.0.0.1:1", "k", "a")


def webhook(age: float = 0, secret: str = SECRET, **changes: Any) -> tuple[dict[str, str], bytes]:
    event = {"type": "payment.settled", "account": "a", "data": good()} | changes
    body, stamp = json.dumps(event).encode(), int(NOW.timestamp() - age)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(stamp)}
    return headers | {"Webhook-Signature": signature(secret, "msg_1", stamp, body)}, body


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER_SECRET, SECRET]])
def test_an_authentic_webhook_is_read(secrets: list[str]) -> None:
    [notice] = WATCHER.parse_webhook(*webhook(), secrets, NOW)
    assert (notice.id, notice.kind, notice.key, notice.provider_id) == ("msg_1", "payment", "k1", good()["id"])


def test_one_good_signature_among_several_is_enough() -> None:
    headers, body = webhook()
    headers["Webhook-Signature"] = "v1a,AAAA v1,AAAA= " + headers["Webhook-Signature"] + " v1,ü"
    assert WATCHER.parse_webhook(headers, body, [SECRET], NOW)[0].id == "msg_1"


def test_the_bank_itself_is_understood(running: Provider) -> None:
    received: list[tuple[dict[str, str], bytes]] = []

    def script(server: RawServer, connection: socket.socket) -> None:
        head, _, body = server.read_request(connection).partition(b"\r\n\r\n")
        lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
        received.append(({name: value for name, _, value in lines}, body))
        connection.sendall(http_answer(b"", 204))

    server = RawServer(script)
    running.open_account("hook", "key-hook", 10_000, webhook_url=server.url, webhook_secret=SECRET)
    adapter = SandboxAdapter(running.url, "key-hook", "hook")
    adapter.send(order(), within(5))
    adapter.refund(undo(), within(5))
    running.call("POST", "/_control/deposits", {"account": "hook", "amount": 7, "currency": "BRL", "payer": "joão"})
    until = time.monotonic() + 5
    while len(received) < 3 and time.monotonic() < until:
        time.sleep(0.02)
    server.close()
    notices = [notice for headers, body in received for notice in adapter.parse_webhook(headers, body, [SECRET], datetime.now(UTC))]
    assert {(n.kind, n.key) for n in notices} == {("payment", "k1"), ("refund", "r1"), ("deposit", None)}


def _refused(headers: dict[str, str], body: bytes, *secrets: str) -> None:
    with pytest.raises(WebhookRefused) as refusal:
        WATCHER.parse_webhook(headers, body, secrets or [SECRET], NOW)
    assert str(refusal.value) == "webhook refused"


@pytest.mark.parametrize("age", [301, -301])
def test_an_old_or_early_webhook_is_refused(age: int) -> None:
    _refused(*webhook(age))


@pytest.mark.parametrize("age", [300, -300])
def test_three_hundred_seconds_are_still_fresh(age: int) -> None:
    assert WATCHER.parse_webhook(*webhook(age), [SECRET], NOW)


def test_a_tampered_webhook_is_refused() -> None:
    headers, body = webhook()
    _refused(headers, body.replace(b"1050", b"1051"))
    _refused(headers | {"Webhook-Id": "msg_2"}, body)
    _refused(headers | {"Webhook-Timestamp": str(int(NOW.timestamp()) + 1)}, body)
    _refused(headers, body, OTHER_SECRET)
    with pytest.raises(WebhookRefused):
        WATCHER.parse_webhook(headers, body, [], NOW)


@pytest.mark.parametrize("name", ["Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"])
@pytest.mark.parametrize("value", [None, "", "\u0661", "1e3", "-1", "v1,", "x" * 9000, "\ud800"])
def test_a_missing_or_malformed_header_is_refused(name: str, value: str | None) -> None:
    headers, body = webhook()
    _refused({k: v for k, v in headers.items() if k != name} | ({} if value is None else {name: value}), body)


@pytest.mark.parametrize(
    "change",
    [{"type": "payment.imagined"}, {"account": "b"}, {"data": []}, {"data": good(key=1.5)}, {"data": good(id="x")}],
)
def test_an_authentic_webhook_that_is_not_for_us_or_not_readable_is_refused(change: dict[str, Any]) -> None:
    _refused(*webhook(**change))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!", SECRET.removeprefix("whsec_")])
def test_a_secret_that_is_none_is_a_mistake_of_ours(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        WATCHER.parse_webhook(*webhook(), [secret], NOW)
