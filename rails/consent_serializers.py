"""Consents, and what is read under them, as the API reads and shows them."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from codespar.lib import clock, ids
from codespar.lib.errors import Invalid
from codespar.rest import fields
from rails.actions.consents import PAY, SCOPES
from rails.models import Consent
from wallets.serializers import MoneyOut

REASON = fields.Text(longest=2000, lines=True)


class ConsentIn(fields.Strict):
    """A consent to read (`accounts.read` and what else of `balances.read`, `transactions.read`), or one to pay (`payments.initiate` alone).

    One to pay says the most of one payment and of all of them, in one currency.
    """

    rail = fields.Slug()
    scopes = fields.Several(fields.one_of(*SCOPES))
    expires_at = fields.Moment()
    max_payment = fields.Money(required=False)
    max_total = fields.Money(required=False)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        limits: list[Any] = [body.get(name) for name in ("max_payment", "max_total")]
        if (PAY in body["scopes"]) != all(limits) or any(limits) != all(limits):
            raise serializers.ValidationError({"max_payment": "A consent to pay has max_payment and max_total, one to read has neither."})
        if all(limits) and limits[0]["currency"] != limits[1]["currency"]:
            raise serializers.ValidationError({"max_total": "Both limits are in one currency."})
        most, total = (limit["amount"] if limit else None for limit in limits)
        currency = limits[0]["currency"] if limits[0] else None
        asked = {name: body[name] for name in ("rail", "scopes", "expires_at")}
        return asked | {"max_payment": most, "max_total": total, "currency": currency}


class ConsentOut(serializers.Serializer[Any]):
    """`status` is requested, awaiting_authorisation, authorised, expired, rejected, failed or revoked.

    While it awaits authorisation the account's holder says yes or no at `authorise_url`, which is the provider's. `provider_knows` says
    whether the provider has been told that it was revoked, or said so itself.
    """

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    rail = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    status = serializers.CharField()
    code = serializers.CharField(allow_null=True)
    max_payment = MoneyOut(allow_null=True)
    max_total = MoneyOut(allow_null=True)
    authorise_url = serializers.CharField(allow_null=True)
    expires_at = serializers.CharField()
    requested_by = serializers.CharField()
    revoked_at = serializers.CharField(allow_null=True)
    revoked_by = serializers.CharField(allow_null=True)
    provider_knows = serializers.BooleanField()
    created_at = serializers.CharField()


class BankAccountOut(serializers.Serializer[Any]):
    """An account as its bank tells it: `type` is the bank's word."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    type = serializers.CharField()
    bank = serializers.CharField()
    branch = serializers.CharField(allow_null=True)
    number = serializers.CharField()


class BankBalanceOut(serializers.Serializer[Any]):
    """What an account holds, as of the bank's own moment `at`."""

    account = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    available = MoneyOut()
    blocked = MoneyOut()
    invested = MoneyOut()
    at = serializers.CharField()


class BankTransactionOut(serializers.Serializer[Any]):
    """One movement of an account, in the bank's words. `direction` is in or out; amounts are positive."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    account = serializers.CharField()
    direction = serializers.CharField()
    amount = MoneyOut()
    at = serializers.CharField()
    description = serializers.CharField()
    party = serializers.CharField(allow_null=True)


def consent(row: Consent) -> dict[str, Any]:
    expired = row.status == "authorised" and clock.now() >= row.expires_at
    return {
        "id": ids.wire("cns", row.id),
        "object": "consent",
        "livemode": row.livemode,
        "rail": row.rail,
        "scopes": sorted(row.scopes),
        "status": "expired" if expired else row.status,
        "code": row.code,
        "max_payment": _limit(row.max_payment, row.currency),
        "max_total": _limit(row.max_total, row.currency),
        "authorise_url": row.address if row.status == "awaiting_authorisation" else None,
        "expires_at": clock.stamp(row.expires_at),
        "requested_by": row.requested_by,
        "revoked_at": row.revoked_at and clock.stamp(row.revoked_at),
        "revoked_by": row.revoked_by,
        "provider_knows": row.told_at is not None,
        "created_at": clock.stamp(row.created_at),
    }


def _limit(amount: int | None, currency: str | None) -> dict[str, Any] | None:
    return None if amount is None else {"amount": amount, "currency": currency}


def told(kind: str, row: Mapping[str, Any], livemode: bool) -> dict[str, Any]:
    """One account, balance or transaction of a bank's."""
    return {**row, "object": kind, "livemode": livemode}


def page_number(cursor: str | None) -> int:
    """The page that a cursor names, the first without one. Raises `Invalid`."""
    if cursor is None:
        return 1
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 6 or int(cursor) < 1:
        raise Invalid("cursor comes from next_page_url and is not made by hand.")
    return int(cursor)
