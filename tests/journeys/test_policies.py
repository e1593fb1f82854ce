"""Policies over the real API: limits to the cent, approvals, duplicates, default deny, activation."""

from concurrent.futures import ThreadPoolExecutor

import httpx2

from tests.support.world import World, key, later, raw_id

ALLOW = {"id": "all", "effect": "allow"}
CAP = {"id": "cap", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 10**9}


def limit(window: str, amount: int, **extra: object) -> dict[str, object]:
    return {"id": f"per-{window}", "effect": "limit", "window": window, "currency": "BRL", "max_amount": amount, **extra}


def code(answer: httpx2.Response) -> str | None:
    found: str | None = answer.json().get("code") if answer.status_code == 403 else None
    return found


def test_windows_hold_to_the_cent_and_a_new_policy_forgets_nothing(world: World) -> None:
    world.set_policy(ALLOW, limit("day", 1000), limit("week", 1500), limit("month", 10**6))
    assert world.pay(600).status_code == 201
    assert world.pay(400).status_code == 201
    assert code(world.pay(1)) == "limit_day"
    world.set_policy(ALLOW, limit("day", 2000), limit("week", 1500))
    assert code(world.pay(501)) == "limit_week"
    assert world.pay(500).status_code == 201
    # A selector that was never counted starts with what the running window has already seen.
    world.set_policy(ALLOW, limit("day", 2000, per=["counterparty"]))
    assert code(world.pay(501)) == "limit_day"
    assert world.pay(500).status_code == 201


def test_a_failed_payment_gives_its_share_of_the_limit_back(world: World) -> None:
    world.set_policy(ALLOW, limit("day", 1000))
    mandate = world.new_mandate(budget=1000, max_uses=1)
    world.fault("decline")
    failed = world.pay(1000, mandate=mandate)
    assert (failed.status_code, failed.json()["status"]) == (201, "failed")
    assert world.pay(1000, mandate=mandate).json()["status"] == "settled"
    assert code(world.pay(1)) == "limit_day"


def test_lists_rails_and_default_deny(world: World) -> None:
    world.set_policy({"id": "only", "effect": "allow", "when": {"counterparties": [world.counterparty]}}, CAP)
    other = world.new_counterparty()
    mandate = world.new_mandate(counterparties=[world.counterparty, other])
    assert code(world.pay(counterparty=other, mandate=mandate)) == "not_allowed"
    assert world.pay(mandate=mandate).status_code == 201
    world.set_policy(ALLOW, CAP, {"id": "no", "effect": "deny", "when": {"countries": ["KP"]}})
    assert code(world.pay(counterparty=world.new_counterparty(country="KP"))) == "country_denied"
    assert code(world.pay(counterparty=world.new_counterparty(country=None))) == "country_denied"
    world.set_policy(ALLOW, CAP, {"id": "no", "effect": "deny", "when": {"rails": ["sandbox"]}})
    assert code(world.pay()) == "rail_denied"
    world.people().post(f"/v1/policies/{world.policy}/activate", {"version": 1, "state": "retired"})
    assert code(world.pay()) == "policy_missing"


def test_a_narrower_policy_only_tightens(world: World) -> None:
    made = {"name": "agent", "scope": "agent", "scope_id": world.agent, "document": {"rules": [ALLOW, limit("payment", 100)]}}
    policy = world.people("finance").post("/v1/policies", made)["id"]
    assert world.pay(200).status_code == 201
    world.people("finance").post(f"/v1/policies/{policy}/activate", {"version": 1})
    assert code(world.pay(101)) == "limit_payment"
    world.set_policy(ALLOW, limit("payment", 50))
    assert code(world.pay(100)) == "limit_payment"


def shadow(world: World, *rules: dict[str, object]) -> int:
    """A new version of the organisation's policy that only watches; its number."""
    written = world.people().post(f"/v1/policies/{world.policy}/versions", {"document": {"rules": list(rules)}})
    version = len(written["versions"])
    world.people().post(f"/v1/policies/{world.policy}/activate", {"version": version, "state": "shadow"})
    return version


def test_a_shadow_version_says_what_it_would_have_said_and_changes_nothing(world: World) -> None:
    world.set_policy(ALLOW, CAP)
    ruling = world.people().get(f"/v1/policies/{world.policy}")["active_version"]
    assert world.pay(300).json()["decision"]["shadows"] == []
    version = shadow(world, ALLOW, limit("day", 1000))
    shown = world.people().get(f"/v1/policies/{world.policy}")
    assert (shown["state"], shown["active_version"], shown["shadow_version"]) == ("active", ruling, version)

    def says(outcome: str, code: str | None, rule: str) -> list[dict[str, object]]:
        return [{"policy": world.policy, "version": version, "outcome": outcome, "code": code, "rule": rule}]

    # It counts like one in force, with what was spent before it: 300, then 1000, then 1001.
    within, over = world.pay(700).json(), world.pay(1)
    assert (within["status"], within["decision"]["shadows"]) == ("settled", says("allow", None, "all"))
    assert (over.status_code, over.json()["decision"]["shadows"]) == (201, says("deny", "limit_day", "per-day"))
    assert [p["version"] for p in over.json()["decision"]["policies"]] == [ruling]
    dry = world.api.send("/v1/payments?dry_run=true", world.body(5)).json()
    assert (dry["outcome"], dry["shadows"]) == ("allow", says("deny", "limit_day", "per-day"))
    # It is in the record, and a payment that no policy was asked about says nothing of it.
    record = next(e for e in world.entries() if (e["kind"], e["subject"]) == ("payment.authorized", over.json()["id"]))
    part = next(p for p in record["content"]["parts"] if p["part"] == "decision")
    assert part["shadows"] == says("deny", "limit_day", "per-day")
    assert world.pay(10**12).json()["payment"]["decision"]["shadows"] == []
    # Whatever is put into force next ends the watch.
    world.set_policy(ALLOW, CAP)
    assert world.pay(2).json()["decision"]["shadows"] == []
    assert world.people().get(f"/v1/policies/{world.policy}")["shadow_version"] is None


def test_a_shadow_version_that_allows_more_lets_nothing_through(world: World) -> None:
    world.set_policy(ALLOW, limit("payment", 100))
    shadow(world, ALLOW, CAP)
    answer = world.pay(101)
    assert code(answer) == "limit_payment"
    assert [s["outcome"] for s in answer.json()["payment"]["decision"]["shadows"]] == ["allow"]
    shadow(world)
    assert [(s["outcome"], s["code"]) for s in world.pay(100).json()["decision"]["shadows"]] == [("deny", "currency_not_covered")]


def test_approval_is_asked_for_given_once_and_decided_again(world: World) -> None:
    over = {"id": "large", "effect": "approval", "when": {"amount_over": {"amount": 100, "currency": "BRL"}}}
    world.set_policy(ALLOW, limit("day", 1000), over)
    waiting = world.pay(600)
    assert (waiting.status_code, waiting.json()["status"]) == (202, "requires_approval")
    assert world.balance()[1] == 0
    where = f"/v1/payments/{waiting.json()['id']}"
    for role in ("operator", "oncall", "auditor"):
        assert world.people(role).send(f"{where}/approve").status_code == 403
    assert world.api.send(f"{where}/approve").status_code == 404
    again = key()
    first = world.people("finance").send(f"{where}/approve", key=again)
    assert first.status_code == 200, first.text
    assert world.people("finance").send(f"{where}/approve", key=again).content == first.content
    assert world.settled(waiting.json()["id"])["status"] == "settled"
    # The day's limit has 400 left: the second approval is decided again, and refused.
    second = world.pay(600 - 199)
    assert code(second) == "limit_day"
    third, fourth = world.pay(400), world.pay(300)
    assert {third.status_code, fourth.status_code} == {202}
    assert world.people("finance").send(f"/v1/payments/{third.json()['id']}/approve").status_code == 200
    late = world.people("finance").send(f"/v1/payments/{fourth.json()['id']}/approve")
    assert (late.status_code, late.json()["code"]) == (403, "limit_day")
    assert world.payment(fourth.json()["id"])["status"] == "denied"


def test_what_nobody_decides_expires(world: World) -> None:
    world.set_policy(ALLOW, CAP, {"id": "always", "effect": "approval"})
    waiting = world.pay().json()
    assert waiting["approval"]["expires_at"] > later(hours=23, minutes=59)
    with world.db("super") as connection:
        connection.execute("UPDATE payments SET due_at = now() - interval '1 second' WHERE id = %s", [raw_id(waiting["id"])])
    assert world.settled(waiting["id"], 30, among=("requires_approval",))["status"] == "expired"
    assert world.people("finance").send(f"/v1/payments/{waiting['id']}/approve").status_code == 409


def test_a_person_says_no(world: World) -> None:
    world.set_policy(ALLOW, CAP, {"id": "always", "effect": "approval"})
    payment = world.pay().json()["id"]
    answer = world.people("finance").send(f"/v1/payments/{payment}/deny", {"reason": "not ours"})
    assert answer.json()["status"] == "denied"
    assert world.people("finance").send(f"/v1/payments/{payment}/approve").status_code == 409
    assert world.provider_payments() == []


def test_many_approvals_at_once_are_one(world: World) -> None:
    world.set_policy(ALLOW, CAP, {"id": "always", "effect": "approval"})
    payment = world.pay().json()["id"]
    finance = world.people("finance")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: finance.send(f"/v1/payments/{payment}/approve").status_code, range(8)))
    assert sorted(answers).count(200) == 1, answers
    assert world.settled(payment)["status"] == "settled"
    assert len(world.provider_payments()) == 1


def test_the_same_payment_under_another_key_waits_for_a_person(world: World) -> None:
    world.set_policy(ALLOW, CAP, {"id": "twice", "effect": "fingerprint", "seconds": 600})
    assert world.pay(777).status_code == 201
    again = world.pay(777)
    assert (again.status_code, again.json()["code"]) == (202, "duplicate_suspected")
    assert world.pay(778).status_code == 201


def test_an_agent_proposes_and_a_person_confirms(world: World) -> None:
    asked = {"name": "New Shop", "country": "BR", "category": "hosting", "accounts": [{"type": "pix_key", "value": "new@shop.example"}]}
    proposed = world.api.post("/v1/counterparties", asked)
    assert proposed["status"] == "proposed"
    waiting = world.pay(100, counterparty=proposed["id"])
    assert (waiting.status_code, waiting.json()["code"]) == (202, "counterparty_unconfirmed")
    confirmed = world.people("finance").post(f"/v1/counterparties/{proposed['id']}/confirm", {"from_version": 1})
    assert confirmed["status"] == "confirmed"
    assert world.pay(100, counterparty=proposed["id"]).status_code == 201


def test_a_dry_run_says_what_would_happen_and_leaves_nothing(world: World) -> None:
    entries, keys = len(world.entries()), world.rows("SELECT count(*) AS n FROM idempotency_keys WHERE operation = 'payment'")
    answer = world.api.send("/v1/payments?dry_run=true", world.body(100))
    assert (answer.status_code, answer.json()["outcome"]) == (200, "allow")
    denied = world.api.send("/v1/payments?dry_run=true", world.body(10**13))
    assert (denied.status_code, denied.json()["outcome"], denied.json()["code"]) == (200, "deny", "amount_exceeded")
    assert (len(world.entries()), world.rows("SELECT count(*) AS n FROM idempotency_keys WHERE operation = 'payment'")) == (entries, keys)
    assert world.provider_payments() == []


def test_the_decision_comes_before_what_it_allows_in_every_record(world: World) -> None:
    world.pay(100)
    world.pay(10**13)
    for entry in world.entries():
        parts = [part["part"] for part in entry["content"]["parts"]]
        for effect in ("mandate_use", "hold"):
            if effect in parts:
                assert parts.index("decision") < parts.index(effect)
        if entry["kind"] == "payment.denied":
            assert "hold" not in parts
    paid = world.rows("SELECT count(*) AS n FROM payments WHERE decision_id IS NULL")
    assert paid[0]["n"] == 0


def test_a_mandates_hours_are_the_organisations(world: World) -> None:
    closed = world.new_mandate(time_windows=[{"from": "00:00", "to": "00:01"}], expires_at=later(days=1))
    from datetime import datetime
    from zoneinfo import ZoneInfo

    if datetime.now(ZoneInfo("America/Sao_Paulo")).strftime("%H:%M") not in ("00:00", "23:59"):
        assert code(world.pay(mandate=closed)) == "time_window_closed"
    assert world.pay(mandate=world.new_mandate(time_windows=[{"from": "00:00", "to": "24:00"}])).status_code == 201
    assert raw_id(closed)
