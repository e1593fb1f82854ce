"""What a card provider's answer proves: the pure judges over random answers, and raw servers that behave worse than any provider."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codespar.lib import money
from rails.adapters import card_amounts, exchange
from rails.adapters.base import NotSendable, Result, Unreadable
from rails.adapters.card import CardAdapter
from rails.adapters.card_judging import judge_payment, judge_refund
from rails.adapters.judging import Verdict
from tests.support.card_answers import good, refunded, reserved
from tests.support.card_bank import SHOP, order, said, undo
from tests.support.raw_servers import Raw, RawServer, answering, dripping, http_answer, within

SLACK = 0.5


def listed(*rows: dict[str, Any], more: bool = False) -> dict[str, Any]:
    return {"object": "list", "url": "/v1/payment_intents", "has_more": more, "data": list(rows)}


def error(kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": "No."} | more}


def judged(answer: dict[str, Any], status: int = 200, *, asks: bool = False, **changes: Any) -> Verdict:
    return judge_payment(status, json.dumps(answer).encode(), order(**changes), routed=True, asks=asks)


# One answer at a time.


@pytest.mark.parametrize(
    ("answer", "result", "code"),
    [
        (good(), Result.SETTLED, "settled"),
        (reserved(), Result.RESERVED, "reserved"),
        (reserved(status="processing"), Result.ACCEPTED, "accepted"),
        (reserved(status="canceled"), Result.CANCELED, "canceled"),
        (reserved(status="requires_action"), Result.REJECTED, "action_required"),
        (reserved(status="requires_payment_method", last_payment_error={"code": "card_declined"}), Result.REJECTED, "declined"),
        (reserved(status="requires_payment_method"), Result.UNKNOWN, "unconfirmed"),
        (reserved(status="requires_confirmation"), Result.UNKNOWN, "unconfirmed"),
        (reserved(status="imagined"), Result.UNKNOWN, "invalid_response"),
        (good(amount_received=1049), Result.CONFLICTED, "mismatch_amount_received"),
        (good(amount_received=1051), Result.UNKNOWN, "invalid_response"),
        (good(amount_received=-1), Result.UNKNOWN, "invalid_response"),
        (good(status="requires_capture"), Result.UNKNOWN, "invalid_response"),
        (good(status="requires_action"), Result.UNKNOWN, "invalid_response"),
        (reserved(amount_capturable=1049), Result.CONFLICTED, "mismatch_amount_capturable"),
        (good(transfer_data=None), Result.UNKNOWN, "invalid_response"),
        (good(transfer_data={"destination": "acct_eve"}), Result.CONFLICTED, "mismatch_payee"),
        (good(metadata={"codespar_key": "k2", "codespar_payee": SHOP, "codespar_reference": "inv 7"}), Result.CONFLICTED, "mismatch_key"),
        (good(capture_method="automatic"), Result.CONFLICTED, "mismatch_capture_method"),
        (good(object="setup_intent"), Result.CONFLICTED, "mismatch_object"),
        (good(currency="usd"), Result.CONFLICTED, "mismatch_currency"),
        (good(currency="BRL"), Result.UNKNOWN, "invalid_response"),
        (good(amount=1050.0), Result.UNKNOWN, "invalid_response"),
        (good(exchange_rate=1.5), Result.SETTLED, "settled"),
    ],
)
def test_each_state_of_an_intent_has_its_meaning(answer: dict[str, Any], result: Result, code: str) -> None:
    verdict = judged(answer)
    assert (verdict.result, verdict.code) == (result, code)


def test_another_intent_than_the_one_that_was_asked_for_is_conflicted() -> None:
    assert judged(good(), provider_id="pi_other").code == "mismatch_id"
    assert judged(good(), provider_id=good()["id"]).result is Result.SETTLED


def test_without_amount_received_the_charge_says_what_was_captured() -> None:
    bare = {name: value for name, value in good().items() if name != "amount_received"}
    for charge, result in (
        ({"captured": True, "amount": 1050}, Result.SETTLED),
        ({"captured": True, "amount": 1049}, Result.CONFLICTED),
        ({"captured": False, "amount": 1050}, Result.CONFLICTED),
        ({"captured": "yes", "amount": 1050}, Result.UNKNOWN),
        ("ch_1", Result.UNKNOWN),
        (None, Result.CONFLICTED),
    ):
        assert judged(bare | {"latest_charge": charge}).result is result


def test_what_had_moved_is_told_in_our_units() -> None:
    assert judged(reserved(status="canceled", amount_received=500)).moved == 500
    verdict = judged(reserved(amount=105_000, currency="isk", status="processing", amount_received=50_000), currency="ISK")
    assert (verdict.result, verdict.moved) == (Result.ACCEPTED, 500)


INSIDE = reserved(status="requires_payment_method", last_payment_error={"code": "card_declined", "decline_code": "lost_card"})


@pytest.mark.parametrize(
    ("status", "answer", "asks", "result", "code"),
    [
        (402, error("card_error", code="card_declined", payment_intent=INSIDE), False, Result.REJECTED, "declined"),
        (
            402,
            error("card_error", code="card_declined", payment_intent=INSIDE | {"amount": 1}),
            False,
            Result.CONFLICTED,
            "mismatch_amount",
        ),
        (402, error("card_error", code="card_declined", payment_intent=reserved()), False, Result.RESERVED, "reserved"),
        (400, error(code="payment_intent_unexpected_state", payment_intent=good()), True, Result.SETTLED, "settled"),
        (402, error(code="card_declined"), False, Result.REJECTED, "declined"),
        (402, error(code="card_declined"), True, Result.UNKNOWN, "invalid_response"),
        (402, error(), False, Result.UNKNOWN, "invalid_response"),
        (400, error("idempotency_error"), False, Result.CONFLICTED, "conflict"),
        (400, error(), False, Result.REJECTED, "refused"),
        (400, error(), True, Result.UNKNOWN, "invalid_response"),
        (400, error("api_error"), False, Result.UNKNOWN, "invalid_response"),
        (404, error(), False, Result.REJECTED, "refused"),
        (404, error(), True, Result.NOT_FOUND, "not_found"),
        (404, {"detail": "no such page"}, True, Result.UNKNOWN, "invalid_response"),
        (401, error(), False, Result.UNKNOWN, "unauthorized"),
        (403, error(), False, Result.UNKNOWN, "unauthorized"),
        (409, error("idempotency_error"), False, Result.UNKNOWN, "in_progress"),
        (429, error(), False, Result.UNKNOWN, "rate_limited"),
        (500, error("api_error"), False, Result.UNKNOWN, "unavailable"),
        (201, good(), False, Result.UNKNOWN, "invalid_response"),
    ],
)
def test_an_error_proves_only_what_it_is_about(status: int, answer: dict[str, Any], asks: bool, result: Result, code: str) -> None:
    verdict = judged(answer, status, asks=asks)
    assert (verdict.result, verdict.code) == (result, code)


def test_a_decline_names_the_issuers_reason() -> None:
    assert judged(error("card_error", code="card_declined", payment_intent=INSIDE), 402).reason.endswith("lost_card")


# Over random answers.

NAMES = [
    "id",
    "object",
    "amount",
    "amount_received",
    "amount_capturable",
    "currency",
    "metadata",
    "status",
    "transfer_data",
    "capture_method",
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "codespar_key": st.sampled_from(["k1", "K1", 1, None]),
        "codespar_payee": st.sampled_from([SHOP, "acct_eve"]),
        "codespar_reference": st.sampled_from(["inv 7", "inv 8"]),
    },
)
NEAR = st.sampled_from([1050, 1050.0, "1050", 0, "succeeded", "requires_capture", "canceled", "brl", "BRL", "manual", "payment_intent"])
ROUTES = st.fixed_dictionaries({"destination": st.sampled_from([SHOP, "acct_eve"])})
CHANGES = st.dictionaries(st.sampled_from(NAMES), VALUES | NEAR | METADATA | ROUTES, max_size=3)


def proves(answer: dict[str, Any], fields: dict[str, Any]) -> bool:
    return all(type(answer.get(name)) is type(value) and answer[name] == value for name, value in fields.items())


@settings(max_examples=600, deadline=None)
@given(changes=CHANGES, gone=st.sets(st.sampled_from(NAMES), max_size=1), status=st.sampled_from([200, 201, 400, 402, 404, 500]))
def test_settled_or_reserved_only_when_every_field_is_equal(changes: dict[str, Any], gone: set[str], status: int) -> None:
    for made, result in ((good, Result.SETTLED), (reserved, Result.RESERVED)):
        answer = {name: value for name, value in made(**changes).items() if name not in gone}
        verdict = judged(answer, status)
        if verdict.result in (Result.SETTLED, Result.RESERVED):
            sure = {name: good()[name] for name in ("amount", "currency", "metadata", "capture_method", "object")}
            assert status == 200
            assert proves(answer, sure | {"transfer_data": {"destination": SHOP}})
            assert answer["status"] == {Result.SETTLED: "succeeded", Result.RESERVED: "requires_capture"}[verdict.result]
            assert verdict.result is Result.RESERVED or answer["amount_received"] == 1050
        if not changes and not gone and status == 200:
            assert verdict.result is result


REFUND_NAMES = ["id", "object", "amount", "currency", "metadata", "payment_intent", "status"]


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(REFUND_NAMES), VALUES | st.sampled_from([50, 50.0, "pi_1", "pi_2", "succeeded"]), max_size=2)
)
def test_a_refund_is_settled_only_when_every_field_is_equal(changes: dict[str, Any]) -> None:
    answer = refunded(**changes)
    verdict = judge_refund(200, json.dumps(answer).encode(), undo(payment_id="pi_1"), asks=False)
    if verdict.result is Result.SETTLED:
        assert proves(answer, {name: refunded()[name] for name in REFUND_NAMES if name != "id"})
    assert changes or verdict.result is Result.SETTLED


@settings(max_examples=300, deadline=None)
@given(
    body=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()), status=st.integers(100, 599), asks=st.booleans()
)
def test_random_answers_prove_nothing(body: bytes, status: int, asks: bool) -> None:
    assert judge_payment(status, body, order(), routed=asks, asks=asks).result is Result.UNKNOWN
    assert judge_refund(status, body, undo(payment_id="pi_1"), asks=asks).result is Result.UNKNOWN


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(money.EXPONENTS)), st.integers(1, 10**9))
def test_an_amount_comes_back_as_it_went_or_does_not_go(currency: str, amount: int) -> None:
    try:
        sent = card_amounts.to_stripe(amount, currency)
    except NotSendable:
        assert currency not in card_amounts.CURRENCIES or amount % (10 if money.EXPONENTS[currency] == 3 else 100)
        return
    assert card_amounts.from_stripe(sent, currency) == amount
    exponent = {"ISK": 2, "MGA": 0}.get(currency, money.EXPONENTS[currency])
    assert sent * 10 ** money.EXPONENTS[currency] == amount * 10**exponent
    assert exponent != 3 or sent % 10 == 0


def test_every_currency_is_one_that_the_engine_knows() -> None:
    assert set(card_amounts.CURRENCIES) <= set(money.EXPONENTS)
    assert {code for code in card_amounts.CURRENCIES if money.EXPONENTS[code] == 3} == card_amounts.THREE_DECIMALS
    with pytest.raises(ValueError, match="currency"):
        card_amounts.from_stripe(150, "ISK")


# Servers that behave worse than any provider. They say that there is nothing yet, and then answer the request.


def at(server: RawServer) -> CardAdapter:
    return CardAdapter(server.url, "k", "pm_1", "acct_main")


def saying(*payloads: bytes) -> Any:
    """Answers with one payload after the other, whatever is asked and on whatever connection."""
    left = list(payloads)

    def script(server: RawServer, connection: Any) -> None:
        while server.read_request(connection):
            connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    return script


def body(answer: dict[str, Any], status: int = 200, more: str = "") -> bytes:
    return http_answer(json.dumps(answer).encode(), status, more)


NOTHING = body(listed())
DUPLICATE = json.dumps(good()).replace('"amount": 1050', '"amount": 1050, "amount": 1050').encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"nonsense\r\n\r\n",
        http_answer(b"", 200),
        http_answer(b"[]", 200),
        http_answer(b"\xff\xfe", 200),
        http_answer(b"[" * 60_000, 200),
        http_answer(DUPLICATE, 200),
        http_answer(b"<html>", 400),
        body(good(id="ch_1")),
        body(good(id=None)),
        body(good(amount="1050")),
        body(good(amount=True)),
        body(good(metadata=None)),
        body(good(note="x" * 70_000)),
        body(good(), more="Content-Encoding: gzip\r\n"),
        body(good(), 204),
        body(good(), 202),
        body(error(), 418),
    ],
)
def test_what_is_not_an_answer_is_unknown(raw: Raw, payload: bytes) -> None:
    done = at(raw(saying(NOTHING, payload))).send(order(), within(5))
    assert said(done) == (Result.UNKNOWN, "invalid_response", True)
    assert len(done.raw) <= exchange.LARGEST_BODY


@pytest.mark.parametrize(
    "pages",
    [
        [http_answer(b"<html>", 200)],
        [body({"object": "list", "data": []})],
        [body(listed() | {"data": [{"metadata": {"codespar_key": "k1"}}]})],
        [body(listed() | {"data": {}})],
        [body(listed(good(), good()))],
        [body(listed(more=True))],
        [body(listed(good(metadata={}), more=True))],
        [body(listed(good(metadata={}), more=True)), body(listed(good(metadata={})))],
        [body(error(), 400)],
        [body(error("idempotency_error"), 400)],
    ],
)
def test_a_list_that_is_none_is_no_proof_and_nothing_is_sent(raw: Raw, pages: list[bytes]) -> None:
    server = raw(saying(*pages))
    assert said(at(server).send(order(), within(5))) == (Result.UNKNOWN, "invalid_response", False)
    assert said(at(raw(saying(*pages))).query(order(), within(5)))[:2] == (Result.UNKNOWN, "invalid_response")
    assert server.requests <= 3


def test_a_list_of_many_megabytes_is_not_read(raw: Raw) -> None:
    server = raw(saying(body(listed(good(note="x" * 5_000_000)))))
    assert said(at(server).send(order(), within(5))) == (Result.UNKNOWN, "invalid_response", False)


def test_nothing_is_not_found_while_a_page_is_missing(raw: Raw) -> None:
    first = listed(good(id="pi_1", metadata={}), more=True)
    assert at(raw(saying(body(first), body(error(), 503)))).query(order(), within(5)).code == "unavailable"
    assert at(raw(saying(body(first), body(listed(good(id="pi_2", metadata={})))))).query(order(), within(5)).result is Result.NOT_FOUND


def test_a_provider_that_is_gone_after_it_showed_our_charge_leaves_it_sent(raw: Raw) -> None:
    def script(server: RawServer, connection: Any) -> None:
        server.read_request(connection)
        server.socket.shutdown(socket.SHUT_RDWR)  # closing alone leaves it listening to whoever waits in accept
        connection.sendall(body(listed(good()), more="Connection: close\r\n"))
        connection.close()

    done = at(raw(script)).send(order(), within(3))
    assert (said(done), done.again) == ((Result.UNKNOWN, "connect_failed", True), False)


@pytest.mark.parametrize(("status", "again"), [(429, True), (502, True), (503, True), (500, False), (401, False)])
def test_only_a_look_may_be_tried_again(raw: Raw, status: int, again: bool) -> None:
    look = at(raw(saying(body(error(), status)))).send(order(), within(5))
    assert (look.result, look.sent, look.again) == (Result.UNKNOWN, False, again)
    write = at(raw(saying(NOTHING, body(error(), status)))).send(order(), within(5))
    assert (write.result, write.sent, write.again) == (Result.UNKNOWN, True, False)


def test_a_request_is_written_once_and_a_redirect_is_not_followed(raw: Raw) -> None:
    server = raw(saying(NOTHING, http_answer(b"{}", 307, "Location: /elsewhere\r\n")))
    assert said(at(server).send(order(), within(5))) == (Result.UNKNOWN, "invalid_response", True)
    assert server.requests == 2


def test_the_key_is_of_the_instruction_and_the_action(raw: Raw) -> None:
    seen: list[bytes] = []

    def script(server: RawServer, connection: Any) -> None:
        while request := server.read_request(connection):
            seen.append(request)
            connection.sendall(NOTHING if request.startswith(b"GET") else body(good()))

    adapter, known = at(raw(script)), order(provider_id=good()["id"])
    adapter.send(order(), within(5))
    adapter.capture(known, within(5))
    adapter.cancel(known, within(5))
    adapter.refund(undo(payment_id="pi_1"), within(5))
    written = [request.decode() for request in seen if request.startswith(b"POST")]
    assert [request.partition("Idempotency-Key: ")[2].partition("\r\n")[0] for request in written] == [
        "k1",
        "k1-capture",
        "k1-cancel",
        "r1",
    ]
    assert f"transfer_data%5Bdestination%5D={SHOP}" in written[0]
    assert written[1].endswith("\r\n\r\n")


@pytest.mark.parametrize(
    ("head", "drop"), [(b"HTTP/1.1 200 X\r\nContent-Length: 60000\r\n\r\n", b"x"), (b"HTTP/1.1 200 X\r\n", b"X-Drop: 1\r\n")]
)
def test_a_slow_drip_does_not_extend_the_deadline(raw: Raw, head: bytes, drop: bytes) -> None:
    server = raw(dripping(head, drop))
    for call in (lambda: at(server).send(order(), within(0.5)), lambda: at(server).capture(order(provider_id="pi_1"), within(0.5))):
        started = time.monotonic()
        done = call()
        assert time.monotonic() - started < 0.5 + SLACK
        assert (done.result, done.code) == (Result.UNKNOWN, "timeout")


def test_pages_without_end_keep_the_deadline(raw: Raw) -> None:
    count = iter(range(10**9))

    def script(server: RawServer, connection: Any) -> None:
        while server.read_request(connection):
            connection.sendall(body(listed(good(id=f"pi_{next(count)}", metadata={}), more=True)))

    started = time.monotonic()
    done = at(raw(script)).send(order(), within(0.6))
    assert time.monotonic() - started < 0.6 + SLACK
    assert said(done)[::2] == (Result.UNKNOWN, False)


@pytest.mark.parametrize(
    "change",
    [
        {"data": [{"id": "txn_1"}]},
        {"data": [{"id": "1", "type": "charge", "amount": 1, "currency": "brl", "created": 1}]},
        {"data": [{"id": "txn_1", "type": "charge", "amount": 1.5, "currency": "brl", "created": 1}]},
        {"data": [{"id": "txn_1", "type": "charge", "amount": 1, "currency": "brl", "created": 2**40}]},
        {"data": [{"id": "txn_1", "type": "charge", "amount": 1, "currency": "xyz", "created": 1}]},
        {"has_more": True},
    ],
)
def test_a_statement_that_cannot_be_read_is_unreadable(raw: Raw, change: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as failure:
        at(raw(answering(body(listed() | change)))).statement("", within(5))
    assert failure.value.code == "invalid_response"


def test_what_is_neither_payment_nor_refund_nor_deposit_is_something_else(raw: Raw) -> None:
    row = {"id": "txn_1", "type": "payout", "amount": -7, "currency": "brl", "created": 1, "source": "po_1", "exchange_rate": 1.5}
    [line] = at(raw(answering(body(listed(row))))).statement("", within(5)).lines
    assert (line.kind, line.provider_id, line.amount, line.key, line.party) == ("other", "po_1", -7, None, "")
