"""Policies: written as versions that never change, brought into force by activations that are never taken back, only followed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from codespar.identity import acting
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import ids

_WRITE = {
    "policies_one_a_scope": conflict("There is a policy for this scope already: write a new version of it."),
    "policies_scope_known": not_found("project or agent in this mode"),
    "policy_versions_next": conflict("Somebody else wrote a version in the meantime: read the policy again."),
}


def create(principal: Principal, *, name: str, scope: str, scope_id: str, document: Mapping[str, Any], now: datetime) -> UUID:
    """A policy with its first version, a draft until it is activated. `scope_id` is a wire id. Returns its id."""
    policy = ids.new()
    _write(principal, policy, 1, scope, scope_id, document, now, name=name)
    return policy


def write_version(
    principal: Principal, *, policy: UUID, version: int, scope: str, scope_id: str, document: Mapping[str, Any], now: datetime
) -> None:
    """Version `version`, which must be the next one. Raises `Conflict` when somebody else wrote it."""
    _write(principal, policy, version, scope, scope_id, document, now)


def activate(principal: Principal, *, policy: UUID, version: int, state: str, now: datetime) -> None:
    """Bring a version into force (`active`), let it watch (`shadow`), or end the policy (`retired`)."""
    wire = ids.wire("pol", policy)
    record = acting.draft(principal, kind="policy.activated", subject=wire, data={"id": wire, "version": version, "state": state})
    refusals = {"policies_known": not_found("policy"), "policy_activations_version": not_found("version of this policy")}
    acting.write(principal, "policy_activate", record, now=now, refusals=refusals)


def _write(
    principal: Principal,
    policy: UUID,
    version: int,
    scope: str,
    scope_id: str,
    document: Mapping[str, Any],
    now: datetime,
    **extra: Any,
) -> None:
    wire = ids.wire("pol", policy)
    data = {"id": wire, "version": version, "scope": scope, "scope_id": scope_id, "document": dict(document), **extra}
    record = acting.draft(principal, kind="policy.version_written", subject=wire, data=data)
    acting.write(principal, "policy_write", record, now=now, refusals=_WRITE)
