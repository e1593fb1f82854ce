"""Limits are a token's own: whoever shares an address shares no quota, and whoever is refused is told when to come back."""

import re
import time
from collections.abc import Iterator

import pytest

from codespar.launcher.stack import StackInfo
from tests.support import processes
from tests.support.operations import client
from tests.support.problems import is_problem
from tests.support.world import World, later

QUOTA = 5
_STATE = re.compile(r'"per-token";r=(\d+);t=(\d+)\Z')


@pytest.fixture(scope="module")
def tight(shared_world: World) -> Iterator[StackInfo]:
    """Another api and another console with a small quota, on the same engine."""
    quota = {"CODESPAR_REQUESTS_PER_MINUTE": str(QUOTA)}
    with processes.extra(shared_world.info, "api", **quota) as info, processes.extra(info, "console", **quota) as both:
        yield both


def new_token(world: World) -> str:
    made = world.people().post("/v1/tokens", {"holder": world.agent, "name": "q", "expires_at": later(hours=1)})
    return str(made["token"])


def test_each_token_has_a_quota_of_its_own_and_is_told_how_much_is_left(shared_world: World, tight: StackInfo) -> None:
    for token in (new_token(shared_world), new_token(shared_world)):
        with client(tight, "api", token) as caller:
            for left in range(QUOTA - 1, -1, -1):
                answer = caller.get("/v1/payments")
                assert answer.status_code == 200, answer.text
                assert answer.headers["ratelimit-policy"] == f'"per-token";q={QUOTA};w=60'
                state = _STATE.match(answer.headers["ratelimit"])
                assert state and (int(state[1]), 1 <= int(state[2]) <= 60) == (left, True)
            refused = caller.get("/v1/payments")
            is_problem(refused, 429, "rate_limited")
            assert 1 <= int(refused.headers["retry-after"]) <= 61
            state = _STATE.match(refused.headers["ratelimit"])
            assert state and int(state[1]) == 0


def test_the_quota_is_one_for_all_processes_addresses_and_operations(shared_world: World, tight: StackInfo) -> None:
    token = new_token(shared_world)
    with client(tight, "console", token) as elsewhere, client(tight, "api", token) as caller:
        for _ in range(QUOTA - 1):
            assert elsewhere.get("/v1/mandates").status_code == 200
        assert caller.get("/v1/payments", headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 200
        answer = caller.post("/v1/payments", json=shared_world.body(), headers={"X-Forwarded-For": "5.6.7.8", "Idempotency-Key": "q"})
        is_problem(answer, 429, "rate_limited")
    assert shared_world.rows("SELECT count(*) AS n FROM payments")[0]["n"] == 0


def test_what_needs_no_token_has_no_quota_and_shows_none(tight: StackInfo) -> None:
    with client(tight, "api") as anybody:
        answers = [anybody.get("/v1/status") for _ in range(QUOTA + 3)]
        assert {answer.status_code for answer in answers} == {200}
        assert "ratelimit" not in answers[0].headers
        started = time.monotonic()
        assert {anybody.get("/v1/payments").status_code for _ in range(QUOTA + 3)} == {401}
        assert time.monotonic() - started < 5
