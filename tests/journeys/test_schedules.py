"""Payments for a time to come: nothing is held before, and everything is decided then."""

import json
import time
from typing import Any

import pytest

from tests.support import books, verifying
from tests.support.world import World, later, raw_id

ALLOW = {"id": "all", "effect": "allow"}
CAP = {"id": "cap", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 10**9}
WAITING = ("scheduled", "authorized", "submitted", "uncertain")


def schedule(world: World, amount: int, seconds: float = 3, **changes: Any) -> str:
    """A payment for so many seconds from now."""
    answer = world.pay(amount, execute_at=later(seconds=seconds + 1), **changes)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (202, "scheduled"), answer.text
    return str(body["id"])


def ended(world: World, payment: str) -> dict[str, Any]:
    return world.settled(payment, 60, among=WAITING)


def test_a_scheduled_payment_holds_nothing_and_is_paid_when_its_time_has_come(world: World) -> None:
    before = world.balance()
    payment = schedule(world, 1050)
    assert (world.balance(), world.provider_payments()) == (before, [])
    assert world.payment(payment)["rail"] is None
    paid = ended(world, payment)
    assert (paid["status"], paid["rail"], world.balance()) == ("settled", "sandbox", (before[0] - 1050, 0))
    assert [one["amount"] for one in world.provider_payments()] == [1050]
    told = [entry for entry in world.entries() if payment in json.dumps(entry["content"])]
    assert [entry["kind"] for entry in told] == ["payment.scheduled", "payment.executed", "payments.submitted", "payments.resulted"]
    parts = [[part["part"] for part in entry["content"]["parts"]] for entry in told[:2]]
    assert parts == [["check", "decision", "route", "transition"], ["check", "decision", "mandate_use", "hold", "transition"]]
    sent = next(row["created_at"] for row in world.rows("SELECT created_at FROM attempts"))
    [row] = world.rows("SELECT execute_at, created_at FROM payments WHERE id = %s", raw_id(payment))
    assert row["created_at"] < row["execute_at"] <= sent
    assert verifying.complaints(world) == []


def test_what_forbids_it_at_its_time_refuses_it_then(world: World) -> None:
    """Each was allowed when it was asked for; nothing of it reaches the bank."""
    payee, mandate = world.new_counterparty(), world.new_mandate()
    asked = {
        "mandate_revoked": schedule(world, 11, mandate=mandate),
        "counterparty_unknown": schedule(world, 12, counterparty=payee),
        "limit_payment": schedule(world, 5000),
    }
    world.people().post(f"/v1/mandates/{mandate}/revoke", {"reason": "lost"})
    world.people().post(f"/v1/counterparties/{payee}/retire", {"from_version": 1})
    world.set_policy(ALLOW, CAP | {"max_amount": 1000})
    found = {code: ended(world, payment) for code, payment in asked.items()}
    assert {code: (one["status"], one["code"]) for code, one in found.items()} == {code: ("denied", code) for code in asked}
    stopped = schedule(world, 14)
    stop = world.stop("agent", world.agent)
    assert (ended(world, stopped)["status"], ended(world, stopped)["code"]) == ("denied", "stopped")
    world.lift(stop)
    assert world.provider_payments() == []
    assert verifying.complaints(world) == []


def test_what_only_its_time_can_tell_does_not_refuse_it_before(world: World) -> None:
    """An empty wallet that is filled in the meantime, and one that is not."""
    _, wallet, agent = world.new_agent()
    mandate = world.new_mandate(agent=world.people().get(f"/v1/wallets/{wallet}")["agent"])

    def ask(amount: int) -> str:
        body = world.body(amount, mandate=mandate, execute_at=later(seconds=5))
        answer = agent.send("/v1/payments", body)
        assert (answer.status_code, answer.json()["status"], answer.json()["code"]) == (202, "scheduled", "insufficient_funds"), answer.text
        return str(answer.json()["id"])

    poor, rich = ask(500), ask(300)
    world.fund(300, wallet)
    found = []
    for payment in (poor, rich):
        until = time.monotonic() + 60
        while (one := agent.get(f"/v1/payments/{payment}"))["status"] in WAITING:
            assert time.monotonic() < until, one
            time.sleep(0.2)
        found.append(one)
    assert [(one["status"], one["code"]) for one in found] == [("denied", "insufficient_funds"), ("settled", "settled")]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"counterparty": f"ctp_{'0' * 32}"}, "counterparty_unknown"),
        ({"mandate": f"mnd_{'0' * 32}"}, "invalid_mandate"),
        ({"rail": "pix"}, "account_needed"),
        ({"purpose": "travel"}, "purpose_mismatch"),
    ],
)
def test_what_no_time_mends_is_refused_at_once(shared_world: World, changes: dict[str, Any], code: str) -> None:
    payees = [{"type": "pix_key", "value": "only@payee.example", "rails": ["sandbox"]}]
    mandate = shared_world.new_mandate(purposes=["hosting"])
    body = {"counterparty": shared_world.new_counterparty(accounts=payees), "mandate": mandate, **changes}
    answer = shared_world.pay(10, execute_at=later(minutes=5), **body)
    assert (answer.status_code, answer.json()["code"]) == (403, code)


def test_a_mandate_that_ends_before_is_refused_at_once(shared_world: World) -> None:
    mandate = shared_world.new_mandate(expires_at=later(hours=1))
    answer = shared_world.pay(10, mandate=mandate, execute_at=later(hours=2))
    assert (answer.status_code, answer.json()["code"]) == (403, "mandate_expired")
    assert "before the payment's time" in answer.json()["detail"]


@pytest.mark.parametrize("at", [{"seconds": -1}, {"days": 366}])
def test_a_time_that_is_past_or_too_far_is_refused(shared_world: World, at: dict[str, int]) -> None:
    answer = shared_world.pay(10, execute_at=later(**at))
    assert (answer.status_code, [error["pointer"] for error in answer.json()["errors"]]) == (400, ["/execute_at"])


def test_it_is_taken_back_until_its_time(world: World) -> None:
    payment = schedule(world, 10, seconds=6)
    assert world.api.post(f"/v1/payments/{payment}/cancel")["status"] == "canceled"
    time.sleep(12)
    assert (world.payment(payment)["status"], world.provider_payments()) == ("canceled", [])
    assert verifying.complaints(world) == []


def test_a_person_is_asked_at_its_time(world: World) -> None:
    world.set_policy(ALLOW, CAP, {"id": "big", "effect": "approval", "when": {"amount_over": {"amount": 100, "currency": "BRL"}}})
    payment = schedule(world, 500)
    waiting = world.settled(payment, 60, among=("scheduled",))
    assert (waiting["status"], waiting["approval"]["verdict"]) == ("requires_approval", None)
    world.people("finance").post(f"/v1/payments/{payment}/approve")
    assert ended(world, payment)["status"] == "settled"
    assert books.faults(world) == []
    assert verifying.complaints(world) == []


def test_what_could_not_be_decided_within_its_grace_is_expired(world: World) -> None:
    payment = schedule(world, 10, seconds=4)
    with books.superuser(world) as connection:
        # As if the hour after its time were over already.
        connection.execute("UPDATE payments SET submit_by = now() WHERE id = %s", [raw_id(payment)])
    found = ended(world, payment)
    assert (found["status"], found["code"], world.provider_payments()) == ("expired", "schedule_missed", [])
    assert verifying.complaints(world) == []
