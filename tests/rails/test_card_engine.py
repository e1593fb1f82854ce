"""A card payment through the engine's real processes: reserved, captured, given back, and let go when somebody revokes in between."""

import secrets
from typing import Any

import httpx2
import pytest

from tests.support import verifying
from tests.support import world as worlds
from tests.support.world import World

SHOP = "acct_shop1"


def control(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx2.post(f"{world.info.sandbox_url}/_control/{path}", json=body, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


@pytest.fixture
def shop(world: World) -> str:
    """The organisation's card at the bank, connected, and a merchant who takes cards."""
    account = f"acct_{secrets.token_hex(8)}"
    opened = {"account": account, "api_key": f"sk_{account}", "webhook_secret": f"whsec_{secrets.token_hex(16)}"}
    where = f"{world.info.console_url}/webhooks/card/test/{world.org}"
    control(world, "accounts", opened | {"balance": 100_000, "api": "card", "webhook_url": where})
    card = control(world, "payment_methods", {"account": account, "brand": "visa", "last4": "4242"})["id"]
    world.people().post("/v1/rail-accounts", {"rail": "card", **opened, "secrets": {"payment_method": card}})
    return world.new_counterparty(accounts=[{"type": "card_merchant", "value": SHOP}])


def intents(world: World, payment: str) -> list[dict[str, Any]]:
    booked = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["payments"]
    return [one for one in booked if one.get("reference") == payment]


def operations(world: World) -> list[str]:
    return [row["operation"] for row in world.rows("SELECT operation FROM attempts WHERE rail = 'card' ORDER BY created_at")]


def test_a_card_is_authorised_captured_and_refunded(world: World, shop: str) -> None:
    paid = world.settled(world.pay(1050, counterparty=shop, rail="card").json()["id"])
    assert (paid["status"], paid["captured"]["amount"]) == ("settled", 1050), paid
    assert operations(world) == ["pay", "capture"]
    world.people("finance").post(f"/v1/payments/{paid['id']}/refund", {"amount": {"amount": 1050, "currency": "BRL"}})
    assert world.settled(paid["id"], among=("settled", "reversing"))["status"] == "reversed"
    assert verifying.complaints(world) == []


def test_what_is_reserved_when_its_mandate_is_revoked_is_let_go(world: World, shop: str) -> None:
    before = world.balance()
    world.fault("slow", seconds=2)
    headers = {"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
    payment = world.api._http.post("/v1/payments", json=world.body(700, counterparty=shop, rail="card"), headers=headers).json()["id"]
    world.settled(payment, among=("authorized",))
    world.people().post("/v1/revocations", {"scope": "mandate", "id": world.mandate, "reason": "in flight"})
    over = world.settled(payment)
    assert (over["status"], world.balance(), operations(world)) == ("canceled", before, ["pay", "cancel"])
    assert verifying.complaints(world) == []


def test_an_account_is_connected_with_what_its_rail_needs_and_nothing_else(world: World) -> None:
    body = {"rail": "card", "account": "acct_x", "api_key": "k", "webhook_secret": "whsec_x"}
    for wrong in ({}, {"secrets": {"payment_method": "pm_1", "colour": "1"}}, {"secrets": {"payment_method": 1}}):
        answer = world.people().send("/v1/rail-accounts", body | wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    unknown = world.people().send("/v1/rail-accounts", body | {"rail": "cheque"})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (400, "/rail")
