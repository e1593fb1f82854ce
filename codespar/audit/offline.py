"""Verification of an export's file, with nothing but the file and what the verifier brings. Pure: no settings, no database.

Of the file nothing is believed that does not follow from the pin. A whole chain begins at its genesis, and its first entry introduces the
keys. A part of one begins in the middle: its keys must be the pinned one, and a checkpoint of that key must seal the tree in which the
entries stand; `proofs.json` has what is left of that tree, and the way to a checkpoint that was made later. Without that the entries are
signed and chained to each other, and nothing says where they belong: the answer is `untrusted`.
"""

import base64
import binascii
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from codespar.audit import archive, chain, checkpoints, manifest, openings
from codespar.audit.archive import Archive, Damaged
from codespar.audit.chain import Problem, Problems, Result, Row, Start, Trust
from codespar.audit.checkpoints import Found, Watch
from codespar.audit.manifest import Manifest
from codespar.lib import canonical, clock, ids
from codespar.lib.errors import Invalid
from ledger import merkle, notes, records
from ledger.merkle import Frontier

# A part of a chain that no checkpoint seals: nothing is wrong with it, and nothing says where it belongs.
NOT_ANCHORED = "not_anchored"
_TICK = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """What verification found. `told` is None when the file says nothing that can be read; `chain` when its entries were not looked at."""

    status: str
    told: Manifest | None
    chain: Result | None
    # How many checkpoints agree: in the file, and among those that the verifier keeps; and the largest size of them.
    inside: int
    kept: int
    sealed: int
    problems: tuple[Problem, ...]

    @property
    def first_bad(self) -> int | None:
        """The smallest seq at which something is wrong."""
        return min((problem.seq for problem in self.problems if problem.seq is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        """As `codespar verify FILE --json` prints it."""
        told, head = self.told, self.chain and self.chain.head
        return {
            "org": told and ids.wire("org", told.org),
            "status": self.status,
            "deployment": told and told.deployment,
            "first_seq": told and told.first_seq,
            "last_seq": told and told.last_seq,
            "count": self.chain.count if self.chain else 0,
            "head": head and {"seq": head.seq, "hash": head.hash},
            "root": self.chain and self.chain.root,
            "checkpoints": {"file": self.inside, "kept": self.kept, "size": self.sealed},
            "openings": told and {"of": told.openings, "count": told.counts["openings"]},
            "exported": told and {"at": told.exported_at, "by": told.exported_by, "entry": dict(told.entry)},
            "first_bad_seq": self.first_bad,
            "problems": [{"seq": problem.seq, "code": problem.code, "detail": problem.detail} for problem in self.problems],
        }


def verify_file(
    path: Path,
    *,
    pins: Mapping[UUID, str],
    deployment: str | None = None,
    checkpoint_dir: Path | None = None,
    tick: Callable[[int], None] = lambda count: None,
) -> Report:
    """Verify the export in `path`. `checkpoint_dir` has the verifier's own copies of checkpoints, from before the export.

    `tick` hears of every thousand entries. Raises `OSError` when the file or the folder cannot be read.
    """
    try:
        file = Archive(path)
        said = file.member(archive.MANIFEST).read()
        told = manifest.parse(said)
    except (Damaged, Invalid) as error:
        code = Damaged.code if isinstance(error, Damaged) else "manifest"
        return Report(chain.TAMPERED, None, None, 0, 0, 0, (Problem(None, code, error.detail),))
    trust = Trust(told.org, deployment or told.deployment, pins.get(told.org))
    return _Reading(file, said, told, trust, checkpoint_dir).report(tick)


class _Reading:
    """One export, read once from its first entry to its last."""

    def __init__(self, file: Archive, said: bytes, told: Manifest, trust: Trust, folder: Path | None) -> None:
        self._file, self._said, self._told, self._trust = file, said, told, trust
        self._problems = Problems()
        self._later: Found | None = None
        listed = checkpoints.listed(folder=folder, org=told.org) if folder else []
        ends = checkpoints.ends(self._setbacks() if listed else (), max((of for _, of in listed), default=0))
        # Of a generation that a setback ended, what came after is lost, and entries of the chain say so.
        self._sizes = [size for size, of in listed if size <= ends.get(of, size)]
        window = [(size, of) for size, of in listed if told.first_seq - 1 <= size <= told.last_seq]
        found = checkpoints.read(folder=folder, org=told.org, which=window) if folder else iter(())
        self._kept = Watch(found, trust=trust, where="that you keep", ends=ends)
        self._inside = Watch(self._checkpoints(), trust=trust, where="in the file")
        self._keeps = folder is not None

    def report(self, tick: Callable[[int], None]) -> Report:
        keys = self._keys()
        self._frame(keys)
        before, proof = self._proofs()
        whole = self._told.first_seq == 1
        start = Start(before, bytes.fromhex(self._told.first_prev), {} if whole else keys)
        verifier = chain.Verifier(self._trust, None if whole else start)
        self._walk(verifier, tick)
        result = verifier.finish()
        if whole and {kid: key.public_bytes_raw() for kid, key in keys.items()} != _raw(verifier.keys):
            self._problems.add(1, "keys", "The keys in keys.json are not those that the first entry introduces.")
        sealed = self._sealed(verifier.tree, proof, keys.values())
        self._tail()
        self._agrees(result)
        if not (whole or sealed):
            detail = f"No checkpoint seals entry {self._told.first_seq} and what follows: nothing says that they stand in the chain there."
            self._problems.add(None, NOT_ANCHORED, detail)
        return self._report(result, sealed)

    def _report(self, result: Result, sealed: int) -> Report:
        watched = (*self._inside.problems.found, *self._kept.problems.found)
        problems = sorted((*result.problems, *self._problems.found, *watched), key=lambda problem: problem.seq or 0)
        codes = {problem.code for problem in problems}
        away = codes & {NOT_ANCHORED, "checkpoints_unreachable"}
        status = chain.status(codes - away, pinned=self._trust.pin is not None)
        if status == chain.VERIFIED and away:
            status = chain.UNAVAILABLE if "checkpoints_unreachable" in away else chain.UNTRUSTED
        return Report(status, self._told, result, self._inside.count + bool(self._later), self._kept.count, sealed, tuple(problems))

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        """The keys of the file. The one that signs from the first entry on must be the pinned one."""
        try:
            listed = manifest.document(self._file.member(archive.KEYS).read(), {"keys"})["keys"]
            # One key, from the first entry on: this version knows no rotation.
            if not isinstance(listed, list) or len(listed) != 1 or (listed[0]["first_seq"], listed[0]["last_seq"]) != (1, None):
                raise Invalid("keys.json has one key, which signs from entry 1 on.")
            kid, key = str(listed[0]["kid"]), chain.public_key(listed[0])
        except (Damaged, Invalid, KeyError, TypeError) as error:
            self._problems.add(None, "keys", f"The keys cannot be read: {getattr(error, 'detail', 'a member is missing')}")
            return {}
        if self._trust.pin not in (None, chain.fingerprint(key)):
            self._problems.add(None, "unknown_key", f"The file's key is {chain.fingerprint(key)}, not the pinned {self._trust.pin}.")
        return {kid: key}

    def _frame(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        """The signature over the manifest, and what it says of the other files."""
        key, told = keys.get(self._told.kid), self._told
        if key is None or not manifest.signed_by(key, self._said, self._file.member(archive.SIGNATURE).read()):
            self._problems.add(
                None, "manifest_signature", "The manifest is not signed by a key of the organisation: it, or keys.json, was changed."
            )
        for name, digest in told.files.items():
            try:
                good = self._file.member(name).sha256() == digest
            except Damaged:
                good = False
            if not good:
                self._problems.add(None, "file", f"{name} is not the file that the manifest lists.")

    def _proofs(self) -> tuple[Frontier, tuple[int, int, tuple[bytes, ...]] | None]:
        size = self._told.first_seq - 1
        try:
            before, proof = manifest.parse_proofs(self._file.member(archive.PROOFS).read())
            if before.size != size:
                raise Invalid(f"They are of {before.size} entries before the first one, not of {size}.")
        except (Damaged, Invalid) as error:
            self._problems.add(None, "proofs", f"The proofs cannot be read: {error.detail}")
            # Something of that size, so that the entries are looked at; it has the root of nothing.
            return Frontier(size, (bytes(32),) * size.bit_count()), None
        return before, proof

    def _walk(self, verifier: chain.Verifier, tick: Callable[[int], None]) -> None:
        """Every entry, with its openings and the checkpoints of its size."""
        first, told = self._told.first_seq, self._told
        texts = openings.Openings(self._file.member(archive.OPENINGS).lines(), of=told.openings, problems=self._problems)
        if verifier.tree.size:
            self._kept.grow(verifier.tree, verifier.keys.values())
        seq = first - 1
        for seq, (leaf, content) in enumerate(self._entries(), first):
            row = _row(leaf, content)
            if row is None:
                self._problems.add(
                    seq, "corrupt_line", f"Line {seq - first + 1} of {archive.LEAVES} or {archive.CONTENTS} is missing or broken."
                )
                continue
            verifier.add(row)
            texts.take(row.seq, row.content)
            for watch in (self._inside, self._kept):
                watch.grow(verifier.tree, verifier.keys.values())
            if seq % _TICK == 0:
                tick(_TICK)
        texts.finish()
        for watch in (self._inside, self._kept):
            watch.finish(verifier.tree.size)
        self._counted("openings", texts.count)
        self._counted("entries", seq - first + 1)

    def _entries(self) -> Iterator[tuple[bytes | None, bytes | None]]:
        leaves, contents = (self._file.member(name).lines() for name in (archive.LEAVES, archive.CONTENTS))
        try:
            yield from zip_longest(leaves, contents)
        except Damaged:
            yield None, None

    def _setbacks(self) -> Iterator[tuple[int, int]]:
        """(generation, sealed) of the entries that confirm a setback. Read ahead: checkpoints that are kept come before them."""
        try:
            for line in self._file.member(archive.CONTENTS).lines():
                if b'"ledger.reanchored"' in line:
                    content = canonical.loads(line)
                    if content["kind"] == "ledger.reanchored":
                        yield int(content["data"]["generation"]), int(content["data"]["sealed"])
        except (Damaged, Invalid, KeyError, TypeError, ValueError):
            # The walk says what is wrong with it.
            return

    def _checkpoints(self) -> Iterator[Found]:
        """The file's checkpoints of the range; the one that was made later is kept for `_sealed`."""
        size = count = 0
        try:
            for line in self._file.member(archive.CHECKPOINTS).lines():
                count += 1
                said = manifest.document(line, {"note", "size"})
                if type(said["size"]) is not int or not isinstance(said["note"], str) or said["size"] <= size:
                    raise Invalid("They have a size and a note each, and ascend.")
                size = said["size"]
                if size < self._told.first_seq or self._later:
                    raise Invalid(f"One of {size} entries has nothing to do with this range.")
                if size > self._told.last_seq:
                    self._later = Found(size, said["note"], generation=checkpoints.generation_of(said["note"]))
                else:
                    yield Found(size, said["note"], generation=checkpoints.generation_of(said["note"]))
        except (Damaged, Invalid) as error:
            self._problems.add(None, "checkpoint_form", f"The checkpoints in the file cannot be read: {error.detail}")
        self._counted("checkpoints", count)

    def _sealed(self, tree: Frontier, proof: tuple[int, int, tuple[bytes, ...]] | None, keys: Collection[Ed25519PublicKey]) -> int:
        """The size of the largest checkpoint that the entries stand in, 0 without one."""
        largest = max((watch.largest for watch in (self._inside, self._kept) if watch.largest >= self._told.first_seq), default=0)
        if (self._later is None) != (proof is None):
            self._problems.add(None, "proofs", "A checkpoint that was made later comes with a proof, and a proof with a checkpoint.")
        if self._later is None or proof is None:
            return largest
        name = checkpoints.origin(deployment=self._trust.deployment, org=self._trust.org, generation=self._later.generation)
        if not any(_leads(self._later, name, key, tree, proof) for key in keys):
            detail = f"Nothing shows that the checkpoint of {self._later.size} entries begins with these."
            self._problems.add(self._told.last_seq, "checkpoint_root", detail)
            return largest
        return self._later.size

    def _tail(self) -> None:
        """No checkpoint of before has more entries than the chain had when it was exported."""
        if self._keeps and not self._sizes:
            self._problems.add(None, "checkpoints_unreachable", "None of the organisation's checkpoints is in your folder.")
        most = self._told.entry["seq"]
        if self._sizes and self._sizes[-1] > most:
            detail = (
                f"A checkpoint that you keep has {self._sizes[-1]} entries; the chain had {most} when this was exported. "
                "Its tail was deleted, or the checkpoint is younger than the export: compare it with those that you had before."
            )
            self._problems.add(self._told.last_seq + 1, "tail_deleted", detail)

    def _agrees(self, result: Result) -> None:
        """The entries are those that the manifest speaks of."""
        head = result.head
        if self._told.first_seq == 1 and self._told.first_prev != records.genesis(self._trust.org).hex():
            self._problems.add(1, "prev", "The manifest does not begin where the organisation's chain begins.")
        if head is None or (head.seq, head.hash) != (self._told.last_seq, self._told.head):
            at = min(head.seq if head else 0, self._told.last_seq) + 1
            self._problems.add(
                at, "head", f"The manifest ends with entry {self._told.last_seq}; the file with another one, or another hash."
            )

    def _counted(self, what: str, count: int) -> None:
        if count != self._told.counts[what]:
            self._problems.add(None, "counts", f"The file has {count} {what}; the manifest says {self._told.counts[what]}.")


def _leads(later: Found, name: str, key: Ed25519PublicKey, tree: Frontier, proof: tuple[int, int, tuple[bytes, ...]]) -> bool:
    """Whether the key signed this checkpoint, and `proof` leads to it from `tree`."""
    try:
        said = notes.parse_checkpoint(notes.verify(note=later.note or "", name=name, public_key=key))
    except notes.NoteInvalid:
        return False
    return (said.origin, said.size, proof[1]) == (name, later.size, later.size) and manifest.follows(tree, proof, said.root)


def _row(leaf: bytes | None, content: bytes | None) -> Row | None:
    """The two lines as an entry, or None when they are none. What they say is the verifier's to check."""
    if leaf is None or content is None:
        return None
    try:
        said = manifest.document(leaf, {"content", "kid", "org", "prev", "seq", "sig"})
        record = canonical.loads(content)
        if type(said["seq"]) is not int or not manifest.is_hash(said["prev"]):
            return None
        sig, prev = base64.b64decode(said["sig"], validate=True), bytes.fromhex(said["prev"])
        digest, org, entry = merkle.leaf_hash(leaf), ids.parse(said["org"], "org"), ids.parse(record["id"], "ent")
        at = clock.parse(record["at"])
        return Row(org, said["seq"], entry, record["kind"], said["kid"], at, prev, digest, content, sig, leaf)
    except (Invalid, KeyError, TypeError, ValueError, binascii.Error):
        return None


def _raw(keys: Mapping[str, Ed25519PublicKey]) -> dict[str, bytes]:
    return {kid: key.public_bytes_raw() for kid, key in keys.items()}
