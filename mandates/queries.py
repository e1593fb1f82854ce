"""Reads that need more than one table."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from codespar.lib import db, pages
from ledger.models import Opening
from mandates import serializers
from mandates.models import (
    Counterparty,
    CounterpartyVersion,
    Mandate,
    MandateUsage,
    Policy,
    PolicyActivation,
    PolicyVersion,
    Revocation,
    Stop,
    StopLift,
)

_REVOKED = """
SELECT m.id FROM mandates m WHERE m.org_id = %s AND m.id = ANY(%s::uuid[]) AND (
    m.epochs->>'platform' <> (SELECT epoch::text FROM platform_states WHERE scope = 'platform' AND name = 'platform')
    OR EXISTS (SELECT FROM scope_states s WHERE s.org_id = m.org_id AND s.livemode = m.livemode AND (
        (s.scope = 'mandate' AND s.scope_id = m.id AND s.epoch > 0)
        OR (s.scope = 'agent' AND s.scope_id = m.agent_id AND s.epoch::text <> m.epochs->>'agent')
        OR (s.scope = 'project' AND s.scope_id = m.project_id AND s.epoch::text <> m.epochs->>'project')
        OR (s.scope = 'org' AND s.scope_id = m.org_id AND s.epoch::text <> m.epochs->>'org'))))
"""
# The first revocation of the mandate, or of what it stands under, that came after it was issued.
_ENDINGS = """
SELECT DISTINCT ON (m.id) m.id AS mandate, r.id FROM mandates m
JOIN ledger_entries i ON i.org_id = m.org_id AND i.id = m.entry_id
JOIN revocations r ON r.org_id = m.org_id AND r.livemode = m.livemode
    AND (r.scope, r.scope_id) IN (('mandate', m.id), ('agent', m.agent_id), ('project', m.project_id), ('org', m.org_id))
JOIN ledger_entries e ON e.org_id = r.org_id AND e.id = r.entry_id AND e.seq > i.seq
WHERE m.org_id = %s AND m.id = ANY(%s::uuid[]) ORDER BY m.id, e.seq
"""
_EVERYBODYS = "SELECT revocation_receipt AS receipt FROM platform_states WHERE scope = 'platform'"
# The receipts of what stops this payment now, the widest first, the newest of each.
_STOPPED = """
SELECT stop_receipt AS receipt FROM platform_states WHERE stopped AND (scope = 'platform' OR (scope = 'rail' AND name = %(rail)s))
UNION ALL (
SELECT s.receipt FROM stops s WHERE s.org_id = %(org)s AND s.livemode = %(livemode)s
    AND ((s.scope = 'rail' AND s.target = %(rail)s) OR (s.scope, s.scope_id) IN (('org', %(org)s), ('project', %(project)s),
         ('agent', %(agent)s), ('mandate', %(mandate)s), ('counterparty', %(counterparty)s)))
    AND NOT EXISTS (SELECT FROM stop_lifts l WHERE l.org_id = s.org_id AND l.stop_id = s.id)
ORDER BY s.id DESC)
"""


def mandates(org: UUID, rows: list[Mandate]) -> list[dict[str, Any]]:
    """Mandates with what they have left and whether they are revoked."""
    found = [row.id for row in rows]
    with db.tenant(org):
        usages = {usage.mandate_id: usage for usage in MandateUsage.objects.for_org(org).filter(mandate_id__in=found)}
        revoked = {row["id"] for row in db.select(_REVOKED, [str(org), [str(one) for one in found]])}
        endings = _endings(org, found)
    return [serializers.mandate(row, usages[row.id], row.id in revoked, endings.get(row.id)) for row in rows]


def mandate(org: UUID, mandate: UUID, **where: Any) -> dict[str, Any]:
    """One mandate. Raises `NotFound`."""
    return mandates(org, [pages.one(Mandate, org, mandate, "mandate", **where)])[0]


def revocation_receipt(org: UUID, mandate: UUID) -> str | None:
    """The signed receipt of the revocation that ended this mandate."""
    with db.tenant(org):
        ending = _endings(org, [mandate]).get(mandate)
        receipt: str | None = ending.receipt if ending else db.select(_EVERYBODYS)[0]["receipt"]
    return receipt


def stop_receipt(
    org: UUID, *, livemode: bool, project: UUID, agent: UUID, mandate: UUID | None, counterparty: UUID | None, rail: str
) -> str | None:
    """The signed receipt of a stop that holds such a payment back; None when only its flag is set yet."""
    named = {"org": org, "livemode": livemode, "project": project, "agent": agent, "mandate": mandate, "counterparty": counterparty}
    with db.tenant(org):
        found = db.select(_STOPPED, {**named, "rail": rail})
    return next((row["receipt"] for row in found if row["receipt"]), None)


def stops(org: UUID, rows: list[Stop]) -> list[dict[str, Any]]:
    """Stops with their reasons, and who lifted them."""
    with db.tenant(org):
        lifts = {lift.stop_id: lift for lift in StopLift.objects.for_org(org).filter(stop_id__in=[row.id for row in rows])}
        reasons = _reasons(org, [*rows, *lifts.values()])
    return [serializers.stop(row, lifts.get(row.id), reasons) for row in rows]


def stop(org: UUID, stop: UUID, **where: Any) -> dict[str, Any]:
    """One stop. Raises `NotFound`."""
    return stops(org, [pages.one(Stop, org, stop, "stop", **where)])[0]


def revocations(org: UUID, rows: list[Revocation]) -> list[dict[str, Any]]:
    """Revocations with their reasons."""
    with db.tenant(org):
        reasons = _reasons(org, rows)
    return [serializers.revocation(row, reasons) for row in rows]


def revocation(org: UUID, revocation: UUID, **where: Any) -> dict[str, Any]:
    """One revocation. Raises `NotFound`."""
    return revocations(org, [pages.one(Revocation, org, revocation, "revocation", **where)])[0]


def _endings(org: UUID, found: list[UUID]) -> dict[UUID, Revocation]:
    ended = {row["mandate"]: row["id"] for row in db.select(_ENDINGS, [str(org), [str(one) for one in found]])}
    if not ended:
        return {}
    rows = {row.id: row for row in Revocation.objects.for_org(org).filter(id__in=set(ended.values()))}
    return {mandate: rows[revocation] for mandate, revocation in ended.items()}


def _reasons(org: UUID, rows: Sequence[Stop | StopLift | Revocation]) -> dict[str, str]:
    """What was said, by the commitment that the records hold."""
    commits = [bytes.fromhex(row.reason_commit) for row in rows]
    return {bytes(o.commit).hex(): bytes(o.value).decode() for o in Opening.objects.for_org(org).filter(commit__in=commits)}


def counterparties(org: UUID, rows: list[Counterparty]) -> list[dict[str, Any]]:
    """Counterparties with the accounts of their current version."""
    with db.tenant(org):
        found = CounterpartyVersion.objects.for_org(org).filter(counterparty_id__in=[row.id for row in rows])
        versions = {(row.counterparty_id, row.version): row for row in found}
    return [serializers.counterparty(row, versions[row.id, row.version]) for row in rows]


def counterparty(org: UUID, counterparty: UUID, **where: Any) -> dict[str, Any]:
    """One counterparty. Raises `NotFound`."""
    return counterparties(org, [pages.one(Counterparty, org, counterparty, "counterparty", **where)])[0]


def payees(org: UUID, wanted: list[UUID], livemode: bool) -> list[Counterparty]:
    """Those of `wanted` that may be named in a mandate."""
    with db.tenant(org):
        found = Counterparty.objects.for_org(org).filter(id__in=wanted, livemode=livemode).exclude(status="retired")
        return list(found)


def policies(org: UUID, rows: list[Policy]) -> list[dict[str, Any]]:
    """Policies with all versions and what is in force."""
    found = [row.id for row in rows]
    with db.tenant(org):
        versions = list(PolicyVersion.objects.for_org(org).filter(policy_id__in=found).order_by("version"))
        activations = list(PolicyActivation.objects.for_org(org).filter(policy_id__in=found).order_by("epoch"))
    return [
        serializers.policy(row, [v for v in versions if v.policy_id == row.id], [a for a in activations if a.policy_id == row.id])
        for row in rows
    ]


def policy(org: UUID, policy: UUID, **where: Any) -> dict[str, Any]:
    """One policy. Raises `NotFound`."""
    return policies(org, [pages.one(Policy, org, policy, "policy", **where)])[0]
