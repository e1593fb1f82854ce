"""The adapter of one organisation's account at a rail. Only the rail's role can open the credential."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib.errors import Unavailable
from codespar.lib.models import together
from codespar.vault import envelope, keys
from codespar.vault.models import RailAccount
from rails.adapters import ADAPTERS, adapter_for
from rails.adapters.base import Adapter, Connection, Consenting
from rails.faults import FAULTS
from rails.models import Consent

log = structlog.get_logger(__name__)


def adapter(org: UUID, rail: str, livemode: bool) -> Adapter:
    """The adapter, with the organisation's own credential. Raises `Unavailable` without one."""
    return adapter_for(rail, connection(org, rail, livemode))


def open_for(rows: Sequence[dict[str, Any]]) -> None:
    """Open each rail account once, for all rows that go over it: `row["adapter"]`, or None when it does not open now."""
    opened: dict[tuple[Any, ...], Adapter | None] = {}
    for row in rows:
        account = (row["org_id"], row["rail"], row["livemode"])
        if account not in opened:
            opened[account] = _opened(*account)
        row["adapter"] = opened[account]


def _opened(org: UUID, rail: str, livemode: bool) -> Adapter | None:
    try:
        return adapter(org, rail, livemode)
    except FAULTS as error:
        log.error("rail_not_open", org=str(org), rail=rail, error=type(error).__name__)
        return None


def connection(org: UUID, rail: str, livemode: bool) -> Connection:
    """Where the rail is, and the organisation's account there, with its secrets opened. Raises `Unavailable`."""
    [rows] = together(org, (RailAccount, "rail = %s AND livemode = %s", [rail, livemode]))
    if not rows:
        raise Unavailable(f"The organisation has no account at the rail {rail}.")
    if rail not in settings.CONFIG.rail_urls:
        raise Unavailable(f"CODESPAR_RAIL_URLS does not say where the rail {rail} is.")
    account = rows[0].provider_account
    secrets = _open(org, rail, account, bytes(rows[0].sealed))
    return Connection(base_url=settings.CONFIG.rail_urls[rail], account=account, secrets=secrets, consents=_consents(org, rail, livemode))


def consenting(org: UUID, rail: str, livemode: bool) -> Consenting:
    """The same adapter, of a rail that works under consents. Raises `Unavailable`."""
    return cast(Consenting, adapter(org, rail, livemode))


def _consents(org: UUID, rail: str, livemode: bool) -> dict[str, str]:
    """What the provider calls the consents that hold now, by what each allows; of several the newest."""
    if rail not in ADAPTERS or not ADAPTERS[rail].capabilities.consents:
        return {}
    holds = "rail = %s AND livemode = %s AND status = 'authorised' AND expires_at > clock_timestamp() ORDER BY id"
    [rows] = together(org, (Consent, holds, [rail, livemode]))
    return {scope: row.provider_consent for row in rows for scope in row.scopes}


@lru_cache(maxsize=256)
def _open(org: UUID, rail: str, account: str, sealed: bytes) -> dict[str, str]:
    try:
        opened = envelope.open_(sealed, keys=keys.master(), aad=keys.aad(org, f"rail:{rail}", account))
    except envelope.VaultRefused as error:
        raise Unavailable("The key store did not open the rail's credential.") from error
    return dict(json.loads(opened))
