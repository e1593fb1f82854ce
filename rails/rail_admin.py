"""How rails are, what came of holding their records against ours, and the form by which a person closes a case."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.db.models import Case, DateTimeField, DurationField, Exists, ExpressionWrapper, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import escape
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from codespar.console import cells, overview
from codespar.console.admin import ModeFilter, Panel, ReadOnlyAdmin, Related, rows_of
from codespar.console.overview import Figure
from codespar.console.site import site
from codespar.identity.acts import Act, ActForm, ActingAdmin
from codespar.identity.models import Member
from codespar.lib import ids, money
from rails import charts, rail_days, rail_queries, rail_serializers
from rails.actions import discrepancies
from rails.models import BreakerChange, Consent, Discrepancy, DiscrepancyResolution, Reconciliation


class StatusFilter(admin.SimpleListFilter):
    """Whether somebody has closed it."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("resolved", "Resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(BreakerChange, site=site)
class BreakerChangeAdmin(ReadOnlyAdmin):
    """The page of rails: each as it is now, above the history of its breakers."""

    prefix = "brk"
    plural = "breaker changes"
    columns = ("rail", "operation", "from_state", "to_state", "reason", "code", "livemode", "at")
    list_filter = (ModeFilter, "rail", "operation", "to_state")
    list_before_template = "rails/rails.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        org, mode = _asked(request)
        found = [_rail(rail) for rail in rail_queries.rails(org, mode == "live")]
        shown = sorted(found, key=lambda rail: rail["account"] is None)
        return super().changelist_view(request, {**(extra_context or {}), "title": "Rails", "rails": shown, "mode": mode})


@admin.register(Consent, site=site)
class ConsentAdmin(ReadOnlyAdmin):
    """What holders of accounts allow at their banks, and whether the bank knows of a revocation."""

    prefix = "cns"
    columns = ("status", "livemode", "rail", "scopes", "max_payment", "max_total", "expires_at", "revoked_at", "told_at")
    list_filter = (ModeFilter, "status", "rail")


@admin.register(Reconciliation, site=site)
class ReconciliationAdmin(ReadOnlyAdmin):
    prefix = "rcn"
    plural = "reconciliations"
    columns = ("rail", "status", "livemode", "lines", "matched", "pending", "opened", "cases", "lag", "started_at")
    list_filter = (ModeFilter, "status", "rail")
    list_before_template = "rails/reconciliations.html"
    related = (
        Related(
            "Discrepancies that it opened",
            ("id", "kind", "subject", "payment_id", "opened_at"),
            rows_of(Discrepancy, "run_id"),
            prefix="dsc",
            more=("rails_discrepancy", "run_id"),
        ),
    )

    def scoped(self, org: UUID) -> QuerySet[Any]:
        """With `lag`: how long before this run ended the last one had finished, or before now while it runs."""
        before: QuerySet[Any] = Reconciliation.objects.for_org(org).filter(
            rail_account_id=OuterRef("rail_account_id"), status="done", started_at__lt=OuterRef("started_at")
        )
        last = Subquery(before.order_by("-started_at").values("finished_at")[:1], output_field=DateTimeField())
        over = Coalesce(F("finished_at"), Now())
        rows: QuerySet[Any] = super().scoped(org).order_by("-id")
        return rows.annotate(lag=ExpressionWrapper(over - last, output_field=DurationField()))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        org, mode = _asked(request)
        livemode = mode == "live"
        context = {
            "accounts": rail_days.accounts(org, livemode),
            "charts": [charts.chart(day) for day in rail_days.days(org, livemode)],
            "mode": mode,
        }
        return super().changelist_view(request, {**(extra_context or {}), **context})


class ResolveForm(ActForm):
    """How a person closes a case."""

    body = rail_serializers.ResolveIn
    verdict = forms.ChoiceField(
        label="Whose records were right",
        choices=[
            ("", "Choose"),
            ("ours", "Ours: the provider's are wrong"),
            ("theirs", "Theirs: ours are wrong"),
            ("both", "Both: they speak of two things"),
        ],
        widget=UnfoldAdminSelectWidget,
    )
    reason = forms.CharField(
        label="Reason",
        help_text="What you found out, for whoever reads this later. It becomes part of the ledger.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "maxlength": 2000}),
    )


def _resolve(caller: Any, row: Discrepancy, asked: Any) -> str:
    discrepancies.resolve(caller, discrepancy=row, verdict=asked["verdict"], reason=asked["reason"])
    return "The discrepancy is resolved. It moved no money: what is owed is paid or refunded by itself."


def _resolved(caller: Any, row: Discrepancy, asked: Any) -> bool:
    found = DiscrepancyResolution.objects.for_org(row.org_id).filter(discrepancy_id=row.id, member_id=caller.member).first()
    if found is None:
        return False
    said = rail_queries.texts(row.org_id, [found.reason_commit])[found.reason_commit]
    return bool((found.verdict, said) == (asked["verdict"], asked["reason"]))


RESOLVE = Act("resolve", "discrepancies:resolve", ResolveForm, _resolve, _resolved, "You had resolved this already, with the same words.")


@admin.register(Discrepancy, site=site)
class DiscrepancyAdmin(ActingAdmin):
    prefix = "dsc"
    plural = "discrepancies"
    columns = ("status", "kind", "rail", "livemode", "ours_amount", "theirs_amount", "payment_id", "opened_at")
    list_filter = (StatusFilter, ModeFilter, "rail", "kind")
    searched = ("subject",)
    acts = (RESOLVE,)

    def scoped(self, org: UUID) -> QuerySet[Any]:
        """What is open comes first."""
        resolved = Exists(DiscrepancyResolution.objects.for_org(org).filter(discrepancy_id=OuterRef("id")))
        rows: QuerySet[Any] = super().scoped(org)
        return rows.annotate(status=Case(When(resolved, then=Value("resolved")), default=Value("open")))

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("status", "-id")

    def fields_of(self, row: Any) -> list[Any]:
        """Both sides stand beside each other, above."""
        return [field for field in super().fields_of(row) if field.name not in ("ours", "theirs", "payees_commit")]

    def cell(self, row: Any, name: str, *, short: bool = False) -> cells.Cell:
        if name in ("ours_amount", "theirs_amount"):
            side = getattr(row, name.removesuffix("_amount"))
            return cells.Cell(escape(_amount(side)) if "amount" in side else cells.EMPTY)
        return super().cell(row, name, short=short)

    def panels(self, request: HttpRequest, row: Any, sent: ActForm | None = None) -> list[Panel]:
        resolution = DiscrepancyResolution.objects.for_org(row.org_id).filter(discrepancy_id=row.id).first()
        texts = rail_queries.texts(row.org_id, [row.payees_commit, resolution and resolution.reason_commit])
        shown = rail_serializers.discrepancy(row, resolution, texts)
        panels = [Panel("rails/sides.html", {"sides": sides(shown["ours"], shown["theirs"])})]
        if resolution:
            by = Member.objects.for_org(row.org_id).filter(id=resolution.member_id).values_list("name", flat=True).first()
            who = cells.reference(ids.wire("mem", resolution.member_id), label=by)
            return [*panels, Panel("rails/resolution.html", {**shown["resolution"], "at": resolution.at, "by": who})]
        form = (sent or self.act_form(request, row, RESOLVE)) if self.may(request, RESOLVE) else None
        return [*panels, Panel("rails/resolve.html", {"form": form, "address": self.act_address(row, RESOLVE), "scope": RESOLVE.scope})]


def sides(ours: dict[str, Any], theirs: dict[str, Any]) -> list[dict[str, Any]]:
    """What each side says, member by member: {name, ours, theirs, differs}. Only what both know can differ."""
    names: list[str] = [name for name in ("status", "kind", "lines", "amount", "currency", "payee", "at") if name in ours or name in theirs]
    names += sorted((set(ours) | set(theirs)) - set(names))
    return [
        {
            "name": name.replace("_", " ").capitalize(),
            "ours": _said(ours, name),
            "theirs": _said(theirs, name),
            "differs": name in ours and name in theirs and ours[name] != theirs[name],
        }
        for name in names
    ]


def _said(side: dict[str, Any], name: str) -> Any:
    if side.get(name) is None:
        return cells.EMPTY
    return _amount(side) if name == "amount" else side[name]


def _amount(side: dict[str, Any]) -> str:
    """In major units, if the provider's currency is one that has them."""
    amount, currency = side["amount"], side.get("currency")
    return str(money.Money(amount, currency)) if currency in money.EXPONENTS else f"{amount} minor units"


def _asked(request: HttpRequest) -> tuple[UUID, str]:
    member: Any = request.user
    return member.org_id, overview.mode_of(member.org_id, request.GET.get("mode"))


def _rail(rail: dict[str, Any]) -> dict[str, Any]:
    """A rail as the page shows it: what it can do in words, and each breaker with when it opened."""
    can = {
        "Authorises, then captures": rail["captures"],
        "Takes back what has not settled": rail["can_void"],
        "Refunds": rail["can_refund"],
        "Refunds a part": rail["partial_refund"],
        "Finds payments by our key": rail["query_by_key"],
    }
    lasts = rail["key_lifetime_seconds"]
    return {
        **rail,
        "can": can,
        "breakers": [_breaker(state) for state in rail["breakers"]],
        "settles": cells.span(timedelta(seconds=rail["settlement_seconds"])),
        "key_known": "for ever" if lasts is None else cells.span(timedelta(seconds=lasts)),
    }


def _breaker(state: dict[str, Any]) -> dict[str, Any]:
    since = state["since"] and datetime.fromisoformat(state["since"])
    # Open, since nobody knows when: nobody could be asked.
    return {**state, "label": cells.label_of(state["state"]), "since": since, "unknown": state["state"] == "open" and since is None}


def _open_cases(org: UUID, livemode: bool) -> Figure:
    number = rail_days.open_cases(org, livemode)
    return Figure("Open discrepancies", "difference", number, "red", "rails_discrepancy", "status=open")


def _not_well(org: UUID, livemode: bool) -> Figure:
    number = len(rail_queries.not_well(org, livemode))
    return Figure("Rails with an open breaker", "route", number, "red", "rails_breakerchange", "")


site.figures += [_open_cases, _not_well]
