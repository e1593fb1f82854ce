"""Notices from rails: stored raw by the web, verified here, and taken as a hint to ask. A notice alone moves nothing."""

from uuid import UUID

import structlog

from codespar.lib import canonical, db, ids
from codespar.lib.errors import CodesparError, NotFound
from rails import accounts, hints
from rails.adapters import ADAPTERS, adapter_for
from rails.adapters.base import Notice, WebhookRefused
from rails.models import WebhookMessage

log = structlog.get_logger(__name__)
BATCH = 50
LARGEST = 65_536


def store(*, org: UUID, rail: str, livemode: bool, headers: dict[str, str], body: bytes) -> None:
    """Keep what arrived. Raises `NotFound` when this organisation has no account at that rail. Twice is once."""
    if rail not in ADAPTERS or not ADAPTERS[rail].capabilities.webhook_headers:
        raise NotFound("There is no such rail, or it sends no notices.")
    kept = {name: headers.get(name, "")[:500] for name in ADAPTERS[rail].capabilities.webhook_headers}
    # One delivery is told from another by all that it says, so that a forged one cannot take a true one's place.
    message = canonical.sha256(canonical.dumps(kept) + body).hex()
    if not db.call("webhook_store", org, ids.new(), rail, livemode, message, kept, body):
        raise NotFound("There is no such rail account.")


def read_new() -> set[str]:
    """Verify what is new and act on it. Returns the rails at which money came in."""
    paid_in: set[str] = set()
    for org, message in db.rows("webhooks_new", BATCH):
        try:
            paid_in |= _read(org, message)
        except (CodesparError, LookupError, ValueError) as error:
            # Ours to mend, not the notice's fault: it stays, is read again, and holds up nobody else's.
            log.error("webhook_unread", org=str(org), message=str(message), error=type(error).__name__)
    return paid_in


def _read(org: UUID, message: UUID) -> set[str]:
    with db.tenant(org):
        row = WebhookMessage.objects.for_org(org).filter(id=message).first()
    if row is None or row.status != "received":
        return set()
    connection = accounts.connection(org, row.rail, row.livemode)
    secret = connection.secrets["webhook_secret"]
    try:
        found = adapter_for(row.rail, connection).parse_webhook(row.headers, bytes(row.body), [secret], row.received_at)
    except WebhookRefused as error:
        log.warning("webhook_refused", rail=row.rail, org=str(org), error=type(error).__name__)
        db.call("webhook_done", org, message, "refused")
        return set()
    for notice in found:
        _act(org, row, connection.account, notice)
    db.call("webhook_done", org, message, "verified")
    return {row.rail for notice in found if notice.kind == "deposit"}


def _act(org: UUID, row: WebhookMessage, account: str, notice: Notice) -> None:
    if notice.kind == "deposit":
        db.call("credit_notice", org, ids.new(), row.rail, account, notice.provider_id)
    elif db.call("work_now", org, row.rail, row.livemode, notice.key, notice.provider_id):
        hints.work(row.rail)
