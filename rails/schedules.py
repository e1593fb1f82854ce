"""Scheduled payments: decided again when their time has come, with everything as it is then.

Until then nothing is held and nothing is promised. Whoever asked for the payment is not there any more, so it is this process that decides,
by the same function and on the same facts, after it has verified what was signed when it was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import structlog

from codespar.lib import cache, clock, db, ids
from mandates import decision
from mandates.decision import Decision
from mandates.layers import Ask
from rails import booking, dispatch, evidence, hints, routing, workers
from rails.actions import payments
from rails.booking import Head
from rails.faults import guarded

log = structlog.get_logger(__name__)
PAYMENTS = 20
LEASE_SECONDS = 30
_STATES = {"allow": "authorized", "approval": "requires_approval", "deny": "denied"}
_ROW = """
SELECT p.*, o.value AS target_value, e.content, e.sig, e.kid AS entry_kid
FROM payments p
JOIN ledger_entries e ON e.org_id = p.org_id AND e.id = p.created_entry_id
LEFT JOIN ledger_openings o ON o.org_id = p.org_id AND o.commit = decode(p.target, 'hex')
WHERE p.org_id = %s AND p.id = %s AND p.status = 'scheduled'
"""
_KEYS = "SELECT kid, jwk FROM public_keys(%s)"


def run_due() -> int:
    """Decide on what is due. Returns how many payments. One organisation's fault holds up no other's."""
    due = db.rows("schedules_due", workers.identity(), PAYMENTS, LEASE_SECONDS)
    for org, payment in due:
        guarded(execute, org, payment)
    return len(due)


def execute(org: UUID, payment: UUID) -> None:
    """Decide on one payment whose time has come. After its grace it is `expired`; what was not asked for as it stands there is `canceled`.

    Raises `Unavailable` when something that the decision needs is away: it is tried again until the grace is over. A crash leaves it
    scheduled, or decided with its record.
    """
    rows, keys = db.read(org, (_ROW, [str(org), str(payment)]), (_KEYS, [str(org)]))
    for row in rows:
        fault = evidence.scheduled_fault(row, evidence.public_keys({**key, "jwk": db.decode(key["jwk"])} for key in keys))
        if fault is not None:
            log.error("payment_evidence_fault", payment=ids.wire("pay", payment), fault=fault)
            dispatch.end_unsent(row, "canceled", f"evidence_{fault}")
        elif clock.now() >= row["submit_by"]:
            dispatch.end_unsent(row, "expired", "schedule_missed")
        else:
            _decide(row)


def _decide(row: Mapping[str, Any]) -> None:
    cache.require()
    for _ in range(payments.TRIES):
        seen = db.call("schedule_seen", row["org_id"], row["id"])
        if seen is None:
            return
        ask = _ask(row)
        snapshot = {**seen, "routes": routing.offers(seen["routes"], ask.amount)}
        verdict = decision.decide(snapshot, ask, now=clock.now())
        if verdict.layer == "engine":
            # A slow moment of ours is no answer: its grace is for that.
            log.warning("schedule_undecided", payment=ids.wire("pay", row["id"]), code=verdict.code)
            return
        if "moved" not in _write(row, snapshot, verdict, ask):
            if verdict.outcome == "allow":
                hints.work(str(verdict.rail))
            return
    raise payments.contended()


def _write(row: Mapping[str, Any], snapshot: Mapping[str, Any], verdict: Decision, ask: Ask) -> dict[str, Any]:
    wire = ids.wire("pay", row["id"])
    parts = payments.decision_parts(verdict, snapshot, wire, before="scheduled", after=_STATES[verdict.outcome])
    said: dict[str, Any] = {"id": wire}
    if verdict.outcome != "deny":
        said |= payments.facts(snapshot, verdict, ask) | {"target": row["target"]}
    if verdict.outcome == "allow":
        parts = payments.held_parts(parts, mandate=ask.mandate, wallet=said["wallet"], amount=ask.amount, currency=ask.currency)
    elif verdict.outcome == "approval":
        parts.insert(-1, {"part": "approval_request", "id": ids.wire("apr", ids.new()), "code": verdict.code})
    return booking.write(
        "schedule_execute",
        kind="payment.executed",
        subject=wire,
        data={"payment": said},
        parts=parts,
        after=Head(snapshot["head"]),
        **booking.about([row]),
    )


def _ask(row: Mapping[str, Any]) -> Ask:
    """What was asked for, as the row has it: the mandate's presentation was verified, and used up, when it came."""
    return Ask(
        mandate=ids.wire("mnd", row["mandate_id"]),
        counterparty=ids.wire("ctp", row["counterparty_id"]),
        amount=row["amount"],
        currency=row["currency"],
        purpose=row["purpose"],
        rail=row["rail"],
        claims={"account": row["account_id"]} if row["account_id"] else {},
        target=None if row["target"] is None else bytes(row["target_value"] or b"").decode(),
    )
