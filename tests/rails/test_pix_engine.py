"""A payment over Pix from the request to the refund, with the engine's real processes and the bank's Pix API."""

import httpx2
import pytest

from rails.adapters.pix import PixAdapter
from tests.support.world import World, raw_id


@pytest.fixture
def payee(world: World) -> str:
    """The organisation's account at the bank, connected over Pix as well, and somebody who is paid by Pix."""
    world.connect("pix")
    return world.new_counterparty(accounts=[{"type": "pix_key", "value": "+55 (11) 98765-4321", "rails": ["pix"]}])


def test_a_pix_is_paid_and_returned_through_the_whole_engine(world: World, payee: str) -> None:
    answer = world.pay(1050, counterparty=payee, rail="pix")
    assert (answer.status_code, answer.json()["status"]) == (201, "settled"), answer.text
    payment = answer.json()["id"]
    booked = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()
    [row] = [one for one in booked["payments"] if one["account"] == f"pix-{world.account}"]
    stored = world.rows("SELECT rail_key, provider_id FROM payments WHERE id = %s", raw_id(payment))[0]
    key = PixAdapter("http://127.0.0.1:1", "k", "a").rail_key(bytes(stored["rail_key"]))
    assert (row["key"], row["id"]) == (key, stored["provider_id"])
    assert (row["amount"], row["payee"], row["reference"]) == (1050, {"key": "+5511987654321"}, payment)
    world.people("finance").post(f"/v1/payments/{payment}/refund", {"amount": {"amount": 1050, "currency": "BRL"}})
    assert world.settled(payment, among=("settled", "reversing"))["status"] == "reversed"
    booked = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()
    assert [one["amount"] for one in booked["refunds"] if one["account"] == f"pix-{world.account}"] == [1050]
    assert booked["balances"][f"pix-{world.account}"] == 100_000
