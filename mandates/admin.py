"""May it: mandates, counterparties, policies, decisions, revocations, stops."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Case, Exists, OuterRef, QuerySet, TextField, Value, When
from django.db.models.expressions import RawSQL
from django.http import HttpRequest

from codespar.console.admin import ModeFilter, ReadOnlyAdmin, Related, rows_of
from codespar.console.overview import MANDATE_STATE
from codespar.console.site import site
from codespar.identity.models import Agent
from mandates.models import (
    Counter,
    Counterparty,
    CounterpartyVersion,
    Decision,
    Mandate,
    MandateUsage,
    Policy,
    PolicyActivation,
    PolicyVersion,
    Revocation,
    Stop,
    StopLift,
)


class StateFilter(admin.SimpleListFilter):
    """A state that is no column."""

    title = "state"
    parameter_name = "state"
    states: tuple[str, ...]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in self.states]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(state=self.value()) if self.value() else queryset


class MandateStates(StateFilter):
    """It follows from epochs, stops, times and usage."""

    states = ("live", "not yet", "paused", "stopped", "expired", "agent closed", "revoked")


class StopStates(StateFilter):
    """Until somebody else has lifted it."""

    states = ("stopped", "lifted")


@admin.register(Mandate, site=site)
class MandateAdmin(ReadOnlyAdmin):
    prefix = "mnd"
    columns = ("state", "livemode", "agent_id", "max_amount", "budget", "expires_at")
    names = {"agent_id": Agent}
    list_filter = (MandateStates, ModeFilter, "currency", "profile")
    related = (
        Related("Used up", ("spent", "budget", "uses", "max_uses", "paused"), rows_of(MandateUsage, "mandate_id", order="mandate_id")),
        Related("Revocations", ("id", "initiator", "at", "entry_id"), rows_of(Revocation, "scope_id"), prefix="rev"),
    )

    def scoped(self, org: UUID) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().scoped(org).annotate(state=RawSQL(MANDATE_STATE, [], output_field=TextField()))
        return rows


@admin.register(Counterparty, site=site)
class CounterpartyAdmin(ReadOnlyAdmin):
    prefix = "ctp"
    plural = "counterparties"
    columns = ("name", "status", "livemode", "country", "category", "version", "created_at")
    list_filter = (ModeFilter, "status", "country", "category")
    searched = ("name",)
    related = (
        Related(
            "Versions",
            ("version", "document", "author", "created_at", "entry_id"),
            rows_of(CounterpartyVersion, "counterparty_id", order="-version"),
        ),
    )


def _counters(policy: Policy) -> QuerySet[Any]:
    selector = f"{policy.scope}={policy.scope_id};{'live' if policy.livemode else 'test'}"
    rows: QuerySet[Any] = Counter.objects.for_org(policy.org_id)
    return rows.filter(selector__startswith=selector).order_by("-window_start", "window_kind", "selector", "currency")


@admin.register(Policy, site=site)
class PolicyAdmin(ReadOnlyAdmin):
    prefix = "pol"
    plural = "policies"
    columns = ("name", "scope", "scope_id", "livemode", "created_at")
    list_filter = (ModeFilter, "scope")
    searched = ("name",)
    related = (
        Related(
            "Activations",
            ("epoch", "version", "state", "author", "created_at", "entry_id"),
            rows_of(PolicyActivation, "policy_id", order="-epoch"),
        ),
        Related(
            "Versions", ("version", "document", "author", "created_at", "entry_id"), rows_of(PolicyVersion, "policy_id", order="-version")
        ),
        Related("Counters of this scope", ("selector", "window_kind", "window_start", "amount", "uses", "last_at"), _counters),
    )


@admin.register(Decision, site=site)
class DecisionAdmin(ReadOnlyAdmin):
    prefix = "dec"
    columns = ("outcome", "layer", "code", "payment_id", "at")
    list_filter = ("outcome", "layer", "code")
    ordering = ("-at",)


@admin.register(Revocation, site=site)
class RevocationAdmin(ReadOnlyAdmin):
    prefix = "rev"
    columns = ("scope", "target", "livemode", "initiator", "at")
    list_filter = (ModeFilter, "scope")


@admin.register(Stop, site=site)
class StopAdmin(ReadOnlyAdmin):
    prefix = "stp"
    columns = ("state", "scope", "target", "livemode", "initiator", "at")
    list_filter = (StopStates, ModeFilter, "scope")
    related = (Related("Lifted", ("lifted_by", "at", "entry_id"), rows_of(StopLift, "stop_id", order="-at")),)

    def scoped(self, org: UUID) -> QuerySet[Any]:
        lifted = Exists(StopLift.objects.for_org(org).filter(stop_id=OuterRef("id")))
        rows: QuerySet[Any] = super().scoped(org).annotate(state=Case(When(lifted, then=Value("lifted")), default=Value("stopped")))
        return rows
