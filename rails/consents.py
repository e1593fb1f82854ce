"""Consents of the holders of accounts, as this role keeps them with the provider: asked for, asked about, told of when they are revoked.

And what is read under them, which is looked at once more right before it is sent, and again when it has come. Asking moves no money: a
crash leaves what is due, and it is done again.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import clock, db, ids
from codespar.lib.models import together
from rails import accounts, booking, hints
from rails.adapters import ADAPTERS
from rails.adapters.base import Consent as Told
from rails.adapters.base import ConsentAsk, Consenting, ConsentStatus, Unreadable
from rails.faults import FAULTS, guarded
from rails.models import Consent

log = structlog.get_logger(__name__)
MOST = 20
# What a look under a consent came to, where that is not one of the consent's own codes.
AWAY = "unavailable"


def run_due(rail: str) -> int:
    """Do what is due about consents on this rail. Returns how much that was. One organisation's fault holds up no other's."""
    if not ADAPTERS[rail].capabilities.consents:
        return 0
    reads, due = db.rows("consent_reads_due", rail, MOST), db.rows("consents_due", rail, MOST)
    for org, reading in reads:
        guarded(read, org, reading)
    for org, consent in due:
        guarded(follow, org, consent)
    return len(reads) + len(due)


def follow(org: UUID, consent: UUID) -> None:
    """Ask or tell the provider about one consent, and keep what it says. What it does not say leaves the consent as it was."""
    [[row]] = together(org, (Consent, "id = %s", [str(consent)]))
    try:
        adapter = accounts.consenting(org, row.rail, row.livemode)
        db.release()
        answered = _step(row, adapter, time.monotonic() + settings.CONFIG.rail_seconds)
    except Unreadable as error:
        log.warning("consent_not_followed", consent=ids.wire("cns", row.id), code=error.code)
        answered = {"status": "failed", "code": "refused"} if (row.status, error.code) == ("requested", "refused") else None
    if answered is None:
        db.call("consent_same", org, consent)
    elif "moved" in _write(row, answered) and row.status == "requested":
        _after_all(row, answered)
    hints.outcome(consent)


def _step(row: Consent, adapter: Consenting, deadline: float) -> dict[str, Any] | None:
    """What is new about the consent, None for nothing. Raises `Unreadable`."""
    if row.status == "requested":
        return _registered(adapter.register(_asked(row), deadline))
    known = row.provider_consent
    if row.status == "revoked":
        if known is not None:
            adapter.revoke(known, row.scopes, deadline)
        return {"status": "revoked", "told": True}
    found = None if known is None else adapter.registered(known, row.scopes, deadline)
    status = ConsentStatus.REVOKED if found is None else found.status
    if status in (ConsentStatus.REVOKED, ConsentStatus.REJECTED):
        # It is the same word there for a holder who never said yes and for one who took it back.
        over = "revoked" if row.status == "authorised" else "rejected"
        return {"status": over, "code": f"{over}_at_provider", "told": over == "revoked"}
    return None if status == row.status or found is None else _registered(found)


def _asked(row: Consent) -> ConsentAsk:
    return ConsentAsk(
        key=row.id.hex, scopes=tuple(row.scopes), expires_at=row.expires_at, max_payment=row.max_payment, max_total=row.max_total
    )


def _registered(found: Told) -> dict[str, Any]:
    expires = clock.stamp(found.expires_at)
    return {"status": str(found.status), "provider_consent": found.id, "address": found.address, "expires_at": expires}


def _write(row: Consent, said: dict[str, Any]) -> dict[str, Any]:
    wire = ids.wire("cns", row.id)
    data = {"id": wire, "from": row.status, "told": False, **said}
    return booking.write("consent_answered", org=row.org_id, livemode=row.livemode, kind="consent.answered", subject=wire, data=data)


def _after_all(row: Consent, said: dict[str, Any]) -> None:
    """It was revoked here while the provider was asked for it: it has one now, and must be told about that one."""
    row.status = "revoked"
    _write(row, {**said, "status": "revoked"})


def read(org: UUID, reading: UUID) -> None:
    """Make one look that somebody asked for, if its consent still holds, and keep what came for who asked."""
    begun = db.call("consent_read_begin", org, reading)
    if begun is not None and "refused" not in begun:
        code, answer = _read(org, begun)
        db.call("consent_read_done", org, reading, code, answer)
    hints.outcome(reading)


def _read(org: UUID, begun: dict[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
    """(code, None) or (None, answer)."""
    try:
        adapter = accounts.consenting(org, begun["rail"], begun["livemode"])
        db.release()
        deadline = time.monotonic() + settings.CONFIG.rail_seconds
        found = adapter.read(begun["resource"], begun["consent"], begun["account"], begun["page"], deadline)
    except Unreadable as error:
        log.warning("consent_read_failed", org=str(org), code=error.code)
        return (error.code if error.code in ("consent_refused", "not_found", "refused") else AWAY), None
    except FAULTS as error:
        log.warning("consent_read_failed", org=str(org), error=type(error).__name__)
        return AWAY, None
    return None, {"rows": [dict(row) for row in found.rows], "more": found.more}
