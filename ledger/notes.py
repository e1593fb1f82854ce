"""Signed notes (c2sp.org/signed-note) and the checkpoint that they carry (c2sp.org/tlog-checkpoint).

    <origin>                      the text: three lines at least, each ended with a newline
    <size>
    <base64 of the root>
                                  an empty line
    — <name> <base64>             one line for each signature: 4 bytes of key id, then the signature

Signatures here are Ed25519 over the text (type 0x01). Lines of keys that a reader does not know are witnesses' or an
older key's, and do not count; a line of a key that it knows must verify.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from codespar.lib.canonical import sha256
from codespar.lib.errors import CodesparError

ED25519 = b"\x01"
MOST_SIGNATURES = 64
LONGEST = 256 * 1024


class NoteInvalid(CodesparError):
    """The note is malformed, or its signature does not hold."""

    code = "invalid_note"


@dataclass(frozen=True, slots=True)
class Signature:
    """One line under a note: the key's name, its 4-byte id, and the signature's bytes (64 for Ed25519)."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint says: the log's `origin`, its `size` in leaves, its `root` (32 bytes), and opaque lines."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()


def checkpoint_text(*, origin: str, size: int, root: bytes) -> str:
    """The text to be signed for a tree. Raises `NoteInvalid` unless the origin is one line and the root 32 bytes."""
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n"
    if parse_checkpoint(text) != Checkpoint(origin, size, root):
        raise NoteInvalid("An origin is one line.")
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a verified note. Raises `NoteInvalid` unless it is written in the one right way."""
    _check_text(text)
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise NoteInvalid("A checkpoint has three lines or more, none of them empty: origin, size, root.")
    origin, digits, encoded, *extensions = lines
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or str(int(digits)) != digits:
        raise NoteInvalid("A checkpoint's size is a decimal number without leading zeros.")
    root = _decode(encoded)
    if len(root) != 32:
        raise NoteInvalid("A checkpoint's root is 32 bytes.")
    return Checkpoint(origin, int(digits), root, tuple(extensions))


def sign(*, text: str, name: str, key: Ed25519PrivateKey) -> str:
    """`text` as a note with one signature. Ed25519 is deterministic: the same note each time. Raises `NoteInvalid`."""
    return f"{_check_text(text)}\n{signature(text=text, name=name, key=key)}"


def signature(*, text: str, name: str, key: Ed25519PrivateKey) -> Signature:
    """One more signature over `text`; its `str` is the line to put under the note."""
    return signature_by(text=text, name=name, public_key=key.public_key(), sign=key.sign)


def sign_by(*, text: str, name: str, public_key: Ed25519PublicKey, sign: Callable[[bytes], bytes]) -> str:
    """`sign` for a key that stays where it is kept: `sign` takes the bytes and gives its 64. Raises `NoteInvalid` if they do not fit."""
    note = f"{_check_text(text)}\n{signature_by(text=text, name=name, public_key=public_key, sign=sign)}"
    verify(note=note, name=name, public_key=public_key)
    return note


def signature_by(*, text: str, name: str, public_key: Ed25519PublicKey, sign: Callable[[bytes], bytes]) -> Signature:
    """`signature` for a key that stays where it is kept."""
    _check_text(text)
    return Signature(_check_name(name), key_id(name=name, public_key=public_key), sign(text.encode()))


def parse(note: str) -> tuple[str, tuple[Signature, ...]]:
    """The text and the signatures of a note, none of them verified. Raises `NoteInvalid` unless the form is exact."""
    if len(note) > LONGEST:
        raise NoteInvalid("The note is too long.")
    _check_characters(note)
    # The text may have empty lines of its own: the last one ends it.
    end = note.rfind("\n\n")
    if end < 0 or not note.endswith("\n") or end + 2 == len(note):
        raise NoteInvalid("A note is a text, an empty line, and signature lines, the last ended with a newline.")
    lines = note[end + 2 : -1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise NoteInvalid(f"A note has at most {MOST_SIGNATURES} signatures.")
    return _check_text(note[: end + 1]), tuple(_parse_line(line) for line in lines)


def verify(*, note: str, name: str, public_key: Ed25519PublicKey) -> str:
    """The text of `note`, if this key signed it. Raises `NoteInvalid`: malformed, not signed, or signed badly."""
    text, signatures = parse(note)
    wanted = key_id(name=name, public_key=public_key)
    found = [line for line in signatures if (line.name, line.key_id) == (name, wanted)]
    if not found:
        raise NoteInvalid(f"The note is not signed by the key {name}+{wanted.hex()}.")
    for line in found:
        try:
            public_key.verify(line.signature, text.encode())
        except InvalidSignature:
            raise NoteInvalid(f"The signature of the key {name}+{wanted.hex()} does not fit the text.") from None
    return text


def key_id(*, name: str, public_key: Ed25519PublicKey, kind: bytes = ED25519) -> bytes:
    """SHA-256(name || 0x0A || kind || public key), its first 4 bytes. A cosignature's `kind` is 0x04."""
    return sha256(_check_name(name).encode() + b"\n" + kind + public_key.public_bytes_raw())[:4]


def vkey(*, name: str, public_key: Ed25519PublicKey) -> str:
    """The verifier key as text: `<name>+<key id in hex>+<base64 of 0x01 || public key>`. What a verifier pins."""
    encoded = base64.b64encode(ED25519 + public_key.public_bytes_raw()).decode("ascii")
    return f"{name}+{key_id(name=name, public_key=public_key).hex()}+{encoded}"


def parse_vkey(text: str) -> tuple[str, Ed25519PublicKey]:
    """The name and the key of a verifier key. Raises `NoteInvalid` unless it is Ed25519 and the id is theirs."""
    name, _, rest = text.partition("+")
    data = _decode(rest.partition("+")[2])
    if len(data) != 33 or data[:1] != ED25519:
        raise NoteInvalid("A verifier key is <name>+<id>+<base64>, and its algorithm Ed25519.")
    public_key = Ed25519PublicKey.from_public_bytes(data[1:])
    if vkey(name=name, public_key=public_key) != text:
        raise NoteInvalid("The verifier key's id does not belong to its name and key.")
    return name, public_key


def _parse_line(line: str) -> Signature:
    name, _, encoded = line.removeprefix("— ").partition(" ")
    data = _decode(encoded)
    if not line.startswith("— ") or len(data) < 5:
        raise NoteInvalid("A signature line is an em dash, a name and base64 of a key id and a signature, with one space between.")
    return Signature(_check_name(name), data[:4], data[4:])


def _check_name(name: str) -> str:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise NoteInvalid("A key's name must not be empty, and must have no spaces and no plus.")
    _check_characters(name)
    return name


def _check_text(text: str) -> str:
    _check_characters(text)
    if not text.endswith("\n"):
        raise NoteInvalid("A note's text ends with a newline.")
    return text


def _check_characters(text: str) -> None:
    if any((character < " " and character != "\n") or "\ud800" <= character <= "\udfff" for character in text):
        raise NoteInvalid("A note is UTF-8 without control characters other than newlines.")


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    # Only what is written again the same way counts: no loose bits, no missing padding.
    if base64.b64encode(data).decode("ascii") != text:
        raise NoteInvalid("This must be standard base64 with padding.")
    return data
