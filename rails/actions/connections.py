"""An organisation's account at a provider, connected: what the provider gave is sealed here, and opened by the rail's role only."""

import time
from collections.abc import Mapping
from uuid import UUID

from django.conf import settings

from codespar.identity import acting, principals
from codespar.identity.acting import conflict
from codespar.identity.principals import Principal
from codespar.lib import canonical, clock, db, ids, payees
from codespar.lib.errors import Invalid, NotFound
from codespar.vault import envelope, keys
from rails import hints
from rails.adapters import ADAPTERS
from rails.adapters.base import Connection

_CHECKED = "SELECT checked_at FROM rail_accounts WHERE org_id = %s AND id = %s"
_NAMED = "SELECT rail, provider_account FROM rail_accounts WHERE org_id = %s AND id = %s AND livemode = %s"
_NO_ACCOUNT = "There is no such account at a rail."
_NOWHERE = "https://rail.invalid"
_NO_RAIL = "There is no such rail: docs/rails.md lists them."


def connect(principal: Principal, *, rail: str, provider_account: str, secrets: Mapping[str, str]) -> UUID:
    """Register the account, with the secrets that its rail declares (`Capabilities.secrets`, `optional`) and no others. Returns its id.

    Raises `Invalid` for a rail that there is not, an account that is not in its form, and for secrets that are missing, not taken or do not
    fit; `Conflict` for an account that is somebody's already. A crash leaves it registered with its record, or nothing. It is checked at
    once, and until it has passed its checks no payment leaves over it.
    """
    provider_account = _checked(rail, provider_account, secrets)
    account = ids.new()
    wire = ids.wire("key", account)
    sealed = _sealed(principal.org, rail, provider_account, secrets)
    data = {"id": wire, "rail": rail, "provider_account": provider_account}
    record = acting.draft(principal, kind="rail_account.added", subject=wire, data=data)
    refusals = {
        "rail_accounts_rail": acting.invalid(_NO_RAIL, "/rail"),
        "provider_accounts_one_organisation": conflict("This provider account belongs to another organisation."),
        "rail_accounts_one": conflict("There is an account at this rail already, in this mode."),
        "rail_accounts_account": conflict("This provider account is registered already."),
    }
    acting.write(principal, "rail_account_add", record, sealed, now=clock.now(), refusals=refusals)
    wait_for_check(principal, account, rail, None)
    return account


def rotate(principal: Principal, account: UUID, secrets: Mapping[str, str]) -> None:
    """Put another credential in the place of the account's own: all of its secrets anew. The account stays what it is.

    Raises `NotFound`, and `Invalid` for secrets that `connect` would not take either. A crash leaves the old credential, or the new one
    with its record. It is checked at once, and until it has passed its checks no payment leaves over the account.
    """
    principals.require(principal, "rails:write")
    [found] = db.read(principal.org, (_NAMED, [str(principal.org), str(account), principal.livemode]))
    if not found:
        raise NotFound(_NO_ACCOUNT)
    rail, wire = found[0]["rail"], ids.wire("key", account)
    provider_account = _checked(rail, found[0]["provider_account"], secrets)
    sealed = _sealed(principal.org, rail, provider_account, secrets)
    record = acting.draft(principal, kind="rail_account.rotated", subject=wire, data={"id": wire, "rail": rail})
    acting.write(principal, "rail_account_rotate", record, sealed, now=clock.now())
    wait_for_check(principal, account, rail, None)


def preflight(principal: Principal, account: UUID) -> bool:
    """Have the account checked now, and wait for it a while. Returns False when that did not come in time. Raises `NotFound`."""
    principals.require(principal, "rails:write")
    asked = db.call("rail_check_ask", principal.org, principal.digest, account, refusals=acting.COMMON)
    if asked is None:
        raise NotFound(_NO_ACCOUNT)
    return wait_for_check(principal, account, asked["rail"], asked["checked_at"])


def wait_for_check(principal: Principal, account: UUID, rail: str, before: str | None) -> bool:
    """Whether the account was checked after `before` (a time, None for never), waiting some seconds for it.

    Nothing depends on the wait: an account carries no money until it has passed its checks, whenever that is.
    """
    hints.check(rail)
    until = time.monotonic() + settings.CONFIG.rail_seconds
    while time.monotonic() < until:
        [[row]] = db.read(principal.org, (_CHECKED, [str(principal.org), str(account)]))
        if row["checked_at"] is not None and clock.stamp(row["checked_at"]) != before:
            return True
        db.release()
        hints.wait(account, 1.0)
    return False


def _sealed(org: UUID, rail: str, account: str, secrets: Mapping[str, str]) -> bytes:
    return envelope.seal(canonical.dumps(dict(secrets)), keys=keys.master(), aad=keys.aad(org, f"rail:{rail}", account))


def _checked(rail: str, account: str, secrets: Mapping[str, str]) -> str:
    """The account in its one form: in another spelling it would be somebody else's, too."""
    if rail not in ADAPTERS:
        raise Invalid(_NO_RAIL, pointer="/rail")
    found = ADAPTERS[rail].capabilities
    needed = {*found.secrets, *(("webhook_secret",) if found.webhook_headers else ())}
    if not needed <= set(secrets) <= needed | set(found.optional):
        besides = f", and takes {', '.join(found.optional)}" if found.optional else ""
        raise Invalid(f"The rail {rail} needs {', '.join(sorted(needed))}{besides}, and nothing else.", pointer="/secrets")
    if found.account_form is not None:
        account = payees.normal(found.account_form, account, "/account")
    try:
        # Where the rail is does not matter yet: what is tried is that account and secrets belong together.
        ADAPTERS[rail].connect(Connection(base_url=_NOWHERE, account=account, secrets=secrets))
    except (ValueError, KeyError):
        # Not the error's own words: they may be about a secret.
        raise Invalid(f"An account at the rail {rail} cannot be opened with these: see docs/rails.md.", pointer="/secrets") from None
    return account
