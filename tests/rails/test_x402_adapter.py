"""The rail x402 against a real chain, facilitator and merchant, each a process of its own, and nodes that lie."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rails import adapters
from rails.adapters.base import Instruction, NotSendable, RefundInstruction, Result, Unreadable, WebhookRefused
from rails.adapters.x402 import LARGEST_RESOURCE, bought
from rails.adapters.x402_signing import nonce_of
from rails.adapters.x402_terms import encoded
from tests.support import evm
from tests.support.raw_servers import Raw, RawServer, answering, http_answer, within
from tests.support.x402 import DEPTH, PAYEE, PRICE, Market, market


@pytest.fixture(scope="module")
def stage() -> Iterator[Market]:
    with market() as made:
        yield made


@pytest.fixture
def here(stage: Market) -> Iterator[Market]:
    """The market as it opened: the merchant honest, the facilitator quick."""
    yield stage
    stage.asks()
    evm.post(f"{stage.facilitator}/_control", {})


def prepared(here: Market, **changes: Any) -> Instruction:
    return here.adapter().prepare(here.order(**changes), within(10))


# The ordinary life of a payment.


def test_a_payment_is_accepted_then_confirming_then_settled(here: Market) -> None:
    before, order = here.paid(), prepared(here)
    sent = here.adapter().send(order, within(10))
    assert (sent.result, sent.code, sent.sent, sent.http_status, sent.again) == (Result.ACCEPTED, "accepted", True, 200, False)
    assert sent.provider_id == "0x" + nonce_of(order.key).hex()
    assert bought(sent.raw) == ("application/json", b'{"degrees":21,"weather":"fine"}\n')
    asked = here.adapter().query(order, within(10))
    assert (asked.result, asked.code, asked.provider_id) == (Result.ACCEPTED, "confirming", sent.provider_id)
    here.chain.mine(DEPTH - 2)
    assert here.adapter().query(order, within(10)).result is Result.ACCEPTED
    here.chain.mine(1)
    assert here.adapter().query(order, within(10)).result is Result.SETTLED
    assert here.paid() == before + PRICE


def test_a_payment_is_found_without_its_terms_and_after_many_blocks(here: Market) -> None:
    order = prepared(here)
    here.adapter().send(order, within(10))
    here.chain.mine(40)
    forgotten = dataclasses.replace(order, terms=None, target=None)
    assert here.adapter().query(forgotten, within(20)).result is Result.SETTLED
    assert here.adapter().capture(forgotten, within(20)).result is Result.SETTLED
    assert here.adapter().cancel(forgotten, within(20)).result is Result.SETTLED


def test_the_evidence_has_what_was_signed_and_no_signature(here: Market) -> None:
    order = prepared(here)
    sent = here.adapter().send(order, within(10))
    signed = json.loads(sent.request.partition(b"\r\n\r\n")[2])
    assert signed["payload"]["authorization"]["nonce"] == "0x" + nonce_of(order.key).hex()
    assert set(signed["payload"]) == {"authorization"}
    told = evm.get(f"{here.merchant}/_paid")[-1]
    assert told["payload"].pop("signature")[2:].encode() not in sent.request + sent.raw
    assert told == signed
    assert told["extensions"]["payment-identifier"]["info"] == {"required": True, "id": order.key}
    assert here.key.encode() not in sent.request + sent.raw
    assert b'"payment_response"' in sent.raw


def test_what_is_signed_is_good_for_minutes(here: Market) -> None:
    order = prepared(here)
    here.adapter().send(order, within(10))
    signed, by = evm.get(f"{here.merchant}/_paid")[-1]["payload"]["authorization"], int(order.send_by.timestamp())
    assert (int(signed["validAfter"]), int(signed["validBefore"])) == (by - 600, by + 60)


def test_an_order_that_nobody_sent_is_open_and_not_missing(here: Market) -> None:
    asked = here.adapter().query(here.order(), within(10))
    assert (asked.result, asked.code, asked.invalid) == (Result.UNKNOWN, "authorization_open", False)


def test_an_authorization_that_expired_unused_is_proof_of_failure_once_it_is_final(here: Market) -> None:
    order = here.order(send_by=datetime.fromtimestamp(here.chain.time() - 290, UTC))
    here.chain.mine(DEPTH)
    assert here.adapter().query(order, within(10)).code == "authorization_open"
    here.chain.mine(10)
    asked = here.adapter().query(order, within(10))
    assert (asked.result, asked.code) == (Result.REJECTED, "authorization_expired")


def test_a_request_past_its_time_is_not_written(here: Market) -> None:
    order = dataclasses.replace(prepared(here), send_by=datetime.now(UTC) - timedelta(seconds=1))
    seen = len(evm.get(f"{here.merchant}/_paid"))
    sent = here.adapter().send(order, within(10))
    assert (sent.result, sent.code, sent.sent) == (Result.UNKNOWN, "send_by_passed", False)
    assert len(evm.get(f"{here.merchant}/_paid")) == seen


def test_a_facilitator_that_answers_too_late_is_unknown_and_the_chain_decides(here: Market) -> None:
    order, before = prepared(here), here.paid()
    evm.post(f"{here.facilitator}/_control", {"after": 6})
    sent = here.adapter().send(order, within(4))
    assert (sent.result, sent.code, sent.sent, sent.again) == (Result.UNKNOWN, "merchant_unavailable", True, False)
    here.chain.mine(DEPTH)
    assert here.adapter().query(order, within(10)).result is Result.SETTLED
    assert here.paid() == before + PRICE


def test_a_reorganisation_takes_back_what_was_not_final(here: Market) -> None:
    order, before, snapshot = prepared(here), here.paid(), here.chain.rpc("evm_snapshot")
    here.adapter().send(order, within(10))
    assert here.adapter().query(order, within(10)).result is Result.ACCEPTED
    here.chain.rpc("evm_revert", snapshot)
    here.chain.mine(DEPTH + 2)
    gone = here.adapter().query(order, within(10))
    assert (gone.result, gone.code) == (Result.UNKNOWN, "authorization_open")
    assert here.paid() == before


# Preflight, and what an account must be.


def test_preflight_is_clean_for_the_right_account(here: Market) -> None:
    assert [(check.name, check.ok) for check in here.adapter().preflight(within(10))] == [
        (name, True) for name in ("node", "asset", "domain", "account")
    ]


def test_preflight_finds_a_wrong_name_a_wrong_token_and_no_node(here: Market, raw: Raw) -> None:
    failed = {check.name for check in here.adapter(asset_version="1").preflight(within(10)) if not check.ok}
    assert failed == {"domain"}
    nowhere = f"eip155:{here.chain.chain}/erc20:{PAYEE}"
    assert any(not check.ok for check in here.adapter(asset=nowhere).preflight(within(10)))
    dead = raw(lambda server, connection: connection.close())
    assert [check.ok for check in here.adapter(node=dead.url).preflight(within(5))] == [False, False]


@pytest.mark.parametrize(
    "change",
    [
        {"private_key": "11" * 32},
        {"private_key": "x"},
        {"asset": "eip155:1/erc20:" + PAYEE},
        {"asset": "USDC"},
        {"confirmations": "0"},
        {"confirmations": "many"},
        {"first_block": "-1"},
        {"node": "http://node.example.com"},
    ],
)
def test_an_account_that_does_not_fit_is_refused(here: Market, change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"key|token|whole|base_url"):
        adapters.adapter_for("x402", here.connection(**change))


def test_the_private_key_is_in_no_representation(here: Market) -> None:
    assert here.key not in repr(here.connection()) + repr(here.adapter()) + repr(vars(here.adapter()))


def test_the_rail_key_is_a_payment_identifier(here: Market) -> None:
    assert here.adapter().rail_key(b"\1" * 32) == "01" * 32
    with pytest.raises(ValueError, match="32 bytes"):
        here.adapter().rail_key(b"short")


def test_there_is_no_refund_and_no_webhook(here: Market) -> None:
    back = RefundInstruction(key="r1", payment_key="k1", payment_id=None, amount=1, currency="USDC", send_by=datetime.now(UTC))
    for ask in (here.adapter().refund, here.adapter().query_refund):
        assert (ask(back, within(5)).sent, ask(back, within(5)).code) == (False, "refund_unsupported")
    with pytest.raises(WebhookRefused):
        here.adapter().parse_webhook({}, b"{}", ["s"], datetime.now(UTC))


# Statement and deposits.


def test_the_statement_adds_up_and_names_the_authorization(here: Market) -> None:
    order, giver = prepared(here), here.chain.accounts[4].lower()
    here.adapter().send(order, within(10))
    here.chain.write("mint(address,uint256)", giver, 70)
    came = here.chain.write("transfer(address,uint256)", here.us, 70, sender=4)
    # Anybody can make a transfer of nothing, in our name too: it is no line.
    here.chain.write("transfer(address,uint256)", here.us, 0, sender=4)
    here.chain.mine(DEPTH)
    lines, cursor, complete, openings, closings = [], "", False, [], []
    while not complete:
        page = here.adapter().statement(cursor, within(20))
        lines, cursor, complete = [*lines, *page.lines], page.cursor, page.complete
        openings, closings = [*openings, page.opening], [*closings, page.closing]
    assert (openings[0], closings[-1]) == (0, sum(line.amount for line in lines)) == (0, here.chain.balance(here.us))
    payment, deposit = lines[-2:]
    assert (payment.kind, payment.provider_id, payment.key, payment.amount) == ("payment", "0x" + order.key, order.key, -PRICE)
    assert payment.party == order.payee_account
    assert (deposit.kind, deposit.amount, deposit.party) == ("deposit", 70, f"eip155:{here.chain.chain}:{giver}")
    assert deposit.id == deposit.provider_id == f"{came}:0"
    assert len({line.id for line in lines}) == len(lines)
    again = here.adapter().statement(cursor, within(20))
    assert (again.lines, again.cursor, again.complete, again.opening) == ((), cursor, True, closings[-1])


def test_a_deposit_is_told_once_it_is_final(here: Market) -> None:
    here.chain.write("mint(address,uint256)", here.chain.accounts[5], 30)
    came = here.chain.write("transfer(address,uint256)", here.us, 30, sender=5)
    assert here.adapter().deposit(f"{came}:0", within(10)) is None
    here.chain.mine(DEPTH)
    found = here.adapter().deposit(f"{came}:0", within(10))
    assert found is not None
    assert (found.amount, found.currency, found.payer_key) == (30, "USDC", f"eip155:{here.chain.chain}:{here.chain.accounts[5].lower()}")
    for other in (f"{came}:1", f"0x{'0' * 64}:0", came, "../x", ""):
        assert here.adapter().deposit(other, within(10)) is None


def test_a_payment_of_ours_is_no_deposit(here: Market) -> None:
    order = prepared(here)
    here.adapter().send(order, within(10))
    here.chain.mine(DEPTH)
    line = here.adapter().statement("", within(20)).lines[-1]
    assert line.kind == "payment"
    assert here.adapter().deposit(line.id, within(10)) is None


# Nodes that lie, lag and break.


@contextlib.contextmanager
def lying(here: Market, raw: Raw, lie: Callable[[dict[str, Any], Any], Any]) -> Iterator[str]:
    """A node in front of ours that says `lie(call, answer)` in the place of what ours says."""

    def script(server: RawServer, connection: socket.socket) -> None:
        while received := server.read_request(connection):
            call = json.loads(received.partition(b"\r\n\r\n")[2])
            found = evm.post(here.chain.url, call)
            connection.sendall(http_answer(json.dumps(lie(call, found)).encode(), 200))

    yield raw(script).url


def settled(here: Market) -> Instruction:
    order = prepared(here)
    assert here.adapter().send(order, within(10)).result is Result.ACCEPTED
    here.chain.mine(DEPTH)
    return order


def _in(method: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any], Any], Any]:
    return lambda call, found: found | {"result": change(found["result"])} if call["method"] == method else found


LIES = {
    "another_chain": (_in("eth_chainId", lambda _: "0x1"), "wrong_chain"),
    "a_number": (_in("eth_chainId", lambda _: 1), "invalid_response"),
    "no_block": (_in("eth_getBlockByNumber", lambda _: None), "invalid_response"),
    "a_block_without_a_time": (_in("eth_getBlockByNumber", lambda block: block | {"timestamp": None}), "invalid_response"),
    "events_of_another_token": (_in("eth_getLogs", lambda logs: [log | {"address": PAYEE} for log in logs]), "invalid_response"),
    "events_of_others": (
        _in("eth_getLogs", lambda logs: [log | {"topics": log["topics"][:2] + ["0x" + "0" * 64]} for log in logs]),
        "invalid_response",
    ),
    "events_out_of_range": (_in("eth_getLogs", lambda logs: [log | {"blockNumber": "0xffffff"} for log in logs]), "invalid_response"),
    "events_that_were_removed": (_in("eth_getLogs", lambda logs: [log | {"removed": True} for log in logs]), "invalid_response"),
    "no_events": (_in("eth_getLogs", lambda _: []), "transfer_not_found"),
    "no_receipt": (_in("eth_getTransactionReceipt", lambda _: None), "transfer_not_found"),
    "a_failed_receipt": (_in("eth_getTransactionReceipt", lambda found: found | {"status": "0x0"}), "transfer_not_found"),
    "a_receipt_of_another_fork": (
        _in("eth_getTransactionReceipt", lambda found: found | {"blockHash": "0x" + "1" * 64}),
        "transfer_not_found",
    ),
    "a_receipt_of_another": (
        _in("eth_getTransactionReceipt", lambda found: found | {"transactionHash": "0x" + "1" * 64}),
        "invalid_response",
    ),
    "a_receipt_without_the_transfer": (
        _in("eth_getTransactionReceipt", lambda found: found | {"logs": found["logs"][:1]}),
        "transfer_not_found",
    ),
    "an_error": (
        lambda call, found: {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": "header not found"}},
        "node_refused",
    ),
    "the_answer_to_another": (lambda call, found: found | {"id": 7}, "invalid_response"),
    "no_result": (lambda call, found: {"jsonrpc": "2.0", "id": 1}, "invalid_response"),
    "a_list": (lambda call, found: [found], "invalid_response"),
}


@pytest.fixture(scope="module")
def done(stage: Market) -> Instruction:
    return settled(stage)


@pytest.mark.parametrize("name", sorted(LIES))
def test_a_node_that_says_odd_things_proves_nothing(here: Market, raw: Raw, done: Instruction, name: str) -> None:
    lie, code = LIES[name]
    with lying(here, raw, lie) as url:
        asked = here.adapter(node=url).query(done, within(10))
    assert (asked.result, asked.code) == (Result.UNKNOWN, code)
    assert asked.invalid == (code in ("wrong_chain", "invalid_response"))


@pytest.mark.parametrize(("part", "code"), [("amount", "mismatch_amount"), ("payee", "mismatch_payee"), ("payer", "mismatch_payer")])
def test_a_transfer_of_something_else_is_a_conflict(here: Market, raw: Raw, done: Instruction, part: str, code: str) -> None:
    def other(found: dict[str, Any]) -> dict[str, Any]:
        used, moved = found["logs"]
        topics, stranger = list(moved["topics"]), "0x" + "77".rjust(64, "0")
        if part != "amount":
            topics[1 if part == "payer" else 2] = stranger
        return found | {"logs": [used, moved | {"topics": topics, "data": stranger if part == "amount" else moved["data"]}]}

    with lying(here, raw, _in("eth_getTransactionReceipt", other)) as url:
        asked = here.adapter(node=url).query(done, within(10))
    assert (asked.result, asked.code, asked.invalid) == (Result.CONFLICTED, code, True)


def test_a_node_that_is_behind_never_proves_a_failure(here: Market, raw: Raw, done: Instruction) -> None:
    old = here.chain.rpc("eth_getBlockByNumber", "0x4", False)

    def behind(call: dict[str, Any], found: Any) -> Any:
        return found | {"result": old} if call["params"] == ["latest", False] else found

    with lying(here, raw, behind) as url:
        assert here.adapter(node=url).query(done, within(10)).code == "authorization_open"


@pytest.mark.parametrize(
    ("status", "code"), [(401, "unauthorized"), (429, "rate_limited"), (500, "unavailable"), (503, "unavailable"), (302, "unavailable")]
)
def test_a_node_that_refuses_is_unknown(here: Market, raw: Raw, status: int, code: str) -> None:
    url = raw(answering(http_answer(b"{}", status, "Location: http://127.0.0.1:1/\r\n"))).url
    assert here.adapter(node=url).query(here.order(), within(5)).code == code
    with pytest.raises(Unreadable) as refused:
        here.adapter(node=url).statement("", within(5))
    assert refused.value.code == code


def test_a_node_that_says_nothing_is_left_at_the_deadline(here: Market, raw: Raw) -> None:
    url, began = raw(lambda server, connection: time.sleep(30)).url, time.monotonic()
    assert here.adapter(node=url).query(here.order(), within(1)).code == "timeout"
    assert time.monotonic() - began < 2


# Merchants that are not well. Their trouble is never the rail's.


def test_what_is_bought_must_be_a_place_that_we_may_call(here: Market) -> None:
    odd = [
        "http://weather.example/",
        "ftp://a/",
        "https://u:p@weather.example/",
        "https://a/#b",
        "https://a b/",
        "https://[",
        "https://a:0/",
        "",
        None,
    ]
    for target in odd:
        with pytest.raises(NotSendable) as refused:
            here.adapter().prepare(here.order(target=target), within(5))
        assert refused.value.code == "target_malformed"


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "192.168.0.1", "[fe80::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_private_address_is_not_called(here: Market, host: str) -> None:
    with pytest.raises(NotSendable) as refused:
        here.adapter().prepare(here.order(target=f"https://{host}/latest/meta-data"), within(5))
    assert refused.value.code == "address_refused"


def test_a_merchant_on_this_machine_needs_a_node_on_this_machine(here: Market) -> None:
    with pytest.raises(NotSendable) as refused:
        here.adapter(node="https://node.example.com").prepare(here.order(), within(5))
    assert refused.value.code == "address_refused"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http_answer(b"", 500), "merchant_unavailable"),
        (http_answer(b"", 404), "merchant_refused"),
        (http_answer(b"", 302, "Location: /weather\r\n"), "merchant_refused"),
        (b"rubbish\r\n\r\n", "merchant_invalid"),
        (http_answer(b"x" * (LARGEST_RESOURCE + 1), 402), "merchant_invalid"),
        (b"", "merchant_unavailable"),
    ],
)
def test_a_merchant_in_trouble_is_the_merchants_trouble(here: Market, raw: Raw, answer: bytes, code: str) -> None:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(answer)
        connection.close()

    server = raw(script)
    with pytest.raises(NotSendable) as refused:
        here.adapter().prepare(here.order(target=f"{server.url}/weather"), within(5))
    assert (refused.value.code, server.requests) == (code, 1)
    order = prepared(here)
    sent = here.adapter().send(dataclasses.replace(order, target=f"{server.url}/weather"), within(5))
    assert (sent.result, sent.code, sent.sent, sent.again, sent.invalid) == (Result.UNKNOWN, code, True, False, False)
    assert server.requests == 2


def test_a_merchant_that_is_away_has_been_sent_nothing(here: Market) -> None:
    order, closed = prepared(here), socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    sent = here.adapter().send(dataclasses.replace(order, target=f"http://127.0.0.1:{port}/weather"), within(5))
    assert (sent.code, sent.sent, sent.again) == ("merchant_unavailable", False, True)


def test_sixteen_threads_that_send_one_order_move_money_once(here: Market) -> None:
    order, before = prepared(here), here.paid()
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: here.adapter().send(order, within(60)), range(16)))
    assert Result.ACCEPTED in {one.result for one in found} <= {Result.ACCEPTED, Result.UNKNOWN}
    here.chain.mine(DEPTH)
    assert here.adapter().query(order, within(20)).result is Result.SETTLED
    assert here.paid() == before + PRICE


def test_the_resource_is_the_terms_own(here: Market) -> None:
    order = prepared(here)
    assert encoded(json.loads(order.terms or "")["resource"]) == encoded({"description": "", "mimeType": "", "url": order.target})
