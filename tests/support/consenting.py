"""An organisation with an account over Open Finance at the sandbox bank, and what its holder says there."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.support import books
from tests.support.world import BRL, World, later, raw_id

RAIL = "open_finance"
READS = ["accounts.read", "balances.read", "transactions.read"]


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": BRL}


def connect(world: World, balance: int = 100_000) -> str:
    """The organisation's account at the bank, over Open Finance: its name there. No consent is registered yet."""
    opened = {"account": f"of-{world.account}", "api_key": secrets.token_urlsafe(24)}
    httpx2.post(f"{world.info.sandbox_url}/_control/accounts", json=opened | {"balance": balance}, timeout=10).raise_for_status()
    world.people().post("/v1/rail-accounts", {"rail": RAIL, **opened})
    return opened["account"]


def to_read(world: World, *scopes: str, **changes: Any) -> dict[str, Any]:
    """A consent to read, registered, that waits for the holder."""
    return world.people().post("/v1/consents", {"rail": RAIL, "scopes": list(scopes or READS), "expires_at": later(days=1)} | changes)


def to_pay(world: World, most: int = 5_000, total: int = 50_000, **changes: Any) -> dict[str, Any]:
    """A consent to pay, registered, that waits for the holder."""
    asked = {
        "rail": RAIL,
        "scopes": ["payments.initiate"],
        "expires_at": later(days=1),
        "max_payment": money(most),
        "max_total": money(total),
    }
    return world.people().post("/v1/consents", asked | changes)


def holder(consent: dict[str, Any], decision: str = "authorise") -> None:
    """What the account's holder says at the bank."""
    httpx2.post(consent["authorise_url"], json={"decision": decision}, timeout=10).raise_for_status()


def authorised(world: World, consent: dict[str, Any]) -> str:
    """The consent's id, once its holder has said yes and this was heard here."""
    holder(consent)
    found = world.people().get(f"/v1/consents/{consent['id']}")
    assert found["status"] == "authorised", found
    return str(consent["id"])


def ready(world: World, seconds: float = 20) -> None:
    """Wait until the account has passed its checks."""
    until = time.monotonic() + seconds
    while True:
        account = next(row for row in world.people().get("/v1/rail-accounts")["data"] if row["rail"] == RAIL)
        if account["ready"]:
            return
        assert time.monotonic() < until, account
        time.sleep(0.2)


def paying(world: World, **limits: Any) -> tuple[str, str]:
    """(consent to pay, counterparty): everything that a payment over this rail needs."""
    connect(world)
    authorised(world, to_read(world))
    consent = authorised(world, to_pay(world, **limits))
    ready(world)
    account = {"type": "pix_key", "value": f"{secrets.token_hex(4)}@payee.example", "rails": [RAIL]}
    return consent, world.new_counterparty(accounts=[account])


def bank_consents(world: World, account: str) -> dict[str, str]:
    """The bank's consents of this account, by id: their status."""
    booked = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["consents"]
    return {row["id"]: row["status"] for row in booked if row["account"] == account}


def bank_payments(world: World) -> list[dict[str, Any]]:
    """What the bank has booked for the account over Open Finance."""
    booked = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["payments"]
    return [row for row in booked if row["account"] == f"of-{world.account}"]


@contextmanager
def falsified(world: World, statement: str) -> Iterator[None]:
    """The statement, which takes the organisation, is run past every rule, and what it changed is put back afterwards."""
    org, tables = raw_id(world.org), ("consents", "consent_reads", "payments")
    with books.superuser(world) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in tables:
            connection.execute(f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM {table} WHERE org_id = %s", [org])
        try:
            assert connection.execute(statement, [org]).rowcount > 0, "this changed nothing"
            yield
        finally:
            for table in tables:
                connection.execute(f"DELETE FROM {table} WHERE org_id = %s", [org])
                connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
