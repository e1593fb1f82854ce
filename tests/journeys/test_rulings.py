"""What only people can end: two of them, with a reason and evidence, and money that moved after all is booked as it moved."""

from typing import Any

import httpx2
import pytest

from codespar.launcher.stack import StackInfo
from tests.support import verifying
from tests.support import world as worlds
from tests.support.reconciling import edit, reconciled
from tests.support.world import Api, World, later, raw_id


@pytest.fixture
def world(stack: StackInfo) -> World:
    return worlds.make(stack)


@pytest.fixture(autouse=True)
def _no_faults_left(stack: StackInfo) -> Any:
    yield
    httpx2.delete(f"{stack.sandbox_url}/_control", timeout=10)


def conflicted(world: World, amount: int = 700) -> str:
    """A payment that needs a human: the bank answers for it with another amount. Its money is held."""
    world.fault("wrong_amount")
    payment = world.settled(world.pay(amount).json()["id"])
    assert payment["status"] == "needs_human", payment
    return str(payment["id"])


def colleague(world: World) -> Api:
    """A second finance person."""
    member = world.people().post("/v1/members", {"email": "second@x.example", "name": "second", "roles": ["finance"]})["id"]
    token = world.people().post("/v1/tokens", {"holder": member, "name": "second", "expires_at": later(days=1)})["token"]
    return Api(world.info.console_url, token)


def propose(world: World, payment: str, outcome: str) -> httpx2.Response:
    body = {"outcome": outcome, "reason": "asked the bank", "evidence": "letter of 2026-11-20, reference 4711"}
    return world.people("finance").send(f"/v1/payments/{payment}/rulings", body)


def confirm(by: Api, ruling: str) -> httpx2.Response:
    return by.send(f"/v1/rulings/{ruling}/confirm")


@pytest.mark.parametrize(("outcome", "back", "captured"), [("settled", 0, 700), ("failed", 700, 0), ("written_off", 0, 700)])
def test_two_people_end_it_and_the_hold_goes_where_they_say(world: World, outcome: str, back: int, captured: int) -> None:
    payment = conflicted(world)
    available, held = world.balance()
    assert held == 700
    proposed = propose(world, payment, outcome)
    assert (proposed.status_code, proposed.json()["confirmed_by"]) == (201, None), proposed.text
    assert (world.payment(payment)["status"], world.balance()) == ("needs_human", (available, held))
    done = confirm(colleague(world), proposed.json()["id"])
    assert done.status_code == 200, done.text
    assert done.json()["confirmed_by"] not in (None, done.json()["proposed_by"])
    over = world.payment(payment)
    assert (over["status"], over["captured"]["amount"], world.balance()) == (outcome, captured, (available + back, 0))
    assert verifying.complaints(world) == []


def test_one_person_alone_ends_nothing(world: World) -> None:
    payment = conflicted(world)
    ruling = propose(world, payment, "failed").json()["id"]
    same = confirm(world.people("finance"), ruling)
    assert (same.status_code, same.json()["code"]) == (409, "state_conflict")
    for role in ("oncall", "operator", "auditor"):
        assert confirm(world.people(role), ruling).status_code == 403
    assert (world.payment(payment)["status"], world.balance()[1]) == ("needs_human", 700)
    other = colleague(world)
    assert confirm(other, ruling).status_code == 200
    assert confirm(other, ruling).status_code == 409
    assert propose(world, payment, "settled").status_code == 409


def test_what_does_not_need_a_human_is_not_ruled_on(world: World) -> None:
    payment = world.pay(100).json()["id"]
    assert world.settled(payment)["status"] == "settled"
    assert propose(world, payment, "failed").status_code == 409
    assert world.people("finance").send(f"/v1/payments/{payment}/rulings", {"outcome": "failed", "reason": "x"}).status_code == 400


def late(world: World, amount: int) -> str:
    """A payment that the bank declined, and that stands in its statement as paid."""
    world.fault("decline")
    payment = world.settled(world.pay(amount).json()["id"])
    assert payment["status"] == "failed"
    [booked] = [one for one in world.provider_payments() if one["reference"] == payment["id"]]
    edit(world, booked["key"], "add", amount=-amount, currency="BRL", payee=booked["payee"]["key"], at="2026-11-01T00:00:00Z")
    return str(payment["id"])


def test_money_that_moved_after_its_hold_went_back_is_taken_from_what_the_wallet_has(world: World) -> None:
    payment = late(world, 900)
    reconciled(world)
    found = world.payment(payment)
    assert (found["status"], found["code"], found["captured"]["amount"]) == ("needs_human", "settled_late", 900)
    assert world.balance() == (500_000 - 900, 0)
    refused = confirm(colleague(world), propose(world, payment, "failed").json()["id"])
    assert (refused.status_code, "Money has moved" in refused.text) == (409, True)
    assert verifying.complaints(world) == []


def test_what_the_wallet_has_no_more_is_receivable_and_no_wallet_is_ever_negative(world: World) -> None:
    payment = late(world, 900)
    world.people().post(f"/v1/wallets/{world.wallet}/return", {"amount": {"amount": 500_000 - 250, "currency": "BRL"}})
    assert world.balance() == (250, 0)
    reconciled(world)
    assert world.payment(payment)["code"] == "settled_late"
    assert world.balance() == (0, 0)
    moved = world.rows("SELECT debit_kind, amount FROM transfers WHERE payment_id = %s ORDER BY amount", raw_id(payment))
    assert [(row["debit_kind"], row["amount"]) for row in moved] == [("wallet", 250), ("receivable", 650)]
    ruling = propose(world, payment, "settled").json()["id"]
    assert confirm(colleague(world), ruling).status_code == 200
    assert world.payment(payment)["status"] == "settled"
    # It is booked once, however often the statement is read.
    assert [reconciled(world)["opened"] for _ in range(2)] == [0, 0]
    assert verifying.complaints(world) == []
