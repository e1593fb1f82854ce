"""Endpoints, deliveries and events, as the API reads and shows them."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from rest_framework import serializers

from codespar.alerts import events
from codespar.alerts.models import WebhookDelivery, WebhookEndpoint, WebhookSecret
from codespar.lib import clock, ids
from codespar.lib.errors import Invalid
from codespar.rest import fields

_DAY = 24 * 3600


def _types(**options: Any) -> fields.Several:
    return fields.Several(fields.one_of(*events.TYPES), **options)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid("This is true or false.")
    return value


class EndpointIn(fields.Strict):
    """Without `types` it is told of everything that needs a person."""

    url = fields.Text(longest=2000)
    types = _types(required=False)


class EndpointChangeIn(fields.Strict):
    """What is left out stays as it is."""

    url = fields.Text(longest=2000, required=False)
    types = _types(required=False)
    disabled = fields.Read(_flag, schema={"type": "boolean"}, required=False)


class RotateSecretIn(fields.Strict):
    """Until the overlap is over, the old secret signs too."""

    overlap_seconds = fields.Whole(least=0, most=7 * _DAY, required=False)


class ReplayIn(fields.Strict):
    """From where on everything is sent again: an event, or a time."""

    event = fields.Id("evt", required=False)
    since = fields.Moment(required=False)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        if len(body) != 1:
            raise serializers.ValidationError({"": "Give either event or since."})
        return body


class SecretOut(serializers.Serializer[Any]):
    """When it began to sign, and when it ends; the secret itself is shown once only."""

    id = serializers.CharField()
    created_at = serializers.CharField()
    ends_at = serializers.CharField(allow_null=True)


class EndpointOut(serializers.Serializer[Any]):
    """`status` is enabled, disabled, gone (it answered 410) or deleted."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    url = serializers.CharField()
    types = serializers.ListField(child=serializers.CharField())
    secrets = SecretOut(many=True)
    created_at = serializers.CharField()


class NewEndpointOut(EndpointOut):
    """`secret` is shown this once."""

    secret = serializers.CharField()


class DeliveryOut(serializers.Serializer[Any]):
    """`status` is pending, delivered or failed; `answer` the last answer's status, and `failure` why there was none."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    status = serializers.CharField()
    type = serializers.CharField()
    attempts = serializers.IntegerField()
    next_at = serializers.CharField(allow_null=True)
    answer = serializers.IntegerField(allow_null=True)
    failure = serializers.CharField(allow_null=True)
    tried_at = serializers.CharField(allow_null=True)
    created_at = serializers.CharField()


class EventOut(serializers.Serializer[Any]):
    """What an endpoint is told, and the ledger entry that says more."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    type = serializers.CharField()
    timestamp = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # a member that DRF also uses as a name
    entry = serializers.CharField()
    seq = serializers.IntegerField()


def endpoint(row: WebhookEndpoint, kept: Sequence[WebhookSecret]) -> dict[str, Any]:
    return {
        "id": ids.wire("whe", row.id),
        "object": "webhook_endpoint",
        "livemode": row.livemode,
        "status": row.status,
        "url": row.url,
        "types": row.types,
        "secrets": [
            {"id": ids.wire("key", one.id), "created_at": clock.stamp(one.created_at), "ends_at": _moment(one.ends_at)} for one in kept
        ],
        "created_at": clock.stamp(row.created_at),
    }


def delivery(row: WebhookDelivery, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.wire("evt", row.id),
        "object": "webhook_delivery",
        "livemode": livemode,
        **{name: getattr(row, name) for name in ("status", "type", "attempts", "answer", "failure")},
        "next_at": _moment(row.next_at),
        "tried_at": _moment(row.tried_at),
        "created_at": clock.stamp(row.created_at),
    }


def event(found: Mapping[str, Any], livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.wire("evt", UUID(found["id"])),
        "object": "event",
        "livemode": livemode,
        "type": found["type"],
        "timestamp": found["at"],
        "data": found["data"],
        "entry": ids.wire("ent", UUID(found["entry_id"])),
        "seq": found["seq"],
    }


def _moment(value: Any) -> str | None:
    return value and clock.stamp(value)
