"""Stops that were set as a flag alone, by hand in the database or while nothing could be signed: their record follows."""

from uuid import UUID

from codespar.lib import db, ids
from ledger import records
from mandates import scopes
from rails import booking

REASON = "The flag was set in the database, without a record: by hand, or while nothing could be signed."


def record_flags() -> None:
    """One signed record for each flag that has none, in the chain that it belongs to. Safe to run twice."""
    for org, livemode, scope, row, name in db.rows("stops_unrecorded"):
        _record(org, livemode, scope, name or _name(org, scope, row))


def _record(org: UUID, livemode: bool, scope: str, name: str) -> None:
    openings = records.Openings()
    stop = ids.wire("stp", ids.new())
    booking.write(
        "stop_record",
        org=org,
        livemode=livemode,
        kind="scope.stopped",
        subject=name,
        data={"stop": stop, "scope": scope, "target": name, "reason_commit": openings.add(REASON)},
        openings=openings,
        with_openings=True,
    )


def _name(org: UUID, scope: str, row: UUID) -> str:
    if scope != "rail":
        return ids.wire(scopes.PREFIXES[scope], row)
    with db.tenant(org):
        rail: str = db.select("SELECT rail FROM rail_accounts WHERE org_id = %s AND id = %s", [str(org), str(row)])[0]["rail"]
    return rail
