"""Stopped at once, by one person; lifted by another. And revoked, for ever.

A stop under one organisation locks that organisation's head: no hold has a seq after the stop's. What reaches every organisation (the
platform, a rail) has no head to lock, so it is acknowledged only when no transaction from before it is left.
"""

import time
from datetime import datetime
from uuid import UUID

from codespar.identity import acting
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import canonical, db, ids
from codespar.lib.errors import CodesparError, Unavailable
from ledger import records
from mandates import receipts
from mandates.scopes import PLATFORM, Target

# Longer than any statement of ours may take.
PATIENCE_SECONDS = 8.0


class PlatformOnly(CodesparError):
    """Only the platform's own people reach every organisation."""

    code = "platform_only"


_REFUSALS: db.Refusals = {
    "scopes_known": not_found("thing to stop or revoke in this mode"),
    "stops_platform": lambda _: PlatformOnly("This reaches every organisation: it takes a live token of the platform's own organisation."),
    "mandates_live": conflict("The mandate is revoked already."),
}


def stop(principal: Principal, *, target: Target, reason: str, now: datetime) -> UUID | None:
    """Nothing is held under `target` once this returns. Returns the stop's id; None when only the flag could be set.

    A stop waits for no key store: what cannot be signed now stops as well, and its record follows (`stops_unrecorded`). Raises
    `NotFound`, `PlatformOnly`, `Unavailable`. A crash leaves the stop with its record, or no trace of it.
    """
    stopping = ids.new()
    try:
        _write(principal, "stop_set", "scope.stopped", ("stop", ids.wire("stp", stopping)), receipts.STOP, target, reason, now)
        made: UUID | None = stopping
    except Unavailable:
        db.call("stop_flag", principal.org, principal.digest, target.scope, target.name, refusals={**acting.COMMON, **_REFUSALS})
        made = None
    _outlive_the_earlier(target)
    return made


def lift(principal: Principal, *, stop: UUID, target: Target, reason: str, now: datetime) -> None:
    """End one stop. What is stopped runs again when no other stop of it is left. Raises `NotFound`, `Conflict`."""
    openings = records.Openings()
    wire = ids.wire("stp", stop)
    data = {"stop": wire, "scope": target.scope, "target": target.name, "reason_commit": openings.add(reason)}
    record = acting.draft(principal, kind="scope.lifted", subject=wire, data=data, openings=openings)
    refusals: db.Refusals = {
        "stops_known": not_found("stop"),
        "stop_lifts_pkey": conflict("The stop is lifted already."),
        "stop_lifts_another_person": conflict("Whoever stopped does not lift it: another person does."),
    }
    acting.write(principal, "stop_lift", record, now=now, refusals=refusals)


def revoke(principal: Principal, *, target: Target, reason: str, now: datetime, project: UUID | None = None) -> UUID:
    """End every mandate under `target` for ever, those of one scope by one row. Returns the revocation's id.

    The next payment is refused, on every process: the epoch moves in the same transaction as the record.
    """
    revocation = ids.new()
    kind = "mandate.revoked" if target.scope == "mandate" else "scope.revoked"
    named = ("revocation", ids.wire("rev", revocation))
    _write(principal, "revoke", kind, named, receipts.REVOCATION, target, reason, now, project)
    _outlive_the_earlier(target)
    return revocation


def _write(
    principal: Principal,
    function: str,
    kind: str,
    named: tuple[str, str],
    typ: str,
    target: Target,
    reason: str,
    now: datetime,
    project: UUID | None = None,
) -> None:
    openings = records.Openings()
    commit = openings.add(reason)
    receipt = receipts.sign(principal, typ=typ, id=named[1], target=target, reason=reason, now=now)
    data = {
        named[0]: named[1],
        "scope": target.scope,
        "target": target.name,
        "reason_commit": commit,
        "receipt_sha256": canonical.sha256(receipt.encode()).hex(),
    }
    of = ids.wire("prj", project) if project else None
    record = acting.draft(principal, kind=kind, subject=target.name, data=data, project=of, openings=openings)
    acting.write(principal, function, record, receipt, now=now, refusals=_REFUSALS)


def _outlive_the_earlier(target: Target) -> None:
    """Wait until every transaction that may not have seen the flag is over. Raises `Unavailable` when one does not end."""
    if target.scope not in (PLATFORM, "rail"):
        return
    last = db.select("SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS xid")[0]["xid"]
    until = time.monotonic() + PATIENCE_SECONDS
    while not db.select("SELECT pg_snapshot_xmin(pg_current_snapshot()) >= %s::text::xid8 AS over", [last])[0]["over"]:
        if time.monotonic() > until:
            raise Unavailable("The stop is in force, but a transaction from before it is still open: ask for it again to be sure.")
        time.sleep(0.005)
