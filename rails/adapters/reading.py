"""Reading a rail's JSON member by member. Each reader raises `Malformed`, which names the member and never repeats what was in it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from codespar.lib import canonical
from codespar.lib.errors import Invalid

TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?Z"


class Malformed(ValueError):
    """The answer is not what the API promises; the message names the member."""


def parse_object(body: bytes, *, fractions: bool = False) -> dict[str, Any]:
    """The JSON object in `body`; raises ValueError for anything else, repeated members included, and floats unless `fractions`.

    No reader takes a float for an integer or a text: where a rail has some, they are members that nobody reads.
    """

    def refuse(text: str) -> object:
        raise Malformed("only integers are read")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise Malformed("a member is named twice")
        return dict(pairs)

    try:
        canonical.require_shallow(body)
    except Invalid:
        raise Malformed("nested too deeply") from None
    found = json.loads(body.decode(), object_pairs_hook=unique, parse_float=float if fractions else refuse, parse_constant=refuse)
    if not isinstance(found, dict):
        raise Malformed("not an object")
    return found


def field(answer: dict[str, Any], name: str) -> str | int:
    if name == "amount":
        return positive(answer, name)
    return party(answer, name) if name == "payee" else text(answer, name)


def text(answer: dict[str, Any], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, str):
        raise Malformed(f"{name} is not a string")
    return found


def match(answer: dict[str, Any], name: str, pattern: str) -> str:
    found = text(answer, name)
    if not re.fullmatch(pattern, found):
        raise Malformed(f"{name} is not in its form")
    return found


def integer(answer: dict[str, Any], name: str) -> int:
    number = answer.get(name)
    if type(number) is not int or abs(number) >= 2**63:
        raise Malformed(f"{name} is not an integer")
    return number


def positive(answer: dict[str, Any], name: str) -> int:
    number = integer(answer, name)
    if number <= 0:
        raise Malformed(f"{name} is not positive")
    return number


def party(answer: dict[str, Any], name: str) -> str:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise Malformed(f"{name} is not an object")
    return text(found, "key")


def time(answer: dict[str, Any], name: str) -> datetime:
    """An RFC 3339 time in UTC."""
    return datetime.fromisoformat(match(answer, name, TIMESTAMP))
