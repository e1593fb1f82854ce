"""Every 60 seconds the provider's own records are held against ours, account by account.

What agrees is marked. An exact and unique line under our key may settle a payment that nobody could settle before. Everything else opens a
case, which a named person closes: no line of this module, and no function that its role may call, ever does.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib import canonical, clock, db, ids
from ledger import records
from rails import accounts, booking, breakers, hints, late, outcomes, queue, workers
from rails.adapters import adapter_for
from rails.adapters.base import Adapter, Capabilities, Result, Statement, StatementLine, Unreadable
from rails.faults import FAULTS, guarded

log = structlog.get_logger(__name__)
ACCOUNTS = 20
LEASE_SECONDS = 120
# Discrepancies, and settlements, of one run: what is more comes with the next.
MOST = 500
# Lines that are matched at once: each call stays far within the time that the database gives it.
PART = 10_000
# Each so many runs everything is read again, for rails that tell no balances by which a change of history would be seen.
WHOLE_EVERY = 60
# Pages without a line, one after the other: a chain has them wherever nothing of ours happened.
MOST_EMPTY = 1000
# A settlement so much later than the rail says is late.
LATE_SECONDS = 60
Row = dict[str, Any]


class Incomplete(Exception):
    """The statement does not add up: nothing in it can be trusted."""


@dataclass(slots=True)
class Read:
    """What a run has read: where the last page began and its balance there, the balance before all and after all (None: not told)."""

    whole: bool
    cursor: str = ""
    opening: int | None = None
    baseline: int | None = None
    closing: int | None = None


@dataclass(slots=True)
class Run:
    """One run on one account: what it was told to begin with, what it read, and what it found."""

    org: UUID
    id: UUID
    account: UUID
    begun: Row
    read: Read | None = None
    found: Row = field(default_factory=dict)
    flagged: int = 0


def run_due(rail: str) -> int:
    """Read what is due on this rail. Returns how many accounts. One account's fault holds up no other's.

    A crash leaves what was stored, and a lease that runs out.
    """
    due = db.rows("reconciliations_due", workers.identity(), rail, ACCOUNTS, LEASE_SECONDS)
    for org, account in due:
        guarded(reconcile, org, account)
    return len(due)


def reconcile(org: UUID, account: UUID) -> None:
    """One run: read, store, match, settle what is proven, open a case for what does not agree."""
    begun = db.call("reconciliation_begin", org, account, id_ := ids.new())
    run = Run(org, id_, account, dict(begun))
    try:
        connection = accounts.connection(org, run.begun["rail"], run.begun["livemode"])
        adapter = adapter_for(run.begun["rail"], connection)
        run.read = _read(run, adapter)
        _match(run, adapter.capabilities, connection.account)
        _end(run, "done")
    except Incomplete as error:
        _flag(run, [_case("incomplete", about=f"cursor {run.begun['cursor']}", theirs={"detail": str(error)})])
        _end(run, "incomplete", "does_not_add_up")
    except Unreadable as error:
        log.warning("statement_unreadable", org=str(org), rail=run.begun["rail"], code=error.code)
        _end(run, "failed", error.code)
    except FAULTS:
        _end(run, "failed", "fault")
        raise


# Reading.


def _read(run: Run, adapter: Adapter) -> Read:
    """From where the last run began its last page: what was read there then must be there now. Otherwise from the first line on."""
    again = run.begun["runs"] % WHOLE_EVERY == 0 and not adapter.capabilities.statement_final
    if run.begun["cursor"] and not again:
        read = Read(whole=False, cursor=run.begun["cursor"])
        if _pages(run, adapter, read):
            return read
        log.warning("statement_history_changed", org=str(run.org), rail=run.begun["rail"])
    read = Read(whole=True)
    _pages(run, adapter, read)
    return read


def _pages(run: Run, adapter: Adapter, read: Read) -> bool:
    """Store every page. False when the balance at the beginning is another than it was, so that history has changed."""
    for cursor, page in _statement(run, adapter, read.cursor):
        if not read.whole and cursor == run.begun["cursor"] and _changed(page.opening, run.begun["opening"]):
            return False
        if page.opening is not None and page.opening + sum(line.amount for line in page.lines) != page.closing:
            raise Incomplete("opening and lines do not add up to closing")
        if read.closing is not None and page.opening != read.closing:
            raise Incomplete("a page does not begin where the page before it ended")
        if cursor == "":
            read.baseline = page.opening
        read.cursor, read.opening, read.closing = cursor, page.opening, page.closing
        db.call("statement_store", run.org, run.id, read.whole, [_line(line) for line in page.lines])
    return True


def _changed(now: int | None, before: int | None) -> bool:
    """A balance that is not told any more has not changed: some rails remember the latest ones only."""
    return None not in (now, before) and now != before


def _statement(run: Run, adapter: Adapter, cursor: str) -> Iterator[tuple[str, Statement]]:
    row = {"org_id": run.org, "livemode": run.begun["livemode"], "rail": run.begun["rail"]}
    empty = 0
    while True:
        if not breakers.allowance(run.begun["rail"], "statement"):
            raise Unreadable("breaker_open", "the rail is left alone for now")
        db.release()
        try:
            page = adapter.statement(cursor, time.monotonic() + settings.CONFIG.rail_seconds)
        except Unreadable as error:
            breakers.report(
                row, "statement", code=error.code, failing=error.code in breakers.FAILING, invalid=error.code == "invalid_response"
            )
            raise
        breakers.report(row, "statement", code="read")
        yield cursor, page
        if page.complete:
            return
        empty = 0 if page.lines else empty + 1
        if page.cursor == cursor or empty > MOST_EMPTY:
            raise Unreadable("invalid_response", "the statement does not go on and is not complete")
        cursor = page.cursor


def _line(line: StatementLine) -> Row:
    return {
        "line_id": line.id,
        "kind": line.kind,
        "provider_id": line.provider_id,
        "ref": line.key,
        "amount": line.amount,
        "currency": line.currency,
        "party": line.party,
        "at": clock.stamp(line.at),
    }


# Matching.


def _match(run: Run, capabilities: Capabilities, account: str) -> None:
    assert run.read is not None
    late = capabilities.settlement_seconds + LATE_SECONDS
    agreed = _agreed(run, late)
    run.found = dict(db.call("statement_match", run.org, run.id, late, capabilities.statement_seconds, MOST))
    run.found["matched"] += agreed
    run.found["found"] += _missing(run, capabilities.statement_seconds)
    _settle(run, run.found["settles"])
    for reference in run.found["deposits"]:
        # Told by the statement instead of a notice: confirmed by a question, like any other.
        db.call("credit_notice", run.org, ids.new(), run.begun["rail"], account, reference)
    cases = [
        _case(
            item["verdict"],
            about=item["subject"],
            ref=item["ref"],
            line=item["line_id"],
            payment=item["payment_id"],
            refund=item["refund_id"],
            ours=item["ours"],
            theirs=item["theirs"],
        )
        for item in run.found["found"]
    ]
    _flag(run, cases or _unexplained(run))


def _agreed(run: Run, late: int) -> int:
    """Match the usual case, part by part: how many lines. What is left is for `statement_match` to judge."""
    matched = 0
    after: str | None = ""
    while after is not None:
        part = db.call("statement_agree", run.org, run.id, late, after, PART)
        matched, after = matched + part["matched"], part["last"]
    return matched


def _missing(run: Run, seconds: int) -> list[Row]:
    """What settled long enough ago and no line tells of, looked for part by part; at most so many."""
    found: list[Row] = []
    after: str | None = None
    while len(found) < MOST:
        part = db.call("statement_missing", run.org, run.id, seconds, after, PART)
        found, after = found + part["found"], part["last"]
        if after is None:
            break
    return found[:MOST]


def _unexplained(run: Run) -> list[Row]:
    """A balance that is not what the books make it, though every line agrees and no case is open."""
    assert run.read is not None
    closing, expected = run.read.closing, run.found["expected"]
    if closing is None or expected is None or closing == expected or run.found["open"]:
        return []
    if run.found["open_before"]:
        # People have closed the last case that explained it: from here on this is the account as they accepted it.
        run.found["accepted"] += closing - expected
        return []
    return [_case("balance", about=f"difference {closing - expected}", ours={"amount": expected}, theirs={"amount": closing})]


def _settle(run: Run, items: list[Row]) -> None:
    """An exact, unique match by our key on every field: the money has moved, whatever the rail could not tell before."""
    told = {UUID(item["payment_id"]): item["theirs"] for item in items}
    rows = [row for row in queue.payments(run.org, list(told)) if row["status"] in ("submitted", "uncertain") and row["attempt_id"]]
    steps = [
        outcomes.Step(
            row,
            "statement",
            str(Result.SETTLED),
            "settled",
            "settled",
            provider_id=told[row["id"]]["provider_id"],
            raw=canonical.dumps(told[row["id"]]),
        )
        for row in rows
    ]
    for batch in queue.batches(steps):
        outcomes.book(batch)
    if steps:
        hints.work(run.begun["rail"])


# Cases.


def _case(kind: str, *, about: str, ours: Row | None = None, theirs: Row | None = None, **more: str | None) -> Row:
    """One discrepancy: `about` is what it is about, `ours` and `theirs` what each side says."""
    return {"id": ids.wire("dsc", ids.new()), "kind": kind, "about": about, "ours": ours or {}, "theirs": theirs or {}, **more}


def _flag(run: Run, cases: list[Row]) -> None:
    """Open those that are not open, or were never closed, already: one thing is one case of a kind, for ever."""
    query = "SELECT kind, subject FROM discrepancies WHERE org_id = %s AND rail_account_id = %s AND subject = ANY(%s::text[])"
    [rows] = db.read(run.org, (query, [str(run.org), str(run.account), [case["about"] for case in cases]]))
    known = {(row["kind"], row["subject"]) for row in rows}
    fresh = [case for case in cases if (case["kind"], case["about"]) not in known]
    for batch in queue.batches(fresh):
        _open(run, batch)
    run.flagged = len(fresh)
    for case in fresh:
        # Whom our books hold as unpaid and the rail has paid, to the last unit: the money is gone, whatever people find.
        if case["kind"] == "status" and case["payment"] and case["theirs"]["amount"] == case["ours"]["amount"]:
            late.book(run.org, UUID(case["payment"]), case["id"])


def _open(run: Run, cases: list[Row]) -> None:
    openings = records.Openings()
    wire = ids.wire("rcn", run.id)
    booking.write(
        "discrepancies_open",
        org=run.org,
        livemode=run.begun["livemode"],
        kind="reconciliation.flagged",
        subject=wire,
        data={"run": wire, "rail": run.begun["rail"], "items": [_item(case, openings) for case in cases]},
        openings=openings,
        with_openings=True,
    )


def _item(case: Row, openings: records.Openings) -> Row:
    """As the record has it: whom either side names is an opening, for it may be a person."""
    payees = {side: case[side]["payee"] for side in ("ours", "theirs") if case[side].get("payee") is not None}
    wired = {"payment": "pay", "refund": "ref"}
    item = {
        "id": case["id"],
        "kind": case["kind"],
        "about": case["about"],
        "ref": case.get("ref"),
        "line": case.get("line"),
        **{name: case.get(name) and ids.wire(prefix, UUID(case[name])) for name, prefix in wired.items()},
        **{side: {name: value for name, value in case[side].items() if name != "payee"} for side in ("ours", "theirs")},
    }
    if payees:
        item["payees_commit"] = openings.add(canonical.dumps(payees).decode())
    return item


def _end(run: Run, status: str, code: str | None = None) -> None:
    read, found = run.read or Read(whole=False), run.found
    done = status == "done"
    db.call(
        "reconciliation_end",
        run.org,
        run.id,
        status,
        code,
        found.get("matched", 0),
        found.get("pending", 0),
        found.get("open", 0) + run.flagged,
        read.closing,
        found.get("expected"),
        read.cursor if done else None,
        read.opening,
        read.baseline,
        found.get("accepted"),
        settings.CONFIG.reconcile_seconds,
    )
