"""Without its database or its queue the engine allows nothing: a clear 503 in time, and the same request works afterwards."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.failclosed.conftest import Doubtful
from tests.support import books
from tests.support.operations import client
from tests.support.problems import is_problem
from tests.support.proxy import FAULTS
from tests.support.world import BRL, World, key

# Seconds within which every request is answered, whatever is broken.
LIMIT = 12.0
Call = Callable[[], httpx2.Response]


def timed(call: Call) -> tuple[httpx2.Response | None, float]:
    """The answer, or None when there was none in time; and the seconds that it took."""
    started = time.monotonic()
    try:
        answer = call()
    except httpx2.TimeoutException:
        return None, time.monotonic() - started
    return answer, time.monotonic() - started


def at_once(calls: dict[str, Call]) -> dict[str, httpx2.Response]:
    """All calls at the same time; each must be answered in time."""
    with ThreadPoolExecutor(len(calls)) as pool:
        done = dict(zip(calls, pool.map(timed, calls.values()), strict=True))
    late = {name: f"{seconds:.1f} s" for name, (answer, seconds) in done.items() if answer is None or seconds > LIMIT}
    assert not late, f"no answer within {LIMIT:.0f} s: {late}"
    return {name: answer for name, (answer, _) in done.items() if answer is not None}


def unavailable(answer: httpx2.Response) -> None:
    body = is_problem(answer, 503, "unavailable")
    assert body["retryable"] and int(answer.headers["retry-after"]) > 0
    assert body["detail"].endswith(".") and "try again" in body["detail"]


class Callers:
    """The same few requests, by an agent and by people, each under one key: what is refused can be asked again."""

    def __init__(self, world: World, waiting: str) -> None:
        self.world, self.keys = world, {name: {"Idempotency-Key": key()} for name in ("pay", "approve", "fund")}
        self.waiting, self.mandate = waiting, world.new_mandate()
        self.agent = client(world.info, "api", world.tokens["agent"])
        self.owner = client(world.info, "console", world.tokens["owner"])
        self.agent.timeout = self.owner.timeout = httpx2.Timeout(LIMIT + 4)

    def pay(self) -> httpx2.Response:
        return self.agent.post("/v1/payments", json=self.world.body(700), headers=self.keys["pay"])

    def approve(self) -> httpx2.Response:
        return self.owner.post(f"/v1/payments/{self.waiting}/approve", headers=self.keys["approve"])

    def writes(self) -> dict[str, Call]:
        return {"pay": self.pay, "approve": self.approve}

    def others(self) -> dict[str, Call]:
        money = {"amount": {"amount": 1, "currency": BRL}}
        where = f"/v1/wallets/{self.world.wallet}/fund"
        return {
            "dry run": lambda: self.agent.post("/v1/payments?dry_run=true", json=self.world.body(1)),
            "read": lambda: self.agent.get("/v1/payments"),
            "ledger": lambda: self.owner.get("/v1/ledger/entries"),
            "fund": lambda: self.owner.post(where, json=money, headers=self.keys["fund"]),
            "revoke": lambda: self.owner.post(f"/v1/mandates/{self.mandate}/revoke", json={"reason": "test"}),
            "status of api": lambda: self.agent.get("/v1/status"),
            "status of console": lambda: self.owner.get("/v1/status"),
        }


@pytest.fixture
def callers(payer: World) -> Callers:
    proposed = payer.api.post("/v1/counterparties", {"name": "New", "accounts": [{"type": "pix_key", "value": f"{key()}@payee.example"}]})
    return Callers(payer, payer.pay(300, counterparty=proposed["id"]).json()["id"])


def money(world: World) -> dict[str, Any]:
    state = books.state(world)
    return {name: state[name] for name in ("payments", "holds", "transfers", "balances", "usages", "counted", "states")}


def works_again(callers: Callers) -> None:
    """The same requests under the same keys, once what was broken is whole."""
    until = time.monotonic() + LIMIT
    while callers.agent.get("/v1/payments").status_code != 200 or callers.owner.get("/v1/payments").status_code != 200:
        assert time.monotonic() < until, "the engine does not come back"
        time.sleep(0.1)
    paid = callers.pay()
    assert paid.status_code == 201, paid.text
    assert callers.world.settled(paid.json()["id"])["status"] == "settled"
    approved = callers.approve()
    assert approved.status_code == 200, approved.text
    assert callers.world.settled(callers.waiting)["status"] == "settled"
    assert callers.pay().json()["id"] == paid.json()["id"]


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_database_everything_is_refused_in_time(doubtful: Doubtful, callers: Callers, fault: str) -> None:
    before = money(callers.world)
    with doubtful.database.failing(fault):
        answers = at_once(callers.writes() | callers.others())
        for name, answer in answers.items():
            if name.startswith("status"):
                assert answer.status_code == 503 and answer.json()["status"] == "degraded", answer.text
                assert answer.json()["checks"] == {"database": "down", "queue": "ok", "ledger": "down"}
            else:
                unavailable(answer)
        assert money(callers.world) == before
    works_again(callers)


@pytest.mark.parametrize("fault", FAULTS)
def test_without_the_queue_nothing_new_is_paid_and_everything_else_goes_on(doubtful: Doubtful, callers: Callers, fault: str) -> None:
    before = money(callers.world)
    with doubtful.queue.failing(fault):
        answers = at_once(callers.writes())
        unavailable(answers["pay"])
        unavailable(answers["approve"])
        assert money(callers.world) == before
        answers = at_once(callers.others())
        for name in ("status of api", "status of console"):
            assert answers.pop(name).json()["checks"] == {"database": "ok", "queue": "down", "ledger": "ok"}
        assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 200) | {"fund": 201}
    refused = callers.world.pay(100, mandate=callers.mandate)
    assert refused.json()["code"] == "mandate_revoked", "a revocation needs no queue"
    works_again(callers)


def test_a_denial_by_a_person_and_a_notice_need_no_queue(doubtful: Doubtful, callers: Callers) -> None:
    world = callers.world
    with doubtful.queue.failing("refuse"):
        answers = at_once(
            {
                "deny": lambda: callers.owner.post(
                    f"/v1/payments/{callers.waiting}/deny", json={"reason": "no"}, headers={"Idempotency-Key": key()}
                ),
                "notice": lambda: httpx2.post(f"{world.info.console_url}/webhooks/sandbox/test/{world.org}", content=b"{}", timeout=LIMIT),
            }
        )
    assert {name: answer.status_code for name, answer in answers.items()} == {"deny": 200, "notice": 204}


def test_an_engine_that_lost_its_database_for_long_comes_back(doubtful: Doubtful, callers: Callers) -> None:
    """More requests hang than there are connections; once the database is back, none of them blocks the next."""
    with doubtful.database.failing("hang"), ThreadPoolExecutor(80) as pool:
        done = list(pool.map(lambda _: timed(lambda: callers.agent.get("/v1/payments")), range(80)))
    assert all(answer is not None for answer, _ in done), "some were never answered"
    works_again(callers)
