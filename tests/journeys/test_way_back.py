"""What was on its way when it was stopped or revoked comes back as its rail can, to the last cent, and never hangs."""

from typing import Any

import pytest

from codespar.launcher.stack import StackInfo
from tests.support import verifying
from tests.support.world import World, key, make, raw_id


@pytest.fixture
def world(stack: StackInfo) -> World:
    return make(stack)


@pytest.fixture(autouse=True)
def _no_faults_left(stack: StackInfo) -> Any:
    import httpx2

    yield
    httpx2.delete(f"{stack.sandbox_url}/_control", timeout=10)


def on_its_way(world: World, fault: str, amount: int = 1001, **extra: Any) -> str:
    """A payment that the bank has accepted and has not settled."""
    world.fault(fault, seconds=600, **extra)
    headers = {"Idempotency-Key": key(), "Prefer": "respond-async"}
    payment = str(world.api._http.post("/v1/payments", json=world.body(amount), headers=headers).json()["id"])
    return str(world.settled(payment, among=("authorized",))["id"])


def revoke(world: World) -> None:
    world.people().post("/v1/revocations", {"scope": "mandate", "id": world.mandate, "reason": "in flight"})


def test_what_the_bank_has_not_moved_is_canceled_and_the_hold_goes_back(world: World) -> None:
    payment = on_its_way(world, "accepted_then_settled")
    before = world.balance()
    revoke(world)
    ended = world.settled(payment)
    assert (ended["status"], ended["captured"]["amount"]) == ("canceled", 0)
    assert world.balance() == (before[0] + 1001, 0)
    assert [one["status"] for one in world.provider_payments()] == ["canceled"]
    assert [step["to_state"] for step in steps(world, payment)] == ["authorized", "submitted", "canceled"]
    assert verifying.complaints(world) == []


def test_a_leg_that_has_moved_is_reversed_at_the_bank(world: World) -> None:
    payment = on_its_way(world, "in_two_legs")
    world.stop("agent", world.agent)
    ended = world.settled(payment, among=("authorized", "submitted", "uncertain", "settled", "reversing"))
    assert (ended["status"], ended["captured"]["amount"], ended["refunded"]["amount"]) == ("reversed", 500, 500)
    assert world.balance() == (500_000 - 500, 0)
    # What came back to a stopped agent came home to the main account.
    assert world.main_balance() == 500_000 + 500
    assert [(one["status"], one["moved"]) for one in world.provider_payments()] == [("canceled", 500)]
    assert verifying.complaints(world) == []


def test_a_leg_that_the_bank_does_not_give_back_is_a_humans_with_the_amount_owed(world: World) -> None:
    payment = on_its_way(world, "in_two_legs")
    world.fault("decline")
    revoke(world)
    ended = world.settled(payment, among=("authorized", "submitted", "uncertain", "settled", "reversing"))
    assert (ended["status"], ended["captured"]["amount"] - ended["refunded"]["amount"]) == ("needs_human", 500)
    assert world.balance() == (500_000 - 500, 0)
    assert verifying.complaints(world) == []


def test_a_mandates_budget_has_back_what_did_not_move_and_not_the_rest(world: World) -> None:
    world.mandate = world.new_mandate(budget=1001, max_uses=2, counterparties=[world.counterparty], purposes=["hosting"])
    payment = on_its_way(world, "in_two_legs")
    world.stop("rail", "sandbox")
    world.settled(payment, among=("authorized", "submitted", "uncertain", "settled", "reversing"))
    [usage] = world.rows("SELECT spent, uses FROM mandate_usages WHERE mandate_id = %s", raw_id(world.mandate))
    assert (usage["spent"], usage["uses"]) == (500, 1)


def steps(world: World, payment: str) -> list[dict[str, Any]]:
    return world.rows("SELECT to_state FROM payment_transitions WHERE payment_id = %s ORDER BY at", raw_id(payment))
