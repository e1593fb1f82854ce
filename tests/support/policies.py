"""Random policies, facts and counters for the evaluator's properties."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from mandates import documents, policy
from mandates.policy import Active, Facts, Usage

ORG, PROJECT, AGENT, MANDATE = (str(UUID(int=n)) for n in (1, 2, 3, 4))
PAYEES = [str(UUID(int=n)) for n in (11, 12)]
COUNTRIES, CATEGORIES, PURPOSES, CURRENCIES = ["BR", "PT", "KP"], ["hosting", "travel"], ["a", "b"], ["BRL", "USD"]
ZONES = ["America/Sao_Paulo", "Europe/Lisbon", "UTC", "America/New_York", "Asia/Kathmandu"]
SCOPE_IDS = {"org": ORG, "project": PROJECT, "agent": AGENT}


def some(values: list[str]) -> Any:
    return st.lists(st.sampled_from(values), min_size=1, max_size=len(values), unique=True)


def wire_payees() -> Any:
    return some([f"ctp_{UUID(payee).hex}" for payee in PAYEES])


def clock() -> Any:
    return st.integers(0, 95).map(lambda quarter: f"{quarter // 4:02d}:{quarter % 4 * 15:02d}")


windows = st.lists(
    st.tuples(some(["1", "2", "3", "4", "5", "6", "7"]), clock(), clock())
    .filter(lambda w: w[1] != w[2])
    .map(lambda w: {"days": sorted(int(d) for d in w[0]), "from": w[1], "to": w[2]}),
    min_size=1,
    max_size=2,
)
lists = st.fixed_dictionaries(
    {},
    optional={
        "counterparties": wire_payees(),
        "countries": some(COUNTRIES),
        "categories": some(CATEGORIES),
        "purposes": some(PURPOSES),
        "rails": some(["sandbox", "card"]),
        "currencies": some(CURRENCIES),
        "time": windows,
        "amount_over": st.fixed_dictionaries({"amount": st.integers(0, 200), "currency": st.sampled_from(CURRENCIES)}),
    },
)


def one_list(name: str, values: Any) -> Any:
    return values.map(lambda found: {name: found})


# Often one list alone, so that each of them decides on its own.
lists = st.one_of(
    lists,
    one_list("counterparties", wire_payees()),
    one_list("countries", some(COUNTRIES)),
    one_list("categories", some(CATEGORIES)),
    one_list("time", windows),
)
plain = st.builds(lambda effect, when: {"effect": effect, "when": when}, st.sampled_from(["allow", "allow", "deny", "approval"]), lists)
limit = st.builds(
    lambda window, currency, amount, count, per: {
        "effect": "limit",
        "window": window,
        "currency": currency,
        "max_amount": amount,
        "per": per,
        **({"max_count": count} if window != "payment" and count else {}),
    },
    st.sampled_from(documents.WINDOWS),
    st.sampled_from(CURRENCIES),
    st.integers(0, 400),
    st.integers(0, 4),
    st.lists(st.sampled_from(documents.PER), max_size=3, unique=True),
)
fingerprint = st.builds(lambda seconds: {"effect": "fingerprint", "seconds": seconds}, st.integers(1, 1000))


@st.composite
def rule_lists(draw: Any) -> list[dict[str, Any]]:
    rules = draw(st.lists(st.one_of(plain, limit, fingerprint), max_size=6))
    # Half of the time something is allowed at all.
    if draw(st.booleans()):
        rules = [{"effect": "allow"}, {"effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 150}, *rules]
    return [{"id": f"r{index}", **rule} for index, rule in enumerate(rules)]


@st.composite
def cases(draw: Any) -> tuple[list[Active], Facts, policy.Counters, datetime, str]:
    """(policies, facts, counters, at, zone): every counter that the policies need is there."""
    scopes = ["org", *draw(st.lists(st.sampled_from(["project", "agent"]), unique=True))]
    active = [
        Active(
            f"pol_{UUID(int=100 + n).hex}",
            1,
            scope,
            SCOPE_IDS[scope],
            documents.normalise({"rules": draw(rule_lists()), "unknown_category": draw(st.sampled_from(["deny", "allow"]))}),
        )
        for n, scope in enumerate(scopes)
    ]
    facts = Facts(
        ORG,
        draw(st.booleans()),
        PROJECT,
        AGENT,
        MANDATE,
        draw(st.sampled_from(PAYEES)),
        draw(st.sampled_from([None, *COUNTRIES])),
        draw(st.sampled_from([None, *CATEGORIES])),
        draw(st.sampled_from(PURPOSES)),
        "sandbox",
        draw(st.integers(1, 250)),
        draw(st.sampled_from(CURRENCIES)),
    )
    zone = draw(st.sampled_from(ZONES))
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 366 * 24 * 60)))
    return active, facts, draw(counters(active, facts, at, zone)), at, zone


@st.composite
def counters(draw: Any, active: list[Active], facts: Facts, at: datetime, zone: str) -> policy.Counters:
    from zoneinfo import ZoneInfo

    local, found = at.astimezone(ZoneInfo(zone)), {}
    for one in active:
        for rule in one.document["rules"]:
            if rule["effect"] == "limit" and rule["window"] != "payment":
                key = (
                    policy.selector(one.scope, one.scope_id, rule["per"], facts),
                    rule["window"],
                    policy.window_start(rule["window"], local).isoformat(),
                )
                found[key] = Usage(draw(st.integers(0, 300)), draw(st.integers(0, 4)), None)
            if rule["effect"] == "fingerprint":
                ago = draw(st.one_of(st.none(), st.integers(0, 1500)))
                found[policy.same_payment(facts), "same", "1970-01-01"] = Usage(0, 0, None if ago is None else at - timedelta(seconds=ago))
    return found
