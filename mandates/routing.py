"""The route decision: which of the organisation's rails carries a payment that names none. Pure, total, deterministic.

Every rail on which the organisation has an account is decided on as if the request had named it. Of those that may carry the payment the
one in best health goes first, then the cheapest, then the fastest, then by name. A payment that names its rail has this one route and no
other: where it is not ready the answer is no, and never another rail.
"""

from collections.abc import Mapping, Sequence
from typing import Any

# Health first: a payment can wait for a rail whose breaker is open, and had better not. A rail alone is not asked how it is.
_HEALTH = {None: 0, "closed": 0, "half-open": 1, "open": 2}
_OUTCOMES = ("allow", "approval", "deny")
Route = Mapping[str, Any]


def ranked(routes: Sequence[Route]) -> list[Route]:
    """The routes, the best first. Raises KeyError and TypeError for what is not there or cannot be compared."""
    if not routes:
        raise ValueError("there is no route to decide on")
    return sorted(routes, key=_rank)


def chosen(outcomes: Sequence[str]) -> int:
    """Which of the decided routes is taken, by its place: the first that is allowed, else the first that a person may allow."""
    return min(range(len(outcomes)), key=lambda place: _OUTCOMES.index(outcomes[place]))


def told(route: Route) -> dict[str, Any]:
    """What a route was compared by, as the record has it: `cost` minor units, `settlement_seconds`, `breaker` as in the rail's health."""
    return {name: route[name] for name in ("cost", "settlement_seconds", "breaker")}


def behind(route: Route, taken: Route) -> str:
    """In one word, why a route that may carry the payment is not the one that does."""
    if _HEALTH[route["breaker"]] > _HEALTH[taken["breaker"]]:
        return "breaker_open"
    if route["cost"] > taken["cost"]:
        return "costs_more"
    return "slower" if route["settlement_seconds"] > taken["settlement_seconds"] else "equal"


def _rank(route: Route) -> tuple[int, int, int, str]:
    cost, seconds = route["cost"], route["settlement_seconds"]
    if type(cost) is not int or type(seconds) is not int:
        raise TypeError("a route's cost and time are integers")
    return _HEALTH[route["breaker"]], cost, seconds, route["rail"] or ""
