"""What the route decision weighs, beside what the database knows: what each rail declares, and how it is."""

from collections.abc import Mapping, Sequence
from typing import Any

from rails import breakers
from rails.adapters import ADAPTERS


def offers(routes: Sequence[Mapping[str, Any]], amount: int) -> list[dict[str, Any]]:
    """The snapshot's routes with `cost` (minor units), `settlement_seconds`, `currencies`, and, where there is a choice, `breaker`."""
    return [{**route, **_declared(route["rail"], amount), "breaker": _health(route["rail"], len(routes))} for route in routes]


def _declared(rail: str | None, amount: int) -> dict[str, Any]:
    if rail not in ADAPTERS:
        return {"cost": 0, "settlement_seconds": 0, "currencies": []}
    found = ADAPTERS[rail].capabilities
    currencies = None if found.currencies is None else list(found.currencies)
    return {"cost": found.cost.of(amount), "settlement_seconds": found.settlement_seconds, "currencies": currencies}


def _health(rail: str | None, choice: int) -> str | None:
    return breakers.state(rail, "pay") if rail and choice > 1 else None
