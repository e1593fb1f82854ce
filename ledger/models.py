"""The chain as Python reads it."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from codespar.lib.models import TenantModel


class Entry(TenantModel):
    """One record: the bytes that were signed, the bytes that were hashed, and their place in the chain."""

    id = models.UUIDField(primary_key=True)
    seq = models.BigIntegerField()
    kind = models.TextField()
    at = models.DateTimeField()
    appended_at = models.DateTimeField()
    kid = models.TextField()
    prev = models.BinaryField()
    hash = models.BinaryField()
    content = models.BinaryField()
    sig = models.BinaryField()
    leaf = models.BinaryField()

    class Meta(TenantModel.Meta):
        db_table = "ledger_entries"
        ordering = ("seq",)


class Opening(TenantModel):
    """A value that a record only commits to, and its salt: SHA-256(salt || value) = commit."""

    commit = models.BinaryField(primary_key=True)
    entry_id = models.UUIDField()
    salt = models.BinaryField()
    value = models.BinaryField()

    class Meta(TenantModel.Meta):
        db_table = "ledger_openings"
        ordering = ("entry_id",)


class Checkpoint(TenantModel):
    """A signed tree head (C2SP tlog-checkpoint) of one organisation."""

    size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField()
    frontier = ArrayField(models.TextField())
    note = models.TextField()
    generation = models.IntegerField()
    made_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "ledger_checkpoints"
        ordering = ("size",)
