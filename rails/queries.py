"""Payments with everything that an answer shows of them."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from codespar.identity.principals import Principal
from codespar.lib import clock, db, ids
from codespar.lib.errors import NotFound
from codespar.lib.models import together
from ledger.models import Entry, Opening
from ledger.serializers import receipt
from mandates.models import Decision
from rails import serializers
from rails.adapters import BOUGHT
from rails.models import Approval, ApprovalVote, Payment, Refund, Ruling, RulingConfirmation


def status(org: UUID, payment: UUID) -> str:
    """The state that a payment is in now."""
    [[found]] = db.read(org, ("SELECT status FROM payments WHERE org_id = %s AND id = %s", [str(org), str(payment)]))
    return str(found["status"])


def payments(org: UUID, rows: list[Payment]) -> list[dict[str, Any]]:
    """Payments as the API shows them, in their order."""
    found = _shown(org, [row.id for row in rows])
    return [found[row.id] for row in rows]


def payment(org: UUID, payment: UUID) -> dict[str, Any]:
    """One payment. Raises `NotFound`."""
    found = _shown(org, [payment])
    if payment not in found:
        raise NotFound("There is no such payment.")
    return found[payment]


def ruling(payment: Payment, ruling: UUID) -> dict[str, Any]:
    """One ruling on a payment, and whether it was confirmed. Raises `NotFound`."""
    [rows, confirmations] = together(
        payment.org_id,
        (Ruling, "id = %s AND payment_id = %s", [str(ruling), str(payment.id)]),
        (RulingConfirmation, "ruling_id = %s", [str(ruling)]),
    )
    if not rows:
        raise NotFound("There is no such ruling on this payment.")
    return serializers.ruling(rows[0], confirmations[0] if confirmations else None, payment)


def target(payment: Payment) -> str | None:
    """What the payment is for on the payee's side; None when it names nothing, or its text is not kept any more."""
    if payment.target is None:
        return None
    [found] = together(payment.org_id, (Opening, "commit = decode(%s, 'hex')", [payment.target]))
    return bytes(found[0].value).decode() if found else None


def resource(principal: Principal, payment: Payment) -> tuple[str, bytes]:
    """What the payment bought: the media type that the merchant gave it, and the bytes. Raises `NotFound`."""
    if (read := BOUGHT.get(payment.rail or "")) is not None:
        raw = db.call("payment_answer", principal.org, principal.digest, payment.id)
        found = None if raw is None else read(bytes(raw))
        if found is not None:
            return found
    raise NotFound("This payment has brought no resource: its rail sells none, it has not been paid, or the answer to it did not come.")


def approval_of(org: UUID, payment: UUID) -> str | None:
    """The wire id of the approval that a payment waits, or waited, for."""
    with db.tenant(org):
        found = Approval.objects.for_org(org).filter(payment_id=payment).first()
    return ids.wire("apr", found.id) if found else None


def _shown(org: UUID, asked: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """Everything that is shown of these payments, read at once."""
    names = [str(payment) for payment in asked]
    mine = "org_id = %s AND id = ANY(%s::uuid[])"
    own = [str(org), names]
    rows, decisions, entries, openings, refunds, approvals, votes = together(
        org,
        (Payment, "id = ANY(%s::uuid[])", [names]),
        (Decision, f"id IN (SELECT decision_id FROM payments WHERE {mine})", own),
        (Entry, f"id IN (SELECT entry_id FROM payments WHERE {mine})", own),
        (Opening, f"commit IN (SELECT decode(unnest(ARRAY[memo, reference, target]), 'hex') FROM payments WHERE {mine})", own),
        (Refund, "payment_id = ANY(%s::uuid[]) ORDER BY id DESC", [names]),
        (Approval, "payment_id = ANY(%s::uuid[])", [names]),
        (ApprovalVote, "approval_id IN (SELECT id FROM approvals WHERE org_id = %s AND payment_id = ANY(%s::uuid[]))", own),
    )
    about = {
        "decision": {decision.id: decision for decision in decisions},
        "receipt": {entry.id: receipt(entry) for entry in entries},
        "refunds": _by_payment(refunds),
        "approval": _approvals(approvals, votes),
    }
    texts = {bytes(opening.commit).hex(): bytes(opening.value).decode() for opening in openings}
    return {row.id: serializers.payment(row, _about(row, texts, about)) for row in rows}


def _about(row: Payment, texts: dict[str, str], about: dict[str, Any]) -> dict[str, Any]:
    return {
        "decision": about["decision"][row.decision_id],
        "receipt": about["receipt"][row.entry_id],
        "texts": texts,
        "refunds": about["refunds"][row.id],
        "approval": about["approval"].get(row.id),
    }


def _by_payment(refunds: list[Refund]) -> dict[UUID, list[Refund]]:
    found: dict[UUID, list[Refund]] = defaultdict(list)
    for row in refunds:
        found[row.payment_id].append(row)
    return found


def _approvals(rows: list[Approval], votes: list[ApprovalVote]) -> dict[UUID, dict[str, Any]]:
    by_approval = {vote.approval_id: vote for vote in votes}
    return {row.payment_id: _approval(row, by_approval.get(row.id)) for row in rows}


def _approval(row: Approval, vote: ApprovalVote | None) -> dict[str, Any]:
    return {
        "id": ids.wire("apr", row.id),
        "expires_at": clock.stamp(row.expires_at),
        "verdict": vote.verdict if vote else None,
        "by": ids.wire("mem", vote.member_id) if vote else None,
    }
