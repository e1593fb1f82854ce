"""The SD-JWT format, and nothing about money: base64url, JSON, ES256, hashes, P-256 keys as JWK.

Written directly on `cryptography`, because a credential is verified before every use and because the bytes must be
exact (a budget is a decimal fraction). Sources: RFC 7515 (JWS), RFC 7518 §3.4 (ES256), RFC 7517/7638 (JWK,
thumbprint), RFC 9901 (SD-JWT).
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from codespar.lib import canonical
from codespar.lib.errors import CodesparError, Invalid

# The work that one stranger can ask for is bounded before anything is decoded.
LONGEST = 64 * 1024

_ES256 = ec.ECDSA(hashes.SHA256())
_JWK_MEMBERS = frozenset({"kty", "crv", "x", "y"})
_VISIBLE = re.compile(r"[!-~]{1,255}\Z")


class MandateInvalid(CodesparError):
    """The credential or presentation proves nothing.

    Codes: `invalid_mandate` (form, signature, values), `unknown_constraint`, `mandate_expired`,
    `mandate_not_yet_valid`, `unknown_key`.
    """

    code = "invalid_mandate"


@dataclass(frozen=True, slots=True)
class Jws:
    """A compact JWS that has been taken apart and not verified yet."""

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes:
    """The bytes of base64url text. Raises `MandateInvalid` for padding, foreign characters and loose trailing bits."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        data = b""
    # Python's decoder skips what it does not know: only text that is written again the same way counts.
    if not data or encode(data) != text:
        raise MandateInvalid("Each part must be base64url without padding, written in its one canonical way.")
    return data


def digest(text: str) -> str:
    """base64url of SHA-256 over ASCII text: the form of `sd_hash` and of disclosure digests (RFC 9901 §4.2.3)."""
    return encode(canonical.sha256(text.encode("ascii")))


def read(data: bytes) -> Any:
    """Strict JSON with fractions as `Decimal`. Raises `MandateInvalid` for what two readers could read differently."""
    try:
        canonical.loads(data)
        return json.loads(data.decode("utf-8"), parse_float=Decimal)
    except Invalid as error:
        raise MandateInvalid(f"A part is not acceptable JSON: {error.detail}") from error
    except (ValueError, ArithmeticError) as error:
        raise MandateInvalid("A part holds a number that cannot be read exactly.") from error


def write(value: Any) -> str:
    """JSON with sorted names, no spaces and `Decimal` as its exact digits.

    Equal to RFC 8785 wherever a double holds the number; past that (a budget of 16 digits) only this text is exact.
    """
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(name)}:{write(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def visible(value: object, what: str) -> str:
    """`value` if it is 1 to 255 visible ASCII characters. Raises `Invalid`."""
    if isinstance(value, str) and _VISIBLE.match(value):
        return value
    raise Invalid(f"{what} must be 1 to 255 visible ASCII characters.")


def sign(*, header: Mapping[str, Any], payload: Mapping[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """A compact JWS, ES256: r || s in 64 bytes. Raises `Invalid` for a key on another curve."""
    if not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("ES256 signs with a P-256 key.")
    signing_input = f"{encode(write(header).encode())}.{encode(write(payload).encode())}"
    r, s = decode_dss_signature(key.sign(signing_input.encode(), _ES256))
    return f"{signing_input}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def parse(token: str) -> Jws:
    """Take a compact JWS apart. Raises `MandateInvalid` unless it is three strict parts with a 64-byte signature."""
    parts = token.split(".")
    if len(parts) != 3:
        raise MandateInvalid("A signed token has three parts: header.payload.signature.")
    header, signature = read(decode(parts[0])), decode(parts[2])
    if not isinstance(header, dict):
        raise MandateInvalid("The header must be a JSON object.")
    if len(signature) != 64:
        raise MandateInvalid("An ES256 signature is 64 bytes: r and s, 32 each.")
    return Jws(header, decode(parts[1]), token.rpartition(".")[0].encode("ascii"), signature)


def check_header(header: Mapping[str, Any], *, typ: str, kid: bool | None) -> None:
    """Refuse a header other than exactly `alg` ES256, `typ`, and a text `kid` (True: required, None: optional).

    An allow-list of one algorithm is what keeps `none` and HMAC with a public key out; so no other member may stand
    there.
    """
    if header.get("alg") != "ES256":
        raise MandateInvalid("The algorithm must be ES256; none, HMAC and every other one are refused.")
    if header.get("typ") != typ:
        raise MandateInvalid(f"The header's typ must be {typ}.")
    if set(header) - {"kid"} != {"alg", "typ"} or (kid and "kid" not in header):
        raise MandateInvalid("The header must have exactly the members alg, typ and kid.")
    if not isinstance(header.get("kid", ""), str):
        raise MandateInvalid("The header's kid must be text.")


def claims(jws: Jws, *, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The payload of `jws`, read only after its signature holds. Low and high s both count, as in ES256 everywhere.

    Raises `MandateInvalid`.
    """
    r, s = int.from_bytes(jws.signature[:32], "big"), int.from_bytes(jws.signature[32:], "big")
    try:
        key.verify(encode_dss_signature(r, s), jws.signing_input, _ES256)
    except InvalidSignature as error:
        raise MandateInvalid("The signature does not fit these bytes and this key.") from error
    found = read(jws.payload)
    if not isinstance(found, dict):
        raise MandateInvalid("The payload must be a JSON object.")
    return found


def members(value: object, what: str, *, required: set[str], optional: frozenset[str] = frozenset()) -> dict[str, Any]:
    """`value` if it is an object with all of `required` and nothing besides `optional`. Raises `MandateInvalid`."""
    if not isinstance(value, dict):
        raise MandateInvalid(f"{what} must be a JSON object.")
    for name in sorted(required - set(value)):
        raise MandateInvalid(f"{what} lacks the member {name}.")
    for name in sorted(set(value) - required - optional):
        raise MandateInvalid(f"{what} has a member that is not known: {name[:60]!r}.")
    return value


def check_agent_jwk(value: object) -> dict[str, str]:
    """A P-256 public key as JWK with exactly `kty crv x y` (AP2 refuses any other member). Raises `Invalid`."""
    if isinstance(value, Mapping) and "d" in value:
        raise Invalid(
            "This is a private key (it has the member d). Send the public half only, and make a new key: this one has been shown.",
            pointer="/d",
        )
    if not isinstance(value, Mapping) or set(value) != _JWK_MEMBERS:
        raise Invalid("The agent's key must be a JWK with exactly the members kty, crv, x and y.")
    if value["kty"] != "EC" or value["crv"] != "P-256":
        raise Invalid('The agent\'s key must be {"kty": "EC", "crv": "P-256"}.')
    jwk = {name: value[name] for name in ("kty", "crv", "x", "y")}
    public_key(jwk)
    return jwk


def public_key(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    """The key inside a P-256 JWK. Raises `Invalid` unless x and y are 32 bytes each and a point on the curve."""
    x, y = (_coordinate(jwk[name], f"/{name}") for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise Invalid("x and y are not a point on P-256.") from error


def public_jwk(key: ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """The public JWK, exactly `kty crv x y`, of a P-256 key. Raises `Invalid` for another curve."""
    if not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("The key must be on P-256.")
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey) else key
    numbers = public.public_numbers()
    x, y = (encode(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def thumbprint(jwk: Mapping[str, str]) -> str:
    """base64url SHA-256 thumbprint of an EC JWK (RFC 7638 §3)."""
    return digest(write({name: jwk[name] for name in _JWK_MEMBERS}))


def _coordinate(text: object, pointer: str) -> int:
    try:
        data = decode(text) if isinstance(text, str) else b""
    except MandateInvalid:
        data = b""
    if len(data) != 32:
        raise Invalid("A coordinate is 32 bytes as base64url without padding: 43 characters.", pointer=pointer)
    return int.from_bytes(data, "big")
