"""The sandbox bank over real HTTP: what it books, what it remembers, and every fault it can be asked for."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rails.sandbox.faults import FAULTS
from rails.sandbox.launch import Provider
from tests.support.inbox import Inbox

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


class Client:
    """One account at the bank, opened for one test."""

    def __init__(self, provider: Provider, account: str, **more: Any) -> None:
        self.provider, self.account, self.api_key = provider, account, f"key-{account}"
        provider.open_account(account, self.api_key, more.pop("balance", 10_000), **more)

    def call(self, method: str, path: str, body: object = None, timeout: float = 5.0, **headers: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}", **headers}
        return self.provider.call(method, path, body, headers, timeout)

    def order(self, **changes: Any) -> dict[str, Any]:
        payee = {"key": "maria@example.com", "name": "Maria"}
        order = {"amount": 1050, "currency": "BRL", "payee": payee, "reference": "inv 7", "account": self.account}
        return order | changes

    def pay(self, key: str, timeout: float = 5.0, **changes: Any) -> tuple[int, Any]:
        headers = {"Idempotency-Key": changes.pop("idempotency_key", key)}
        return self.call("PUT", f"/v1/payments/{key}", self.order(**changes), timeout, **headers)

    def refund(self, key: str, refund_key: str, amount: int) -> tuple[int, Any]:
        return self.call("PUT", f"/v1/payments/{key}/refunds/{refund_key}", {"amount": amount})

    def balance(self) -> int:
        return int(self.provider.ledger()["balances"][self.account])

    def booked(self, kind: str = "payments") -> list[dict[str, Any]]:
        return [row for row in self.provider.ledger()[kind] if row["account"] == self.account]


@pytest.fixture
def client(running: Provider, request: pytest.FixtureRequest) -> Iterator[Client]:
    yield Client(running, re.sub("[^A-Za-z0-9]", "", request.node.name))
    running.call("DELETE", "/_control")


@pytest.fixture
def told(running: Provider, inbox: Inbox, request: pytest.FixtureRequest) -> Iterator[Client]:
    account = re.sub("[^A-Za-z0-9]", "", request.node.name)
    yield Client(running, account, webhook_url=inbox.url, webhook_secret=SECRET)
    running.call("DELETE", "/_control")


# Payments.


def test_a_payment_is_booked_and_told_in_the_form_of_pix(client: Client) -> None:
    status, paid = client.pay("k1")
    assert status == 201
    assert re.fullmatch("E[0-9]{8}[0-9]{12}[A-Za-z0-9]{11}", paid["id"])
    assert (paid["status"], paid["amount"], paid["currency"], paid["key"]) == ("settled", 1050, "BRL", "k1")
    assert (paid["payee"], paid["reference"]) == ({"key": "maria@example.com"}, "inv 7")
    assert client.balance() == 8950
    assert client.call("GET", "/v1/payments/k1") == (200, paid)


def test_the_same_key_and_body_answer_the_stored_payment(client: Client) -> None:
    assert client.pay("k1") == client.pay("k1")
    assert (len(client.booked()), client.balance()) == (1, 8950)


@pytest.mark.parametrize("change", [{"amount": 1051}, {"payee": {"key": "b@example.com"}}, {"reference": "inv 8"}, {"currency": "USD"}])
def test_the_same_key_with_another_body_is_a_conflict(client: Client, change: dict[str, Any]) -> None:
    client.pay("k1")
    status, answer = client.pay("k1", **change)
    assert (status, answer["code"]) == (409, "conflict")
    assert len(client.booked()) == 1


def test_sixty_four_parallel_puts_of_one_key_make_one_payment(client: Client) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: client.pay("k1", timeout=20), range(64)))
    assert {status for status, _ in answers} == {201}
    assert len({answer["id"] for _, answer in answers}) == 1
    assert (len(client.booked()), client.balance()) == (1, 8950)


def test_parallel_payments_never_overdraw_the_account(client: Client) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda n: client.pay(f"k{n}", amount=1000, timeout=20)[1]["status"], range(32)))
    assert (answers.count("settled"), answers.count("rejected"), client.balance()) == (10, 22, 0)


@pytest.mark.parametrize(("change", "reason"), [({"amount": 10_001}, "insufficient_funds"), ({"currency": "USD"}, "currency_mismatch")])
def test_a_payment_the_account_cannot_make_is_rejected(client: Client, change: dict[str, Any], reason: str) -> None:
    status, answer = client.pay("k1", **change)
    assert (status, answer["status"], answer["reason"]) == (201, "rejected", reason)
    assert client.balance() == 10_000


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 10.5},
        {"amount": 0},
        {"amount": True},
        {"amount": "10"},
        {"currency": "brl"},
        {"payee": "maria"},
        {"reference": ""},
        {"extra": 1},
        {"idempotency_key": "other"},
    ],
)
def test_a_malformed_payment_is_refused_and_not_booked(client: Client, change: dict[str, Any]) -> None:
    status, answer = client.pay("k1", **change)
    assert (status, answer["code"]) == (400, "invalid_request")
    assert client.booked() == []


def test_a_stranger_is_refused(client: Client) -> None:
    assert client.provider.call("GET", "/v1/payments/k1")[0] == 401
    assert client.pay("k1", account="somebody-else")[0] == 403
    assert client.call("GET", "/v1/statement?account=somebody-else")[0] == 403


def test_an_unknown_key_is_not_found(client: Client) -> None:
    status, answer = client.call("GET", "/v1/payments/k1")
    assert (status, answer["code"]) == (404, "not_found")


# Refunds, deposits, statements.


def test_refunds_are_partial_or_whole_and_never_more_than_the_payment(client: Client) -> None:
    client.pay("k1")
    status, first = client.refund("k1", "r1", 1000)
    assert (status, first["status"], first["payment"], first["amount"]) == (201, "settled", "k1", 1000)
    assert re.fullmatch("D[0-9]{20}[A-Za-z0-9]{11}", first["id"])
    assert client.refund("k1", "r1", 1000)[1] == first
    assert client.refund("k1", "r1", 999)[0] == 409
    assert client.refund("k1", "r2", 51)[1]["reason"] == "amount_exceeds_payment"
    assert client.refund("k1", "r3", 50)[1]["status"] == "settled"
    assert client.call("GET", "/v1/payments/k1/refunds/r1") == (200, first)
    assert client.call("GET", "/v1/payments/k1/refunds/r9")[0] == 404
    assert client.balance() == 10_000


def test_parallel_refunds_never_exceed_the_payment(client: Client) -> None:
    client.pay("k1", amount=1000)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: client.refund("k1", f"r{n}", 300)[1]["status"], range(16)))
    assert answers.count("settled") == 3


def test_only_a_settled_payment_is_refunded(client: Client) -> None:
    assert client.refund("k1", "r1", 1)[1]["code"] == "payment_not_found"
    client.pay("k1", amount=10_001)
    assert client.refund("k1", "r1", 1)[1]["code"] == "payment_not_settled"


def test_the_statement_adds_up_and_pages(client: Client) -> None:
    client.pay("k1")
    client.refund("k1", "r1", 50)
    deposit = {"account": client.account, "amount": 7, "currency": "BRL", "payer": "joão", "reference": "thanks"}
    status, made = client.provider.call("POST", "/_control/deposits", deposit)
    assert status == 201
    assert client.call("GET", f"/v1/deposits/{made['id']}") == (200, made)
    _, whole = client.call("GET", f"/v1/statement?account={client.account}")
    assert [(x["line"], x["kind"], x["key"], x["amount"]) for x in whole["lines"]] == [
        (1, "payment", "k1", -1050),
        (2, "refund", "r1", 50),
        (3, "deposit", None, 7),
    ]
    assert (whole["opening"], whole["closing"], whole["complete"]) == (10_000, 9007, True)
    _, page = client.call("GET", "/v1/statement?after=1&limit=1")
    assert (page["opening"], page["closing"], page["complete"], len(page["lines"])) == (8950, 9000, False, 1)


# Durability and the process.


def test_after_kill_9_the_payment_is_there_once(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a")
    provider.fault("timeout_after", key="k1", seconds=30)
    with pytest.raises(OSError, match="timed out"):
        client.pay("k1", timeout=0.5)
    assert provider.kill() == -signal.SIGKILL
    provider.start()
    assert client.call("GET", "/v1/payments/k1")[1]["status"] == "settled"
    assert client.pay("k1")[0] == 201
    assert (len(client.booked()), client.balance()) == (1, 8950)
    assert provider.stop() == 0


def test_kill_9_among_parallel_payments_loses_none_that_was_answered(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a", balance=10_000_000)
    answered: list[str] = []

    def pay(number: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            answered.append(client.pay(f"k{number}")[1]["key"])
            if len(answered) == 40:
                os.kill(provider.pid, signal.SIGKILL)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(pay, range(200)))
    provider.kill()
    provider.start()
    booked = [row["key"] for row in client.booked()]
    assert len(answered) >= 40
    assert set(answered) <= set(booked)
    assert len(booked) == len(set(booked))
    assert client.balance() == 10_000_000 - 1050 * len(booked)
    provider.stop()


def test_an_accepted_payment_settles_after_a_restart(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a")
    provider.fault("accepted_then_settled", seconds=0.5)
    assert client.pay("k1")[1]["status"] == "accepted"
    provider.kill()
    provider.start()
    time.sleep(1.0)
    assert client.call("GET", "/v1/payments/k1")[1]["status"] == "settled"
    provider.stop()


def test_a_graceful_stop_does_not_wait_for_a_hanging_request(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a")
    provider.fault("timeout_before")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.pay, "k1", timeout=20)
        time.sleep(0.3)
        started = time.monotonic()
        assert provider.stop() == 0
        assert time.monotonic() - started < 3
        with pytest.raises((OSError, http.client.HTTPException)):
            waiting.result()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rails.sandbox.provider", *arguments]
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, cwd=root, check=False)


def test_it_refuses_to_listen_for_strangers(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path)
    files = ["--data", str(tmp_path / "data"), "--secret-file", str(provider.secret_file)]
    done = _run("--port", "0", "--host", "0.0.0.0", *files)
    assert done.returncode == 2
    assert "not a loopback address" in done.stderr


def test_it_refuses_a_secret_file_that_others_can_read(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path)
    provider.secret_file.chmod(0o644)
    with pytest.raises(RuntimeError, match="chmod 600"):
        provider.start()


def test_two_processes_never_share_a_book(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    files = ["--data", str(tmp_path / "data"), "--secret-file", str(provider.secret_file)]
    assert _run("--port", "0", *files).returncode == 1
    provider.stop()


def test_it_imports_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, rails.sandbox.provider\n"
        "names = {n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(n for n in names if n in ('django', 'httpx2', 'psycopg', 'redis', 'codespar', 'ledger')))\n"
        "print(sorted(n for n in sys.modules if n.startswith('rails.') and not n.startswith('rails.sandbox')))"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.split() == ["[]", "[]"]


def test_the_secret_file_is_read_again_and_the_control_token_is_asked_for(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path, {"api_keys": {"old": "a"}}).start()
    ask = {"Authorization": "Bearer new"}
    assert provider.call("GET", "/v1/statement", headers=ask)[0] == 401
    provider.write_secrets({"api_keys": {"new": "a"}, "control_token": "t"})
    assert provider.call("GET", "/v1/statement", headers=ask)[0] == 200
    assert provider.call("GET", "/v1/statement", headers={"Authorization": "Bearer old"})[0] == 401
    assert provider.call("GET", "/_ledger")[0] == 401
    assert provider.call("GET", "/_ledger", headers={"Authorization": "Bearer t"})[0] == 200
    assert provider.call("GET", "/_health") == (200, {"status": "ok"})
    provider.stop()


def test_the_request_log_tells_every_request(client: Client) -> None:
    client.pay("logged1")
    client.call("GET", "/v1/payments/logged1")
    rows = [row for row in client.provider.ledger()["requests"] if "logged1" in row["path"]]
    assert [(row["method"], row["idempotency_key"], row["status"]) for row in rows] == [
        ("PUT", "logged1", 201),
        ("GET", None, 200),
    ]


# Faults.

TESTED_FAULTS = {
    *("timeout_before", "timeout_after", "disconnect_before", "disconnect_after", "unavailable", "slow", "rubbish"),
    *("decline", "accepted_then_settled", "not_found_once", "wrong_amount", "wrong_payee", "wrong_id"),
    *("webhook_twice", "webhook_late", "webhook_out_of_order", "in_two_legs", "statement_gap"),
}


def test_every_fault_has_a_test() -> None:
    assert set(FAULTS) == TESTED_FAULTS


def test_an_unknown_fault_is_refused_with_the_valid_ones(client: Client) -> None:
    status, answer = client.provider.call("POST", "/_control", {"fault": "meteor"})
    assert status == 400
    assert all(name in answer["detail"] for name in FAULTS)


@pytest.mark.parametrize("bad", [{"count": 0}, {"seconds": -1}, {"key": 7}, {"on": "never"}, {"colour": "red"}])
def test_a_malformed_fault_is_refused(client: Client, bad: dict[str, Any]) -> None:
    assert client.provider.call("POST", "/_control", {"fault": "decline", **bad})[0] == 400


def test_faults_are_listed_counted_limited_to_a_key_and_cleared(client: Client) -> None:
    client.provider.fault("decline", count=2, key="k1")
    assert client.pay("k2")[1]["status"] == "settled"
    assert client.pay("k1")[1]["status"] == "rejected"
    assert client.provider.call("GET", "/_control")[1]["faults"][0]["count"] == 1
    assert client.provider.call("DELETE", "/_control")[1] == {"faults": []}


@pytest.mark.parametrize(
    ("fault", "booked"),
    [("timeout_before", 0), ("disconnect_before", 0), ("timeout_after", 1), ("disconnect_after", 1)],
)
def test_hanging_and_hanging_up_book_before_or_not(client: Client, fault: str, booked: int) -> None:
    client.provider.fault(fault, seconds=0.2)
    with pytest.raises((OSError, http.client.HTTPException)):
        client.pay("k1")
    assert len(client.booked()) == booked


def test_unavailable_answers_503_and_books_nothing(client: Client) -> None:
    client.provider.fault("unavailable")
    assert client.pay("k1")[0] == 503
    assert client.booked() == []


def test_slow_takes_its_time(client: Client) -> None:
    client.provider.fault("slow", seconds=0.4)
    started = time.monotonic()
    assert client.pay("k1")[0] == 201
    assert time.monotonic() - started >= 0.4


def test_rubbish_is_not_json_though_the_payment_is_booked(client: Client) -> None:
    client.provider.fault("rubbish")
    with pytest.raises(ValueError, match="Expecting value"):
        client.pay("k1")
    assert len(client.booked()) == 1


@pytest.mark.parametrize(("fault", "fields"), [("wrong_amount", {"amount"}), ("wrong_payee", {"payee"})])
def test_a_lie_is_in_the_answer_and_not_in_the_book(client: Client, fault: str, fields: set[str]) -> None:
    client.provider.fault(fault)
    told, stored = client.pay("k1")[1], client.call("GET", "/v1/payments/k1")[1]
    assert {name for name in told if told[name] != stored[name]} == fields


def test_wrong_id_answers_another_key_and_id(client: Client) -> None:
    client.provider.fault("wrong_id")
    told, stored = client.pay("k1")[1], client.call("GET", "/v1/payments/k1")[1]
    assert {name for name in told if told[name] != stored[name]} == {"key", "id"}


def test_not_found_once_denies_a_payment_that_exists_once(client: Client) -> None:
    client.pay("k1")
    client.provider.fault("not_found_once")
    assert [client.call("GET", "/v1/payments/k1")[0] for _ in range(2)] == [404, 200]


def test_faults_strike_reads_when_asked_to(client: Client) -> None:
    client.pay("k1")
    client.provider.fault("unavailable", on="read")
    assert client.pay("k1")[0] == 201
    assert client.call("GET", "/v1/payments/k1")[0] == 503


def test_accepted_then_settled_reserves_the_money_and_tells_later(told: Client, inbox: Inbox) -> None:
    told.provider.fault("accepted_then_settled", seconds=0.5)
    assert told.pay("k1", amount=6000)[1]["status"] == "accepted"
    assert told.pay("k2", amount=6000)[1]["reason"] == "insufficient_funds"
    events = inbox.wait(2)
    assert {event["type"] for event in events} == {"payment.rejected", "payment.settled"}
    assert told.call("GET", "/v1/payments/k1")[1]["status"] == "settled"
    assert told.balance() == 4000


# Webhooks.


def test_a_webhook_is_signed_by_standard_webhooks(told: Client, inbox: Inbox) -> None:
    _, paid = told.pay("k1")
    (event,) = inbox.wait(1)
    assert (event["type"], event["account"], event["data"]) == ("payment.settled", told.account, paid)
    headers, body = inbox.events[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 10


def test_refunds_and_deposits_are_told(told: Client, inbox: Inbox) -> None:
    told.pay("k1")
    inbox.wait(1)
    told.refund("k1", "r1", 50)
    inbox.wait(2)
    deposit = {"account": told.account, "amount": 7, "currency": "BRL", "payer": "joão", "reference": "thanks"}
    told.provider.call("POST", "/_control/deposits", deposit)
    assert [event["type"] for event in inbox.wait(3)] == ["payment.settled", "refund.settled", "deposit.received"]


def test_a_refused_webhook_is_sent_again_with_the_same_id(told: Client, inbox: Inbox) -> None:
    inbox.refuse = 1
    told.pay("k1")
    inbox.wait(2)
    assert len({headers["webhook-id"] for headers, _ in inbox.events}) == 1


def test_the_outbox_survives_kill_9(tmp_path: pathlib.Path, inbox: Inbox) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a", webhook_url=inbox.url, webhook_secret=SECRET)
    provider.fault("webhook_late", seconds=0.5)
    client.pay("k1")
    provider.kill()
    assert inbox.events == []
    provider.start()
    assert inbox.wait(1)[0]["data"]["key"] == "k1"
    provider.stop()


def test_webhook_twice_sends_one_event_two_times(told: Client, inbox: Inbox) -> None:
    told.provider.fault("webhook_twice")
    told.pay("k1")
    inbox.wait(2)
    assert len({headers["webhook-id"] for headers, _ in inbox.events}) == 1


def test_webhook_late_arrives_late(told: Client, inbox: Inbox) -> None:
    told.provider.fault("webhook_late", seconds=0.6)
    told.pay("k1")
    time.sleep(0.3)
    assert inbox.events == []
    inbox.wait(1)


def test_webhook_out_of_order_arrives_after_the_next_one(told: Client, inbox: Inbox) -> None:
    told.provider.fault("webhook_out_of_order", key="k1")
    told.pay("k1")
    told.pay("k2")
    assert [event["data"]["key"] for event in inbox.wait(2)] == ["k2", "k1"]


# Legs, cancellation, and statements that lie.


def _statement(client: Client, **query: Any) -> dict[str, Any]:
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return dict(client.call("GET", f"/v1/statement?{text}")[1])


def test_two_legs_move_one_after_the_other_with_a_line_each(client: Client) -> None:
    client.provider.fault("in_two_legs", key="k1", seconds=0.3)
    first = client.pay("k1", amount=1001)[1]
    assert (first["status"], first["moved"]) == ("accepted", 500)
    time.sleep(0.8)
    last = client.call("GET", "/v1/payments/k1")[1]
    assert (last["status"], last["moved"]) == ("settled", 1001)
    assert [line["amount"] for line in _statement(client)["lines"]] == [-500, -501]


def test_cancelling_keeps_what_has_moved_and_frees_the_rest(client: Client) -> None:
    client.provider.fault("in_two_legs", key="k1", seconds=60)
    client.pay("k1", amount=1000)
    stopped = client.call("DELETE", "/v1/payments/k1")[1]
    assert (stopped["status"], stopped["moved"]) == ("canceled", 500)
    assert client.call("DELETE", "/v1/payments/k1")[1] == stopped
    assert client.refund("k1", "r1", 501)[1]["status"] == "rejected"
    assert client.refund("k1", "r2", 500)[1]["status"] == "settled"
    assert client.pay("k2", amount=10_000)[1]["status"] == "settled"


def test_what_is_settled_or_unknown_is_not_cancelled(client: Client) -> None:
    client.pay("k1")
    assert client.call("DELETE", "/v1/payments/k1")[1]["status"] == "settled"
    assert client.call("DELETE", "/v1/payments/k2")[0] == 404


@pytest.mark.parametrize(
    ("edit", "lines"),
    [
        ({"edit": "remove"}, []),
        ({"edit": "amount", "amount": -7}, [(-7, "BRL", "maria@example.com")]),
        ({"edit": "currency", "currency": "USD"}, [(-100, "USD", "maria@example.com")]),
        ({"edit": "payee", "payee": "eve"}, [(-100, "BRL", "eve")]),
        ({"edit": "duplicate"}, [(-100, "BRL", "maria@example.com")] * 2),
        ({"edit": "at", "at": "2020-01-01T00:00:00Z"}, [(-100, "BRL", "maria@example.com")]),
    ],
)
def test_an_edit_changes_the_statement_and_never_the_payment(client: Client, edit: dict[str, Any], lines: list[Any]) -> None:
    before = client.pay("k1", amount=100)[1]
    status, _ = client.provider.call("POST", "/_control/statement", {"account": client.account, "key": "k1", **edit})
    assert status == 200
    shown = _statement(client)
    assert [(line["amount"], line["currency"], line["payee"]["key"]) for line in shown["lines"]] == lines
    assert shown["closing"] == shown["opening"] + sum(line[0] for line in lines)
    assert client.call("GET", "/v1/payments/k1")[1] == before


def test_a_line_is_added_and_a_bad_edit_is_told(client: Client) -> None:
    added = {"edit": "add", "amount": -5, "currency": "BRL", "payee": "eve", "at": "2026-01-01T00:00:00Z"}
    client.provider.call("POST", "/_control/statement", {"account": client.account, "key": "k9", **added})
    assert [line["key"] for line in _statement(client)["lines"]] == ["k9"]
    for bad in ({"edit": "burn"}, {"edit": "amount"}, {"edit": "amount", "amount": "7"}, {"edit": "remove", "key": "k0"}):
        assert client.provider.call("POST", "/_control/statement", {"account": client.account, "key": "k9", **bad})[0] == 400


def test_a_statement_with_a_gap_does_not_add_up(client: Client) -> None:
    client.provider.fault("statement_gap", key=client.account)
    shown = _statement(client)
    assert shown["closing"] != shown["opening"]
    assert _statement(client)["closing"] == shown["opening"]
