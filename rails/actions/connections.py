"""An organisation's account at a provider, connected: what the provider gave is sealed here, and opened by the rail's role only."""

from collections.abc import Mapping
from uuid import UUID

from codespar.identity import acting
from codespar.identity.acting import conflict
from codespar.identity.principals import Principal
from codespar.lib import canonical, clock, ids
from codespar.lib.errors import Invalid
from codespar.vault import envelope, keys
from rails.adapters import ADAPTERS

_NO_RAIL = "There is no such rail: docs/rails.md lists them."


def connect(principal: Principal, *, rail: str, provider_account: str, secrets: Mapping[str, str]) -> UUID:
    """Register the account, with the secrets that its rail declares (`Capabilities.secrets`) and no others. Returns its id.

    Raises `Invalid` for a rail that there is not, and for secrets that are missing or not taken; `Conflict` for an account that is
    somebody's already. A crash leaves it registered with its record, or nothing.
    """
    _check(rail, secrets)
    account = ids.new()
    wire = ids.wire("key", account)
    bound = keys.aad(principal.org, f"rail:{rail}", provider_account)
    sealed = envelope.seal(canonical.dumps(dict(secrets)), keys=keys.master(), aad=bound)
    data = {"id": wire, "rail": rail, "provider_account": provider_account}
    record = acting.draft(principal, kind="rail_account.added", subject=wire, data=data)
    refusals = {
        "rail_accounts_rail": acting.invalid(_NO_RAIL, "/rail"),
        "provider_accounts_one_organisation": conflict("This provider account belongs to another organisation."),
        "rail_accounts_one": conflict("There is an account at this rail already, in this mode."),
        "rail_accounts_account": conflict("This provider account is registered already."),
    }
    acting.write(principal, "rail_account_add", record, sealed, now=clock.now(), refusals=refusals)
    return account


def _check(rail: str, secrets: Mapping[str, str]) -> None:
    if rail not in ADAPTERS:
        raise Invalid(_NO_RAIL, pointer="/rail")
    found = ADAPTERS[rail].capabilities
    needed = {*found.secrets, *(("webhook_secret",) if found.webhook_headers else ())}
    if set(secrets) != needed:
        raise Invalid(f"The rail {rail} needs {', '.join(sorted(needed))}, and nothing else.", pointer="/secrets")
