"""Stripe's webhooks: what is authentic and fresh, what an event is about, and that both providers are understood."""

from __future__ import annotations

import hashlib
import hmac
import json
import pathlib
from datetime import UTC, datetime
from typing import Any

import pytest

from rails.adapters.base import WebhookRefused
from rails.adapters.card import CardAdapter
from rails.sandbox.launch import Provider
from tests.support.card_answers import good, refunded
from tests.support.card_bank import OTHER_SECRET, SECRET, CardBank, order, undo
from tests.support.inbox import Inbox
from tests.support.localstripe import API_KEY, LocalStripe
from tests.support.raw_servers import within

NOW = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
WATCHER = CardAdapter("http://127.0.0.1:1", "k", "pm_1", "acct_main")


def signature(stamp: int, content: bytes, secret: str = SECRET) -> str:
    return f"t={stamp},v1={hmac.new(secret.encode(), f'{stamp}.'.encode() + content, hashlib.sha256).hexdigest()}"


def webhook(age: float = 0, secret: str = SECRET, about: dict[str, Any] | None = None, **changes: Any) -> tuple[dict[str, str], bytes]:
    event = {"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "data": {"object": good() if about is None else about}}
    content, stamp = json.dumps(event | changes).encode(), int(NOW.timestamp() - age)
    return {"Stripe-Signature": signature(stamp, content, secret)}, content


@pytest.mark.parametrize("secrets", [[SECRET], [OTHER_SECRET, SECRET]])
def test_an_authentic_webhook_is_read(secrets: list[str]) -> None:
    [notice] = WATCHER.parse_webhook(*webhook(account="acct_main"), secrets, NOW)
    assert (notice.id, notice.kind, notice.key, notice.provider_id) == ("evt_1", "payment", "k1", good()["id"])


def charge(*refunds: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "payment_intent": "pi_1",
        "metadata": {"codespar_key": "k1"},
        "refunds": {"data": list(refunds)},
    }


@pytest.mark.parametrize(
    ("kind", "about", "notices"),
    [
        ("payment_intent.payment_failed", good(), [("evt_1", "payment", "k1", "pi_3OaBcDeFgHiJkLmN")]),
        ("payment_intent.canceled", good(metadata={}), [("evt_1", "payment", None, "pi_3OaBcDeFgHiJkLmN")]),
        ("charge.refunded", charge(refunded()), [("evt_1", "refund", "r1", "re_1")]),
        (
            "charge.refunded",
            charge(refunded(), refunded(id="re_2")),
            [("evt_1.re_1", "refund", "r1", "re_1"), ("evt_1.re_2", "refund", "r1", "re_2")],
        ),
        ("charge.refunded", charge() | {"refunds": None}, [("evt_1", "payment", "k1", "pi_1")]),
        ("charge.succeeded", {"id": "ch_1", "object": "charge", "payment_intent": None}, []),
        ("refund.updated", refunded(), [("evt_1", "refund", "r1", "re_1")]),
        ("topup.succeeded", {"id": "tu_1", "object": "topup"}, [("evt_1", "deposit", None, "tu_1")]),
        ("topup.created", {"id": "tu_1", "object": "topup"}, []),
        ("customer.created", {"id": "cus_1", "object": "customer"}, []),
        ("charge.dispute.created", {"id": "dp_1", "object": "dispute"}, []),
    ],
)
def test_an_event_is_a_hint_at_what_to_ask_for(kind: str, about: dict[str, Any], notices: list[Any]) -> None:
    found = WATCHER.parse_webhook(*webhook(about=about, type=kind), [SECRET], NOW)
    assert [(notice.id, notice.kind, notice.key, notice.provider_id) for notice in found] == notices


def _refused(headers: dict[str, str], content: bytes, *secrets: str) -> None:
    with pytest.raises(WebhookRefused) as refusal:
        WATCHER.parse_webhook(headers, content, secrets or [SECRET], NOW)
    assert str(refusal.value) == "webhook refused"


@pytest.mark.parametrize("age", [301, -301])
def test_an_old_or_early_webhook_is_refused(age: int) -> None:
    _refused(*webhook(age))


@pytest.mark.parametrize("age", [300, -300])
def test_three_hundred_seconds_are_still_fresh(age: int) -> None:
    assert WATCHER.parse_webhook(*webhook(age), [SECRET], NOW)


def test_a_tampered_or_foreign_webhook_is_refused() -> None:
    headers, content = webhook()
    _refused(headers, content.replace(b"1050", b"1051"))
    _refused({"Stripe-Signature": headers["Stripe-Signature"].replace("t=", "t=1")}, content)
    _refused({"Stripe-Signature": headers["Stripe-Signature"].replace("v1=", "v0=")}, content)
    _refused(headers, content, OTHER_SECRET)
    with pytest.raises(WebhookRefused):
        WATCHER.parse_webhook(headers, content, [], NOW)


def test_one_good_signature_among_several_is_enough() -> None:
    headers, content = webhook()
    mixed = headers["Stripe-Signature"].replace(",v1=", ",v1=00,v0=xx, v1=") + ",v1=ü"
    assert WATCHER.parse_webhook({"STRIPE-SIGNATURE": mixed}, content, [SECRET], NOW)


@pytest.mark.parametrize("value", [None, "", "t=", "v1=", "t=\u0661,v1=x", "t=1e3,v1=x", "t=-1,v1=x", "x" * 9000, "\ud800", "t=1767366245"])
def test_a_missing_or_malformed_header_is_refused(value: str | None) -> None:
    _refused({} if value is None else {"Stripe-Signature": value}, webhook()[1])


@pytest.mark.parametrize(
    "change",
    [
        {"account": "acct_other"},
        {"data": []},
        {"data": {"object": []}},
        {"id": None},
        {"type": 7},
        {"about": good(id="x")},
        {"about": charge({"object": "x"})},
    ],
)
def test_an_authentic_webhook_that_is_not_for_us_or_not_readable_is_refused(change: dict[str, Any]) -> None:
    _refused(*webhook(**change))


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ x", SECRET.removeprefix("whsec_")])
def test_a_secret_that_is_none_is_a_mistake_of_ours(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        WATCHER.parse_webhook(*webhook(), [secret], NOW)


# The providers themselves.


def understood(inbox: Inbox, adapter: CardAdapter, count: int) -> list[tuple[str, str | None, str]]:
    """What the adapter makes of the first messages, without the order in which they came."""
    inbox.wait(count)
    now = datetime.now(UTC)
    found = [notice for headers, content in inbox.events for notice in adapter.parse_webhook(headers, content, [SECRET], now)]
    return sorted({(notice.kind, notice.key, notice.provider_id) for notice in found}, key=str)


def test_the_bank_itself_is_understood(tmp_path: pathlib.Path) -> None:
    provider, inbox = Provider(tmp_path).start(), Inbox()
    bank = CardBank(provider, "acct_main", webhook_url=inbox.url, webhook_secret=SECRET)
    adapter = CardAdapter(f"{provider.url}/card-api", bank.api_key, bank.method, bank.account)
    provider.fault("webhook_twice", key="k1")
    intent = adapter.send(order(), within(5)).provider_id or ""
    adapter.capture(order(provider_id=intent), within(5))
    refund = adapter.refund(undo(payment_id=intent), within(5)).provider_id
    topup = bank.deposit()
    assert understood(inbox, adapter, 4) == [("deposit", None, topup), ("payment", "k1", intent), ("refund", "r1", refund)]
    headers, content = inbox.events[0]
    with pytest.raises(WebhookRefused):
        adapter.parse_webhook(headers, content, [OTHER_SECRET], datetime.now(UTC))
    provider.stop()


def test_localstripe_is_understood(tmp_path: pathlib.Path) -> None:
    stripe, inbox = LocalStripe(tmp_path).start(), Inbox()
    hook = json.dumps({"url": inbox.url, "secret": SECRET}).encode()
    assert stripe.call("POST", "/_config/webhooks/ours", raw=hook)[0] == 200
    adapter = CardAdapter(stripe.url, API_KEY, "pm_card_visa", "localstripe")
    intent = adapter.send(order(), within(5)).provider_id or ""
    adapter.capture(order(provider_id=intent), within(5))
    declined = CardAdapter(stripe.url, API_KEY, "pm_card_chargeCustomerFail", "localstripe").send(order("k2"), within(5))
    failed = adapter.query(order("k2"), within(5)).provider_id
    assert declined.provider_id is None
    assert understood(inbox, adapter, 2) == sorted([("payment", "k1", intent), ("payment", "k2", failed)], key=str)
    stripe.stop()
