"""Ids on the wire: a type prefix and the 32 lowercase hex digits of a UUIDv7 (RFC 9562). Opaque, sortable by time."""

import re
import secrets
import time
import uuid

from codespar.lib.errors import Invalid

PREFIXES = frozenset(
    [
        "org",
        "prj",
        "agt",
        "mem",
        "tok",
        "ctp",
        "acc",
        "mnd",
        "pol",
        "dec",
        "wal",
        "pay",
        "ref",
        "apr",
        "rev",
        "stp",
        "ent",
        "evt",
        "req",
        "rcp",
        "att",
        "crd",
        "key",
        "cns",
        "cnr",
        "tr",
        "hld",
        "whe",
    ]
)
_SHAPE = re.compile(r"([a-z]{2,3})_([0-9a-f]{32})\Z")


def new() -> uuid.UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def wire(prefix: str, value: uuid.UUID) -> str:
    """`value` as it is written outside: `wire("pay", id)` is `pay_` and 32 hex digits."""
    return f"{prefix}_{value.hex}"


def parse(text: object, prefix: str, pointer: str = "") -> uuid.UUID:
    """The UUID inside a wire id of one type. Raises `Invalid` that shows the right form."""
    match = _SHAPE.match(text) if isinstance(text, str) else None
    if match is None or match[1] != prefix:
        raise Invalid(f"This must be an id of the form {prefix}_ and 32 lowercase hex digits.", pointer=pointer)
    return uuid.UUID(hex=match[2])
