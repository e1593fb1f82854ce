"""Taking a copy of a chain: the record first, then the bytes, a page at a time, then the signature over what was given out.

Entries never change, and the range is fixed when its record is written: a walk by seq sees the same rows whenever it reads them. So each
page is a short transaction of its own, nothing is held while a slow reader takes it, and memory does not grow with the chain.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection

from codespar.audit import archive, manifest
from codespar.audit.archive import Writer
from codespar.audit.manifest import Manifest
from codespar.identity import acting
from codespar.identity.principals import Principal
from codespar.lib import canonical, clock, db, ids
from codespar.lib.errors import Invalid
from codespar.vault import keys
from ledger import merkle
from ledger.merkle import Frontier

PAGE_ROWS = 1000
# What a page holds at most, and one row more: an entry has up to 256 KiB.
PAGE_BYTES = 1 << 18

log = structlog.get_logger(__name__)

_PAGE = f"""
    SELECT %s FROM (SELECT *, sum(octet_length(%s)) OVER (ORDER BY %s) - octet_length(%s) AS before FROM (%s LIMIT {PAGE_ROWS}) found) page
    WHERE before < {PAGE_BYTES} ORDER BY %s
"""


def _paged(columns: str, large: str, order: str, query: str) -> str:
    """A page of `query`'s rows, the column `large` of which is what makes them heavy."""
    return _PAGE % (columns, large, order, large, query, order)


_RANGE = "FROM ledger_entries WHERE org_id = %(org)s AND seq > %(after)s AND seq <= %(last)s ORDER BY seq"
_LEAVES = _paged("seq, prev, leaf", "leaf", "seq", f"SELECT seq, prev, leaf {_RANGE}")
_CONTENTS = _paged("seq, content", "content", "seq", f"SELECT seq, content {_RANGE}")
_HASHES = f"SELECT seq, hash {_RANGE} LIMIT {PAGE_ROWS}"
# The record is read of the rows of the page only: of the whole range it would take minutes.
_OPENINGS = _paged(
    "seq, commit, salt, value, convert_from(content, 'UTF8')::jsonb -> 'livemode' = 'true'",
    "value",
    "seq, commit",
    """SELECT e.seq, e.content, o.commit, o.salt, o.value
       FROM ledger_entries e JOIN ledger_openings o ON o.org_id = e.org_id AND o.entry_id = e.id
       WHERE e.org_id = %(org)s AND e.seq >= %(after)s AND e.seq <= %(last)s AND (e.seq, o.commit) > (%(after)s, %(commit)s)
       ORDER BY e.seq, o.commit""",
)
_CHECKPOINTS = _paged(
    "size, note, root",
    "note",
    "size",
    "SELECT size, note, root FROM ledger_checkpoints WHERE org_id = %(org)s AND size > %(after)s AND size <= %(last)s ORDER BY size",
)
# The first one that covers all of the range.
_COVERING = "SELECT size, note, root FROM ledger_checkpoints WHERE org_id = %(org)s AND size >= %(last)s ORDER BY size LIMIT 1"
_BEFORE = "SELECT size, frontier FROM ledger_checkpoints WHERE org_id = %(org)s AND size <= %(last)s ORDER BY size DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Taken:
    """An export that stands in the ledger, so that its bytes may be given out. `entry` is {id, seq, hash} of its record."""

    org: UUID
    livemode: bool
    first_seq: int
    last_seq: int
    openings: str
    entry: Mapping[str, Any]
    at: datetime
    by: str

    @property
    def name(self) -> str:
        """What the file is called unless its reader says otherwise."""
        return f"{ids.wire('org', self.org)}-{self.first_seq}-{self.last_seq}.zip"


def take(principal: Principal, *, first_seq: int, last_seq: int | None, openings: bool, now: datetime) -> Taken:
    """Write down who takes which range: up to the head of this moment when `last_seq` is None. The record itself comes after the range.

    Raises `Invalid` for a range that the chain does not have. A crash after this leaves the record of an export that nobody got.
    """
    head = db.call("head_read", principal.org)["seq"]
    last = head if last_seq is None else last_seq
    if not 1 <= first_seq <= last <= head:
        raise Invalid(f"The chain has the entries 1 to {head}: first_seq is one of them, and last_seq one that does not come before it.")
    shown = (manifest.ALL if principal.livemode else manifest.TEST) if openings else manifest.NONE
    data = {"first_seq": first_seq, "last_seq": last, "openings": shown}
    record = acting.draft(principal, kind="ledger.exported", subject=principal.org_wire, data=data)
    written = acting.write(principal, "ledger_export", record, now=now)
    entry = {"id": _entry(principal.org, written["seq"]), "seq": written["seq"], "hash": written["hash"]}
    return Taken(principal.org, principal.livemode, first_seq, last, shown, entry, now, principal.actor)


def stream(taken: Taken) -> Iterator[bytes]:
    """The file, in pieces of a few hundred KiB. What goes wrong on the way breaks it off: a file without its end is none."""
    try:
        yield from _Copy(taken).pieces()
    except Exception as error:
        log.error("export_broken", org=ids.wire("org", taken.org), entry=taken.entry["id"], error=type(error).__name__)
        raise
    finally:
        db.release()


class _Copy:
    """What is learned of a range while it is copied."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._archive = Writer()
        self._before = _tree(taken.org, taken.first_seq - 1)
        self._tree = self._before
        self._first_prev: bytes | None = None
        self._counts = dict.fromkeys(manifest.COUNTED, 0)
        self._consistency: tuple[int, int, tuple[bytes, ...]] | None = None

    def pieces(self) -> Iterator[bytes]:
        for name, data in (
            (archive.LEAVES, self._leaves),
            (archive.CONTENTS, self._contents),
            (archive.OPENINGS, self._openings),
            (archive.CHECKPOINTS, self._checkpoints),
            (archive.KEYS, self._keys),
            (archive.PROOFS, lambda: iter([manifest.proofs(self._before, self._consistency)])),
        ):
            yield from self._archive.member(name, data())
        signer = keys.ledger_signer(self._taken.org)
        told = self._manifest(signer.kid)
        yield from self._archive.member(archive.MANIFEST, [told])
        yield from self._archive.member(archive.SIGNATURE, [base64.b64encode(signer.sign(manifest.message(told)))])
        yield self._archive.end()

    def _leaves(self) -> Iterator[bytes]:
        for rows in self._pages(_LEAVES):
            if self._first_prev is None:
                self._first_prev = bytes(rows[0][1])
            leaves = [bytes(leaf) for _, _, leaf in rows]
            self._counts["entries"] += len(leaves)
            self._head = merkle.leaf_hash(leaves[-1])
            self._tree = self._tree.extend(map(merkle.leaf_hash, leaves))
            yield _lines(leaves)

    def _contents(self) -> Iterator[bytes]:
        for rows in self._pages(_CONTENTS):
            yield _lines([bytes(content) for _, content in rows])

    def _openings(self) -> Iterator[bytes]:
        if self._taken.openings == manifest.NONE:
            return
        # Openings may be far apart: a page of them is looked for among so many entries, or one statement could read the whole chain.
        for first in range(self._taken.first_seq, self._taken.last_seq + 1, PAGE_ROWS):
            where = self._where | {"after": first, "commit": b"", "last": min(first + PAGE_ROWS - 1, self._taken.last_seq)}
            for rows in _pages(_OPENINGS, where, lambda row: {"after": row[0], "commit": bytes(row[1])}):
                shown = [_opening(*row) for *row, live in rows if self._taken.openings == manifest.ALL or not live]
                self._counts["openings"] += len(shown)
                yield _lines(shown)

    def _checkpoints(self) -> Iterator[bytes]:
        largest = 0
        for rows in self._pages(_CHECKPOINTS):
            largest = rows[-1][0]
            self._counts["checkpoints"] += len(rows)
            yield _lines([_checkpoint(size, note) for size, note, _ in rows])
        for size, note, _ in _read(_COVERING, self._where) if largest < self._taken.last_seq else []:
            self._counts["checkpoints"] += 1
            nodes = merkle.consistency_from(self._tree, size=size, root_of=self._root_of)
            self._consistency = (self._taken.last_seq, size, nodes)
            yield _lines([_checkpoint(size, note)])

    def _keys(self) -> Iterator[bytes]:
        # There is no rotation yet: an organisation's one ledger key signs from the first entry on.
        found = [key["jwk"] for key in keys.public_keys(self._taken.org) if key["purpose"] == "ledger"]
        yield canonical.dumps({"keys": [{**jwk, "first_seq": 1, "last_seq": None} for jwk in found]})

    def _manifest(self, kid: str) -> bytes:
        taken = self._taken
        return Manifest(
            org=taken.org,
            deployment=settings.CONFIG.deployment,
            livemode=taken.livemode,
            first_seq=taken.first_seq,
            last_seq=taken.last_seq,
            first_prev=(self._first_prev or b"").hex(),
            head=self._head.hex(),
            counts=self._counts,
            openings=taken.openings,
            files=self._archive.sha256,
            entry=taken.entry,
            exported_at=clock.stamp(taken.at),
            exported_by=taken.by,
            kid=kid,
        ).encode()

    @property
    def _where(self) -> dict[str, Any]:
        return {"org": str(self._taken.org), "after": self._taken.first_seq - 1, "last": self._taken.last_seq}

    def _pages(self, query: str) -> Iterator[list[Any]]:
        return _pages(query, self._where, lambda row: {"after": row[0]})

    def _root_of(self, low: int, high: int) -> bytes:
        return Frontier().extend(_hashes(self._taken.org, low, high)).root()


def _tree(org: UUID, size: int) -> Frontier:
    """The tree of the first `size` entries, from the last checkpoint in it on."""
    sealed = _read(_BEFORE, {"org": str(org), "last": size})
    tree = Frontier.from_list(sealed[0][1], size=sealed[0][0]) if sealed else Frontier()
    return tree.extend(_hashes(org, tree.size, size))


def _hashes(org: UUID, after: int, last: int) -> Iterator[bytes]:
    for rows in _pages(_HASHES, {"org": str(org), "after": after, "last": last}, lambda row: {"after": row[0]}):
        yield from (bytes(digest) for _, digest in rows)


def _pages(query: str, where: Mapping[str, Any], onward: Callable[[Any], Mapping[str, Any]]) -> Iterator[list[Any]]:
    """Page after page; `onward` says from the last row where the next one begins. No connection is held in between."""
    while rows := _read(query, where):
        db.release()
        yield rows
        where = {**where, **onward(rows[-1])}


def _read(query: str, where: Mapping[str, Any]) -> list[Any]:
    with db.tenant(UUID(where["org"])), connection.cursor() as cursor:
        cursor.execute(query, where)
        return list(cursor.fetchall())


def _entry(org: UUID, seq: int) -> str:
    with db.tenant(org):
        found = db.select("SELECT id FROM ledger_entries WHERE org_id = %s AND seq = %s", [str(org), seq])
    return ids.wire("ent", found[0]["id"])


def _opening(seq: int, commit: Any, salt: Any, value: Any) -> bytes:
    return canonical.dumps({"commit": bytes(commit).hex(), "salt": bytes(salt).hex(), "seq": seq, "value": bytes(value).decode()})


def _checkpoint(size: int, note: str) -> bytes:
    return canonical.dumps({"note": note, "size": size})


def _lines(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
