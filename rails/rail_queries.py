"""Rails, accounts at them, and discrepancies, with everything that an answer shows of them."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from codespar.lib import db, pages
from codespar.lib.models import together
from codespar.vault.models import RailAccount
from ledger.models import Opening
from rails import breakers, rail_serializers
from rails.adapters import ADAPTERS
from rails.models import Discrepancy, DiscrepancyResolution

# What everybody but the rail's role may read of an account: not what is sealed.
_OPEN = ("org_id", "id", "rail", "livemode", "provider_account", "ready", "failed", "checks", "checked_at", "created_at", "entry_id")


def rail_accounts(org: UUID, livemode: bool, cursor: str | None, limit: int) -> list[RailAccount]:
    """The organisation's accounts at providers in one mode, the newest first."""
    older = {"id__lt": pages.cursor_id(cursor, "key")} if cursor else {}
    with db.tenant(org):
        found = RailAccount.objects.for_org(org).filter(livemode=livemode, **older)
        return list(found.only(*_OPEN).order_by("-id")[:limit])


def rail_account(org: UUID, account: UUID) -> RailAccount:
    """One of them."""
    with db.tenant(org):
        found: RailAccount = RailAccount.objects.for_org(org).only(*_OPEN).get(id=account)
    return found


def rails(org: UUID, livemode: bool) -> list[dict[str, Any]]:
    """Every rail as it is now, by name."""
    with db.tenant(org):
        accounts = dict(RailAccount.objects.for_org(org).filter(livemode=livemode).values_list("rail", "provider_account"))
    return [
        rail_serializers.rail(name, adapter.capabilities, accounts.get(name), breakers.states(name), livemode)
        for name, adapter in sorted(ADAPTERS.items())
    ]


def not_well(org: UUID, livemode: bool) -> list[str]:
    """The rails with an account of this organisation's on which a breaker is not closed."""
    with db.tenant(org):
        names = RailAccount.objects.for_org(org).filter(livemode=livemode).order_by("rail").values_list("rail", flat=True)
        found = list(names)
    return [rail for rail in found if any(state["state"] != breakers.CLOSED for state in breakers.states(rail))]


def texts(org: UUID, commits: Iterable[str | None]) -> dict[str, str]:
    """The texts that records only commit to, by commitment. Inside a tenant."""
    wanted = [bytes.fromhex(commit) for commit in commits if commit]
    rows = Opening.objects.for_org(org).filter(commit__in=wanted)
    return {bytes(row.commit).hex(): bytes(row.value).decode() for row in rows}


def discrepancies(org: UUID, rows: list[Discrepancy]) -> list[dict[str, Any]]:
    """Discrepancies as the API shows them, in their order."""
    names = [str(row.id) for row in rows]
    resolutions = {
        row.discrepancy_id: row for row in together(org, (DiscrepancyResolution, "discrepancy_id = ANY(%s::uuid[])", [names]))[0]
    }
    commits = [row.payees_commit for row in rows if row.payees_commit] + [row.reason_commit for row in resolutions.values()]
    [openings] = together(org, (Opening, "commit IN (SELECT decode(x, 'hex') FROM unnest(%s::text[]) x)", [commits]))
    texts = {bytes(opening.commit).hex(): bytes(opening.value).decode() for opening in openings}
    return [rail_serializers.discrepancy(row, resolutions.get(row.id), texts) for row in rows]
