"""One attempt for each rule of mandates, counterparties, policies, counters and revocations."""

from uuid import uuid4

from tests.attacks.cases_books import Case, _do
from tests.support.scene import Cursor


def change(table: str, change: str, where: str = "true") -> Case:
    return lambda c: _do(c, f"UPDATE {table} SET {change} WHERE org_id = %s AND {where}", c.scene.org)


def mandate(**changes: object) -> Case:
    return lambda c: c.copy("mandates", f"org_id = '{c.scene.org}'", id=uuid4(), **changes)


def usage(column: str, value: str) -> Case:
    return change("mandate_usages", f"{column} = {value}", "budget IS NOT NULL")


def scope(**values: object) -> Case:
    return lambda c: c.insert("scope_states", **{"livemode": False, "scope": "mandate", "scope_id": uuid4()} | values)


def rule(**values: object) -> Case:
    """A compiled rule with something wrong, in a version that has no rules yet."""

    def run(c: Cursor) -> None:
        policy = c.run("SELECT id FROM policies WHERE org_id = %s", c.scene.org)[0]["id"]
        row = {"policy_id": policy, "version": 99, "rule_id": "x", "effect": "allow", "unknown_category": False}
        c.insert("policy_versions", policy_id=policy, version=99, document="{}", author="x", entry_id=uuid4())
        c.insert("policy_rules", **row | values)

    return run


def decision(**changes: object) -> Case:
    return lambda c: c.copy("decisions", f"org_id = '{c.scene.org}' AND outcome = 'allow'", id=uuid4(), **changes)


def copied(table: str, **changes: object) -> Case:
    return lambda c: c.copy(table, f"org_id = '{c.scene.org}'", **changes)


def _platform(c: Cursor) -> None:
    c.run("UPDATE platform_states SET epoch = 5 WHERE scope = 'rail'")
    c.run("UPDATE platform_states SET epoch = 4 WHERE scope = 'rail'")


def _lift(c: Cursor) -> None:
    """Whoever stopped lifts it."""
    stop = c.run("SELECT id, initiator FROM stops WHERE org_id = %s LIMIT 1", c.scene.org)[0]
    said = {"initiator": stop["initiator"], "lifted_by": stop["initiator"], "reason_commit": "x"}
    c.insert("stop_lifts", stop_id=stop["id"], at="now", entry_id=uuid4(), **said)


CASES: dict[str, list[Case]] = {
    "mandates_amounts": [mandate(max_amount=0), mandate(max_amount=-1), mandate(budget=0), mandate(max_uses=0)],
    "mandates_lists": [mandate(purposes=[]), mandate(counterparties=[]), mandate(rails=[])],
    "mandates_profile": [mandate(profile="open")],
    "mandates_validity": [mandate(not_before="2100-01-01T00:00:00Z")],
    "mandate_usages_caps": [usage("budget", "budget + 1"), usage("max_uses", "NULL"), usage("mandate_id", f"'{uuid4()}'")],
    "mandate_usages_budget": [usage("spent", "budget + 1"), usage("spent", "-1")],
    "mandate_usages_uses": [usage("uses", "max_uses + 1"), usage("uses", "-1")],
    "scope_states_epoch_grows": [change("scope_states", "epoch = 0", "scope = 'mandate' AND epoch > 0")],
    "scope_states_epoch": [scope(epoch=-1)],
    "scope_states_scope": [scope(scope="world")],
    "platform_states_epoch_grows": [_platform],
    "platform_states_epoch": [lambda c: _do(c, "INSERT INTO platform_states (scope, name, epoch) VALUES ('rail', 'x', -1)")],
    "platform_states_scope": [lambda c: _do(c, "INSERT INTO platform_states (scope, name) VALUES ('world', 'x')")],
    "revocations_scope": [copied("revocations", id=uuid4(), scope="world")],
    "revocations_everybody": [copied("revocations", id=uuid4(), scope="platform"), copied("revocations", id=uuid4(), scope_id=None)],
    "stops_scope": [copied("stops", id=uuid4(), scope="world")],
    "stops_everybody": [copied("stops", id=uuid4(), scope="platform"), copied("stops", id=uuid4(), scope_id=None)],
    "stop_lifts_another_person": [_lift],
    "counterparties_country": [change("counterparties", "country = 'Brazil'")],
    "counterparties_category": [change("counterparties", "category = 'Web Hosting'")],
    "counterparties_name": [change("counterparties", "name = ''")],
    "counterparties_status": [change("counterparties", "status = 'trusted'")],
    "policies_scope": [copied("policies", id=uuid4(), scope="org", scope_id=uuid4()), copied("policies", id=uuid4(), scope="all")],
    "policies_one_a_scope": [copied("policies", id=uuid4())],
    "policy_versions_version": [copied("policy_versions", version=0)],
    "policy_versions_pkey": [copied("policy_versions")],
    "policy_activations_state": [copied("policy_activations", epoch=10**6, state="on")],
    "policy_activations_version": [copied("policy_activations", epoch=10**6, version=77)],
    "policy_rules_effect": [rule(effect="maybe")],
    "policy_rules_limit": [rule(window_kind="day"), rule(effect="limit"), rule(effect="limit", window_kind="day", currency="BRL")],
    "policy_rules_window": [rule(effect="limit", window_kind="year", currency="BRL", max_amount=1)],
    "policy_rules_per": [rule(per=["weather"])],
    "policy_rules_fingerprint": [rule(effect="fingerprint"), rule(seconds=5)],
    "counters_amount": [change("counters", "amount = -1"), change("counters", "uses = -1")],
    "counters_window": [copied("counters", window_kind="year")],
    "decisions_outcome": [decision(outcome="perhaps", code="x")],
    "decisions_code": [decision(code="x"), decision(outcome="deny")],
}
