"""Deliveries as Standard Webhooks (standardwebhooks.com) has them: a secret, a body, and headers that prove both."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from codespar.lib import canonical

_PREFIX = "whsec_"


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def body(kind: str, at: str, data: Mapping[str, Any]) -> bytes:
    """`{type, timestamp, data}`: the same bytes at every attempt."""
    return canonical.dumps({"type": kind, "timestamp": at, "data": dict(data)})


def headers(event: str, now: datetime, content: bytes, whsecs: Iterable[str]) -> dict[str, str]:
    """The headers of one attempt, with a signature by each secret: HMAC-SHA256 of `id.timestamp.body`."""
    moment = str(int(now.timestamp()))
    signed = b".".join([event.encode(), moment.encode(), content])
    return {
        "webhook-id": event,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in whsecs),
        "content-type": "application/json",
        "user-agent": "codespar-webhooks/1",
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
