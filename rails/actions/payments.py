"""A payment asked for, and a payment taken back before it has left. See docs/life-of-a-payment.md for what a crash leaves where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from codespar.identity import acting, principals, tokens
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import cache, canonical, clock, db, ids
from codespar.lib.errors import Conflict, Unavailable
from codespar.lib.idempotency import Key, check
from ledger import records
from mandates import decision
from mandates.decision import Ask, Decision
from rails import hints

TRIES = 4
LAYERS = ["stop", "mandate", "counterparty", "risk", "policy", "wallet"]
_KINDS = {"allow": "payment.authorized", "deny": "payment.denied", "approval": "payment.approval_requested"}
_STATES = {"allow": "authorized", "deny": "denied", "approval": "requires_approval"}


@dataclass(frozen=True, slots=True)
class Texts:
    """What an agent wrote beside the payment. Never trusted, never decided on, kept outside the record."""

    memo: str | None = None
    reference: str | None = None
    context: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Frozen:
    """An answer that was given before: the same status and the same bytes again."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Paid:
    """The payment that a request made, or found: `frozen` when its answer was given before, `first` when this request made it.

    `leaves` says that it was allowed just now, so that there is something to wait for.
    """

    payment: UUID
    first: bool
    frozen: Frozen | None = None
    presented: bool = False
    leaves: bool = False


def pay(principal: Principal, *, ask: Ask, texts: Texts, idempotency: Key) -> Paid:
    """Decide, and if it may be, hold the money and record it, in one transaction. Denied is a result too.

    Raises `Unavailable` when something that the decision depends on is missing, or moved under it too often; `Conflict` for a
    presentation that paid something else; `KeyConflict`, `KeyExpired`. A crash before the commit leaves nothing; after it, an
    authorised payment that the dispatcher or the sweeper finds.
    """
    principals.require(principal, "payments:write")
    cache.require()
    for _ in range(TRIES):
        snapshot = look(principal, ask=ask, key=idempotency)
        if snapshot["idempotency"] is not None:
            return _earlier(snapshot["idempotency"], idempotency)
        verdict = decision.decide(snapshot, ask, now=clock.now())
        payment = ids.new()
        done = _authorise(principal, snapshot, verdict, ask, texts, payment, idempotency)
        if "seq" in done:
            if verdict.outcome == "allow":
                hints.work(verdict.rail)
            return Paid(payment, first=True, leaves=verdict.outcome == "allow")
        if done.get("twin"):
            original = _presented(principal, snapshot, verdict, ask)
            if original is not None:
                return Paid(original, first=False, presented=True)
    raise Unavailable("Limits or rules kept changing while this was decided. Nothing was decided; try again shortly.", code="contention")


def dry_run(principal: Principal, *, ask: Ask) -> Decision:
    """The same decision, and nothing else: no key is read or written, nothing is held, nothing is recorded."""
    principals.require(principal, "payments:write")
    return decision.decide(look(principal, ask=ask, key=None), ask, now=clock.now())


def look(principal: Principal, *, ask: Ask, key: Key | None, payment: UUID | None = None) -> dict[str, Any]:
    """Everything that a decision reads, in one call. Raises `Unauthenticated` when the token died in the meantime."""
    request: dict[str, Any] = {
        "mandate": ask.mandate,
        "counterparty": ask.counterparty,
        "purpose": ask.purpose,
        "rail": ask.rail or decision.DEFAULT_RAIL,
        "amount": ask.amount,
        "currency": ask.currency,
    }
    if key is not None:
        request |= {"operation": key.operation, "key": key.key_hash.hex()}
    if payment is not None:
        request["payment"] = ids.wire("pay", payment)
    snapshot = db.call("snapshot", principal.org, principal.digest, request)
    if snapshot["principal"] is None:
        raise tokens.Unauthenticated("The access token is unknown, expired or revoked.")
    return dict(snapshot)


def cancel(principal: Principal, *, payment: UUID, state: str, project: str) -> None:
    """Take back a payment that has not left: the hold goes back whole. Raises `Conflict` when it has left, or is over."""
    wire = ids.wire("pay", payment)
    parts: list[dict[str, Any]] = [{"part": "release", "payment": wire}] if state == "authorized" else []
    parts.append({"part": "transition", "subject": wire, "from": state, "to": "canceled"})
    data = {"items": [{"payment": wire, "from": state, "to": "canceled", "code": "canceled_by_request"}]}
    record = acting.draft(principal, kind="payment.canceled", subject=wire, data=data, parts=parts, project=project)
    gone = conflict("The payment has left or is over: what has left is refunded, not canceled.")
    done = acting.write(principal, "payment_cancel", record, now=clock.now(), refusals={"payments_known": not_found("payment")})
    if "moved" in done:
        raise gone("")
    hints.outcome(payment)


def decision_parts(verdict: Decision, snapshot: Mapping[str, Any], payment: str, *, before: str, after: str) -> list[dict[str, Any]]:
    """What happened in deciding, in order: the check, the decision, the route, and the step that the payment made."""
    parts: list[dict[str, Any]] = [
        {"part": "check", "layers": LAYERS, "at": snapshot["at"], "risk": decision.RISK, "remaining": [dict(r) for r in verdict.remaining]},
        {
            "part": "decision",
            "id": ids.wire("dec", ids.new()),
            "outcome": verdict.outcome,
            "layer": verdict.layer,
            "code": verdict.code,
            "reasons": [dict(reason) for reason in verdict.reasons],
            "policies": [dict(policy) for policy in verdict.policies],
            "shadows": [dict(shadow) for shadow in verdict.shadows],
        },
    ]
    if verdict.outcome != "deny" and before == "new":
        parts.append({"part": "route", "rail": verdict.rail, "account": verdict.account, "alternatives": []})
    return [*parts, {"part": "transition", "subject": payment, "from": before, "to": after}]


def held_parts(parts: Sequence[dict[str, Any]], *, mandate: str, wallet: str, amount: int, currency: str) -> list[dict[str, Any]]:
    """The parts of an allowed payment: its use of the mandate and its hold come after the decision and before the step."""
    use = {"part": "mandate_use", "mandate": mandate, "amount": amount, "currency": currency}
    hold = {"part": "hold", "id": ids.wire("hld", ids.new()), "wallet": wallet, "amount": amount, "currency": currency}
    return [*parts[:-1], use, hold, parts[-1]]


def _authorise(
    principal: Principal, snapshot: Mapping[str, Any], verdict: Decision, ask: Ask, texts: Texts, payment: UUID, key: Key
) -> dict[str, Any]:
    wire = ids.wire("pay", payment)
    parts = decision_parts(verdict, snapshot, wire, before="new", after=_STATES[verdict.outcome])
    if verdict.outcome == "allow":
        parts = held_parts(parts, mandate=ask.mandate, wallet=snapshot["wallet"]["id"], amount=ask.amount, currency=ask.currency)
    elif verdict.outcome == "approval":
        parts.insert(-1, {"part": "approval_request", "id": ids.wire("apr", ids.new()), "code": verdict.code})
    openings = records.Openings()
    data = {"payment": _payment(snapshot, verdict, ask, texts, wire, openings), "idempotency": key.data}
    record = acting.draft(principal, kind=_KINDS[verdict.outcome], subject=wire, data=data, parts=parts, openings=openings)
    signed = acting.sign(record, after=snapshot["head"], now=clock.now())
    done = db.call("authorise", principal.org, principal.digest, signed.content, signed.sig, signed.openings, refusals=acting.COMMON)
    return dict(done)


def _payment(
    snapshot: Mapping[str, Any], verdict: Decision, ask: Ask, texts: Texts, wire: str, openings: records.Openings
) -> dict[str, Any]:
    submit_by = verdict.submit_by or clock.parse(snapshot["at"]) + decision.SUBMIT_WITHIN
    wallet = snapshot["wallet"]
    payment: dict[str, Any] = {
        "id": wire,
        "mandate": ask.mandate,
        "wallet": wallet["id"] if wallet else None,
        "counterparty": ask.counterparty,
        "counterparty_version": verdict.counterparty_version,
        "account": verdict.account,
        "amount": ask.amount,
        "currency": ask.currency,
        "purpose": ask.purpose,
        "rail": verdict.rail,
        "submit_by": clock.stamp(submit_by),
    }
    for name, text in (("memo", texts.memo), ("reference", texts.reference), ("target", ask.target)):
        if text is not None:
            payment[f"{name}_commit"] = openings.add(text)
    if texts.context is not None:
        payment["context_commit"] = openings.add(canonical.dumps(dict(texts.context)).decode())
    if verdict.presentation is not None:
        payment["transaction_id"] = verdict.presentation.transaction_id
        payment["presentation"] = presentation_id(snapshot, verdict)
    return payment


def presentation_id(snapshot: Mapping[str, Any], verdict: Decision) -> str:
    """What makes a presentation one: its key, audience and nonce; never its bytes, for ES256 has two signatures for one statement."""
    shown = verdict.presentation
    assert shown is not None
    text = "\n".join([shown.cnf_thumbprint, decision.audience(snapshot), shown.nonce])
    return canonical.sha256(text.encode()).hex()


def _earlier(row: Mapping[str, Any], key: Key) -> Paid:
    check(key, row["fingerprint"], row["expired"])
    frozen = None if row["status"] is None else Frozen(row["status"], canonical.unbase64(row["body"]))
    return Paid(ids.parse(row["subject"], "pay"), first=False, frozen=frozen)


def _presented(principal: Principal, snapshot: Mapping[str, Any], verdict: Decision, ask: Ask) -> UUID | None:
    """The payment that this presentation, or this transaction of the mandate, has already made.

    Raises `Conflict` when that was another payment than the one that is asked for now.
    """
    shown = verdict.presentation
    if shown is None:
        return None
    with db.tenant(principal.org):
        rows = db.select(
            "SELECT p.id, transaction_id, amount, currency, counterparty_id, purpose, convert_from(o.value, 'UTF8') AS target"
            " FROM payments p LEFT JOIN ledger_openings o ON o.org_id = p.org_id AND o.commit = decode(p.target, 'hex') WHERE p.org_id = %s"
            " AND (presentation = %s OR (mandate_id = %s AND transaction_id = %s))",
            [str(principal.org), presentation_id(snapshot, verdict), str(ids.parse(ask.mandate, "mnd")), shown.transaction_id],
        )
    if not rows:
        return None
    names = ("transaction_id", "amount", "currency", "counterparty_id", "purpose", "target")
    asked = (shown.transaction_id, ask.amount, ask.currency, ids.parse(ask.counterparty, "ctp"), ask.purpose, ask.target)
    if len(rows) > 1 or asked != tuple(rows[0][name] for name in names):
        raise Conflict("This nonce or transaction has paid something else already: sign a new presentation, with its own.")
    found: UUID = rows[0]["id"]
    return found
