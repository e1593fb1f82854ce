"""The wire adapter against the bank, over HTTP and through folders, and against raw servers that behave worse than any bank."""

from __future__ import annotations

import base64
import hashlib
import pathlib
import re
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rails import adapters
from rails.adapters import base, digests
from rails.adapters.base import Instruction, NotSendable, RefundInstruction, Result, Unreadable, WebhookRefused
from rails.adapters.wire import WireAdapter
from rails.adapters.wire_answers import judge_payment, judge_refund, judge_stop
from rails.iso20022 import words
from rails.sandbox import wire_shapes
from rails.sandbox.launch import Provider
from rails.sandbox.webhooks import signature
from tests.support.inbox import Inbox
from tests.support.raw_servers import Raw, answering, dripping, http_answer, within

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"fedcba9876543210fedcba9876543210").decode()
SOON, SLACK = timedelta(seconds=30), 0.5
PAYS, BACK = digests.base62(b"p" * 32), digests.base62(b"r" * 32)
PAYEE, ELSE = "DE89370400440532013000/COBADEFFXXX", "GB33BUKB20201555555555"
E2E = "E99999004202601021504abcDEF12345"
RTR = "D99999004202601021504abcDEF12345"


def order(key: str = PAYS, **changes: Any) -> Instruction:
    fields: dict[str, Any] = {
        "key": key,
        "amount": 1050,
        "currency": "EUR",
        "payee_type": "iban",
        "payee_account": PAYEE,
        "payee_name": "José Müller",
        "reference": "inv_7",
        "send_by": datetime.now(UTC) + SOON,
    }
    return Instruction(**(fields | changes))


def undo(key: str = BACK, amount: int = 1050, **changes: Any) -> RefundInstruction:
    fields: dict[str, Any] = {"key": key, "payment_key": PAYS, "payment_id": None, "amount": amount, "currency": "EUR"}
    return RefundInstruction(**({"send_by": datetime.now(UTC) + SOON} | fields | changes))


def control(provider: Provider, what: str = "", **body: Any) -> Any:
    status, answer = provider.call("POST", f"/_control/wire{what}", body)
    assert status == 200, answer
    return answer


_numbers = iter(range(10**6))


@pytest.fixture
def account(running: Provider) -> Iterator[str]:
    name = f"a{next(_numbers)}"
    running.open_account(name, f"key-{name}", 10_000, api="wire", currency="EUR")
    control(running, settle_seconds=0.3, recall_seconds=0.3, recalls="accept", drop=name)
    control(running, settle_seconds=0.3, recall_seconds=0.3, recalls="accept")
    yield name
    running.call("DELETE", "/_control")


@pytest.fixture(params=["http", "folders"])
def adapter(running: Provider, account: str, request: pytest.FixtureRequest) -> base.Adapter:
    url = f"{running.url}/wire-api" if request.param == "http" else f"file://{running.folder / 'data' / 'drop'}"
    found = adapters.adapter_for("wire", base.Connection(base_url=url, account=account, secrets={"api_key": f"key-{account}"}))
    until = time.monotonic() + 5
    while not all(check.ok for check in found.preflight(within(5))):
        assert time.monotonic() < until, "the bank has not written a statement"
        time.sleep(0.05)
    return found


@pytest.fixture
def folders(running: Provider, account: str) -> pathlib.Path:
    return running.folder / "data" / "drop" / account


@pytest.fixture
def dropped(running: Provider, account: str, folders: pathlib.Path) -> WireAdapter:
    return WireAdapter(f"file://{folders.parent}", "k", account)


def booked(provider: Provider, account: str, kind: str = "payments") -> list[dict[str, Any]]:
    return [row for row in provider.ledger()[kind] if row["account"] == account]


def of_account(account: str) -> str:
    """A key that no other test has: what is late in one test does not meet another's fault."""
    return digests.base62(hashlib.sha256(account.encode()).digest())


def becomes(result: Result, ask: Callable[[], base.Outcome], seconds: float = 6) -> base.Outcome:
    until = time.monotonic() + seconds
    while (found := ask()).result is not result:
        assert time.monotonic() < until, f"still {found}"
        time.sleep(0.05)
    return found


def settled(adapter: base.Adapter, mine: Instruction) -> base.Outcome:
    adapter.send(mine, within(5))
    return becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))


# The ordinary life of a wire, over both ways to the bank.


def test_a_wire_is_accepted_and_settles_later(adapter: base.Adapter, running: Provider, account: str) -> None:
    mine = order()
    sent = adapter.send(mine, within(5))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.ACCEPTED, "accepted", True, False)
    found = becomes(Result.SETTLED, lambda: adapter.query(order(provider_id=sent.provider_id), within(5)))
    assert found.provider_id == sent.provider_id
    [row] = booked(running, account)
    assert (row["key"], row["amount"], row["payee"], row["reference"]) == (PAYS[:35], 1050, {"key": PAYEE}, "inv-7")


def test_the_same_order_twice_is_one_transfer(adapter: base.Adapter, running: Provider, account: str) -> None:
    mine = order()
    first = adapter.send(mine, within(5))
    again = adapter.send(mine, within(5))
    assert again.result in (Result.ACCEPTED, Result.SETTLED)
    assert (again.provider_id, again.sent) == (first.provider_id, True)
    assert len(booked(running, account)) == 1
    assert becomes(Result.SETTLED, lambda: adapter.query(mine, within(5))).provider_id == first.provider_id


def test_an_unknown_key_is_not_found(adapter: base.Adapter) -> None:
    assert adapter.query(order(), within(5)).result is Result.NOT_FOUND
    assert adapter.query_refund(undo(), within(5)).result is Result.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": 1051}, "mismatch_amount"),
        ({"currency": "USD"}, "mismatch_currency"),
        ({"payee_account": ELSE}, "mismatch_payee"),
        ({"reference": "inv_8"}, "mismatch_reference"),
        ({"provider_id": E2E}, "mismatch_id"),
    ],
)
def test_an_answer_to_something_else_is_conflicted(adapter: base.Adapter, change: dict[str, Any], code: str) -> None:
    adapter.send(order(), within(5))
    found = adapter.query(order(**change), within(5))
    assert (found.result, found.code, found.invalid) == (Result.CONFLICTED, code, True)


def test_a_key_that_shares_an_id_with_another_is_a_conflict(adapter: base.Adapter) -> None:
    adapter.send(order(), within(5))
    twin = PAYS[:42] + ("0" if PAYS[42] != "0" else "1")
    found = adapter.query(order(twin), within(5))
    assert (found.result, found.code) == (Result.CONFLICTED, "mismatch_key")


def test_too_little_money_is_rejected_with_its_reason(adapter: base.Adapter) -> None:
    mine = order(amount=10_001)
    sent = adapter.send(mine, within(5))
    assert (sent.result, sent.code, "AM04" in sent.reason) == (Result.REJECTED, "declined", True)
    assert adapter.query(mine, within(5)).result is Result.REJECTED


def test_another_currency_than_the_accounts_is_rejected(adapter: base.Adapter) -> None:
    sent = adapter.send(order(currency="JPY", amount=10), within(5))
    assert (sent.result, "AM03" in sent.reason) == (Result.REJECTED, True)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"payee_account": "DE89370400440532013001"}, "payee_malformed"),
        ({"payee_account": f"{PAYEE}X"}, "payee_malformed"),
        ({"payee_account": "DE89 3704 0044 0532 0130 00"}, "payee_malformed"),
        ({"payee_type": "pix_key"}, "account_type_unsupported"),
        ({"payee_name": "株式会社"}, "name_unwritable"),
        ({"reference": "x" * 141}, "reference_unwritable"),
        ({"currency": "XAU"}, "currency_unsupported"),
        ({"target": "x"}, "target_unsupported"),
    ],
)
def test_what_a_wire_cannot_carry_is_said_and_not_sent(
    adapter: base.Adapter, running: Provider, account: str, change: dict[str, Any], code: str
) -> None:
    with pytest.raises(NotSendable) as refusal:
        adapter.prepare(order(**change), within(5))
    assert refusal.value.code == code
    assert len(str(refusal.value).split()) >= 4
    sent = adapter.send(order(**change), within(5))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, code, False, False)
    assert booked(running, account) == []


def test_the_bank_holds_settles_and_rejects(adapter: base.Adapter, running: Provider, account: str) -> None:
    control(running, settle_seconds=600)
    mine, other = order(), order(digests.base62(b"o" * 32))
    adapter.send(mine, within(5))
    adapter.send(other, within(5))
    control(running, "/payments", account=account, id=PAYS[:35], do="hold")
    assert becomes(Result.ACCEPTED, lambda: adapter.query(mine, within(5))).result is Result.ACCEPTED
    control(running, "/payments", account=account, id=PAYS[:35], do="settle")
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))
    control(running, "/payments", account=account, id=other.key[:35], do="reject", code="AC04")
    assert "AC04" in becomes(Result.REJECTED, lambda: adapter.query(other, within(5))).reason


# The way back.


def test_what_has_not_settled_is_stopped(adapter: base.Adapter, running: Provider, account: str) -> None:
    control(running, settle_seconds=600)
    mine = order()
    adapter.send(mine, within(5))
    stopped = adapter.cancel(mine, within(5))
    assert (stopped.result, stopped.moved) == (Result.CANCELED, 0)
    assert becomes(Result.CANCELED, lambda: adapter.query(mine, within(5))).moved == 0
    assert adapter.cancel(order(), within(5)).result is Result.CANCELED
    assert running.ledger()["balances"][account] == 10_000


def test_a_recall_that_waits_is_accepted_and_then_said(adapter: base.Adapter, running: Provider, account: str) -> None:
    control(running, settle_seconds=600, recalls="wait")
    mine = order()
    adapter.send(mine, within(5))
    assert adapter.cancel(mine, within(5)).code == "recall_asked"
    [asked] = [row["id"] for row in booked(running, account, "messages") if row["kind"] == "recall"]
    control(running, "/recalls", account=account, id=asked, do="accept")
    becomes(Result.CANCELED, lambda: adapter.query(mine, within(5)))


def test_a_recall_that_is_refused_lets_the_transfer_settle(adapter: base.Adapter, running: Provider) -> None:
    control(running, recalls="refuse", settle_seconds=1)
    mine = order()
    adapter.send(mine, within(5))
    refused = adapter.cancel(mine, within(5))
    assert (refused.result, refused.code) == (Result.ACCEPTED, "recall_refused")
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))


def test_what_has_settled_is_not_stopped_and_stays_settled(adapter: base.Adapter, running: Provider, account: str) -> None:
    mine = order()
    settled(adapter, mine)
    assert adapter.cancel(mine, within(5)).result is Result.SETTLED
    assert booked(running, account, "refunds") == []


def test_a_return_is_accepted_and_settled_once_it_is_booked(adapter: base.Adapter, running: Provider, account: str) -> None:
    mine, back = order(), undo()
    settled(adapter, mine)
    control(running, recall_seconds=600)
    asked = adapter.refund(back, within(5))
    assert (asked.result, asked.provider_id) == (Result.ACCEPTED, None)
    assert adapter.query_refund(back, within(5)).result is Result.ACCEPTED
    assert running.ledger()["balances"][account] == 8_950
    control(running, "/recalls", account=account, id=BACK[:35], do="book")
    done = becomes(Result.SETTLED, lambda: adapter.query_refund(back, within(5)))
    assert done.provider_id == booked(running, account, "refunds")[0]["id"]
    assert running.ledger()["balances"][account] == 10_000


def test_a_return_that_is_refused_is_rejected(adapter: base.Adapter, running: Provider, account: str) -> None:
    settled(adapter, order())
    control(running, recalls="refuse")
    refused = adapter.refund(undo(), within(5))
    assert (refused.result, refused.code, "CUST" in refused.reason) == (Result.REJECTED, "declined", True)
    assert booked(running, account, "refunds") == []


def test_a_return_that_the_payees_bank_refuses_later_is_rejected(adapter: base.Adapter, running: Provider, account: str) -> None:
    settled(adapter, order())
    control(running, recall_seconds=600)
    back = undo()
    assert adapter.refund(back, within(5)).result is Result.ACCEPTED
    control(running, "/recalls", account=account, id=BACK[:35], do="refuse", code="LEGL")
    assert "LEGL" in becomes(Result.REJECTED, lambda: adapter.query_refund(back, within(5))).reason


def test_a_part_or_a_second_return_is_rejected(adapter: base.Adapter, running: Provider, account: str) -> None:
    settled(adapter, order())
    part = adapter.refund(undo(amount=50), within(5))
    assert (part.result, "NOOR" in part.reason) == (Result.REJECTED, True)
    second, third = digests.base62(b"2" * 32), digests.base62(b"3" * 32)
    back = undo(second)
    adapter.refund(back, within(5))
    becomes(Result.SETTLED, lambda: adapter.query_refund(back, within(5)))
    assert adapter.refund(undo(third), within(5)).result is Result.REJECTED
    assert running.ledger()["balances"][account] == 10_000


def test_a_return_of_nothing_is_rejected(adapter: base.Adapter) -> None:
    assert adapter.refund(undo(), within(5)).result is Result.REJECTED
    assert adapter.cancel(order(), within(5)).result is Result.NOT_FOUND


def test_half_of_a_transfer_cannot_be_stopped(adapter: base.Adapter, running: Provider, account: str) -> None:
    running.fault("in_two_legs", seconds=1)
    mine = order()
    adapter.send(mine, within(5))
    assert adapter.cancel(mine, within(5)).result is Result.ACCEPTED
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))


# Deposits and the statement.


def test_deposits_and_the_statement_are_read(adapter: base.Adapter, running: Provider, account: str) -> None:
    paid_in = {"account": account, "amount": 7, "currency": "EUR", "payer": ELSE, "reference": "thanks"}
    made = running.call("POST", "/_control/deposits", paid_in)[1]
    paid = settled(adapter, order()).provider_id
    back = undo()
    adapter.refund(back, within(5))
    returned = becomes(Result.SETTLED, lambda: adapter.query_refund(back, within(5))).provider_id
    until = time.monotonic() + 5
    while len((found := adapter.statement("", within(5))).lines) < 3:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [(x.id, x.kind, x.provider_id, x.key, x.amount, x.currency, x.party) for x in found.lines] == [
        ("1", "deposit", made["id"], None, 7, "EUR", ELSE),
        ("2", "payment", paid, PAYS, -1050, "EUR", PAYEE),
        ("3", "refund", returned, BACK, 1050, "EUR", PAYEE),
    ]
    assert (found.opening, found.closing, found.complete, found.cursor) == (10_000, 10_007, True, "3")
    rest = adapter.statement("1", within(5))
    assert ([x.id for x in rest.lines], rest.opening, rest.closing) == (["2", "3"], 10_007, 10_007)
    assert adapter.statement("3", within(5)).lines == ()
    deposit = adapter.deposit(made["id"], within(5))
    assert deposit is not None
    assert (deposit.amount, deposit.currency, deposit.payer_key, deposit.reference) == (7, "EUR", ELSE, "thanks")
    assert adapter.deposit(E2E, within(5)) is None
    assert adapter.deposit("../secrets", within(5)) is None
    with pytest.raises(Unreadable):
        adapter.deposit(str(paid), within(5))


def test_long_statements_are_read_in_parts(adapter: base.Adapter, running: Provider, account: str) -> None:
    for _ in range(51):
        running.call("POST", "/_control/deposits", {"account": account, "amount": 1, "currency": "EUR", "payer": ELSE})
    until = time.monotonic() + 5
    lines: list[base.StatementLine] = []
    while len(lines) < 51:
        assert time.monotonic() < until
        lines, cursor, closing, complete = [], "", None, False
        while not complete:
            page = adapter.statement(cursor, within(5))
            assert closing in (None, page.opening)
            assert page.opening is not None and page.closing == page.opening + len(page.lines)
            lines, cursor, closing, complete = [*lines, *page.lines], page.cursor, page.closing, page.complete
    assert ([line.id for line in lines], cursor, closing) == ([str(n) for n in range(1, 52)], "51", 10_051)


def test_a_falsified_statement_is_read_as_it_is(adapter: base.Adapter, running: Provider, account: str) -> None:
    settled(adapter, order())
    edits: list[dict[str, Any]] = [
        {"edit": "payee", "payee": "eve"},
        {"edit": "currency", "currency": "USD"},
        {"edit": "amount", "amount": -7},
    ]
    edits.append({"edit": "add", "key": "k9", "amount": -5, "currency": "EUR", "payee": "eve", "at": "2026-01-01T00:00:00Z"})
    for edit in edits:
        key = edit.pop("key", PAYS[:35])
        assert running.call("POST", "/_control/statement", {"account": account, "key": key, **edit})[0] == 200
    until = time.monotonic() + 5
    while len(found := adapter.statement("", within(5)).lines) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [(x.kind, x.key, x.amount, x.currency, x.party) for x in found] == [
        ("payment", PAYS, -7, "USD", "eve"),
        ("other", None, -5, "EUR", "eve"),
    ]


def test_a_gap_in_the_statement_is_given_as_the_bank_said_it(adapter: base.Adapter, running: Provider, account: str) -> None:
    running.fault("statement_gap", key=account)
    running.call("POST", "/_control/deposits", {"account": account, "amount": 1, "currency": "EUR", "payer": ELSE})
    until = time.monotonic() + 5
    while not (found := adapter.statement("", within(5))).lines:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert (found.opening, found.closing) == (10_000, 10_002)


# Faults at the bank, over both ways.


@pytest.mark.parametrize(
    ("fault", "result", "code", "payments"),
    [
        ("decline", Result.REJECTED, "declined", 1),
        ("accepted_then_settled", Result.ACCEPTED, "accepted", 1),
        ("in_two_legs", Result.ACCEPTED, "accepted", 1),
        ("wrong_amount", Result.CONFLICTED, "mismatch_amount", 1),
        ("wrong_payee", Result.CONFLICTED, "mismatch_payee", 1),
        ("wrong_id", Result.CONFLICTED, "mismatch_key", 1),
        ("rubbish", Result.UNKNOWN, "invalid_response", 1),
        ("timeout_before", Result.UNKNOWN, "timeout|waiting", 0),
        ("timeout_after", Result.UNKNOWN, "timeout|waiting", 1),
        ("slow", Result.UNKNOWN, "timeout|waiting", 0),
        ("unavailable", Result.UNKNOWN, "unavailable|waiting", 0),
        ("disconnect_before", Result.UNKNOWN, "disconnected|waiting", 0),
        ("disconnect_after", Result.UNKNOWN, "disconnected|waiting", 1),
    ],
)
def test_each_fault_has_its_outcome(
    adapter: base.Adapter, running: Provider, account: str, fault: str, result: Result, code: str, payments: int
) -> None:
    control(running, settle_seconds=600)
    key = of_account(account)
    running.fault(fault, seconds=2, key=key[:35])
    started = time.monotonic()
    done = adapter.send(order(key), within(1))
    assert time.monotonic() - started < 1 + SLACK
    assert (done.result, done.sent) == (result, True)
    assert re.fullmatch(code, done.code), done
    assert len(booked(running, account)) == payments


@pytest.mark.parametrize(
    ("fault", "result", "code", "asked"),
    [
        ("decline", Result.REJECTED, "declined", 1),
        ("wrong_amount", Result.CONFLICTED, "mismatch_amount", 1),
        ("wrong_id", Result.CONFLICTED, "mismatch_payment", 1),
        ("rubbish", Result.UNKNOWN, "invalid_response", 1),
        ("timeout_before", Result.UNKNOWN, "timeout|waiting", 0),
        ("timeout_after", Result.UNKNOWN, "timeout|waiting", 1),
        ("disconnect_after", Result.UNKNOWN, "disconnected|waiting", 1),
    ],
)
def test_each_fault_has_its_outcome_for_a_return(
    adapter: base.Adapter, running: Provider, account: str, fault: str, result: Result, code: str, asked: int
) -> None:
    settled(adapter, order())
    control(running, recall_seconds=600)
    key = of_account(account)
    running.fault(fault, seconds=2, key=key[:35])
    done = adapter.refund(undo(key), within(1))
    assert (done.result, done.sent) == (result, True)
    assert re.fullmatch(code, done.code), done
    assert len(booked(running, account, "refunds")) == asked


@pytest.mark.parametrize("fault", ["timeout_after", "rubbish", "wrong_amount", "slow"])
def test_an_unknown_is_decided_by_a_query(adapter: base.Adapter, running: Provider, account: str, fault: str) -> None:
    # What becomes of it is news, which is told at once: not while we still wait.
    control(running, settle_seconds=2)
    mine = order(of_account(account))
    running.fault(fault, seconds=1, key=mine.key[:35])
    assert adapter.send(mine, within(0.4)).result is not Result.SETTLED
    if fault == "slow":
        time.sleep(1.2)
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))


def test_not_found_once_is_an_answer_of_now_and_not_a_proof(adapter: base.Adapter, running: Provider) -> None:
    running.fault("not_found_once", key=PAYS[:35])
    mine = order()
    adapter.send(mine, within(5))
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))


# Preflight and addresses.


def test_preflight_says_what_holds(running: Provider, account: str) -> None:
    stranger = WireAdapter(f"{running.url}/wire-api", "wrong", account)
    assert [(check.name, check.ok) for check in stranger.preflight(within(5))] == [("reachable", True), ("account", False)]
    nobody = WireAdapter(f"file://{running.folder}/nowhere", "k", account)
    assert [(check.name, check.ok) for check in nobody.preflight(within(5))] == [("reachable", False), ("account", False)]
    sent = stranger.send(order(), within(5))
    assert (sent.result, sent.code) == (Result.UNKNOWN, "unauthorized")


@pytest.mark.parametrize(
    ("url", "account"),
    [("http://192.0.2.1", "a"), ("ftp://x", "a"), ("file://host/x", "a"), ("file:x", "a"), ("file:///x?y", "a"), ("file:///x", "../a")]
    + [("file:///x", "a/b"), ("file:///x", ".a"), ("http://127.0.0.1", "x" * 35), ("http://127.0.0.1", "")],
)
def test_an_address_or_account_that_cannot_be_used_is_refused(url: str, account: str) -> None:
    with pytest.raises(ValueError):
        WireAdapter(url, "k", account)


def test_the_rail_key_is_one_to_one() -> None:
    made = WireAdapter("http://127.0.0.1:1", "k", "a")
    keys = [made.rail_key(digest) for digest in (b"\0" * 32, b"\0" * 31 + b"\1", b"\xff" * 32)]
    assert keys[:2] == ["0" * 43, "0" * 42 + "1"]
    assert all(re.fullmatch("[0-9A-Za-z]{43}", key) for key in keys)
    with pytest.raises(ValueError, match="32 bytes"):
        made.rail_key(b"short")


# Only over HTTP.


def test_the_evidence_has_the_request_without_the_credentials(running: Provider, account: str) -> None:
    sent = WireAdapter(f"{running.url}/wire-api", f"key-{account}", account).send(order(), within(5))
    assert sent.request.startswith(b"POST /wire-api/messages HTTP/1.1\r\n")
    assert b"Idempotency-Key: " + PAYS[:35].encode() in sent.request
    assert b"Bearer" not in sent.request
    assert b"<MsgId>" + PAYS[:35].encode() in sent.request
    rows = [row for row in running.ledger()["requests"] if row["idempotency_key"] == PAYS[:35]]
    assert rows and rows[-1]["path"] == "/wire-api/messages"


def test_other_bytes_under_one_id_are_a_conflict(running: Provider, account: str) -> None:
    adapter = WireAdapter(f"{running.url}/wire-api", f"key-{account}", account)
    adapter.send(order(), within(5))
    done = adapter.send(order(amount=1051), within(5))
    assert (done.result, done.http_status) == (Result.CONFLICTED, 409)
    assert adapter.query(order(), within(5)).result in (Result.ACCEPTED, Result.SETTLED)


def test_a_send_by_that_has_passed_sends_nothing(adapter: base.Adapter, running: Provider, account: str) -> None:
    done = adapter.send(order(send_by=datetime.now(UTC)), within(5))
    assert (done.result, done.code, done.sent, done.again) == (Result.UNKNOWN, "send_by_passed", False, False)
    late = adapter.send(order(), time.monotonic() - 1)
    assert (late.code, late.sent) == ("pool_timeout", False)
    assert booked(running, account) == []


def test_after_kill_9_the_query_finds_the_one_wire(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    provider.open_account("a", "key-a", 10_000, api="wire", currency="EUR")
    control(provider, settle_seconds=0.2)
    adapter, mine = WireAdapter(f"{provider.url}/wire-api", "key-a", "a"), order()
    provider.fault("timeout_after", seconds=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(adapter.send, mine, within(5))
        while not booked(provider, "a"):
            time.sleep(0.02)
        provider.kill()
        assert (waiting.result().result, waiting.result().sent) == (Result.UNKNOWN, True)
    down = adapter.send(order(BACK), within(2))
    assert (down.result, down.code, down.sent, down.again) == (Result.UNKNOWN, "connect_failed", False, True)
    provider.start()
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))
    assert len(booked(provider, "a")) == 1
    provider.stop()


# What an answer proves.


def shape(**changes: Any) -> dict[str, Any]:
    told = {"doc": "pain.002", "account": "a", "status": "ACSC", "reason": None, "reference": E2E, "of": PAYS[:35], "amount": 1050}
    told |= {"instruction": PAYS[-35:], "end_to_end": PAYS[:35], "uetr": words.uetr(PAYS), "currency": "EUR", "remittance": "inv-7"}
    return told | {"payment_information": PAYS[:35], "iban": PAYEE[:22], "bic": PAYEE[23:], "name": "Jose Muller"} | changes


def resolved(**changes: Any) -> dict[str, Any]:
    told = {
        "doc": "camt.029",
        "account": "a",
        "resolved": "returned",
        "reason": None,
        "reference": RTR,
        "day": "2026-01-02",
        "id": BACK[:35],
    }
    told |= {"case": BACK[-35:], "of": PAYS[:35], "instruction": PAYS[-35:], "end_to_end": PAYS[:35], "uetr": words.uetr(PAYS)}
    return told | {"amount": 1050, "currency": "EUR"} | changes


def written(told: dict[str, Any]) -> bytes:
    return wire_shapes.render(told).encode()


@pytest.mark.parametrize(
    ("change", "result", "code"),
    [
        ({}, Result.SETTLED, "settled"),
        ({"status": "ACCC"}, Result.SETTLED, "settled"),
        *(({"status": status}, Result.ACCEPTED, "accepted") for status in ("RCVD", "ACTC", "ACCP", "ACSP", "PDNG")),
        ({"status": "RJCT", "reason": "AC01"}, Result.REJECTED, "declined"),
        ({"status": "CANC"}, Result.CANCELED, "canceled"),
        ({"status": "RJCT"}, Result.UNKNOWN, "invalid_response"),
        ({"status": "PART"}, Result.UNKNOWN, "invalid_response"),
        ({"reference": None}, Result.UNKNOWN, "invalid_response"),
        ({"amount": 1051}, Result.CONFLICTED, "mismatch_amount"),
        ({"currency": "USD"}, Result.CONFLICTED, "mismatch_currency"),
        ({"iban": ELSE, "bic": None}, Result.CONFLICTED, "mismatch_payee"),
        ({"bic": None}, Result.CONFLICTED, "mismatch_payee"),
        ({"remittance": "inv-8"}, Result.CONFLICTED, "mismatch_reference"),
        ({"account": "b"}, Result.CONFLICTED, "mismatch_account"),
        *(({name: BACK[:35]}, Result.CONFLICTED, "mismatch_key") for name in ("of", "instruction", "end_to_end")),
        ({"uetr": words.uetr(BACK)}, Result.CONFLICTED, "mismatch_key"),
        ({"uetr": None}, Result.CONFLICTED, "mismatch_key"),
        ({"status": "RJCT", "reason": "AC01", "amount": 1}, Result.CONFLICTED, "mismatch_amount"),
    ],
)
def test_a_status_proves_what_all_of_it_says(change: dict[str, Any], result: Result, code: str) -> None:
    verdict = judge_payment(200, written(shape(**change)), order(), "a")
    assert (verdict.result, verdict.code) == (result, code)


@pytest.mark.parametrize(
    ("change", "refund", "stop"),
    [
        ({}, Result.SETTLED, Result.CANCELED),
        ({"resolved": "canceled"}, Result.ACCEPTED, Result.CANCELED),
        ({"resolved": "pending"}, Result.ACCEPTED, Result.ACCEPTED),
        ({"resolved": "refused", "reason": "CUST"}, Result.REJECTED, Result.ACCEPTED),
        ({"resolved": "refused"}, Result.UNKNOWN, Result.ACCEPTED),
        *(({name: BACK[:34] + "-"}, Result.CONFLICTED, Result.CONFLICTED) for name in ("id", "case", "of", "instruction", "end_to_end")),
        ({"uetr": words.uetr(BACK)}, Result.CONFLICTED, Result.CONFLICTED),
        ({"amount": 1051}, Result.CONFLICTED, Result.CONFLICTED),
        ({"currency": "USD"}, Result.CONFLICTED, Result.CONFLICTED),
        ({"reference": None}, Result.UNKNOWN, Result.UNKNOWN),
    ],
)
def test_a_resolution_proves_what_all_of_it_says(change: dict[str, Any], refund: Result, stop: Result) -> None:
    body = written(resolved(**change))
    assert judge_refund(200, body, undo()).result is refund
    assert judge_stop(200, body, order(), BACK).result is stop


def test_a_return_of_less_is_a_conflict() -> None:
    body = written(resolved())
    less = body.replace(b'<IntrBkSttlmAmt Ccy="EUR">10.50', b'<IntrBkSttlmAmt Ccy="EUR">10.49')
    assert less != body
    assert judge_refund(200, less, undo()).code == "mismatch_returned"
    assert judge_stop(200, less, order(), BACK).code == "mismatch_returned"


@pytest.mark.parametrize(
    ("status", "body", "result", "code"),
    [
        (400, b'{"code": "invalid_message"}', Result.REJECTED, "refused"),
        (409, b'{"code": "conflict"}', Result.CONFLICTED, "conflict"),
        (404, b'{"code": "not_found"}', Result.NOT_FOUND, "not_found"),
        (400, b'{"code": "brand_new"}', Result.UNKNOWN, "invalid_response"),
        (400, b"<html>", Result.UNKNOWN, "invalid_response"),
        (404, b'{"code": "no_such_route"}', Result.UNKNOWN, "invalid_response"),
        (202, written(shape()), Result.UNKNOWN, "invalid_response"),
        *((status, b'{"code": "invalid_message"}', Result.UNKNOWN, "unauthorized") for status in (401, 403)),
        (429, b"{}", Result.UNKNOWN, "rate_limited"),
        (503, b'{"code": "invalid_message"}', Result.UNKNOWN, "unavailable"),
    ],
)
def test_a_refusal_proves_only_what_is_about_this_request(status: int, body: bytes, result: Result, code: str) -> None:
    verdict = judge_payment(status, body, order(), "a")
    assert (verdict.result, verdict.code) == (result, code)


def test_a_refused_query_says_nothing_about_the_wire(raw: Raw) -> None:
    for status, body in ((400, b'{"code": "invalid_message"}'), (409, b'{"code": "conflict"}')):
        adapter = WireAdapter(raw(answering(http_answer(body, status))).url, "k", "a")
        assert (adapter.query(order(), within(5)).result, adapter.query(order(), within(5)).code) == (Result.UNKNOWN, "invalid_response")
    adapter = WireAdapter(raw(answering(http_answer(b'{"code": "not_found"}', 404))).url, "k", "a")
    assert adapter.send(order(), within(5)).result is Result.UNKNOWN


VALUES = st.sampled_from(
    [
        None,
        1050,
        1049,
        "EUR",
        "USD",
        PAYS[:35],
        PAYS[-35:],
        BACK[:35],
        BACK[-35:],
        words.uetr(PAYS),
        words.uetr(BACK),
        "ACSC",
        "ACCP",
        "RJCT",
    ]
    + ["AM04", E2E, RTR, PAYEE[:22], PAYEE[23:], ELSE, "inv-7", "inv_7", "a", "b"]
)


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from([*shape()]), VALUES, max_size=3), status=st.sampled_from([200, 201, 202, 404, 500]))
def test_settled_only_when_every_field_is_equal(changes: dict[str, Any], status: int) -> None:
    told = shape(**{name: value for name, value in changes.items() if name != "doc"})
    try:
        body = written(told)
    except (TypeError, AttributeError):
        return
    verdict = judge_payment(status, body, order(), "a")
    same = all(told[name] == value for name, value in shape().items() if name not in ("name", "payment_information", "reason", "reference"))
    if verdict.result is Result.SETTLED:
        assert status in (200, 201) and same and told["reference"] in (E2E, RTR, "a", "b", "ACSC", "ACCP", "RJCT", "AM04", "EUR", "USD", *(
            PAYS[:35], PAYS[-35:], BACK[:35], BACK[-35:], PAYEE[:22], PAYEE[23:], ELSE))  # fmt: skip
    if told == shape() and status in (200, 201):
        assert verdict.result is Result.SETTLED


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200), at=st.integers(0, 1200), cut=st.integers(1, 60), status=st.integers(100, 599))
def test_random_and_damaged_answers_prove_nothing(body: bytes, at: int, cut: int, status: int) -> None:
    for found in (body, written(shape())[:at], written(resolved())[:at]):
        assert judge_payment(status, found, order(), "a").result is Result.UNKNOWN
        assert judge_refund(status, found, undo()).result is Result.UNKNOWN
        assert judge_stop(status, found, order(), BACK).result is Result.UNKNOWN
    whole = written(shape())
    damaged = whole[:at] + whole[at + cut :]
    if judge_payment(200, damaged, order(), "a").result is Result.SETTLED:
        assert b"10.50" in damaged and PAYS[:35].encode() in damaged and b"ACSC" in damaged and PAYEE[:22].encode() in damaged


@pytest.mark.parametrize(
    ("head", "drop"), [(b"HTTP/1.1 201 X\r\nContent-Length: 60000\r\n\r\n", b"x"), (b"HTTP/1.1 201 X\r\n", b"X-Drop: 1\r\n")]
)
def test_a_slow_drip_does_not_extend_the_deadline(raw: Raw, head: bytes, drop: bytes) -> None:
    started = time.monotonic()
    done = WireAdapter(raw(dripping(head, drop)).url, "k", "a").send(order(), within(0.6))
    assert 0.5 < time.monotonic() - started < 0.6 + SLACK
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "timeout", True)


def test_a_bomb_from_the_bank_is_no_answer(raw: Raw) -> None:
    bomb = b'<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><Document>&b;</Document>'
    done = WireAdapter(raw(answering(http_answer(bomb))).url, "k", "a").send(order(), within(5))
    assert (done.result, done.code, done.invalid) == (Result.UNKNOWN, "invalid_response", True)


# Webhooks.

NOW = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
WATCHER = WireAdapter("http://127.0.0.1:1", "k", "a")


def entry(kind: str = "payment", **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"line": 1, "kind": kind, "id": E2E, "key": PAYS[:35], "amount": -1050, "currency": "EUR", "party": PAYEE}
    told = {"id": PAYS[:35], "instruction": PAYS[-35:], "end_to_end": PAYS[:35], "uetr": words.uetr(PAYS), "remittance": "inv-7"}
    if kind == "refund":
        row |= {"id": RTR, "key": BACK[:35], "case": BACK[-35:], "amount": 1050}
    if kind == "deposit":
        row, told = row | {"id": E2E[:-1] + "9", "key": None, "amount": 7}, {}
    return row | {"at": "2026-01-02T15:04:05.123Z", "told": told} | changes


def told_of(*entries: dict[str, Any], **changes: Any) -> bytes:
    found = {"doc": "camt.054", "account": "a", "currency": "EUR", "entries": list(entries), "id": E2E, "at": "2026-01-02T15:04:05Z"}
    return written(found | changes)


def webhook(body: bytes, age: float = 0, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    stamp = int(NOW.timestamp() - age)
    headers = {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(stamp)}
    return headers | {"Webhook-Signature": signature(secret, "msg_1", stamp, body)}, body


def test_an_authentic_webhook_is_read() -> None:
    found = WATCHER.parse_webhook(*webhook(told_of(entry(), entry("refund"), entry("deposit"))), [OTHER_SECRET, SECRET], NOW)
    assert [(n.id, n.kind, n.key, n.provider_id) for n in found] == [
        ("msg_1:0", "payment", PAYS, E2E),
        ("msg_1:1", "refund", BACK, RTR),
        ("msg_1:2", "deposit", None, E2E[:-1] + "9"),
    ]
    [told] = WATCHER.parse_webhook(*webhook(written(shape(status="RJCT", reason="AM04"))), [SECRET], NOW)
    assert (told.kind, told.key, told.provider_id) == ("payment", PAYS, E2E)


def _refused(headers: dict[str, str], body: bytes, *secrets: str) -> None:
    with pytest.raises(WebhookRefused) as refusal:
        WATCHER.parse_webhook(headers, body, secrets or [SECRET], NOW)
    assert str(refusal.value) == "webhook refused"


@pytest.mark.parametrize("age", [301, -301])
def test_an_old_or_early_webhook_is_refused(age: int) -> None:
    _refused(*webhook(told_of(entry()), age=age))
    assert WATCHER.parse_webhook(*webhook(told_of(entry()), age=300 if age > 0 else -300), [SECRET], NOW)


def test_a_forged_or_altered_webhook_is_refused() -> None:
    headers, body = webhook(told_of(entry()))
    _refused(headers, body.replace(b"10.50", b"10.51"))
    _refused(headers | {"Webhook-Id": "msg_2"}, body)
    _refused({name: value for name, value in headers.items() if name != "Webhook-Signature"}, body)
    _refused(headers, body, OTHER_SECRET)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"<a/>", told_of(), told_of(entry(), account="b"), written(shape(account="b")), written(resolved()), b"\xff" * 10]
    + [told_of(entry()).replace(b"BOOK", b"PDNG"), told_of(entry(id="E-1"))],
)
def test_an_authentic_webhook_that_is_not_for_us_or_not_readable_is_refused(body: bytes) -> None:
    _refused(*webhook(body))


def test_the_bank_itself_is_understood(running: Provider, account: str, inbox: Inbox) -> None:
    running.open_account(account, f"key-{account}", 10_000, webhook_url=inbox.url, webhook_secret=SECRET, api="wire", currency="EUR")
    adapter = WireAdapter(f"{running.url}/wire-api", f"key-{account}", account)
    running.fault("webhook_twice")
    settled(adapter, order())
    _wait(inbox, 2)
    running.fault("webhook_late", seconds=0.5)
    back = undo()
    adapter.refund(back, within(5))
    becomes(Result.SETTLED, lambda: adapter.query_refund(back, within(5)))
    _wait(inbox, 3)
    running.fault("webhook_out_of_order", seconds=5)
    adapter.send(order(digests.base62(b"x" * 32), amount=10_001), within(5))
    running.call("POST", "/_control/deposits", {"account": account, "amount": 7, "currency": "EUR", "payer": ELSE})
    _wait(inbox, 5)
    running.fault("webhook_together", seconds=5)
    for _ in range(2):
        running.call("POST", "/_control/deposits", {"account": account, "amount": 7, "currency": "EUR", "payer": ELSE})
    _wait(inbox, 6)
    assert all(headers["content-type"] == "application/xml" for headers, _ in inbox.events)
    told = [adapter.parse_webhook(headers, body, [SECRET], datetime.now(UTC)) for headers, body in inbox.events]
    assert told[0] == told[1]
    assert [[(n.kind, n.key) for n in each] for each in told[1:]] == [
        [("payment", PAYS)],
        [("refund", BACK)],
        [("deposit", None)],
        [("payment", digests.base62(b"x" * 32))],
        [("deposit", None), ("deposit", None)],
    ]


def _wait(inbox: Inbox, count: int) -> None:
    until = time.monotonic() + 8
    while len(inbox.events) < count:
        assert time.monotonic() < until, len(inbox.events)
        time.sleep(0.02)


# Only through folders.


def test_a_message_is_one_file_that_moves(dropped: WireAdapter, folders: pathlib.Path) -> None:
    mine = order()
    sent = dropped.send(mine, within(5))
    assert (sent.result, sent.http_status) == (Result.ACCEPTED, None)
    assert sent.request.startswith(f"FILE pain.001-{PAYS[:35]}.xml\r\n".encode())
    assert list((folders / "out").iterdir()) == []
    assert [path.name for path in (folders / "done").iterdir()] == [f"pain.001-{PAYS[:35]}.xml"]
    assert dropped.send(mine, within(5)).provider_id == sent.provider_id
    other = dropped.send(order(amount=1051), within(5))
    assert (other.result, other.code, other.sent) == (Result.UNKNOWN, "already_sent", True)
    assert len(list((folders / "done").iterdir())) == 1


def test_a_file_that_the_bank_refuses_is_rejected_when_it_is_ours(dropped: WireAdapter, folders: pathlib.Path, running: Provider) -> None:
    mine, name = order(), f"pain.001-{PAYS[:35]}.xml"
    dropped.send(mine, within(5))
    (folders / "done" / name).rename(folders / "refused" / name)
    (folders / "in" / f"pain.002-{PAYS[:35]}.xml").unlink()
    assert dropped.query(mine, within(5)).result is Result.REJECTED
    assert dropped.query(order(), within(5)).result is Result.REJECTED
    other = dropped.query(order(amount=1051), within(5))
    assert (other.result, other.code) == (Result.UNKNOWN, "invalid_response")


def unread(path: pathlib.Path) -> list[int]:
    """What is known of a file, but for when it was read last."""
    found = path.stat()
    return [found.st_mtime_ns, *(value for place, value in enumerate(found) if place != stat.ST_ATIME)]


def test_a_file_that_lies_in_out_is_neither_sent_again_nor_missed(tmp_path: pathlib.Path) -> None:
    for name in ("out", "in", "done", "refused"):
        (tmp_path / "a" / name).mkdir(parents=True)
    alone, mine = WireAdapter(f"file://{tmp_path}", "k", "a"), order()
    sent = alone.send(mine, within(2))
    assert (sent.result, sent.code, sent.sent) == (Result.UNKNOWN, "waiting", True)
    found = alone.query(mine, within(1))
    assert (found.result, found.code) == (Result.UNKNOWN, "waiting")
    [path] = (tmp_path / "a" / "out").iterdir()
    before = unread(path)
    assert alone.send(order(amount=1051), within(0.3)).code == "already_sent"
    assert unread(path) == before
    path.rename(tmp_path / "a" / "done" / path.name)
    assert alone.query(mine, within(1)).code == "waiting"
    assert alone.send(mine, within(0.3)).code == "waiting"
    assert list((tmp_path / "a" / "out").iterdir()) == []


def test_without_folders_nothing_is_sent_and_it_may_be_tried_again(tmp_path: pathlib.Path) -> None:
    sent = WireAdapter(f"file://{tmp_path}", "k", "a").send(order(), within(1))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, "connect_failed", False, True)
    found = WireAdapter(f"file://{tmp_path}", "k", "a").query(order(), within(1))
    assert (found.result, found.code) == (Result.UNKNOWN, "connect_failed")


def test_many_senders_of_one_order_write_one_file(tmp_path: pathlib.Path) -> None:
    for name in ("out", "in", "done", "refused"):
        (tmp_path / "a" / name).mkdir(parents=True)
    alone, mine = WireAdapter(f"file://{tmp_path}", "k", "a"), order()
    with ThreadPoolExecutor(16) as pool:
        codes = {done.code for done in pool.map(lambda _: alone.send(mine, within(1)), range(16))}
    assert codes == {"waiting"}
    [path] = (tmp_path / "a" / "out").iterdir()
    assert path.stat().st_nlink == 1


def test_the_bank_takes_only_what_it_can_read(folders: pathlib.Path, running: Provider, account: str) -> None:
    (folders / "out" / "pain.001-x.xml.part").write_text("not yet")
    (folders / "out" / "pain.001-x.xml").write_text("<html>")
    (folders / "out" / "pain.001-y.xml").write_text('<!DOCTYPE d [<!ENTITY a "b">]><Document>&a;</Document>')
    until = time.monotonic() + 5
    while len(list((folders / "refused").iterdir())) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert [path.name for path in (folders / "out").iterdir()] == ["pain.001-x.xml.part"]
    assert booked(running, account) == []


def test_folders_survive_a_kill(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    provider.open_account("a", "key-a", 10_000, api="wire", currency="EUR")
    control(provider, settle_seconds=0.5, drop="a")
    control(provider, settle_seconds=0.5)
    provider.kill()
    adapter, mine = WireAdapter(f"file://{tmp_path / 'data' / 'drop'}", "k", "a"), order()
    assert adapter.send(mine, within(0.5)).code == "waiting"
    provider.start()
    becomes(Result.SETTLED, lambda: adapter.query(mine, within(5)))
    assert len(booked(provider, "a")) == 1
    provider.stop()
