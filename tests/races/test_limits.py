"""Sixty-four requests at one moment, and a limit that a few of them fit into: exactly these go through."""

import time
from collections import Counter
from functools import partial
from typing import Any

import httpx2

from codespar.demo.client import Api
from tests.support import books
from tests.support.parallel import codes, together
from tests.support.world import BRL, World, key, raw_id

CALLERS = 64


def storm(world: World, api: Api, mandate: str, amount: int = 1000) -> Counter[str]:
    """How CALLERS requests at one moment ended. What is on its way at the answer's deadline counts once it has arrived."""
    body = world.body(amount, mandate=mandate)
    found = codes(together([partial(ask, api, body)] * CALLERS))
    books.drained(world)
    for waiting in ("authorized", "submitted", "uncertain"):
        found["settled"] += found.pop(waiting, 0)
    return found


def ask(api: Api, body: dict[str, Any]) -> httpx2.Response:
    """As a caller should: what is answered with 503 is asked again under the same key."""
    one = key()
    for _ in range(5):
        answer = api.send("/v1/payments", body, one)
        if answer.status_code != 503:
            break
        time.sleep(0.3)
    return answer


def paid(world: World, **where: Any) -> list[int]:
    """The amounts that settled under one mandate, by the database and by the provider."""
    (column, wire), *_ = where.items()
    rows = world.rows(f"SELECT id, amount FROM payments WHERE {column} = %s AND status = 'settled'", raw_id(wire))
    at_provider = {p["reference"]: p["amount"] for p in world.provider_payments()}
    assert {f"pay_{row['id'].hex}": row["amount"] for row in rows}.items() <= at_provider.items()
    return [row["amount"] for row in rows]


def test_a_mandate_of_three_uses_pays_three_times(racing: World) -> None:
    mandate = racing.new_mandate(max_uses=3)
    assert storm(racing, racing.api, mandate) == {"settled": 3, "uses_exhausted": CALLERS - 3}
    assert paid(racing, mandate_id=mandate) == [1000] * 3
    assert books.faults(racing) == []


def test_a_budget_for_five_pays_five(racing: World) -> None:
    mandate = racing.new_mandate(budget=5999)
    assert storm(racing, racing.api, mandate) == {"settled": 5, "budget_exhausted": CALLERS - 5}
    assert paid(racing, mandate_id=mandate) == [1000] * 5
    assert books.faults(racing) == []


def test_a_wallet_for_seven_pays_seven(racing: World) -> None:
    agent, wallet, api = racing.new_agent()
    racing.fund(7999, wallet)
    assert storm(racing, api, racing.new_mandate(agent=agent)) == {"settled": 7, "insufficient_funds": CALLERS - 7}
    assert paid(racing, wallet_id=wallet) == [1000] * 7
    assert racing.balance(wallet) == (999, 0)
    assert books.faults(racing) == []


def test_a_days_limit_for_six_pays_six(racing: World) -> None:
    agent, wallet, api = racing.new_agent()
    racing.fund(100_000, wallet)
    limit = {"id": "day", "effect": "limit", "window": "day", "currency": BRL, "max_amount": 6999}
    document = {"rules": [{"id": "all", "effect": "allow"}, limit]}
    made = racing.people().post("/v1/policies", {"name": agent, "scope": "agent", "scope_id": agent, "document": document})
    racing.people().post(f"/v1/policies/{made['id']}/activate", {"version": 1})
    assert storm(racing, api, racing.new_mandate(agent=agent)) == {"settled": 6, "limit_day": CALLERS - 6}
    assert paid(racing, wallet_id=wallet) == [1000] * 6
    assert books.miscounted(racing) == []


def test_a_days_count_for_four_pays_four(racing: World) -> None:
    agent, wallet, api = racing.new_agent()
    racing.fund(100_000, wallet)
    limit = {"id": "day", "effect": "limit", "window": "day", "currency": BRL, "max_count": 4, "per": ["counterparty"]}
    document = {"rules": [{"id": "all", "effect": "allow"}, limit]}
    made = racing.people().post("/v1/policies", {"name": agent, "scope": "agent", "scope_id": agent, "document": document})
    racing.people().post(f"/v1/policies/{made['id']}/activate", {"version": 1})
    assert storm(racing, api, racing.new_mandate(agent=agent)) == {"settled": 4, "limit_day": CALLERS - 4}
    assert paid(racing, wallet_id=wallet) == [1000] * 4
    assert books.miscounted(racing) == []
