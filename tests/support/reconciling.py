"""The bank's statement: made to lie, and held against our books at once instead of in a minute."""

import secrets
import time
from datetime import UTC, datetime
from typing import Any

import httpx2
from celery import Celery

from tests.support.world import World, raw_id


def reconciled(world: World, seconds: float = 30, rail: str = "sandbox") -> dict[str, Any]:
    """The next run on that rail after now, which is due now and not in a minute."""
    asked = datetime.now(UTC)
    until, again = time.monotonic() + seconds, 0.0
    while True:
        if time.monotonic() > again:
            # One that was running when it was asked for puts the next one off by a minute.
            again = time.monotonic() + 5
            _due(world, rail)
        runs = world.people().get("/v1/reconciliations?limit=20")["data"]
        over = [
            run for run in runs if run["rail"] == rail and run["status"] != "running" and datetime.fromisoformat(run["started_at"]) > asked
        ]
        if over:
            return dict(over[-1])
        assert time.monotonic() < until, runs
        time.sleep(0.2)


def _due(world: World, rail: str) -> None:
    with world.db("super") as connection:
        connection.execute("UPDATE reconciliation_states SET next_at = clock_timestamp() WHERE org_id = %s", [raw_id(world.org)])
    with Celery(broker=world.info.env("rail")["CODESPAR_REDIS_URL"]) as clock:
        # As beat does it every few seconds.
        clock.send_task("rails.tasks.reconcile", args=(rail,), queue="rail")


def edit(world: World, key: str, edit: str, **values: Any) -> None:
    body = {"account": world.account, "key": key, "edit": edit, **values}
    httpx2.post(f"{world.info.sandbox_url}/_control/statement", json=body, timeout=10).raise_for_status()


def extra(world: World) -> str:
    """A discrepancy: the bank says that it paid somebody whom nobody asked it to pay."""
    key = f"extra{secrets.token_hex(6)}"
    edit(world, key, "add", amount=-7, currency="BRL", payee="eve@example.com", at="2026-11-01T00:00:00Z")
    reconciled(world)
    found = world.people().get("/v1/discrepancies?limit=100")["data"]
    return str(next(case["id"] for case in found if case["about"] == key))
