"""The one form of an export's file: a zip (PKWARE APPNOTE 6.3) in which no byte is free.

    for each of NAMES, in that order: local header, the data, data descriptor
    central directory, zip64 end, zip64 locator, end

Members are stored, never compressed, so that nothing grows when it is read; sizes always stand in zip64 fields; times, versions and
attributes are the constants below. All that is not a member's data follows from the names, sizes and checksums: a reader builds it again
and compares, so a changed byte between the members is found like one inside them. Any tool that reads zip64 opens the file.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from codespar.lib.errors import CodesparError

LEAVES, CONTENTS, OPENINGS, CHECKPOINTS = "leaves.jsonl", "contents.jsonl", "openings.jsonl", "checkpoints.jsonl"
KEYS, PROOFS, MANIFEST, SIGNATURE = "keys.json", "proofs.json", "manifest.json", "manifest.sig"
NAMES = (LEAVES, CONTENTS, OPENINGS, CHECKPOINTS, KEYS, PROOFS, MANIFEST, SIGNATURE)
# What the manifest lists, and what it is read from.
LISTED = NAMES[:6]
LONGEST_LINE = 4 * 1024 * 1024
LONGEST_DOCUMENT = 1024 * 1024

_VERSION, _MADE_BY = 45, 3 << 8 | 45
_SIZES_FOLLOW = 0x0008
_STORED, _TIME, _DATE = 0, 0, 1 << 5 | 1
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ATTRIBUTES = 0o100600 << 16
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_DESCRIPTOR = struct.Struct("<4sLQQ")
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4sHHHHLLH")
_TAIL = _END64.size + _LOCATOR.size + _END.size
_AT_ONCE = 1 << 16


class Damaged(CodesparError):
    """The file is not an export, or not all of one."""

    code = "archive"


@dataclass(frozen=True, slots=True)
class Stored:
    """One member as the directory lists it: where its header begins, how many bytes of data it has, and their CRC-32."""

    name: str
    offset: int
    size: int
    crc: int

    @property
    def start(self) -> int:
        """Where the data begins."""
        return self.offset + len(_header(self.name))

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.start + self.size + _DESCRIPTOR.size


class Writer:
    """Frames members one after the other. Nothing is kept but their sizes and digests."""

    def __init__(self) -> None:
        self.sha256: dict[str, str] = {}
        self._stored: list[Stored] = []

    def member(self, name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The bytes of the next member, as its data comes."""
        offset = self._stored[-1].end if self._stored else 0
        digest, crc, size = hashlib.sha256(), 0, 0
        yield _header(name)
        for chunk in chunks:
            digest.update(chunk)
            crc, size = zlib.crc32(chunk, crc), size + len(chunk)
            yield chunk
        self.sha256[name] = digest.hexdigest()
        self._stored.append(Stored(name, offset, size, crc))
        yield _descriptor(self._stored[-1])

    def end(self) -> bytes:
        """What stands after the last member."""
        return _directory(self._stored)


class Member:
    """The data of one member, read from its beginning each time."""

    def __init__(self, path: Path, stored: Stored) -> None:
        self._path, self._stored = path, stored

    def lines(self) -> Iterator[bytes]:
        """Each line without its newline. Raises `Damaged` for one that is too long, or has no end."""
        left = self._stored.size
        with self._path.open("rb") as file:
            file.seek(self._stored.start)
            while left:
                line = file.readline(min(left, LONGEST_LINE))
                left -= len(line)
                if not line.endswith(b"\n"):
                    raise Damaged(f"{self._stored.name} has a line that is too long, or does not end.")
                yield line[:-1]

    def read(self) -> bytes:
        """All of a small member. Raises `Damaged`."""
        if self._stored.size > LONGEST_DOCUMENT:
            raise Damaged(f"{self._stored.name} has more than {LONGEST_DOCUMENT} bytes.")
        with self._path.open("rb") as file:
            return _at(file, self._stored.start, self._stored.size)

    def sha256(self) -> str:
        """The digest of all of it. Raises `Damaged` when the checksum is not the one that the archive gives."""
        digest, crc = hashlib.sha256(), 0
        with self._path.open("rb") as file:
            for place in range(0, self._stored.size, _AT_ONCE):
                data = _at(file, self._stored.start + place, min(_AT_ONCE, self._stored.size - place))
                digest.update(data)
                crc = zlib.crc32(data, crc)
        if crc != self._stored.crc:
            raise Damaged(f"{self._stored.name} does not have the checksum that the archive gives it.")
        return digest.hexdigest()


class Archive:
    """An export's file whose frame is the right one to the byte. Raises `Damaged`, `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            self._stored = {stored.name: stored for stored in _read(file)}

    def member(self, name: str) -> Member:
        return Member(self._path, self._stored[name])


def _header(name: str) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, 0, 0)
    fields = (_VERSION, _SIZES_FOLLOW, _STORED, _TIME, _DATE, 0, _FULL32, _FULL32, len(name), len(extra))
    return _LOCAL.pack(b"PK\3\4", *fields) + name.encode("ascii") + extra


def _descriptor(stored: Stored) -> bytes:
    return _DESCRIPTOR.pack(b"PK\7\10", stored.crc, stored.size, stored.size)


def _central(stored: Stored) -> bytes:
    extra = struct.pack("<HHQQQ", 1, 24, stored.size, stored.size, stored.offset)
    fields = (_MADE_BY, _VERSION, _SIZES_FOLLOW, _STORED, _TIME, _DATE, stored.crc, _FULL32, _FULL32)
    rest = (len(stored.name), len(extra), 0, 0, 0, _ATTRIBUTES, _FULL32)
    return _CENTRAL.pack(b"PK\1\2", *fields, *rest) + stored.name.encode("ascii") + extra


def _directory(members: list[Stored]) -> bytes:
    listed = b"".join(_central(stored) for stored in members)
    start, count = members[-1].end, len(members)
    end64 = _END64.pack(b"PK\6\6", _END64.size - 12, _MADE_BY, _VERSION, 0, 0, count, count, len(listed), start)
    locator = _LOCATOR.pack(b"PK\6\7", 0, start + len(listed), 1)
    return listed + end64 + locator + _END.pack(b"PK\5\6", 0, 0, _FULL16, _FULL16, _FULL32, _FULL32, 0)


def _read(file: BinaryIO) -> list[Stored]:
    """The members, once every byte around them is the one that it must be."""
    size = file.seek(0, 2)
    # The directory has one length, for the names are known.
    length = len(_directory([Stored(name, 0, 0, 0) for name in NAMES]))
    if size < length:
        raise Damaged("The file is too short to be an export: it is cut, or something else.")
    directory = _at(file, size - length, length)
    members = list(_members(directory))
    if members[-1].end != size - length or _directory(members) != directory:
        raise Damaged("The end of the file is not that of an export: it is cut, was changed, or is something else.")
    for stored in members:
        head, foot = _at(file, stored.offset, stored.start - stored.offset), _at(file, stored.start + stored.size, _DESCRIPTOR.size)
        if (head, foot) != (_header(stored.name), _descriptor(stored)):
            raise Damaged(f"What stands around {stored.name} in the file is not what an export has there.")
    return members


def _members(directory: bytes) -> Iterator[Stored]:
    """What the directory says of sizes and checksums; each member begins where the one before it ends."""
    place = offset = 0
    for name in NAMES:
        crc = _CENTRAL.unpack_from(directory, place)[7]
        extra = place + _CENTRAL.size + len(name)
        size = struct.unpack_from("<HHQ", directory, extra)[2]
        yield Stored(name, offset, size, crc)
        offset = Stored(name, offset, size, crc).end
        place = extra + 28


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
