"""Who is told outside, and whether it was heard."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.contrib import admin
from django.db.models import Count, Exists, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.html import escape

from codespar.alerts.models import WebhookDelivery, WebhookEndpoint
from codespar.console import cells
from codespar.console.admin import ModeFilter, ReadOnlyAdmin, Related, rows_of
from codespar.console.overview import Figure
from codespar.console.site import site


@admin.register(WebhookEndpoint, site=site)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    prefix = "whe"
    plural = "webhook endpoints"
    columns = ("status", "url", "livemode", "waiting", "unheard", "answer", "failure", "tried_at")
    list_filter = (ModeFilter, "status")
    searched = ("url",)
    related = (
        Related(
            "Last deliveries",
            ("id", "type", "status", "attempts", "answer", "failure", "tried_at", "next_at"),
            rows_of(WebhookDelivery, "endpoint_id"),
            prefix="evt",
        ),
    )

    def cell(self, row: Any, name: str, *, short: bool = False) -> cells.Cell:
        """A list tells hosts apart; the rest of an address may be long, and a secret of the receiver's."""
        if name == "url" and short:
            return cells.Cell(escape(urlsplit(row.url).netloc))
        return super().cell(row, name, short=short)

    def scoped(self, org: UUID) -> QuerySet[Any]:
        """With how many deliveries wait or were given up, and what came of the last attempt."""
        told: QuerySet[Any] = WebhookDelivery.objects.for_org(org).filter(endpoint_id=OuterRef("id"))
        last = told.filter(tried_at__isnull=False).order_by("-tried_at")
        rows: QuerySet[Any] = super().scoped(org)
        return rows.annotate(
            waiting=_number(told, "pending"),
            unheard=_number(told, "failed"),
            **{name: Subquery(last.values(name)[:1]) for name in ("answer", "failure", "tried_at")},
        )


def _number(told: QuerySet[Any], status: str) -> Coalesce:
    counted = told.filter(status=status).order_by().values("endpoint_id").annotate(number=Count("id")).values("number")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def _not_heard(org: UUID, livemode: bool) -> Figure:
    found: QuerySet[Any] = WebhookEndpoint.objects.for_org(org).filter(livemode=livemode).exclude(status="deleted")
    failed = WebhookDelivery.objects.for_org(org).filter(status="failed", endpoint_id=OuterRef("id"))
    number = found.filter(Q(status="gone") | Exists(failed)).count()
    return Figure("Endpoints that did not hear", "notifications_off", number, "red", "alerts_webhookendpoint", "")


site.figures += [_not_heard]
