"""The books as Python reads them. Amounts are minor units."""

from django.db import models

from codespar.lib.models import TenantModel


class Account(TenantModel):
    """A wallet of one agent, the organisation's main account, or the far side of a transfer. Only the first two keep a balance."""

    id = models.UUIDField(primary_key=True)
    kind = models.TextField()
    livemode = models.BooleanField()
    currency = models.TextField()
    project_id = models.UUIDField(null=True)
    agent_id = models.UUIDField(null=True)
    rail = models.TextField(null=True)
    available = models.BigIntegerField(null=True)
    held = models.BigIntegerField(null=True)
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "accounts"
        ordering = ("id",)


class Transfer(TenantModel):
    """One movement, both legs in one row."""

    id = models.UUIDField(primary_key=True)
    kind = models.TextField()
    debit_id = models.UUIDField()
    debit_kind = models.TextField()
    credit_id = models.UUIDField()
    credit_kind = models.TextField()
    livemode = models.BooleanField()
    currency = models.TextField()
    amount = models.BigIntegerField()
    mandate_id = models.UUIDField(null=True)
    payment_id = models.UUIDField(null=True)
    from_held = models.BooleanField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "transfers"
        ordering = ("-created_at",)


class Hold(TenantModel):
    """Money set aside for one payment, and the counters that counted it."""

    id = models.UUIDField(primary_key=True)
    wallet_id = models.UUIDField()
    agent_id = models.UUIDField()
    mandate_id = models.UUIDField()
    payment_id = models.UUIDField()
    livemode = models.BooleanField()
    currency = models.TextField()
    amount = models.BigIntegerField()
    counters = models.JSONField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "holds"
        ordering = ("-created_at",)


class HoldResolution(TenantModel):
    """How a hold ended: captured + released = amount."""

    hold_id = models.UUIDField(primary_key=True)
    amount = models.BigIntegerField()
    captured = models.BigIntegerField()
    released = models.BigIntegerField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "hold_resolutions"
        ordering = ("-created_at",)


class Credit(TenantModel):
    """Money that a provider says came in; booked only when the provider confirms it on a query."""

    id = models.UUIDField(primary_key=True)
    rail = models.TextField()
    livemode = models.BooleanField()
    provider_account = models.TextField()
    direction = models.TextField()
    reference = models.TextField()
    status = models.TextField()
    amount = models.BigIntegerField(null=True)
    currency = models.TextField(null=True)
    checks = models.IntegerField()
    due_at = models.DateTimeField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "credits"
        ordering = ("-created_at",)
