"""What people do with webhook endpoints. Each act is one record; a secret is shown once, and sealed for the sender alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from codespar.alerts import sending, signing
from codespar.alerts.models import WebhookEndpoint
from codespar.identity import acting, principals
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import clock, db, ids
from codespar.lib.addresses import is_here, is_private, is_public
from codespar.lib.errors import Invalid
from codespar.vault import envelope, keys
from ledger import records
from rails.adapters.exchange import Reach

_REFUSALS: db.Refusals = {
    "webhook_endpoints_known": not_found("webhook endpoint"),
    "webhook_endpoints_moved": conflict("The endpoint has changed meanwhile. Nothing was done; try again."),
    "webhook_endpoints_most": conflict("There are sixteen endpoints in this mode already: delete one that is not needed any more."),
}
# The last two bytes of an event's id hold its place in its record.
_PLACE = 0xFFFF
_ENTRY = "SELECT seq FROM ledger_entries WHERE org_id = %s AND id BETWEEN %s AND %s"
_SINCE = "SELECT seq FROM ledger_entries WHERE org_id = %s AND id >= %s ORDER BY id LIMIT 1"
_HEAD = "SELECT seq FROM ledger_heads WHERE org_id = %s"


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint, and the secret that its receiver is given once."""

    endpoint: UUID
    text: str


def create(principal: Principal, *, url: str, types: Sequence[str], now: datetime) -> NewSecret:
    """Register an endpoint: it is told of what comes after this. Raises `Invalid` for an address that is never called, `Conflict`.

    A crash leaves it registered with its record, or nothing; whoever did not see the secret rotates it.
    """
    principals.require(principal, "webhooks:write")
    check_url(url)
    endpoint, openings = ids.new(), records.Openings()
    secret, text, sealed = _secret(principal.org)
    data = {"id": ids.wire("whe", endpoint), "url_commit": openings.add(url), "types": list(types), "secret": secret}
    _write(principal, "created", data, now, "webhook_endpoint_create", sealed, openings=openings)
    return NewSecret(endpoint, text)


def update(
    principal: Principal,
    *,
    endpoint: WebhookEndpoint,
    now: datetime,
    url: str | None = None,
    types: Sequence[str] | None = None,
    disabled: bool | None = None,
) -> None:
    """Change what is given. What happens while an endpoint is disabled is told once it is enabled again.

    Raises `Invalid`, `NotFound`, and `Conflict` when the endpoint has changed since it was read.
    """
    principals.require(principal, "webhooks:write")
    openings = records.Openings()
    if url is not None:
        check_url(url)
    data = {
        "id": ids.wire("whe", endpoint.id),
        "url_commit": openings.add(endpoint.url if url is None else url),
        "types": list(endpoint.types if types is None else types),
        "disabled": endpoint.status != "enabled" if disabled is None else disabled,
        "from_entry": ids.wire("ent", endpoint.entry_id),
    }
    _write(principal, "updated", data, now, openings=openings)


def rotate(principal: Principal, *, endpoint: UUID, overlap: timedelta, now: datetime) -> NewSecret:
    """A new secret. Until the overlap is over both sign every delivery. Raises `NotFound`."""
    principals.require(principal, "webhooks:write")
    secret, text, sealed = _secret(principal.org)
    data = {"id": ids.wire("whe", endpoint), "secret": secret, "overlap_until": clock.stamp(now + overlap)}
    _write(principal, "rotated", data, now, "webhook_endpoint_rotate", sealed)
    return NewSecret(endpoint, text)


def replay(principal: Principal, *, endpoint: UUID, now: datetime, event: str | None = None, since: datetime | None = None) -> None:
    """Tell everything again from an event on, or from a time on, under the ids that it had. Raises `NotFound`, `Invalid`.

    Records know their time to a minute: what came up to a minute before `since` may come with it.
    """
    principals.require(principal, "webhooks:write")
    after = _before_event(principal.org, event) if event is not None else _before_time(principal.org, since or now)
    _write(principal, "replayed", {"id": ids.wire("whe", endpoint), "after_seq": after}, now)


def test(principal: Principal, *, endpoint: UUID, now: datetime) -> None:
    """Send this endpoint, and no other, an event that says nothing. Raises `NotFound`."""
    principals.require(principal, "webhooks:write")
    _write(principal, "tested", {"id": ids.wire("whe", endpoint)}, now)


def delete(principal: Principal, *, endpoint: UUID, now: datetime) -> None:
    """Nothing is sent there any more, and what waits is not either. Raises `NotFound`."""
    principals.require(principal, "webhooks:write")
    _write(principal, "deleted", {"id": ids.wire("whe", endpoint)}, now)


def check_url(url: str) -> None:
    """Raises `Invalid` for what cannot be called from here. Where a name leads is looked at with each delivery, for it may change."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _bad_url() from None
    here = sending.reach() is Reach.PUBLIC_OR_HERE and is_here(host)
    printable = url.isascii() and url.isprintable() and " " not in url
    if not printable or not is_private(url) or parts.password or parts.fragment or port == 0 or (is_here(host) and not here):
        raise _bad_url()
    if _is_address(host) and not here and not is_public(host):
        raise _bad_url()


def _bad_url() -> Invalid:
    return Invalid("An endpoint is an https URL on the public internet, without a user and without #.", pointer="/url")


def _is_address(host: str) -> bool:
    """Whether it is an IP address, in any of the spellings that a resolver takes: no name of the internet ends in a digit."""
    return ":" in host or host.rstrip(".").rpartition(".")[2][:1].isdigit()


def _secret(org: UUID) -> tuple[str, str, bytes]:
    """(wire id, text, sealed)."""
    named, text = ids.new(), signing.new_secret()
    sealed = envelope.seal(text.encode(), keys=keys.master(), aad=keys.aad(org, "webhook", named.hex))
    return ids.wire("key", named), text, sealed


def _write(
    principal: Principal,
    verb: str,
    data: Mapping[str, Any],
    now: datetime,
    function: str = "webhook_endpoint_change",
    *extra: Any,
    openings: records.Openings | None = None,
) -> None:
    record = acting.draft(principal, kind=f"webhook_endpoint.{verb}", subject=data["id"], data=data, openings=openings)
    acting.write(principal, function, record, *extra, now=now, refusals=_REFUSALS)


def _before_event(org: UUID, event: str) -> int:
    named = ids.parse(event, "evt", "/event")
    first, last = named.int & ~_PLACE, named.int | _PLACE
    [rows] = db.read(org, (_ENTRY, [str(org), str(UUID(int=first)), str(UUID(int=last))]))
    if not rows:
        raise Invalid("There is no such event: GET /v1/events lists them.", pointer="/event")
    return int(rows[0]["seq"]) - 1


def _before_time(org: UUID, since: datetime) -> int:
    """The ids of records begin with their time (UUIDv7), so the first one after it is found by its key."""
    milliseconds = max(0, int((since - timedelta(minutes=1)).timestamp() * 1000))
    first = str(UUID(int=milliseconds << 80))
    found, [head] = db.read(org, (_SINCE, [str(org), first]), (_HEAD, [str(org)]))
    return int(found[0]["seq"]) - 1 if found else int(head["seq"])
