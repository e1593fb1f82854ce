"""Wallets as the API reads and shows them. Amounts are minor units."""

from typing import Any

from rest_framework import serializers

from codespar.lib import clock, ids
from codespar.rest import fields
from wallets.models import Account, Transfer


class WalletIn(fields.Strict):
    agent = fields.Id("agt")
    currency = fields.Currency()


class MoveIn(fields.Strict):
    amount = fields.Money()


class MoneyOut(serializers.Serializer[Any]):
    amount = serializers.IntegerField()
    currency = serializers.CharField()


class WalletOut(serializers.Serializer[Any]):
    """A wallet of an agent, or the organisation's main account (`kind` main, without agent and project)."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    kind = serializers.CharField()
    project = serializers.CharField(allow_null=True)
    agent = serializers.CharField(allow_null=True)
    currency = serializers.CharField()
    available = MoneyOut()
    held = MoneyOut()
    created_at = serializers.CharField()


class TransferOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    kind = serializers.CharField()
    debit = serializers.CharField()
    credit = serializers.CharField()
    amount = MoneyOut()
    mandate = serializers.CharField(allow_null=True)
    payment = serializers.CharField(allow_null=True)
    entry = serializers.CharField()
    created_at = serializers.CharField()


def wallet(row: Account) -> dict[str, Any]:
    return {
        "id": ids.wire("wal", row.id),
        "object": "wallet",
        "livemode": row.livemode,
        "kind": row.kind,
        "project": row.project_id and ids.wire("prj", row.project_id),
        "agent": row.agent_id and ids.wire("agt", row.agent_id),
        "currency": row.currency,
        "available": {"amount": row.available, "currency": row.currency},
        "held": {"amount": row.held, "currency": row.currency},
        "created_at": clock.stamp(row.created_at),
    }


def transfer(row: Transfer) -> dict[str, Any]:
    return {
        "id": ids.wire("tr", row.id),
        "object": "transfer",
        "livemode": row.livemode,
        "kind": row.kind,
        "debit": ids.wire("wal", row.debit_id),
        "credit": ids.wire("wal", row.credit_id),
        "amount": {"amount": row.amount, "currency": row.currency},
        "mandate": row.mandate_id and ids.wire("mnd", row.mandate_id),
        "payment": row.payment_id and ids.wire("pay", row.payment_id),
        "entry": ids.wire("ent", row.entry_id),
        "created_at": clock.stamp(row.created_at),
    }
