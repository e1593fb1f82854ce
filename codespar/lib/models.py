"""Tenant tables as Python reads them: unmanaged (the SQL beside the migrations makes them), and never read without a tenant."""

from functools import cache
from typing import Any, Self
from uuid import UUID

from django.db import models

from codespar.lib import db


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


# Rows of a model under a condition in SQL, with its parameters.
Read = tuple[type[TenantModel], str, list[Any]]


def together(org: UUID, *reads: Read) -> list[list[Any]]:
    """Rows of several tables of one organisation, as models, in one round trip."""
    asked = [(f"{_select(model)} AND {condition}", [str(org), *parameters]) for model, condition, parameters in reads]
    return [[_made(model, row) for row in rows] for (model, _, _), rows in zip(reads, db.read(org, *asked), strict=True)]


@cache
def _select(model: type[TenantModel]) -> str:
    columns = ", ".join(f'"{field.column}"' for field in model._meta.concrete_fields)
    return f'SELECT {columns} FROM "{model._meta.db_table}" WHERE org_id = %s'


@cache
def _json(model: type[TenantModel]) -> frozenset[str]:
    return frozenset(str(field.column) for field in model._meta.concrete_fields if isinstance(field, models.JSONField))


def _made(model: type[TenantModel], row: dict[str, Any]) -> TenantModel:
    values = [db.decode(value) if name in _json(model) else value for name, value in row.items()]
    return model.from_db("default", [field.attname for field in model._meta.concrete_fields], values)
