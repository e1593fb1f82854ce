"""What a client asked, and how it is read: for every API that the bank speaks."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from rails.sandbox.book import Refusal

KEY = r"[A-Za-z0-9]{1,64}"
MOST = 2**53 - 1
Answer = tuple[int, Any]


class HangUp(Exception):
    """Close the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """`raw` is the body as it came, `body` the JSON object in it, or None.

    `bearer` and `basic` are what the Authorization header brought, `consent` what x-consent-id did. `account` and `scopes` are the
    caller's, once it is known.
    """

    method: str
    path: str
    query: dict[str, str]
    raw: bytes
    body: dict[str, Any] | None
    bearer: str
    idempotency_key: str | None
    basic: str = ""
    account: str = ""
    scopes: frozenset[str] = frozenset()
    consent: str = ""


@dataclass(frozen=True, slots=True)
class Manners:
    """What one API of the bank does in its own way.

    `authenticate(bank, request)` returns the request with its account, or raises `Refusal`; `error` is the body of a refusal, of the type
    `media`; `lie(fault, body)` is what a fault changes in an answer; `show(body)` is how an answer is written, in the type `answers`.
    """

    authenticate: Callable[[Any, Request], Request]
    error: Callable[[Refusal], dict[str, Any]]
    media: str
    lie: Callable[[str, dict[str, Any]], dict[str, Any]]
    show: Callable[[dict[str, Any]], Any] = lambda body: body
    answers: str = "application/json"


# An API of the bank: method, pattern of the path (its groups are the client's keys), handler(bank, request, *keys).
Handler = Callable[..., Answer]
Route = tuple[str, str, Handler]


def members(request: Request, needed: set[str], allowed: Set[str] = frozenset()) -> dict[str, Any]:
    if request.body is None or not needed <= set(request.body) <= needed | allowed:
        names = ", ".join(sorted(needed)) + "".join(f", {name}?" for name in sorted(allowed))
        raise Refusal(400, "invalid_request", f"the body must be a JSON object of {names}")
    return request.body


def amount(body: dict[str, Any]) -> int:
    amount = body["amount"]
    if type(amount) is not int or not 1 <= amount <= MOST:
        raise Refusal(400, "invalid_request", "amount must be an integer of minor units, from 1 to 2^53-1")
    return amount


def currency(body: dict[str, Any]) -> str:
    currency = body["currency"]
    if not isinstance(currency, str) or not re.fullmatch("[A-Z]{3,5}", currency):
        raise Refusal(400, "invalid_request", "currency must be a code of 3 to 5 capital letters, such as BRL")
    return currency


def text(body: dict[str, Any], name: str, longest: int) -> str:
    text = body.get(name)
    if not isinstance(text, str) or not 1 <= len(text) <= longest or not text.isprintable():
        raise Refusal(400, "invalid_request", f"{name} must be a printable string of 1 to {longest} characters")
    return text


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,16}", text) or not least <= int(text) <= most:
        raise Refusal(400, "invalid_request", f"{name} must be a number from {least} to {most}")
    return int(text)
