"""Rules that change while money moves: what was decided under the old ones is counted, what comes after obeys the new ones."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx2

from tests.support import books
from tests.support.forge import Forger
from tests.support.parallel import outcome, together
from tests.support.world import BRL, World, key, raw_id

PAYERS = 24
ALLOW = {"id": "all", "effect": "allow"}


def limit(name: str, amount: int, **more: Any) -> dict[str, Any]:
    return {"id": name, "effect": "limit", "window": "day", "currency": BRL, "max_amount": amount} | more


@contextmanager
def paying(call: Callable[[], httpx2.Response], threads: int = PAYERS) -> Iterator[list[httpx2.Response]]:
    """The answers of `threads` callers that ask again and again until the block ends."""
    answers: list[httpx2.Response] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            answers.append(call())

    workers = [threading.Thread(target=run) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield answers
    finally:
        stop.set()
        for worker in workers:
            worker.join(timeout=40)


def until_one_settled(answers: list[httpx2.Response], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not any(outcome(answer) == "settled" for answer in list(answers)):
        assert time.monotonic() < until, "nothing was paid at all"
        time.sleep(0.02)


def allowed(answers: list[httpx2.Response], *extra: str) -> None:
    """`canceled` is what was stopped before its attempt, `failed` what was stopped between the attempt and the first byte."""
    strange = {outcome(a) for a in answers} - {"settled", "authorized", "submitted", "contention", "unavailable", *extra}
    assert strange == set()


def test_a_new_limit_counts_what_was_spent_before_it(racing: World) -> None:
    """Limits are put into force while twenty-four agents pay; each counter is exact, and none is ever over its limit."""
    most = 60_500
    rules = [
        [ALLOW, limit("a", most)],
        [ALLOW, limit("a", most), limit("b", most, per=["counterparty"])],
        [ALLOW, limit("c", most, per=["agent"]), limit("w", 10 * most, window="week")],
        [ALLOW, limit("a", most), limit("d", most, per=["agent", "purpose"]), limit("m", 10 * most, window="month")],
    ]
    before = racing.balance()[0]
    with paying(lambda: racing.pay(1000)) as answers:
        for version in rules:
            time.sleep(0.4)
            racing.set_policy(*version)
        time.sleep(1.0)
    books.drained(racing)
    allowed(answers, "limit_day")
    settled = [answer for answer in answers if outcome(answer) == "settled"]
    assert settled, "nothing was paid at all"
    spent = racing.rows("SELECT sum(amount) AS n, count(*) AS uses FROM payments WHERE status = 'settled'")[0]
    rows = racing.rows("SELECT selector, window_kind, amount, uses FROM counters")
    assert len({(row["selector"], row["window_kind"]) for row in rows}) == 6
    # One payer, one payee, one purpose: every selector has counted all of it.
    assert {(row["amount"], row["uses"]) for row in rows} == {(spent["n"], spent["uses"])}
    assert spent["n"] <= most
    assert racing.balance() == (before - spent["n"], 0)
    assert (books.faults(racing), books.miscounted(racing)) == ([], [])


def test_a_limit_that_begins_while_something_is_held_errs_on_the_strict_side(world: World) -> None:
    """It begins with what is held; a release gives back to the counters that the hold lists, so the newer one keeps its share."""
    pen = Forger(world)
    world.set_policy(ALLOW, limit("old", 10_000))
    payment = pen.leased(pen.payment(6000))
    world.set_policy(ALLOW, limit("old", 10_000), limit("new", 10_000, per=["agent"]))
    counted = "SELECT amount, uses FROM counters ORDER BY length(selector)"
    assert [(row["amount"], row["uses"]) for row in world.rows(counted)] == [(6000, 1), (6000, 1)]
    world.api.post(f"/v1/payments/{payment['id']}/cancel")
    assert books.miscounted(world, exact=False) == []
    assert [(row["amount"], row["uses"]) for row in world.rows(counted)] == [(0, 0), (6000, 1)]
    assert outcome(world.pay(4001)) == "limit_day"
    assert world.pay(4000).json()["status"] == "settled"


def test_no_hold_is_younger_than_its_mandates_revocation(racing: World) -> None:
    racing.set_policy(ALLOW, limit("wide", 10**12))
    for _ in range(3):
        mandate = racing.new_mandate()
        with paying(partial(racing.pay, 10, mandate=mandate)) as answers:
            until_one_settled(answers)
            racing.people().post(f"/v1/mandates/{mandate}/revoke", {"reason": "lost"})
            first = racing.pay(10, mandate=mandate)
            assert outcome(first) == "mandate_revoked"
            time.sleep(0.3)
        allowed(answers, "mandate_revoked", "canceled", "failed", "reversing", "reversed")
        revoked = seqs(racing, "SELECT e.seq FROM revocations r JOIN ledger_entries e ON e.id = r.entry_id WHERE r.scope_id = %s", mandate)
        held = seqs(racing, "SELECT e.seq FROM holds h JOIN ledger_entries e ON e.id = h.entry_id WHERE h.mandate_id = %s", mandate)
        assert held and max(held) < revoked[0]
        attempts = "SELECT e.seq FROM attempts a JOIN payments p ON p.id = a.payment_id JOIN ledger_entries e ON e.id = a.intent_entry_id"
        sent = seqs(racing, f"{attempts} WHERE p.mandate_id = %s AND a.operation = 'pay'", mandate)
        assert max(sent) < revoked[0], "nothing is paid after the revocation; what was on its way may be asked back"
    books.drained(racing)
    assert books.faults(racing) == []


def seqs(world: World, query: str, mandate: str) -> list[int]:
    return [row["seq"] for row in world.rows(query, raw_id(mandate))]


def test_a_paused_mandate_holds_nothing_until_it_is_resumed(racing: World) -> None:
    mandate = racing.new_mandate()
    with paying(lambda: racing.pay(10, mandate=mandate), 12) as answers:
        for _ in range(4):
            time.sleep(0.15)
            racing.people().post(f"/v1/mandates/{mandate}/pause")
            before = racing.rows("SELECT count(*) AS n FROM holds WHERE mandate_id = %s", raw_id(mandate))
            time.sleep(0.15)
            assert racing.rows("SELECT count(*) AS n FROM holds WHERE mandate_id = %s", raw_id(mandate)) == before
            racing.people().post(f"/v1/mandates/{mandate}/resume")
    allowed(answers, "mandate_paused", "canceled", "failed")
    books.drained(racing)
    assert books.faults(racing) == []


def test_agents_that_share_a_main_account_never_share_money(racing: World) -> None:
    """Four agents are funded from one main account, pay, and give money back, all at once: every account adds up."""
    crew = []
    for _ in range(4):
        agent, wallet, api = racing.new_agent()
        crew.append((wallet, api, racing.new_mandate(agent=agent)))
    total = racing.main_balance()
    money = lambda amount: {"amount": {"amount": amount, "currency": BRL}}

    def life(wallet: str, api: Any, mandate: str) -> list[httpx2.Response]:
        said = []
        for _ in range(5):
            said.append(racing.people().send(f"/v1/wallets/{wallet}/fund", money(5000)))
            said.append(api.send("/v1/payments", racing.body(1500, mandate=mandate), key()))
            said.append(racing.people().send(f"/v1/wallets/{wallet}/return", money(500)))
        return said

    answers = [answer for said in together([partial(life, *one) for one in crew * 2]) for answer in said]
    assert {answer.status_code for answer in answers} <= {201}
    books.drained(racing)
    left = [racing.balance(wallet) for wallet, _, _ in crew]
    assert left == [(10 * 5000 - 10 * 1500 - 10 * 500, 0)] * 4
    assert racing.main_balance() == total - 4 * (10 * 5000 - 10 * 500)
    assert books.faults(racing) == []


def test_two_people_changing_one_thing_do_not_lose_each_others_change(world: World) -> None:
    """A version is written on the version that was read: of two at one moment, one is told to read again."""
    document = {"rules": [ALLOW, limit("x", 10**9)]}
    call = lambda: world.people().send(f"/v1/policies/{world.policy}/versions", {"document": document})
    answers = together([call] * 8)
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(world.people().get(f"/v1/policies/{world.policy}")["versions"]) == 1 + len(made)
