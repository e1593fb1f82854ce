"""Consents as people ask for them and revoke them, and looks into an account under one. Whoever talks to the provider is another role."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings

from codespar.identity import acting, principals
from codespar.identity.acting import conflict, invalid
from codespar.identity.principals import Principal
from codespar.lib import clock, db, ids
from codespar.lib.errors import CodesparError, Invalid, NotFound, Unavailable
from ledger import records
from mandates.layers import CONSENTS
from rails import hints
from rails.adapters import ADAPTERS
from rails.models import Consent

PAY = "payments.initiate"
READS = ("accounts.read", "balances.read", "transactions.read")
SCOPES = (PAY, *READS)
RESOURCES = ("accounts", "balances", "transactions")
_STATE = "SELECT status, checked_at FROM consents WHERE org_id = %s AND id = %s"


class ConsentRefused(CodesparError):
    """Nothing is read: there is no consent that holds now and allows it. `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(CONSENTS[code], code=code)


def register(
    principal: Principal,
    *,
    rail: str,
    scopes: Sequence[str],
    expires_at: datetime,
    max_payment: int | None,
    max_total: int | None,
    currency: str | None,
) -> UUID:
    """Ask the provider for a consent of the account's holder. Returns its id, whose row says where the holder says yes or no.

    `scopes` are those to read, or the one to pay, whose limits are minor units. Raises `Invalid`; `Conflict` without an account at
    the rail. A crash leaves it registered here with its record, or nothing; the provider is asked by the rail's role, until it answers.
    """
    principals.require(principal, "consents:write")
    if rail not in ADAPTERS or not ADAPTERS[rail].capabilities.consents:
        raise Invalid("This rail knows no consents: docs/rails.md says which does.", pointer="/rail")
    if PAY in scopes and len(scopes) > 1:
        raise Invalid("A consent to pay is one of its own: register another one to read.", pointer="/scopes")
    if PAY not in scopes and "accounts.read" not in scopes:
        raise Invalid("Who reads balances or transactions reads which accounts there are, too: add accounts.read.", pointer="/scopes")
    consent = ids.new()
    wire = ids.wire("cns", consent)
    data = {
        "id": wire,
        "rail": rail,
        "scopes": sorted(scopes),
        "expires_at": clock.stamp(expires_at.replace(microsecond=0)),
        "max_payment": max_payment,
        "max_total": max_total,
        "currency": currency,
    }
    record = acting.draft(principal, kind="consent.registered", subject=wire, data=data)
    refusals = {
        "consents_account": conflict(
            "The organisation has no account at this rail, in this mode: register one with POST /v1/rail-accounts."
        ),
        "consents_expires_later": invalid("A consent ends in the future.", "/expires_at"),
        "consents_expiry": invalid("A consent ends within 366 days.", "/expires_at"),
        "consents_limits": invalid(
            "A consent to pay has max_payment and max_total, no less than it, and one to read has neither.", "/max_payment"
        ),
    }
    acting.write(principal, "consent_register", record, now=clock.now(), refusals=refusals)
    hints.check(rail)
    _wait(principal, consent, lambda row: row["status"] != "requested")
    return consent


def revoke(principal: Principal, *, consent: Consent, reason: str) -> None:
    """End a consent at once and for ever: nothing is held, sent or read under it any more. The provider is told afterwards until it knows.

    Raises `Conflict` for one that is over. A crash leaves it revoked with its record, or as it was.
    """
    principals.require(principal, "consents:revoke")
    openings, wire = records.Openings(), ids.wire("cns", consent.id)
    data = {"id": wire, "reason_commit": openings.add(reason)}
    record = acting.draft(principal, kind="consent.revoked", subject=wire, data=data, openings=openings)
    refusals = {"consents_open": conflict("The consent is over already: it was revoked or refused.")}
    acting.write(principal, "consent_revoke", record, now=clock.now(), refusals=refusals)
    hints.check(consent.rail)


def refresh(principal: Principal, *, consent: UUID) -> None:
    """Have the provider asked about a consent that waits for its holder, and wait for that a while."""
    principals.require(principal, "consents:read")
    asked = db.call("consent_ask", principal.org, principal.digest, consent, refusals=acting.COMMON)
    if asked is not None:
        hints.check(asked["rail"])
        before = asked["checked_at"]
        _wait(principal, consent, lambda row: row["checked_at"] is not None and clock.stamp(row["checked_at"]) != before)


def look(principal: Principal, *, consent: UUID, resource: str, account: str | None = None, page: int = 1) -> dict[str, Any]:
    """A page of what the provider has, read under this consent now: {rows, more}. That it was asked for is a record.

    Raises `ConsentRefused` without one that holds and allows it: it is looked at before the record, before the provider is asked, and
    once more before the answer is given. Raises `NotFound` for an account that the provider does not know, `Unavailable`.
    """
    principals.require(principal, "consents:use")
    reading, wire = ids.new(), ids.wire("cns", consent)
    data = {"id": ids.wire("cnr", reading), "consent": wire, "resource": resource, "account": account, "page": page}
    record = acting.draft(principal, kind="consent.read", subject=wire, data=data)
    done = acting.write(principal, "consent_read_ask", record, now=clock.now())
    if "refused" in done:
        raise ConsentRefused(done["refused"])
    [rows] = db.read(principal.org, ("SELECT rail FROM consents WHERE org_id = %s AND id = %s", [str(principal.org), str(consent)]))
    hints.check(rows[0]["rail"])
    return _taken(principal, reading)


def _taken(principal: Principal, reading: UUID) -> dict[str, Any]:
    until = time.monotonic() + settings.CONFIG.rail_seconds + 2
    while time.monotonic() < until:
        found = db.call("consent_read_take", principal.org, principal.digest, reading, refusals=acting.COMMON)
        if found["status"] == "answered":
            return dict(found["answer"])
        if found["status"] == "refused":
            raise _refused(found["code"])
        db.release()
        hints.wait(reading, 1.0)
    raise Unavailable("The bank was not asked in time. Ask again shortly.")


def _refused(code: str) -> CodesparError:
    if code in CONSENTS:
        return ConsentRefused(code)
    if code in ("not_found", "refused"):
        return NotFound("The bank has no such account under this consent.")
    return Unavailable("The bank did not answer, or not as agreed. Ask again shortly.")


def _wait(principal: Principal, consent: UUID, over: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for the provider's word a while. Nothing depends on the wait."""
    until = time.monotonic() + settings.CONFIG.rail_seconds
    while time.monotonic() < until:
        [[row]] = db.read(principal.org, (_STATE, [str(principal.org), str(consent)]))
        if over(row):
            return
        db.release()
        hints.wait(consent, 1.0)
