"""The card adapter against two providers: the bank's own card API, and localstripe, a fake of Stripe's that nobody here wrote."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from rails.adapters import base
from rails.adapters.base import NotSendable, Result
from rails.adapters.card import CardAdapter
from tests.support.card_bank import CardBank, order, said, undo
from tests.support.localstripe import API_KEY, LocalStripe
from tests.support.raw_servers import within

SLACK = 0.5


def at_fake(fake: LocalStripe, method: str = "pm_card_visa", api_key: str = API_KEY) -> CardAdapter:
    return CardAdapter(fake.url, api_key, method, "localstripe")


@dataclass
class Side:
    """One provider, and how many charges it has made under a key."""

    name: str
    adapter: base.Adapter
    declining: base.Adapter
    stranger: base.Adapter
    charges: Callable[[str], int]


@pytest.fixture(params=["bank", "localstripe"])
def side(request: pytest.FixtureRequest, bank: CardBank, fake: LocalStripe) -> Iterator[Side]:
    if request.param == "bank":
        stranger = CardAdapter(f"{bank.provider.url}/card-api", "nobody", bank.method, bank.account)
        declining = bank.adapter(bank.card(declines="card_declined"))
        yield Side("bank", bank.adapter(), declining, stranger, lambda key: sum(row["key"] == key for row in bank.booked()))
        return
    declining = at_fake(fake, "pm_card_chargeCustomerFail")
    yield Side("localstripe", at_fake(fake), declining, at_fake(fake, api_key="nobody"), lambda key: _charges(fake, key))
    fake.empty()


def _charges(fake: LocalStripe, key: str) -> int:
    return sum(row["metadata"].get("codespar_key") == key for row in fake.listed("payment_intents"))


# The ordinary life of a payment, at both.


def test_sending_reserves_and_a_capture_settles(side: Side) -> None:
    sent = side.adapter.send(order(), within(5))
    assert (said(sent), sent.http_status) == ((Result.RESERVED, "reserved", True), 200)
    assert re.fullmatch("pi_[A-Za-z0-9]+", sent.provider_id or "")
    known = order(provider_id=sent.provider_id)
    assert said(side.adapter.query(known, within(5))) == (Result.RESERVED, "reserved", True)
    taken = side.adapter.capture(known, within(5))
    assert (said(taken), taken.provider_id) == ((Result.SETTLED, "settled", True), sent.provider_id)
    for asked in (order(), known):
        found = side.adapter.query(asked, within(5))
        assert (found.result, found.provider_id) == (Result.SETTLED, sent.provider_id)


def test_a_cancel_lets_go_and_what_is_captured_stays_settled(side: Side) -> None:
    let_go = order("k1", provider_id=side.adapter.send(order("k1"), within(5)).provider_id)
    done = side.adapter.cancel(let_go, within(5))
    assert (said(done), done.moved) == ((Result.CANCELED, "canceled", True), 0)
    assert side.adapter.cancel(let_go, within(5)).result is Result.CANCELED
    assert side.adapter.query(let_go, within(5)).result is Result.CANCELED
    taken = order("k2", provider_id=side.adapter.send(order("k2"), within(5)).provider_id)
    side.adapter.capture(taken, within(5))
    assert said(side.adapter.cancel(taken, within(5))) == (Result.SETTLED, "settled", True)


def test_capture_and_cancel_find_the_intent_by_our_key(side: Side) -> None:
    side.adapter.send(order("k1"), within(5))
    side.adapter.send(order("k2"), within(5))
    assert side.adapter.capture(order("k1"), within(5)).result is Result.SETTLED
    assert side.adapter.cancel(order("k2"), within(5)).result is Result.CANCELED
    unknown = side.adapter.capture(order("k3"), within(5))
    assert (unknown.result, unknown.sent) == (Result.NOT_FOUND, False)


def test_capturing_twice_is_capturing_once(side: Side) -> None:
    known = order(provider_id=side.adapter.send(order(), within(5)).provider_id)
    assert [side.adapter.capture(known, within(5)).result for _ in range(2)] == [Result.SETTLED] * 2
    assert [line.amount for line in side.adapter.statement("", within(5)).lines] == [-1050]


def test_sending_again_finds_the_earlier_one(side: Side) -> None:
    first, second = (side.adapter.send(order(), within(5)) for _ in range(2))
    assert (second.result, second.provider_id) == (Result.RESERVED, first.provider_id)
    side.adapter.capture(order(provider_id=first.provider_id), within(5))
    assert side.adapter.send(order(), within(5)).result is Result.SETTLED
    assert side.charges("k1") == 1


def test_sending_again_finds_it_behind_a_hundred_others(side: Side) -> None:
    first = side.adapter.send(order(amount=1), within(5))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: side.adapter.send(order(f"other{n}", amount=1), within(30)), range(103)))
    assert side.adapter.send(order(amount=1), within(10)).provider_id == first.provider_id
    assert side.charges("k1") == 1


def test_a_key_used_for_something_else_is_conflicted(side: Side) -> None:
    side.adapter.send(order(), within(5))
    for other, name in (
        (order(amount=1051), "amount"),
        (order(payee_account="acct_eve"), "payee"),
        (order(reference="inv 8"), "reference"),
    ):
        assert said(side.adapter.send(other, within(5))) == (Result.CONFLICTED, f"mismatch_{name}", True)
        assert side.adapter.query(other, within(5)).code == f"mismatch_{name}"


def test_a_declined_card_is_rejected_with_its_reason(side: Side) -> None:
    done = side.declining.send(order(), within(5))
    assert (said(done), done.http_status) == ((Result.REJECTED, "declined", True), 402)
    assert "card_declined" in done.reason
    assert said(side.declining.query(order(), within(5)))[:2] == (Result.REJECTED, "declined")
    # Sending again, though with a card that would do, is the same payment: it was declined.
    assert side.adapter.send(order(), within(5)).result is Result.REJECTED
    assert side.charges("k1") == 1


def test_a_card_that_the_provider_does_not_know_is_refused(bank: CardBank, fake: LocalStripe) -> None:
    for adapter in (bank.adapter("pm_nobody"), at_fake(fake, "pm_nobody")):
        assert said(adapter.send(order(), within(5))) == (Result.REJECTED, "refused", True)


def test_an_unknown_key_is_not_found_after_every_page(side: Side) -> None:
    side.adapter.send(order("k1"), within(5))
    assert said(side.adapter.query(order("k2"), within(5))) == (Result.NOT_FOUND, "not_found", True)
    assert said(side.adapter.query(order("k2", provider_id="pi_x"), within(5))) == (Result.NOT_FOUND, "not_found", True)


def test_a_wrong_api_key_proves_nothing_and_sends_nothing(side: Side) -> None:
    assert said(side.stranger.send(order(), within(5))) == (Result.UNKNOWN, "unauthorized", False)
    assert said(side.stranger.query(order(), within(5))) == (Result.UNKNOWN, "unauthorized", True)
    assert said(side.stranger.capture(order(provider_id="pi_x"), within(5))) == (Result.UNKNOWN, "unauthorized", True)
    assert side.stranger.refund(undo(payment_id="pi_x"), within(5)).sent is False


def test_refunds_are_partial_or_whole_and_made_once(side: Side) -> None:
    payment = side.adapter.send(order(), within(5)).provider_id
    side.adapter.capture(order(provider_id=payment), within(5))
    done = side.adapter.refund(undo(payment_id=payment), within(5))
    assert (said(done), (done.provider_id or "")[:3]) == ((Result.SETTLED, "settled", True), "re_")
    again = side.adapter.refund(undo(payment_id=payment), within(5))
    assert (again.result, again.provider_id) == (Result.SETTLED, done.provider_id)
    for asked in (undo(payment_id=payment), undo(payment_id=None), undo(payment_id=payment, provider_id=done.provider_id)):
        assert side.adapter.query_refund(asked, within(5)).provider_id == done.provider_id
    assert said(side.adapter.refund(undo(payment_id=payment, amount=51), within(5)))[:2] == (Result.CONFLICTED, "mismatch_amount")
    assert side.adapter.query_refund(undo("r9", payment), within(5)).result is Result.NOT_FOUND
    assert side.adapter.refund(undo("r2", None, 1000), within(5)).result is Result.SETTLED
    assert sorted(line.amount for line in side.adapter.statement("", within(5)).lines if line.kind == "refund") == [50, 1000]


def test_a_refund_of_a_payment_that_is_not_there_is_not_sent(side: Side) -> None:
    done = side.adapter.refund(undo(payment_key="k9"), within(5))
    assert said(done) == (Result.UNKNOWN, "payment_not_found", False)
    assert side.adapter.query_refund(undo(payment_key="k9"), within(5)).code == "payment_not_found"


def test_preflight_knows_a_right_credential_from_a_wrong_one(side: Side, bank: CardBank) -> None:
    checks = {check.name: check for check in side.adapter.preflight(within(5))}
    assert {name: check.ok for name, check in checks.items()} == {"reachable": True, "account": True, "payment_method": True}
    assert "visa ending in 4242" in checks["payment_method"].detail
    wrong = {check.name: check.ok for check in side.stranger.preflight(within(5))}
    assert wrong == {"reachable": True, "account": False, "payment_method": False}


def test_preflight_says_when_nobody_answers_and_when_the_card_is_unknown(bank: CardBank) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert [check.ok for check in CardAdapter(url, "k", "pm_1", "acct_a").preflight(within(2))] == [False, False, False]
    assert [check.ok for check in bank.adapter("pm_nobody").preflight(within(5))] == [True, True, False]


def test_the_evidence_has_the_request_without_the_credentials(side: Side, bank: CardBank) -> None:
    sent = side.adapter.send(order(), within(5))
    assert b"/v1/payment_intents HTTP/1.1\r\n" in sent.request
    assert b"Idempotency-Key: k1\r\n" in sent.request
    assert b"amount=1050&currency=brl" in sent.request
    assert not any(secret.encode() in sent.request for secret in (API_KEY, bank.api_key))
    assert json.loads(sent.raw)["id"] == sent.provider_id


# What is refused before anything is sent.


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"currency": "IQD"}, "currency"),
        ({"currency": "UGX"}, "currency"),
        ({"currency": "XAU"}, "currency"),
        ({"currency": "BHD", "amount": 1005}, "amount"),
        ({"currency": "MGA", "amount": 1050}, "amount"),
        ({"payee_type": "pix_key"}, "payee"),
        ({"payee_account": "maria@example.com"}, "payee"),
        ({"payee_account": "acct_"}, "payee"),
    ],
)
def test_what_a_card_cannot_carry_is_refused_before_it_is_sent(
    adapter: base.Adapter, bank: CardBank, change: dict[str, Any], code: str
) -> None:
    before = len(bank.provider.ledger()["requests"])
    with pytest.raises(NotSendable) as refusal:
        adapter.prepare(order(**change), within(5))
    assert refusal.value.code == code
    assert said(adapter.send(order(**change), within(5))) == (Result.UNKNOWN, code, False)
    assert len(bank.provider.ledger()["requests"]) == before


def test_a_refund_that_cannot_be_expressed_is_not_sent(adapter: base.Adapter) -> None:
    assert said(adapter.refund(undo(payment_id="pi_1", currency="KWD", amount=1), within(5))) == (Result.UNKNOWN, "amount", False)


def test_an_instruction_that_can_be_sent_is_left_as_it_is(adapter: base.Adapter) -> None:
    asked = order()
    assert adapter.prepare(asked, within(5)) is asked


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("http://pay.example.com", "k", "pm_1", "acct_a"), "base_url"),
        (("https://pay.example.com", "ké", "pm_1", "acct_a"), "api_key"),
        (("https://pay.example.com", "k", "4111111111111111", "acct_a"), "never a number"),
        (("https://pay.example.com", "k", "pm_1", "main"), "acct_"),
    ],
)
def test_settings_that_leak_or_pay_nobody_are_refused(settings: tuple[str, str, str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        CardAdapter(*settings)


def test_the_rail_key_is_one_to_one_and_in_the_alphabet_of_keys(adapter: base.Adapter) -> None:
    assert base.KEY.fullmatch(adapter.rail_key(bytes(range(32))))
    assert adapter.rail_key(b"\0" * 32) != adapter.rail_key(b"\0" * 31 + b"\1")
    with pytest.raises(ValueError, match="32 bytes"):
        adapter.rail_key(b"short")


@pytest.mark.parametrize(("currency", "ours", "theirs"), [("JPY", 1050, 1050), ("BHD", 1050, 1050), ("ISK", 7, 700), ("MGA", 700, 7)])
def test_amounts_are_stripes_on_the_way_out_and_ours_on_the_way_back(fake: LocalStripe, currency: str, ours: int, theirs: int) -> None:
    adapter, asked = at_fake(fake), order(f"in{currency}", currency=currency, amount=ours)
    sent = adapter.send(asked, within(5))
    assert sent.result is Result.RESERVED
    assert json.loads(sent.raw)["amount"] == theirs
    adapter.capture(order(f"in{currency}", currency=currency, amount=ours, provider_id=sent.provider_id), within(5))
    back = undo(f"back{currency}", sent.provider_id, ours, currency=currency)
    assert adapter.refund(back, within(5)).result is Result.SETTLED
    lines = [line for line in adapter.statement("", within(5)).lines if line.currency == currency]
    assert sorted(line.amount for line in lines) == [-ours, ours]
    fake.empty()


# Keys, at a provider that forgets or ignores them.


def test_each_request_that_moves_money_has_a_key_of_its_own(adapter: base.Adapter, bank: CardBank) -> None:
    first, second = (
        order(key, provider_id=adapter.send(order(key, amount=9), within(5)).provider_id, amount=9) for key in ("mine1", "mine2")
    )
    adapter.capture(first, within(5))
    adapter.cancel(second, within(5))
    adapter.refund(undo("mine3", first.provider_id, 9), within(5))
    written = [row["idempotency_key"] for row in bank.provider.ledger()["requests"] if row["method"] == "POST" and bank.account]
    assert [key for key in written if (key or "").startswith("mine")] == ["mine1", "mine2", "mine1-capture", "mine2-cancel", "mine3"]


def test_after_the_provider_has_forgotten_the_key_nothing_is_paid_twice(adapter: base.Adapter, bank: CardBank) -> None:
    bank.provider.call("POST", "/_control/card", {"key_seconds": 0.2})
    first = adapter.send(order(), within(5))
    adapter.capture(order(provider_id=first.provider_id), within(5))
    refund = adapter.refund(undo(payment_id=first.provider_id), within(5))
    time.sleep(0.4)
    assert adapter.send(order(), within(5)).provider_id == first.provider_id
    assert adapter.capture(order(provider_id=first.provider_id), within(5)).result is Result.SETTLED
    assert adapter.refund(undo(payment_id=first.provider_id), within(5)).provider_id == refund.provider_id
    assert bank.balance() == 10_000 - 1050 + 50


def test_two_under_one_key_are_a_humans(fake: LocalStripe) -> None:
    fields = {"amount": 1050, "currency": "brl", "payment_method": "pm_card_visa", "metadata[codespar_key]": "twice"}
    for _ in range(2):
        assert fake.call("POST", "/v1/payment_intents", fields, **{"Idempotency-Key": "twice"})[0] == 200
    assert said(at_fake(fake).query(order("twice"), within(5)))[:2] == (Result.CONFLICTED, "duplicate")
    assert said(at_fake(fake).send(order("twice"), within(5))) == (Result.CONFLICTED, "duplicate", True)
    assert _charges(fake, "twice") == 2
    fake.empty()


def test_a_declared_lifetime_is_not_taken_for_a_promise() -> None:
    found = CardAdapter.capabilities
    assert (found.key_repeats, found.key_lifetime_seconds, found.captures) == (False, 24 * 3600, True)
    assert {step.state: step.action for step in found.rollback} == {
        Result.ACCEPTED: base.Action.WAIT,
        Result.RESERVED: base.Action.VOID,
        Result.SETTLED: base.Action.REFUND,
    }
