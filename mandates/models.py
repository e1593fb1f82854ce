"""Mandates, counterparties and policies as Python reads them. Amounts are minor units."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from codespar.lib.models import TenantModel


class Counterparty(TenantModel):
    """Somebody who may be paid: the current version."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    status = models.TextField()
    version = models.IntegerField()
    name = models.TextField()
    country = models.TextField(null=True)
    category = models.TextField(null=True)
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "counterparties"
        ordering = ("-id",)


class CounterpartyVersion(TenantModel):
    """One version of a counterparty, with its accounts."""

    counterparty_id = models.UUIDField(primary_key=True)
    version = models.IntegerField()
    document = models.JSONField()
    author = models.TextField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "counterparty_versions"
        ordering = ("-version",)


class Mandate(TenantModel):
    """A signed mandate: the exact bytes, and the columns that SQL enforces."""

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    livemode = models.BooleanField()
    agent_id = models.UUIDField()
    profile = models.TextField()
    currency = models.TextField()
    max_amount = models.BigIntegerField()
    budget = models.BigIntegerField(null=True)
    max_uses = models.IntegerField(null=True)
    purposes = ArrayField(models.TextField(), null=True)
    counterparties = ArrayField(models.UUIDField(), null=True)
    countries = ArrayField(models.TextField(), null=True)
    categories = ArrayField(models.TextField(), null=True)
    rails = ArrayField(models.TextField(), null=True)
    time_windows = models.JSONField(null=True)
    not_before = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    credential = models.TextField()
    kid = models.TextField()
    epochs = models.JSONField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "mandates"
        ordering = ("-id",)


class MandateUsage(TenantModel):
    """What a mandate has used up: pending and settled spend together."""

    mandate_id = models.UUIDField(primary_key=True)
    paused = models.BooleanField()
    budget = models.BigIntegerField(null=True)
    max_uses = models.IntegerField(null=True)
    spent = models.BigIntegerField()
    uses = models.IntegerField()

    class Meta(TenantModel.Meta):
        db_table = "mandate_usages"
        ordering = ("mandate_id",)


class Stop(TenantModel):
    """A stop with its signed receipt; `receipt` is None where only the flag had been set. What is stopped stands in `target`."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    scope = models.TextField()
    scope_id = models.UUIDField(null=True)
    target = models.TextField()
    initiator = models.TextField()
    reason_commit = models.TextField()
    receipt = models.TextField(null=True)
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "stops"
        ordering = ("-id",)


class StopLift(TenantModel):
    """The end of one stop, by another person."""

    stop_id = models.UUIDField(primary_key=True)
    initiator = models.TextField()
    lifted_by = models.TextField()
    reason_commit = models.TextField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "stop_lifts"
        ordering = ("-at",)


class Revocation(TenantModel):
    """The end, for ever, of one mandate or of all under a scope, with its signed receipt."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    scope = models.TextField()
    scope_id = models.UUIDField(null=True)
    target = models.TextField()
    initiator = models.TextField()
    reason_commit = models.TextField()
    receipt = models.TextField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "revocations"
        ordering = ("-id",)


class Policy(TenantModel):
    """A named policy of an organisation, a project or an agent."""

    id = models.UUIDField(primary_key=True)
    livemode = models.BooleanField()
    name = models.TextField()
    scope = models.TextField()
    scope_id = models.UUIDField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "policies"
        ordering = ("-id",)


class PolicyVersion(TenantModel):
    """One version of a policy's document. It never changes."""

    policy_id = models.UUIDField(primary_key=True)
    version = models.IntegerField()
    document = models.JSONField()
    author = models.TextField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "policy_versions"
        ordering = ("-version",)


class PolicyActivation(TenantModel):
    """Which version came into force when, and in which state."""

    policy_id = models.UUIDField(primary_key=True)
    epoch = models.BigIntegerField()
    version = models.IntegerField()
    state = models.TextField()
    author = models.TextField()
    created_at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "policy_activations"
        ordering = ("-epoch",)


class Counter(TenantModel):
    """What was spent in one window, by what it was spent on."""

    selector = models.TextField(primary_key=True)
    currency = models.TextField()
    window_kind = models.TextField()
    window_start = models.DateField()
    amount = models.BigIntegerField()
    uses = models.IntegerField()
    last_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "counters"
        ordering = ("selector",)


class Decision(TenantModel):
    """One decision, allowed or not, and why."""

    id = models.UUIDField(primary_key=True)
    payment_id = models.UUIDField()
    outcome = models.TextField()
    layer = models.TextField(null=True)
    code = models.TextField(null=True)
    reasons = models.JSONField()
    policies = models.JSONField()
    shadows = models.JSONField()
    at = models.DateTimeField()
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "decisions"
        ordering = ("-at",)
