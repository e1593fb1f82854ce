"""An account whose statement nobody has read in full for too long: told once, and once more when it has been read again."""

from datetime import timedelta
from uuid import UUID

from django.conf import settings

from codespar.lib import clock, db, ids
from rails import booking
from rails.faults import guarded

ACCOUNTS = 100
_STATE = """
SELECT rail, livemode, lagging, coalesce(done_at, begun_at) AS since FROM reconciliation_states WHERE org_id = %s AND rail_account_id = %s
"""


def record_due() -> None:
    """Write down which accounts have begun to lag, and which have caught up. One organisation's fault holds up no other's."""
    for org, account in db.rows("reconciliations_lagging", settings.CONFIG.lag_seconds, ACCOUNTS):
        guarded(record, org, account)


def record(org: UUID, account: UUID) -> None:
    """Write one record if the account's state is not the one that was told last. Of several who do this at once one writes it."""
    [[row]] = db.read(org, (_STATE, [str(org), str(account)]))
    lags = clock.now() - row["since"] > timedelta(seconds=settings.CONFIG.lag_seconds)
    if lags == row["lagging"]:
        return
    wire = ids.wire("key", account)
    booking.write(
        "reconciliation_lag",
        org=org,
        livemode=row["livemode"],
        kind="reconciliation.lagging" if lags else "reconciliation.caught_up",
        subject=wire,
        data={"id": wire, "rail": row["rail"], "since": clock.stamp(row["since"])},
    )
