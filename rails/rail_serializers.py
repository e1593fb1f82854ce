"""Rails, the accounts at them, and what came of holding their records against ours, as the API reads and shows them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rest_framework import serializers

from codespar.lib import clock, ids
from codespar.rest import fields
from codespar.vault.models import RailAccount
from rails.actions.discrepancies import VERDICTS
from rails.adapters.base import Capabilities
from rails.models import Discrepancy, DiscrepancyResolution, Reconciliation


class CredentialIn(fields.Strict):
    """What the provider gave: `api_key`, what its notices are signed with, and in `secrets` what its rail needs besides (docs/rails.md)."""

    api_key = fields.Text(longest=500, required=False)
    webhook_secret = fields.Text(longest=500, required=False)
    secrets = fields.Texts(longest=500, required=False)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        named = {name: body.pop(name) for name in ("api_key", "webhook_secret") if name in body}
        return body | {"secrets": {**body.get("secrets", {}), **named}}


class RailAccountIn(CredentialIn):
    """An account at a rail, with its credential."""

    rail = fields.Slug()
    account = fields.Text(longest=100)


class CheckOut(serializers.Serializer[Any]):
    """One thing that must hold before an account carries money."""

    name = serializers.CharField()
    ok = serializers.BooleanField()
    detail = serializers.CharField()


class RailAccountOut(serializers.Serializer[Any]):
    """`ready`: it passed all `checks` when it was checked last. No payment leaves over an account that is not."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    rail = serializers.CharField()
    account = serializers.CharField()
    ready = serializers.BooleanField()
    checks = CheckOut(many=True)
    checked_at = serializers.CharField(allow_null=True)
    created_at = serializers.CharField()


class RollbackOut(serializers.Serializer[Any]):
    state = serializers.CharField()
    action = serializers.CharField()
    how = serializers.CharField()
    within_seconds = serializers.IntegerField(allow_null=True)
    certain = serializers.BooleanField()


class BreakerOut(serializers.Serializer[Any]):
    """`state` is closed, open or half-open; `since` is when it opened."""

    operation = serializers.CharField()
    state = serializers.CharField()
    since = serializers.CharField(allow_null=True)


class RailOut(serializers.Serializer[Any]):
    """A rail as it is now. `account` is the organisation's own there, in the token's mode, or null."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    account = serializers.CharField(allow_null=True)
    account_types = serializers.ListField(child=serializers.CharField())
    currencies = serializers.ListField(child=serializers.CharField(), allow_null=True)
    captures = serializers.BooleanField()
    can_void = serializers.BooleanField()
    can_refund = serializers.BooleanField()
    partial_refund = serializers.BooleanField()
    query_by_key = serializers.BooleanField()
    key_lifetime_seconds = serializers.IntegerField(allow_null=True)
    acceptance_window_seconds = serializers.IntegerField()
    settlement_seconds = serializers.IntegerField()
    rollback = RollbackOut(many=True)
    breakers = BreakerOut(many=True)


class ReconciliationOut(serializers.Serializer[Any]):
    """`closing` is the provider's balance and `expected` ours, in minor units; null where the rail tells none. `open` counts cases."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    rail = serializers.CharField()
    status = serializers.CharField()
    code = serializers.CharField(allow_null=True)
    lines = serializers.IntegerField()
    matched = serializers.IntegerField()
    pending = serializers.IntegerField()
    opened = serializers.IntegerField()
    open = serializers.IntegerField()
    closing = serializers.IntegerField(allow_null=True)
    expected = serializers.IntegerField(allow_null=True)
    started_at = serializers.CharField()
    finished_at = serializers.CharField(allow_null=True)


class ResolutionOut(serializers.Serializer[Any]):
    verdict = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    by = serializers.CharField()
    at = serializers.CharField()


class DiscrepancyOut(serializers.Serializer[Any]):
    """`kind` is missing, extra, amount, currency, payee, status, duplicate, late, incomplete or balance."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    rail = serializers.CharField()
    kind = serializers.CharField()
    about = serializers.CharField()
    payment = serializers.CharField(allow_null=True)
    refund = serializers.CharField(allow_null=True)
    ours = serializers.DictField()
    theirs = serializers.DictField()
    run = serializers.CharField()
    opened_at = serializers.CharField()
    resolution = ResolutionOut(allow_null=True)


class ResolveIn(fields.Strict):
    """`verdict` says whose records were right: ours, theirs, or both (they speak of two things)."""

    verdict = fields.one_of(*VERDICTS)
    reason = fields.Text(longest=2000, lines=True)


def rail(name: str, found: Capabilities, account: str | None, states: Sequence[Mapping[str, Any]], livemode: bool) -> dict[str, Any]:
    """A rail's declaration, with what is true of it now."""
    told = ("captures", "can_void", "can_refund", "partial_refund", "query_by_key", "key_lifetime_seconds", "acceptance_window_seconds")
    return {
        "id": name,
        "object": "rail",
        "livemode": livemode,
        "account": account,
        "account_types": list(found.account_types),
        "currencies": None if found.currencies is None else list(found.currencies),
        **{what: getattr(found, what) for what in told},
        "settlement_seconds": found.settlement_seconds,
        "rollback": [asdict(step) for step in found.rollback],
        "breakers": [{**state, "since": state["since"] and clock.stamp(state["since"])} for state in states],
    }


def reconciliation(row: Reconciliation) -> dict[str, Any]:
    told = ("livemode", "rail", "status", "code", "lines", "matched", "pending", "opened", "closing", "expected")
    return {
        "id": ids.wire("rcn", row.id),
        "object": "reconciliation",
        **{name: getattr(row, name) for name in told},
        "open": row.cases,
        "started_at": clock.stamp(row.started_at),
        "finished_at": row.finished_at and clock.stamp(row.finished_at),
    }


def discrepancy(row: Discrepancy, resolution: DiscrepancyResolution | None, texts: Mapping[str, str]) -> dict[str, Any]:
    """`texts` are the openings of the row's commitments, by commitment."""
    payees = json.loads(texts.get(row.payees_commit or "", "{}"))
    return {
        "id": ids.wire("dsc", row.id),
        "object": "discrepancy",
        "livemode": row.livemode,
        "status": "resolved" if resolution else "open",
        "rail": row.rail,
        "kind": row.kind,
        "about": row.subject,
        "payment": row.payment_id and ids.wire("pay", row.payment_id),
        "refund": row.refund_id and ids.wire("ref", row.refund_id),
        **{side: getattr(row, side) | ({"payee": payees[side]} if side in payees else {}) for side in ("ours", "theirs")},
        "run": ids.wire("rcn", row.run_id),
        "opened_at": clock.stamp(row.opened_at),
        "resolution": resolution
        and {
            "verdict": resolution.verdict,
            "reason": texts.get(resolution.reason_commit),
            "by": ids.wire("mem", resolution.member_id),
            "at": clock.stamp(resolution.at),
        },
    }


def rail_account(row: RailAccount) -> dict[str, Any]:
    return {
        "id": ids.wire("key", row.id),
        "object": "rail_account",
        "livemode": row.livemode,
        "rail": row.rail,
        "account": row.provider_account,
        "ready": row.ready,
        "checks": row.checks,
        "checked_at": row.checked_at and clock.stamp(row.checked_at),
        "created_at": clock.stamp(row.created_at),
    }
