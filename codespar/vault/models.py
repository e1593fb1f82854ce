"""Sealed secrets as Python reads them."""

from django.db import models

from codespar.lib.models import TenantModel


class PrivateKey(TenantModel):
    """One signing key of one organisation; `sealed` opens only with the master key and this row's own names."""

    id = models.UUIDField(primary_key=True)
    kid = models.TextField()
    purpose = models.TextField()
    public_jwk = models.JSONField()
    sealed = models.BinaryField()
    created_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "private_keys"
        ordering = ("created_at",)


class RailAccount(TenantModel):
    """What a provider gave us to act for one organisation. Only the rail's role can read `sealed`."""

    id = models.UUIDField(primary_key=True)
    rail = models.TextField()
    livemode = models.BooleanField()
    provider_account = models.TextField()
    sealed = models.BinaryField()
    credential_entry = models.UUIDField()
    ready = models.BooleanField()
    failed = models.TextField(null=True)
    checks = models.JSONField()
    checked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "rail_accounts"
        ordering = ("created_at",)
