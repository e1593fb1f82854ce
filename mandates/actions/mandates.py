"""Mandates: issued, paused, resumed. Their end is in `stops`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from codespar.identity import acting
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import canonical, clock, ids
from codespar.vault import keys
from mandates import credentials, terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The terms that a person asks for; None does not constrain."""

    agent: UUID
    project: UUID
    agent_jwk: Mapping[str, str]
    profile: str
    currency: str
    max_amount: int
    expires_at: datetime
    budget: int | None = None
    max_uses: int | None = None
    purposes: Sequence[str] | None = None
    counterparties: Sequence[tuple[str, str]] | None = None
    countries: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    rails: Sequence[str] | None = None
    not_before: datetime | None = None
    time_windows: Sequence[Mapping[str, Any]] | None = None


def issue(principal: Principal, *, wanted: Wanted, now: datetime) -> UUID:
    """Sign a mandate with the organisation's key and store the exact bytes. Returns its id.

    Raises `Invalid` for terms that cannot be, `ProfileCannotExpress`, `NotFound` for the agent.
    """
    mandate = ids.new()
    found = _terms(principal, mandate, wanted)
    kid, private = keys.mandate_key(principal.org)
    credential = credentials.issue(terms=found, deployment=settings.CONFIG.deployment, kid=kid, private_key=private, now=now)
    data = {**_data(found), "kid": kid, "credential_sha256": canonical.sha256(credential.encode()).hex()}
    record = acting.draft(principal, kind="mandate.issued", subject=found.id, data=data, project=found.project, on_behalf_of=found.agent)
    acting.write(principal, "mandate_issue", record, credential, now=now, refusals={"mandates_agent": not_found("open agent in this mode")})
    return mandate


def pause(principal: Principal, *, mandate: UUID, now: datetime) -> None:
    """Nothing is paid under it until somebody resumes it."""
    _pause(principal, "mandate.paused", mandate, now)


def resume(principal: Principal, *, mandate: UUID, now: datetime) -> None:
    """It pays again, as far as its terms still allow."""
    _pause(principal, "mandate.resumed", mandate, now)


def _pause(principal: Principal, kind: str, mandate: UUID, now: datetime) -> None:
    wire = ids.wire("mnd", mandate)
    record = acting.draft(principal, kind=kind, subject=wire, data={"id": wire})
    refusals = {"mandates_pausable": conflict("The mandate is unknown, revoked, or already in that state.")}
    acting.write(principal, "mandate_pause", record, now=now, refusals=refusals)


def _terms(principal: Principal, mandate: UUID, wanted: Wanted) -> terms.Terms:
    return terms.Terms(
        id=ids.wire("mnd", mandate),
        org=principal.org_wire,
        project=ids.wire("prj", wanted.project),
        agent=ids.wire("agt", wanted.agent),
        livemode=principal.livemode,
        profile=wanted.profile,  # type: ignore[arg-type]
        currency=wanted.currency,
        max_amount=wanted.max_amount,
        budget=wanted.budget,
        max_uses=wanted.max_uses,
        purposes=_tuple(wanted.purposes),
        countries=_tuple(wanted.countries),
        categories=_tuple(wanted.categories),
        rails=_tuple(wanted.rails),
        counterparties=None if wanted.counterparties is None else tuple(terms.Payee(*payee) for payee in wanted.counterparties),
        not_before=wanted.not_before,
        expires_at=wanted.expires_at,
        time_windows=None
        if wanted.time_windows is None
        else tuple(terms.TimeWindow(tuple(w["days"]), w["start"], w["end"], w["tz"]) for w in wanted.time_windows),
        agent_jwk=wanted.agent_jwk,
    )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _data(found: terms.Terms) -> dict[str, Any]:
    """The terms as the record carries them: what SQL fills the mandate's columns from."""
    return {
        "id": found.id,
        "agent": found.agent,
        "profile": found.profile,
        "currency": found.currency,
        "max_amount": found.max_amount,
        "budget": found.budget,
        "max_uses": found.max_uses,
        "purposes": _list(found.purposes),
        "counterparties": None if found.counterparties is None else [payee.id for payee in found.counterparties],
        "countries": _list(found.countries),
        "categories": _list(found.categories),
        "rails": _list(found.rails),
        "time_windows": None
        if found.time_windows is None
        else [{"days": list(w.days), "start": w.start, "end": w.end, "tz": w.tz} for w in found.time_windows],
        "not_before": found.not_before and clock.stamp(found.not_before),
        "expires_at": clock.stamp(found.expires_at),
    }


def _list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)
