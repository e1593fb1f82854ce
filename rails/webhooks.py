"""Notices from rails: stored raw by the web, verified here, and taken as a hint to ask. A notice alone moves nothing."""

from uuid import UUID

import structlog

from codespar.lib import canonical, db, ids
from codespar.lib.errors import CodesparError, NotFound
from rails import accounts, hints
from rails.adapters.base import Notice, WebhookRefused
from rails.models import WebhookMessage

log = structlog.get_logger(__name__)
BATCH = 50
LARGEST = 65_536
# What of the request is kept: the three names of Standard Webhooks.
HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def store(*, org: UUID, rail: str, livemode: bool, headers: dict[str, str], body: bytes) -> None:
    """Keep what arrived. Raises `NotFound` when this organisation has no account at that rail. Twice is once."""
    kept = {name: headers.get(name, "")[:500] for name in HEADERS}
    # Two messages with one id are told apart by what they say, so that a forged one cannot take a true one's place.
    message = f"{kept['webhook-id']}:{canonical.sha256(body + kept['webhook-signature'].encode()).hex()[:16]}"
    if not db.call("webhook_store", org, ids.new(), rail, livemode, message, kept, body):
        raise NotFound("There is no such rail account.")


def read_new() -> int:
    """Verify what is new and act on it. Returns how many messages were read."""
    found = db.rows("webhooks_new", BATCH)
    for org, message in found:
        try:
            _read(org, message)
        except (CodesparError, LookupError, ValueError) as error:
            # Ours to mend, not the notice's fault: it stays, is read again, and holds up nobody else's.
            log.error("webhook_unread", org=str(org), message=str(message), error=type(error).__name__)
    return len(found)


def _read(org: UUID, message: UUID) -> None:
    with db.tenant(org):
        row = WebhookMessage.objects.for_org(org).filter(id=message).first()
    if row is None or row.status != "received":
        return
    adapter = accounts.adapter(org, row.rail, row.livemode)
    secret = accounts.webhook_secret(org, row.rail, row.livemode)
    try:
        notice = adapter.parse_webhook(row.headers, bytes(row.body), secret, row.received_at)
    except WebhookRefused as error:
        log.warning("webhook_refused", rail=row.rail, org=str(org), error=type(error).__name__)
        db.call("webhook_done", org, message, "refused")
        return
    _act(org, row, notice)
    db.call("webhook_done", org, message, "verified")


def _act(org: UUID, row: WebhookMessage, notice: Notice) -> None:
    if notice.type == "deposit.received":
        db.call("credit_notice", org, ids.new(), row.rail, notice.account, notice.provider_id)
    elif notice.key is not None and _is_hex(notice.key) and db.call("work_now", org, bytes.fromhex(notice.key)):
        hints.work()


def _is_hex(text: str) -> bool:
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
