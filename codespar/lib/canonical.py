"""Canonical JSON (RFC 8785, JCS) and strict reading: the bytes that are hashed and signed."""

import base64
import hashlib
import json
import re
import secrets
from typing import Any, NoReturn

import rfc8785

from codespar.lib.errors import Invalid

MAX_SAFE_INTEGER = 2**53 - 1
# Objects and arrays inside each other: more than anything of ours has, and less than the stack of any process takes.
MAX_DEPTH = 200
_TOO_DEEP = f"The JSON is nested too deeply: at most {MAX_DEPTH} objects and arrays stand inside each other."
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def dumps(value: Any) -> bytes:
    """`value` as RFC 8785 bytes. Raises `Invalid` for floats outside I-JSON, integers past 2^53-1, and what is nested too deeply."""
    try:
        found = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise Invalid(f"This value has no canonical JSON form: {error}.") from error
    except RecursionError as error:
        raise Invalid(_TOO_DEEP) from error
    require_shallow(found)
    return found


def loads(data: bytes | str) -> Any:
    """Read JSON, refusing what two readers could read differently: repeated names, NaN, lone surrogates, deep nesting.

    Raises `Invalid`, with the reason in the detail.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        require_shallow(text)
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        # Lone surrogates survive json.loads and have no UTF-8 form.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise Invalid("The body is not UTF-8 text.") from error
    except ValueError as error:
        raise Invalid(f"The body is not JSON: {error}.") from error
    return value


def require_shallow(text: str | bytes) -> None:
    """Raises `Invalid` for JSON that is nested deeper than `MAX_DEPTH`, before anything follows it down.

    An interpreter's own limit is no bound: any library may raise it, and then a reader in C ends the process.
    """
    few = text.count(b"[") + text.count(b"{") <= MAX_DEPTH if isinstance(text, bytes) else text.count("[") + text.count("{") <= MAX_DEPTH
    if few:
        return
    depth = 0
    for character in _TEXT.sub("", text.decode() if isinstance(text, bytes) else text):
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            raise Invalid(_TOO_DEEP)


def is_canonical(data: bytes) -> bool:
    """Whether `data` is exactly the RFC 8785 form of what it says."""
    try:
        return dumps(loads(data)) == data
    except Invalid:
        return False


def sha256(data: bytes) -> bytes:
    """SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def commit(value: bytes) -> tuple[bytes, bytes]:
    """A salted commitment: `(salt, SHA-256(salt || value))`, 32 fresh random bytes of salt."""
    salt = secrets.token_bytes(32)
    return salt, sha256(salt + value)


def compact(value: Any) -> bytes:
    """`value` as JSON for an answer: no spaces, UTF-8, members in their order."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def unbase64(text: str) -> bytes:
    """The bytes of base64 text as the database writes it (RFC 4648, with line breaks allowed)."""
    return base64.b64decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the name {name!r} stands twice in one object")
        found[name] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
