"""Payments with everything that an answer shows of them."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from codespar.lib import clock, db, ids, pages
from ledger.models import Entry, Opening
from ledger.serializers import receipt
from mandates.models import Decision
from rails import serializers
from rails.models import Approval, ApprovalVote, Payment, Refund


def status(org: UUID, payment: UUID) -> str:
    """The state that a payment is in now."""
    with db.tenant(org):
        found: str = Payment.objects.for_org(org).values_list("status", flat=True).get(id=payment)
    return found


def payments(org: UUID, rows: list[Payment]) -> list[dict[str, Any]]:
    """Payments as the API shows them."""
    with db.tenant(org):
        decisions = {d.id: d for d in Decision.objects.for_org(org).filter(id__in=[row.decision_id for row in rows])}
        entries = {e.id: e for e in Entry.objects.for_org(org).filter(id__in=[row.entry_id for row in rows])}
        texts = _texts(org, rows)
        refunds = _refunds(org, [row.id for row in rows if row.refunding or row.refunded or row.captured])
        approvals = _approvals(org, [row.id for row in rows])
    return [
        serializers.payment(
            row,
            {
                "decision": decisions[row.decision_id],
                "receipt": receipt(entries[row.entry_id]),
                "texts": texts,
                "refunds": refunds[row.id],
                "approval": approvals.get(row.id),
            },
        )
        for row in rows
    ]


def payment(org: UUID, payment: UUID, **where: Any) -> dict[str, Any]:
    """One payment. Raises `NotFound`."""
    return payments(org, [pages.one(Payment, org, payment, "payment", **where)])[0]


def approval_of(org: UUID, payment: UUID) -> str | None:
    """The wire id of the approval that a payment waits, or waited, for."""
    with db.tenant(org):
        found = Approval.objects.for_org(org).filter(payment_id=payment).first()
    return ids.wire("apr", found.id) if found else None


def _texts(org: UUID, rows: list[Payment]) -> dict[str | None, str | None]:
    commits = [bytes.fromhex(text) for row in rows for text in (row.memo, row.reference) if text]
    if not commits:
        return {}
    found = Opening.objects.for_org(org).filter(commit__in=commits)
    return {bytes(opening.commit).hex(): bytes(opening.value).decode() for opening in found}


def _refunds(org: UUID, found: list[UUID]) -> dict[UUID, list[Refund]]:
    by_payment: dict[UUID, list[Refund]] = defaultdict(list)
    if found:
        for row in Refund.objects.for_org(org).filter(payment_id__in=found):
            by_payment[row.payment_id].append(row)
    return by_payment


def _approvals(org: UUID, found: list[UUID]) -> dict[UUID, dict[str, Any]]:
    rows = list(Approval.objects.for_org(org).filter(payment_id__in=found))
    votes = (
        {vote.approval_id: vote for vote in ApprovalVote.objects.for_org(org).filter(approval_id__in=[row.id for row in rows])}
        if rows
        else {}
    )
    return {row.payment_id: _approval(row, votes.get(row.id)) for row in rows}


def _approval(row: Approval, vote: ApprovalVote | None) -> dict[str, Any]:
    return {
        "id": ids.wire("apr", row.id),
        "expires_at": clock.stamp(row.expires_at),
        "verdict": vote.verdict if vote else None,
        "by": ids.wire("mem", vote.member_id) if vote else None,
    }
