"""The adapter of one organisation's account at a rail. Only the rail's role can open the credential."""

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from codespar.lib.errors import Unavailable
from codespar.lib.models import together
from codespar.vault import envelope, keys
from codespar.vault.models import RailAccount
from rails.adapters import adapter_for
from rails.adapters.base import Adapter
from rails.faults import FAULTS

log = structlog.get_logger(__name__)


def adapter(org: UUID, rail: str, livemode: bool) -> Adapter:
    """The adapter, with the organisation's own credential. Raises `Unavailable` without one."""
    found = credential(org, rail, livemode)
    return adapter_for(rail, base_url=_base_url(rail), api_key=found["api_key"], account=found["account"])


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


def webhook_secret(org: UUID, rail: str, livemode: bool) -> str:
    """The secret that the rail signs its notices to this organisation with."""
    return credential(org, rail, livemode)["webhook_secret"]


def credential(org: UUID, rail: str, livemode: bool) -> dict[str, str]:
    """{account, api_key, webhook_secret}, opened. Raises `Unavailable`."""
    [rows] = together(org, (RailAccount, "rail = %s AND livemode = %s", [rail, livemode]))
    if not rows:
        raise Unavailable(f"The organisation has no account at the rail {rail}.")
    return {"account": rows[0].provider_account, **_open(org, rail, rows[0].provider_account, bytes(rows[0].sealed))}


@lru_cache(maxsize=256)
def _open(org: UUID, rail: str, account: str, sealed: bytes) -> dict[str, str]:
    try:
        opened = envelope.open_(sealed, keys=keys.master(), aad=keys.aad(org, f"rail:{rail}", account))
    except envelope.VaultRefused as error:
        raise Unavailable("The key store did not open the rail's credential.") from error
    return dict(json.loads(opened))


def _base_url(rail: str) -> str:
    """Upstreams come from the configuration, never from a request."""
    return {"sandbox": settings.CONFIG.sandbox_url}[rail]
