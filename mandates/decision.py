"""The decision on one payment: pure, total, deterministic. Anything missing, unknown or failing denies.

Order of refusal: stop and revocation, mandate, counterparty, risk, policy, wallet. The first refusal wins and names its layer, so that
each layer can be shown to hold alone. The moment that everything is judged at is the database's (`snapshot["at"]`), which is also the
clock that SQL enforces with; this machine's clock (`now`) only has to agree with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from codespar.lib import clock, targets
from codespar.lib.errors import CodesparError
from codespar.lib.sdjwt import MandateInvalid, public_key
from mandates import credentials, policy, terms

MOST_SKEW = timedelta(seconds=2)
# A payment that has not left by then is decided again, by asking again.
SUBMIT_WITHIN = timedelta(seconds=60)
DEFAULT_RAIL = "sandbox"
RISK = "not_configured"
# What input that this code cannot read raises.
UNREADABLE = (CodesparError, KeyError, TypeError, ValueError, AttributeError, IndexError)


@dataclass(frozen=True, slots=True)
class Ask:
    """What an agent asks for. `mandate` is a wire id; `proof` what it sent instead of an id: a credential or a presentation.

    `claims` is what it says of the counterparty (name, country, category, account), which must all be true. `target` is what is to be
    paid for on the counterparty's side (`codespar.lib.targets`).
    """

    mandate: str
    counterparty: str
    amount: int
    currency: str
    purpose: str
    rail: str | None = None
    proof: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`outcome` is allow, approval or deny. `layer` and `code` name what refused or asked.

    `shadows` says what each version in shadow would have said, once policies were asked at all; it decides nothing. The rest is what
    the payment needs.
    """

    outcome: str
    layer: str | None
    code: str | None
    detail: str | None
    reasons: tuple[Mapping[str, Any], ...] = ()
    remaining: tuple[Mapping[str, Any], ...] = ()
    policies: tuple[Mapping[str, Any], ...] = ()
    rail: str = DEFAULT_RAIL
    account: str | None = None
    counterparty_version: int | None = None
    submit_by: datetime | None = None
    presentation: credentials.Presentation | None = None
    shadows: tuple[Mapping[str, Any], ...] = ()


class Refusal(Exception):
    """A layer's no, inside `decide` only."""

    def __init__(self, layer: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.layer, self.code, self.detail = layer, code, detail


def decide(snapshot: Mapping[str, Any], ask: Ask, *, now: datetime, approved: bool = False) -> Decision:
    """The decision on `ask` as the world stood in `snapshot`. Never raises.

    `approved` says that a person's approval for exactly this payment is at hand: it answers what policies and an unconfirmed
    counterparty ask for, and nothing else.
    """
    found = _decided(snapshot, ask, now, approved)
    asked = found.outcome != "deny" or found.layer in ("policy", "wallet")
    return replace(found, shadows=_shadows(snapshot, ask, found.rail)) if asked else found


def _decided(snapshot: Mapping[str, Any], ask: Ask, now: datetime, approved: bool) -> Decision:
    policies: tuple[Mapping[str, Any], ...] = ()
    rail = ask.rail or DEFAULT_RAIL
    try:
        policies = tuple({"policy": p["policy"], "version": p["version"]} for p in snapshot["policies"])
        return _decide(snapshot, ask, rail, policies, now, approved)
    except Refusal as no:
        reason = {"code": no.code, "layer": no.layer, "policy": None, "rule": None, "detail": no.detail}
        return Decision("deny", no.layer, no.code, no.detail, (reason,), policies=policies, rail=rail)
    except UNREADABLE as error:
        # Total: an input that this code cannot read is one that it does not allow.
        detail = f"The decision could not be made from what is known ({type(error).__name__}): the answer is no."
        reason = {"code": "undecidable", "layer": "engine", "policy": None, "rule": None, "detail": detail}
        return Decision("deny", "engine", "undecidable", detail, (reason,), policies=policies, rail=rail)


def _decide(
    snapshot: Mapping[str, Any], ask: Ask, rail: str, policies: tuple[Mapping[str, Any], ...], now: datetime, approved: bool
) -> Decision:
    at = clock.parse(snapshot["at"])
    if abs(now - at) > MOST_SKEW:
        raise Refusal("engine", "clock_skew", "This machine's clock is more than 2 s away from the database's.")
    if snapshot["agent"] is None:
        raise Refusal("mandate", "agent_closed", "The agent is closed.")
    presentation = _mandate(snapshot, ask, rail, at)
    account, unconfirmed = _counterparty(snapshot, ask, rail)
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


def _mandate(snapshot: Mapping[str, Any], ask: Ask, rail: str, at: datetime) -> credentials.Presentation | None:
    mandate, agent = snapshot["mandate"], snapshot["agent"]
    if snapshot["stopped"] is not None:
        raise Refusal("stop", "stopped", f"Payments are stopped ({snapshot['stopped']}).")
    if mandate is None:
        raise Refusal("mandate", "invalid_mandate", "There is no such mandate in this organisation.")
    if mandate["agent"] != agent["id"]:
        raise Refusal("mandate", "agent_mismatch", "The mandate was signed for another agent.")
    if mandate["revoked"]:
        raise Refusal("stop", "mandate_revoked", "The mandate is revoked, for ever.")
    found, presentation = _verified(snapshot, ask, mandate, at)
    if not _columns_agree(found, mandate):
        raise Refusal("mandate", "invalid_mandate", "The stored mandate is not the one that was signed.")
    if mandate["paused"]:
        raise Refusal("mandate", "mandate_paused", "The mandate is paused.")
    _constraints(found, mandate, snapshot, ask, rail, at)
    if presentation is not None:
        said = (presentation.amount, presentation.currency, presentation.payee_id)
        if said != (ask.amount, ask.currency, ask.counterparty):
            raise Refusal("mandate", "presentation_mismatch", "The presentation was signed for another amount, currency or payee.")
    return presentation


def _verified(
    snapshot: Mapping[str, Any], ask: Ask, mandate: Mapping[str, Any], at: datetime
) -> tuple[terms.Terms, credentials.Presentation | None]:
    """The stored credential is verified before every use; what the agent sent must be it, or be signed over it."""
    deployment = snapshot["deployment"]
    if deployment is None:
        # Nameless, any deployment's mandate would do.
        raise ValueError("the deployment has no name")
    keys = {mandate["kid"]: public_key({name: snapshot["mandate_key"][name] for name in ("kty", "crv", "x", "y")})}
    try:
        stored = credentials.verify(credential=mandate["credential"], keys=keys, now=at, deployment=deployment)
        if ask.proof is None:
            return stored, None
        if "~~" not in ask.proof:
            credentials.verify(credential=ask.proof, keys=keys, now=at, deployment=deployment)
            if ask.proof != mandate["credential"]:
                raise MandateInvalid("This credential is not the mandate of that id.")
            return stored, None
        presentation = credentials.verify_presentation(
            presentation=ask.proof, keys=keys, audience=audience(snapshot), now=at, deployment=deployment
        )
        if presentation.terms != stored:
            raise MandateInvalid("This presentation is of another mandate.")
        return stored, presentation
    except MandateInvalid as error:
        raise Refusal("mandate", error.code, error.detail) from error


def audience(snapshot: Mapping[str, Any]) -> str:
    """What a presentation's `aud` must be: this deployment and mode, and no other."""
    return f"{snapshot['deployment']}/{'live' if snapshot['agent']['livemode'] else 'test'}"


def _columns_agree(found: terms.Terms, row: Mapping[str, Any]) -> bool:
    """SQL enforces columns, the signature covers terms: they must say the same."""
    payees = None if found.counterparties is None else [payee.id for payee in found.counterparties]
    zones = None
    if found.time_windows is not None:
        zones = [{"days": list(w.days), "start": w.start, "end": w.end, "tz": w.tz} for w in found.time_windows]
    signed = (
        found.id,
        found.project,
        found.agent,
        found.livemode,
        found.profile,
        found.currency,
        found.max_amount,
        found.budget,
        found.max_uses,
        _list(found.purposes),
        _list(found.countries),
        _list(found.categories),
        _list(found.rails),
        payees,
        zones,
        found.not_before,
        found.expires_at,
    )
    names = (
        "id project agent livemode profile currency max_amount budget max_uses purposes countries categories rails "
        "counterparties time_windows"
    )
    times = (row["not_before"] and clock.parse(row["not_before"]), clock.parse(row["expires_at"]))
    return signed == (*(row[name] for name in names.split()), *times)


def _list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _constraints(found: terms.Terms, mandate: Mapping[str, Any], snapshot: Mapping[str, Any], ask: Ask, rail: str, at: datetime) -> None:
    payee = snapshot["counterparty"] or {}
    tests = (
        (ask.currency != found.currency, "currency_mismatch", f"The mandate pays in {found.currency}."),
        (ask.amount > found.max_amount, "amount_exceeded", f"The mandate allows at most {found.max_amount} minor units a payment."),
        (_outside(found.purposes, ask.purpose), "purpose_mismatch", "The mandate does not name this purpose."),
        (
            found.counterparties is not None and ask.counterparty not in [p.id for p in found.counterparties],
            "counterparty_mismatch",
            "The mandate does not name this counterparty.",
        ),
        (_outside(found.countries, payee.get("country")), "country_mismatch", "The mandate does not name the counterparty's country."),
        (_outside(found.categories, payee.get("category")), "category_mismatch", "The mandate does not name the counterparty's category."),
        (_outside(found.rails, rail), "rail_mismatch", "The mandate does not name this rail."),
        (
            found.time_windows is not None and not any(window.covers(at) for window in found.time_windows),
            "time_window_closed",
            "The mandate does not pay at this time of day.",
        ),
        (found.max_uses is not None and mandate["uses"] >= found.max_uses, "uses_exhausted", "The mandate's uses are used up."),
        (
            found.budget is not None and mandate["spent"] + ask.amount > found.budget,
            "budget_exhausted",
            f"The mandate's budget has {max(0, (found.budget or 0) - mandate['spent'])} minor units left.",
        ),
    )
    for failed, code, detail in tests:
        if failed:
            raise Refusal("mandate", code, detail)


def _outside(allowed: tuple[str, ...] | None, value: str | None) -> bool:
    return allowed is not None and value not in allowed


def _counterparty(snapshot: Mapping[str, Any], ask: Ask, rail: str) -> tuple[str, bool]:
    """The account to pay, and whether a person has yet to confirm the counterparty. Whatever the agent says of it must be true."""
    registered = snapshot["counterparty"]
    if registered is None or registered["status"] == "retired":
        raise Refusal("counterparty", "counterparty_unknown", "There is no such counterparty in the registry.")
    for name in ("name", "country", "category"):
        if name in ask.claims and ask.claims[name] != registered[name]:
            detail = f"The request's {name} of the counterparty is not the registry's."
            raise Refusal("counterparty", "counterparty_mismatch", detail)
    accounts = registered["accounts"]
    if "account" in ask.claims:
        said = ask.claims["account"]
        accounts = [account for account in accounts if said in (account["id"], account["value"])]
        if not accounts:
            raise Refusal(
                "counterparty", "counterparty_mismatch", "The request's account is not one of the counterparty's in the registry."
            )
    accounts = [account for account in accounts if rail in account["rails"]]
    if len(accounts) != 1:
        what = "has no account that this rail can pay" if not accounts else "has several accounts: name one"
        raise Refusal("counterparty", "account_needed", f"The counterparty {what}.")
    if rail not in snapshot["rails"]:
        raise Refusal("counterparty", "rail_unavailable", "The organisation has no account at this rail.")
    _target(ask, rail, accounts[0]["value"])
    return accounts[0]["id"], registered["status"] == "proposed"


def _target(ask: Ask, rail: str, account: str) -> None:
    """What is paid for must ask for this account, this amount and this currency, wherever it says anything of them."""
    try:
        targets.check(rail, ask.target, targets.Paid(account, ask.amount, ask.currency))
    except targets.BadTarget as error:
        raise Refusal("counterparty", error.code, error.detail) from error


def _policy(snapshot: Mapping[str, Any], ask: Ask, rail: str, at: datetime) -> policy.Verdict:
    active = [policy.Active(p["policy"], p["version"], p["scope"], p["scope_id"], p["document"]) for p in snapshot["policies"]]
    counters = {
        (c["selector"], c["window"], c["start"]): policy.Usage(c["amount"], c["uses"], c["last_at"] and clock.parse(c["last_at"]))
        for c in snapshot["counters"]
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
    """A minute, or less when the mandate expires, or when a time window of mandate or policy closes before."""
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
    return min(expires, boundary if closes else at + SUBMIT_WITHIN)


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
