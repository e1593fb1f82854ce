"""The evaluator's properties, its windows, and that SQL enforces the same."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codespar.lib import windows
from codespar.lib.errors import Invalid
from mandates import documents, policy
from mandates.policy import Active, Facts, Usage
from tests.support import policies
from tests.support.policies import AGENT, MANDATE, ORG, PAYEES, PROJECT
from tests.support.world import World

ORDER = {"allow": 0, "approval": 1, "deny": 2}
FACTS = Facts(ORG, False, PROJECT, AGENT, MANDATE, PAYEES[0], "BR", "hosting", "a", "sandbox", 100, "BRL")
NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
ALLOW = {"id": "all", "effect": "allow"}
CAP = {"id": "cap", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 1000}


def judge(
    *rules: dict[str, Any], facts: Facts = FACTS, counters: Any = None, at: datetime = NOW, zone: str = "UTC", **extra: Any
) -> policy.Verdict:
    document = documents.normalise({"rules": list(rules), **extra})
    local = at.astimezone(ZoneInfo(zone))
    return policy.evaluate([Active("pol", 1, "org", ORG, document)], facts, counters or {}, at=at, local=local)


@given(policies.cases())
def test_the_same_input_gives_the_same_bytes(case: Any) -> None:
    active, facts, counters, at, zone = case
    local = at.astimezone(ZoneInfo(zone))
    first = policy.evaluate(active, facts, counters, at=at, local=local)
    # Order of policies and a round trip through JSON change nothing.
    again = [replace(a, document=json.loads(json.dumps(a.document))) for a in reversed(active)]
    assert policy.evaluate(again, facts, dict(reversed(counters.items())), at=at, local=local).canonical() == first.canonical()
    assert first.outcome in ORDER
    assert (first.outcome == "allow") == (first.code is None)


@given(policies.cases(), policies.rule_lists(), st.sampled_from(["org", "project", "agent"]))
def test_a_rule_that_restricts_only_ever_tightens(case: Any, more: list[dict[str, Any]], scope: str) -> None:
    active, facts, counters, at, zone = case
    local = at.astimezone(ZoneInfo(zone))
    before = policy.evaluate(active, facts, counters, at=at, local=local).outcome
    tight = [{**rule, "id": f"x{rule['id']}"} for rule in more if rule["effect"] in ("deny", "approval")]
    after = [replace(a, document=documents.normalise(add(a.document, tight))) if a.scope == scope else a for a in active]
    assert ORDER[policy.evaluate(after, facts, counters, at=at, local=local).outcome] >= ORDER[before]


def add(document: Any, rules: list[dict[str, Any]]) -> dict[str, Any]:
    shown = documents.render(dict(document))
    return {**shown, "rules": [*shown["rules"], *rules]}


@given(policies.cases(), st.integers(1, 200))
def test_more_money_or_more_spent_is_never_more_allowed(case: Any, more: int) -> None:
    active, facts, counters, at, zone = case
    local = at.astimezone(ZoneInfo(zone))
    limits = [
        replace(a, document={**a.document, "rules": [r for r in a.document["rules"] if r["effect"] in ("allow", "limit")]}) for a in active
    ]
    allows = [
        replace(a, document={**a.document, "rules": [r for r in a.document["rules"] if "amount_over" not in r.get("when", {})]})
        for a in limits
    ]
    before = policy.evaluate(allows, facts, counters, at=at, local=local).outcome
    # Counters that are counted per nothing of the amount stay the same.
    larger = policy.evaluate(allows, replace(facts, amount=facts.amount + more), counters, at=at, local=local).outcome
    spent = {key: replace(usage, amount=usage.amount + more, uses=usage.uses + 1) for key, usage in counters.items()}
    assert ORDER[larger] >= ORDER[before]
    assert ORDER[policy.evaluate(allows, facts, spent, at=at, local=local).outcome] >= ORDER[before]


@given(policies.cases())
def test_a_counter_that_is_missing_denies(case: Any) -> None:
    active, facts, counters, at, zone = case
    local = at.astimezone(ZoneInfo(zone))
    needed = any(
        r["effect"] == "limit" and r["window"] != "payment" and r["currency"] == facts.currency and not r.get("when")
        for a in active
        for r in a.document["rules"]
    )
    if needed:
        assert policy.evaluate(active, facts, {}, at=at, local=local).outcome == "deny"


def test_without_a_policy_nothing_is_paid() -> None:
    assert policy.evaluate([], FACTS, {}, at=NOW, local=NOW).code == "policy_missing"
    assert judge(ALLOW).code == "currency_not_covered"
    assert judge(CAP).code == "not_allowed"
    assert judge(ALLOW, CAP).outcome == "allow"


def test_one_request_of_each_kind_has_its_verdict_and_its_reason() -> None:
    large = {"id": "large", "effect": "approval", "when": {"amount_over": {"amount": 99, "currency": "BRL"}}}
    denied = {"id": "no", "effect": "deny", "when": {"categories": ["hosting"]}}
    assert judge(ALLOW, CAP, large).code == "approval_required"
    verdict = judge(ALLOW, CAP, large, denied)
    assert (verdict.outcome, verdict.code, verdict.reasons[0].rule) == ("deny", "category_denied", "no")


@pytest.mark.parametrize("country, code", [("KP", "country_denied"), (None, "country_denied"), ("BR", None)])
def test_a_denied_country_and_an_unknown_one_are_refused(country: str | None, code: str | None) -> None:
    assert (
        judge(ALLOW, CAP, {"id": "no", "effect": "deny", "when": {"countries": ["KP"]}}, facts=replace(FACTS, country=country)).code == code
    )


@pytest.mark.parametrize("setting, code", [("deny", "category_denied"), ("allow", None)])
def test_an_unknown_category_follows_the_setting(setting: str, code: str | None) -> None:
    rule = {"id": "no", "effect": "deny", "when": {"categories": ["gifts"]}}
    assert judge(ALLOW, CAP, rule, facts=replace(FACTS, category=None), unknown_category=setting).code == code
    only = {"id": "only", "effect": "allow", "when": {"categories": ["hosting"]}}
    assert judge(only, CAP, facts=replace(FACTS, category=None), unknown_category=setting).code == "not_allowed"


@pytest.mark.parametrize(
    "clock, code", [("21:59:59", None), ("22:00:00", "time_blocked"), ("06:59:59", "time_blocked"), ("07:00:00", None)]
)
def test_a_blocked_night_begins_and_ends_to_the_second(clock: str, code: str | None) -> None:
    night = {"id": "night", "effect": "deny", "when": {"time": [{"from": "22:00", "to": "07:00"}]}}
    hour, minute, second = (int(part) for part in clock.split(":"))
    at = datetime(2026, 7, 1, hour, minute, second, tzinfo=ZoneInfo("America/Sao_Paulo")).astimezone(UTC)
    assert judge(ALLOW, CAP, night, at=at, zone="America/Sao_Paulo").code == code


def test_windows_follow_the_wall_clock_over_daylight_saving() -> None:
    lisbon = ZoneInfo("Europe/Lisbon")
    for utc, day in (("2026-03-29T00:30", 29), ("2026-03-28T23:59", 28), ("2026-10-24T22:59", 24), ("2026-10-24T23:30", 25)):
        local = datetime.fromisoformat(f"{utc}+00:00").astimezone(lisbon)
        assert policy.window_start("day", local).day == day
    noon = [{"days": [7], "from": "12:00", "to": "13:00"}]
    for when in (datetime(2026, 3, 29, 12, 30, tzinfo=lisbon), datetime(2026, 10, 25, 12, 30, tzinfo=lisbon)):
        assert windows.inside(windows.parse(noon, ""), when)
    monday = datetime(2026, 3, 2, 0, 0, tzinfo=lisbon)
    assert policy.window_start("week", monday - timedelta(seconds=1)).isoformat() == "2026-02-23"
    assert policy.window_start("week", monday).isoformat() == "2026-03-02"
    assert policy.window_start("month", monday).isoformat() == "2026-03-01"


def test_a_limit_is_used_up_to_the_last_minor_unit() -> None:
    rule = {"id": "day", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 300}
    key = (policy.selector("org", ORG, [], FACTS), "day", "2026-03-04")
    assert judge(ALLOW, rule, counters={key: Usage(200, 1, None)}).outcome == "allow"
    assert judge(ALLOW, rule, counters={key: Usage(201, 1, None)}).code == "limit_day"


@pytest.mark.parametrize(
    "rule",
    [
        {"id": "x", "effect": "allow", "unknown": 1},
        {"id": "x", "effect": "permit"},
        {"id": "X", "effect": "allow"},
        {"id": "x", "effect": "allow", "when": {"colour": ["red"]}},
        {"id": "x", "effect": "allow", "when": {"countries": []}},
        {"id": "x", "effect": "limit", "window": "day", "currency": "BRL"},
        {"id": "x", "effect": "limit", "window": "year", "currency": "BRL", "max_amount": 1},
        {"id": "x", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 1.5},
        {"id": "x", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 1, "when": {"categories": ["a"]}},
        {"id": "x", "effect": "fingerprint"},
    ],
)
def test_what_would_not_be_enforced_is_refused_when_it_is_written(rule: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        documents.normalise({"rules": [rule]})


_FACTS = "ROW(%(org)s, %(livemode)s, %(project)s, %(agent)s, %(mandate)s, %(counterparty)s, %(country)s, %(category)s, %(purpose)s, %(rail)s, %(amount)s, %(currency)s)::payment_facts"
_SET_UP = """
INSERT INTO organisations (id, name, timezone, entry_id) VALUES (%(org)s, 'x', %(zone)s, gen_random_uuid())
"""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=policies.cases())
def test_sql_decides_as_python_does(shared_world: World, case: Any) -> None:
    active, facts, counters, at, zone = case
    expected = policy.evaluate(active, facts, counters, at=at, local=at.astimezone(ZoneInfo(zone))).outcome
    with shared_world.db("super", tenant=False) as connection, connection.transaction(force_rollback=True):
        connection.execute(_SET_UP, {"org": ORG, "zone": zone})
        for one in active:
            _activate(connection, one, facts.livemode)
        for (selector, window, start), usage in counters.items():
            connection.execute(
                "INSERT INTO counters (org_id, selector, currency, window_kind, window_start, amount, uses, last_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [ORG, selector, facts.currency, window, start, usage.amount, usage.uses, usage.last_at],
            )
        row = connection.execute(
            f"SELECT policy_outcome({_FACTS}, %(at)s, %(zone)s) AS outcome", {**asdict(facts), "at": at, "zone": zone}
        ).fetchone()
    assert row is not None
    assert row["outcome"] == expected


def _activate(connection: Any, one: Active, livemode: bool) -> None:
    identity = UUID(hex=one.policy.removeprefix("pol_"))
    values = {
        "org": ORG,
        "id": identity,
        "live": livemode,
        "scope": one.scope,
        "scope_id": one.scope_id,
        "document": json.dumps(one.document),
    }
    connection.execute(
        "INSERT INTO policies (org_id, id, livemode, name, scope, scope_id, entry_id) VALUES (%(org)s, %(id)s, %(live)s, 'x', %(scope)s, %(scope_id)s, gen_random_uuid())",
        values,
    )
    connection.execute(
        "INSERT INTO policy_versions (org_id, policy_id, version, document, author, entry_id) VALUES (%(org)s, %(id)s, 1, %(document)s, 'x', gen_random_uuid())",
        values,
    )
    connection.execute("SELECT policy_compile(%(org)s, %(id)s, 1, %(document)s::jsonb)", values)
    connection.execute(
        "INSERT INTO policy_activations (org_id, policy_id, epoch, version, state, author, entry_id) VALUES (%(org)s, %(id)s, 1, 1, 'active', 'x', gen_random_uuid())",
        values,
    )
