"""A digest as a key in letters and digits, for rails that take no more of it."""

from __future__ import annotations

import string

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY_LENGTH = 43  # 62 ** 43 is the first power of 62 above 2 ** 256


def base62(digest: bytes) -> str:
    """The digest in base 62: 43 letters and digits, one to one; ValueError unless SHA-256."""
    if len(digest) != 32:
        raise ValueError("a SHA-256 digest has 32 bytes")
    number, found = int.from_bytes(digest), ""
    for _ in range(KEY_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        found = ALPHABET[digit] + found
    return found
