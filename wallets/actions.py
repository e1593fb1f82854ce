"""Every write to the books that a person asks for. The money itself moves in SQL, under its CHECKs."""

from datetime import datetime
from uuid import UUID

from codespar.identity import acting
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal
from codespar.lib import ids
from codespar.lib.errors import CodesparError
from codespar.lib.idempotency import Key


class InsufficientFunds(CodesparError):
    """The account to take from does not hold that much."""

    code = "insufficient_funds"


def create_wallet(principal: Principal, *, agent: UUID, project: UUID, currency: str, now: datetime) -> UUID:
    """A wallet of one agent in one currency, empty. Raises `Conflict` when there is one already, `NotFound`."""
    wallet = ids.new()
    wire = ids.wire("wal", wallet)
    data = {"id": wire, "agent": ids.wire("agt", agent), "currency": currency}
    record = acting.draft(principal, kind="wallet.created", subject=wire, data=data, project=ids.wire("prj", project))
    refusals = {
        "accounts_one_each": conflict("The agent has a wallet in this currency already."),
        "accounts_agent": not_found("agent"),
        "accounts_agent_mode": not_found("agent in this mode"),
    }
    acting.write(principal, "wallet_create", record, now=now, refusals=refusals)
    return wallet


def move(principal: Principal, *, kind: str, wallet: UUID, amount: int, currency: str, idempotency: Key, now: datetime) -> UUID | None:
    """Main to wallet (`wallet.funded`) or wallet to main (`wallet.returned`): the transfer's id, or None for a twin's key.

    Raises `InsufficientFunds`, `NotFound`. A crash leaves the whole movement with its record, or nothing.
    """
    transfer = ids.new()
    data = {
        "wallet": ids.wire("wal", wallet),
        "transfer": ids.wire("tr", transfer),
        "amount": amount,
        "currency": currency,
        "idempotency": idempotency.data,
    }
    record = acting.draft(principal, kind=kind, subject=ids.wire("wal", wallet), data=data)
    refusals = {
        "accounts_available": lambda _: InsufficientFunds("The account to take from does not hold that much."),
        "accounts_known": not_found("wallet in this currency"),
    }
    done = acting.write(principal, "wallet_move", record, now=now, refusals=refusals)
    return None if done.get("twin") else transfer
