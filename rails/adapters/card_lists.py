"""Stripe's lists: finding what carries our key, and reading the balance as a statement."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rails.adapters import judging, reading
from rails.adapters.base import Result, Statement, StatementLine
from rails.adapters.card_amounts import from_stripe
from rails.adapters.card_judging import CURRENCY, judge_error
from rails.adapters.card_notices import our_key
from rails.adapters.exchange import Exchange
from rails.adapters.judging import Verdict

PAGE = 100
SINCE = "created[gte]"
KINDS = {"charge": "payment", "payment": "payment", "refund": "refund", "payment_refund": "refund", "topup": "deposit"}
# An id, and how a cursor says that it is on its way down to the first line.
LINE_ID = r"txn_[A-Za-z0-9_]{1,128}"
CURSOR = f"(<?{LINE_ID})?"
Get = Callable[[str], Exchange]


@dataclass(frozen=True, slots=True)
class Found:
    """The ids under our key, after every page was read. `verdict` is why they are not known instead; `done` is the last page."""

    ids: tuple[str, ...]
    done: Exchange
    verdict: Verdict | None


class Unread(Exception):
    """A page could not be read: `done` is what came back, `verdict` why it is no page."""

    def __init__(self, done: Exchange, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.done, self.verdict = done, verdict


def pages(get: Get, path: str, query: Mapping[str, str]) -> Iterator[tuple[list[dict[str, Any]], Exchange]]:
    """Every page of a list, for a list says nothing of what stands on its other pages. Raises `Unread`.

    Each page stays a page when something is added to the list meanwhile: it begins after an id. Not every provider narrows a list down
    by time; where one refuses that, the whole list is read.
    """
    seen: set[str] = set()
    asked = {**query, "limit": str(PAGE)}
    while True:
        done = get(f"{path}?{urllib.parse.urlencode(asked)}")
        if done.status == 400 and SINCE in asked:
            del asked[SINCE]
            continue
        found, more = _page(done)
        names = [row["id"] for row in found]
        if seen & set(names) or (more and not names):
            raise Unread(done, judging.invalid(200, "the list's pages do not follow one another"))
        seen |= set(names)
        yield found, done
        if not more:
            return
        asked["starting_after"] = names[-1]


def find(get: Get, path: str, query: Mapping[str, str], key: str) -> Found:
    """Everything in a list whose metadata has `key`."""
    ids: list[str] = []
    try:
        for page in pages(get, path, query):
            found, done = page
            ids += [row["id"] for row in found if our_key(row) == key]
    except Unread as error:
        return Found((), error.done, error.verdict)
    return Found(tuple(ids), done, None)


def _page(done: Exchange) -> tuple[list[dict[str, Any]], bool]:
    """Rows with ids, and whether there are more. Raises `Unread` for everything that is no list."""
    if done.status is None:
        raise Unread(done, Verdict(Result.UNKNOWN, done.failure, done.detail))
    if done.status >= 500:
        raise Unread(done, judging.outage(done.status))
    try:
        answer = reading.parse_object(done.body, fractions=True)
        if done.status == 200:
            return rows(answer)
        verdict = judge_error(done.status, answer, asks=True)
        if verdict.result is not Result.UNKNOWN:
            raise reading.Malformed("it does not answer the question")
    except ValueError as error:
        verdict = judging.invalid(done.status, error)
    raise Unread(done, verdict)


def rows(answer: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """The rows of a list object, each with an id of its own, and whether there are more."""
    found, more = answer.get("data"), answer.get("has_more")
    if answer.get("object") != "list" or not isinstance(found, list) or not isinstance(more, bool):
        raise reading.Malformed("not a list")
    if not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in found):
        raise reading.Malformed("a row has no id")
    if len({row["id"] for row in found}) != len(found):
        raise reading.Malformed("an id is in the list twice")
    return found, more


def statement_query(cursor: str) -> str:
    """What to ask for after `cursor`. Stripe's lists begin with the newest line: the first one is found by going down page by page."""
    asked = {"limit": str(PAGE), "expand[]": "data.source"}
    if cursor:
        asked["starting_after" if cursor.startswith("<") else "ending_before"] = cursor.removeprefix("<")
    return urllib.parse.urlencode(asked)


def statement(answer: dict[str, Any], cursor: str, raw: bytes) -> Statement:
    """The answer to `statement_query(cursor)`. Balances are not told: Stripe's is of now, of every currency, and moves with its fees."""
    found, more = rows(answer)
    names = [reading.match(row, "id", LINE_ID) for row in found]
    down = cursor == "" or cursor.startswith("<")
    if not names and (more or cursor.startswith("<")):
        raise reading.Malformed("the list ended before its end")
    if down and more:
        return Statement(opening=None, lines=(), closing=None, cursor=f"<{names[-1]}", complete=False, raw=raw)
    lines = tuple(line(row) for row in reversed(found))
    complete = not more if not down else cursor == ""
    return Statement(opening=None, lines=lines, closing=None, cursor=names[0] if names else cursor, complete=complete, raw=raw)


def line(row: dict[str, Any]) -> StatementLine:
    """A balance transaction. Stripe tells what the merchant's side got: a charge is money that left the card, a refund came back to it."""
    kind = KINDS.get(reading.match(row, "type", "[a-z_]{1,60}"), "other")
    currency = reading.match(row, "currency", CURRENCY).upper()
    amount = from_stripe(reading.integer(row, "amount"), currency)
    source = row.get("source")
    source = source if isinstance(source, dict) else {"id": source or row["id"]}
    provider_id = source.get("payment_intent") if kind == "payment" else None
    return StatementLine(
        id=reading.text(row, "id"),
        kind=kind,
        provider_id=provider_id if isinstance(provider_id, str) else reading.text(source, "id"),
        key=our_key(source),
        amount=-amount if kind in ("payment", "refund") else amount,
        currency=currency,
        at=seconds(row, "created"),
        party=_party(kind, source),
    )


def seconds(row: dict[str, Any], name: str) -> datetime:
    """A time in seconds since 1970."""
    found = reading.integer(row, name)
    if not 0 <= found < 2**36:
        raise reading.Malformed(f"{name} is not a time")
    return datetime.fromtimestamp(found, UTC)


def _party(kind: str, source: dict[str, Any]) -> str:
    """The other side, where it is told: whoever a charge was for, or a deposit came from. A refund does not tell."""
    names, routed = source.get("metadata"), source.get("transfer_data")
    inside = {"payment": [(routed, "destination"), (names, "codespar_payee")], "deposit": [(source.get("source"), "id")]}
    found = [part[name] for part, name in inside.get(kind, []) if isinstance(part, dict) and isinstance(part.get(name), str)]
    return found[0] if found else ""
