"""Secrets without the secret: the public halves of signing keys, and which rail accounts there are."""

from django.contrib import admin

from codespar.console.admin import ModeFilter, ReadOnlyAdmin
from codespar.console.site import site
from codespar.vault.models import PrivateKey, RailAccount


@admin.register(PrivateKey, site=site)
class PrivateKeyAdmin(ReadOnlyAdmin):
    prefix = "key"
    columns = ("purpose", "kid", "created_at", "retired_at")
    list_filter = ("purpose",)
    ordering = ("-created_at",)


@admin.register(RailAccount, site=site)
class RailAccountAdmin(ReadOnlyAdmin):
    """This role may not read the sealed column; `cells.SECRET` keeps it out of every query."""

    prefix = "key"
    columns = ("rail", "livemode", "provider_account", "created_at")
    list_filter = (ModeFilter, "rail")
    ordering = ("-created_at",)
