"""The layers of a decision that look at one thing each: the mandate, the counterparty, the route. Each refuses in its own name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from codespar.lib import clock, targets
from codespar.lib.sdjwt import MandateInvalid, public_key
from mandates import credentials, terms


@dataclass(frozen=True, slots=True)
class Ask:
    """What an agent asks for. `mandate` is a wire id; `proof` what it sent instead of an id: a credential or a presentation.

    `claims` is what it says of the counterparty (name, country, category, account), which must all be true. Without `rail` the route
    decision finds one. `target` is what is to be paid for on the counterparty's side (`codespar.lib.targets`).
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


class Refusal(Exception):
    """A layer's no, inside `decide` only."""

    def __init__(self, layer: str, code: str, detail: str) -> None:
        super().__init__(detail)
        self.layer, self.code, self.detail = layer, code, detail


def mandate(snapshot: Mapping[str, Any], ask: Ask, rail: str | None, at: datetime) -> credentials.Presentation | None:
    mandate, agent = snapshot["mandate"], snapshot["agent"]
    stopped = snapshot["route"]["stopped"]
    if stopped is not None:
        raise Refusal("stop", "stopped", f"Payments are stopped ({stopped}).")
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


def _constraints(
    found: terms.Terms, mandate: Mapping[str, Any], snapshot: Mapping[str, Any], ask: Ask, rail: str | None, at: datetime
) -> None:
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
        (rail is not None and _outside(found.rails, rail), "rail_mismatch", "The mandate does not name this rail."),
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


def counterparty(snapshot: Mapping[str, Any], ask: Ask, rail: str | None) -> tuple[str, bool]:
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
    if rail is None:
        raise Refusal("route", "rail_unavailable", "The organisation has no account at any rail.")
    accounts = [account for account in accounts if rail in account["rails"]]
    if len(accounts) != 1:
        what = "has no account that this rail can pay" if not accounts else "has several accounts: name one"
        raise Refusal("counterparty", "account_needed", f"The counterparty {what}.")
    _target(ask, rail, accounts[0]["value"])
    return accounts[0]["id"], registered["status"] == "proposed"


def _target(ask: Ask, rail: str, account: str) -> None:
    """What is paid for must ask for this account, this amount and this currency, wherever it says anything of them."""
    try:
        targets.check(rail, ask.target, targets.Paid(account, ask.amount, ask.currency))
    except targets.BadTarget as error:
        raise Refusal("counterparty", error.code, error.detail) from error


def route(route: Mapping[str, Any], ask: Ask) -> str:
    """The rail, which must carry this payment now, or it is refused: never carried worse, never over another than it names."""
    if ask.rail not in (None, route["rail"]):
        raise ValueError("the route is not the one that was asked for")
    if route["ready"] is None:
        raise Refusal("route", "rail_unavailable", "The organisation has no account at this rail.")
    if route["consent"] is not None:
        _consent(route["consent"], ask)
    if route["ready"] is not True:
        failed = route["failed"] or "not_checked"
        raise Refusal("route", "rail_not_ready", f"The organisation's account at this rail did not pass its preflight check ({failed}).")
    if route["currencies"] is not None and ask.currency not in route["currencies"]:
        raise Refusal("route", "rail_currency", f"This rail pays in {', '.join(route['currencies']) or 'no currency'}.")
    return str(route["rail"])


def _consent(consent: Mapping[str, Any], ask: Ask) -> None:
    """Nothing is paid over this rail without a consent of the account's holder that holds now, and not more than it allows."""
    if consent["code"] is not None:
        raise Refusal("route", consent["code"], CONSENTS[consent["code"]])
    if ask.currency != consent["currency"]:
        raise Refusal("route", "consent_scope", f"The holder's consent is to pay in {consent['currency']}.")
    if ask.amount > consent["max_payment"]:
        raise Refusal("route", "consent_limit", f"The holder's consent allows at most {consent['max_payment']} minor units a payment.")
    if ask.amount > consent["left"]:
        raise Refusal("route", "consent_limit", f"The holder's consent has {max(0, consent['left'])} minor units left.")


# Why nothing is done under a consent, in a sentence.
CONSENTS: Mapping[str, str] = {
    "consent_missing": "This needs a consent of the account's holder, and there is none: register one with POST /v1/consents.",
    "consent_pending": "The account's holder has not said yes at the bank yet: the consent's authorise_url is where that is done.",
    "consent_expired": "The consent has expired: register another one.",
    "consent_revoked": "The consent was revoked: register another one.",
    "consent_refused": "The account's holder, or the bank, refused the consent: register another one.",
    "consent_scope": "The consent does not allow this: register one with the scope for it.",
}
