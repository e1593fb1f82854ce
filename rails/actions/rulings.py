"""How a payment that needs a human ends: one person proposes it with reason and evidence, another one confirms it."""

from typing import Any
from uuid import UUID

from codespar.identity import acting, principals
from codespar.identity.acting import conflict
from codespar.identity.principals import Principal
from codespar.lib import clock, db, ids
from codespar.lib.errors import Unavailable
from ledger import records
from rails import hints
from rails.models import Payment, Ruling

OUTCOMES = ("settled", "failed", "written_off")
TRIES = 4
_OPEN = conflict("This payment does not need a human (any more).")


def propose(principal: Principal, *, payment: Payment, outcome: str, reason: str, evidence: str, ruling: UUID | None = None) -> UUID:
    """Say how the payment ended. Returns the ruling's id; nothing moves before somebody else confirms it.

    `ruling` is the id that a form was made with, so that a form sent twice proposes once. Raises `Conflict` when the payment does not
    need a human, or the id is taken. A crash leaves a proposal with its record, or nothing.
    """
    principals.require(principal, "payments:rule")
    openings, ruling = records.Openings(), ruling or ids.new()
    wire = ids.wire("pay", payment.id)
    data = {
        "id": ids.wire("rul", ruling),
        "payment": wire,
        "outcome": outcome,
        "reason_commit": openings.add(reason),
        "evidence_commit": openings.add(evidence),
    }
    record = acting.draft(
        principal, kind="payment.ruled", subject=wire, data={"ruling": data}, openings=openings, project=_project(payment)
    )
    taken = conflict("This form has been sent already. Open the payment's page again to propose something else.")
    refusals = {"payment_rulings_open": _OPEN, "payment_rulings_pkey": taken}
    acting.write(principal, "payment_rule", record, now=clock.now(), refusals=refusals)
    return ruling


def confirm(principal: Principal, *, payment: Payment, ruling: Ruling) -> None:
    """Agree, as another person: what is held is captured (settled, written off) or goes back (failed), and the payment has ended.

    Raises `Conflict` for the same person, for a payment that is over, and for one whose money has moved and that shall have failed.
    A crash leaves the payment as it was, or ended with its record.
    """
    principals.require(principal, "payments:rule")
    refusals = {
        "payment_rulings_open": _OPEN,
        "payment_rulings_moved": conflict("Money has moved for this payment: it is settled or written off, not failed."),
        "ruling_confirmations_another_person": conflict("Another person than the one who proposed it confirms it."),
        "ruling_confirmations_pkey": _OPEN,
    }
    for _ in range(TRIES):
        done = acting.write(principal, "payment_ruling_confirm", _record(principal, payment, ruling), now=clock.now(), refusals=refusals)
        if "moved" not in done:
            hints.outcome(payment.id)
            return
    raise Unavailable("The payment kept changing while this was decided. Nothing was decided; try again shortly.", code="contention")


def _record(principal: Principal, payment: Payment, ruling: Ruling) -> records.Draft:
    wire = ids.wire("pay", payment.id)
    held = _held(payment)
    captured = payment.amount if held and ruling.outcome != "failed" else 0
    item: dict[str, Any] = {
        "payment": wire,
        "ruling": ids.wire("rul", ruling.id),
        "from": "needs_human",
        "to": ruling.outcome,
        "held": held,
        "captured": captured,
        "transfer": ids.wire("tr", ids.new()) if captured else None,
    }
    parts: list[dict[str, Any]] = []
    if captured:
        parts.append({"part": "capture", "payment": wire, "amount": captured, "currency": payment.currency})
    elif held:
        parts.append({"part": "release", "payment": wire})
    parts.append({"part": "transition", "subject": wire, "from": "needs_human", "to": ruling.outcome})
    return acting.draft(
        principal, kind="payment.ruling_confirmed", subject=wire, data={"items": [item]}, parts=parts, project=_project(payment)
    )


def _held(payment: Payment) -> bool:
    """Whether the money is still held."""
    query = "SELECT 1 AS found FROM hold_resolutions WHERE org_id = %s AND hold_id = %s"
    [rows] = db.read(payment.org_id, (query, [str(payment.org_id), str(payment.hold_id)]))
    return not rows


def _project(payment: Payment) -> str:
    return ids.wire("prj", payment.project_id)
