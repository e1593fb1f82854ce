"""Verification of what a database holds: the chain, the checkpoints outside and inside, and the books. One consistent moment of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from codespar.audit import books, chain, checkpoints
from codespar.audit.chain import Problem, Result
from codespar.lib import db, ids

_AT_ONCE = 1000
_SECONDS = 900
# The sealer runs every few seconds: a chain that is older than this has a checkpoint outside the database.
SEALED_WITHIN = timedelta(minutes=2)
_ENTRIES = "SELECT org_id, seq, id, kind, kid, at, prev, hash, content, sig, leaf FROM ledger_entries WHERE org_id = %s ORDER BY seq, id"
_LATE = "SELECT FROM ledger_entries WHERE org_id = %s AND seq = 1 AND at < clock_timestamp() - %s"
_CHECKPOINTS = "SELECT size, note, root, frontier, generation FROM ledger_checkpoints WHERE org_id = %s ORDER BY size"


_REANCHORED = """
SELECT (d ->> 'generation')::integer AS generation, (d ->> 'sealed')::bigint AS sealed
FROM (SELECT convert_from(content, 'UTF8')::jsonb -> 'data' AS d FROM ledger_entries WHERE org_id = %s AND kind = 'ledger.reanchored') e
"""


@dataclass(frozen=True, slots=True)
class Seals:
    """The checkpoints that the chain was compared with: how many outside the database and inside, and the largest sizes."""

    outside: int
    outside_size: int
    inside: int
    inside_size: int


@dataclass(frozen=True, slots=True)
class Report:
    """What verification found for one organisation. `status` is over everything: chain, checkpoints, books."""

    org: UUID
    status: str
    chain: Result
    seals: Seals
    problems: tuple[Problem, ...]
    # Whether the rows were compared with the records: not when the chain itself is broken.
    books_checked: bool

    @property
    def first_bad(self) -> int | None:
        """The smallest seq at which something is wrong."""
        return min((problem.seq for problem in self.problems if problem.seq is not None), default=None)

    def as_dict(self) -> dict[str, Any]:
        """As `codespar verify --json` prints it."""
        head = self.chain.head
        return {
            "org": ids.wire("org", self.org),
            "status": self.status,
            "count": self.chain.count,
            "head": None if head is None else {"seq": head.seq, "hash": head.hash},
            "root": self.chain.root,
            "checkpoints": {
                "outside": {"count": self.seals.outside, "size": self.seals.outside_size},
                "database": {"count": self.seals.inside, "size": self.seals.inside_size},
            },
            "books": "checked" if self.books_checked else "not checked",
            "first_bad_seq": self.first_bad,
            "problems": [{"seq": problem.seq, "code": problem.code, "detail": problem.detail} for problem in self.problems],
        }


def organisations(*, pins: Mapping[UUID, str], checkpoint_dir: Path) -> list[UUID]:
    """Everybody who has a chain, a checkpoint or a pin: who was deleted altogether is asked for too. Raises `OSError`."""
    found = {org for (org,) in db.rows("org_ids")}
    return sorted(found | set(pins) | checkpoints.organisations(checkpoint_dir))


def verify_org(org: UUID, *, pins: Mapping[UUID, str], checkpoint_dir: Path, tick: Callable[[int], None] = lambda count: None) -> Report:
    """Verify everything that the database holds of one organisation. `tick` hears of every thousand entries.

    Raises `Unavailable` when the database is, `OSError` when the checkpoints cannot be listed. Changes nothing.
    """
    trust = chain.Trust(org, settings.CONFIG.deployment, pins.get(org))
    # Listed before the snapshot: a checkpoint that is made meanwhile may be larger than what the snapshot sees.
    listed = checkpoints.listed(folder=checkpoint_dir, org=org)
    files = checkpoints.read(folder=checkpoint_dir, org=org, which=listed)
    with _snapshot(org):
        ends = _ends(org, max((of for _, of in listed), default=0))
        outside = checkpoints.Watch(files, trust=trust, where="outside the database", ends=ends)
        inside = checkpoints.Watch(_checkpoints(org), trust=trust, where="in the database", ends=ends)
        result = _walk(org, trust, (outside, inside), tick)
        problems = sorted((*result.problems, *outside.problems.found, *inside.problems.found), key=lambda problem: problem.seq or 0)
        codes = {problem.code for problem in problems}
        whole = chain.status(codes, pinned=True) != chain.TAMPERED and result.count > 0
        if whole:
            problems += books.check(org)
        late = bool(db.select(_LATE, [str(org), SEALED_WITHIN]))
    if (inside.count or late) and not checkpoints.sizes(folder=checkpoint_dir, org=org):
        # Without them a tail that was cut, with the database's own checkpoints of it, would leave no trace.
        problems.append(Problem(None, "checkpoints_unreachable", f"None of the chain's checkpoints is in {checkpoint_dir}."))
    if not result.count and not problems:
        problems.append(Problem(None, "chain_missing", "There is no chain of this organisation in this database."))
    seals = Seals(outside.count, outside.largest, inside.count, inside.largest)
    return Report(org, _verdict(problems, trust), result, seals, tuple(problems), whole)


def _verdict(problems: list[Problem], trust: chain.Trust) -> str:
    codes = {problem.code for problem in problems}
    away = codes & {"checkpoints_unreachable", "chain_missing"}
    verdict = chain.status(codes - away, pinned=trust.pin is not None)
    return chain.UNAVAILABLE if away and verdict != chain.TAMPERED else verdict


def _walk(org: UUID, trust: chain.Trust, watches: tuple[checkpoints.Watch, ...], tick: Callable[[int], None]) -> Result:
    head = db.select("SELECT seq, hash FROM ledger_heads WHERE org_id = %s", [str(org)])
    verifier = chain.Verifier(trust)
    for rows in _rows(_ENTRIES, org):
        for row in rows:
            verifier.add(_row(row))
            for watch in watches:
                watch.grow(verifier.tree, verifier.keys.values())
        tick(len(rows))
    for watch in watches:
        watch.finish(verifier.tree.size)
    if not head and verifier.tree.size:
        verifier.problems.add(None, "head", "The head row is missing.")
    return verifier.finish(chain.Head(head[0]["seq"], bytes(head[0]["hash"] or b"").hex()) if head else None)


def _row(values: tuple[Any, ...]) -> chain.Row:
    org, seq, entry, kind, kid, at, *stored = values
    prev, digest, content, sig, leaf = (None if value is None else bytes(value) for value in stored)
    return chain.Row(org, seq, entry, kind, kid, at, prev, digest, content, sig, leaf)


def _checkpoints(org: UUID) -> Iterator[checkpoints.Found]:
    for rows in _rows(_CHECKPOINTS, org):
        for size, note, root, frontier, generation in rows:
            yield checkpoints.Found(size, note, bytes(root), tuple(frontier), generation)


def _ends(org: UUID, latest: int) -> dict[int, int]:
    """Where each generation ended, as entries say. That they say so is proved by the walk."""
    return checkpoints.ends([(row["generation"], row["sealed"]) for row in db.select(_REANCHORED, [str(org)])], latest)


def _rows(query: str, org: UUID) -> Iterator[list[tuple[Any, ...]]]:
    """Rows a thousand at a time, by a cursor on the server."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(query, [str(org)])
        while rows := cursor.fetchmany(_AT_ONCE):
            yield rows


@contextmanager
def _snapshot(org: UUID) -> Iterator[None]:
    """One moment of the organisation's rows, for as long as it takes to read them."""
    with db.unavailable(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
        with db.tenant(org):
            yield
