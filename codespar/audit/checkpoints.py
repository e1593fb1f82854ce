"""Checkpoints: signed tree heads of an organisation's chain, kept outside the database, where its superuser does not reach.

    <folder>/<org wire id>/<size, 20 digits>.note      C2SP tlog-checkpoint as a signed note, origin <deployment>/org/<org wire id>

A chain that was cut, or written anew from some entry on, contradicts the checkpoints that were made before: its tree of that size has
another root, or there is no tree of that size any more. Sources: c2sp.org/tlog-checkpoint, c2sp.org/signed-note.
"""

import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from codespar.audit.chain import Problems, Trust
from codespar.lib import ids
from codespar.lib.errors import CodesparError, Invalid
from ledger import notes
from ledger.merkle import Frontier
from ledger.records import Signer

_NAME = re.compile(r"(\d{20})\.note\Z")


class CheckpointConflict(CodesparError):
    """Two checkpoints of one size differ: one of the two trees is not this chain's."""

    code = "checkpoint_conflict"


@dataclass(frozen=True, slots=True)
class Found:
    """One checkpoint as it was found: `note` is None when it could not be read. The database's also have `root` and `frontier`."""

    size: int
    note: str | None
    root: bytes | None = None
    frontier: tuple[str, ...] | None = None


def origin(*, deployment: str, org: UUID) -> str:
    """The name of an organisation's log, and of the key that signs its checkpoints."""
    return f"{deployment}/org/{ids.wire('org', org)}"


def make(*, deployment: str, org: UUID, tree: Frontier, signer: Signer, public_key: Ed25519PublicKey) -> str:
    """The signed checkpoint of `tree`. Raises `NoteInvalid` when the signer's key is not `public_key`."""
    name = origin(deployment=deployment, org=org)
    text = notes.checkpoint_text(origin=name, size=tree.size, root=tree.root())
    return notes.sign_by(text=text, name=name, public_key=public_key, sign=signer.sign)


def path(*, folder: Path, org: UUID, size: int) -> Path:
    """Where the checkpoint of this size is kept."""
    return folder / ids.wire("org", org) / f"{size:020}.note"


def write(*, folder: Path, org: UUID, size: int, note: str) -> bool:
    """Keep a checkpoint for ever. Returns False when it was there; raises `CheckpointConflict` when another one was, `OSError`.

    A crash leaves the whole file or none; what was returned survives a loss of power.
    """
    target = path(folder=folder, org=org, size=size)
    _make_folder(target.parent)
    if target.exists():
        if target.read_text(encoding="utf-8") != note:
            raise CheckpointConflict(f"{target} holds another checkpoint of this size. Verify the chain before anything else.")
        return False
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".note-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.rename(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync(target.parent)
    return True


def sizes(*, folder: Path, org: UUID) -> list[int]:
    """The sizes of the checkpoints in the folder, ascending. Raises `OSError` when the folder is there and cannot be read."""
    try:
        names = os.listdir(folder / ids.wire("org", org))
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for match in map(_NAME.match, names) if match)


def organisations(folder: Path) -> set[UUID]:
    """Whose checkpoints the folder has. Raises `OSError`."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return set()
    return {found for name in names if (found := _org(name))}


def read(*, folder: Path, org: UUID, sizes: Iterable[int]) -> Iterator[Found]:
    """The checkpoints of these sizes, as they are now."""
    for size in sizes:
        try:
            yield Found(size, path(folder=folder, org=org, size=size).read_bytes()[: notes.LONGEST + 1].decode("utf-8"))
        except (OSError, UnicodeDecodeError):
            yield Found(size, None)


class Watch:
    """Compares checkpoints, ascending by size, with a tree that grows. `count` and `largest` tell how far the evidence goes."""

    def __init__(self, found: Iterable[Found], *, trust: Trust, where: str) -> None:
        self.problems = Problems()
        self.count = 0
        self.largest = 0
        self._found = iter(found)
        self._next = next(self._found, None)
        self._origin = origin(deployment=trust.deployment, org=trust.org)
        self._where = where

    def grow(self, tree: Frontier, keys: Collection[Ed25519PublicKey]) -> None:
        """Check the checkpoints of this size, if there are any. Call it after each entry."""
        while self._next is not None and self._next.size <= tree.size:
            self._check(self._take(self._next), tree, keys)

    def finish(self, size: int) -> None:
        """The chain ends here. A checkpoint of more entries says that its tail was deleted."""
        while self._next is not None:
            found = self._take(self._next)
            detail = f"A checkpoint {self._where} has {found.size} entries; the chain has {size}. Its tail was deleted."
            self.problems.add(size + 1, "tail_deleted", detail)

    def _take(self, found: Found) -> Found:
        self.count, self.largest = self.count + 1, max(self.largest, found.size)
        self._next = next(self._found, None)
        return found

    def _check(self, found: Found, tree: Frontier, keys: Collection[Ed25519PublicKey]) -> None:
        what = f"The checkpoint of {found.size} entries {self._where}"
        if found.note is None:
            self.problems.add(found.size, "checkpoint_form", f"{what} cannot be read.")
            return
        try:
            said = notes.parse_checkpoint(notes.parse(found.note)[0])
        except notes.NoteInvalid as error:
            self.problems.add(found.size, "checkpoint_form", f"{what} is damaged: {error.detail}")
            return
        if (said.origin, said.size) != (self._origin, found.size):
            self.problems.add(found.size, "checkpoint_form", f"{what} is another log's, or of another size.")
        elif not self._is(found, said.root, tree):
            self.problems.add(found.size, "checkpoint_root", f"{what} has another root: what it covers was changed later.")
        elif not any(self._signed(found.note, key) for key in keys):
            self.problems.add(found.size, "checkpoint_signature", f"{what} is not signed by the organisation's ledger key.")

    def _is(self, found: Found, root: bytes, tree: Frontier) -> bool:
        if found.root is not None and (found.root, found.frontier) != (root, tuple(tree.to_list())):
            return False
        return tree.size == found.size and tree.root() == root

    def _signed(self, note: str, key: Ed25519PublicKey) -> bool:
        try:
            notes.verify(note=note, name=self._origin, public_key=key)
        except notes.NoteInvalid:
            return False
        return True


def _org(name: str) -> UUID | None:
    try:
        return ids.parse(name, "org")
    except Invalid:
        return None


def _make_folder(folder: Path) -> None:
    """The organisation's folder, which anybody may read. The one above it is the operator's."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
