"""Reading lists: newest first by id (a UUIDv7 sorts by time), from a cursor that is the last id seen."""

from typing import Any
from uuid import UUID

from codespar.lib import db, ids
from codespar.lib.errors import Invalid, NotFound
from codespar.lib.models import TenantModel


def newest(model: type[TenantModel], org: UUID, prefix: str, cursor: str | None, limit: int, **where: Any) -> list[Any]:
    """At most `limit` rows of one organisation, older than the cursor (a wire id)."""
    if cursor is not None:
        where["id__lt"] = cursor_id(cursor, prefix)
    with db.tenant(org):
        return list(model.objects.for_org(org).filter(**where).order_by("-id")[:limit])


def one(model: type[TenantModel], org: UUID, row: UUID, what: str, **where: Any) -> Any:
    """One row of one organisation. Raises `NotFound`: unknown and another tenant's look the same."""
    with db.tenant(org):
        found = model.objects.for_org(org).filter(id=row, **where).first()
    if found is None:
        raise NotFound(f"There is no such {what}.")
    return found


def cursor_id(cursor: str, prefix: str) -> UUID:
    """The id inside a cursor. Raises `Invalid`."""
    try:
        return ids.parse(cursor, prefix)
    except Invalid as error:
        raise Invalid("cursor comes from next_page_url and is not made by hand.") from error


def path_id(text: str, prefix: str, what: str) -> UUID:
    """The id in a path. A malformed one is no object: raises `NotFound`."""
    try:
        return ids.parse(text, prefix)
    except Invalid as error:
        raise NotFound(f"There is no such {what}.") from error
