"""Who acts, as Python reads it."""

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.postgres.fields import ArrayField
from django.db import models

from codespar.lib.models import TenantModel


class Organisation(models.Model):
    """A tenant. `timezone` (IANA) says when its days, weeks and months begin."""

    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    timezone = models.TextField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    entry_id = models.UUIDField()

    class Meta:
        managed = False
        db_table = "organisations"


class Project(TenantModel):
    """A part of an organisation; test and live are projects of their own and share nothing."""

    id = models.UUIDField(primary_key=True)
    name = models.TextField()
    livemode = models.BooleanField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "projects"
        ordering = ("-id",)


class Agent(TenantModel):
    """A software agent and the public half of its P-256 key."""

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    livemode = models.BooleanField()
    name = models.TextField()
    public_jwk = models.JSONField()
    thumbprint = models.TextField()
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "agents"
        ordering = ("-id",)


class Member(TenantModel, AbstractBaseUser):
    """A person of the organisation, with roles. Also Django's user model, for the console's log-in."""

    id = models.UUIDField(primary_key=True)
    email = models.TextField()
    name = models.TextField()
    roles = ArrayField(models.TextField())
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    entry_id = models.UUIDField()

    last_login = None
    is_staff = True
    USERNAME_FIELD = "email"

    class Meta(TenantModel.Meta):
        db_table = "members"
        ordering = ("-id",)

    def get_full_name(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:  # type: ignore[override]  # derived, never set
        return self.closed_at is None

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active

    def has_perm(self, permission: str, obj: object = None) -> bool:
        """People look at everything of their organisation here, and change nothing."""
        return self.is_active and ".view_" in permission


class MemberDevice(TenantModel):
    """A member's authenticator (TOTP, RFC 6238), its secret sealed."""

    id = models.UUIDField(primary_key=True)
    member_id = models.UUIDField()
    name = models.TextField()
    sealed = models.BinaryField()
    last_step = models.BigIntegerField()
    failures = models.IntegerField()
    failed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta(TenantModel.Meta):
        db_table = "member_devices"
        ordering = ("created_at",)


class AccessToken(TenantModel):
    """An access token as people may see it: never its digest."""

    id = models.UUIDField(primary_key=True)
    agent_id = models.UUIDField(null=True)
    member_id = models.UUIDField(null=True)
    livemode = models.BooleanField()
    name = models.TextField()
    scopes = ArrayField(models.TextField())
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    rotated_from = models.UUIDField(null=True)
    entry_id = models.UUIDField()

    class Meta(TenantModel.Meta):
        db_table = "access_tokens"
        ordering = ("-id",)
