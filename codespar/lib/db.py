"""The way to the database: tenants for reading, one function call for writing, refusals by the name of their rule."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from django.db import DatabaseError, InterfaceError, NotSupportedError, OperationalError, connection, transaction
from psycopg.types.json import Jsonb

from codespar.lib.errors import CodesparError, Unavailable

# A connection that is lost after the question was sent says nothing of what was done.
UNANSWERED = (
    "The database did not answer in time, so it is not known whether this was done: try again under the same Idempotency-Key, where "
    "what was done is found and not done twice."
)
# A statement, with %s for each of its parameters and no other %, and these.
Query = tuple[str, list[Any]]
# Statements that are sent together are one transaction: under this, what the second one reads is not younger than what the first one did.
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
# What each connection of this process has planned: query -> the name of its plan.
_plans: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
Refusals = Mapping[str, Callable[[str], CodesparError]]


class Refused(CodesparError):
    """A named rule of the database refused, and nobody expected it to. The rule's name is kept; its words never leave."""

    code = "internal"

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(detail)
        self.rule = rule


@contextmanager
def tenant(org: UUID) -> Iterator[None]:
    """Reads of one organisation: a transaction that sees that organisation's rows, and no others."""
    with unavailable(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('codespar.org', %s, true)", [str(org)])
        yield


@contextmanager
def unavailable() -> Iterator[None]:
    """A database that is away, slow or broken is one answer: not now."""
    try:
        yield
    except (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError) as error:
        connection.close()
        raise Unavailable(UNANSWERED) from error


def call(function: str, *arguments: Any, refusals: Refusals | None = None) -> Any:
    """Call one SQL function in a transaction of its own and return its value (jsonb as Python values).

    Raises what `refusals` maps the violated rule's name to; `Refused` for a rule that is not in it; `Unavailable`.
    """
    rows = _rows(f"SELECT {function}({_marks(arguments)})", arguments, refusals or {})
    value = rows[0][0] if rows else None
    return decode(value)


def rows(function: str, *arguments: Any) -> list[tuple[Any, ...]]:
    """The rows of a SQL function that returns a set."""
    return _rows(f"SELECT * FROM {function}({_marks(arguments)})", arguments, {})


def read(org: UUID, *queries: Query) -> list[list[dict[str, Any]]]:
    """Reads of one organisation in one round trip and of one moment: they see that organisation's rows, and no others.

    A connection plans each query once. Returns the rows of each, as dicts; jsonb is text (`decode`). Raises `Unavailable`.
    """
    try:
        return _read(org, queries)
    except NotSupportedError:
        # A table has other columns than when this connection planned.
        with unavailable(), connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")
            _plans.pop(cursor.connection, None)
        return _read(org, queries)


def _read(org: UUID, queries: Sequence[Query]) -> list[list[dict[str, Any]]]:
    with unavailable(), connection.cursor() as cursor:
        plans = [_prepared(cursor, query) + (f"({_marks(parameters)})" if parameters else "") for query, parameters in queries]
        text = ";".join([_ONE_MOMENT, "SELECT set_config('codespar.org', %s, true)", *(f"EXECUTE {plan}" for plan in plans)])
        cursor.execute(text, [str(org), *(value for _, parameters in queries for value in parameters)])
        cursor.nextset()
        found = []
        while cursor.nextset():
            found.append(_dicts(cursor))
    return found


def _prepared(cursor: Any, query: str) -> str:
    """The name of this query's plan in this connection, which is made when the connection first sees the query."""
    names = _plans.setdefault(cursor.connection, {})
    if query not in names:
        name, numbers = f"read_{len(names)}", itertools.count(1)
        cursor.execute(f"PREPARE {name} AS {re.sub('%s', lambda _: f'${next(numbers)}', query)}")
        names[query] = name
    return names[query]


def now() -> datetime:
    """The database's clock. Raises `Unavailable`."""
    with unavailable(), connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def release() -> None:
    """Give this thread's connection back: before a wait, and at a thread's end."""
    connection.close()


def select(query: str, parameters: list[Any] | dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Rows of a read, as dicts. Inside `tenant(...)` unless the table is no tenant's."""
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return _dicts(cursor)


def _dicts(cursor: Any) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _rows(query: str, arguments: tuple[Any, ...], refusals: Refusals) -> list[tuple[Any, ...]]:
    try:
        with unavailable(), connection.cursor() as cursor:
            cursor.execute(query, _bound(arguments))
            return list(cursor.fetchall())
    except DatabaseError as error:
        if not isinstance(error.__cause__, psycopg.Error):
            raise
        refused = _refused(error.__cause__, refusals)
    # Out here nothing is chained to it: the database's own error quotes the row that failed, and a log shows the whole chain.
    raise refused


def _refused(cause: psycopg.Error, refusals: Refusals) -> CodesparError:
    rule, words = rule_name(cause), cause.diag.message_primary or ""
    return refusals[rule](words) if rule in refusals else Refused(rule, words)


def _bound(arguments: tuple[Any, ...]) -> list[Any]:
    return [Jsonb(a) if isinstance(a, dict | list) and _json(a) else a for a in arguments]


def rule_name(error: psycopg.Error) -> str:
    """The violated rule's name; a sharded table's suffix (`_102074`) is not part of it."""
    name = error.diag.constraint_name or error.sqlstate or ""
    stem, _, suffix = name.rpartition("_")
    return stem if stem and suffix.isdigit() and len(suffix) >= 6 else name


def _json(value: dict[str, Any] | list[Any]) -> bool:
    """A list of ids, texts or bytes is an SQL array; everything else is jsonb."""
    return isinstance(value, dict) or not value or not all(isinstance(item, UUID | str | bytes) for item in value)


def _marks(arguments: Sequence[Any]) -> str:
    return ", ".join(["%s"] * len(arguments))


def decode(value: Any) -> Any:
    """A jsonb value of a raw read, which Django hands over as text. What a void function returns is empty."""
    if value == "":
        return None
    return json.loads(value) if isinstance(value, str) else value
