"""Identity as the API reads and shows it."""

from typing import Any

from rest_framework import serializers

from codespar.identity import access
from codespar.identity.models import AccessToken, Agent, Member, Project
from codespar.lib import clock, ids
from codespar.lib.errors import Invalid
from codespar.lib.sdjwt import check_agent_jwk
from codespar.rest import fields


def _role(value: object) -> str:
    if value not in access.MEMBER_ROLES:
        raise Invalid(f"A role is one of {', '.join(access.MEMBER_ROLES)}.")
    return str(value)


def _scope(value: object) -> str:
    if not isinstance(value, str) or value not in access.SCOPES:
        raise Invalid("This is not a scope: docs/access.md lists them.")
    return value


def _email(value: object) -> str:
    if (
        not isinstance(value, str)
        or not 3 <= len(value) <= 254
        or value.count("@") != 1
        or value.strip("@ ") != value
        or not value.isprintable()
    ):
        raise Invalid("This must be an e-mail address.")
    return value.lower()


def _holder(value: object) -> str:
    if isinstance(value, str) and value.startswith("mem_"):
        ids.parse(value, "mem")
    else:
        ids.parse(value, "agt")
    return str(value)


_ROLE = fields.Read(_role, schema={"type": "string", "enum": list(access.MEMBER_ROLES)})
_SCOPE = fields.Read(_scope, schema={"type": "string", "enum": list(access.SCOPES)})
_COORDINATE = {"type": "string", "pattern": "^[A-Za-z0-9_-]{43}$"}
_JWK: dict[str, Any] = {
    "type": "object",
    "properties": {"kty": {"const": "EC"}, "crv": {"const": "P-256"}, "x": _COORDINATE, "y": _COORDINATE},
    "required": ["kty", "crv", "x", "y"],
    "additionalProperties": False,
}


class ProjectIn(fields.Strict):
    name = fields.Text(longest=100)


class AgentIn(fields.Strict):
    project = fields.Id("prj")
    name = fields.Text(longest=100)
    public_jwk = fields.Read(check_agent_jwk, schema=_JWK)


class MemberIn(fields.Strict):
    email = fields.Read(_email, schema={"type": "string", "format": "email"})
    name = fields.Text(longest=100)
    roles = fields.Several(_ROLE)


class RolesIn(fields.Strict):
    roles = fields.Several(_ROLE)


class TokenIn(fields.Strict):
    holder = fields.Read(_holder, schema={"type": "string", "pattern": "^(agt|mem)_[0-9a-f]{32}$"})
    name = fields.Text(longest=100)
    scopes = fields.Several(_SCOPE, required=False)
    expires_at = fields.Moment()


class RotateIn(fields.Strict):
    overlap_seconds = fields.Whole(least=0, most=604_800, required=False)
    expires_at = fields.Moment(required=False)


class ProjectOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    name = serializers.CharField()
    created_at = serializers.CharField()


class AgentOut(ProjectOut):
    project = serializers.CharField()
    public_jwk = serializers.DictField(child=serializers.CharField())
    thumbprint = serializers.CharField()


class MemberOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    email = serializers.CharField()
    name = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField())
    created_at = serializers.CharField()
    closed_at = serializers.CharField(allow_null=True)


class TokenOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    livemode = serializers.BooleanField()
    holder = serializers.CharField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = serializers.CharField()
    expires_at = serializers.CharField()
    revoked_at = serializers.CharField(allow_null=True)
    last_used_at = serializers.CharField(allow_null=True)


class NewTokenOut(TokenOut):
    """`token` is shown this once."""

    token = serializers.CharField()


def project(row: Project) -> dict[str, Any]:
    return {
        "id": ids.wire("prj", row.id),
        "object": "project",
        "livemode": row.livemode,
        "name": row.name,
        "created_at": clock.stamp(row.created_at),
    }


def agent(row: Agent) -> dict[str, Any]:
    return {
        "id": ids.wire("agt", row.id),
        "object": "agent",
        "livemode": row.livemode,
        "name": row.name,
        "created_at": clock.stamp(row.created_at),
        "project": ids.wire("prj", row.project_id),
        "public_jwk": row.public_jwk,
        "thumbprint": row.thumbprint,
    }


def member(row: Member, livemode: bool) -> dict[str, Any]:
    """A member belongs to both modes: `livemode` is the asking token's."""
    return {
        "id": ids.wire("mem", row.id),
        "object": "member",
        "livemode": livemode,
        "email": row.email,
        "name": row.name,
        "roles": row.roles,
        "created_at": clock.stamp(row.created_at),
        "closed_at": row.closed_at and clock.stamp(row.closed_at),
    }


def token(row: AccessToken) -> dict[str, Any]:
    return {
        "id": ids.wire("tok", row.id),
        "object": "access_token",
        "livemode": row.livemode,
        "holder": holder(row),
        "name": row.name,
        "scopes": row.scopes,
        "created_at": clock.stamp(row.created_at),
        "expires_at": clock.stamp(row.expires_at),
        "revoked_at": row.revoked_at and clock.stamp(row.revoked_at),
        "last_used_at": row.last_used_at and clock.stamp(row.last_used_at),
    }


def holder(row: AccessToken) -> str:
    """The agent or member that the token is of."""
    if row.agent_id:
        return ids.wire("agt", row.agent_id)
    assert row.member_id
    return ids.wire("mem", row.member_id)
