"""Money that came in: a notice makes a pending credit, a question to the provider confirms it, and only then is it booked."""

import time
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import clock, db, ids
from codespar.lib.errors import CodesparError
from rails import accounts, booking
from rails.adapters.base import Unreadable
from wallets.models import Credit

log = structlog.get_logger(__name__)
BATCH = 20
# A deposit that the provider does not know after so many questions was never made.
MOST_CHECKS = 30


def confirm_due(rail: str) -> int:
    """Ask this rail about pending credits whose time has come. Returns how many were asked about."""
    due = db.rows("credits_due", BATCH, rail)
    for org, credit in due:
        try:
            _confirm(org, credit)
        except (CodesparError, Unreadable) as error:
            # Still pending: asked again later.
            log.warning("credit_unconfirmed", org=str(org), credit=str(credit), error=type(error).__name__)
    return len(due)


def _confirm(org: UUID, credit: UUID) -> None:
    with db.tenant(org):
        row = Credit.objects.for_org(org).get(id=credit)
    adapter = accounts.adapter(org, row.rail, row.livemode)
    found = adapter.deposit(row.reference, time.monotonic() + settings.CONFIG.rail_seconds)
    wire = ids.wire("crd", credit)
    if found is None:
        if row.checks >= MOST_CHECKS:
            data = {"id": wire, "reason": "not_found"}
            booking.write("credit_resolve", org=org, livemode=row.livemode, kind="credit.refused", subject=wire, data=data)
        return
    if found.id != row.reference or found.account != row.provider_account:
        data = {"id": wire, "reason": "mismatch"}
        booking.write("credit_resolve", org=org, livemode=row.livemode, kind="credit.refused", subject=wire, data=data)
        return
    booked = {
        "id": wire,
        "amount": found.amount,
        "currency": found.currency,
        "transfer": ids.wire("tr", ids.new()),
        "reference": row.reference,
    }
    parts = [
        {"part": "deposit", "credit": wire, "amount": found.amount, "currency": found.currency, "confirmed_at": clock.stamp(clock.now())}
    ]
    booking.write("credit_resolve", org=org, livemode=row.livemode, kind="credit.confirmed", subject=wire, data=booked, parts=parts)
