"""The people's API about identity: parse, one action, render."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from codespar.identity import access, actions, serializers
from codespar.identity.authentication import principal
from codespar.identity.models import AccessToken, Agent, Member, Project
from codespar.lib import clock, ids, pages
from codespar.rest import answers, fields
from codespar.rest.openapi import PAGE, listed
from codespar.rest.views import Endpoint


class Projects(Endpoint):
    scopes = {"GET": "projects:read", "POST": "projects:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="projects_list", responses={200: listed(serializers.ProjectOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        return answers.listing(request, Project, "prj", answers.each(serializers.project), livemode=caller.livemode)

    @extend_schema(operation_id="projects_create", request=serializers.ProjectIn, responses={201: serializers.ProjectOut})
    def post(self, request: Request) -> Response:
        body = fields.read(serializers.ProjectIn, request)
        made = actions.create_project(principal(request), name=body["name"], now=clock.now())
        return Response(serializers.project(pages.one(Project, principal(request).org, made, "project")), status=201)


class ProjectDetail(Endpoint):
    scopes = {"GET": "projects:read"}

    @extend_schema(operation_id="projects_get", responses={200: serializers.ProjectOut})
    def get(self, request: Request, project: str) -> Response:
        return Response(serializers.project(_one(request, Project, project, "prj", "project")))


class Agents(Endpoint):
    scopes = {"GET": "agents:read", "POST": "agents:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="agents_list", responses={200: listed(serializers.AgentOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        return answers.listing(request, Agent, "agt", answers.each(serializers.agent), livemode=caller.livemode)

    @extend_schema(operation_id="agents_create", request=serializers.AgentIn, responses={201: serializers.AgentOut})
    def post(self, request: Request) -> Response:
        body = fields.read(serializers.AgentIn, request)
        project = ids.parse(body["project"], "prj")
        made = actions.create_agent(principal(request), project=project, name=body["name"], public_jwk=body["public_jwk"], now=clock.now())
        return Response(serializers.agent(pages.one(Agent, principal(request).org, made, "agent")), status=201)


class AgentDetail(Endpoint):
    scopes = {"GET": "agents:read"}

    @extend_schema(operation_id="agents_get", responses={200: serializers.AgentOut})
    def get(self, request: Request, agent: str) -> Response:
        return Response(serializers.agent(_one(request, Agent, agent, "agt", "agent")))


class Members(Endpoint):
    scopes = {"GET": "members:read", "POST": "members:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="members_list", responses={200: listed(serializers.MemberOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        return answers.listing(request, Member, "mem", answers.each(lambda row: serializers.member(row, caller.livemode)))

    @extend_schema(operation_id="members_create", request=serializers.MemberIn, responses={201: serializers.MemberOut})
    def post(self, request: Request) -> Response:
        made = actions.create_member(principal(request), **fields.read(serializers.MemberIn, request), now=clock.now())
        return Response(_member(request, made), status=201)


class MemberDetail(Endpoint):
    scopes = {"GET": "members:read", "PATCH": "members:write", "DELETE": "members:write"}

    @extend_schema(operation_id="members_get", responses={200: serializers.MemberOut})
    def get(self, request: Request, member: str) -> Response:
        return Response(_member(request, pages.path_id(member, "mem", "member")))

    @extend_schema(operation_id="members_change_roles", request=serializers.RolesIn, responses={200: serializers.MemberOut})
    def patch(self, request: Request, member: str) -> Response:
        found = pages.path_id(member, "mem", "member")
        actions.change_roles(principal(request), member=found, roles=fields.read(serializers.RolesIn, request)["roles"], now=clock.now())
        return Response(_member(request, found))

    @extend_schema(operation_id="members_close", responses={200: serializers.MemberOut})
    def delete(self, request: Request, member: str) -> Response:
        found = pages.path_id(member, "mem", "member")
        actions.close_member(principal(request), member=found, now=clock.now())
        return Response(_member(request, found))


class Tokens(Endpoint):
    scopes = {"GET": "tokens:read", "POST": "tokens:write"}
    query_parameters = {"GET": PAGE}

    @extend_schema(operation_id="tokens_list", responses={200: listed(serializers.TokenOut)})
    def get(self, request: Request) -> Response:
        caller = principal(request)
        return answers.listing(request, AccessToken, "tok", answers.each(serializers.token), livemode=caller.livemode)

    @extend_schema(operation_id="tokens_create", request=serializers.TokenIn, responses={201: serializers.NewTokenOut})
    def post(self, request: Request) -> Response:
        body = fields.read(serializers.TokenIn, request)
        scopes = body.get("scopes") or _usual_scopes(request, body["holder"])
        made = actions.create_token(
            principal(request), holder=body["holder"], name=body["name"], scopes=scopes, expires_at=body["expires_at"], now=clock.now()
        )
        return Response({**_token(request, made.id), "token": made.text}, status=201)


class TokenDetail(Endpoint):
    scopes = {"GET": "tokens:read", "DELETE": "tokens:write"}

    @extend_schema(operation_id="tokens_get", responses={200: serializers.TokenOut})
    def get(self, request: Request, token: str) -> Response:
        return Response(serializers.token(_one(request, AccessToken, token, "tok", "access token")))

    @extend_schema(operation_id="tokens_revoke", responses={200: serializers.TokenOut})
    def delete(self, request: Request, token: str) -> Response:
        found = _one(request, AccessToken, token, "tok", "access token")
        actions.revoke_token(principal(request), token=found.id, now=clock.now())
        return Response(_token(request, found.id))


class TokenRotate(Endpoint):
    scopes = {"POST": "tokens:write"}

    @extend_schema(operation_id="tokens_rotate", request=serializers.RotateIn, responses={201: serializers.NewTokenOut})
    def post(self, request: Request, token: str) -> Response:
        body, old = fields.read(serializers.RotateIn, request), _one(request, AccessToken, token, "tok", "access token")
        now = clock.now()
        made = actions.rotate_token(
            principal(request),
            token=old.id,
            holder=serializers.holder(old),
            name=old.name,
            scopes=old.scopes,
            overlap=timedelta(seconds=body.get("overlap_seconds", 3600)),
            expires_at=body.get("expires_at") or now + max(old.expires_at - old.created_at, timedelta(hours=1)),
            now=now,
        )
        return Response({**_token(request, made.id), "token": made.text}, status=201)


def _one(request: Request, model: Any, text: str, prefix: str, what: str) -> Any:
    caller = principal(request)
    return pages.one(model, caller.org, pages.path_id(text, prefix, what), what, livemode=caller.livemode)


def _member(request: Request, member: UUID) -> dict[str, Any]:
    caller = principal(request)
    return serializers.member(pages.one(Member, caller.org, member, "member"), caller.livemode)


def _token(request: Request, token: UUID) -> dict[str, Any]:
    return serializers.token(pages.one(AccessToken, principal(request).org, token, "access token"))


def _usual_scopes(request: Request, holder: str) -> list[str]:
    """What a holder usually has: an agent's scopes, or everything of the member's roles."""
    if holder.startswith("agt_"):
        return sorted(access.ROLES[access.AGENT])
    member = pages.one(Member, principal(request).org, ids.parse(holder, "mem"), "member")
    return sorted(access.scopes_of(member.roles))
