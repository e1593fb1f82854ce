"""Mandates, counterparties and policies as the API reads and shows them. Amounts are minor units."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from codespar.lib import clock, ids, payees
from codespar.lib.errors import Invalid
from codespar.lib.windows import render as render_windows
from codespar.rest import fields
from mandates import documents, scopes
from mandates.models import (
    Counterparty,
    CounterpartyVersion,
    Mandate,
    MandateUsage,
    Policy,
    PolicyActivation,
    PolicyVersion,
    Revocation,
    Stop,
    StopLift,
)


class AccountIn(fields.Strict):
    """Where a counterparty is paid, and the rails that can pay it. The value is kept in the normal form of its type."""

    id = fields.Id("acc", required=False)
    type = fields.one_of(*payees.KINDS)
    value = fields.Text(longest=140)
    rails = fields.Several(fields.Slug(), required=False)

    def validate(self, account: dict[str, Any]) -> dict[str, Any]:
        try:
            value = payees.normal(account["type"], account["value"])
        except Invalid as error:
            raise serializers.ValidationError({"value": error.detail}) from error
        return {"rails": list(payees.RAILS[account["type"]]), **account, "value": value}


class CounterpartyIn(fields.Strict):
    name = fields.Text(longest=140)
    country = fields.Country(required=False)
    category = fields.Slug(required=False)
    accounts = AccountIn(many=True)

    def validate_accounts(self, accounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not 1 <= len(accounts) <= 50 or len({account["value"] for account in accounts}) != len(accounts):
            raise serializers.ValidationError("A counterparty has 1 to 50 accounts, each value once.")
        return accounts


class CounterpartyChangeIn(CounterpartyIn):
    from_version = fields.Whole(least=1, most=1_000_000)


class VersionIn(fields.Strict):
    from_version = fields.Whole(least=1, most=1_000_000)


class MandateIn(fields.Strict):
    """What is left out does not constrain; amount, currency and expiry are always there."""

    agent = fields.Id("agt")
    profile = fields.one_of("pure", "extended", required=False)
    currency = fields.Currency()
    max_amount = fields.Minor()
    budget = fields.Minor(required=False)
    max_uses = fields.Whole(least=1, most=1_000_000_000, required=False)
    purposes = fields.Several(fields.Slug(), required=False)
    counterparties = fields.Several(fields.Id("ctp"), required=False)
    countries = fields.Several(fields.Country(), required=False)
    categories = fields.Several(fields.Slug(), required=False)
    rails = fields.Several(fields.Slug(), required=False)
    not_before = fields.Moment(required=False)
    expires_at = fields.Moment()
    time_windows = fields.Windows(required=False)


REASON = fields.Text(longest=2000, lines=True)


class ReasonIn(fields.Strict):
    reason = fields.Text(longest=2000, lines=True)


class StopIn(ReasonIn):
    """`id` names one of the scope: a wire id, or a rail. Your own organisation, and the platform, need none."""

    scope = fields.one_of(*scopes.STOPPABLE)
    id = fields.Text(longest=64, required=False)


class RevocationIn(ReasonIn):
    scope = fields.one_of(*scopes.REVOCABLE)
    id = fields.Text(longest=64, required=False)


class PolicyIn(fields.Strict):
    name = fields.Text(longest=100)
    scope = fields.one_of("org", "project", "agent")
    scope_id = fields.Text(longest=40, required=False)
    document = fields.Read(lambda value: documents.normalise(value, ""), schema=documents.SCHEMA)


class PolicyVersionIn(fields.Strict):
    document = fields.Read(lambda value: documents.normalise(value, ""), schema=documents.SCHEMA)


class ActivateIn(fields.Strict):
    version = fields.Whole(least=1, most=1_000_000)
    state = fields.one_of("active", "shadow", "retired", required=False)


class AccountOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.CharField()
    value = serializers.CharField()
    rails = serializers.ListField(child=serializers.CharField())


class CounterpartyOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    country = serializers.CharField(allow_null=True)
    category = serializers.CharField(allow_null=True)
    accounts = AccountOut(many=True)
    created_at = serializers.CharField()


class MandateOut(serializers.Serializer[Any]):
    """`credential` is the signed mandate itself; `status` is active, paused, revoked or expired."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    project = serializers.CharField()
    agent = serializers.CharField()
    profile = serializers.CharField()
    currency = serializers.CharField()
    max_amount = serializers.IntegerField()
    budget = serializers.IntegerField(allow_null=True)
    max_uses = serializers.IntegerField(allow_null=True)
    purposes = serializers.ListField(child=serializers.CharField(), allow_null=True)
    counterparties = serializers.ListField(child=serializers.CharField(), allow_null=True)
    countries = serializers.ListField(child=serializers.CharField(), allow_null=True)
    categories = serializers.ListField(child=serializers.CharField(), allow_null=True)
    rails = serializers.ListField(child=serializers.CharField(), allow_null=True)
    time_windows = serializers.ListField(child=serializers.DictField(), allow_null=True)
    not_before = serializers.CharField(allow_null=True)
    expires_at = serializers.CharField()
    spent = serializers.IntegerField()
    uses = serializers.IntegerField()
    credential = serializers.CharField()
    kid = serializers.CharField()
    revocation = serializers.DictField(allow_null=True)
    created_at = serializers.CharField()


class StopOut(serializers.Serializer[Any]):
    """`status` is active, lifted, or unrecorded: the flag holds, and its signed record follows."""

    id = serializers.CharField(allow_null=True)
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    scope = serializers.CharField()
    target = serializers.CharField()
    initiator = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    at = serializers.CharField(allow_null=True)
    entry = serializers.CharField(allow_null=True)
    receipt = serializers.CharField(allow_null=True)
    lifted = serializers.DictField(allow_null=True)


class RevocationOut(serializers.Serializer[Any]):
    """`receipt` is the signed revocation receipt: an ES256 JWS that verifies with the published keys."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    scope = serializers.CharField()
    target = serializers.CharField()
    initiator = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    at = serializers.CharField()
    entry = serializers.CharField()
    receipt = serializers.CharField()


class PolicyOut(serializers.Serializer[Any]):
    """`active_version` is what is in force, `shadow_version` what watches beside it; `versions` are all that were written."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    name = serializers.CharField()
    scope = serializers.CharField()
    scope_id = serializers.CharField()
    state = serializers.CharField()
    active_version = serializers.IntegerField(allow_null=True)
    shadow_version = serializers.IntegerField(allow_null=True)
    versions = serializers.ListField(child=serializers.DictField())
    created_at = serializers.CharField()


def counterparty(row: Counterparty, version: CounterpartyVersion) -> dict[str, Any]:
    return {
        "id": ids.wire("ctp", row.id),
        "object": "counterparty",
        "livemode": row.livemode,
        "status": row.status,
        "version": row.version,
        "name": row.name,
        "country": row.country,
        "category": row.category,
        "accounts": version.document["accounts"],
        "created_at": clock.stamp(row.created_at),
    }


def mandate(row: Mandate, usage: MandateUsage, revoked: bool, ending: Revocation | None) -> dict[str, Any]:
    expired = row.expires_at <= clock.now()
    status = "revoked" if revoked else "expired" if expired else "paused" if usage.paused else "active"
    return {
        "id": ids.wire("mnd", row.id),
        "object": "mandate",
        "livemode": row.livemode,
        "status": status,
        "project": ids.wire("prj", row.project_id),
        "agent": ids.wire("agt", row.agent_id),
        "profile": row.profile,
        "currency": row.currency,
        "max_amount": row.max_amount,
        "budget": row.budget,
        "max_uses": row.max_uses,
        "purposes": row.purposes,
        "counterparties": row.counterparties and [ids.wire("ctp", one) for one in row.counterparties],
        "countries": row.countries,
        "categories": row.categories,
        "rails": row.rails,
        "time_windows": row.time_windows
        and [{**shown, "tz": kept["tz"]} for shown, kept in zip(render_windows(row.time_windows), row.time_windows, strict=True)],
        "not_before": row.not_before and clock.stamp(row.not_before),
        "expires_at": clock.stamp(row.expires_at),
        "spent": usage.spent,
        "uses": usage.uses,
        "credential": row.credential,
        "kid": row.kid,
        "revocation": ending and revocation(ending, {}),
        "created_at": clock.stamp(row.created_at),
    }


def revocation(row: Revocation, reasons: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": ids.wire("rev", row.id),
        "object": "revocation",
        "livemode": row.livemode,
        "scope": row.scope,
        "target": row.target,
        "initiator": row.initiator,
        "reason": reasons.get(row.reason_commit),
        "at": clock.stamp(row.at),
        "entry": ids.wire("ent", row.entry_id),
        "receipt": row.receipt,
    }


def stop(row: Stop, lift: StopLift | None, reasons: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": ids.wire("stp", row.id),
        "object": "stop",
        "livemode": row.livemode,
        "status": "lifted" if lift else "active",
        "scope": row.scope,
        "target": row.target,
        "initiator": row.initiator,
        "reason": reasons.get(row.reason_commit),
        "at": clock.stamp(row.at),
        "entry": ids.wire("ent", row.entry_id),
        "receipt": row.receipt,
        "lifted": lift
        and {
            "by": lift.lifted_by,
            "reason": reasons.get(lift.reason_commit),
            "at": clock.stamp(lift.at),
            "entry": ids.wire("ent", lift.entry_id),
        },
    }


def flagged(livemode: bool, target: scopes.Target, initiator: str) -> dict[str, Any]:
    """A stop whose flag holds and whose record nobody could sign yet."""
    unknown = dict.fromkeys(("id", "reason", "at", "entry", "receipt", "lifted"))
    said = {"object": "stop", "livemode": livemode, "status": "unrecorded", "scope": target.scope, "target": target.name}
    return {**unknown, **said, "initiator": initiator}


def policy(row: Policy, versions: list[PolicyVersion], activations: list[PolicyActivation]) -> dict[str, Any]:
    """`activations` in their order. A version in shadow watches beside the one in force, until the next activation."""
    prefix = {"org": "org", "project": "prj", "agent": "agt"}[row.scope]
    newest = activations[-1] if activations else None
    ruling = next((a for a in reversed(activations) if a.state != "shadow"), newest)
    return {
        "id": ids.wire("pol", row.id),
        "object": "policy",
        "livemode": row.livemode,
        "name": row.name,
        "scope": row.scope,
        "scope_id": ids.wire(prefix, row.scope_id),
        "state": ruling.state if ruling else "draft",
        "active_version": ruling.version if ruling and ruling.state == "active" else None,
        "shadow_version": newest.version if newest and newest.state == "shadow" else None,
        "versions": [
            {
                "version": version.version,
                "document": documents.render(version.document),
                "author": version.author,
                "created_at": clock.stamp(version.created_at),
                "entry": ids.wire("ent", version.entry_id),
            }
            for version in versions
        ],
        "created_at": clock.stamp(row.created_at),
    }
