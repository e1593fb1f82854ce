"""What the start page says: counts and sums of one organisation, read with plain SQL inside its tenant."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.safestring import SafeString

from codespar.console import cells
from codespar.lib import db, money

# What a person must look at comes first, then what is under way, then what is over.
STATUSES = [
    "needs_human",
    "uncertain",
    "requires_approval",
    "authorized",
    "submitted",
    "reversing",
    "settled",
    "reversed",
    "denied",
    "failed",
    "canceled",
    "expired",
    "written_off",
]

# Whether a mandate would be honoured now; the same questions, in the same order, as the payment's own gate asks.
MANDATE_STATE = """
CASE
    WHEN EXISTS (SELECT FROM scope_states s
                 WHERE s.org_id = mandates.org_id AND s.livemode = mandates.livemode
                     AND s.scope = 'mandate' AND s.scope_id = mandates.id AND s.epoch > 0)
        OR mandates.epochs <> (
            SELECT jsonb_build_object(
                'platform', (SELECT epoch FROM platform_states WHERE scope = 'platform' AND name = 'platform'),
                'org', coalesce(max(s.epoch) FILTER (WHERE s.scope = 'org' AND s.scope_id = mandates.org_id), 0),
                'project', coalesce(max(s.epoch) FILTER (WHERE s.scope = 'project' AND s.scope_id = mandates.project_id), 0),
                'agent', coalesce(max(s.epoch) FILTER (WHERE s.scope = 'agent' AND s.scope_id = mandates.agent_id), 0))
            FROM scope_states s WHERE s.org_id = mandates.org_id AND s.livemode = mandates.livemode) THEN 'revoked'
    WHEN mandates.expires_at <= clock_timestamp() THEN 'expired'
    WHEN EXISTS (SELECT FROM agents a
                 WHERE a.org_id = mandates.org_id AND a.id = mandates.agent_id AND a.closed_at IS NOT NULL) THEN 'agent closed'
    WHEN EXISTS (SELECT FROM platform_states WHERE scope = 'platform' AND stopped)
        OR EXISTS (SELECT FROM scope_states s
                   WHERE s.org_id = mandates.org_id AND s.livemode = mandates.livemode AND s.stopped AND (s.scope, s.scope_id) IN (
            ('org', mandates.org_id), ('project', mandates.project_id), ('agent', mandates.agent_id), ('mandate', mandates.id)
        )) THEN 'stopped'
    WHEN EXISTS (SELECT FROM mandate_usages u
                 WHERE u.org_id = mandates.org_id AND u.mandate_id = mandates.id AND u.paused) THEN 'paused'
    WHEN mandates.not_before > clock_timestamp() THEN 'not yet'
    ELSE 'live'
END
"""

_STOPPED = """
SELECT scope, name FROM platform_states WHERE stopped
UNION ALL
SELECT scope, CASE scope WHEN 'rail' THEN (SELECT rail FROM rail_accounts r WHERE r.org_id = t.org_id AND r.id = t.scope_id)
              ELSE scope_id::text END
FROM scope_states t WHERE org_id = %s AND livemode = %s AND stopped ORDER BY 1, 2
"""
_PREFIXES = {"org": "org", "project": "prj", "agent": "agt", "mandate": "mnd", "counterparty": "ctp"}


@dataclass(frozen=True, slots=True)
class Count:
    """How many payments are in one state."""

    status: str
    number: int

    @property
    def label(self) -> SafeString:
        return cells.label_of(self.status)

    @property
    def colour(self) -> str:
        return cells.TEXT[cells.colour_of(self.status)]


@dataclass(frozen=True, slots=True)
class Balance:
    """One currency's money, written out: in the main account, free in wallets, held in wallets."""

    currency: str
    wallets: int
    main: str
    available: str
    held: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Something that is stopped now: a rail or the platform by name, everything else by wire id."""

    scope: str
    name: str


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that an app adds: it leads to the list `page` (app_model), narrowed by `query`."""

    title: str
    icon: str
    number: int
    colour: str
    page: str
    query: str

    @property
    def link(self) -> str:
        return reverse(f"admin:{self.page}_changelist")


@dataclass(frozen=True, slots=True)
class Overview:
    """One mode (test or live) at a glance, and what belongs to both: the ledger and the stops."""

    mode: str
    organisation: str
    payments: list[Count]
    total: int
    approvals: int
    needs_human: int
    uncertain: int
    balances: list[Balance]
    mandates: dict[str, int]
    stops: list[Stop]
    head: dict[str, Any] | None
    checkpoint: dict[str, Any] | None


def read(org: UUID, *, mode: str | None = None) -> Overview:
    """The overview of `org` in one mode."""
    mode = mode_of(org, mode)
    livemode = mode == "live"
    counts = _payments(org, livemode)
    refunds = _refunds(org, livemode)
    return Overview(
        mode=mode,
        organisation=_one("SELECT name FROM organisations WHERE id = %s", org)["name"],
        payments=[Count(status, counts[status]) for status in STATUSES if counts.get(status)],
        total=sum(counts.values()),
        approvals=counts.get("requires_approval", 0),
        needs_human=counts.get("needs_human", 0) + refunds.get("needs_human", 0),
        uncertain=counts.get("uncertain", 0) + refunds.get("uncertain", 0),
        balances=_balances(org, livemode),
        mandates=_mandates(org, livemode),
        stops=_stops(org, livemode),
        head=_one("SELECT seq, encode(hash, 'hex') AS hash FROM ledger_heads WHERE org_id = %s", org),
        checkpoint=_one("SELECT size, made_at FROM ledger_checkpoints WHERE org_id = %s ORDER BY size DESC LIMIT 1", org),
    )


def mode_of(org: UUID, asked: str | None) -> str:
    """The mode that is asked for; otherwise live as soon as there is an agent in it."""
    if asked in ("live", "test"):
        return asked
    found = _one("SELECT EXISTS (SELECT FROM agents WHERE org_id = %s AND livemode) AS live", org)
    return "live" if found["live"] else "test"


def _payments(org: UUID, livemode: bool) -> dict[str, int]:
    rows = db.select("SELECT status, count(*) AS n FROM payments WHERE org_id = %s AND livemode = %s GROUP BY status", [org, livemode])
    return {row["status"]: row["n"] for row in rows}


def _refunds(org: UUID, livemode: bool) -> dict[str, int]:
    rows = db.select(
        "SELECT r.status, count(*) AS n FROM refunds r JOIN payments p ON p.org_id = r.org_id AND p.id = r.payment_id"
        " WHERE r.org_id = %s AND p.livemode = %s AND r.status IN ('needs_human', 'uncertain') GROUP BY r.status",
        [org, livemode],
    )
    return {row["status"]: row["n"] for row in rows}


def _balances(org: UUID, livemode: bool) -> list[Balance]:
    rows = db.select(
        "SELECT currency, count(*) FILTER (WHERE kind = 'wallet') AS wallets,"
        " coalesce(sum(available) FILTER (WHERE kind = 'main'), 0) AS main,"
        " coalesce(sum(available) FILTER (WHERE kind = 'wallet'), 0) AS available,"
        " coalesce(sum(held) FILTER (WHERE kind = 'wallet'), 0) AS held"
        " FROM accounts WHERE org_id = %s AND livemode = %s AND kind IN ('wallet', 'main') GROUP BY currency ORDER BY currency",
        [org, livemode],
    )
    return [
        Balance(r["currency"], r["wallets"], *(money.major(int(r[k]), r["currency"]) for k in ("main", "available", "held"))) for r in rows
    ]


def _mandates(org: UUID, livemode: bool) -> dict[str, int]:
    states = f"SELECT {MANDATE_STATE} AS state FROM mandates WHERE org_id = %s AND livemode = %s"
    rows = db.select(f"SELECT state, count(*) AS n FROM ({states}) s GROUP BY state", [org, livemode])
    found = {row["state"]: row["n"] for row in rows}
    return {"live": found.pop("live", 0), **dict(sorted(found.items()))}


def _stops(org: UUID, livemode: bool) -> list[Stop]:
    rows = db.select(_STOPPED, [org, livemode])
    return [
        Stop(r["scope"], f"{_PREFIXES[r['scope']]}_{r['name'].replace('-', '')}" if r["scope"] in _PREFIXES else r["name"]) for r in rows
    ]


def _one(query: str, org: UUID) -> Any:
    found = db.select(query, [org])
    return found[0] if found else None
