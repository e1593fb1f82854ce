"""Signing keys: made, sealed, opened. An opened key stays in this process for a minute at most."""

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_der_private_key
from django.conf import settings

from codespar.lib import db, ids
from codespar.lib.errors import Unavailable
from codespar.vault import envelope
from codespar.vault.models import PrivateKey
from ledger import records

log = structlog.get_logger(__name__)
KEEP_SECONDS = 60.0
Private = Ed25519PrivateKey | EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class NewKey:
    """A fresh key: its public half for the record, its sealed private half for the row."""

    id: UUID
    kid: str
    purpose: str
    jwk: dict[str, str]
    sealed: bytes
    private: Private


def master() -> envelope.MasterKeys:
    """The master keys, read anew: a process without them seals and opens nothing. Raises `Unavailable`."""
    try:
        return envelope.load_master_keys(file=settings.CONFIG.master_key_file, env=settings.CONFIG.master_key)
    except envelope.VaultRefused as error:
        # What is wrong with the file is for the log: whoever asks for a payment has no business with it.
        log.error("key_store_refused", detail=error.detail)
        raise Unavailable("The key store cannot be opened, so nothing can be signed. Nothing was decided; try again shortly.") from error


def generate(org: UUID, purpose: str) -> NewKey:
    """A new key of one purpose: `ledger` is Ed25519, `mandate` is EC P-256."""
    private: Private = Ed25519PrivateKey.generate() if purpose == "ledger" else generate_ec(SECP256R1())
    key_id = ids.new()
    kid = f"{purpose}-{key_id.hex}"
    encoded = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    sealed = envelope.seal(encoded, keys=master(), aad=aad(org, purpose, kid))
    return NewKey(key_id, kid, purpose, _jwk(private, kid), sealed, private)


def aad(org: UUID, purpose: str, name: str) -> bytes:
    """What a sealed secret is bound to: moved to another organisation, purpose or name it does not open."""
    return f"codespar/vault/v1\n{org.hex}\n{purpose}\n{name}".encode()


def ledger_signer(org: UUID) -> records.Signer:
    """The organisation's current ledger key, ready to sign."""
    kid, private = _current(org, "ledger")
    return signer(kid, private)


def signer(kid: str, private: Private) -> records.Signer:
    """A private Ed25519 key as what a record is signed with."""
    assert isinstance(private, Ed25519PrivateKey)
    return records.Signer(kid, private.sign)


def mandate_key(org: UUID) -> tuple[str, EllipticCurvePrivateKey]:
    """The organisation's current mandate key and its id."""
    kid, private = _current(org, "mandate")
    assert isinstance(private, EllipticCurvePrivateKey)
    return kid, private


def public_keys(org: UUID | None = None) -> list[dict[str, Any]]:
    """Public keys as JWKs with their organisation, oldest first. Of all organisations when `org` is None."""
    return [
        {"org": owner, "kid": kid, "purpose": purpose, "jwk": db.decode(jwk), "created_at": created, "retired_at": retired}
        for owner, kid, purpose, jwk, created, retired in db.rows("public_keys", org)
    ]


def load_public(jwk: dict[str, str]) -> Ed25519PublicKey | EllipticCurvePublicKey:
    """A public JWK as a key. Raises ValueError for anything else than Ed25519 and P-256."""
    return _public(jwk.get("kty"), jwk.get("crv"), jwk.get("x", ""), jwk.get("y", ""))


@lru_cache(maxsize=4096)
def _public(kty: str | None, crv: str | None, x: str, y: str) -> Ed25519PublicKey | EllipticCurvePublicKey:
    if (kty, crv) == ("OKP", "Ed25519"):
        return Ed25519PublicKey.from_public_bytes(_unb64(x))
    if (kty, crv) == ("EC", "P-256"):
        return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), b"\x04" + _unb64(x) + _unb64(y))
    raise ValueError("not an Ed25519 or P-256 key")


class _Opened:
    """Opened keys by (org, purpose), for a minute: a stopped key store stops signing within it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[tuple[UUID, str], tuple[float, str, Private]] = {}

    def get(self, org: UUID, purpose: str, load: Callable[[], tuple[str, Private]]) -> tuple[str, Private]:
        with self._lock:
            found = self._keys.get((org, purpose))
        if found and found[0] > time.monotonic():
            return found[1], found[2]
        kid, private = load()
        with self._lock:
            self._keys[(org, purpose)] = (time.monotonic() + KEEP_SECONDS, kid, private)
        return kid, private


_opened = _Opened()


def _current(org: UUID, purpose: str) -> tuple[str, Private]:
    return _opened.get(org, purpose, lambda: _open(org, purpose))


def _open(org: UUID, purpose: str) -> tuple[str, Private]:
    with db.tenant(org):
        row = PrivateKey.objects.for_org(org).filter(purpose=purpose, retired_at=None).first()
    if row is None:
        raise Unavailable(f"The organisation has no current {purpose} key.")
    try:
        encoded = envelope.open_(bytes(row.sealed), keys=master(), aad=aad(org, purpose, row.kid))
    except envelope.VaultRefused as error:
        raise Unavailable("The key store did not open the organisation's key.") from error
    private = load_der_private_key(encoded, password=None)
    assert isinstance(private, Ed25519PrivateKey | EllipticCurvePrivateKey)
    return row.kid, private


def _jwk(private: Private, kid: str) -> dict[str, str]:
    public = private.public_key()
    if isinstance(public, Ed25519PublicKey):
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": _b64(raw), "kid": kid, "alg": "Ed25519", "use": "sig"}
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {"kty": "EC", "crv": "P-256", "x": _b64(point[1:33]), "y": _b64(point[33:]), "kid": kid, "alg": "ES256", "use": "sig"}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
