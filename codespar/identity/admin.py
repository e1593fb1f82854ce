"""Who: the organisation, its projects, agents, people and access tokens."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet

from codespar.console.admin import ModeFilter, ReadOnlyAdmin, Related, rows_of
from codespar.console.site import site
from codespar.identity.models import AccessToken, Agent, Member, MemberDevice, Organisation, Project


@admin.register(Organisation, site=site)
class OrganisationAdmin(ReadOnlyAdmin):
    prefix = "org"
    columns = ("name", "timezone", "created_at", "closed_at")
    search_fields = ()

    def scoped(self, org: UUID) -> QuerySet[Any]:
        return Organisation.objects.filter(id=org)


@admin.register(Project, site=site)
class ProjectAdmin(ReadOnlyAdmin):
    prefix = "prj"
    columns = ("name", "livemode", "created_at", "closed_at")
    list_filter = (ModeFilter,)
    searched = ("name",)
    related = (
        Related(
            "Agents",
            ("id", "name", "created_at", "closed_at"),
            rows_of(Agent, "project_id"),
            prefix="agt",
            more=("identity_agent", "project_id"),
        ),
    )


def _tokens(column: str) -> Related:
    shown = ("id", "name", "livemode", "expires_at", "revoked_at", "last_used_at")
    return Related("Access tokens", shown, rows_of(AccessToken, column), prefix="tok", more=("identity_accesstoken", column))


@admin.register(Agent, site=site)
class AgentAdmin(ReadOnlyAdmin):
    prefix = "agt"
    columns = ("name", "livemode", "project_id", "created_at", "closed_at")
    names = {"project_id": Project}
    list_filter = (ModeFilter,)
    searched = ("name",)
    related = (_tokens("agent_id"),)


@admin.register(Member, site=site)
class MemberAdmin(ReadOnlyAdmin):
    prefix = "mem"
    columns = ("name", "email", "roles", "created_at", "closed_at")
    searched = ("name", "email")
    related = (
        Related(
            "Authenticators",
            ("id", "name", "failures", "failed_at", "created_at"),
            rows_of(MemberDevice, "member_id", order="-created_at"),
            prefix="key",
        ),
        _tokens("member_id"),
    )


@admin.register(AccessToken, site=site)
class AccessTokenAdmin(ReadOnlyAdmin):
    """What people may know of a token. Its digest is not even in the model."""

    prefix = "tok"
    columns = ("name", "livemode", "agent_id", "member_id", "expires_at", "revoked_at", "last_used_at")
    names = {"agent_id": Agent, "member_id": Member}
    list_filter = (ModeFilter,)
    searched = ("name",)
