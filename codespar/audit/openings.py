"""Openings in an export against the commitments of its records: none that opens nothing, none that is missing. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from codespar.audit import manifest
from codespar.audit.archive import Damaged
from codespar.audit.chain import Problems
from codespar.lib import canonical
from codespar.lib.errors import Invalid


@dataclass(frozen=True, slots=True)
class Opening:
    """A value, its salt and its commitment (hex), and the entry that committed to it."""

    seq: int
    commit: str


def commitments(value: Any) -> set[str]:
    """What a record commits to: every text of a member `commit`, or whose name ends in `_commit`."""
    found: set[str] = set()
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found |= {text for name, text in one.items() if isinstance(text, str) and (name == "commit" or name.endswith("_commit"))}
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found


class Openings:
    """Takes the openings beside the entries, both by seq."""

    def __init__(self, lines: Iterator[bytes], *, of: str, problems: Problems) -> None:
        self.count = 0
        self._of, self._problems = of, problems
        self._found = self._read(lines)
        self._next = next(self._found, None)

    def take(self, seq: int, content: bytes | None) -> None:
        """The openings of this entry."""
        try:
            record = canonical.loads(content or b"")
        except Invalid:
            record = {}
        wanted = commitments(record)
        while self._next is not None and self._next.seq <= seq:
            if self._next.seq < seq or self._next.commit not in wanted:
                self._problems.add(self._next.seq, "opening", f"The opening {self._next.commit} does not open a commitment of its record.")
            wanted.discard(self._next.commit)
            self._next = next(self._found, None)
        if wanted and self._needs(record):
            self._problems.add(seq, "opening_missing", f"The commitment {min(wanted)} has no opening.")

    def finish(self) -> None:
        """What is left belongs to no entry of the file."""
        while self._next is not None:
            self._problems.add(self._next.seq, "opening", f"The opening {self._next.commit} belongs to no record of this file.")
            self._next = next(self._found, None)

    def _needs(self, record: Any) -> bool:
        return self._of == manifest.ALL or (self._of == manifest.TEST and record.get("livemode") is False)

    def _read(self, lines: Iterator[bytes]) -> Iterator[Opening]:
        last: tuple[int, str] = (0, "")
        try:
            for line in lines:
                said = manifest.document(line, {"commit", "salt", "seq", "value"})
                found = _opening(said)
                if (found.seq, found.commit) <= last:
                    raise Invalid(f"The opening {found.commit} stands in a wrong place, or twice.")
                last, self.count = (found.seq, found.commit), self.count + 1
                yield found
        except (Damaged, Invalid) as error:
            self._problems.add(last[0] or None, "opening", f"An opening cannot be read: {error.detail}")


def _opening(said: dict[str, Any]) -> Opening:
    """Raises `Invalid` unless salt and value make the commitment."""
    if not manifest.is_hash(said["commit"]) or not manifest.is_hash(said["salt"]) or type(said["seq"]) is not int:
        raise Invalid("An opening is a commitment and a salt of 32 bytes each, and a seq.")
    if not isinstance(said["value"], str):
        raise Invalid("The value of an opening is a text.")
    if canonical.sha256(bytes.fromhex(said["salt"]) + said["value"].encode()).hex() != said["commit"]:
        raise Invalid(f"The value is not the one that {said['commit']} commits to.")
    return Opening(said["seq"], said["commit"])
