"""Reading what a client of the Pix API asks. What is not in its form is refused with the member it is about."""

from __future__ import annotations

import re
from collections.abc import Set
from datetime import UTC, datetime
from typing import Any

from rails.sandbox.pix_problems import refuse
from rails.sandbox.requests import Request

INVALID = "RequisicaoInvalida"
# The forms in which the DICT keeps keys: CPF, CNPJ (its first twelve may be letters), phone, e-mail, random key.
KEYS = (
    r"[0-9]{11}|[0-9A-Z]{12}[0-9]{2}|\+[1-9][0-9]{1,14}|[a-z0-9.!#$&'*+/=?^_`{|}~-]+@[a-z0-9.-]+"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
)


def members(request: Request, needed: set[str], allowed: Set[str] = frozenset(), problem: str = INVALID) -> dict[str, Any]:
    if request.body is None:
        raise refuse(problem, "the body must be a JSON object")
    return _checked(request.body, "", needed, allowed, problem)


def child(body: dict[str, Any], name: str, needed: set[str], allowed: Set[str] = frozenset()) -> dict[str, Any]:
    found = body[name]
    if not isinstance(found, dict):
        raise refuse(INVALID, f"{name} must be an object", name)
    return _checked(found, f"{name}.", needed, allowed, INVALID)


def one_of(body: dict[str, Any], name: str, names: tuple[str, ...]) -> tuple[str, str]:
    """The one member that the object has, of those it may have."""
    found = child(body, name, set(), set(names))
    if len(found) != 1:
        raise refuse(INVALID, f"{name} must have one of {', '.join(names)}", name)
    [inside] = found
    return inside, text(found, inside, 100)


def _checked(found: dict[str, Any], path: str, needed: set[str], allowed: Set[str], problem: str) -> dict[str, Any]:
    for name in sorted(needed - set(found)):
        raise refuse(problem, f"{path}{name} is missing", path + name)
    for name in sorted(set(found) - needed - allowed):
        raise refuse(problem, f"{path}{name} is not a member of this request", path + name)
    return found


def text(body: dict[str, Any], name: str, longest: int) -> str:
    found = body.get(name)
    if not isinstance(found, str) or not 1 <= len(found) <= longest or not found.isprintable():
        raise refuse(INVALID, f"{name} must be a printable string of 1 to {longest} characters", name)
    return found


def valor(body: dict[str, Any], name: str, problem: str = INVALID, violated: str = "") -> int:
    """Minor units of a decimal such as "10.50"."""
    found = body.get(name)
    if not isinstance(found, str) or not re.fullmatch(r"[0-9]{1,10}\.[0-9]{2}", found) or not int(found.replace(".", "")):
        raise refuse(problem, f'{name} must be a decimal above zero with two digits, such as "10.50"', violated or name)
    return int(found.replace(".", ""))


def chave(body: dict[str, Any], name: str, problem: str = INVALID) -> str:
    """A key in the form in which the DICT keeps it; `name` is its path."""
    found = body.get(name.rpartition(".")[2])
    if not isinstance(found, str) or len(found) > 77 or not re.fullmatch(KEYS, found):
        raise refuse(problem, f"{name} must be a Pix key in the DICT's form: a CPF or CNPJ without points, +5511987654321, an e-mail", name)
    return found


def txid(body: dict[str, Any]) -> str | None:
    """The txid of the BR Code that is paid, None without one."""
    if "txid" in body and not re.fullmatch("[a-zA-Z0-9]{1,35}", text(body, "txid", 35)):
        raise refuse(INVALID, "txid must have 1 to 35 letters and digits", "txid")
    return body.get("txid")


def number(request: Request, name: str, default: int, least: int, most: int, problem: str = INVALID) -> int:
    given = request.query.get(name, str(default))
    if not re.fullmatch("[0-9]{1,16}", given) or not least <= int(given) <= most:
        raise refuse(problem, f"{name} must be a number from {least} to {most}", name)
    return int(given)


def period(request: Request, problem: str) -> tuple[str, str]:
    """`inicio` and `fim`, as the book writes times."""
    first, last = (_time(request.query.get(name, ""), name, problem) for name in ("inicio", "fim"))
    if last < first:
        raise refuse(problem, "fim must not be before inicio", "fim")
    return first, last


def _time(given: str, name: str, problem: str) -> str:
    try:
        found = datetime.fromisoformat(given)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise refuse(problem, f"{name} must be a time after RFC 3339, such as 2026-01-02T15:04:05Z", name)
    return found.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def page(request: Request, problem: str) -> tuple[int, int]:
    """Which page is asked for, and how long it is."""
    return (
        number(request, "paginacao.paginaAtual", 0, 0, 2**31 - 1, problem),
        number(request, "paginacao.itensPorPagina", 100, 1, 100, problem),
    )
