"""Records: what is signed. Pure: a head, a signer and a moment are arguments.

content = JCS{v, id, deployment, livemode, org, project, kind, at, actor, on_behalf_of, subject, request_id, kid, after, parts, data}
sig     = Ed25519(org ledger key, "codespar/entry/v1\\n" || SHA-256(content))
leaf    = JCS{content: hex SHA-256(content), kid, org, prev: hex, seq, sig: base64}, built by the database
hash    = SHA-256(0x00 || leaf), the RFC 6962 leaf hash, which is the next leaf's prev
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from codespar.lib import canonical, clock, ids

VERSION = 1
CONTEXT = b"codespar/entry/v1\n"
GENESIS = b"codespar/genesis/v1\n"
MEMBERS = frozenset(
    [
        "v",
        "id",
        "deployment",
        "livemode",
        "org",
        "project",
        "kind",
        "at",
        "actor",
        "on_behalf_of",
        "subject",
        "request_id",
        "kid",
        "after",
        "parts",
        "data",
    ]
)


@dataclass(frozen=True, slots=True)
class Signer:
    """An organisation's ledger key: `sign` takes the message and gives 64 bytes of Ed25519."""

    kid: str
    sign: Callable[[bytes], bytes]


class Openings:
    """Values that a record commits to without containing them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def add(self, value: str) -> str:
        """Commit to `value` (text) and remember how to open it. Returns the commitment in hex."""
        salt, commit = canonical.commit(value.encode())
        self.rows.append({"commit": commit.hex(), "salt": salt.hex(), "value": value})
        return commit.hex()


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything about a record but its place and its signature. Ids are as on the wire."""

    kind: str
    livemode: bool
    org: UUID
    actor: str
    subject: str
    request_id: str
    data: Mapping[str, Any]
    project: str | None = None
    on_behalf_of: str | None = None
    parts: Sequence[Mapping[str, Any]] = ()
    openings: Openings = field(default_factory=Openings)


@dataclass(frozen=True, slots=True)
class Record:
    """A signed record, ready to be appended."""

    id: UUID
    content: bytes
    sig: bytes
    openings: list[dict[str, str]]


def sign(draft: Draft, *, deployment: str, after: Mapping[str, Any], at: datetime, signer: Signer) -> Record:
    """Build and sign one record. `after` is {seq, hash (hex)}: the head that the writer saw."""
    entry = ids.new()
    content = canonical.dumps(
        {
            "v": VERSION,
            "id": ids.wire("ent", entry),
            "deployment": deployment,
            "livemode": draft.livemode,
            "org": ids.wire("org", draft.org),
            "project": draft.project,
            "kind": draft.kind,
            "at": clock.stamp(at),
            "actor": draft.actor,
            "on_behalf_of": draft.on_behalf_of,
            "subject": draft.subject,
            "request_id": draft.request_id,
            "kid": signer.kid,
            "after": {"seq": after["seq"], "hash": after["hash"]},
            "parts": [dict(part) for part in draft.parts],
            "data": dict(draft.data),
        }
    )
    return Record(entry, content, signer.sign(message(content)), draft.openings.rows)


def message(content: bytes) -> bytes:
    """What is signed for `content`."""
    return CONTEXT + canonical.sha256(content)


def signature_holds(key: Ed25519PublicKey, content: bytes, sig: bytes) -> bool:
    """Whether `sig` is `key`'s signature of this record."""
    try:
        key.verify(sig, message(content))
    except InvalidSignature:
        return False
    return True


def genesis(org: UUID) -> bytes:
    """The first record's `prev`: 32 bytes."""
    return canonical.sha256(GENESIS + ids.wire("org", org).encode())


def leaf(*, content: bytes, kid: str, org: UUID, prev: bytes, seq: int, sig: bytes) -> bytes:
    """The leaf's bytes, as the database builds them."""
    return canonical.dumps(
        {
            "content": canonical.sha256(content).hex(),
            "kid": kid,
            "org": ids.wire("org", org),
            "prev": prev.hex(),
            "seq": seq,
            "sig": base64.b64encode(sig).decode(),
        }
    )
