"""Events, read from the ledger, and what an answer shows of endpoints."""

import re
from typing import Any
from uuid import UUID

from codespar.alerts import events
from codespar.alerts.models import WebhookEndpoint, WebhookSecret
from codespar.identity.principals import Principal
from codespar.lib import db
from codespar.lib.errors import Invalid

# Entries of the chain that one page is looked for in: a type that is rare must not make a request slow.
ENTRIES = 2000
_OPEN = ("org_id", "id", "endpoint_id", "created_at", "ends_at")
_PLACE = re.compile(r"([0-9]{1,18})-([0-9]{1,5})\Z")


def page(principal: Principal, *, type: str | None, cursor: str | None, limit: int) -> dict[str, Any]:
    """The newest events before `cursor`: {events, next}, `next` being the cursor to go on with, None at the beginning of the chain.

    A page may have fewer than `limit`, or none, and go on all the same. Raises `Invalid`.
    """
    if type is not None and type not in events.TYPES:
        raise Invalid(f"There is no such type of event: {', '.join(events.TYPES)}.")
    place = _PLACE.match(cursor) if cursor is not None else None
    if cursor is not None and place is None:
        raise Invalid("cursor comes from next_page_url and is not made by hand.")
    seq, n = (int(place[1]), int(place[2])) if place else (None, None)
    types = list(events.TYPES) if type is None else [type]
    found = db.call("events_list", principal.org, principal.digest, types, seq, n, limit, ENTRIES)
    following = found["next"]
    return {"events": found["events"], "next": f"{following[0]}-{following[1]}" if following else None}


def secrets_of(org: UUID, endpoints: list[WebhookEndpoint]) -> dict[UUID, list[WebhookSecret]]:
    """The secrets that sign for each of them now, or did, newest first; never the secrets themselves."""
    with db.tenant(org):
        rows = WebhookSecret.objects.for_org(org).filter(endpoint_id__in=[row.id for row in endpoints]).only(*_OPEN).order_by("-id")
        found: dict[UUID, list[WebhookSecret]] = {}
        for row in rows:
            found.setdefault(row.endpoint_id, []).append(row)
    return found
