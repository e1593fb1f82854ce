"""A payment over Pix from the request to the refund, with the engine's real processes and the bank's Pix API."""

import json
from typing import Any

import httpx2
import pytest

from codespar.lib import pix
from rails.adapters.pix import PixAdapter
from tests.support import verifying
from tests.support.world import World, raw_id

KEY = "+5511987654321"


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


def brcode(**changes: Any) -> str:
    usual: dict[str, Any] = {"name": "PADARIA", "city": "SAO PAULO", "key": KEY, "amount": 1050, "txid": "MESA7"}
    return pix.write_brcode(pix.BRCode(**(usual | changes)))


def told(world: World, payment: str) -> dict[str, Any]:
    """What the bank was sent for this payment."""
    rows = world.rows(
        "SELECT o.value FROM attempt_results r JOIN attempts a ON a.id = r.attempt_id JOIN ledger_openings o ON o.entry_id = r.entry_id"
        " WHERE a.payment_id = %s AND convert_from(o.value, 'UTF8') LIKE '%%\"favorecido\"%%infoPagador%%' AND r.source = 'answer'",
        raw_id(payment),
    )
    [asked] = [text for row in rows if (text := bytes(row["value"]).decode()).startswith("PUT ")]
    return dict(json.loads(asked[asked.index("{") :]))


@pytest.mark.parametrize(("txid", "amount"), [("MESA7", 1050), ("MESA8", None), (None, 1050)])
def test_a_br_code_is_paid_with_its_txid(world: World, payee: str, txid: str | None, amount: int | None) -> None:
    code = brcode(txid=txid, amount=amount)
    answer = world.pay(1050, counterparty=payee, rail="pix", target=code)
    assert (answer.status_code, answer.json()["status"], answer.json()["target"]) == (201, "settled", code), answer.text
    sent = told(world, answer.json()["id"])
    assert (sent.get("txid"), sent["favorecido"]["chave"], sent["valor"]) == (txid, KEY, "10.50")


@pytest.mark.parametrize(
    ("code", "rail", "says"),
    [
        (brcode(key="maria@example.com"), "pix", "target_mismatch"),
        (brcode(amount=1051), "pix", "target_mismatch"),
        (brcode().replace("MESA7", "MESA8"), "pix", "target_malformed"),
        ("MESA7", "pix", "target_malformed"),
        (brcode(key=None, url="pix.example/v2/1"), "pix", "target_unsupported"),
        (brcode(), "sandbox", "target_unsupported"),
    ],
)
def test_a_br_code_that_asks_for_something_else_is_denied(world: World, payee: str, code: str, rail: str, says: str) -> None:
    if rail == "sandbox":
        payee = world.counterparty
    before = world.balance()
    answer = world.pay(1050, counterparty=payee, rail=rail, target=code)
    assert (answer.status_code, answer.json()["code"]) == (403, says), answer.text
    assert [reason["layer"] for reason in answer.json()["reasons"]] == ["counterparty"]
    assert (answer.json()["payment"]["target"], world.balance()) == (code, before)


def test_what_a_person_says_yes_to_is_what_is_paid_for(world: World, payee: str) -> None:
    """The code goes with the payment that waits: the record of the yes names it again."""
    account = {"type": "pix_key", "value": KEY, "rails": ["pix"]}
    proposed = world.api.post("/v1/counterparties", {"name": "New", "accounts": [account]})["id"]
    waiting = world.pay(1050, counterparty=proposed, rail="pix", target=brcode())
    assert (waiting.status_code, waiting.json()["status"]) == (202, "requires_approval"), waiting.text
    payment = waiting.json()["id"]
    approved = world.people("finance").post(f"/v1/payments/{payment}/approve")
    assert approved["target"] == brcode()
    assert world.settled(payment)["status"] == "settled"
    assert told(world, payment)["txid"] == "MESA7"
    assert verifying.complaints(world) == []
