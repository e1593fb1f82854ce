"""A payment asked for, and a payment taken back before it has left. See docs/life-of-a-payment.md for what a crash leaves where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from codespar.identity import acting, principals, tokens
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import cache, canonical, clock, db, ids
from codespar.lib.errors import Conflict, Unavailable
from codespar.lib.idempotency import Key, check
from ledger import records
from mandates import decision, layers
from mandates.decision import Decision
from mandates.layers import Ask
from rails import hints, routing

TRIES = 4
LAYERS = ["stop", "mandate", "counterparty", "route", "risk", "policy", "wallet"]
_KINDS = {
    "authorized": "payment.authorized",
    "denied": "payment.denied",
    "requires_approval": "payment.approval_requested",
    "scheduled": "payment.scheduled",
}
_STATES = {"allow": "authorized", "deny": "denied", "approval": "requires_approval"}
# A scheduled payment that could not be decided on so long after its time is expired.
GRACE = timedelta(hours=1)


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


@dataclass(frozen=True, slots=True)
class Order:
    """One payment as it is asked for, under its own key."""

    ask: Ask
    texts: Texts
    idempotency: Key
    execute_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A decision on an order, from a snapshot, and its record: content, signature and openings."""

    order: Order
    snapshot: Mapping[str, Any]
    verdict: Decision
    payment: UUID
    state: str
    record: tuple[bytes, bytes, Any]


def pay(principal: Principal, *, order: Order) -> Paid:
    """Decide, and if it may be, hold the money and record it, in one transaction. Denied is a result too.

    With `execute_at` nothing is held: it is decided on again when its time has come (`rails/schedules.py`), and only what no time mends
    refuses it now.

    Raises `Unavailable` when something that the decision depends on is missing, or moved under it too often; `Conflict` for a
    presentation that paid something else; `KeyConflict`, `KeyExpired`. A crash before the commit leaves nothing; after it, an
    authorised payment that the dispatcher or the sweeper finds.
    """
    principals.require(principal, "payments:write")
    cache.require()
    for _ in range(TRIES):
        snapshot = look(principal, ask=order.ask, key=order.idempotency)
        if snapshot["idempotency"] is not None:
            return earlier(snapshot["idempotency"], order.idempotency)
        made = decided(principal, order, snapshot, clock.now())
        done = db.call("authorise", principal.org, principal.digest, *made.record, refusals=acting.COMMON)
        found = outcome(principal, made, done)
        if found is not None:
            return found
    raise contended()


def contended() -> Unavailable:
    """What it depended on kept moving: nothing happened."""
    return Unavailable("Limits or rules kept changing while this was decided. Nothing was decided; try again shortly.", code="contention")


def decided(principal: Principal, order: Order, snapshot: Mapping[str, Any], now: datetime) -> Made:
    """The decision on one payment and its signed record, ready to be written. `now` is when the snapshot came."""
    verdict, payment = decision.decide(snapshot, order.ask, now=now), ids.new()
    refusal = verdict if order.execute_at is None else decision.may_wait(verdict, snapshot, order.execute_at)
    verdict, state = (verdict, "scheduled") if refusal is None else (refusal, _STATES[refusal.outcome])
    signed = acting.sign(_draft(principal, snapshot, verdict, order, payment, state), after=snapshot["head"], now=clock.now())
    return Made(order, snapshot, verdict, payment, state, (signed.content, signed.sig, signed.openings))


def outcome(principal: Principal, made: Made, done: Mapping[str, Any]) -> Paid | None:
    """What `authorise` came to. None when it is to be decided again. Raises `Conflict` for a presentation that paid something else."""
    allowed = made.state == "authorized"
    if "seq" in done:
        if allowed:
            hints.work(str(made.verdict.rail))
        return Paid(made.payment, first=True, leaves=allowed)
    original = _presented(principal, made.snapshot, made.verdict, made.order.ask) if done.get("twin") else None
    return None if original is None else Paid(original, first=False, presented=True)


def dry_run(principal: Principal, *, ask: Ask) -> Decision:
    """The same decision, and nothing else: no key is read or written, nothing is held, nothing is recorded."""
    principals.require(principal, "payments:write")
    return decision.decide(look(principal, ask=ask, key=None), ask, now=clock.now())


def look(principal: Principal, *, ask: Ask, key: Key | None, payment: UUID | None = None) -> dict[str, Any]:
    """Everything that a decision reads, in one call. Raises `Unauthenticated` when the token died in the meantime."""
    request = question(ask, key) | ({} if payment is None else {"payment": ids.wire("pay", payment)})
    return seen(db.call("snapshot", principal.org, principal.digest, request), ask)


def question(ask: Ask, key: Key | None) -> dict[str, Any]:
    """What a snapshot is asked for."""
    request: dict[str, Any] = {
        "mandate": ask.mandate,
        "counterparty": ask.counterparty,
        "purpose": ask.purpose,
        "rail": ask.rail,
        "amount": ask.amount,
        "currency": ask.currency,
    }
    return request if key is None else request | {"operation": key.operation, "key": key.key_hash.hex()}


def seen(snapshot: Mapping[str, Any], ask: Ask) -> dict[str, Any]:
    """The snapshot with what the rails declare. Raises `Unauthenticated` when the token died in the meantime."""
    if snapshot["principal"] is None:
        raise tokens.Unauthenticated("The access token is unknown, expired or revoked.")
    return {**snapshot, "routes": routing.offers(snapshot["routes"], ask.amount)}


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
    if before == "new" and (verdict.outcome != "deny" or verdict.alternatives):
        parts.append(route_part(verdict))
    return [*parts, {"part": "transition", "subject": payment, "from": before, "to": after}]


def route_part(verdict: Decision) -> dict[str, Any]:
    """The route decision: the rail and the counterparty's account that were taken, and why none of the others."""
    taken = verdict.rail if verdict.outcome != "deny" else None
    alternatives = [dict(alternative) for alternative in verdict.alternatives]
    return {"part": "route", "rail": taken, "account": verdict.account, **verdict.route, "alternatives": alternatives}


def held_parts(parts: Sequence[dict[str, Any]], *, mandate: str, wallet: str, amount: int, currency: str) -> list[dict[str, Any]]:
    """The parts of an allowed payment: its use of the mandate and its hold come after the decision and before the step."""
    use = {"part": "mandate_use", "mandate": mandate, "amount": amount, "currency": currency}
    hold = {"part": "hold", "id": ids.wire("hld", ids.new()), "wallet": wallet, "amount": amount, "currency": currency}
    return [*parts[:-1], use, hold, parts[-1]]


def _draft(principal: Principal, snapshot: Mapping[str, Any], verdict: Decision, order: Order, payment: UUID, state: str) -> records.Draft:
    ask = order.ask
    wire = ids.wire("pay", payment)
    parts = decision_parts(verdict, snapshot, wire, before="new", after=state)
    if state == "authorized":
        parts = held_parts(parts, mandate=ask.mandate, wallet=snapshot["wallet"]["id"], amount=ask.amount, currency=ask.currency)
    elif state == "requires_approval":
        parts.insert(-1, {"part": "approval_request", "id": ids.wire("apr", ids.new()), "code": verdict.code})
    openings = records.Openings()
    data = {"payment": _payment(snapshot, verdict, order, wire, openings, state), "idempotency": order.idempotency.data}
    return acting.draft(principal, kind=_KINDS[state], subject=wire, data=data, parts=parts, openings=openings)


def facts(snapshot: Mapping[str, Any], verdict: Decision, ask: Ask) -> dict[str, Any]:
    """Who pays what to whom, and how, as the record has it: what was asked for and what was decided."""
    submit_by = verdict.submit_by or clock.parse(snapshot["at"]) + decision.SUBMIT_WITHIN
    wallet = snapshot["wallet"]
    return {
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
        **consented(snapshot, verdict.rail),
    }


def consented(snapshot: Mapping[str, Any], rail: str | None) -> dict[str, str]:
    """The consent that it is paid under, where its rail needs one."""
    seen = next((route["consent"] for route in snapshot["routes"] if route["rail"] == rail), None)
    return {"consent": seen["id"]} if seen and seen["id"] else {}


def _asked(snapshot: Mapping[str, Any], ask: Ask, execute_at: datetime) -> dict[str, Any]:
    """What a scheduled payment asks for, and nothing that only its time can tell."""
    said = ask.claims.get("account")
    accounts = [account["id"] for account in snapshot["counterparty"]["accounts"] if said in (account["id"], account["value"])]
    return {
        "counterparty_version": None,
        "account": accounts[0] if accounts else None,
        "rail": ask.rail,
        "execute_at": clock.stamp(execute_at),
        "submit_by": clock.stamp(execute_at + GRACE),
    }


def _payment(
    snapshot: Mapping[str, Any], verdict: Decision, order: Order, wire: str, openings: records.Openings, state: str
) -> dict[str, Any]:
    texts = order.texts
    payment = {"id": wire, **facts(snapshot, verdict, order.ask)}
    if state == "scheduled" and order.execute_at is not None:
        payment |= _asked(snapshot, order.ask, order.execute_at)
    for name, text in (("memo", texts.memo), ("reference", texts.reference), ("target", order.ask.target)):
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
    text = "\n".join([shown.cnf_thumbprint, layers.audience(snapshot), shown.nonce])
    return canonical.sha256(text.encode()).hex()


def earlier(row: Mapping[str, Any], key: Key) -> Paid:
    """What the first request under this key made. Raises `KeyConflict`, `KeyExpired`."""
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
