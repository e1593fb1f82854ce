"""The route decision: the healthiest, then the cheapest, then the fastest of the rails that may carry the payment; a named rail is the only one."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from codespar.lib import clock
from mandates import decision
from mandates.layers import Ask
from tests.support.world import BRL, World


@pytest.fixture(scope="module")
def asked(shared_world: World) -> tuple[dict[str, Any], Ask]:
    """A snapshot with one route, and a counterparty that three rails can pay."""
    from codespar.identity import principals
    from rails.actions import payments

    shared_world.set_policy(
        {"id": "all", "effect": "allow"},
        {"id": "day", "effect": "limit", "window": "day", "currency": BRL, "max_amount": 10**6},
        {"id": "never", "effect": "deny", "when": {"rails": ["denied"]}},
        {"id": "person", "effect": "approval", "when": {"rails": ["asks"]}},
    )
    ask = Ask(shared_world.mandate, shared_world.counterparty, 100, BRL, "cloud-hosting")
    caller = principals.authenticate(shared_world.tokens["agent"], request_id="")
    return payments.look(caller, ask=ask, key=None), ask


def among(asked: tuple[dict[str, Any], Ask], *routes: dict[str, Any], **changes: Any) -> decision.Decision:
    """The decision where those are the organisation's rails; what a route does not say is as on a rail that is well."""
    snapshot, ask = copy.deepcopy(asked[0]), replace(asked[1], **changes)
    [whole] = snapshot["routes"]
    snapshot["routes"] = [{**whole, "breaker": "closed", "cost": 5, "settlement_seconds": 10, **route} for route in routes]
    [account] = snapshot["counterparty"]["accounts"]
    account["rails"] = [route["rail"] for route in routes if route.get("pays", True)]
    return decision.decide(snapshot, ask, now=clock.parse(snapshot["at"]))


def told(found: decision.Decision) -> tuple[str | None, list[tuple[str, str]]]:
    return found.rail, [(one["rail"], one["reason"]) for one in found.alternatives]


@pytest.mark.parametrize(
    ("others", "reasons"),
    [
        ([{"rail": "b", "breaker": "open", "cost": 0}], [("b", "breaker_open")]),
        ([{"rail": "b", "breaker": "half-open", "cost": 0}], [("b", "breaker_open")]),
        ([{"rail": "a", "cost": 6, "settlement_seconds": 0}], [("a", "costs_more")]),
        ([{"rail": "a", "settlement_seconds": 11}], [("a", "slower")]),
        ([{"rail": "z"}], [("z", "equal")]),
        ([{"rail": "a", "ready": False, "failed": "account"}], [("a", "rail_not_ready")]),
        ([{"rail": "a", "currencies": ["USD"]}], [("a", "rail_currency")]),
        ([{"rail": "a", "stopped": "rail"}], [("a", "stopped")]),
        ([{"rail": "a", "pays": False}], [("a", "account_needed")]),
        ([{"rail": "denied", "cost": 0}], [("denied", "denied")]),
        ([{"rail": "asks", "cost": 0}], [("asks", "needs_approval")]),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else None,
)
def test_the_best_route_is_taken_and_the_others_say_why_not(
    asked: tuple[dict[str, Any], Ask], others: list[dict[str, Any]], reasons: list[tuple[str, str]]
) -> None:
    for routes in ([{"rail": "m"}, *others], [*others, {"rail": "m"}]):
        found = among(asked, *routes)
        assert found.outcome == "allow", found
        said = [(rail, reason.replace("rail_denied", "denied")) for rail, reason in told(found)[1]]
        assert (found.rail, said) == ("m", reasons)
        assert found.route == {"cost": 5, "settlement_seconds": 10, "breaker": "closed"}


def test_an_open_breaker_is_still_better_than_nothing(asked: tuple[dict[str, Any], Ask]) -> None:
    """The payment waits for the rail, as one that named it would."""
    found = among(asked, {"rail": "m", "breaker": "open"}, {"rail": "n", "ready": False, "failed": "account"})
    assert (found.outcome, told(found)) == ("allow", ("m", [("n", "rail_not_ready")]))


def test_a_rail_that_a_person_must_allow_is_taken_where_there_is_no_other(asked: tuple[dict[str, Any], Ask]) -> None:
    found = among(asked, {"rail": "asks"}, {"rail": "n", "stopped": "rail"})
    assert (found.outcome, told(found)) == ("approval", ("asks", [("n", "stopped")]))


def test_where_every_route_is_refused_the_best_one_says_why(asked: tuple[dict[str, Any], Ask]) -> None:
    found = among(asked, {"rail": "m", "cost": 9, "stopped": "rail"}, {"rail": "n", "ready": None})
    assert (found.outcome, found.layer, found.code, told(found)) == ("deny", "route", "rail_unavailable", ("n", [("m", "stopped")]))


def test_a_route_that_cannot_be_decided_decides_all_of_them(asked: tuple[dict[str, Any], Ask]) -> None:
    found = among(asked, {"rail": "m"}, {"rail": "n", "counters": None})
    assert (found.outcome, found.code) == ("deny", "undecidable")


def test_without_any_account_there_is_no_route(asked: tuple[dict[str, Any], Ask]) -> None:
    found = among(asked, {"rail": None, "ready": None})
    assert (found.outcome, found.layer, found.code, found.rail) == ("deny", "route", "rail_unavailable", None)


@pytest.mark.parametrize(
    ("route", "code"),
    [
        ({"ready": None}, "rail_unavailable"),
        ({"ready": False, "failed": "account"}, "rail_not_ready"),
        ({"ready": False, "failed": None}, "rail_not_ready"),
        ({"currencies": ["USD"]}, "rail_currency"),
        ({"rail": "other"}, "undecidable"),
    ],
)
def test_a_named_rail_is_refused_and_not_replaced(asked: tuple[dict[str, Any], Ask], route: dict[str, Any], code: str) -> None:
    found = among(asked, {"rail": "m", **route}, rail="m")
    assert (found.outcome, found.code, found.alternatives) == ("deny", code, ())
    if code == "rail_not_ready":
        assert (route["failed"] or "not_checked") in str(found.detail)
