"""The policy evaluator: pure, total, deterministic. The same input gives the same bytes; what is missing or unknown denies.

Allowed if and only if every policy that applies has an allow rule that matches, none has a deny rule that matches, and every matching
limit holds. Scopes combine deny > approval > allow, so a narrower policy can only tighten. The organisation's policy is mandatory, and
a currency without a limit in it is denied. `mandates/sql/0002_policy.sql` enforces the same from the database's own rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from codespar.lib import canonical, windows

SCOPES = ("org", "project", "agent")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy may look at. Ids are UUIDs in their usual text form; None is unknown."""

    org: str
    livemode: bool
    project: str
    agent: str
    mandate: str
    counterparty: str
    country: str | None
    category: str | None
    purpose: str | None
    rail: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Active:
    """One active policy version: `scope` is org, project or agent, `scope_id` the UUID text of what it is for."""

    policy: str
    version: int
    scope: str
    scope_id: str
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """What one counter holds: minor units, number of payments, when the last one was counted."""

    amount: int = 0
    uses: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding: a stable `code`, the rule that made it, and one sentence for people."""

    code: str
    policy: str | None
    rule: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`outcome` is allow, approval or deny; the first reason is the one that decided. `remaining`: what each limit still holds."""

    outcome: str
    reasons: tuple[Reason, ...]
    remaining: tuple[Mapping[str, Any], ...]

    @property
    def code(self) -> str | None:
        return None if self.outcome == "allow" else self.reasons[0].code

    def canonical(self) -> bytes:
        """The verdict as bytes: equal for equal input, on every machine."""
        return canonical.dumps(asdict(self))


Counters = Mapping[tuple[str, str, str], Usage]


def evaluate(policies: Sequence[Active], facts: Facts, counters: Counters, *, at: datetime, local: datetime) -> Verdict:
    """Decide. `at` is the moment (UTC), `local` the same moment on the organisation's wall clock.

    `counters` maps (selector, window, start as YYYY-MM-DD) to what was counted there; a counter that a limit needs and that is
    not in it denies.
    """
    if not any(active.scope == "org" for active in policies):
        return _deny("policy_missing", None, None, "The organisation has no active policy: without one nothing is paid.")
    denies: list[Reason] = []
    approvals: list[Reason] = []
    allows: list[Reason] = []
    remaining: list[Mapping[str, Any]] = []
    for active in sorted(policies, key=lambda a: SCOPES.index(a.scope)):
        _weigh(active, facts, counters, at, local, denies, approvals, allows, remaining)
    if denies:
        return Verdict("deny", tuple(denies), tuple(remaining))
    if approvals:
        return Verdict("approval", tuple(approvals), tuple(remaining))
    return Verdict("allow", tuple(allows), tuple(remaining))


def _weigh(
    active: Active,
    facts: Facts,
    counters: Counters,
    at: datetime,
    local: datetime,
    denies: list[Reason],
    approvals: list[Reason],
    allows: list[Reason],
    remaining: list[Mapping[str, Any]],
) -> None:
    allowed, covered = False, active.scope != "org"
    lenient = active.document.get("unknown_category") == "allow"
    for rule in active.document["rules"]:
        effect = rule["effect"]
        if effect == "limit":
            covered |= rule["currency"] == facts.currency
        if not _matches(rule, facts, local, lenient):
            continue
        if effect == "allow":
            allowed = True
            allows.append(Reason("allowed", active.policy, rule["id"], "An allow rule matches."))
        elif effect == "deny":
            denies.append(_denied(active, rule, facts))
        elif effect == "approval":
            approvals.append(Reason("approval_required", active.policy, rule["id"], "The policy asks for a person's approval here."))
        elif effect == "fingerprint":
            _same(active, rule, facts, counters, at, denies, approvals)
        else:
            _limit(active, rule, facts, counters, local, denies, remaining)
    if not covered:
        detail = f"The organisation's policy has no limit in {facts.currency}: a currency without a limit is denied."
        denies.append(Reason("currency_not_covered", active.policy, None, detail))
    if not allowed:
        denies.append(Reason("not_allowed", active.policy, None, "No allow rule of this policy matches: what is not allowed is denied."))


def _matches(rule: Mapping[str, Any], facts: Facts, local: datetime, lenient: bool) -> bool:
    """Whether a rule speaks of this payment. What is unknown cannot be allowed, and cannot escape a refusal."""
    when, unknown = rule.get("when", {}), rule["effect"] != "allow"
    listed = (
        ("counterparties", f"ctp_{UUID(facts.counterparty).hex}", unknown),
        ("countries", facts.country, unknown),
        ("categories", facts.category, unknown and not lenient),
        ("purposes", facts.purpose, unknown),
        ("rails", facts.rail, unknown),
        ("currencies", facts.currency, unknown),
    )
    for name, fact, if_unknown in listed:
        if name in when and not (if_unknown if fact is None else fact in when[name]):
            return False
    if "time" in when and not windows.inside(when["time"], local):
        return False
    if "amount_over" in when:
        over = when["amount_over"]
        if facts.currency != over["currency"] or facts.amount <= over["amount"]:
            return False
    return rule["effect"] != "limit" or rule["currency"] == facts.currency


def _limit(
    active: Active,
    rule: Mapping[str, Any],
    facts: Facts,
    counters: Counters,
    local: datetime,
    denies: list[Reason],
    remaining: list[Mapping[str, Any]],
) -> None:
    window, most, times = rule["window"], rule.get("max_amount"), rule.get("max_count")
    spent = Usage()
    if window != "payment":
        key = (selector(active.scope, active.scope_id, rule["per"], facts), window, window_start(window, local).isoformat())
        found = counters.get(key)
        if found is None:
            denies.append(Reason("snapshot_incomplete", active.policy, rule["id"], "What this limit has counted is not known."))
            return
        spent = found
    left = None if most is None else max(0, most - spent.amount)
    uses = None if times is None else max(0, times - spent.uses)
    remaining.append({"policy": active.policy, "rule": rule["id"], "window": window, "amount": left, "count": uses})
    if (left is not None and facts.amount > left) or uses == 0:
        denies.append(Reason(f"limit_{window}", active.policy, rule["id"], _over(window, left, uses)))


def _over(window: str, left: int | None, uses: int | None) -> str:
    if window == "payment":
        return f"One payment may be at most {left} minor units."
    if uses == 0:
        return f"The {window}'s number of payments is used up."
    return f"The {window}'s limit has {left} minor units left."


def _same(
    active: Active,
    rule: Mapping[str, Any],
    facts: Facts,
    counters: Counters,
    at: datetime,
    denies: list[Reason],
    approvals: list[Reason],
) -> None:
    found = counters.get((same_payment(facts), "same", "1970-01-01"))
    if found is None:
        denies.append(Reason("snapshot_incomplete", active.policy, rule["id"], "Whether the same payment was made before is not known."))
    elif found.last_at is not None and found.last_at > at - timedelta(seconds=rule["seconds"]):
        detail = "The same mandate paid the same amount to the same counterparty for the same purpose a short while ago."
        approvals.append(Reason("duplicate_suspected", active.policy, rule["id"], detail))


def _denied(active: Active, rule: Mapping[str, Any], facts: Facts) -> Reason:
    when = rule.get("when", {})
    for name, code, what in _DENY_CODES:
        if name in when:
            known = "" if getattr(facts, what, "") is not None else f" The counterparty's {what} is not known, so it cannot be let through."
            return Reason(code, active.policy, rule["id"], f"A deny rule matches.{known}")
    return Reason("denied", active.policy, rule["id"], "A deny rule matches every payment.")


_DENY_CODES = (
    ("countries", "country_denied", "country"),
    ("categories", "category_denied", "category"),
    ("counterparties", "counterparty_denied", "counterparty"),
    ("rails", "rail_denied", "rail"),
    ("purposes", "purpose_denied", "purpose"),
    ("time", "time_blocked", "time"),
    ("amount_over", "amount_denied", "amount"),
    ("currencies", "currency_denied", "currency"),
)


def selector(scope: str, scope_id: str, per: Sequence[str], facts: Facts) -> str:
    """What a limit counts, written out: the scope of its policy, then the values that it is counted per, in a fixed order."""
    parts = [f"{scope}={scope_id}", "live" if facts.livemode else "test"]
    for name in ("project", "agent", "counterparty", "category", "purpose", "rail"):
        if name in per:
            parts.append(f"{name}={getattr(facts, name) if getattr(facts, name) is not None else '?'}")
    return ";".join(parts)


def same_payment(facts: Facts) -> str:
    """The counter of payments that look the same: mandate, counterparty, amount, currency, purpose."""
    text = "\n".join([facts.mandate, facts.counterparty, str(facts.amount), facts.currency, facts.purpose or ""])
    return "same=" + canonical.sha256(text.encode()).hex()


def window_start(window: str, local: datetime) -> date:
    """The first day of the window that `local` lies in: the day, its Monday, or its month's first."""
    today = local.date()
    if window == "week":
        return today - timedelta(days=today.weekday())
    return today.replace(day=1) if window == "month" else today


def _deny(code: str, policy: str | None, rule: str | None, detail: str) -> Verdict:
    return Verdict("deny", (Reason(code, policy, rule, detail),), ())
