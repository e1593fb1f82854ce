"""Access tokens as text: cs_test_… or cs_live_…, then base64url of org id, token id, 32 random bytes and a checksum.

The server keeps SHA-256(SHA-256(token)): what leaks from the database opens nothing. The checksum finds typing errors and
lets secret scanners tell a real token from a look-alike; it is no security.
"""

import base64
import binascii
import secrets
import zlib
from dataclasses import dataclass
from uuid import UUID

from codespar.lib import canonical, ids
from codespar.lib.errors import CodesparError


class Unauthenticated(CodesparError):
    """The access token is missing, malformed, unknown, expired or revoked: which of these is not said."""

    code = "unauthenticated"


@dataclass(frozen=True, slots=True)
class TokenText:
    """What an access token says of itself. `digest` (32 bytes) is what the database is asked with."""

    org: UUID
    id: UUID
    livemode: bool
    digest: bytes


def make(org: UUID, livemode: bool) -> tuple[str, TokenText]:
    """A new token, shown once, and what is kept of it."""
    token = ids.new()
    body = org.bytes + token.bytes + secrets.token_bytes(32)
    text = _prefix(livemode) + base64.urlsafe_b64encode(body + _checksum(body)).decode().rstrip("=")
    return text, TokenText(org, token, livemode, canonical.sha256(text.encode()))


def parse(text: str) -> TokenText:
    """Read a token's own words, before anybody has checked that they are true. Raises `Unauthenticated`."""
    for livemode in (True, False):
        if text.startswith(_prefix(livemode)):
            body = _body(text.removeprefix(_prefix(livemode)))
            if body is not None:
                return TokenText(UUID(bytes=body[:16]), UUID(bytes=body[16:32]), livemode, canonical.sha256(text.encode()))
    raise Unauthenticated("This is not an access token. Send `Authorization: Bearer cs_test_…` or `cs_live_…`.")


def stored_digest(digest: bytes) -> str:
    """What the row and the record keep of a token: hex of SHA-256(digest)."""
    return canonical.sha256(digest).hex()


def _prefix(livemode: bool) -> str:
    return "cs_live_" if livemode else "cs_test_"


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(4, "big")


def _body(encoded: str) -> bytes | None:
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw[:64] if len(raw) == 68 and raw[64:] == _checksum(raw[:64]) else None
