"""One payment from the request to the books, the provider's ledger and the chain."""

import json

from tests.support.world import World, raw_id


def test_a_payment_settles_and_everything_agrees(world: World) -> None:
    before = world.balance()
    answer = world.pay(1050)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (201, "settled"), answer.text
    assert world.balance() == (before[0] - 1050, before[1])
    assert [p["amount"] for p in world.provider_payments()] == [1050]
    kinds = [entry["kind"] for entry in world.entries()]
    assert kinds[-3:] == ["payment.authorized", "payments.submitted", "payments.resulted"]
    assert [entry["seq"] for entry in world.entries()] == list(range(1, len(kinds) + 1))
    transitions = world.rows("SELECT from_state, to_state FROM payment_transitions WHERE payment_id = %s ORDER BY at", raw_id(body["id"]))
    assert [t["to_state"] for t in transitions] == ["authorized", "submitted", "settled"]


def told(world: World, subject: str) -> list[tuple[str, list[str]]]:
    """Kind and parts of each record that names the payment, in their order."""
    entries = [entry for entry in world.entries() if subject in json.dumps(entry["content"])]
    return [(entry["kind"], [part["part"] for part in entry["content"]["parts"]]) for entry in entries]


def test_every_step_of_a_payment_stands_in_its_records(world: World) -> None:
    allowed = ("payment.authorized", ["check", "decision", "route", "mandate_use", "hold", "transition"])
    sent = ("payments.submitted", ["attempt", "transition"])
    settled = ("payments.resulted", ["result", "capture", "transition"])
    payment = world.pay(1050).json()["id"]
    assert told(world, payment) == [allowed, sent, settled]

    world.people().post(f"/v1/payments/{payment}/refund", {"amount": {"amount": 1050, "currency": "BRL"}})
    assert world.settled(payment, among=("settled", "reversing"))["status"] == "reversed"
    back = [("refund.requested", ["refund", "transition"]), ("refund.submitted", ["attempt"])]
    assert [one for one in told(world, payment) if one != back[1]] == [
        allowed,
        sent,
        settled,
        back[0],
        ("refund.resulted", ["result", "refund", "transition"]),
    ]
    refund = world.rows("SELECT id FROM refunds")[0]["id"]
    assert told(world, f"ref_{refund.hex}") == [*back, ("refund.resulted", ["result", "refund", "transition"])]

    world.fault("decline")
    failed = world.pay(100).json()
    assert failed["status"] == "failed"
    assert told(world, failed["id"]) == [allowed, sent, ("payments.resulted", ["result", "release", "transition"])]
    assert told(world, world.pay(10**12).json()["payment"]["id"]) == [("payment.denied", ["check", "decision", "transition"])]
    assert [entry["seq"] for entry in world.entries()] == list(range(1, len(world.entries()) + 1))


def test_every_record_names_who_acted_and_for_whom(world: World) -> None:
    world.pay(100)
    for entry in world.entries():
        kind, _, name = entry["actor"].replace("_", ":", 1).partition(":")
        assert kind in ("mem", "agt", "system"), entry["actor"]
        assert len(name) > 8, "an actor is one person, one agent or one process"
        if kind == "agt":
            assert entry["on_behalf_of"] == world.org
        if entry["kind"].startswith("payments."):
            assert (kind, entry["on_behalf_of"]) == ("system", world.agent)
