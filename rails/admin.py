"""How it gets there: payments, approvals, refunds, attempts, webhooks. `rails.rail_admin` has the rails and reconciliation."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from codespar.console.admin import ModeFilter, Panel, ReadOnlyAdmin, Related, rows_of
from codespar.console.site import site
from codespar.identity.acts import ActForm, ActingAdmin
from codespar.identity.models import Agent
from mandates.models import Counterparty, Decision
from rails import rail_admin, ruling_pages
from rails.models import (
    Approval,
    ApprovalVote,
    Attempt,
    AttemptResult,
    Discrepancy,
    Payment,
    Refund,
    Transition,
    WebhookMessage,
)
from wallets.models import Transfer

# Django finds a module of this name alone.
__all__ = ["rail_admin"]


def _of_payment(column: str) -> Subquery:
    """A column of the payment that a row belongs to."""
    payments: QuerySet[Any] = Payment.objects.for_org(OuterRef("org_id")).filter(id=OuterRef("payment_id"))
    return Subquery(payments.values(column)[:1])


def _results(payment: Payment) -> QuerySet[Any]:
    attempts: QuerySet[Any] = Attempt.objects.for_org(payment.org_id).filter(payment_id=payment.id)
    rows: QuerySet[Any] = AttemptResult.objects.for_org(payment.org_id)
    return rows.filter(attempt_id__in=attempts.values("id")).order_by("-at")


@admin.register(Payment, site=site)
class PaymentAdmin(ActingAdmin):
    prefix = "pay"
    columns = ("status", "livemode", "amount", "counterparty_id", "agent_id", "rail", "created_at")
    names = {"agent_id": Agent, "counterparty_id": Counterparty}
    list_filter = (ModeFilter, "status", "currency", "rail", "code")
    searched = ("reference",)
    acts = ruling_pages.ACTS
    related = (
        Related("Steps", ("from_state", "to_state", "at", "entry_id"), rows_of(Transition, "payment_id", order="at")),
        Related(
            "Decisions", ("id", "outcome", "layer", "code", "at", "entry_id"), rows_of(Decision, "payment_id", order="-at"), prefix="dec"
        ),
        Related(
            "Approval",
            ("id", "requested_at", "expires_at", "entry_id"),
            rows_of(Approval, "payment_id", order="-requested_at"),
            prefix="apr",
        ),
        Related(
            "Attempts",
            ("id", "operation", "worker", "send_by", "created_at", "intent_entry_id"),
            rows_of(Attempt, "payment_id", order="-created_at"),
            prefix="att",
        ),
        Related("What the rail said", ("attempt_id", "source", "result", "code", "proof", "at", "entry_id"), _results),
        Related("Transfers", ("id", "kind", "debit_id", "credit_id", "amount", "created_at"), rows_of(Transfer, "payment_id"), prefix="tr"),
        Related(
            "Refunds",
            ("id", "status", "amount", "requested_by", "created_at"),
            rows_of(Refund, "payment_id"),
            prefix="ref",
            more=("rails_refund", "payment_id"),
        ),
        Related("Discrepancies", ("id", "kind", "subject", "opened_at"), rows_of(Discrepancy, "payment_id"), prefix="dsc"),
    )

    def panels(self, request: HttpRequest, row: Any, sent: ActForm | None = None) -> list[Panel]:
        return ruling_pages.panels(self, request, row, sent)


@admin.register(Approval, site=site)
class ApprovalAdmin(ReadOnlyAdmin):
    prefix = "apr"
    columns = ("status", "livemode", "amount", "payment_id", "requested_at", "expires_at")
    list_filter = (ModeFilter,)
    ordering = ("-requested_at",)
    related = (Related("Vote", ("verdict", "member_id", "at", "entry_id"), rows_of(ApprovalVote, "approval_id", order="-at")),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With what is asked for: the payment's amount, and how it stands."""
        columns = {name: _of_payment(name) for name in ("status", "livemode", "amount", "currency")}
        rows: QuerySet[Any] = super().get_queryset(request).annotate(**columns)
        return rows


@admin.register(Refund, site=site)
class RefundAdmin(ReadOnlyAdmin):
    prefix = "ref"
    columns = ("status", "livemode", "amount", "payment_id", "requested_by", "created_at")
    list_filter = (ModeFilter, "status", "code")
    related = (
        Related(
            "Attempts",
            ("id", "operation", "worker", "send_by", "created_at"),
            rows_of(Attempt, "refund_id", order="-created_at"),
            prefix="att",
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the payment's currency and mode, which a refund shares."""
        columns = {name: _of_payment(name) for name in ("currency", "livemode")}
        rows: QuerySet[Any] = super().get_queryset(request).annotate(**columns)
        return rows


@admin.register(Attempt, site=site)
class AttemptAdmin(ReadOnlyAdmin):
    prefix = "att"
    columns = ("operation", "rail", "payment_id", "refund_id", "worker", "send_by", "created_at")
    list_filter = ("operation", "rail")
    ordering = ("-created_at",)
    related = (
        Related(
            "What the rail said",
            ("source", "result", "code", "proof", "provider_id", "at", "entry_id"),
            rows_of(AttemptResult, "attempt_id", order="-at"),
        ),
    )


@admin.register(WebhookMessage, site=site)
class WebhookMessageAdmin(ReadOnlyAdmin):
    prefix = "evt"
    columns = ("status", "livemode", "rail", "message_id", "received_at")
    list_filter = (ModeFilter, "status", "rail")
    searched = ("message_id",)
    documents = ("body",)
    ordering = ("-received_at",)
