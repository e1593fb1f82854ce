"""A rail is checked before it carries money, when somebody asks, and again and again: what did not pass refuses payments.

Checks only read. What they say is a record whenever it changed; in between, the time of the last one is kept.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import db, ids
from codespar.lib.models import together
from codespar.vault.models import RailAccount
from rails import accounts, booking, hints
from rails.adapters.base import Check
from rails.faults import FAULTS, guarded

log = structlog.get_logger(__name__)
ACCOUNTS = 20


def run_due(rail: str) -> int:
    """Check what is due on this rail. Returns how many accounts. One account's fault holds up no other's."""
    due = db.rows("rail_checks_due", rail, ACCOUNTS)
    for org, account in due:
        guarded(check, org, account)
    return len(due)


def check(org: UUID, account: UUID) -> None:
    """Check one account and keep what came of it. A crash leaves it due again in half a minute, and as ready as it was."""
    [[row]] = together(org, (RailAccount, "id = %s", [str(account)]))
    found = [{"name": one.name, "ok": one.ok, "detail": one.detail} for one in _checks(row)]
    ready = all(one["ok"] for one in found)
    if row.checked_at and found == row.checks:
        db.call("rail_account_same", org, account)
    else:
        _write(row, ready, found)
    hints.outcome(account)


def _checks(row: RailAccount) -> tuple[Check, ...]:
    try:
        adapter = accounts.adapter(row.org_id, row.rail, row.livemode)
    except FAULTS as error:
        log.warning("rail_account_not_open", org=str(row.org_id), rail=row.rail, error=type(error).__name__)
        return (Check(name="connection", ok=False, detail=str(error) or "The account's settings cannot be used."),)
    db.release()
    return adapter.preflight(time.monotonic() + settings.CONFIG.rail_seconds)


def _write(row: RailAccount, ready: bool, found: list[dict[str, Any]]) -> None:
    wire = ids.wire("key", row.id)
    credential = ids.wire("ent", row.credential_entry)
    data = {"id": wire, "rail": row.rail, "credential": credential, "ready": ready, "checks": found}
    booking.write("rail_account_checked", org=row.org_id, livemode=row.livemode, kind="rail_account.checked", subject=wire, data=data)
