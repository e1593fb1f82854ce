"""Checkpoints: signed tree heads of an organisation's chain, kept outside the database, where its superuser does not reach.

    <folder>/<org wire id>/<size, 20 digits>.note      C2SP tlog-checkpoint as a signed note, origin <deployment>/org/<org wire id>

After the database was set back to an older copy, and an entry has confirmed that, the chain grows another way than its checkpoints tell.
Each setback begins a generation, whose log has another name and another folder: both end with `/r<n>`.

A chain that was cut, or written anew from some entry on, contradicts the checkpoints that were made before: its tree of that size has
another root, or there is no tree of that size any more. Sources: c2sp.org/tlog-checkpoint, c2sp.org/signed-note.
"""

import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
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
_SUFFIX = re.compile(r"[^\n]*/r([1-9]\d{0,5})\n")
_GENERATION = re.compile(r"r([1-9]\d{0,5})\Z")


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
    generation: int = 0


def origin(*, deployment: str, org: UUID, generation: int = 0) -> str:
    """The name of an organisation's log, and of the key that signs its checkpoints."""
    return "/".join([deployment, "org", ids.wire("org", org), *_suffix(generation)])


def make(*, deployment: str, org: UUID, tree: Frontier, signer: Signer, public_key: Ed25519PublicKey, generation: int = 0) -> str:
    """The signed checkpoint of `tree`. Raises `NoteInvalid` when the signer's key is not `public_key`."""
    name = origin(deployment=deployment, org=org, generation=generation)
    text = notes.checkpoint_text(origin=name, size=tree.size, root=tree.root())
    return notes.sign_by(text=text, name=name, public_key=public_key, sign=signer.sign)


def path(*, folder: Path, org: UUID, size: int, generation: int = 0) -> Path:
    """Where the checkpoint of this size is kept."""
    return _home(folder, org, generation) / f"{size:020}.note"


def write(*, folder: Path, org: UUID, size: int, note: str, generation: int = 0) -> bool:
    """Keep a checkpoint for ever. Returns False when it was there; raises `CheckpointConflict` when another one was, `OSError`.

    A crash leaves the whole file or none; what was returned survives a loss of power.
    """
    target = path(folder=folder, org=org, size=size, generation=generation)
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


def sizes(*, folder: Path, org: UUID, generation: int = 0) -> list[int]:
    """The sizes of a generation's checkpoints in the folder, ascending. Raises `OSError` when it is there and cannot be read."""
    return sorted(int(match[1]) for match in map(_NAME.match, _names(_home(folder, org, generation))) if match)


def generation(*, folder: Path, org: UUID) -> int:
    """The last generation that the folder has checkpoints of. Raises `OSError`."""
    return max((int(match[1]) for match in map(_GENERATION.match, _names(_home(folder, org, 0))) if match), default=0)


def ends(setbacks: Iterable[tuple[int, int]], latest: int) -> dict[int, int]:
    """After which size each generation up to `latest` ended; `setbacks` are (the generation that began, what was sealed before it)."""
    said = list(setbacks)
    known = range(max([latest, *(began for began, _ in said)]) + 1)
    found = {of: [sealed for began, sealed in said if began > of] for of in known}
    return {of: min(after) for of, after in found.items() if after}


def generation_of(note: str) -> int:
    """The generation that a checkpoint says it is of; 0 when it says nothing that can be read."""
    match = _SUFFIX.match(note)
    return int(match[1]) if match else 0


def organisations(folder: Path) -> set[UUID]:
    """Whose checkpoints the folder has. Raises `OSError`."""
    return {found for name in _names(folder) if (found := _org(name))}


def read(*, folder: Path, org: UUID, which: Iterable[tuple[int, int]]) -> Iterator[Found]:
    """The checkpoints of these (size, generation), as they are now."""
    for size, generation in which:
        try:
            data = path(folder=folder, org=org, size=size, generation=generation).read_bytes()
            yield Found(size, data[: notes.LONGEST + 1].decode("utf-8"), generation=generation)
        except (OSError, UnicodeDecodeError):
            yield Found(size, None, generation=generation)


def listed(*, folder: Path, org: UUID) -> list[tuple[int, int]]:
    """(size, generation) of every checkpoint in the folder, ascending. Raises `OSError`."""
    latest = generation(folder=folder, org=org)
    return sorted((size, of) for of in range(latest + 1) for size in sizes(folder=folder, org=org, generation=of))


class Watch:
    """Compares checkpoints, ascending by size, with a tree that grows. `count` and `largest` tell how far the evidence goes.

    `ends` says after which size a setback ended a generation, as an entry of the chain confirms it: larger checkpoints of that generation
    tell of entries that are gone, and of nothing else.
    """

    def __init__(self, found: Iterable[Found], *, trust: Trust, where: str, ends: Mapping[int, int] | None = None) -> None:
        self.problems = Problems()
        self.count = 0
        self.largest = 0
        self._found = iter(found)
        self._next = next(self._found, None)
        self._trust = trust
        self._where = where
        self._ends = ends or {}

    def grow(self, tree: Frontier, keys: Collection[Ed25519PublicKey]) -> None:
        """Check the checkpoints of this size, if there are any. Call it after each entry."""
        while self._next is not None and self._next.size <= tree.size:
            self._check(self._take(self._next), tree, keys)

    def finish(self, size: int) -> None:
        """The chain ends here. A checkpoint of more entries says that its tail was deleted."""
        while self._next is not None:
            found = self._take(self._next)
            if self._gone(found):
                continue
            detail = f"A checkpoint {self._where} has {found.size} entries; the chain has {size}. Its tail was deleted."
            self.problems.add(size + 1, "tail_deleted", detail)

    def _take(self, found: Found) -> Found:
        self.count, self.largest = self.count + 1, max(self.largest, found.size)
        self._next = next(self._found, None)
        return found

    def _gone(self, found: Found) -> bool:
        """Whether a confirmed setback took what this checkpoint covers; said once."""
        end = self._ends.get(found.generation)
        if end is None or found.size <= end:
            return False
        if "rewound" not in self.problems.codes:
            said = f"Entries after {end} that had been sealed are lost: the database was set back to an older copy. An entry confirms it."
            self.problems.add(end + 1, "rewound", said)
        return True

    def _check(self, found: Found, tree: Frontier, keys: Collection[Ed25519PublicKey]) -> None:
        if self._gone(found):
            return
        what = f"The checkpoint of {found.size} entries {self._where}"
        if found.note is None:
            self.problems.add(found.size, "checkpoint_form", f"{what} cannot be read.")
            return
        try:
            said = notes.parse_checkpoint(notes.parse(found.note)[0])
        except notes.NoteInvalid as error:
            self.problems.add(found.size, "checkpoint_form", f"{what} is damaged: {error.detail}")
            return
        if (said.origin, said.size) != (self._origin(found), found.size):
            self.problems.add(found.size, "checkpoint_form", f"{what} is another log's, or of another size.")
        elif not self._is(found, said.root, tree):
            self.problems.add(found.size, "checkpoint_root", f"{what} has another root: what it covers was changed later.")
        elif not any(self._signed(found, found.note, key) for key in keys):
            self.problems.add(found.size, "checkpoint_signature", f"{what} is not signed by the organisation's ledger key.")

    def _is(self, found: Found, root: bytes, tree: Frontier) -> bool:
        if found.root is not None and (found.root, found.frontier) != (root, tuple(tree.to_list())):
            return False
        return tree.size == found.size and tree.root() == root

    def _origin(self, found: Found) -> str:
        return origin(deployment=self._trust.deployment, org=self._trust.org, generation=found.generation)

    def _signed(self, found: Found, note: str, key: Ed25519PublicKey) -> bool:
        try:
            notes.verify(note=note, name=self._origin(found), public_key=key)
        except notes.NoteInvalid:
            return False
        return True


def _suffix(generation: int) -> list[str]:
    return [f"r{generation}"] if generation else []


def _home(folder: Path, org: UUID, generation: int) -> Path:
    return folder.joinpath(ids.wire("org", org), *_suffix(generation))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


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
