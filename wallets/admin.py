"""Whose money: accounts, transfers, holds, credits."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet

from codespar.console.admin import ModeFilter, ReadOnlyAdmin, Related, rows_of
from codespar.console.site import site
from codespar.identity.models import Agent
from wallets.models import Account, Credit, Hold, HoldResolution, Transfer


def _transfers(account: Account) -> QuerySet[Any]:
    rows: QuerySet[Any] = Transfer.objects.for_org(account.org_id)
    return rows.filter(Q(debit_id=account.id) | Q(credit_id=account.id)).order_by("-created_at")


@admin.register(Account, site=site)
class AccountAdmin(ReadOnlyAdmin):
    prefix = "wal"
    columns = ("kind", "livemode", "agent_id", "rail", "currency", "available", "held", "created_at")
    names = {"agent_id": Agent}
    list_filter = (ModeFilter, "kind", "currency", "rail")
    related = (
        Related("Transfers", ("id", "kind", "debit_id", "credit_id", "amount", "payment_id", "created_at"), _transfers, prefix="tr"),
        Related(
            "Holds",
            ("id", "amount", "payment_id", "mandate_id", "created_at"),
            rows_of(Hold, "wallet_id"),
            prefix="hld",
            more=("wallets_hold", "wallet_id"),
        ),
    )


@admin.register(Transfer, site=site)
class TransferAdmin(ReadOnlyAdmin):
    prefix = "tr"
    columns = ("kind", "livemode", "amount", "debit_id", "credit_id", "payment_id", "created_at")
    list_filter = (ModeFilter, "kind", "currency")


@admin.register(Hold, site=site)
class HoldAdmin(ReadOnlyAdmin):
    prefix = "hld"
    columns = ("livemode", "amount", "agent_id", "payment_id", "mandate_id", "created_at")
    names = {"agent_id": Agent}
    list_filter = (ModeFilter, "currency")
    related = (
        Related("Resolution", ("captured", "released", "created_at", "entry_id"), rows_of(HoldResolution, "hold_id", order="created_at")),
    )


@admin.register(Credit, site=site)
class CreditAdmin(ReadOnlyAdmin):
    prefix = "crd"
    columns = ("status", "livemode", "amount", "rail", "provider_account", "reference", "created_at")
    list_filter = (ModeFilter, "status", "currency", "rail")
    searched = ("reference",)
