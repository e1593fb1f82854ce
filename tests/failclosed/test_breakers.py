"""A rail that is not well is left alone: what has not left waits, everybody sees it, and it comes back by itself."""

import time
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.failclosed.conftest import Doubtful
from tests.support import books, verifying
from tests.support import world as worlds
from tests.support.world import World


@pytest.fixture
def payer(doubtful: Doubtful) -> Any:
    """An organisation on a rail that is well, before and after."""
    made = worlds.make(doubtful.info)
    until_closed(made)
    yield made
    httpx2.delete(f"{doubtful.info.sandbox_url}/_control", timeout=10)
    until_closed(made)


def state(world: World, operation: str = "pay") -> str:
    [rail] = [one for one in world.api.get("/v1/rails")["data"] if one["id"] == "sandbox"]
    return str(next(one["state"] for one in rail["breakers"] if one["operation"] == operation))


def until_closed(world: World, seconds: float = 40) -> None:
    """Payments go through: each probe is a payment of one cent."""
    until = time.monotonic() + seconds
    while state(world) != "closed":
        assert time.monotonic() < until, "the breaker never closed"
        asked(world, 1)
        time.sleep(1)


def asked(world: World, amount: int) -> str:
    headers = {"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
    return str(world.api._http.post("/v1/payments", json=world.body(amount), headers=headers).json()["id"])


def changes(world: World) -> list[tuple[str, str, str]]:
    query = "SELECT reason, from_state, to_state FROM breaker_changes WHERE operation = 'pay' ORDER BY at"
    return [(row["reason"], row["from_state"], row["to_state"]) for row in world.rows(query)]


def sent(world: World) -> int:
    requests = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["requests"]
    return sum(one["method"] == "PUT" and "/refunds/" not in one["path"] for one in requests)


def test_five_failures_open_the_rail_and_a_probe_closes_it(doubtful: Doubtful, payer: World) -> None:
    """One payment is tried five times, ever more slowly; then nothing leaves, until a single call gets through."""
    payer.fault("unavailable", count=6)
    before = sent(payer)
    first = asked(payer, 500)
    assert payer.settled(first, among=("authorized", "submitted"))["status"] in ("uncertain", "failed")
    assert state(payer) == "open"
    assert sent(payer) == before + 5
    waiting = asked(payer, 700)
    time.sleep(1.5)
    assert (payer.payment(waiting)["status"], sent(payer)) == ("authorized", before + 5)
    assert state(payer, "refund") == "closed"
    # The first probe meets the sixth fault; a later one settles.
    assert payer.settled(waiting, 60, among=("authorized", "submitted", "uncertain"))["status"] in ("settled", "failed", "expired")
    until_closed(payer)
    seen = changes(payer)
    assert seen[0] == ("failing", "closed", "open")
    assert ("failing", "half-open", "closed") in seen
    # Each change is told once, by the process that made it, however many processes see it.
    failing = [(before, after) for reason, before, after in seen if reason == "failing"]
    assert [after for _, after in failing[:-1]] == [before for before, _ in failing[1:]]
    payer.settled(first, 90)
    assert verifying.complaints(payer) == []


def test_three_answers_of_rubbish_open_the_rail_and_what_is_queued_waits(doubtful: Doubtful, payer: World) -> None:
    payer.fault("rubbish", count=3)
    told = [asked(payer, amount) for amount in (11, 12, 13)]
    for payment in told:
        payer.settled(payment, among=("authorized", "submitted"))
    assert state(payer) == "open"
    waiting = asked(payer, 14)
    time.sleep(1.5)
    assert payer.payment(waiting)["status"] == "authorized"
    assert payer.settled(waiting, 60)["status"] == "settled"
    # Nothing that was answered with rubbish was believed or given back: the questions found it booked once.
    assert [payer.settled(payment, 60)["status"] for payment in told] == ["settled"] * 3
    assert sorted(one["amount"] for one in payer.provider_payments() if 1 < one["amount"] < 14) == [11, 12, 13]
    assert ("invalid", "closed", "open") in changes(payer)
    assert books.faults(payer) == []


def test_a_no_is_an_answer_and_is_not_asked_again(payer: World) -> None:
    payer.fault("decline", count=6)
    before = sent(payer)
    told = [payer.settled(asked(payer, 31)) for _ in range(6)]
    assert [one["code"] for one in told] == ["declined"] * 6
    assert (sent(payer), state(payer)) == (before + 6, "closed")


def test_the_gaps_between_tries_grow(payer: World) -> None:
    payer.fault("unavailable", count=4)
    payment = payer.settled(asked(payer, 41))
    assert payment["status"] == "settled"
    requests = httpx2.get(f"{payer.info.sandbox_url}/_ledger", timeout=10).json()["requests"]
    [key] = [one["key"] for one in payer.provider_payments() if one["reference"] == payment["id"]]
    tries = [one for one in requests if one["method"] == "PUT" and one["path"].endswith(key)]
    assert [one["status"] for one in tries] == [503, 503, 503, 503, 201]
    assert {one["idempotency_key"] for one in tries} == {key}
    stamps = [time_of(one["at"]) for one in tries]
    gaps = [later - earlier for earlier, later in zip(stamps, stamps[1:], strict=False)]
    assert all(longer > shorter for shorter, longer in zip(gaps, gaps[1:], strict=False)), gaps
    assert gaps[-1] < 2.5


def time_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
