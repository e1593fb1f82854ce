"""The registry of who may be paid. An agent proposes; a person creates, changes and confirms."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from codespar.identity import acting
from codespar.identity.acting import conflict
from codespar.identity.principals import Principal
from codespar.lib import canonical, ids
from ledger import records

_CHANGE = {"counterparties_version": conflict("The counterparty changed in the meantime, is retired, or is unknown: read it again.")}


def create(
    principal: Principal, *, name: str, country: str | None, category: str | None, accounts: Sequence[Mapping[str, Any]], now: datetime
) -> UUID:
    """A new counterparty, confirmed when a person makes it, proposed when an agent does. Returns its id."""
    kind = "counterparty.created" if principal.member else "counterparty.proposed"
    counterparty = ids.new()
    openings = records.Openings()
    data = {**_data(counterparty, name, country, category, accounts, openings), "version": 1}
    record = acting.draft(principal, kind=kind, subject=ids.wire("ctp", counterparty), data=data, openings=openings)
    acting.write(principal, "counterparty_create", record, now=now)
    return counterparty


def update(
    principal: Principal,
    *,
    counterparty: UUID,
    from_version: int,
    name: str,
    country: str | None,
    category: str | None,
    accounts: Sequence[Mapping[str, Any]],
    now: datetime,
) -> None:
    """A new version on top of the one that was read. Raises `Conflict` when somebody else was first."""
    openings = records.Openings()
    data = {**_data(counterparty, name, country, category, accounts, openings), "from_version": from_version}
    record = acting.draft(principal, kind="counterparty.updated", subject=data["id"], data=data, openings=openings)
    acting.write(principal, "counterparty_change", record, now=now, refusals=_CHANGE)


def confirm(principal: Principal, *, counterparty: UUID, from_version: int, now: datetime) -> None:
    """A person vouches for the version that was read."""
    _turn(principal, "counterparty.confirmed", counterparty, from_version, now)


def retire(principal: Principal, *, counterparty: UUID, from_version: int, now: datetime) -> None:
    """Nobody is paid there any more."""
    _turn(principal, "counterparty.retired", counterparty, from_version, now)


def _turn(principal: Principal, kind: str, counterparty: UUID, from_version: int, now: datetime) -> None:
    wire = ids.wire("ctp", counterparty)
    record = acting.draft(principal, kind=kind, subject=wire, data={"id": wire, "from_version": from_version})
    acting.write(principal, "counterparty_change", record, now=now, refusals=_CHANGE)


def _data(
    counterparty: UUID,
    name: str,
    country: str | None,
    category: str | None,
    accounts: Sequence[Mapping[str, Any]],
    openings: records.Openings,
) -> dict[str, Any]:
    """Name and accounts may be a person's: the record commits to them and does not contain them."""
    kept = [
        {"id": account.get("id") or ids.wire("acc", ids.new()), **{k: v for k, v in account.items() if k != "id"}} for account in accounts
    ]
    document = {"name": name, "country": country, "category": category, "accounts": kept}
    return {
        "id": ids.wire("ctp", counterparty),
        "country": country,
        "category": category,
        "commit": openings.add(canonical.dumps(document).decode()),
    }
