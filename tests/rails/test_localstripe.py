"""What localstripe cannot do, or does in another way than Stripe: so that nobody takes it for more than it proves."""

from __future__ import annotations

import importlib.metadata
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rails.adapters.base import Result, Unreadable
from rails.adapters.card import CardAdapter
from tests.support.card_bank import order, undo
from tests.support.localstripe import API_KEY, LocalStripe
from tests.support.raw_servers import within

FIELDS = {"amount": 1050, "currency": "brl", "payment_method": "pm_card_visa", "confirm": "true", "capture_method": "manual"}


@pytest.fixture
def adapter(fake: LocalStripe) -> Iterator[CardAdapter]:
    yield CardAdapter(fake.url, API_KEY, "pm_card_visa", "localstripe")
    fake.empty()


def paid(adapter: CardAdapter, key: str = "k1") -> str:
    intent = adapter.send(order(key), within(5)).provider_id or ""
    assert adapter.capture(order(key, provider_id=intent), within(5)).result is Result.SETTLED
    return intent


def test_it_is_gpl_and_none_of_our_processes_ever_imports_it() -> None:
    assert importlib.metadata.metadata("localstripe")["License-Expression"] == "GPL-3.0-or-later"
    code = "import sys, rails.adapters, rails.sandbox.provider, tests.support.localstripe\nprint('localstripe' in sys.modules)"
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "False"


def test_it_ignores_idempotency_keys(fake: LocalStripe, adapter: CardAdapter) -> None:
    made = [fake.call("POST", "/v1/payment_intents", FIELDS, **{"Idempotency-Key": "same"})[1]["id"] for _ in range(2)]
    assert len(set(made)) == 2


@pytest.mark.parametrize("name", ["transfer_data[destination]", "description", "statement_descriptor", "error_on_requires_action"])
def test_it_knows_no_merchants_and_refuses_what_it_does_not_know(fake: LocalStripe, adapter: CardAdapter, name: str) -> None:
    status, answer = fake.call("POST", "/v1/payment_intents", FIELDS | {name: "acct_shop"})
    assert (status, answer["error"]["message"].partition(" ")[0]) == (400, "Unexpected")
    routed = CardAdapter(fake.url, API_KEY, "pm_card_visa", "acct_main")
    assert routed.send(order(), within(5)).result is Result.REJECTED


def test_it_lists_the_oldest_first_and_narrows_nothing_down_by_time(fake: LocalStripe, adapter: CardAdapter) -> None:
    made = [adapter.send(order(f"k{n}"), within(5)).provider_id for n in range(3)]
    assert [row["id"] for row in fake.listed("payment_intents")] == made
    assert fake.call("GET", "/v1/payment_intents?created[gte]=1")[0] == 400


def test_it_begins_its_list_again_behind_an_id_that_it_does_not_know(fake: LocalStripe, adapter: CardAdapter) -> None:
    adapter.send(order(), within(5))
    assert len(fake.call("GET", "/v1/payment_intents?starting_after=pi_nobody")[1]["data"]) == 1


def test_its_decline_says_nothing_of_the_intent(fake: LocalStripe, adapter: CardAdapter) -> None:
    status, answer = fake.call("POST", "/v1/payment_intents", FIELDS | {"payment_method": "pm_card_chargeCustomerFail"})
    assert (status, answer["error"]["type"], answer["error"]["code"]) == (402, "invalid_request_error", "card_declined")
    assert "payment_intent" not in answer["error"]


def test_it_waits_for_a_cards_holder_though_nobody_is_there(fake: LocalStripe, adapter: CardAdapter) -> None:
    card = {"type": "card", "card[number]": "4000002500003155", "card[exp_month]": 12, "card[exp_year]": 2030, "card[cvc]": 123}
    asks = CardAdapter(fake.url, API_KEY, fake.call("POST", "/v1/payment_methods", card)[1]["id"], "localstripe")
    done = asks.send(order(), within(5))
    assert (done.result, done.code, done.sent) == (Result.REJECTED, "action_required", True)
    # Should the holder answer after all, the money is reserved, and not captured: the payment was given up, and is not paid.
    secret = fake.listed("payment_intents")[0]["client_secret"]
    fake.call("POST", f"/v1/payment_intents/{done.provider_id}/_authenticate", {"client_secret": secret, "success": "true"})
    assert asks.query(order(provider_id=done.provider_id), within(5)).result is Result.RESERVED
    assert fake.listed("balance_transactions") == []
    assert asks.cancel(order(provider_id=done.provider_id), within(5)).result is Result.CANCELED


def test_it_captures_what_was_canceled(fake: LocalStripe, adapter: CardAdapter) -> None:
    intent = adapter.send(order(), within(5)).provider_id or ""
    adapter.cancel(order(provider_id=intent), within(5))
    assert adapter.capture(order(provider_id=intent), within(5)).moved == 1050
    found = adapter.query(order(provider_id=intent), within(5))
    # It says canceled and has booked the charge: what had moved is told.
    assert (found.result, found.moved) == (Result.CANCELED, 1050)
    assert [row["amount"] for row in fake.listed("balance_transactions")] == [1050]


def test_it_refunds_what_was_not_captured_and_more_than_was_paid(fake: LocalStripe, adapter: CardAdapter) -> None:
    reserved = adapter.send(order("k1"), within(5)).provider_id
    assert adapter.refund(undo("r1", reserved), within(5)).result is Result.SETTLED
    settled = paid(adapter, "k2")
    assert adapter.refund(undo("r2", settled, 5000, payment_key="k2"), within(5)).result is Result.SETTLED


def test_it_fails_at_the_refunds_of_an_intent_without_a_charge(fake: LocalStripe, adapter: CardAdapter) -> None:
    bare = fake.call("POST", "/v1/payment_intents", {"amount": 1, "currency": "brl"})[1]["id"]
    done = adapter.refund(undo("r1", bare), within(5))
    assert (done.result, done.code, done.sent) == (Result.UNKNOWN, "unavailable", False)


def test_its_charges_do_not_carry_the_metadata_so_that_a_line_has_no_key(adapter: CardAdapter) -> None:
    intent = paid(adapter)
    [line] = adapter.statement("", within(5)).lines
    assert (line.kind, line.provider_id, line.key, line.party, line.amount) == ("payment", intent, None, "", -1050)


def test_it_cannot_tell_what_follows_a_line_and_mixes_up_a_second(adapter: CardAdapter) -> None:
    intent = paid(adapter)
    adapter.refund(undo(payment_id=intent), within(5))
    whole = adapter.statement("", within(5))
    assert {line.kind for line in whole.lines} == {"payment", "refund"}
    with pytest.raises(Unreadable):
        adapter.statement(whole.cursor, within(5))


def test_it_has_no_topups(adapter: CardAdapter) -> None:
    with pytest.raises(Unreadable) as failure:
        adapter.deposit("tu_1", within(5))
    assert failure.value.code == "invalid_response"


def test_it_forgets_everything_when_it_ends(tmp_path: pathlib.Path) -> None:
    stripe = LocalStripe(tmp_path).start()
    adapter = CardAdapter(stripe.url, API_KEY, "pm_card_visa", "localstripe")
    assert adapter.send(order(), within(5)).result is Result.RESERVED
    stripe.stop()
    down = adapter.send(order(), within(2))
    assert (down.result, down.sent) == (Result.UNKNOWN, False)
    stripe.start()
    assert adapter.query(order(), within(5)).result is Result.NOT_FOUND
    stripe.stop()
