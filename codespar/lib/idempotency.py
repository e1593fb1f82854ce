"""Idempotency keys: what a request was, and under which name its answer is kept. Pure."""

from dataclasses import dataclass
from typing import Any

from codespar.lib import canonical
from codespar.lib.errors import CodesparError, Invalid

LONGEST = 255


class KeyRequired(Invalid):
    """What can move money is asked for under a key of the caller's."""

    code = "idempotency_key_required"


class KeyConflict(CodesparError):
    """The key was used for another request before."""

    code = "idempotency_conflict"


class KeyExpired(CodesparError):
    """The key was used more than 30 days ago; what it did is not repeated."""

    code = "idempotency_key_expired"


class KeyInFlight(CodesparError):
    """The first request under this key has not been answered yet."""

    code = "idempotency_in_flight"


@dataclass(frozen=True, slots=True)
class Key:
    """`key_hash` names the key without containing it; `fingerprint` is SHA-256 of method, path, query and canonical body."""

    operation: str
    key_hash: bytes
    fingerprint: bytes

    @property
    def data(self) -> dict[str, str]:
        """The key as a record carries it."""
        return {"key": self.key_hash.hex(), "fingerprint": self.fingerprint.hex()}


def read(header: str | None, *, operation: str, method: str, path: str, query: str, body: Any) -> Key:
    """The key of a request. Raises `KeyRequired` without a header of 1 to 255 visible ASCII characters."""
    if header is None or not header:
        raise KeyRequired("This needs the header Idempotency-Key: 1 to 255 characters of your own, the same for every retry.")
    if len(header) > LONGEST or not header.isascii() or not header.isprintable():
        raise Invalid("An Idempotency-Key is 1 to 255 printable ASCII characters.")
    request = b"\n".join([method.encode(), path.encode(), query.encode(), canonical.dumps(body)])
    return Key(operation, canonical.sha256(header.encode()), canonical.sha256(request))


def check(key: Key, fingerprint: str, expired: bool) -> None:
    """Raises when an earlier request under this key was another one, or is too long ago."""
    if expired:
        raise KeyExpired("This Idempotency-Key was used more than 30 days ago. Use a new one for a new request.")
    if fingerprint != key.fingerprint.hex():
        raise KeyConflict("This Idempotency-Key was used for another request. Use a new key for a new request.")
