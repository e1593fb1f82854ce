"""The queue is the rows themselves: what is due, leased to one process at a time, in batches of one organisation and mode."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from codespar.lib import db
from rails import workers
from rails.booking import Head

BATCH = 32
# Longer than an attempt may take from its record to its answer.
LEASE_SECONDS = 45
T = TypeVar("T")


@dataclass(slots=True)
class Due:
    """What one organisation has due, by whose turn it is."""

    unsent: list[UUID] = field(default_factory=list)
    waiting: list[UUID] = field(default_factory=list)
    asked: list[UUID] = field(default_factory=list)
    rolled_back: list[UUID] = field(default_factory=list)
    refunds: list[UUID] = field(default_factory=list)


_PLACES = {
    "authorized": "unsent",
    "requires_approval": "waiting",
    "submitted": "asked",
    "uncertain": "asked",
    # Settled and due: it was stopped or its mandate revoked while it was on its way.
    "settled": "rolled_back",
}


def claim(owner: str, rail: str) -> dict[UUID, Due]:
    """Lease what is due on this rail and give it by organisation. Nobody else gets these rows until the lease is over."""
    found: dict[UUID, Due] = defaultdict(Due)
    for org, kind, row, status in db.rows("due_work", owner, BATCH, LEASE_SECONDS, rail):
        place = "refunds" if kind == "refund" else _PLACES.get(status)
        if place:
            getattr(found[org], place).append(row)
    return dict(found)


def batches(rows: list[T]) -> Iterator[list[T]]:
    """As many at once as one record takes."""
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def free_the_dead() -> None:
    """End the leases of processes that are proven gone: what they held is due again at once."""
    for (owner,) in db.rows("lease_owners"):
        if owner and workers.is_dead(owner):
            db.call("lease_end", owner)


_PAYMENTS = """
SELECT p.*, o.salt AS target_salt, o.value AS target_value, e.content, e.sig, e.kid AS entry_kid, m.credential, v.document AS counterparty,
       c.provider_consent,
       a.id AS attempt_id, a.send_by, a.worker,
       EXISTS (SELECT FROM attempt_results r WHERE r.org_id = a.org_id AND r.attempt_id = a.id AND r.source = 'answer') AS answered
FROM payments p
JOIN decisions d ON d.org_id = p.org_id AND d.id = p.decision_id
JOIN ledger_entries e ON e.org_id = d.org_id AND e.id = d.entry_id
JOIN mandates m ON m.org_id = p.org_id AND m.id = p.mandate_id
JOIN counterparty_versions v ON v.org_id = p.org_id AND v.counterparty_id = p.counterparty_id AND v.version = p.counterparty_version
LEFT JOIN consents c ON c.org_id = p.org_id AND c.id = p.consent_id
LEFT JOIN ledger_openings o ON o.org_id = p.org_id AND o.commit = decode(p.target, 'hex')
LEFT JOIN attempts a ON a.org_id = p.org_id AND a.payment_id = p.id AND a.operation = 'pay'
WHERE p.org_id = %s AND p.id = ANY(%s::uuid[]) ORDER BY p.id
"""
# The last capture or cancellation, and what the rail said to it.
_FOLLOWED = """
SELECT DISTINCT ON (a.payment_id) a.payment_id, a.operation, a.send_by, a.worker,
       (SELECT r.result FROM attempt_results r WHERE r.org_id = a.org_id AND r.attempt_id = a.id ORDER BY r.at DESC LIMIT 1) AS result
FROM attempts a WHERE a.org_id = %s AND a.payment_id = ANY(%s::uuid[]) AND a.operation IN ('capture', 'cancel')
ORDER BY a.payment_id, a.created_at DESC
"""
_KEYS = "SELECT kid, jwk FROM public_keys(%s)"
_HEAD = "SELECT seq, encode(hash, 'hex') AS hash FROM ledger_heads WHERE org_id = %s"
_REFUNDS = """
SELECT r.*, p.livemode, p.project_id, p.agent_id, p.currency, p.rail, p.rail_key AS payment_key,
       p.provider_id AS payment_provider_id, p.status AS payment_status,
       p.captured, p.refunded, a.id AS attempt_id, a.send_by, a.worker,
       EXISTS (SELECT FROM attempt_results x WHERE x.org_id = a.org_id AND x.attempt_id = a.id AND x.source = 'answer') AS answered
FROM refunds r
JOIN payments p ON p.org_id = r.org_id AND p.id = r.payment_id
LEFT JOIN attempts a ON a.org_id = r.org_id AND a.refund_id = r.id
WHERE r.org_id = %s AND r.id = ANY(%s::uuid[]) ORDER BY r.id
"""


@dataclass(frozen=True, slots=True)
class ToSend:
    """Payments with what sending them needs: the organisation's public keys, and its chain's head."""

    payments: list[dict[str, Any]]
    keys: list[dict[str, Any]]
    head: Head


def to_send(org: UUID, ids: list[UUID]) -> ToSend:
    """What sending these payments needs, read at once."""
    rows, keys, [head] = db.read(org, (_PAYMENTS, _of(org, ids)), (_KEYS, [str(org)]), (_HEAD, [str(org)]))
    return ToSend([_decoded(row) for row in rows], [{**key, "jwk": db.decode(key["jwk"])} for key in keys], Head(head))


def payments(org: UUID, ids: list[UUID]) -> list[dict[str, Any]]:
    """The payments with everything that sending or asking needs."""
    return _read(_PAYMENTS, org, ids)


def followed(org: UUID, ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """The last capture or cancellation of each payment that has one: {operation, send_by, worker, result or None}."""
    [rows] = db.read(org, (_FOLLOWED, _of(org, ids)))
    return {row["payment_id"]: row for row in rows}


def refunds(org: UUID, ids: list[UUID]) -> list[dict[str, Any]]:
    """The refunds with what their payments say."""
    return _read(_REFUNDS, org, ids)


def _read(query: str, org: UUID, ids: list[UUID]) -> list[dict[str, Any]]:
    if not ids:
        return []
    [found] = db.read(org, (query, _of(org, ids)))
    return [_decoded(row) for row in found]


def _of(org: UUID, ids: list[UUID]) -> list[Any]:
    return [str(org), [str(row) for row in ids]]


def _decoded(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "counterparty": db.decode(row["counterparty"])} if "counterparty" in row else row
