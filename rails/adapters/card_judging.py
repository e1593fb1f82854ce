"""What an answer of the card provider proves, without asking anybody: judges of payment intents, refunds and errors.

An answer counts only when every field of it equals the instruction: amount, currency, our key, the payee and our reference, which stand in
the metadata, and that the capture is ours to ask for. Where the provider routes to merchants' accounts, the destination counts as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rails.adapters import judging, reading
from rails.adapters.base import Instruction, NotSendable, RefundInstruction, Result
from rails.adapters.card_amounts import to_stripe
from rails.adapters.judging import Verdict

INTENT_ID, REFUND_ID = r"pi_[A-Za-z0-9_]{1,128}", r"(re|pyr)_[A-Za-z0-9_]{1,128}"
CODE = "[a-z_0-9]{1,60}"
CURRENCY = "[a-z]{3}"
# (name, what the answer says, what was asked for)
Fields = list[tuple[str, str | int, str | int]]


def judge_payment(status: int, body: bytes, expected: Instruction, *, routed: bool, asks: bool) -> Verdict:
    """What the answer to any request about this payment intent proves. `asks`: nothing new was asked for, so that a no to it says nothing.

    `routed`: the payee is an account that the provider pays, and not only a name in the metadata.
    """
    judge = lambda answer: _judge_intent(answer, expected, routed)
    return _judge(status, body, judge, inside=judge, asks=asks)


def judge_refund(status: int, body: bytes, expected: RefundInstruction, *, asks: bool) -> Verdict:
    """What the answer to any request about this refund proves; `expected.payment_id` is known."""
    return _judge(status, body, lambda answer: _judge_refund(answer, expected), asks=asks)


def judge_error(status: int, answer: dict[str, Any], *, asks: bool) -> Verdict:
    """What an error proves. Raises `Malformed` for one that the API does not have.

    401, 403 and 429 speak of the caller; 409 says that another request with our key is on its way.
    """
    error = answer.get("error")
    if not isinstance(error, dict):
        raise reading.Malformed("error is not an object")
    kind = reading.match(error, "type", CODE)
    if status in (401, 403):
        return Verdict(Result.UNKNOWN, "unauthorized", "the provider does not accept our API key")
    if status in (409, 429):
        return Verdict(Result.UNKNOWN, "in_progress" if status == 409 else "rate_limited", "the provider asks us to wait")
    if (status, kind) == (400, "idempotency_error"):
        return Verdict(Result.CONFLICTED, "conflict", "the provider had another request under this key")
    if asks and status == 404:
        return Verdict(Result.NOT_FOUND, "not_found", "the provider does not know it")
    if status == 402 and not asks:
        return _declined(error, None)
    if status in (400, 404) and kind == "invalid_request_error" and not asks:
        said = reading.match(error, "code", CODE) if error.get("code") is not None else "no code"
        return Verdict(Result.REJECTED, "refused", f"the provider refused the request: {said}")
    raise reading.Malformed("an unknown refusal")


def metadata(answer: dict[str, Any], name: str) -> str:
    """What we wrote beside it."""
    found = answer.get("metadata")
    if not isinstance(found, dict):
        raise reading.Malformed("metadata is not an object")
    return reading.text(found, name)


Judge = Callable[[dict[str, Any]], Verdict]


def _judge(status: int, body: bytes, judge: Judge, *, asks: bool, inside: Judge | None = None) -> Verdict:
    if status >= 500:
        return judging.outage(status)
    try:
        answer = reading.parse_object(body, fractions=True)
        if status == 200:
            return judge(answer)
        intent = _inside(status, answer)
        return judge_error(status, answer, asks=asks) if intent is None or inside is None else inside(intent)
    except (ValueError, NotSendable) as error:
        return judging.invalid(status, error)


def _inside(status: int, answer: dict[str, Any]) -> dict[str, Any] | None:
    """A decline, or a request that came too late, says beside its no what has become of the intent."""
    error = answer.get("error")
    found = error.get("payment_intent") if isinstance(error, dict) and status in (400, 402) else None
    return found if isinstance(found, dict) else None


def _judge_intent(answer: dict[str, Any], expected: Instruction, routed: bool) -> Verdict:
    provider_id, status = reading.match(answer, "id", INTENT_ID), reading.text(answer, "status")
    fields: Fields = [
        ("object", reading.text(answer, "object"), "payment_intent"),
        ("id", provider_id, expected.provider_id or provider_id),
        ("amount", reading.positive(answer, "amount"), to_stripe(expected.amount, expected.currency)),
        ("currency", reading.match(answer, "currency", CURRENCY).upper(), expected.currency),
        ("key", metadata(answer, "codespar_key"), expected.key),
        ("payee", metadata(answer, "codespar_payee"), expected.payee_account),
        ("reference", metadata(answer, "codespar_reference"), expected.reference),
        ("capture_method", reading.text(answer, "capture_method"), "manual"),
    ]
    if routed:
        fields.append(("payee", _destination(answer), expected.payee_account))
    return _mismatch(fields, provider_id) or _judge_status(answer, status, provider_id, expected)


def _mismatch(fields: Fields, provider_id: str) -> Verdict | None:
    """The first field that is not as instructed."""
    return next((judging.mismatch(name, provider_id) for name, found, wanted in fields if found != wanted), None)


def _judge_status(answer: dict[str, Any], status: str, provider_id: str, expected: Instruction) -> Verdict:
    amount, received = reading.positive(answer, "amount"), _received(answer)
    if not 0 <= received <= amount:
        raise reading.Malformed("amount_received is not a part of the amount")
    if status == "succeeded":
        whole = received == amount
        return Verdict(Result.SETTLED, "settled", "captured", provider_id) if whole else judging.mismatch("amount_received", provider_id)
    if status == "canceled" or status == "processing":
        result = Result.CANCELED if status == "canceled" else Result.ACCEPTED
        return Verdict(result, result, f"the provider says {status}", provider_id, expected.amount * received // amount)
    if received:
        raise reading.Malformed(f"something was captured, and the status is {status}")
    if status == "requires_capture":
        return _reserved(answer, provider_id)
    if status == "requires_payment_method" and isinstance(answer.get("last_payment_error"), dict):
        return _declined(answer["last_payment_error"], provider_id)
    if status == "requires_action":
        # It waits for the card's holder, who is not there. Should somebody answer for them, the money would be reserved and not captured.
        return Verdict(Result.REJECTED, "action_required", "the card's holder would have to authenticate", provider_id)
    if status in ("requires_payment_method", "requires_confirmation"):
        return Verdict(Result.UNKNOWN, "unconfirmed", "the provider has not tried the card yet", provider_id)
    raise reading.Malformed("status is not one of the API's")


def _reserved(answer: dict[str, Any], provider_id: str) -> Verdict:
    if "amount_capturable" in answer and reading.integer(answer, "amount_capturable") != answer["amount"]:
        return judging.mismatch("amount_capturable", provider_id)
    return Verdict(Result.RESERVED, "reserved", "the card's issuer holds the money", provider_id)


def _received(answer: dict[str, Any]) -> int:
    """How much was captured, in Stripe's units: where the intent does not say it, its charge does."""
    if "amount_received" in answer:
        return reading.integer(answer, "amount_received")
    charge = answer.get("latest_charge")
    if charge is None:
        return 0
    if not isinstance(charge, dict) or not isinstance(charge.get("captured"), bool):
        raise reading.Malformed("neither the intent nor its charge says what was captured")
    return reading.positive(charge, "amount") if charge["captured"] else 0


def _destination(answer: dict[str, Any]) -> str:
    found = answer.get("transfer_data")
    if not isinstance(found, dict):
        raise reading.Malformed("transfer_data is not an object")
    return reading.text(found, "destination")


def _declined(error: dict[str, Any], provider_id: str | None) -> Verdict:
    """A card error: `decline_code` is the issuer's word where there is one."""
    code = reading.match(error, "code", CODE)
    why = reading.match(error, "decline_code", CODE) if error.get("decline_code") is not None else code
    return Verdict(Result.REJECTED, "declined", f"the card was declined: {why}", provider_id)


def _judge_refund(answer: dict[str, Any], expected: RefundInstruction) -> Verdict:
    provider_id, status = reading.match(answer, "id", REFUND_ID), reading.text(answer, "status")
    fields: Fields = [
        ("object", reading.text(answer, "object"), "refund"),
        ("id", provider_id, expected.provider_id or provider_id),
        ("amount", reading.positive(answer, "amount"), to_stripe(expected.amount, expected.currency)),
        ("currency", reading.match(answer, "currency", CURRENCY).upper(), expected.currency),
        ("key", metadata(answer, "codespar_key"), expected.key),
        ("payment", reading.text(answer, "payment_intent"), expected.payment_id or ""),
    ]
    if (other := _mismatch(fields, provider_id)) is not None:
        return other
    if status == "succeeded":
        return Verdict(Result.SETTLED, "settled", "refunded", provider_id)
    if status in ("pending", "requires_action"):
        return Verdict(Result.ACCEPTED, "accepted", f"the provider says {status}", provider_id)
    if status in ("failed", "canceled"):
        why = reading.match(answer, "failure_reason", CODE) if answer.get("failure_reason") is not None else status
        return Verdict(Result.REJECTED, "declined", f"the refund was declined: {why}", provider_id)
    raise reading.Malformed("status is not one of the API's")
