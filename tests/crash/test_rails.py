"""Between the engine and each rail's bank requests are lost, late, cut, doubled, spoiled and out of order, at random, under a running load.

Afterwards everything comes to its end, and the bank's charges are our settled payments, one to one.
"""

import contextlib
import itertools
import os
import random
import secrets
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from codespar.launcher import testing
from codespar.launcher.processes import Spec
from codespar.launcher.stack import Stack
from tests.crash import banks
from tests.crash import engine as engines
from tests.crash.banks import Account, Address
from tests.crash.engine import Engine
from tests.crash.judge import Verdict, judge
from tests.crash.load import Asked, Load
from tests.support import world as worlds
from tests.support import x402 as markets
from tests.support.parallel import together
from tests.support.request_proxy import STRIKES, RequestProxy, Strike
from tests.support.world import World
from tests.support.x402 import Market

FAULTS = int(os.environ.get("CODESPAR_TEST_RAIL_FAULTS", "40"))
SEED = int(os.environ.get("CODESPAR_TEST_SEED", secrets.randbelow(10**9)))
RAILS = os.environ.get("CODESPAR_TEST_RAILS", "sandbox pix card wire open_finance x402").split()
# A long run has requests that come far too late, and waits as long as the rails say that it takes to know. A short one has a hasty rail.
LONG = FAULTS > 100
# Money comes in over the sandbox's rail, whatever it goes out by.
PROXIES = tuple(dict.fromkeys(["sandbox", *RAILS]))
MONEY = 10**8
# A rail is asked ever more rarely, and an authorization can be used for minutes before the chain has the last word.
PATIENCE = 700


class Hasty(Stack):
    """A stack whose dispatcher is `hasty_dispatcher`."""

    def specs(self) -> list[Spec]:
        entries = {"codespar.celery": "tests.crash.hasty_dispatcher"}
        return [
            replace(spec, argv=[entries.get(word, word) for word in spec.argv]) if spec.name == "dispatcher" else spec
            for spec in super().specs()
        ]


@dataclass(slots=True)
class Told:
    """One rail's part: who paid, where, what they were told, what was struck, and what is left."""

    world: World
    account: Account
    load: Load
    made: Counter[str]
    seconds: float
    verdict: Verdict

    def again(self) -> Verdict:
        """What the judge says of the books now."""
        return judge(self.world, self.load.asked, self.account, seconds=5, chain=False)


def plan(seed: int, rail: str, count: int) -> list[Strike]:
    """The same strikes for the same arguments: every kind is there once, and between two of them come up to two requests unharmed."""
    choose = random.Random(f"{seed} {rail}")
    drawn = [*STRIKES, *choose.choices(STRIKES, k=max(0, count - len(STRIKES)))][:count]
    choose.shuffle(drawn)
    found: list[Strike] = []
    for name in drawn:
        found += [Strike("none")] * choose.randint(0, 2)
        # Longer than a call may take, sometimes; and in a long run longer than a request may be under way.
        longest = 12.0 if LONG and choose.random() < 0.05 else 4.0 if choose.random() < 0.15 else 1.0
        found.append(Strike(name, choose.uniform(0.05, longest), choose.random()))
    return found


def struck(rail: str, proxies: list[RequestProxy], load: Load, callers: int) -> float:
    """Run the load until the whole plan has happened, shared out among the proxies. How many seconds that took."""
    began = time.monotonic()
    with load.running(callers):
        for strike, proxy in zip(plan(SEED, rail, FAULTS), itertools.cycle(proxies)):
            proxy.strike(strike)
        until = time.monotonic() + 60 + FAULTS * 2
        while left := sum(proxy.planned + proxy.under_way for proxy in proxies):
            assert time.monotonic() < until, f"{rail}: {left} strikes never found a request"
            time.sleep(0.1)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays over a rail, and what stands between the engine and those whom it asks there."""

    rail: str
    world: World
    account: Account
    proxies: list[RequestProxy]

    def told(self) -> Told:
        writing = self.account.writing
        load = Load(self.world, SEED, self.account.asks, writing.parts, taken_back=0.3 if writing.back else 0.0)
        seconds = struck(self.rail, self.proxies, load, writing.callers)
        made = sum((proxy.made for proxy in self.proxies), Counter[str]())
        return Told(self.world, self.account, load, made, seconds, judge(self.world, load.asked, self.account, seconds=PATIENCE))


@dataclass(frozen=True, slots=True)
class Street:
    """A chain on which time goes by, and the merchant on it behind a proxy of its own."""

    market: Market
    merchant: RequestProxy


@contextmanager
def street() -> Iterator[Street]:
    with markets.market() as market, market.mining(), engines.proxied(market.merchant) as merchant:
        yield Street(market, merchant)


def payer(engine: Engine, rail: str, on: Street | None) -> Payer:
    world = worlds.make(engine.stack.info, money=MONEY, wallet=MONEY // 2)
    if rail != "x402" or on is None:
        return Payer(rail, world, banks.opened(world, rail), [engine.rails[rail]])
    account = banks.on_chain(world, on.market, f"http://127.0.0.1:{on.merchant.port}")
    return Payer(rail, world, account, [engine.rails[rail], on.merchant])


@contextmanager
def stories(name: str, logs: Path) -> Iterator[dict[str, Told]]:
    """All rails at once, each with an organisation, a load and a proxy of its own, on one engine; then judged."""
    # A call is given up soon and a breaker looks again soon: it is the number of faults that is to be great.
    short = {"CODESPAR_RAIL_SECONDS": "2", "CODESPAR_BREAKER_SECONDS": "1", "CODESPAR_RECONCILE_SECONDS": "10"}
    with contextlib.ExitStack() as open_:
        on = open_.enter_context(street()) if "x402" in RAILS else None
        node = on.market.chain.url if on else None
        plan_ = testing.copy(name).stack()
        engine = open_.enter_context(engines.behind_proxy(plan_, PROXIES, Stack if LONG else Hasty, node, **short))
        payers = together([lambda rail=rail: payer(engine, rail, on) for rail in RAILS])
        found = together([one.told for one in payers])
        shutil.copytree(engine.stack.folder / "logs", logs)
        yield dict(zip(RAILS, found, strict=True))


def test_whatever_befalls_a_rails_requests_each_payment_is_charged_once_or_not_at_all(tmp_path: Path, worker_id: str) -> None:
    print(f"\nCODESPAR_TEST_SEED={SEED} CODESPAR_TEST_RAIL_FAULTS={FAULTS} CODESPAR_TEST_RAILS='{' '.join(RAILS)}' replay this plan")
    with stories(f"rails_{worker_id}", tmp_path / "logs") as found:
        for rail, story in found.items():
            show(rail, story)
        print(f"logs of the processes: {tmp_path / 'logs'}")
        assert {rail: story.verdict.complaints for rail, story in found.items()} == dict.fromkeys(RAILS, {})
        for story in found.values():
            assert story.made.total() == FAULTS
            assert cases(story.world) == []
            # Not one in two requests gets through: little is left of a rail that is asked often for each payment, and that must be right.
            assert story.verdict.states["payments settled"] > FAULTS / 40
            assert story.verdict.states["payments found by asking"] > 0
            assert story.verdict.states["refunds settled"] > 0 or not story.account.writing.back
        together([lambda rail=rail, story=story: found_out(rail, story) for rail, story in found.items()])


def show(rail: str, story: Told) -> None:
    rows = [*sorted(story.made.items()), ("faults", story.made.total()), ("seconds", round(story.seconds))]
    print(f"\n{rail}", *(f"{name:<28}{count:>7}" for name, count in rows), story.verdict.table(), sep="\n")
    print(*(f"{name}: {line}" for name, lines in story.verdict.complaints.items() for line in lines), sep="\n")


def cases(world: World) -> list[dict[str, object]]:
    """What reconciliation has opened, which read the same statements over the same wire: no fault of the wire is the bank's.

    But that something was late is true: what nobody heard of for a minute moves when somebody asks.
    """
    return world.rows("SELECT kind, subject, ours, theirs FROM discrepancies WHERE kind <> 'late'")


def found_out(rail: str, story: Told) -> None:
    """The judge is worth something on each rail's own book: it finds a charge that is there twice and one that is not there."""
    if isinstance(story.account, Address):
        return found_out_on_chain(story, story.account)
    settled = story.world.rows("SELECT id, provider_id, amount FROM payments WHERE status = 'settled' ORDER BY id LIMIT 2")
    twice, lost = (f"pay_{row['id'].hex}" for row in settled)
    with book(story.world) as connection:
        charge_again(connection, rail, settled[0]["provider_id"])
        forget(connection, rail, settled[1]["provider_id"])
    verdict = story.again()
    written = story.account.writing.reference
    assert [line for line in verdict.doubled if line == f"{written(twice)} is charged 2 times"]
    assert [line for line in verdict.orphans if line.startswith("only the bank has") and written(twice) in line]
    assert [line for line in verdict.orphans if line.startswith("the bank does not have") and written(lost) in line]
    assert verdict.lost == []


def found_out_on_chain(story: Told, address: Address) -> None:
    """Nothing is there twice on a chain. But somebody else may pay with our key, and blocks may be taken back however deep they lie."""
    market, world = address.market, story.world
    # Each transaction made a block, which took a second of the chain's time: an authorization would be over before it begins.
    while market.chain.time() > time.time():
        time.sleep(0.5)
    adapter = market.adapter()
    order = adapter.prepare(market.order(amount=7, target=f"{market.merchant}/sold/7"), time.monotonic() + 30)
    assert adapter.send(order, time.monotonic() + 30).result == "accepted"
    kept = market.chain.rpc("evm_snapshot")
    ours = world.settled(world.api.post("/v1/payments", world.body() | address.asks(7))["id"], seconds=60)
    story.load.asked.append(Asked("afterwards", 7, told=[(ours["id"], "settled")]))
    assert (ours["status"], ours["code"]) == ("settled", "settled")
    market.chain.rpc("evm_revert", kept)
    verdict = story.again()
    assert [line for line in verdict.orphans if line.startswith("only the bank has") and order.key in line]
    assert [line for line in verdict.orphans if line.startswith("the bank does not have") and ours["provider_id"] in line]
    assert (verdict.lost, verdict.doubled, len(verdict.orphans)) == ([], [], 2)


@contextmanager
def book(world: World) -> Iterator[sqlite3.Connection]:
    """The bank's book on disk, under the running bank."""
    with closing(sqlite3.connect(world.info.folder / "provider" / "book.sqlite3", timeout=30)) as connection, connection:
        yield connection


def charge_again(connection: sqlite3.Connection, rail: str, provider_id: str) -> None:
    """A copy of the charge, with an id of its own and, where that is another, a key of its own."""
    table = "card_intents" if rail == "card" else "payments"
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != "seq"]
    new = {"id": "'twice' || id", "key": "substr('twice' || key, 1, length(key))", "due": "NULL"}
    values = ", ".join(new.get(name, name) for name in names)
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE id = ?", [provider_id])


def forget(connection: sqlite3.Connection, rail: str, provider_id: str) -> None:
    table = "card_intents" if rail == "card" else "payments"
    done = connection.execute(f"UPDATE {table} SET status = 'canceled' WHERE id = ?", [provider_id])
    assert done.rowcount == 1
