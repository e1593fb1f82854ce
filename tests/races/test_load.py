"""Everything at once, for a while: no deadlock, no error but "try again", and books that still add up."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx2

from tests.races.test_chain import recomputed
from tests.races.test_changes import ALLOW, limit
from tests.support import books
from tests.support.forge import Forger
from tests.support.parallel import outcome
from tests.support.world import BRL, World, key

# For each of the two services.
SECONDS = 7.5
THREADS = 32


class Load:
    """One organisation with a few agents, and every verb that moves money or rules."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.crew = [(world.wallet, world.api, world.mandate)]
        for _ in range(3):
            agent, wallet, api = world.new_agent()
            world.fund(200_000, wallet)
            self.crew.append((wallet, api, world.new_mandate(agent=agent)))
        self.payees = [world.counterparty, world.new_counterparty()]
        self.paid: list[str] = []
        self.version = 0
        self.lock = threading.Lock()

    def pay(self, dice: random.Random) -> httpx2.Response:
        _, api, mandate = dice.choice(self.crew)
        body = self.world.body(dice.choice([100, 250, 999]), mandate=mandate, counterparty=dice.choice(self.payees))
        answer = api.send("/v1/payments", body, key())
        if outcome(answer) == "settled":
            self.paid.append(answer.json()["id"])
        return answer

    def pay_and_take_back(self, dice: random.Random) -> httpx2.Response:
        _, api, mandate = dice.choice(self.crew)
        made = api._http.post(
            "/v1/payments", json=self.world.body(100, mandate=mandate), headers={"Idempotency-Key": key(), "Prefer": "respond-async"}
        )
        if made.status_code not in (201, 202):
            return made
        return api.send(f"/v1/payments/{made.json()['id']}/cancel")

    def refund(self, dice: random.Random) -> httpx2.Response:
        if not self.paid:
            return self.pay(dice)
        body = {"amount": {"amount": dice.choice([10, 50]), "currency": BRL}}
        return self.world.people().send(f"/v1/payments/{dice.choice(self.paid)}/refund", body)

    def fund(self, dice: random.Random) -> httpx2.Response:
        verb = dice.choice(["fund", "return"])
        return self.world.people().send(f"/v1/wallets/{dice.choice(self.crew)[0]}/{verb}", {"amount": {"amount": 300, "currency": BRL}})

    def activate(self, dice: random.Random) -> httpx2.Response:
        """A policy with a selector that was not counted before, as far as there are any left."""
        with self.lock:
            per = [["agent"], ["counterparty"], ["agent", "counterparty"], ["purpose"], ["rail"], []][self.version % 6]
            rules = [ALLOW, limit("x", 10**11, per=per), {"id": "y", "effect": "fingerprint", "seconds": 1}][: 2 + self.version % 2]
            self.version += 1
            made = self.world.people().post(f"/v1/policies/{self.world.policy}/versions", {"document": {"rules": rules}})
            version = {"version": len(made["versions"])}
        return self.world.people().send(f"/v1/policies/{self.world.policy}/activate", version)

    def pause(self, dice: random.Random) -> httpx2.Response:
        mandate = dice.choice(self.crew)[2]
        self.world.people().send(f"/v1/mandates/{mandate}/pause")
        return self.world.people().send(f"/v1/mandates/{mandate}/resume")


def test_a_mixed_load_neither_deadlocks_nor_breaks_the_books(racing: World) -> None:
    load = Load(racing)
    verbs: list[Callable[[random.Random], httpx2.Response]] = [*[load.pay] * 8, *[load.pay_and_take_back] * 4, *[load.refund] * 4]
    verbs += [load.fund] * 3 + [load.activate, load.pause]
    found: Counter[str] = Counter()
    broken: list[str] = []
    until = time.monotonic() + SECONDS
    deadlocks = dead(racing)

    def run(seed: int) -> None:
        dice = random.Random(seed)
        while time.monotonic() < until:
            verb = dice.choice(verbs)
            try:
                answer = verb(dice)
            except Exception as error:
                broken.append(f"{verb.__name__}: {error}")
                return
            found[f"{verb.__name__}: {answer.status_code} {outcome(answer)}"] += 1

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert broken == []
    assert [what for what in found if " 5" in what and what.rpartition(" ")[2] != "contention"] == [], found
    books.drained(racing)
    assert dead(racing) == deadlocks, "the database had to break a deadlock"
    assert books.faults(racing) == []
    assert books.unrecorded(racing) == []
    assert books.miscounted(racing, exact=False) == []
    assert recomputed(racing) == Forger(racing).now()["hash"]
    assert sum(n for what, n in found.items() if what.startswith("pay: 201")) > 20, found


def dead(world: World) -> int:
    with books.superuser(world) as connection:
        connection.execute("SELECT pg_stat_clear_snapshot()")
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    return int(row["deadlocks"])
