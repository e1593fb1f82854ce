"""Ledger entries as the API shows them."""

import base64
import json
from typing import Any

from rest_framework import serializers

from codespar.lib import clock, ids
from ledger.models import Entry


class EntryOut(serializers.Serializer[Any]):
    """One record: `content_bytes` and `leaf` are base64 of the exact bytes, `content` is the same content to read."""

    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    seq = serializers.IntegerField()
    kind = serializers.CharField()
    at = serializers.CharField()
    actor = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_null=True)
    subject = serializers.CharField()
    kid = serializers.CharField()
    prev = serializers.CharField()
    hash = serializers.CharField()
    sig = serializers.CharField()
    content = serializers.DictField()
    content_bytes = serializers.CharField()
    leaf = serializers.CharField()


def render(entry: Entry) -> dict[str, Any]:
    """An entry, whole: everything that somebody needs to check it alone."""
    content = json.loads(bytes(entry.content))
    return {
        "id": ids.wire("ent", entry.id),
        "object": "ledger_entry",
        "livemode": content["livemode"],
        "seq": entry.seq,
        "kind": entry.kind,
        "at": clock.stamp(entry.at),
        "actor": content["actor"],
        "on_behalf_of": content["on_behalf_of"],
        "subject": content["subject"],
        "kid": entry.kid,
        "prev": bytes(entry.prev).hex(),
        "hash": bytes(entry.hash).hex(),
        "sig": _base64(entry.sig),
        "content": content,
        "content_bytes": _base64(entry.content),
        "leaf": _base64(entry.leaf),
    }


def receipt(entry: Entry) -> dict[str, Any]:
    """The entry as the proof that an answer carries: check `sig` over the content, and `hash` over the leaf."""
    return {
        "entry": ids.wire("ent", entry.id),
        "seq": entry.seq,
        "kid": entry.kid,
        "hash": bytes(entry.hash).hex(),
        "sig": _base64(entry.sig),
        "content": _base64(entry.content),
        "leaf": _base64(entry.leaf),
    }


class ReceiptOut(serializers.Serializer[Any]):
    """The record that proves this answer; `content` and `leaf` are base64 of the exact bytes."""

    entry = serializers.CharField()
    seq = serializers.IntegerField()
    kid = serializers.CharField()
    hash = serializers.CharField()
    sig = serializers.CharField()
    content = serializers.CharField()
    leaf = serializers.CharField()


def _base64(data: Any) -> str:
    return base64.b64encode(bytes(data)).decode()
