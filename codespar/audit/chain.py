"""Verification of one organisation's chain, from the bytes that are stored and from what the caller pins. Pure: no database.

Nothing is believed because it is written down: leaves are built again from their parts, hashes from leaves, and the keys come from the
first entry, whose ledger key must have the fingerprint that the caller brings (`sha256:` and the hex SHA-256 of the raw 32-byte key).
Without a pin the chain can be whole and still be somebody else's: the answer is then `untrusted`.

`after` is what its writer saw as the head. The database takes a record whose `after` is the head, or was the head less than 60 s before
(the entry that followed it was appended less than 60 s ago), and whose `at` is within 60 s of its clock. Appending times are not signed, so
here the two `at` are compared, each up to 60 s off: the entry that followed `after` is at most 180 s older than the record.
"""

import base64
import binascii
import sqlite3
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from codespar.lib import canonical, clock, ids
from codespar.lib.errors import Invalid
from ledger import merkle, records
from ledger.kinds import KINDS, PARTS
from ledger.merkle import Frontier

VERIFIED, REANCHORED, TAMPERED, UNTRUSTED, UNAVAILABLE = "verified", "reanchored", "tampered", "untrusted", "unavailable"
FIRST_KIND = "organisation.created"
OLDEST_AFTER = timedelta(seconds=180)
# A record can be up to 120 s behind the newest one before it (both clocks 60 s off), so what its `after` needs stays that much longer.
KEPT = OLDEST_AFTER + timedelta(seconds=120)
# More entries than one organisation can write in that time: it keeps the memory flat whatever the times say.
MOST_KEPT = 1 << 18
MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One stored entry. A value that is missing in the database is None here, and a failure."""

    org: UUID
    seq: int
    id: UUID
    kind: str
    kid: str
    at: datetime | None
    prev: bytes | None
    hash: bytes | None
    content: bytes | None
    sig: bytes | None
    leaf: bytes | None


@dataclass(frozen=True, slots=True)
class Trust:
    """What the verifier brings: whose chain, of which deployment, and the fingerprint of the organisation's first ledger key."""

    org: UUID
    deployment: str
    pin: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and at which entry; `seq` is None when it is at no one entry."""

    seq: int | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry: its seq, and its hash in hex."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Result:
    """`status` is verified, reanchored, tampered, untrusted or unavailable; `root` is hex; problems in the order they were found in."""

    status: str
    count: int
    head: Head | None
    root: str
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == VERIFIED


@dataclass(slots=True)
class Problems:
    """The first hundred problems, and the codes of all of them."""

    found: list[Problem] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)

    def add(self, seq: int | None, code: str, detail: str) -> None:
        self.codes.add(code)
        if len(self.found) < MOST_PROBLEMS:
            self.found.append(Problem(seq, code, detail))


def verify(rows: Iterable[Row], *, trust: Trust, head: Head | None = None) -> Result:
    """Verify `rows`, ordered by seq, as the whole chain of `trust.org`. `head` is the head row, where there is one to compare."""
    verifier = Verifier(trust)
    for row in rows:
        verifier.add(row)
    return verifier.finish(head)


def status(codes: Iterable[str], *, pinned: bool) -> str:
    """The verdict: a key that nobody vouches for is not evidence of tampering, nor is a loss that an entry confirms; everything else is."""
    rest = set(codes)
    if rest - {"unknown_key", "rewound"}:
        return TAMPERED
    if not pinned or "unknown_key" in rest:
        return UNTRUSTED
    return REANCHORED if rest else VERIFIED


def fingerprint(key: Ed25519PublicKey) -> str:
    """What a verifier pins: `sha256:` and the hex SHA-256 of the raw 32-byte public key."""
    return "sha256:" + canonical.sha256(key.public_bytes_raw()).hex()


def public_key(jwk: object) -> Ed25519PublicKey:
    """The key inside an Ed25519 JWK (RFC 8037). Raises `Invalid`."""
    try:
        if not isinstance(jwk, Mapping) or (jwk["kty"], jwk["crv"]) != ("OKP", "Ed25519"):
            raise ValueError
        return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk["x"] + "=" * (-len(jwk["x"]) % 4)))
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise Invalid("This is not an Ed25519 public key as JWK.") from error


@dataclass(frozen=True, slots=True)
class Start:
    """Where a part of a chain begins: the tree of the entries before it, the hash of the last of those, and the keys that are known."""

    tree: Frontier
    prev: bytes
    keys: Mapping[str, Ed25519PublicKey]


class Verifier:
    """Takes entries one by one; `tree` and `keys` are what they amount to so far. Memory does not grow with the chain.

    It begins with entry 1, or with the one after `start`. Then what stands before is believed, and somebody else must vouch for it.
    """

    def __init__(self, trust: Trust, start: Start | None = None) -> None:
        self.trust = trust
        start = start or Start(Frontier(), records.genesis(trust.org), {})
        self.tree = start.tree
        self.keys: dict[str, Ed25519PublicKey] = dict(start.keys)
        self.problems = Problems()
        self._first = self._seq = start.tree.size
        self._prev = start.prev
        self._recent = _Recent(self._first, self._prev)
        self._ids = _Ids()

    def add(self, row: Row) -> None:
        """Check the next entry against everything before it."""
        self._place(row)
        content = self._content(row)
        if content is not None:
            self._same(row, content)
            self._kind(row.seq, content)
            self._signature(row, content)
            self._after(row.seq, content)
        self._grow(row, content)

    def finish(self, head: Head | None = None) -> Result:
        """The verdict on what was added."""
        self._ids.close()
        count = self.tree.size - self._first
        last = Head(self._seq, self._prev.hex()) if count else None
        if head is not None and head != (last or Head(0, self._prev.hex())):
            at = min(head.seq, self._seq) + 1 if head.seq != self._seq else head.seq
            self.problems.add(at, "head", f"The head row is of entry {head.seq}; the chain ends with entry {self._seq}, or another hash.")
        verdict = status(self.problems.codes, pinned=self.trust.pin is not None and count > 0)
        return Result(verdict, count, last, self.tree.root().hex(), tuple(self.problems.found))

    def _place(self, row: Row) -> None:
        if row.org != self.trust.org:
            self.problems.add(row.seq, "org", "The entry belongs to another organisation.")
        if row.seq <= self._seq:
            self.problems.add(row.seq, "seq", f"Entry {row.seq} stands after entry {self._seq}.")
        elif row.seq > self._seq + 1:
            gone = f"entry {self._seq + 1}" if row.seq == self._seq + 2 else f"entries {self._seq + 1} to {row.seq - 1}"
            self.problems.add(self._seq + 1, "missing", f"There is nothing at {gone}.")
        if row.prev != self._prev:
            self.problems.add(row.seq, "prev", "The entry does not follow the one before it: its prev is not that one's hash.")
        if not self._ids.first(row.id):
            self.problems.add(row.seq, "id_twice", f"The id {ids.wire('ent', row.id)} stands on an earlier entry too.")

    def _content(self, row: Row) -> dict[str, Any] | None:
        if row.content is None or row.sig is None or row.leaf is None or row.hash is None or row.prev is None:
            self.problems.add(row.seq, "stripped", "The entry lacks bytes that every entry has: prev, hash, content, sig or leaf.")
            return None
        try:
            content = canonical.loads(row.content)
            if canonical.dumps(content) != row.content:
                raise Invalid("another form")
        except Invalid:
            self.problems.add(row.seq, "not_canonical", "The content is not canonical JSON (RFC 8785).")
            return None
        wrong = _shape(content)
        if wrong:
            self.problems.add(row.seq, "content_shape", wrong)
            return None
        return dict(content)

    def _same(self, row: Row, content: Mapping[str, Any]) -> None:
        """The columns are copies of the content; who wrote it is named; it was written for this place."""
        stored = (row.kind, row.kid, ids.wire("ent", row.id), ids.wire("org", row.org), row.at and clock.stamp(row.at))
        if stored != (content["kind"], content["kid"], content["id"], content["org"], content["at"]):
            self.problems.add(row.seq, "columns", "The row's id, organisation, kind, key or time is not the signed one.")
        if content["org"] != ids.wire("org", self.trust.org) or content["deployment"] != self.trust.deployment:
            detail = f"The record was signed for {content['org']} of {content['deployment']}, not for this chain."
            self.problems.add(row.seq, "elsewhere", detail)

    def _kind(self, seq: int, content: Mapping[str, Any]) -> None:
        for code, detail in kind_problems(content):
            self.problems.add(seq, code, detail)
        if (content["kind"] == FIRST_KIND) != (seq == 1):
            self.problems.add(seq, "kind_place", f"A chain begins with {FIRST_KIND}, and has no second one.")

    def _signature(self, row: Row, content: Mapping[str, Any]) -> None:
        if row.seq == 1 and not self.keys:
            self._first_key(content)
        key = self.keys.get(content["kid"])
        if key is None:
            self.problems.add(row.seq, "unknown_key", f"The key {content['kid']} is not one that this chain introduces.")
        elif not records.signature_holds(key, row.content or b"", row.sig or b""):
            self.problems.add(row.seq, "signature", f"The signature is not one of the key {content['kid']} over this content.")

    def _first_key(self, content: Mapping[str, Any]) -> None:
        listed = content["data"].get("keys")
        found = [key for key in listed if isinstance(key, dict) and key.get("purpose") == "ledger"] if isinstance(listed, list) else []
        try:
            if len(found) != 1:
                raise Invalid("one ledger key")
            kid, key = str(found[0].get("kid")), public_key(found[0].get("jwk"))
        except Invalid:
            self.problems.add(1, "first_key", "The first entry does not introduce exactly one Ed25519 ledger key.")
            return
        self.keys[kid] = key
        if self.trust.pin is not None and fingerprint(key) != self.trust.pin:
            self.problems.add(1, "unknown_key", f"The chain's first key is {fingerprint(key)}, not the pinned {self.trust.pin}.")

    def _after(self, seq: int, content: Mapping[str, Any]) -> None:
        wrong = self._recent.wrong(seq, content["after"], clock.parse(content["at"]))
        if wrong:
            self.problems.add(seq, "after", wrong)

    def _grow(self, row: Row, content: Mapping[str, Any] | None) -> None:
        """Go on with what the entry should be, so that the entry after a changed one does not hide the change."""
        leaf = _leaf(row)
        if leaf is None:
            found = row.hash if row.hash and len(row.hash) == 32 else bytes(32)
        else:
            found = merkle.leaf_hash(leaf)
            if row.leaf is not None and (leaf, found) != (row.leaf, row.hash):
                self.problems.add(row.seq, "leaf", "The leaf or the hash is not the one of this content, signature and place.")
        self.tree = self.tree.append(found)
        self._seq, self._prev = row.seq, found
        self._recent.add(row.seq, found, clock.parse(content["at"]) if content else row.at)


def _leaf(row: Row) -> bytes | None:
    """The leaf that these parts make, or None when there is none."""
    if row.content is None or row.sig is None or row.prev is None or not 0 < row.seq <= canonical.MAX_SAFE_INTEGER:
        return None
    return records.leaf(content=row.content, kid=row.kid, org=row.org, prev=row.prev, seq=row.seq, sig=row.sig)


def kind_problems(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the closed lists of kinds and parts say against this content, as (code, detail)."""
    kind = KINDS.get(content["kind"])
    if kind is None:
        return [("unknown_kind", f"There is no kind {content['kind']!r:.80}.")]
    found = []
    if missing := kind.data - set(content["data"]):
        found.append(("data", f"The data of {content['kind']} lacks {', '.join(sorted(missing))}."))
    names = [str(part.get("part")) for part in content["parts"]]
    for name in names:
        if name not in PARTS or name not in kind.parts:
            found.append(("unknown_part", f"A record of kind {content['kind']} has no part {name!r:.80}."))
    if lacking := kind.must - set(names):
        found.append(("parts", f"A record of kind {content['kind']} has the parts {', '.join(sorted(lacking))} too."))
    if "hold" in names and "decision" in names and names.index("hold") < names.index("decision"):
        found.append(("parts", "The hold stands before the decision that allows it."))
    return found


def _shape(content: Any) -> str | None:
    """Why this is not the content of a record, or None."""
    if not isinstance(content, dict) or set(content) != records.MEMBERS:
        return "The content does not have exactly the members that every record has."
    if type(content["v"]) is not int or content["v"] != records.VERSION:
        return "The record's version is not one that is known here."
    texts = ("id", "deployment", "org", "kind", "at", "actor", "subject", "request_id", "kid")
    if not all(isinstance(content[name], str) and content[name] for name in texts) or type(content["livemode"]) is not bool:
        return "The record names no actor, or another member that must be there is empty."
    if not all(content[name] is None or isinstance(content[name], str) for name in ("project", "on_behalf_of")):
        return "The project and the one on whose behalf it was done are ids, or null."
    if (
        not isinstance(content["data"], dict)
        or not isinstance(content["parts"], list)
        or not all(isinstance(p, dict) for p in content["parts"])
    ):
        return "The data is an object, and the parts are a list of objects."
    after = content["after"]
    if not isinstance(after, dict) or set(after) != {"seq", "hash"} or type(after["seq"]) is not int or not isinstance(after["hash"], str):
        return "The member after is the seq and the hash of an earlier entry."
    try:
        return None if clock.stamp(clock.parse(content["at"])) == content["at"] else "The time is not written with six decimals and a Z."
    except Invalid:
        return "The time is not one."


class _Recent:
    """The last few minutes of the chain: what `after` may name."""

    def __init__(self, before: int, prev: bytes) -> None:
        self._before = before
        self._kept: OrderedDict[int, tuple[bytes, datetime]] = OrderedDict({before: (prev, datetime.min.replace(tzinfo=UTC))})
        self._newest = datetime.min.replace(tzinfo=UTC)

    def wrong(self, seq: int, after: Mapping[str, Any], at: datetime) -> str | None:
        """Why the record `seq`, made at `at`, cannot follow `after`, or None."""
        if 0 <= after["seq"] < self._before:
            # It names what stands before the part that is here.
            return None
        named = self._kept.get(after["seq"])
        if named is None or after["seq"] >= seq or named[0].hex() != after["hash"]:
            return f"The record says that it follows entry {after['seq']}; no entry with that hash stands there shortly before it."
        successor = self._kept.get(after["seq"] + 1)
        if successor is not None and at - successor[1] > OLDEST_AFTER:
            return f"The record follows entry {after['seq']}, which had a successor more than {OLDEST_AFTER.seconds} s earlier."
        return None

    def add(self, seq: int, digest: bytes, at: datetime | None) -> None:
        moment = at or self._newest
        self._kept[seq] = (digest, moment)
        self._newest = max(self._newest, moment)
        while len(self._kept) > MOST_KEPT or self._second_is_old():
            self._kept.popitem(last=False)

    def _second_is_old(self) -> bool:
        """Whether the entry after the oldest one is too old for anything to come to follow the oldest."""
        if len(self._kept) < 3:
            return False
        first = next(iter(self._kept))
        return self._kept.get(first + 1, (b"", self._newest))[1] < self._newest - KEPT


class _Ids:
    """Ids seen so far, in a file of its own that the system forgets: exact, and no memory that grows."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE seen (id BLOB PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def first(self, entry: UUID) -> bool:
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", [entry.bytes]).rowcount == 1

    def close(self) -> None:
        self._database.close()
