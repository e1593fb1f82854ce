"""Standard Webhooks (https://www.standardwebhooks.com): whether a message is authentic and fresh."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from rails.adapters.base import WebhookRefused
from rails.adapters.exchange import LARGEST_BODY

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
TOLERANCE = 300  # seconds a webhook's timestamp may differ from our clock, either way


def authenticate(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> str:
    """The id of an authentic message, at most `TOLERANCE` seconds from `now`; anything else raises `WebhookRefused`.

    A secret is `whsec_` and base64, else ValueError. Every signature is compared with every key, without an early way out.
    """
    keys = [_hmac_key(text) for text in secrets]
    found = {name.lower(): value for name, value in headers.items()}
    message_id, stamp, signatures = (found.get(name, "") for name in HEADERS)
    given = signatures[:4096].split(" ")
    readable = re.fullmatch("[0-9]{1,12}", stamp) is not None and re.fullmatch(r"[!-~]{1,128}", message_id) is not None
    signed = f"{message_id}.{stamp}.".encode(errors="replace") + body[:LARGEST_BODY]
    wanted = [b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in keys]
    equal = [hmac.compare_digest(want, text.encode(errors="replace")) for want in wanted for text in given]
    fresh = readable and abs(now.timestamp() - int(stamp)) <= TOLERANCE
    if not (readable and fresh and any(equal) and len(body) <= LARGEST_BODY):
        raise WebhookRefused
    return message_id


def _hmac_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or not key:
        raise ValueError("a webhook secret is whsec_ followed by base64")
    return key
