"""What the page of reconciliations sums up: how old each account's last run is, and one day of matched and open items by rail.

Reads inside a tenant, with plain SQL.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from codespar.console import cells
from codespar.lib import db

# Without a finished run for so long somebody looks why.
LATE = timedelta(minutes=3)
HOURS = 24

_ACCOUNTS = """
SELECT s.rail, a.provider_account AS account, l.status, l.code, d.finished_at,
       clock_timestamp() - coalesce(d.finished_at, a.created_at) AS age,
       (SELECT count(*) FROM discrepancies x WHERE x.org_id = s.org_id AND x.rail_account_id = s.rail_account_id
        AND NOT EXISTS (SELECT FROM discrepancy_resolutions y WHERE y.org_id = x.org_id AND y.discrepancy_id = x.id)) AS open
FROM reconciliation_states s
JOIN rail_accounts a ON a.org_id = s.org_id AND a.id = s.rail_account_id
LEFT JOIN LATERAL (SELECT status, code FROM reconciliations r WHERE r.org_id = s.org_id AND r.rail_account_id = s.rail_account_id
                   ORDER BY r.started_at DESC LIMIT 1) l ON true
LEFT JOIN LATERAL (SELECT finished_at FROM reconciliations r
                   WHERE r.org_id = s.org_id AND r.rail_account_id = s.rail_account_id AND r.status = 'done'
                   ORDER BY r.started_at DESC LIMIT 1) d ON true
WHERE s.org_id = %(org)s AND s.livemode = %(livemode)s ORDER BY s.rail, account
"""
# `matched` are the lines that agreed in an hour, `open` the cases that nobody had closed when it ended.
_HOURS = """
WITH hours AS (
    SELECT h AS at, least(h + interval '1 hour', now()) AS until
    FROM generate_series(date_trunc('hour', now()) - interval '23 hours', now(), interval '1 hour') h
), cases AS MATERIALIZED (
    SELECT d.rail, d.opened_at, x.at AS closed_at FROM discrepancies d
    LEFT JOIN discrepancy_resolutions x ON x.org_id = d.org_id AND x.discrepancy_id = d.id
    WHERE d.org_id = %(org)s AND d.livemode = %(livemode)s AND (x.at IS NULL OR x.at >= now() - interval '1 day')
), runs AS MATERIALIZED (
    SELECT r.rail, date_trunc('hour', r.finished_at) AS at, sum(r.matched) AS matched FROM reconciliation_states s
    JOIN reconciliations r ON r.org_id = s.org_id AND r.rail_account_id = s.rail_account_id AND r.started_at >= now() - interval '25 hours'
    WHERE s.org_id = %(org)s AND s.livemode = %(livemode)s GROUP BY 1, 2
)
SELECT n.rail, h.at, coalesce(r.matched, 0) AS matched,
       (SELECT count(*) FROM cases c
        WHERE c.rail = n.rail AND c.opened_at <= h.until AND (c.closed_at IS NULL OR c.closed_at > h.until)) AS open
FROM (SELECT DISTINCT rail FROM reconciliation_states WHERE org_id = %(org)s AND livemode = %(livemode)s) n
CROSS JOIN hours h LEFT JOIN runs r ON r.rail = n.rail AND r.at = h.at ORDER BY n.rail, h.at
"""


@dataclass(frozen=True, slots=True)
class Account:
    """An account at a provider and its last finished run; `status` and `code` are of its last run, finished or not."""

    rail: str
    account: str
    status: str | None
    code: str | None
    finished_at: datetime | None
    age: timedelta
    open: int

    @property
    def late(self) -> bool:
        return self.age > LATE

    @property
    def ago(self) -> str:
        return cells.span(self.age)


@dataclass(frozen=True, slots=True)
class Hour:
    at: datetime
    matched: int
    open: int


@dataclass(frozen=True, slots=True)
class Day:
    """One rail's last 24 hours, the oldest first."""

    rail: str
    hours: list[Hour]

    @property
    def matched(self) -> int:
        return sum(hour.matched for hour in self.hours)

    @property
    def open(self) -> int:
        return self.hours[-1].open


def accounts(org: UUID, livemode: bool) -> list[Account]:
    """Each account, by rail."""
    names = ("rail", "account", "status", "code", "finished_at", "age", "open")
    return [Account(**{name: row[name] for name in names}) for row in db.select(_ACCOUNTS, _asked(org, livemode))]


def days(org: UUID, livemode: bool) -> list[Day]:
    """Each rail on which there is an account."""
    rows = db.select(_HOURS, _asked(org, livemode))
    return [
        Day(rail, [Hour(row["at"], int(row["matched"]), row["open"]) for row in found])
        for rail, found in groupby(rows, lambda row: str(row["rail"]))
    ]


def open_cases(org: UUID, livemode: bool) -> int:
    """How many discrepancies nobody has closed."""
    return sum(account.open for account in accounts(org, livemode))


def _asked(org: UUID, livemode: bool) -> dict[str, Any]:
    return {"org": org, "livemode": livemode}
