"""What an export says of itself, and what else its file holds in JSON. Pure; every document is canonical JSON (RFC 8785).

    manifest.json      {v, org, deployment, livemode, first_seq, last_seq, first_prev, head, openings,
                        counts: {entries, checkpoints, openings}, files: {name: hex SHA-256}, entry: {id, seq, hash},
                        exported_at, exported_by, kid}
    manifest.sig       base64 of Ed25519 over "codespar/manifest/v1\\n" || SHA-256(manifest.json)
    keys.json          {keys: [JWK with first_seq and last_seq, null for a key that still signs]}
    proofs.json        {before: {size, nodes}, consistency: null or {from, to, proof}}
    openings.jsonl     a line each: {commit, salt, seq, value}, by seq and commit
    checkpoints.jsonl  a line each: {note, size}, by size

Hashes are hex. `first_prev` is the `prev` of the first entry, `head` the hash of the last one; `entry` is the export's own record, which
comes after them. `before` is the right edge of the tree of the entries before the first one (RFC 6962), so that the tree can be rebuilt
without them; `consistency` leads from the tree of `last_seq` to the checkpoint that follows it.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from codespar.audit import archive
from codespar.lib import canonical, clock, ids
from codespar.lib.errors import Invalid
from ledger import merkle
from ledger.merkle import Frontier

VERSION = 1
CONTEXT = b"codespar/manifest/v1\n"
# Whose openings the file has: of all records, of test records, of none.
ALL, TEST, NONE = "all", "test", "none"
COUNTED = ("entries", "checkpoints", "openings")


@dataclass(frozen=True, slots=True)
class Manifest:
    """`head`, `first_prev` and the digests of `files` are hex; `entry` is {id, seq, hash} of the export's own record."""

    org: UUID
    deployment: str
    livemode: bool
    first_seq: int
    last_seq: int
    first_prev: str
    head: str
    counts: Mapping[str, int]
    openings: str
    files: Mapping[str, str]
    entry: Mapping[str, Any]
    exported_at: str
    exported_by: str
    kid: str

    def encode(self) -> bytes:
        """The bytes of manifest.json."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        return canonical.dumps({"v": VERSION, **plain, "org": ids.wire("org", self.org), **_copied(self)})


def message(data: bytes) -> bytes:
    """What is signed for the manifest `data`."""
    return CONTEXT + canonical.sha256(data)


def signed_by(key: Ed25519PublicKey, data: bytes, signature: bytes) -> bool:
    """Whether `signature`, as manifest.sig has it, is `key`'s over `data`, written in the one right way."""
    try:
        raw = base64.b64decode(signature, validate=True)
        key.verify(raw, message(data))
    except (ValueError, InvalidSignature):
        return False
    return base64.b64encode(raw) == signature


def parse(data: bytes) -> Manifest:
    """Read manifest.json. Raises `Invalid` unless it has exactly the members above, each of its form."""
    said = document(data, {"v", *Manifest.__slots__})
    _need(type(said["v"]) is int and said["v"] == VERSION, "The manifest's version is not one that is known here.")
    _need(all(type(said[name]) is str and said[name] for name in ("deployment", "exported_by", "kid")), "A name is missing.")
    _need(type(said["livemode"]) is bool and said["openings"] in (ALL, TEST, NONE), "livemode or openings is not one of its values.")
    _need(_counting(said["first_seq"]) and _counting(said["last_seq"]) and said["first_seq"] <= said["last_seq"], "There is no such range.")
    _need(is_hash(said["first_prev"]) and is_hash(said["head"]), "A hash is 64 lowercase hex digits.")
    _need(_is_map(said["counts"], COUNTED, lambda count: type(count) is int and count >= 0), "The counts are not counts.")
    _need(_is_map(said["files"], archive.LISTED, is_hash), f"The manifest lists {', '.join(archive.LISTED)}.")
    entry = said["entry"]
    _need(isinstance(entry, dict) and set(entry) == {"id", "seq", "hash"} and is_hash(entry["hash"]), "The export's record is not named.")
    _need(_counting(entry["seq"]) and entry["seq"] > said["last_seq"], "The export's record comes after what was exported.")
    ids.parse(entry["id"], "ent")
    clock.parse(said["exported_at"])
    return Manifest(**{**{name: said[name] for name in Manifest.__slots__}, "org": ids.parse(said["org"], "org")})


def document(data: bytes, members: set[str]) -> dict[str, Any]:
    """A canonical JSON object with exactly these members. Raises `Invalid`."""
    found = canonical.loads(data)
    if not isinstance(found, dict) or set(found) != members:
        raise Invalid(f"This is not an object with exactly {', '.join(sorted(members))}.")
    if canonical.dumps(found) != data:
        raise Invalid("This is not canonical JSON (RFC 8785).")
    return found


def proofs(before: Frontier, consistency: tuple[int, int, tuple[bytes, ...]] | None) -> bytes:
    """The bytes of proofs.json. `consistency` is (from, to, proof)."""
    proof = consistency and {"from": consistency[0], "to": consistency[1], "proof": [node.hex() for node in consistency[2]]}
    return canonical.dumps({"before": {"size": before.size, "nodes": before.to_list()}, "consistency": proof})


def parse_proofs(data: bytes) -> tuple[Frontier, tuple[int, int, tuple[bytes, ...]] | None]:
    """The inverse of `proofs`. Raises `Invalid`."""
    said = document(data, {"before", "consistency"})
    try:
        before = Frontier.from_list(_hashes(said["before"]["nodes"]), size=_size(said["before"]["size"]))
        proof = said["consistency"]
        if proof is None:
            return before, None
        return before, (_size(proof["from"]), _size(proof["to"]), tuple(bytes.fromhex(node) for node in _hashes(proof["proof"])))
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid("The proofs are not of their form.") from error


def follows(tree: Frontier, proof: tuple[int, int, tuple[bytes, ...]], root: bytes) -> bool:
    """Whether `proof` shows that the tree with this root begins with `tree`."""
    first, second, nodes = proof
    return first == tree.size and merkle.verify_consistency(
        first=first, second=second, first_root=tree.root(), second_root=root, proof=nodes
    )


def is_hash(value: object) -> bool:
    """Whether this is a SHA-256 as it is written here: 64 lowercase hex digits."""
    return isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")


def _copied(manifest: Manifest) -> dict[str, Any]:
    return {name: dict(getattr(manifest, name)) for name in ("counts", "files", "entry")}


def _is_map(value: object, names: tuple[str, ...], good: Any) -> bool:
    return isinstance(value, dict) and set(value) == set(names) and all(good(one) for one in value.values())


def _counting(value: object) -> bool:
    return type(value) is int and 1 <= value <= canonical.MAX_SAFE_INTEGER


def _hashes(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(is_hash(value) for value in values):
        raise ValueError("not hashes")
    return values


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a size")
    return value


def _need(good: bool, otherwise: str) -> None:
    if not good:
        raise Invalid(otherwise)
