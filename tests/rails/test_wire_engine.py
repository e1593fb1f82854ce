"""A wire from the request to the booked return, with the engine's real processes and the bank's messages."""

import base64
import secrets

import httpx2
import pytest

from rails.adapters.wire import WireAdapter
from tests.support.world import World, raw_id

IBAN = "DE89370400440532013000/COBADEFFXXX"


@pytest.fixture
def payee(world: World) -> str:
    """The organisation's account at the bank, connected by wire as well, and somebody who is paid by wire."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    opened = {"account": f"w-{world.account}", "api_key": secrets.token_urlsafe(24), "webhook_secret": secret}
    shape = {"balance": 100_000, "api": "wire", "webhook_url": f"{world.info.console_url}/webhooks/wire/test/{world.org}"}
    httpx2.post(f"{world.info.sandbox_url}/_control/accounts", json=opened | shape, timeout=10).raise_for_status()
    world.people().post("/v1/rail-accounts", {"rail": "wire", **opened})
    return world.new_counterparty(name="Müller & Söhne", accounts=[{"type": "iban", "value": IBAN, "rails": ["wire"]}])


def ledger(world: World) -> dict[str, list[dict[str, object]]]:
    found = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()
    return {kind: [one for one in found[kind] if one["account"] == f"w-{world.account}"] for kind in ("payments", "refunds")}


def test_a_wire_settles_later_and_is_returned_through_the_whole_engine(world: World, payee: str) -> None:
    answer = world.pay(1050, counterparty=payee, rail="wire")
    payment = answer.json()["id"]
    assert world.settled(payment)["status"] == "settled", answer.text
    [row] = ledger(world)["payments"]
    stored = world.rows("SELECT rail_key, provider_id FROM payments WHERE id = %s", raw_id(payment))[0]
    key = WireAdapter("http://127.0.0.1:1", "k", "a").rail_key(bytes(stored["rail_key"]))
    assert (row["key"], row["id"]) == (key[:35], stored["provider_id"])
    assert (row["amount"], row["payee"], row["reference"]) == (1050, {"key": IBAN}, payment.replace("_", "-"))
    world.people("finance").post(f"/v1/payments/{payment}/refund", {"amount": {"amount": 1050, "currency": "BRL"}})
    assert world.settled(payment, among=("settled", "reversing"))["status"] == "reversed"
    assert [(one["amount"], one["status"]) for one in ledger(world)["refunds"]] == [(1050, "settled")]
    assert httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["balances"][f"w-{world.account}"] == 100_000
