"""Stripe's webhooks (https://docs.stripe.com/webhooks): whether a message is authentic and fresh, and what it is about."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rails.adapters import reading
from rails.adapters.base import KEY, Notice, WebhookRefused
from rails.adapters.card_judging import INTENT_ID, REFUND_ID
from rails.adapters.exchange import LARGEST_BODY
from rails.adapters.notices import TOLERANCE

HEADERS = ("stripe-signature",)
TOPUP_ID = r"tu_[A-Za-z0-9_]{1,128}"
# What a notice is about: its kind, and the form of its id.
FORMS = {"payment_intent": ("payment", INTENT_ID), "refund": ("refund", REFUND_ID), "topup": ("deposit", TOPUP_ID)}
# The objects that our events are about; whatever else somebody has subscribed us to is left unread.
OBJECTS = ("charge", *FORMS)


def parse(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime, account: str) -> tuple[Notice, ...]:
    """The events of an authentic message for this account; raises `WebhookRefused`. None when it is about something else."""
    _authenticate(headers, body, secrets, now)
    try:
        event = reading.parse_object(body, fractions=True)
        if event.get("account", account) != account:
            raise reading.Malformed("account")
        return _notices(event)
    except ValueError:
        raise WebhookRefused from None


def _authenticate(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> None:
    """Every signature is compared with every secret, without an early way out. A secret is `whsec_` and more, else ValueError."""
    if not all(re.fullmatch("whsec_[!-~]+", secret) for secret in secrets):
        raise ValueError("a webhook secret is whsec_ followed by what the provider shows")
    found = {name.lower(): value for name, value in headers.items()}.get(HEADERS[0], "")[:4096]
    pairs = [part.strip().partition("=")[::2] for part in found.split(",")]
    stamp = next((value for name, value in pairs if name == "t"), "")
    given = [value for name, value in pairs if name == "v1"]
    signed = f"{stamp}.".encode(errors="replace") + body[:LARGEST_BODY]
    wanted = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets]
    equal = [hmac.compare_digest(want, text.encode(errors="replace")) for want in wanted for text in given]
    fresh = re.fullmatch("[0-9]{1,12}", stamp) is not None and abs(now.timestamp() - int(stamp)) <= TOLERANCE
    if not (fresh and any(equal) and len(body) <= LARGEST_BODY):
        raise WebhookRefused


def _notices(event: dict[str, Any]) -> tuple[Notice, ...]:
    event_id, data = reading.match(event, "id", r"evt_[A-Za-z0-9_]{1,128}"), event.get("data")
    about = data.get("object") if isinstance(data, dict) else None
    if not isinstance(about, dict):
        raise reading.Malformed("data.object is not an object")
    kind = reading.text(event, "type").partition(".")[0]
    if kind not in OBJECTS or about.get("object") not in OBJECTS or (kind == "topup" and event["type"] != "topup.succeeded"):
        return ()
    if about["object"] == "charge":
        return _of_charge(event_id, about)
    return (_notice(event_id, about),)


def _of_charge(event_id: str, charge: dict[str, Any]) -> tuple[Notice, ...]:
    """A charge that was refunded names its refunds, or nothing but its intent; one event may then be several notices."""
    rows = charge["refunds"].get("data") if isinstance(charge.get("refunds"), dict) else None
    found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    if not found and charge.get("payment_intent") is None:
        return ()
    if not found:
        intent = {"object": "payment_intent", "id": charge.get("payment_intent"), "metadata": charge.get("metadata")}
        return (_notice(event_id, intent),)
    return tuple(_notice(event_id if len(found) == 1 else f"{event_id}.{row.get('id')}", row) for row in found)


def _notice(notice_id: str, about: dict[str, Any]) -> Notice:
    kind, form = FORMS.get(reading.text(about, "object"), ("", ""))
    if not kind:
        raise reading.Malformed("object is not one that a notice is about")
    key = None if kind == "deposit" else our_key(about)
    return Notice(id=notice_id, kind=kind, provider_id=reading.match(about, "id", form), key=key)


def our_key(found: dict[str, Any]) -> str | None:
    """Our key in the metadata of it, None without one of ours."""
    names = found.get("metadata")
    key = names.get("codespar_key") if isinstance(names, dict) else None
    return key if isinstance(key, str) and KEY.fullmatch(key) else None
