"""A rail or a dispatcher that fails: nothing is settled or given back without proof, and the agent is told in time what is known."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.failclosed.conftest import SETTINGS, Doubtful
from tests.support import books
from tests.support.proxy import FAULTS
from tests.support.world import World, key, raw_id

WAIT = float(SETTINGS["CODESPAR_WAIT_SECONDS"])
OPEN = ("authorized", "submitted", "uncertain")


def ask(world: World, amount: int = 900) -> dict[str, Any]:
    """A payment, and its answer within the deadline."""
    started = time.monotonic()
    answer = world.pay(amount)
    took = time.monotonic() - started
    assert answer.status_code == 201, answer.text
    assert took < WAIT + 2, f"{took:.1f} s"
    found: dict[str, Any] = answer.json()
    return found


_UNSENT = """
SELECT t.entry_id FROM payment_transitions t JOIN holds h ON h.payment_id = t.payment_id
JOIN hold_resolutions r ON r.hold_id = h.id AND r.entry_id = t.entry_id
JOIN attempts a ON a.payment_id = t.payment_id JOIN attempt_results n ON n.attempt_id = a.id AND n.entry_id = t.entry_id AND n.proof IS NOT NULL
WHERE t.payment_id = %s AND t.to_state = 'failed'
"""


def unproved(world: World, payment: dict[str, Any], amount: int = 900) -> None:
    """Nothing has been captured and nothing given back: the money is held."""
    assert payment["status"] in OPEN, payment
    assert payment["captured"]["amount"] == payment["refunded"]["amount"] == 0
    assert not world.rows("SELECT id FROM transfers WHERE payment_id = %s", raw_id(payment["id"]))
    assert not world.rows(
        "SELECT r.hold_id FROM hold_resolutions r JOIN holds h ON h.id = r.hold_id WHERE h.payment_id = %s", raw_id(payment["id"])
    )
    assert world.balance()[1] >= amount


def unproved_or_unsent(world: World, payment: str) -> None:
    """Where nobody listens, nothing left: that much is proven, perhaps while we look, and one record says that and gives the money back."""
    try:
        unproved(world, world.payment(payment))
    except AssertionError:
        if not world.rows(_UNSENT, raw_id(payment)):
            raise


def ends_well(world: World, payment: str) -> None:
    """Settled and booked at the bank once; or not settled, and the bank has nothing."""
    found = world.settled(payment, 60)
    booked = [one for one in world.provider_payments() if one["reference"] == payment]
    assert (found["status"], len(booked)) in (("settled", 1), ("failed", 0), ("expired", 0), ("canceled", 0)), found
    assert books.faults(world) == []


def test_a_rail_that_does_not_answer_settles_and_releases_nothing(doubtful: Doubtful, payer: World) -> None:
    """One payment into each fault. Once the rail is back, the sweeper brings all to their end, also without a queue."""
    asked: list[str] = []
    for fault in FAULTS:
        with doubtful.rail.failing(fault):
            payment = ask(payer)
            asked.append(payment["id"])
            for _ in range(2):
                unproved_or_unsent(payer, payment["id"])
                time.sleep(0.5)
    with doubtful.queue.failing("refuse"):
        assert payer.pay(1).status_code == 503
        for one in asked:
            payer.settled(one, 60)
    for one in asked:
        ends_well(payer, one)
    assert payer.balance()[1] == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bank_whose_books_cannot_be_written_to_is_asked_again(doubtful: Doubtful, payer: World, fault: str) -> None:
    """The dispatcher's own database fails while its payment is at the bank: the bank's word is fetched again, and booked once."""
    payer.fault("slow", seconds=1)
    with doubtful.books.failing(fault):
        asked = ask(payer)
        unproved(payer, payer.payment(asked["id"]))
    ends_well(payer, asked["id"])


def test_what_a_dispatcher_could_not_write_down_is_not_lost(doubtful: Doubtful, payer: World) -> None:
    """The bank never got the payment, and the books were away when the dispatcher wanted to say that it does not know.

    Nobody else can end such a payment while that process lives: it keeps what it knows until the books are back.
    """
    payer.fault("timeout_before")
    headers = {"Idempotency-Key": key(), "Prefer": "respond-async"}
    asked = payer.api._http.post("/v1/payments", json=payer.body(900), headers=headers).json()["id"]
    payer.settled(asked, 10, among=("authorized",))
    with doubtful.books.failing("reset"):
        time.sleep(WAIT + 1)
        assert payer.payment(asked)["status"] == "submitted"
    assert payer.settled(asked, 60)["status"] == "failed"
    ends_well(payer, asked)


@contextmanager
def stopped(doubtful: Doubtful) -> Iterator[None]:
    """The dispatcher and its children, paused where they stand. Each process of the stack leads a group of its own."""
    group = doubtful.stack.supervisor.pid("dispatcher")
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


def test_a_dispatcher_that_stands_still_lets_nothing_leave(doubtful: Doubtful, payer: World) -> None:
    with stopped(doubtful):
        asked = ask(payer)
        assert asked["status"] == "authorized"
        unproved(payer, asked)
        assert not [one for one in payer.provider_payments() if one["reference"] == asked["id"]]
        canceled = payer.api.post(f"/v1/payments/{ask(payer, 50)['id']}/cancel")
        assert canceled["status"] == "canceled"
        assert payer.balance()[1] == 900
    ends_well(payer, asked["id"])


def test_a_deadline_of_ours_is_shorter_than_the_agents_patience() -> None:
    """What these tests shorten is by default within the twelve seconds that a caller is promised."""
    from codespar.config import Config

    defaults = {name: field.default for name, field in Config.model_fields.items()}
    assert defaults["wait_seconds"] <= 10 and defaults["rail_seconds"] <= 10 and defaults["send_seconds"] <= 5


def test_no_other_rail_is_tried_for_one_that_is_not_there(payer: World) -> None:
    """A route that cannot be taken blocks, and says so: nothing falls back to another."""
    before = len(payer.provider_payments())
    answer: httpx2.Response = payer.pay(100, rail="other-rail")
    assert answer.status_code == 403, answer.text
    assert answer.json()["payment"]["status"] == "denied" and answer.json()["payment"]["rail"] == "other-rail"
    assert len(payer.provider_payments()) == before
