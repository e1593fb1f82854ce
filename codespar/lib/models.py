"""Tenant tables as Python reads them: unmanaged (the SQL beside the migrations makes them), and never read without a tenant."""

from typing import Any, Self
from uuid import UUID

from django.db import models


class TenantQuerySet(models.QuerySet[Any]):
    """Rows of one organisation, named explicitly: row-level security is the second wall, not the only one."""

    def for_org(self, org: UUID | models.OuterRef) -> Self:
        """Only that organisation's rows; in a subquery, only those of the outer row's organisation."""
        return self.filter(org_id=org)


class TenantManager(models.Manager.from_queryset(TenantQuerySet)):  # type: ignore[misc]
    """`Model.objects.for_org(org)` is the only way in."""

    def get_queryset(self) -> TenantQuerySet:
        return TenantQuerySet(self.model, using=self._db)


class TenantModel(models.Model):
    """A row of one organisation. Writing happens in SQL functions, so saving and deleting are errors."""

    org_id = models.UUIDField()

    objects = TenantManager()

    class Meta:
        abstract = True
        managed = False

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(f"{type(self).__name__} rows are written by actions, through SQL functions")

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} rows are never deleted")
