"""The bank's card API over real HTTP: what it books and remembers, and every fault on it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import pathlib
import re
import signal
import socket
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rails.sandbox.launch import Provider
from tests.support.card_bank import SECRET, SHOP, CardBank
from tests.support.inbox import Inbox


@pytest.fixture
def bank(bank: CardBank, inbox: Inbox) -> CardBank:
    """The account of this test, told where to send its events."""
    bank.provider.open_account(bank.account, bank.api_key, 0, webhook_url=inbox.url, webhook_secret=SECRET)
    return bank


def available(bank: CardBank, amount: int) -> bool:
    """Whether the account has this much that is not reserved."""
    return bool(bank.pay(f"probe{time.monotonic_ns()}", amount=amount)[0] == 200)


def until(bank: CardBank, intent: str, status: str) -> None:
    end = time.monotonic() + 15
    while bank.status(intent) != status and time.monotonic() < end:
        time.sleep(0.02)
    assert bank.status(intent) == status


# Authorise, capture, cancel.


def test_an_authorisation_reserves_and_a_capture_moves(bank: CardBank) -> None:
    status, made = bank.pay(amount=6000)
    assert (status, made["status"], made["amount_capturable"], made["amount_received"]) == (200, "requires_capture", 6000, 0)
    assert re.fullmatch("pi_[A-Za-z0-9]{24}", made["id"])
    assert (made["metadata"], made["transfer_data"]) == ({"codespar_key": "k1"}, {"destination": SHOP})
    assert bank.balance() == 10_000
    assert bank.pay("k2", amount=4001)[1]["error"]["decline_code"] == "insufficient_funds"
    done = bank.change(made["id"], "capture")[1]
    assert (done["status"], done["amount_capturable"], done["amount_received"]) == ("succeeded", 0, 6000)
    assert bank.balance() == 4000
    assert bank.call("GET", f"/v1/payment_intents/{made['id']}") == (200, done)


def test_a_request_that_was_cut_off_is_no_request(bank: CardBank) -> None:
    """What had arrived of the form would be a form: of somebody else's payee, or without our key."""
    form = urllib.parse.urlencode(bank.fields()).encode()
    head = f"POST /card-api/v1/payment_intents HTTP/1.1\r\nHost: bank\r\nAuthorization: Bearer {bank.api_key}\r\n".encode()
    head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", bank.provider.port), timeout=5) as line:
        line.sendall(head + form[: form.index(b"&transfer_data")])
        line.shutdown(socket.SHUT_WR)
        assert line.recv(1000) == b""
    assert bank.booked() == []


def test_a_canceled_authorisation_gives_the_money_back(bank: CardBank) -> None:
    intent = bank.pay(amount=10_000)[1]["id"]
    assert bank.change(intent, "cancel")[1]["status"] == "canceled"
    assert bank.balance() == 10_000
    assert available(bank, 10_000)


@pytest.mark.parametrize(("first", "second"), [("capture", "cancel"), ("cancel", "capture")])
def test_what_is_over_is_refused_with_the_intent_as_it_is(bank: CardBank, first: str, second: str) -> None:
    intent = bank.pay()[1]["id"]
    state = bank.change(intent, first)[1]["status"]
    status, answer = bank.change(intent, second)
    assert (status, answer["error"]["code"]) == (400, "payment_intent_unexpected_state")
    assert answer["error"]["payment_intent"]["status"] == state == bank.status(intent)


def test_an_authorisation_that_nobody_captures_expires(bank: CardBank, inbox: Inbox) -> None:
    bank.provider.call("POST", "/_control/card", {"authorisation_seconds": 0.3})
    intent = bank.pay(amount=10_000)[1]["id"]
    until(bank, intent, "canceled")
    assert bank.change(intent, "capture")[0] == 400
    assert available(bank, 10_000)
    assert inbox.wait(1)[0]["type"] == "payment_intent.canceled"


@pytest.mark.parametrize("code", ["lost_card", "do_not_honor", "expired_card"])
def test_a_card_that_declines_says_why_and_reserves_nothing(bank: CardBank, code: str) -> None:
    status, answer = bank.pay(payment_method=bank.card(declines=code))
    error = answer["error"]
    assert (status, error["type"], error["code"], error["decline_code"]) == (402, "card_error", "card_declined", code)
    intent = error["payment_intent"]
    assert (intent["status"], intent["payment_method"], intent["last_payment_error"]["decline_code"]) == (
        "requires_payment_method",
        None,
        code,
    )
    assert available(bank, 10_000)


def test_a_card_that_asks_its_holder_waits_or_declines_when_nobody_is_there(bank: CardBank) -> None:
    asks = bank.card(challenges=True)
    waiting = bank.pay(payment_method=asks)[1]
    assert (waiting["status"], waiting["next_action"]["type"]) == ("requires_action", "use_stripe_sdk")
    assert bank.change(waiting["id"], "cancel")[1]["status"] == "canceled"
    status, answer = bank.pay("k2", payment_method=asks, off_session="true")
    assert (status, answer["error"]["code"]) == (402, "authentication_required")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": "1.5"}, "parameter_invalid_integer"),
        ({"amount": 0}, "parameter_invalid_integer"),
        ({"amount": 100_000_000}, "amount_too_large"),
        ({"amount": None}, "parameter_missing"),
        ({"currency": "BRL"}, "parameter_invalid"),
        ({"payment_method": "pm_nobody"}, "resource_missing"),
        ({"payment_method": "4242424242424242"}, "resource_missing"),
        ({"card[number]": "4242424242424242"}, "parameter_unknown"),
        ({"confirm": "false"}, "parameter_invalid"),
        ({"capture_method": "automatic"}, "parameter_invalid"),
        ({"transfer_data[destination]": "shop"}, "resource_missing"),
        ({"metadata[codespar_key]": "x" * 501}, "parameter_invalid"),
    ],
)
def test_a_request_that_cannot_be_is_refused_and_not_booked(bank: CardBank, change: dict[str, Any], code: str) -> None:
    status, answer = bank.pay(**change)
    assert (status, answer["error"]["type"], answer["error"]["code"]) == (400, "invalid_request_error", code)
    assert bank.booked() == []
    assert bank.pay()[0] == 200


def test_a_currency_that_the_account_does_not_keep_is_declined(bank: CardBank) -> None:
    assert bank.pay(currency="usd")[1]["error"]["decline_code"] == "currency_not_supported"


def test_strangers_see_nothing(bank: CardBank, running: Provider) -> None:
    other = CardBank(running, "acct_stranger")
    intent, mine = bank.paid(), bank.method
    assert other.call("GET", f"/v1/payment_intents/{intent}")[0] == 404
    assert other.change(intent, "capture")[0] == 404
    assert other.refund(intent)[0] == 404
    assert other.pay(payment_method=mine)[0] == 400
    assert other.call("GET", f"/v1/payment_methods/{mine}")[0] == 404
    assert other.call("GET", f"/v1/topups/{bank.deposit()}")[0] == 404
    assert other.call("GET", "/v1/payment_intents")[1]["data"] == []
    other.api_key = "nobody"
    status, answer = other.call("GET", "/v1/payment_intents")
    assert (status, answer["error"]["type"]) == (401, "invalid_request_error")


@pytest.mark.parametrize(
    "bad", [{"brand": "acme"}, {"last4": "4242424242424242"}, {"number": "4242424242424242"}, {"id": "card"}, {"declines": "No!"}]
)
def test_a_card_is_made_of_a_brand_and_four_digits_and_never_a_number(bank: CardBank, bad: dict[str, str]) -> None:
    body = {"account": bank.account, "brand": "visa", "last4": "4242", **bad}
    assert bank.provider.call("POST", "/_control/payment_methods", body)[0] == 400
    shown = bank.call("GET", f"/v1/payment_methods/{bank.method}")[1]
    assert (shown["type"], shown["card"]) == ("card", {"brand": "visa", "last4": "4242"})


# Idempotency keys.


def test_the_same_key_and_request_get_the_same_bytes(bank: CardBank) -> None:
    first = bank.raw("POST", "/v1/payment_intents", bank.fields(), "k1")
    intent = json.loads(first[1])["id"]
    captured = bank.raw("POST", f"/v1/payment_intents/{intent}/capture", {}, "k1-capture")
    assert bank.raw("POST", "/v1/payment_intents", dict(reversed(bank.fields().items())), "k1") == first
    assert bank.raw("POST", f"/v1/payment_intents/{intent}/capture", {}, "k1-capture") == captured
    assert (len(bank.booked()), bank.balance()) == (1, 8950)


def test_a_decline_is_remembered_as_well(bank: CardBank) -> None:
    bank.provider.fault("decline")
    first = bank.raw("POST", "/v1/payment_intents", bank.fields(), "k1")
    assert first[0] == 402
    assert bank.raw("POST", "/v1/payment_intents", bank.fields(), "k1") == first
    assert len(bank.booked()) == 1


def test_the_same_key_with_another_request_is_an_idempotency_error(bank: CardBank) -> None:
    intent = bank.pay()[1]["id"]
    for path, fields in (("/v1/payment_intents", bank.fields(amount=1)), (f"/v1/payment_intents/{intent}/cancel", {})):
        status, answer = bank.call("POST", path, fields, "k1")
        assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    assert bank.status(intent) == "requires_capture"


def test_a_key_is_forgotten_after_its_time_and_without_one_nothing_is_remembered(bank: CardBank) -> None:
    assert bank.provider.call("POST", "/_control/card", {"key_seconds": 0.3})[1]["key_seconds"] == 0.3
    first = bank.pay(amount=10)[1]["id"]
    time.sleep(0.5)
    assert bank.pay(amount=10)[1]["id"] != first
    without = [bank.call("POST", "/v1/payment_intents", bank.fields(amount=10))[1]["id"] for _ in range(2)]
    assert len({first, *without}) == 3
    assert bank.provider.call("POST", "/_control/card", {"key_seconds": 0})[0] == 400


def test_one_key_belongs_to_one_account(bank: CardBank, running: Provider) -> None:
    other = CardBank(running, "acct_neighbour")
    assert bank.pay()[1]["id"] != other.pay()[1]["id"]


def test_sixty_four_at_once_under_one_key_are_one(bank: CardBank) -> None:
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: bank.pay(timeout=20), range(64)))
    assert {(status, answer["id"]) for status, answer in answers} == {(200, answers[0][1]["id"])}
    assert len(bank.booked()) == 1


def test_at_once_under_many_keys_never_reserve_more_than_there_is(bank: CardBank) -> None:
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda n: bank.pay(f"k{n}", amount=1000, timeout=20)[0], range(32)))
    assert (answers.count(200), answers.count(402)) == (10, 22)


def test_after_kill_9_the_intent_is_there_once(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    bank = CardBank(provider, "acct_a")
    provider.fault("timeout_after", key="k1", seconds=30)
    with pytest.raises(OSError, match="timed out"):
        bank.pay(timeout=0.5)
    assert provider.kill() == -signal.SIGKILL
    provider.start()
    assert bank.pay()[1]["status"] == "requires_capture"
    assert len(bank.booked()) == 1
    assert provider.stop() == 0


# Refunds.


def test_refunds_are_partial_or_whole_and_never_more_than_was_captured(bank: CardBank) -> None:
    intent = bank.paid()
    status, first = bank.refund(intent, amount=1000)
    assert (status, first["status"], first["amount"], first["payment_intent"]) == (200, "succeeded", 1000, intent)
    assert bank.refund(intent, amount=1000)[1] == first
    assert bank.refund(intent, "r2", amount=51)[1]["error"]["code"] == "amount_too_large"
    assert bank.refund(intent, "r3")[1]["amount"] == 50
    assert bank.refund(intent, "r4", amount=1)[1]["error"]["code"] == "charge_already_refunded"
    assert bank.call("GET", f"/v1/refunds/{first['id']}") == (200, first)
    assert [row["amount"] for row in bank.call("GET", f"/v1/refunds?payment_intent={intent}")[1]["data"]] == [50, 1000]
    assert bank.balance() == 10_000
    assert [(row["key"], row["payment"], row["status"]) for row in bank.booked("refunds")] == [
        ("r1", "k1", "settled"),
        ("r3", "k1", "settled"),
    ]


def test_what_was_not_captured_is_not_refunded(bank: CardBank) -> None:
    intent = bank.pay()[1]["id"]
    assert bank.refund(intent)[1]["error"]["code"] == "payment_intent_unexpected_state"
    assert bank.call("GET", "/v1/refunds/re_x")[0] == 404


def test_parallel_refunds_never_exceed_the_capture(bank: CardBank) -> None:
    intent = bank.paid(amount=1000)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: bank.refund(intent, f"r{n}", amount=300)[0], range(16)))
    assert answers.count(200) == 3


def test_a_refund_that_fails_moves_nothing(bank: CardBank) -> None:
    intent = bank.paid()
    bank.provider.fault("decline", key="r1")
    assert bank.refund(intent, amount=50)[1]["status"] == "failed"
    assert bank.balance() == 8950
    assert bank.refund(intent, "r2", amount=1050)[1]["status"] == "succeeded"


# Lists and the statement.


def test_lists_begin_with_the_newest_and_page_both_ways(bank: CardBank) -> None:
    ids = [bank.pay(f"k{n}", amount=1)[1]["id"] for n in range(5)][::-1]
    first = bank.call("GET", "/v1/payment_intents?limit=2")[1]
    assert ([row["id"] for row in first["data"]], first["has_more"]) == (ids[:2], True)
    rest = bank.call("GET", f"/v1/payment_intents?starting_after={ids[1]}")[1]
    assert ([row["id"] for row in rest["data"]], rest["has_more"]) == (ids[2:], False)
    up = bank.call("GET", f"/v1/payment_intents?limit=2&ending_before={ids[3]}")[1]
    assert ([row["id"] for row in up["data"]], up["has_more"]) == (ids[1:3], True)
    soon = int(time.time()) + 60
    assert bank.call("GET", f"/v1/payment_intents?created[gte]={soon}")[1]["data"] == []


@pytest.mark.parametrize("query", ["limit=101", "limit=0", "colour=red", "starting_after=pi_x", "starting_after=pi_x&ending_before=pi_y"])
def test_a_list_that_cannot_be_is_refused(bank: CardBank, query: str) -> None:
    assert bank.call("GET", f"/v1/payment_intents?{query}")[0] == 400


def test_the_statement_tells_every_movement_once_under_a_stable_id(bank: CardBank) -> None:
    intent = bank.paid()
    bank.refund(intent, amount=50)
    topup = bank.deposit()
    whole = bank.call("GET", "/v1/balance_transactions?expand[]=data.source")[1]["data"]
    assert [(row["type"], row["amount"]) for row in whole] == [("topup", 7), ("refund", -50), ("charge", 1050)]
    assert [row["source"].get("metadata", {}).get("codespar_key") for row in whole] == [None, "r1", "k1"]
    assert (whole[0]["source"]["id"], whole[2]["source"]["payment_intent"]) == (topup, intent)
    bank.paid("k2")
    again = bank.call("GET", "/v1/balance_transactions")[1]["data"]
    assert [row["id"] for row in again[1:]] == [row["id"] for row in whole]
    assert all(re.fullmatch("txn_[0-9a-f]{8}[0-9]{12}", row["id"]) for row in again)
    assert bank.call("GET", "/v1/balance_transactions?ending_before=txn_0000000000000000000001")[0] == 400


def test_a_deposit_is_a_topup(bank: CardBank) -> None:
    topup = bank.deposit(7, "joão", "thanks")
    shown = bank.call("GET", f"/v1/topups/{topup}")[1]
    assert (shown["id"], shown["status"], shown["amount"], shown["source"]["id"], shown["description"]) == (
        topup,
        "succeeded",
        7,
        "joão",
        "thanks",
    )
    assert bank.balance() == 10_007


def test_an_edited_statement_says_something_else_than_the_payment(bank: CardBank) -> None:
    intent = bank.paid()
    for edit in ({"edit": "amount", "amount": -7}, {"edit": "payee", "payee": "acct_eve"}, {"edit": "currency", "currency": "USD"}):
        assert bank.provider.call("POST", "/_control/statement", {"account": bank.account, "key": "k1", **edit})[0] == 200
    [row] = bank.call("GET", "/v1/balance_transactions?expand[]=data.source")[1]["data"]
    assert (row["amount"], row["currency"], row["source"]["metadata"]["codespar_payee"]) == (7, "usd", "acct_eve")
    assert bank.call("GET", f"/v1/payment_intents/{intent}")[1]["amount"] == 1050


# Faults.


@pytest.mark.parametrize(
    ("fault", "booked"), [("timeout_before", 0), ("disconnect_before", 0), ("timeout_after", 1), ("disconnect_after", 1)]
)
def test_hanging_and_hanging_up_book_before_or_not(bank: CardBank, fault: str, booked: int) -> None:
    bank.provider.fault(fault, seconds=0.2)
    with pytest.raises((OSError, http.client.HTTPException)):
        bank.pay()
    assert len(bank.booked()) == booked


def test_unavailable_is_an_error_of_the_api_and_books_nothing(bank: CardBank) -> None:
    bank.provider.fault("unavailable")
    status, answer = bank.pay()
    assert (status, answer["error"]["type"]) == (503, "api_error")
    assert bank.booked() == []


def test_slow_takes_its_time_and_rubbish_is_booked(bank: CardBank) -> None:
    bank.provider.fault("slow", seconds=0.3)
    started = time.monotonic()
    bank.pay(amount=10)
    assert time.monotonic() - started >= 0.3
    bank.provider.fault("rubbish")
    with pytest.raises(ValueError, match="Expecting value"):
        bank.pay("k2", amount=10)
    assert len(bank.booked()) == 2


@pytest.mark.parametrize(
    ("fault", "fields"), [("wrong_amount", {"amount"}), ("wrong_payee", {"transfer_data"}), ("wrong_id", {"id", "metadata"})]
)
def test_a_lie_is_in_the_answer_and_not_in_the_book(bank: CardBank, fault: str, fields: set[str]) -> None:
    bank.provider.fault(fault)
    told = bank.pay()[1]
    stored = bank.call("GET", "/v1/payment_intents")[1]["data"][0]
    assert {name for name in told if told[name] != stored[name]} == fields


def test_a_fault_strikes_the_key_that_it_names(bank: CardBank) -> None:
    bank.provider.fault("unavailable", key="k1-capture")
    intent = bank.pay()[1]["id"]
    assert bank.change(intent, "capture")[0] == 503
    assert bank.change(intent, "capture")[0] == 200


def test_accepted_then_settled_is_processing_first(bank: CardBank) -> None:
    bank.provider.fault("accepted_then_settled", seconds=0.3)
    intent = bank.pay(amount=10_000)[1]
    assert intent["status"] == "processing"
    assert not available(bank, 1)
    until(bank, intent["id"], "requires_capture")
    bank.provider.fault("accepted_then_settled", seconds=0.3)
    assert bank.change(intent["id"], "capture")[1]["status"] == "processing"
    until(bank, intent["id"], "succeeded")
    assert bank.balance() == 0


def test_two_legs_are_captured_one_after_the_other(bank: CardBank) -> None:
    bank.provider.fault("in_two_legs", key="k1", seconds=0.5)
    intent = bank.pay(amount=1001)[1]["id"]
    first = bank.change(intent, "capture")[1]
    assert (first["status"], first["amount_received"]) == ("processing", 500)
    until(bank, intent, "succeeded")
    assert [row["amount"] for row in bank.call("GET", "/v1/balance_transactions")[1]["data"]] == [501, 500]


def test_canceling_between_two_legs_keeps_what_has_moved(bank: CardBank) -> None:
    bank.provider.fault("in_two_legs", key="k1-capture", seconds=60)
    intent = bank.pay(amount=1000)[1]["id"]
    bank.change(intent, "capture")
    stopped = bank.change(intent, "cancel")[1]
    assert (stopped["status"], stopped["amount_received"]) == ("canceled", 500)
    assert bank.refund(intent, "r1", amount=501)[0] == 400
    assert bank.refund(intent, "r2", amount=500)[0] == 200
    assert available(bank, 10_000)


def test_a_capture_that_is_declined_lets_the_money_go(bank: CardBank) -> None:
    bank.provider.fault("decline", key="k1-capture")
    intent = bank.pay(amount=10_000)[1]["id"]
    status, answer = bank.change(intent, "capture")
    assert (status, answer["error"]["payment_intent"]["status"]) == (402, "requires_payment_method")
    assert available(bank, 10_000)


def test_not_found_once_hides_it_once(bank: CardBank) -> None:
    intent = bank.paid()
    bank.provider.fault("not_found_once")
    assert [bank.call("GET", f"/v1/payment_intents/{intent}")[0] for _ in range(2)] == [404, 200]
    bank.provider.fault("not_found_once", key="k1")
    bank.pay("k2", amount=1)
    assert [len(bank.call("GET", "/v1/payment_intents")[1]["data"]) for _ in range(2)] == [1, 2]


def test_a_statement_with_a_gap_lacks_a_line(bank: CardBank) -> None:
    bank.paid(amount=1)
    bank.paid("k2", amount=2)
    bank.provider.fault("statement_gap", key=bank.account)
    assert [[row["amount"] for row in bank.call("GET", "/v1/balance_transactions")[1]["data"]] for _ in range(2)] == [[2], [2, 1]]


# Webhooks.


def test_each_thing_that_happens_is_told_in_stripes_way(bank: CardBank, inbox: Inbox) -> None:
    intent = bank.paid()
    inbox.wait(1)
    bank.refund(intent, amount=50)
    inbox.wait(2)
    bank.pay("k2", payment_method=bank.card(declines="lost_card"))
    inbox.wait(3)
    bank.change(bank.pay("k3")[1]["id"], "cancel", "k3")
    inbox.wait(4)
    topup = bank.deposit()
    events = inbox.wait(5)
    kinds = ["payment_intent.succeeded", "charge.refunded", "payment_intent.payment_failed", "payment_intent.canceled", "topup.succeeded"]
    assert [event["type"] for event in events] == kinds
    assert {event["object"] for event in events} == {"event"}
    assert len({event["id"] for event in events}) == 5
    assert events[1]["data"]["object"]["refunds"]["data"][0]["metadata"] == {"codespar_key": "r1"}
    assert events[4]["data"]["object"]["id"] == topup
    headers, body = inbox.events[0]
    stamp, _, mac = headers["stripe-signature"].removeprefix("t=").partition(",v1=")
    assert mac == hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert abs(int(stamp) - time.time()) < 10
    assert "webhook-signature" not in headers


@pytest.mark.parametrize(("fault", "order"), [("webhook_twice", ["k1", "k1", "k2"]), ("webhook_out_of_order", ["k2", "k1"])])
def test_webhooks_come_twice_or_out_of_order(bank: CardBank, inbox: Inbox, fault: str, order: list[str]) -> None:
    bank.provider.fault(fault, key="k1")
    bank.paid(amount=1)
    if fault == "webhook_twice":
        inbox.wait(2)
    bank.paid("k2", amount=1)
    assert [event["data"]["object"]["metadata"]["codespar_key"] for event in inbox.wait(len(order))] == order
    assert len({event["id"] for event in inbox.wait(len(order))}) == 2


def test_webhook_late_arrives_late(bank: CardBank, inbox: Inbox) -> None:
    bank.provider.fault("webhook_late", seconds=0.6)
    bank.paid()
    time.sleep(0.3)
    assert inbox.events == []
    inbox.wait(1)


def test_the_request_log_and_the_ledger_tell_what_was_done(bank: CardBank) -> None:
    intent = bank.paid("logged1")
    rows = [row for row in bank.provider.ledger()["requests"] if (row["idempotency_key"] or "").startswith("logged1")]
    assert [(row["method"], row["path"], row["idempotency_key"], row["status"]) for row in rows] == [
        ("POST", "/card-api/v1/payment_intents", "logged1", 200),
        ("POST", f"/card-api/v1/payment_intents/{intent}/capture", "logged1-capture", 200),
    ]
    [paid] = bank.booked()
    assert (paid["key"], paid["id"], paid["status"], paid["amount"], paid["payee"]) == ("logged1", intent, "settled", 1050, {"key": SHOP})
