"""Reads that need more than one table."""

from typing import Any
from uuid import UUID

from codespar.lib import db, pages
from mandates import serializers
from mandates.models import Counterparty, CounterpartyVersion, Mandate, MandateUsage, Policy, PolicyActivation, PolicyVersion, Revocation

_REVOKED = """
SELECT m.id FROM mandates m WHERE m.org_id = %s AND m.id = ANY(%s::uuid[]) AND (
    m.epochs->>'platform' <> (SELECT epoch::text FROM platform_states WHERE scope = 'platform' AND name = 'platform')
    OR EXISTS (SELECT FROM scope_states s WHERE s.org_id = m.org_id AND (
        (s.scope = 'mandate' AND s.scope_id = m.id AND s.epoch > 0)
        OR (s.scope = 'agent' AND s.scope_id = m.agent_id AND s.epoch::text <> m.epochs->>'agent')
        OR (s.scope = 'project' AND s.scope_id = m.project_id AND s.epoch::text <> m.epochs->>'project')
        OR (s.scope = 'org' AND s.scope_id = m.org_id AND s.epoch::text <> m.epochs->>'org'))))
"""


def mandates(org: UUID, rows: list[Mandate]) -> list[dict[str, Any]]:
    """Mandates with what they have left and whether they are revoked."""
    found = [row.id for row in rows]
    with db.tenant(org):
        usages = {usage.mandate_id: usage for usage in MandateUsage.objects.for_org(org).filter(mandate_id__in=found)}
        revocations = {row.scope_id: row for row in Revocation.objects.for_org(org).filter(scope="mandate", scope_id__in=found)}
        revoked = {row["id"] for row in db.select(_REVOKED, [str(org), [str(one) for one in found]])}
    return [serializers.mandate(row, usages[row.id], row.id in revoked, revocations.get(row.id)) for row in rows]


def mandate(org: UUID, mandate: UUID, **where: Any) -> dict[str, Any]:
    """One mandate. Raises `NotFound`."""
    return mandates(org, [pages.one(Mandate, org, mandate, "mandate", **where)])[0]


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
