"""The decision is total: whatever is missing from what it reads, or is rubbish there, allows nothing and raises nothing."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from codespar.lib import clock
from mandates import decision, layers
from mandates.layers import Ask
from tests.support.world import BRL, World

# What the decision does not read: who asked, where the chain stands, what was answered before, and what only watches.
BESIDE = {"principal", "head", "idempotency", "shadows"}
RUBBISH: tuple[Any, ...] = (None, 0, 7.5, "", "rubbish", [], [None], {}, {"id": None}, True)
# Values that say something of their own, instead of nothing.
MEANT: dict[str, tuple[Any, ...]] = {
    "stopped": (None,),
    "ready": (True,),
    "cost": (0,),
    "settlement_seconds": (0,),
    "breaker": (None,),
    "currencies": (None,),
    "consent": (None,),
    # A counter that is not there is one of nothing, and this route has used none.
    "counters": (),
}


@pytest.fixture(scope="module")
def known(shared_world: World) -> tuple[dict[str, Any], Ask]:
    # Only now: these modules need the settings.
    from codespar.identity import principals
    from rails.actions import payments

    # A limit of the day, so that what was counted matters.
    rule = {"id": "day", "effect": "limit", "window": "day", "currency": BRL, "max_amount": 10**6}
    shared_world.set_policy({"id": "all", "effect": "allow"}, rule)
    ask = Ask(shared_world.mandate, shared_world.counterparty, 100, BRL, "cloud-hosting")
    caller = principals.authenticate(shared_world.tokens["agent"], request_id="")
    return payments.look(caller, ask=ask, key=None), ask


def decide(snapshot: dict[str, Any], ask: Ask, **options: Any) -> decision.Decision:
    now = clock.parse(snapshot["at"]) if isinstance(snapshot.get("at"), str) and "T" in snapshot["at"] else clock.now()
    return decision.decide(snapshot, ask, **{"now": now, **options})


def spoilt(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place of a nested value, each with what may go wrong there."""
    for name in value if isinstance(value, dict) else range(len(value)):
        here = (*path, name)
        if not path and name in BESIDE:
            continue
        yield here, ...
        for rubbish in RUBBISH:
            yield here, rubbish
        if isinstance(value[name], dict | list):
            yield from spoilt(value[name], here)


def damaged(snapshot: dict[str, Any], path: tuple[Any, ...], rubbish: Any) -> dict[str, Any]:
    found = copy.deepcopy(snapshot)
    place: Any = found
    for name in path[:-1]:
        place = place[name]
    if rubbish is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = rubbish
    return found


def test_the_snapshot_as_it_is_allows(known: tuple[dict[str, Any], Ask]) -> None:
    snapshot, ask = known
    assert decide(snapshot, ask).outcome == "allow"
    for name in BESIDE:
        assert decide({k: v for k, v in snapshot.items() if k != name}, ask).outcome == "allow"


def test_nothing_that_is_missing_or_rubbish_raises(known: tuple[dict[str, Any], Ask]) -> None:
    snapshot, ask = known
    for path, rubbish in spoilt(snapshot):
        assert decide(damaged(snapshot, path, rubbish), ask).outcome in ("allow", "approval", "deny"), (path, rubbish)


@pytest.mark.parametrize(
    "name",
    [
        "at",
        "org",
        "deployment",
        "timezone",
        "agent",
        "mandate",
        "mandate_key",
        "counterparty",
        "policies",
        "wallet",
        "routes",
    ],
)
def test_no_part_of_the_snapshot_can_be_left_out_or_be_rubbish(known: tuple[dict[str, Any], Ask], name: str) -> None:
    snapshot, ask = known
    assert name in snapshot
    for rubbish in (..., *RUBBISH):
        if rubbish not in MEANT.get(name, ()):
            found = decide(damaged(snapshot, (name,), rubbish), ask)
            assert found.outcome == "deny" and found.code, (name, rubbish, found)


@pytest.mark.parametrize(
    "name", ["rail", "ready", "stopped", "counters", "cost", "settlement_seconds", "breaker", "currencies", "failed", "consent"]
)
def test_no_part_of_a_route_can_be_left_out_or_be_rubbish(known: tuple[dict[str, Any], Ask], name: str) -> None:
    snapshot, ask = known
    assert name in snapshot["routes"][0]
    for rubbish in (..., *RUBBISH):
        if name != "failed" and rubbish not in MEANT.get(name, ()):
            found = decide(damaged(snapshot, ("routes", 0, name), rubbish), ask)
            assert found.outcome == "deny" and found.code, (name, rubbish, found)
    assert set(snapshot["routes"][0]) == set(names_of(test_no_part_of_a_route_can_be_left_out_or_be_rubbish))


def consented(snapshot: dict[str, Any], ask: Ask, **changes: Any) -> dict[str, Any]:
    """The snapshot, on a rail that needs a consent of the account's holder, with one that holds."""
    ends = clock.stamp(clock.parse(snapshot["at"]) + timedelta(seconds=7))
    seen = {
        "id": f"cns_{'1' * 32}",
        "code": None,
        "expires_at": ends,
        "currency": ask.currency,
        "max_payment": ask.amount,
        "left": ask.amount,
    }
    return damaged(snapshot, ("routes", 0, "consent"), seen | changes)


@pytest.mark.parametrize("code", layers.CONSENTS)
def test_a_rail_that_needs_a_consent_pays_under_one_that_holds_and_before_it_ends(known: tuple[dict[str, Any], Ask], code: str) -> None:
    snapshot, ask = known
    found = decide(consented(snapshot, ask), ask)
    assert found.outcome == "allow"
    assert found.submit_by is not None and found.submit_by <= clock.parse(snapshot["at"]) + timedelta(seconds=7)
    found = decide(consented(snapshot, ask, code=code), ask)
    assert (found.outcome, found.layer, found.code) == ("deny", "route", code)


def test_no_part_of_a_consent_can_be_left_out_or_be_rubbish(known: tuple[dict[str, Any], Ask]) -> None:
    snapshot, ask = known
    over = {"max_payment": ask.amount - 1, "left": ask.amount - 1, "currency": "XXX"}
    assert {decide(consented(snapshot, ask, **{name: value}), ask).code for name, value in over.items()} == {
        "consent_limit",
        "consent_scope",
    }
    for name in ("code", "expires_at", "currency", "max_payment", "left"):
        for rubbish in (..., *RUBBISH):
            if (name, rubbish) != ("code", None):
                found = decide(damaged(consented(snapshot, ask), ("routes", 0, "consent", name), rubbish), ask)
                assert found.outcome == "deny" and found.code, (name, rubbish, found)


def names_of(test: Any) -> list[str]:
    return list(test.pytestmark[0].args[1])


def test_every_name_of_the_snapshot_is_looked_at_here_or_is_beside_the_decision(known: tuple[dict[str, Any], Ask]) -> None:
    assert set(known[0]) == set(names_of(test_no_part_of_the_snapshot_can_be_left_out_or_be_rubbish)) | BESIDE


def test_a_clock_that_disagrees_denies(known: tuple[dict[str, Any], Ask]) -> None:
    snapshot, ask = known
    for skew in (timedelta(seconds=2.1), timedelta(seconds=-2.1), timedelta(days=400)):
        assert decide(snapshot, ask, now=clock.parse(snapshot["at"]) + skew).code == "clock_skew"


def test_the_same_snapshot_gives_the_same_decision(known: tuple[dict[str, Any], Ask]) -> None:
    snapshot, ask = known
    assert decide(copy.deepcopy(snapshot), ask) == decide(copy.deepcopy(snapshot), ask)


def test_what_watches_never_changes_the_decision(known: tuple[dict[str, Any], Ask]) -> None:
    snapshot, ask = known
    plain = decide(snapshot, ask)
    for document in ({"rules": []}, {"rules": [{"id": "x"}]}, {"rules": 7}, {}, None):
        watching = {**snapshot["policies"][0], "version": 99, "document": document}
        found = decide({**snapshot, "shadows": [watching]}, ask)
        assert [shadow["outcome"] for shadow in found.shadows] == ["deny"]
        assert replace(found, shadows=()) == plain
