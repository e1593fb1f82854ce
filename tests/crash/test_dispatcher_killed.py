"""Dispatchers are killed (kill -9) at random moments of a running load; the provider is charged once for each payment, or not at all."""

import os
import random
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codespar.launcher import testing
from codespar.launcher.stack import Stack
from tests.support import world as worlds
from tests.support.world import World

KILLS = int(os.environ.get("CODESPAR_TEST_KILLS", "40"))
SEED = int(os.environ.get("CODESPAR_TEST_SEED", secrets.randbelow(10**9)))


@pytest.fixture(scope="module")
def running(worker_id: str, stack: object) -> Iterator[Stack]:
    """A stack of this module's own: what dies here holds up nobody else."""
    own = testing.copy(f"crash_{worker_id}").stack(extra_env={"CODESPAR_REQUESTS_PER_MINUTE": "100000"})
    own.supervisor.max_restarts, own.supervisor.longest_backoff_seconds = 10**6, 0.001
    with own as started:
        yield started


def dispatchers(stack: Stack) -> tuple[list[int], list[int]]:
    """The dispatcher's processes: (the main one, which sweeps too; its children, which talk to the rail)."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line, env = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if b"dispatcher@" in line and f"/{stack.info.database}\0".encode() in env:
            found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid, parent in found.items() if parent not in found], [pid for pid, parent in found.items() if parent in found]


def test_killed_at_random_each_payment_is_charged_once_or_not_at_all(running: Stack) -> None:
    print(f"seed {SEED}, {KILLS} kills: CODESPAR_TEST_SEED and CODESPAR_TEST_KILLS replay and lengthen it")
    world = worlds.make(running.info, money=10**7, wallet=10**7)
    # The provider is slow to answer, so that many kills fall between its booking and our reading of it.
    world.fault("slow", count=10**6, seconds=0.15)
    enough = threading.Event()
    with ThreadPoolExecutor(12) as pool:
        load = [pool.submit(keep_paying, world, enough) for _ in range(12)]
        try:
            kill_at_random(running, random.Random(SEED))
        finally:
            enough.set()
        paid = [payment for future in load for payment in future.result()]
    settle_down(world)
    compare(world, paid)


def kill_at_random(stack: Stack, choose: random.Random) -> None:
    """Kill until KILLS processes have died. A machine with other work restarts them slowly and takes its time."""
    until, killed = time.monotonic() + KILLS * 6, 0
    while killed < KILLS:
        assert time.monotonic() < until, f"only {killed} kills were made"
        time.sleep(choose.uniform(0.05, 0.6))
        mains, children = dispatchers(stack)
        # Children come back at once, a main process takes seconds to start.
        alive = mains if choose.random() < 0.05 else children
        if alive and kill(choose.choice(alive)):
            killed += 1


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def keep_paying(world: World, enough: threading.Event) -> list[str]:
    """Ask for payments until it is enough; every answer that was given counts as a promise."""
    found = []
    while not enough.is_set():
        answer = world.api._http.post(
            "/v1/payments", json=world.body(7), headers={"Idempotency-Key": secrets.token_hex(12), "Prefer": "respond-async"}
        )
        if answer.status_code in (201, 202):
            found.append(answer.json()["id"])
        time.sleep(0.05)
    return found


def settle_down(world: World, seconds: float = 150) -> None:
    """Wait until nothing is on its way."""
    until = time.monotonic() + seconds
    query = "SELECT status, count(*) AS n FROM payments WHERE status IN ('authorized', 'submitted', 'uncertain') GROUP BY 1"
    while rows := world.rows(query):
        assert time.monotonic() < until, f"still open: {rows}"
        time.sleep(0.5)


def compare(world: World, paid: list[str]) -> None:
    charges = Counter(payment["reference"] for payment in world.provider_payments() if payment["status"] == "settled")
    states = {f"pay_{row['id'].hex}": row["status"] for row in world.rows("SELECT id, status FROM payments")}
    settled = {payment for payment, status in states.items() if status == "settled"}
    assert {payment: count for payment, count in charges.items() if count > 1} == {}, "charged twice"
    assert set(charges) == settled, "the provider's book and ours differ"
    assert set(paid) <= set(states), "an acknowledged payment is lost"
    assert set(states.values()) <= {"settled", "failed", "expired", "canceled"}, Counter(states.values())
    assert len(settled) > 50, Counter(states.values())
    available, held = world.balance()
    assert (available, held) == (10**7 - 7 * len(settled), 0)
    entries = world.rows("SELECT count(*) AS n, max(seq) AS last FROM ledger_entries")[0]
    assert entries["n"] == entries["last"]
