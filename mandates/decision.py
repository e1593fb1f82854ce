"""The decision on one payment: pure, total, deterministic. Anything missing, unknown or failing denies.

Order of refusal: stop and revocation, mandate, counterparty, route, risk, policy, wallet. The first refusal wins and names its layer, so
that each layer can be shown to hold alone. The moment that everything is judged at is the database's (`snapshot["at"]`), which is also the
clock that SQL enforces with; this machine's clock (`now`) only has to agree with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from codespar.lib import clock
from codespar.lib.errors import CodesparError
from mandates import credentials, layers, policy, routing, terms
from mandates.layers import Ask, Refusal

MOST_SKEW = timedelta(seconds=2)
# A payment that has not left by then is decided again, by asking again.
SUBMIT_WITHIN = timedelta(seconds=60)
RISK = "not_configured"
# What input that this code cannot read raises.
UNREADABLE = (CodesparError, KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Decision:
    """`outcome` is allow, approval or deny. `layer` and `code` name what refused or asked.

    `shadows` says what each version in shadow would have said, once policies were asked at all; it decides nothing. `rail` is the route
    that was taken, or best refused, None without any; `route` is what it was compared by, `alternatives` are the others, each with why
    not. The rest is what the payment needs.
    """

    outcome: str
    layer: str | None
    code: str | None
    detail: str | None
    reasons: tuple[Mapping[str, Any], ...] = ()
    remaining: tuple[Mapping[str, Any], ...] = ()
    policies: tuple[Mapping[str, Any], ...] = ()
    rail: str | None = None
    account: str | None = None
    counterparty_version: int | None = None
    submit_by: datetime | None = None
    presentation: credentials.Presentation | None = None
    shadows: tuple[Mapping[str, Any], ...] = ()
    route: Mapping[str, Any] = field(default_factory=dict)
    alternatives: tuple[Mapping[str, Any], ...] = ()


def decide(snapshot: Mapping[str, Any], ask: Ask, *, now: datetime, approved: bool = False) -> Decision:
    """The decision on `ask` as the world stood in `snapshot`. Never raises.

    `approved` says that a person's approval for exactly this payment is at hand: it answers what policies and an unconfirmed
    counterparty ask for, and nothing else.
    """
    try:
        routes = routing.ranked(snapshot["routes"])
        verdicts = [_routed({**snapshot, "route": route}, ask, now, approved) for route in routes]
        undecided = next((verdict for verdict in verdicts if verdict.layer == "engine"), None)
        taken = routing.chosen([verdict.outcome for verdict in verdicts])
        return undecided or replace(verdicts[taken], route=routing.told(routes[taken]), alternatives=_alternatives(routes, verdicts, taken))
    except UNREADABLE as error:
        return _undecidable(error, ask.rail, ())


# What may have passed when a scheduled payment's time has come; whatever else refuses it refuses it at once.
PASSING = frozenset(
    [
        "consent_pending",
        "insufficient_funds",
        "limit_day",
        "limit_week",
        "limit_month",
        "mandate_not_yet_valid",
        "rail_not_ready",
        "time_blocked",
        "time_window_closed",
    ]
)


def may_wait(found: Decision, snapshot: Mapping[str, Any], until: datetime) -> Decision | None:
    """The refusal of a payment that is to be decided on at `until`, or None where only that time can tell."""
    if found.outcome == "deny" and found.code not in PASSING:
        return found
    if clock.parse(snapshot["mandate"]["expires_at"]) > until:
        return None
    detail = "The mandate ends before the payment's time."
    reason = {"code": "mandate_expired", "layer": "mandate", "policy": None, "rule": None, "detail": detail}
    return Decision("deny", "mandate", "mandate_expired", detail, (reason,), policies=found.policies, rail=found.rail)


def _alternatives(routes: list[Mapping[str, Any]], verdicts: list[Decision], taken: int) -> tuple[Mapping[str, Any], ...]:
    """The routes that were not taken, the better first: denied or left to a person by a code, or behind the one that was."""
    found = []
    for place, (route, verdict) in enumerate(zip(routes, verdicts, strict=True)):
        if place != taken:
            behind = routing.behind(route, routes[taken]) if verdict.outcome == verdicts[taken].outcome else "needs_approval"
            reason = verdict.code if verdict.outcome == "deny" else behind
            found.append({"rail": route["rail"], "reason": reason, **routing.told(route)})
    return tuple(found)


def _routed(snapshot: Mapping[str, Any], ask: Ask, now: datetime, approved: bool) -> Decision:
    """The decision on one route: `snapshot["route"]`, as if the request had named it."""
    found = _decided(snapshot, ask, now, approved)
    asked = found.outcome != "deny" or found.layer in ("policy", "wallet")
    return replace(found, shadows=_shadows(snapshot, ask, str(found.rail))) if asked else found


def _decided(snapshot: Mapping[str, Any], ask: Ask, now: datetime, approved: bool) -> Decision:
    policies: tuple[Mapping[str, Any], ...] = ()
    rail = snapshot["route"]["rail"]
    try:
        policies = tuple({"policy": p["policy"], "version": p["version"]} for p in snapshot["policies"])
        return _decide(snapshot, ask, rail, policies, now, approved)
    except Refusal as no:
        reason = {"code": no.code, "layer": no.layer, "policy": None, "rule": None, "detail": no.detail}
        return Decision("deny", no.layer, no.code, no.detail, (reason,), policies=policies, rail=rail)
    except UNREADABLE as error:
        return _undecidable(error, rail, policies)


def _undecidable(error: Exception, rail: str | None, policies: tuple[Mapping[str, Any], ...]) -> Decision:
    """Total: an input that this code cannot read is one that it does not allow."""
    detail = f"The decision could not be made from what is known ({type(error).__name__}): the answer is no."
    reason = {"code": "undecidable", "layer": "engine", "policy": None, "rule": None, "detail": detail}
    return Decision("deny", "engine", "undecidable", detail, (reason,), policies=policies, rail=rail)


def _decide(
    snapshot: Mapping[str, Any], ask: Ask, named: str | None, policies: tuple[Mapping[str, Any], ...], now: datetime, approved: bool
) -> Decision:
    at = clock.parse(snapshot["at"])
    if abs(now - at) > MOST_SKEW:
        raise Refusal("engine", "clock_skew", "This machine's clock is more than 2 s away from the database's.")
    if snapshot["agent"] is None:
        raise Refusal("mandate", "agent_closed", "The agent is closed.")
    presentation = layers.mandate(snapshot, ask, named, at)
    account, unconfirmed = layers.counterparty(snapshot, ask, named)
    rail = layers.route(snapshot["route"], ask)
    verdict = _policy(snapshot, ask, rail, at)
    if verdict.outcome == "deny":
        reason = verdict.reasons[0]
        return _final("deny", "policy", reason.code, reason.detail, verdict, policies, rail)
    wallet = snapshot["wallet"]
    if wallet is None:
        raise Refusal("wallet", "no_wallet", f"The agent has no wallet in {ask.currency}.")
    if wallet["available"] < ask.amount:
        raise Refusal("wallet", "insufficient_funds", "The agent's wallet does not hold that much.")
    ready = _final(
        "allow", None, None, None, verdict, policies, rail, account, snapshot, presentation, _submit_by(snapshot, ask, rail, at, approved)
    )
    if approved:
        return ready
    if unconfirmed:
        detail = "No person has confirmed this counterparty yet: it is paid through approval only."
        return _waiting(ready, "counterparty", "counterparty_unconfirmed", detail)
    if verdict.outcome == "approval":
        return _waiting(ready, "policy", verdict.reasons[0].code, verdict.reasons[0].detail)
    return ready


def _policy(snapshot: Mapping[str, Any], ask: Ask, rail: str, at: datetime) -> policy.Verdict:
    active = [policy.Active(p["policy"], p["version"], p["scope"], p["scope_id"], p["document"]) for p in snapshot["policies"]]
    counters = {
        (c["selector"], c["window"], c["start"]): policy.Usage(c["amount"], c["uses"], c["last_at"] and clock.parse(c["last_at"]))
        for c in snapshot["route"]["counters"]
    }
    local = at.astimezone(ZoneInfo(snapshot["timezone"]))
    return policy.evaluate(active, facts(snapshot, ask, rail), counters, at=at, local=local)


def _shadows(snapshot: Mapping[str, Any], ask: Ask, rail: str) -> tuple[Mapping[str, Any], ...]:
    """What the policies would have said with each version in shadow in its policy's place."""
    found: list[Mapping[str, Any]] = []
    for watching in snapshot.get("shadows") or ():
        said = {"policy": watching["policy"], "version": watching["version"], "outcome": "deny", "code": "undecidable", "rule": None}
        others = [p for p in snapshot["policies"] if p["policy"] != watching["policy"]]
        try:
            verdict = _policy({**snapshot, "policies": [*others, watching]}, ask, rail, clock.parse(snapshot["at"]))
            said |= {"outcome": verdict.outcome, "code": verdict.code, "rule": verdict.reasons[0].rule}
        except UNREADABLE:
            # A document that this code cannot read would allow nothing.
            pass
        found.append(said)
    return tuple(found)


def facts(snapshot: Mapping[str, Any], ask: Ask, rail: str) -> policy.Facts:
    """What policies may look at: ids from the request, everything about the counterparty from the registry."""
    agent, payee = snapshot["agent"], snapshot["counterparty"]
    return policy.Facts(
        org=_uuid(snapshot["org"]),
        livemode=agent["livemode"],
        project=_uuid(agent["project"]),
        agent=_uuid(agent["id"]),
        mandate=_uuid(ask.mandate),
        counterparty=_uuid(ask.counterparty),
        country=payee["country"],
        category=payee["category"],
        purpose=ask.purpose,
        rail=rail,
        amount=ask.amount,
        currency=ask.currency,
    )


def _uuid(wire: str) -> str:
    return str(UUID(hex=wire[4:]))


def _submit_by(snapshot: Mapping[str, Any], ask: Ask, rail: str, at: datetime, approved: bool) -> datetime:
    """A minute, or less when the mandate or the holder's consent expires, or a time window of mandate or policy closes before."""
    expires = clock.parse(snapshot["mandate"]["expires_at"])
    boundary = at.replace(second=0, microsecond=0) + timedelta(minutes=1)
    found = snapshot["mandate"]["time_windows"]
    open_then = found is None or any(
        terms.TimeWindow(days=tuple(w["days"]), start=w["start"], end=w["end"], tz=w["tz"]).covers(boundary) for w in found
    )
    local = boundary.astimezone(ZoneInfo(snapshot["timezone"]))
    timed = [
        policy.Active(p["policy"], p["version"], p["scope"], p["scope_id"], _timed(p["document"], approved)) for p in snapshot["policies"]
    ]
    verdict = policy.evaluate(timed, facts(snapshot, ask, rail), {}, at=boundary, local=local)
    closes = not open_then or any(reason.code != "currency_not_covered" for reason in verdict.reasons)
    consent = snapshot["route"]["consent"]
    ends = expires if consent is None else min(expires, clock.parse(consent["expires_at"]))
    return min(ends, boundary if closes else at + SUBMIT_WITHIN)


def _timed(document: Mapping[str, Any], approved: bool) -> dict[str, Any]:
    """The part of a document that can change with the hour; where nobody has approved, an hour of approval closes like one of denial."""
    closing = {"deny"} if approved else {"deny", "approval"}
    rules = [{**rule, "effect": "deny"} if rule["effect"] in closing else rule for rule in document["rules"]]
    return {**document, "rules": [rule for rule in rules if rule["effect"] in ("allow", "deny")]}


def _final(
    outcome: str,
    layer: str | None,
    code: str | None,
    detail: str | None,
    verdict: policy.Verdict,
    policies: tuple[Mapping[str, Any], ...],
    rail: str,
    account: str | None = None,
    snapshot: Mapping[str, Any] | None = None,
    presentation: credentials.Presentation | None = None,
    submit_by: datetime | None = None,
) -> Decision:
    reasons = tuple({"code": r.code, "layer": "policy", "policy": r.policy, "rule": r.rule, "detail": r.detail} for r in verdict.reasons)
    version = snapshot["counterparty"]["version"] if snapshot else None
    return Decision(outcome, layer, code, detail, reasons, verdict.remaining, policies, rail, account, version, submit_by, presentation)


def _waiting(ready: Decision, layer: str, code: str, detail: str) -> Decision:
    reasons = tuple(r for r in ready.reasons if r["code"] != "allowed") or (
        {"code": code, "layer": layer, "policy": None, "rule": None, "detail": detail},
    )
    return replace(ready, outcome="approval", layer=layer, code=code, detail=detail, reasons=reasons)
