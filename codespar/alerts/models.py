"""Webhook endpoints and their deliveries as Python reads them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from codespar.lib.models import TenantModel


class WebhookEndpoint(TenantModel):
    """Where an organisation wants to be told, and of what. `cursor` is how far the chain has been read for it."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    url = models.TextField()
    types = ArrayField(models.TextField())
    status = models.TextField()
    cursor = models.BigIntegerField()
    due_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "webhook_endpoints"
        ordering = ("-id",)


class WebhookSecret(TenantModel):
    """What deliveries are signed with; only the rail's role can read `sealed`. `ends_at` is set once it gives way to the next one."""

    id = models.UUIDField(primary_key=True)
    endpoint_id = models.UUIDField()
    sealed = models.BinaryField()
    created_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "webhook_secrets"
        ordering = ("created_at",)


class WebhookDelivery(TenantModel):
    """One event for one endpoint. `id` is the event's; `answer` is the status of the last answer, `failure` why there was none."""

    id = models.UUIDField(primary_key=True)
    endpoint_id = models.UUIDField()
    seq = models.BigIntegerField()
    type = models.TextField()
    status = models.TextField()
    attempts = models.IntegerField()
    next_at = models.DateTimeField(null=True)
    answer = models.IntegerField(null=True)
    failure = models.TextField(null=True)
    tried_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "webhook_deliveries"
        ordering = ("-id",)
