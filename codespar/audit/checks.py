"""Checks written in SQL: how they are read from their files and run. One check is one query for what breaks one promise."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import DataError, connection, transaction

from codespar.audit.chain import Problem

MOST = 100
# Members of a content that commit to a value outside it.
COMMITS = '$.** ? (@.type() == "object").keyvalue() ? (@.key == "commit" || @.key like_regex "_commit$").value ? (@.type() == "string")'
_ENTRIES = "(SELECT id, seq, kind, content, convert_from(content, 'UTF8')::jsonb AS c FROM ledger_entries WHERE org_id = @org)"
_FOLDER = Path(__file__).parent / "sql"


@dataclass(frozen=True, slots=True)
class Check:
    """`query` gives (seq or null, what, how) for each thing that is wrong. It may use `@org`, `@entries`, `@pay(x)` and `parameters`."""

    code: str
    query: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def load(name: str) -> list[Check]:
    """The checks of `sql/<name>.sql`: each begins with a line `-- check: <code>`."""
    _, *sections = re.split(r"^-- check: ", (_FOLDER / f"{name}.sql").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [Check(*section.split("\n", 1)) for section in sections]


def run(check: Check, *, org: UUID) -> Iterator[Problem]:
    """What is wrong, a hundred at most. Inside `db.tenant(org)`."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_sql(check.query), {"org": str(org), "commits": COMMITS, **check.parameters})
            found = cursor.fetchmany(MOST)
    except DataError as error:
        # A value that the rules of its table would never have let in: somebody took the rules away.
        return iter([Problem(None, check.code, f"What is stored cannot be read: {error}".strip())])
    return (Problem(seq, check.code, f"{what} {how}") for seq, what, how in found)


def _sql(query: str) -> str:
    text = query.replace("@entries", _ENTRIES).replace("%", "%%")
    text = re.sub(r"@([a-z]{2,3})\(([\w.]+)\)", r"('\1_' || replace(\2::text, '-', ''))", text)
    return re.sub(r"@(org|commits|path|kinds)\b", r"%(\1)s", text)
