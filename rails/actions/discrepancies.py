"""A person closes what the provider's records and ours did not agree on. The engine never does."""

from codespar.identity import acting, principals
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import clock, ids
from ledger import records
from rails.models import Discrepancy

VERDICTS = ("ours", "theirs", "both")


def resolve(principal: Principal, *, discrepancy: Discrepancy, verdict: str, reason: str) -> None:
    """Close a case: `verdict` says whose records were right. It moves no money: what is owed is paid or refunded by itself.

    Raises `Conflict` when somebody has closed it. A crash leaves it open, or closed with its record.
    """
    principals.require(principal, "discrepancies:resolve")
    openings = records.Openings()
    wire = ids.wire("dsc", discrepancy.id)
    record = acting.draft(
        principal,
        kind="discrepancy.resolved",
        subject=wire,
        data={"id": wire, "verdict": verdict, "reason_commit": openings.add(reason)},
        openings=openings,
    )
    refusals = {
        "discrepancies_known": not_found("discrepancy"),
        "discrepancies_open": conflict("Somebody has closed this discrepancy already."),
    }
    acting.write(principal, "discrepancy_resolve", record, now=clock.now(), refusals=refusals)
