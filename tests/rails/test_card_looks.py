"""A card account's list is read once, and then what is new in it: nothing in it is ever missed for that."""

import json
import random
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

import pytest

from rails.adapters.card_looks import OVERLAP_SECONDS, Looks
from rails.adapters.exchange import Exchange

BEGINNING = 1_795_000_000
SINCE = BEGINNING - 1000


@dataclass
class Provider:
    """A list as Stripe shows it: the newest first, a hundred on a page. `fails` says of each request whether it is lost."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    fails: Any = lambda: False
    asked: int = 0

    def pay(self, key: str, at: int) -> str:
        made = {"id": f"pi_{len(self.rows)}", "created": at, "metadata": {"codespar_key": key}}
        self.rows.append(made)
        return str(made["id"])

    def get(self, path: str) -> Exchange:
        self.asked += 1
        if self.fails():
            return Exchange(status=None, body=b"", sent=True, failure="timeout", detail="", request=b"")
        query = dict(urllib.parse.parse_qsl(path.partition("?")[2]))
        found = sorted(self.rows, key=lambda row: (-row["created"], row["id"]))
        if after := query.get("starting_after"):
            found = found[next(n for n, row in enumerate(found) if row["id"] == after) + 1 :]
        found = [row for row in found if row["created"] >= int(query["created[gte]"])]
        body = json.dumps({"object": "list", "data": found[:100], "has_more": len(found) > 100})
        return Exchange(status=200, body=body.encode(), sent=True, failure="", detail="", request=b"")

    def find(self, looks: Looks, key: str) -> tuple[str, ...] | None:
        """None for a look that failed."""
        found = looks.find(self.get, "/v1/payment_intents", key, SINCE)
        return None if found.verdict else found.ids


def test_only_what_is_new_is_read_again() -> None:
    provider, looks = Provider(), Looks()
    old = [provider.pay(f"k{n}", BEGINNING + 60 * n) for n in range(1000)]
    assert (provider.find(looks, "k0"), provider.asked) == ((old[0],), 10)
    new = provider.pay("new", BEGINNING + 60_000)
    for key, expected in (("new", (new,)), ("k0", (old[0],)), ("k999", (old[999],)), ("nobody", ())):
        provider.asked = 0
        assert (provider.find(looks, key), provider.asked) == (expected, 1)


def test_what_shows_late_is_seen() -> None:
    provider, looks = Provider(), Looks()
    provider.pay("first", BEGINNING + 5000)
    assert provider.find(looks, "late") == ()
    late = provider.pay("late", BEGINNING + 5000 - OVERLAP_SECONDS)
    assert provider.find(looks, "late") == (late,)


def test_a_look_that_cannot_finish_is_taken_up_where_it_ended() -> None:
    provider, looks = Provider(), Looks()
    old = [provider.pay(f"k{n}", BEGINNING + 60 * n) for n in range(1000)]
    calls = 0

    def third() -> bool:
        nonlocal calls
        calls += 1
        return calls % 3 == 0

    provider.fails = third
    looked = 0
    while (found := provider.find(looks, "k0")) is None:
        looked += 1
        assert looked < 10
    assert (found, looked > 1) == ((old[0],), True)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_fails_a_look_that_succeeds_has_missed_nothing(seed: int) -> None:
    choose = random.Random(seed)
    provider, looks, now = Provider(), Looks(), BEGINNING
    provider.fails = lambda: choose.random() < 0.2
    there: dict[str, list[str]] = {}
    seen = 0
    for _ in range(60):
        for _ in range(choose.choice((0, 1, 3, 250))):
            now += choose.randint(0, 40)
            key = f"k{choose.randint(0, 400)}"
            there.setdefault(key, []).append(provider.pay(key, now - choose.randint(0, OVERLAP_SECONDS)))
        key = f"k{choose.randint(0, 400)}"
        found = provider.find(looks, key)
        if found is not None:
            seen += 1
            assert sorted(found) == sorted(there.get(key, []))
    assert seen > 5
