"""A person's word on a payment that waits. A yes is decided again, now, and uses the approval up in the same transaction."""

from typing import Any

from codespar.identity import acting, principals
from codespar.identity.acting import conflict
from codespar.identity.principals import Principal
from codespar.lib import cache, clock, ids
from codespar.lib.errors import Conflict, Unavailable
from codespar.lib.idempotency import Key
from ledger import records
from mandates import decision
from mandates.layers import Ask
from rails import hints, queries
from rails.actions import payments
from rails.models import Payment

_OVER = {"approvals_open": conflict("This payment does not wait for a person: it is decided, or its 24 hours are over.")}


def approve(principal: Principal, *, payment: Payment, approval: str, idempotency: Key) -> bool:
    """Say yes. The payment is decided again with everything as it is now; a rule that refuses now refuses.

    Returns False when another request used this key first. Raises `Conflict`, `Unavailable`. A crash leaves the payment waiting, or
    authorised with its hold and its record.
    """
    principals.require(principal, "payments:approve")
    cache.require()
    ask = _ask(payment)
    for _ in range(payments.TRIES):
        snapshot = payments.look(principal, ask=ask, key=None, payment=payment.id)
        verdict = decision.decide(snapshot, ask, now=clock.now(), approved=True)
        if verdict.layer == "engine":
            # A slow moment of ours is no answer to a person's yes.
            raise Unavailable(verdict.detail or "The decision could not be made: try again shortly.")
        done = _vote(principal, payment, approval, verdict, snapshot, idempotency)
        if "moved" not in done:
            hints.work(str(payment.rail))
            hints.outcome(payment.id)
            return not done.get("twin")
    raise Unavailable("Limits or rules kept changing while this was decided. Nothing was decided; try again shortly.", code="contention")


def deny(principal: Principal, *, payment: Payment, approval: str, reason: str, idempotency: Key) -> bool:
    """Say no. The payment is denied for ever. Returns False when another request used this key first."""
    principals.require(principal, "payments:approve")
    wire = ids.wire("pay", payment.id)
    openings = records.Openings()
    parts = [
        {"part": "approval_use", "id": approval, "verdict": "denied"},
        {"part": "transition", "subject": wire, "from": "requires_approval", "to": "denied"},
    ]
    data = {"payment": {"id": wire, "reason_commit": openings.add(reason)}, "idempotency": idempotency.data}
    record = _draft(principal, payment, "payment.rejected", data, parts, openings)
    done = acting.write(principal, "payment_vote", record, now=clock.now(), refusals=_OVER)
    hints.outcome(payment.id)
    return not done.get("twin")


def _vote(
    principal: Principal, payment: Payment, approval: str, verdict: decision.Decision, snapshot: dict[str, Any], key: Key
) -> dict[str, Any]:
    wire = ids.wire("pay", payment.id)
    allowed = verdict.outcome == "allow"
    after = "authorized" if allowed else "denied"
    parts = payments.decision_parts(verdict, snapshot, wire, before="requires_approval", after=after)
    data: dict[str, Any] = {"payment": {"id": wire}, "idempotency": key.data}
    if allowed:
        if verdict.account != payment.account_id or verdict.submit_by is None:
            raise Conflict("The counterparty's account changed since the payment was asked for: deny it, and let the agent ask again.")
        facts = _facts(payment)
        parts = payments.held_parts(
            parts, mandate=facts["mandate"], wallet=facts["wallet"], amount=payment.amount, currency=payment.currency
        )
        data["payment"] |= facts | {
            "counterparty_version": verdict.counterparty_version,
            "submit_by": clock.stamp(verdict.submit_by),
            **payments.consented(snapshot, payment.rail),
        }
    parts.insert(0, {"part": "approval_use", "id": approval, "verdict": "approved"})
    kind = "payment.approved" if allowed else "payment.denied"
    record = _draft(principal, payment, kind, data, parts, records.Openings())
    return acting.write(principal, "payment_vote", record, now=clock.now(), refusals=_OVER)


def _draft(
    principal: Principal, payment: Payment, kind: str, data: dict[str, Any], parts: list[dict[str, Any]], openings: records.Openings
) -> records.Draft:
    return acting.draft(
        principal,
        kind=kind,
        subject=ids.wire("pay", payment.id),
        data=data,
        parts=parts,
        project=ids.wire("prj", payment.project_id),
        on_behalf_of=ids.wire("agt", payment.agent_id),
        openings=openings,
    )


def _facts(payment: Payment) -> dict[str, Any]:
    """What was asked for, again: the record that holds the money names all of it."""
    assert payment.mandate_id and payment.wallet_id and payment.counterparty_id
    return {
        "mandate": ids.wire("mnd", payment.mandate_id),
        "wallet": ids.wire("wal", payment.wallet_id),
        "counterparty": ids.wire("ctp", payment.counterparty_id),
        "account": payment.account_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "purpose": payment.purpose,
        "rail": payment.rail,
        # By its commitment, which the record of the request opens.
        "target": payment.target,
    }


def _ask(payment: Payment) -> Ask:
    # A payment that waits for a person has all of these: payments_mandated.
    assert payment.mandate_id and payment.counterparty_id and payment.account_id
    return Ask(
        mandate=ids.wire("mnd", payment.mandate_id),
        counterparty=ids.wire("ctp", payment.counterparty_id),
        amount=payment.amount,
        currency=payment.currency,
        purpose=payment.purpose,
        rail=payment.rail,
        claims={"account": payment.account_id},
        target=queries.target(payment),
    )
