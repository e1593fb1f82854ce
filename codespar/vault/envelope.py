"""Envelope encryption: each secret under its own data key, each data key under a master key.

Both with AES-256-GCM (NIST SP 800-38D). A sealed secret says itself how it was made:

    version   1 byte, 0x01
    id        1 byte of length, then the master key's id (ASCII)
    wrapped   12 bytes of nonce, 48 bytes: the data key and its tag
              additional data "codespar/vault/v1/key\\n" || length || id || aad
    secret    12 bytes of nonce, ciphertext and tag (16 bytes longer than the secret)
              additional data "codespar/vault/v1/secret\\n" || aad

`aad` says whose secret it is and which (table, organisation, row), so that a ciphertext that is moved to another row
does not open. A data key encrypts once, so a random nonce cannot repeat; rotating the master key rewrites `wrapped`
and leaves `secret` alone.
"""

import base64
import errno
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from codespar.lib.canonical import sha256
from codespar.lib.errors import CodesparError

VERSION = 1

_KEY, _NONCE, _TAG = 32, 12, 16
_WRAPPED = _NONCE + _KEY + _TAG
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_LARGEST_FILE = 64 * 1024
_WRONG = "This sealed secret does not open: it was changed, it belongs to another record, or the master key is not the one of its id."


class VaultRefused(CodesparError):
    """A master key cannot be used, or a sealed secret does not open. The message never holds either."""

    code = "vault_refused"


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """The master keys by id, 32 bytes each; `current` seals, all of them open. Raises `VaultRefused`."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if self.current not in self.keys:
            raise VaultRefused("The current master key must be among the master keys.")
        for name, key in self.keys.items():
            if not _ID.match(name) or len(key) != _KEY:
                raise VaultRefused("A master key is 32 bytes, and its id is 1 to 64 letters, digits, dots, dashes or underscores.")


def load_master_keys(*, file: Path | None, env: str | None) -> MasterKeys:
    """The master keys out of `file`, or out of `env` (the variable's value): exactly one of them must be given.

    The content is lines `id:base64(32 bytes)`, or base64 alone, whose id is then the first 8 hex digits of the key's
    SHA-256; the first line is current. The file must be regular, not a symbolic link, with mode 0600 or 0400. Raises
    `VaultRefused`.
    """
    if file is not None and env:
        raise VaultRefused("Master keys are given twice, as a file and in the environment: keep one of them.")
    if file is None and not env:
        raise VaultRefused("There is no master key. Name a file (mode 0600) with a line made by: openssl rand -base64 32")
    lines = (_read_private(file) if file is not None else str(env)).splitlines()
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, key = _parse_line(line.strip(), number)
        if name in keys:
            raise VaultRefused(f"Line {number} of the master keys repeats an id: each key needs its own.")
        keys[name] = key
    if not keys:
        raise VaultRefused("The master key is empty. Write a line made by: openssl rand -base64 32")
    return MasterKeys(current=next(iter(keys)), keys=keys)


def seal(plaintext: bytes, *, keys: MasterKeys, aad: bytes) -> bytes:
    """`plaintext` under a fresh data key and the current master key, bound to `aad`. Never the same bytes twice."""
    data_key = secrets.token_bytes(_KEY)
    wrapped = _wrap(data_key, keys, aad)
    nonce = secrets.token_bytes(_NONCE)
    return wrapped + nonce + AESGCM(data_key).encrypt(nonce, plaintext, _secret_aad(aad))


def open_(sealed: bytes, *, keys: MasterKeys, aad: bytes) -> bytes:
    """The plaintext. Raises `VaultRefused` if a byte of `sealed` or `aad` is another, or its master key is missing."""
    name, wrapped, body = _split(sealed)
    data_key = _unwrap(name, wrapped, keys, aad)
    try:
        return AESGCM(data_key).decrypt(body[:_NONCE], body[_NONCE:], _secret_aad(aad))
    except InvalidTag:
        raise VaultRefused(_WRONG) from None


def rewrap(sealed: bytes, *, keys: MasterKeys, aad: bytes) -> bytes:
    """The same secret under the current master key: the data key is wrapped anew, the ciphertext is not touched.

    Safe to run twice. Raises `VaultRefused` where `open_` would, except for a change inside the ciphertext, which it
    does not read.
    """
    name, wrapped, body = _split(sealed)
    return _wrap(_unwrap(name, wrapped, keys, aad), keys, aad) + body


def master_id(sealed: bytes) -> str:
    """The id of the master key that `sealed` claims to need. Raises `VaultRefused` if it is no sealed secret."""
    return _split(sealed)[0]


def _wrap(data_key: bytes, keys: MasterKeys, aad: bytes) -> bytes:
    name, nonce = keys.current, secrets.token_bytes(_NONCE)
    wrapped = AESGCM(keys.keys[name]).encrypt(nonce, data_key, _key_aad(name, aad))
    return bytes([VERSION, len(name)]) + name.encode("ascii") + nonce + wrapped


def _unwrap(name: str, wrapped: bytes, keys: MasterKeys, aad: bytes) -> bytes:
    key = keys.keys.get(name)
    if key is None:
        raise VaultRefused(f"The master key {name} is not loaded: put its line back below the current one.", master_id=name)
    try:
        return AESGCM(key).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _key_aad(name, aad))
    except InvalidTag:
        raise VaultRefused(_WRONG) from None


def _split(sealed: bytes) -> tuple[str, bytes, bytes]:
    """The master key's id, the wrapped data key and the rest."""
    if len(sealed) < 2 or sealed[0] != VERSION:
        raise VaultRefused(f"This is not a sealed secret of version {VERSION}.")
    end = 2 + sealed[1]
    name = sealed[2:end].decode("ascii", "replace")
    if not _ID.match(name) or len(sealed) < end + _WRAPPED + _NONCE + _TAG:
        raise VaultRefused("This sealed secret is cut short or damaged.")
    return name, sealed[end : end + _WRAPPED], sealed[end + _WRAPPED :]


def _key_aad(name: str, aad: bytes) -> bytes:
    return b"codespar/vault/v1/key\n" + bytes([len(name)]) + name.encode("ascii") + aad


def _secret_aad(aad: bytes) -> bytes:
    return b"codespar/vault/v1/secret\n" + aad


def _parse_line(line: str, number: int) -> tuple[str, bytes]:
    name, colon, encoded = line.rpartition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if len(key) != _KEY or (colon and not _ID.match(name)):
        # `from None`, and no part of the line: what is wrong here may be a key all the same.
        raise VaultRefused(f"Line {number} of the master keys must be base64 of 32 bytes, or id:base64.") from None
    return (name if colon else sha256(key).hex()[:8]), key


def _read_private(file: Path) -> str:
    """The text of a file that nobody else can read. Opened first and looked at then: there is no moment in between."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise VaultRefused(f"The master key file {file} is a symbolic link: name the file itself.") from None
        raise VaultRefused(f"The master key file {file} cannot be read: {error.strerror}.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise VaultRefused(f"The master key file {file} must be a regular file.")
        mode = stat.S_IMODE(status.st_mode)
        if mode not in (0o600, 0o400):
            raise VaultRefused(f"The master key file {file} has mode {mode:04o}, and must have 0600 or 0400: chmod 600 {file}")
        return os.read(descriptor, _LARGEST_FILE).decode("ascii", "replace")
    finally:
        os.close(descriptor)
