"""One endpoint's turn: its chain read on, what is due sent, and what came of each attempt written down.

An event is told at least once, always under its own id: a process that dies between an answer and its row tells it again.
"""

import random
import time
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from codespar.alerts import signing
from codespar.alerts.models import WebhookEndpoint, WebhookSecret
from codespar.lib import clock, db, ids
from codespar.lib.errors import Unavailable
from codespar.lib.models import together
from codespar.vault import envelope, keys
from rails import booking, workers
from rails.adapters.exchange import Exchange, Reach, exchange

log = structlog.get_logger(__name__)
LEASE_SECONDS = 90
# Of one turn, which must end well within its lease: entries of the chain, deliveries, and seconds after which no other one begins.
ENTRIES, DELIVERIES, TURN_SECONDS = 1000, 16, 30.0
# Seconds until the next attempt, by how many there were; after the last of these a delivery has failed.
AGAIN_SECONDS = (5, 20, 80, 320, 1280, 5120, 20_480, 86_400)
JITTER = 0.2
GONE = 410


def turn(org: UUID, endpoint: UUID) -> None:
    """Tell one endpoint what is due, in the order in which it is due, until it does not hear, or its turn is over.

    The caller holds its lease. A crash leaves that to run out; so does a fault, which is raised.
    """
    over = time.monotonic() + TURN_SECONDS
    while due := db.call("webhook_work", org, endpoint, ENTRIES, DELIVERIES):
        if not _tell(org, endpoint, due, over):
            break
    db.call("webhook_release", org, endpoint, workers.identity())


def _tell(org: UUID, endpoint: UUID, due: list[dict[str, Any]], over: float) -> bool:
    """Send these. Returns whether all of them were heard, and in time."""
    [row], kept = together(
        org,
        (WebhookEndpoint, "id = %s", [str(endpoint)]),
        (WebhookSecret, "endpoint_id = %s AND (ends_at IS NULL OR ends_at > clock_timestamp()) ORDER BY created_at DESC", [str(endpoint)]),
    )
    whsecs = [_open(secret) for secret in kept]
    for delivery in due:
        db.release()
        answer = post(row.url, ids.wire("evt", UUID(delivery["id"])), signing.body(*(delivery[k] for k in ("type", "at", "data"))), whsecs)
        if not _note(row, delivery, answer) or time.monotonic() > over:
            return False
    return True


def post(url: str, event: str, content: bytes, whsecs: list[str]) -> Exchange:
    """One attempt: no redirect is followed, no address of this machine or of a private network is called (but see `reach`)."""
    deadline = time.monotonic() + settings.CONFIG.webhook_seconds
    headers = signing.headers(event, clock.now(), content, whsecs)
    return exchange("POST", url, credentials={}, headers=headers, body=content, deadline=deadline, reach=reach())


def reach() -> Reach:
    """Public addresses only; where the whole deployment is on this machine, a receiver may be there too."""
    return Reach.PUBLIC_OR_HERE if settings.CONFIG.on_this_machine else Reach.PUBLIC


def _note(row: WebhookEndpoint, delivery: dict[str, Any], answer: Exchange) -> bool:
    """Write down what came of an attempt. Returns whether the endpoint hears."""
    heard = answer.status is not None and 200 <= answer.status < 300
    again = None if heard else _again(delivery["attempts"])
    db.call("webhook_tried", row.org_id, row.id, UUID(delivery["id"]), answer.status, answer.failure or None, again)
    if answer.status == GONE:
        wire = ids.wire("whe", row.id)
        data = {"id": wire, "answer": GONE}
        booking.write(
            "webhook_endpoint_gone", org=row.org_id, livemode=row.livemode, kind="webhook_endpoint.disabled", subject=wire, data=data
        )
    elif not heard:
        log.warning("webhook_not_heard", endpoint=ids.wire("whe", row.id), answer=answer.status, failure=answer.failure, again=again)
    return heard


def _again(attempts: int) -> int | None:
    """Seconds until the next attempt after so many, with jitter; None when this was the last one."""
    if attempts >= len(AGAIN_SECONDS):
        return None
    return round(AGAIN_SECONDS[attempts] * random.uniform(1 - JITTER, 1 + JITTER))


def _open(secret: WebhookSecret) -> str:
    try:
        bound = keys.aad(secret.org_id, "webhook", secret.id.hex)
        return envelope.open_(bytes(secret.sealed), keys=keys.master(), aad=bound).decode()
    except envelope.VaultRefused as error:
        raise Unavailable("The key store did not open the endpoint's secret.") from error
