"""The database is set back to an older copy while the world went on: what is asked for again, under the same keys, is not paid again."""

import time
from collections import Counter
from collections.abc import Iterable

from codespar.launcher import identity, testing
from codespar.launcher.stack import Stack
from tests.crash import engine as engines
from tests.crash.judge import quiet
from tests.support import books
from tests.support import world as worlds
from tests.support.parallel import together
from tests.support.world import World

NAMES = ("provider", "api", "console", "dispatcher")
# Each request has an amount of its own: the bank's book then tells which of them was paid.
BEFORE, UNDER_WAY, AFTER = range(100, 106), range(200, 212), range(300, 306)


def test_a_database_that_was_set_back_pays_nothing_twice(worker_id: str) -> None:
    """Paid before the copy: found again. Under way in the copy: asked about. Paid after it: unknown here, and the bank says whose it is."""
    copy, older = testing.copy(f"restored_{worker_id}"), testing.copy(f"older_{worker_id}")
    roles = copy.cluster.roles
    with copy.stack(names=NAMES) as stack:
        world = worlds.make(stack.info)
        first = ask(world, BEFORE)
        assert quiet(world, 60) == []
        leave_under_way(stack, world)
    roles.drop_database(older.name)
    roles.create_database(older.name, template=copy.name)
    with copy.stack(names=NAMES):
        assert quiet(world, 90) == []
        ask(world, AFTER)
        assert quiet(world, 60) == []
        paid = charged(world)
        assert {*BEFORE, *AFTER} <= set(paid)
    roles.drop_database(copy.name)
    roles.rename_database(older.name, copy.name)
    with copy.stack(names=NAMES):
        assert statuses(world).keys() == {*BEFORE, *UNDER_WAY}
        again = ask(world, [*BEFORE, *UNDER_WAY, *AFTER])
        assert quiet(world, 90) == []
        assert {amount: again[amount] for amount in BEFORE} == first
        now = charged(world)
        assert set(now.values()) == {1}
        assert set(paid) <= set(now) and set(now) - set(paid) <= set(UNDER_WAY)
        # The bank has them under our keys as other payments of ours: a person's case, and their money stays held.
        assert {statuses(world)[amount] for amount in AFTER} == {"needs_human"}
        assert books.faults(world) == []


def ask(world: World, amounts: Iterable[int]) -> dict[int, str]:
    """A payment of each amount, all at once, each under its own key: their ids."""

    def one(amount: int) -> tuple[int, str]:
        headers = {"Idempotency-Key": f"set-back-{amount}", "Prefer": "respond-async"}
        answer = world.api._http.post("/v1/payments", json=world.body(amount), headers=headers)
        assert answer.status_code in (201, 202), answer.text
        return amount, answer.json()["id"]

    return dict(together([lambda amount=amount: one(amount) for amount in amounts]))


def leave_under_way(stack: Stack, world: World) -> None:
    """Payments at a bank that takes its time, and a dispatcher that does not live to hear its answers."""
    world.fault("slow", count=len(UNDER_WAY), seconds=2)
    ask(world, UNDER_WAY)
    until = time.monotonic() + 20
    while "submitted" not in statuses(world).values():
        assert time.monotonic() < until, statuses(world)
        time.sleep(0.05)
    dispatcher = identity.find(stack.supervisor.pid("dispatcher"))
    assert dispatcher and engines.kill(dispatcher)


def charged(world: World) -> Counter[int]:
    return Counter(payment["amount"] for payment in world.provider_payments() if payment["status"] == "settled")


def statuses(world: World) -> dict[int, str]:
    return {row["amount"]: row["status"] for row in world.rows("SELECT amount, status FROM payments")}
