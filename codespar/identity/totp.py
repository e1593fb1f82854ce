"""One-time passwords (TOTP, RFC 6238): the algorithm is django-otp's, the secret is sealed like every other."""

import base64
import secrets
from uuid import UUID

from django_otp.oath import TOTP

from codespar.vault import envelope, keys

STEP_SECONDS = 30
_LENGTH = 20


def new_secret() -> bytes:
    """20 random bytes (RFC 4226 §4)."""
    return secrets.token_bytes(_LENGTH)


def seal(secret: bytes, *, org: UUID, device: UUID) -> bytes:
    """The secret as its row keeps it."""
    return envelope.seal(secret, keys=keys.master(), aad=keys.aad(org, "totp", device.hex))


def matching_step(sealed: bytes, *, org: UUID, device: UUID, code: str, at: float) -> int | None:
    """The time step for which `code` is right (the current one, or one beside it), or None. `at`: Unix seconds."""
    secret = envelope.open_(sealed, keys=keys.master(), aad=keys.aad(org, "totp", device.hex))
    if not (code.isascii() and code.isdigit() and len(code) == 6):
        return None
    for drift in (0, -1, 1):
        totp = TOTP(secret, STEP_SECONDS, drift=drift)
        totp.time = at
        if secrets.compare_digest(f"{totp.token():06d}", code):
            return int(at // STEP_SECONDS) + drift
    return None


def uri(secret: bytes, *, email: str) -> str:
    """What an authenticator app scans."""
    return f"otpauth://totp/codespar:{email}?secret={base32(secret)}&issuer=codespar&algorithm=SHA1&digits=6&period={STEP_SECONDS}"


def base32(secret: bytes) -> str:
    """The secret as people type it into an authenticator."""
    return base64.b32encode(secret).decode()
