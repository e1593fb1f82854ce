"""Payments and refunds as the API reads and shows them. Amounts are minor units."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from codespar.lib import clock, idempotency, ids, sdjwt, targets
from codespar.lib.errors import CodesparError, Invalid
from codespar.rest import fields
from codespar.rest.openapi import Problem
from ledger.serializers import ReceiptOut
from mandates.decision import Decision
from mandates.layers import Ask
from rails.actions.batches import MOST
from rails.actions.payments import Order, Texts
from rails.actions.rulings import OUTCOMES
from rails.models import Payment, Refund, Ruling, RulingConfirmation
from wallets.serializers import MoneyOut

CLAIMS = ("name", "country", "category", "account")


class CounterpartyClaims(fields.Strict):
    """Whatever is said of a counterparty must equal the registry."""

    id = fields.Id("ctp")
    name = fields.Text(longest=140, required=False)
    country = fields.Text(longest=10, required=False)
    category = fields.Text(longest=64, required=False)
    account = fields.Text(longest=140, required=False)


_CTP = {"type": "string", "pattern": "^ctp_[0-9a-f]{32}$"}
_CLAIM = {"type": "string", "minLength": 1}
_COUNTERPARTY = {
    "oneOf": [
        _CTP,
        {"type": "object", "properties": {"id": _CTP, **dict.fromkeys(CLAIMS, _CLAIM)}, "required": ["id"], "additionalProperties": False},
    ]
}


@extend_schema_field(_COUNTERPARTY)
class CounterpartyField(serializers.Field[Any, Any, Any, Any]):
    """`ctp_…`, or an object with the id and what the agent believes about it."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        claims = CounterpartyClaims(data={"id": data} if isinstance(data, str) else data)
        claims.is_valid(raise_exception=True)
        return dict(claims.validated_data)

    def to_representation(self, value: Any) -> Any:
        return value


def _mandate(value: object) -> tuple[str, str | None]:
    """(wire id, proof): an id alone, or the id inside a credential or presentation, which the decision will verify."""
    if isinstance(value, str) and value.startswith("mnd_"):
        ids.parse(value, "mnd")
        return value, None
    if not isinstance(value, str) or not 1 <= len(value) <= sdjwt.LONGEST * 2:
        raise Invalid("The mandate is its id (mnd_…), its credential, or a presentation of it.")
    try:
        # Only to know which mandate it claims to be: an unsigned one is refused by the decision, and recorded.
        named = sdjwt.read(sdjwt.decode(value.split(".")[1]))["jti"]
    except (CodesparError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Invalid("This is neither a mandate's id nor a readable credential or presentation.") from error
    ids.parse(named, "mnd")
    return named, value


class Later(fields.Moment):
    """A time to come, within a year."""

    def read(self, value: object) -> datetime:
        found, now = clock.parse(value), clock.now()
        if not now < found <= now + timedelta(days=365):
            raise Invalid("A payment is scheduled for a time to come, within 365 days.")
        return found


class PaymentIn(fields.Strict):
    """With `execute_at` the payment is decided again then, and holds nothing before. `target` is what is paid for: a BR Code, or a URL.

    `memo` and `context` are texts of the agent's: kept, never trusted.
    """

    mandate = fields.Read(_mandate, schema={"type": "string", "minLength": 1})
    amount = fields.Money()
    counterparty = CounterpartyField()
    purpose = fields.Slug()
    rail = fields.Slug(required=False)
    target = fields.Text(longest=targets.LONGEST, required=False)
    memo = fields.Text(longest=2000, lines=True, required=False)
    reference = fields.Text(longest=140, required=False)
    execute_at = Later(required=False)
    context = fields.Object(required=False)  # type: ignore[assignment]  # a member that DRF also uses as a name


class BatchItemIn(PaymentIn):
    """A payment of a batch: what `POST /v1/payments` takes, and the key that it would have there."""

    idempotency_key = fields.Read(lambda value: value, schema={"type": "string", "minLength": 1, "maxLength": 255})


def _items(value: object) -> list[Any]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST:
        raise Invalid(f"A batch has 1 to {MOST} payments.")
    return value


class BatchIn(fields.Strict):
    """`payments` are bodies of `POST /v1/payments`, each with its `idempotency_key`. Each is read, decided and answered by itself."""

    payments = fields.Read(_items, schema={"type": "array", "minItems": 1, "maxItems": MOST, "items": {}})


class BatchItemOut(serializers.Serializer[Any]):
    """`status` is what the payment alone would have been answered with, and `body` what with: a payment, or a problem document."""

    status = serializers.IntegerField()
    body = serializers.DictField()


class BatchOut(serializers.Serializer[Any]):
    """`data` has an answer for each payment, in their order. `list_sha256` is over the RFC 8785 form of `payments` as they came."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    list_sha256 = serializers.CharField()
    data = BatchItemOut(many=True)  # type: ignore[assignment]  # a member that DRF also uses as a name


class RefundIn(fields.Strict):
    """Without `amount` everything that is left goes back."""

    amount = fields.Money(required=False)


class DenyIn(fields.Strict):
    reason = fields.Text(longest=2000, lines=True)


class DecisionOut(serializers.Serializer[Any]):
    """`outcome` is allow, approval or deny; `layer` and `code` say who decided so; `shadows`: what versions in shadow would have said."""

    id = serializers.CharField(allow_null=True)
    outcome = serializers.CharField()
    layer = serializers.CharField(allow_null=True)
    code = serializers.CharField(allow_null=True)
    reasons = serializers.ListField(child=serializers.DictField())
    policies = serializers.ListField(child=serializers.DictField())
    shadows = serializers.ListField(child=serializers.DictField())


class DryRunOut(DecisionOut):
    """`rail` is the route that would be taken, `alternatives` the others, each with the reason why not."""

    rail = serializers.CharField(allow_null=True)
    alternatives = serializers.ListField(child=serializers.DictField())
    detail = serializers.CharField(allow_null=True)
    remaining = serializers.ListField(child=serializers.DictField())
    object = serializers.CharField()
    livemode = serializers.BooleanField()


class RefundOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    payment = serializers.CharField()
    amount = MoneyOut()
    status = serializers.CharField()
    code = serializers.CharField(allow_null=True)
    provider_id = serializers.CharField(allow_null=True)
    created_at = serializers.CharField()


class PaymentOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    code = serializers.CharField(allow_null=True)
    project = serializers.CharField()
    agent = serializers.CharField()
    mandate = serializers.CharField(allow_null=True)
    wallet = serializers.CharField(allow_null=True)
    counterparty = serializers.CharField(allow_null=True)
    account = serializers.CharField(allow_null=True)
    amount = MoneyOut()
    purpose = serializers.CharField()
    rail = serializers.CharField(allow_null=True)
    provider_id = serializers.CharField(allow_null=True)
    target = serializers.CharField(allow_null=True)
    memo = serializers.CharField(allow_null=True)
    reference = serializers.CharField(allow_null=True)
    captured = MoneyOut()
    refunded = MoneyOut()
    refunding = MoneyOut()
    refunds = RefundOut(many=True)
    approval = serializers.DictField(allow_null=True)
    decision = DecisionOut()
    receipt = ReceiptOut()
    execute_at = serializers.CharField(allow_null=True)
    submit_by = serializers.CharField()
    created_at = serializers.CharField()
    updated_at = serializers.CharField()


class RulingIn(fields.Strict):
    """How the payment ended, why you say so, and what shows it (a reference, a bank's letter, a hash)."""

    outcome = fields.one_of(*OUTCOMES)
    reason = fields.Text(longest=2000, lines=True)
    evidence = fields.Text(longest=2000, lines=True)


class RulingOut(serializers.Serializer[Any]):
    """`confirmed_by` is null until another person has agreed."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    payment = serializers.CharField()
    outcome = serializers.CharField()
    proposed_by = serializers.CharField()
    confirmed_by = serializers.CharField(allow_null=True)
    at = serializers.CharField()


class DeniedOut(Problem):
    """A denial is a stored payment and a problem document at once. A refusal at the door has no payment."""

    payment = PaymentOut(required=False)
    revocation_receipt = serializers.CharField(required=False)
    stop_receipt = serializers.CharField(required=False)


def ruling(row: Ruling, confirmation: RulingConfirmation | None, of: Payment) -> dict[str, Any]:
    return {
        "id": ids.wire("rul", row.id),
        "object": "ruling",
        "livemode": of.livemode,
        "payment": ids.wire("pay", row.payment_id),
        "outcome": row.outcome,
        "proposed_by": ids.wire("mem", row.proposed_by),
        "confirmed_by": confirmation and ids.wire("mem", confirmation.confirmed_by),
        "at": clock.stamp(row.at),
    }


def ask(body: Mapping[str, Any]) -> Ask:
    """The checked body as what is decided on."""
    mandate, proof = body["mandate"]
    payee = body["counterparty"]
    return Ask(
        mandate=mandate,
        counterparty=payee["id"],
        amount=body["amount"]["amount"],
        currency=body["amount"]["currency"],
        purpose=body["purpose"],
        rail=body.get("rail"),
        proof=proof,
        claims={name: payee[name] for name in CLAIMS if name in payee},
        target=body.get("target"),
    )


def order(body: Mapping[str, Any], key: idempotency.Key) -> Order:
    """The checked body as what is asked for, under its key."""
    return Order(ask(body), texts(body), key, body.get("execute_at"))


def batched(item: object) -> Order:
    """One payment of a batch, read as strictly as one alone. Raises `Invalid` and DRF's ValidationError."""
    read = BatchItemIn(data=item)
    read.is_valid(raise_exception=True)
    body = dict(read.validated_data)
    assert isinstance(item, Mapping)
    alone = {name: value for name, value in item.items() if name != "idempotency_key"}
    named = idempotency.read(body["idempotency_key"], operation="payment", method="POST", path="/v1/payments", query="", body=alone)
    return order(body, named)


def texts(body: Mapping[str, Any]) -> Texts:
    """The checked body's texts."""
    return Texts(body.get("memo"), body.get("reference"), body.get("context"))


def dry_run(decision: Decision, livemode: bool) -> dict[str, Any]:
    return {
        "object": "dry_run",
        "livemode": livemode,
        "id": None,
        "outcome": decision.outcome,
        "layer": decision.layer,
        "code": decision.code,
        "detail": decision.detail,
        "reasons": list(decision.reasons),
        "policies": list(decision.policies),
        "shadows": list(decision.shadows),
        "remaining": list(decision.remaining),
        "rail": decision.rail,
        "alternatives": list(decision.alternatives),
    }


def payment(row: Payment, about: Mapping[str, Any]) -> dict[str, Any]:
    """`about` is what `rails.queries` read beside the row."""

    def money(amount: int) -> dict[str, Any]:
        return {"amount": amount, "currency": row.currency}

    decision = about["decision"]
    return {
        "id": ids.wire("pay", row.id),
        "object": "payment",
        "livemode": row.livemode,
        "status": row.status,
        "code": row.code,
        "project": ids.wire("prj", row.project_id),
        "agent": ids.wire("agt", row.agent_id),
        "mandate": row.mandate_id and ids.wire("mnd", row.mandate_id),
        "wallet": row.wallet_id and ids.wire("wal", row.wallet_id),
        "counterparty": row.counterparty_id and ids.wire("ctp", row.counterparty_id),
        "account": row.account_id,
        "amount": money(row.amount),
        "purpose": row.purpose,
        "rail": row.rail,
        "provider_id": row.provider_id,
        "target": about["texts"].get(row.target),
        "memo": about["texts"].get(row.memo),
        "reference": about["texts"].get(row.reference),
        "captured": money(row.captured),
        "refunded": money(row.refunded),
        "refunding": money(row.refunding),
        "refunds": [refund(one, row) for one in about["refunds"]],
        "approval": about["approval"],
        "decision": {
            "id": ids.wire("dec", decision.id),
            "outcome": decision.outcome,
            "layer": decision.layer,
            "code": decision.code,
            "reasons": decision.reasons,
            "policies": decision.policies,
            "shadows": decision.shadows,
        },
        "receipt": about["receipt"],
        "execute_at": row.execute_at and clock.stamp(row.execute_at),
        "submit_by": clock.stamp(row.submit_by),
        "created_at": clock.stamp(row.created_at),
        "updated_at": clock.stamp(row.updated_at),
    }


def refund(row: Refund, of: Payment) -> dict[str, Any]:
    return {
        "id": ids.wire("ref", row.id),
        "object": "refund",
        "livemode": of.livemode,
        "payment": ids.wire("pay", of.id),
        "amount": {"amount": row.amount, "currency": of.currency},
        "status": row.status,
        "code": row.code,
        "provider_id": row.provider_id,
        "created_at": clock.stamp(row.created_at),
    }
