"""One payment from the request to the books, the provider's ledger and the chain."""

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
