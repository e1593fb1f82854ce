"""Access tokens: what is not exactly a live one opens nothing, and a rotation loses no request."""

import base64
import secrets
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import httpx2
import pytest

from codespar.lib import clock
from tests.support.operations import SERVICES, client
from tests.support.world import World, later, raw_id


def body_of(token: str) -> bytes:
    encoded = token.removeprefix("cs_test_").removeprefix("cs_live_")
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def token_of(body: bytes, prefix: str = "cs_test_") -> str:
    """A token with a right checksum, whatever it claims."""
    return prefix + base64.urlsafe_b64encode(body + zlib.crc32(body).to_bytes(4, "big")).decode().rstrip("=")


def look_alikes(real: str, other: str) -> dict[str, str]:
    """What is nearly `real`; `other` is a good token of another organisation."""
    body = body_of(real)[:64]
    return {
        "nothing": "-",
        "a word": "token",
        "cut by one": real[:-1],
        "cut by half": real[: len(real) // 2],
        "one more letter": real + "A",
        "padded": real + "=",
        "another prefix": real.replace("cs_test_", "cs_prod_"),
        "no prefix": real.removeprefix("cs_test_"),
        "another checksum": real[:-2] + ("AA" if real[-2:] != "AA" else "BB"),
        "one letter changed": real[:40] + ("A" if real[40] != "A" else "B") + real[41:],
        "another secret": token_of(body[:32] + secrets.token_bytes(32)),
        "live, by its prefix": real.replace("cs_test_", "cs_live_"),
        "live, with its checksum": token_of(body, "cs_live_"),
        "another organisation's id": token_of(body_of(other)[:16] + body[16:]),
        "an unknown organisation's id": token_of(secrets.token_bytes(16) + body[16:]),
        "another token's id": token_of(body[:16] + body_of(other)[16:32] + body[32:]),
        "the digest of itself": token_of(body[:32] + raw_id("x_" + "00" * 16).bytes * 2),
        "two tokens": f"{real} {real}",
        "a comma": f"{real},{real}",
        "in quotes": f'"{real}"',
    }


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_nearly_a_token_opens_nothing(shared_world: World, world: World, service: str) -> None:
    real = shared_world.tokens["agent"]
    with client(shared_world.info, service) as caller:
        assert caller.get("/v1/payments", headers={"Authorization": f"Bearer {real}"}).status_code == 200
        assert caller.get("/v1/payments", headers={"Authorization": f"bearer {real}"}).status_code == 200
        for what, token in look_alikes(real, world.tokens["agent"]).items():
            answer = caller.get("/v1/payments", headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), f"{what}: {answer.text}"
            assert answer.headers["www-authenticate"].startswith("Bearer"), what
            assert "cs_test_" not in answer.text.replace("cs_test_…", ""), what
        for scheme in ("Basic", "Token", "Digest", "Bearer:"):
            assert caller.get("/v1/payments", headers={"Authorization": f"{scheme} {real}"}).status_code == 401
        for said in ("Bearer", real, "Basic"):
            assert caller.get("/v1/payments", headers={"Authorization": said}).status_code == 401
        for place in (f"?access_token={real}", f"?token={real}"):
            assert caller.get(f"/v1/payments{place}").status_code == 401, "a token in an address is in every log"


def test_a_token_ends_when_it_is_revoked_or_expires(world: World) -> None:
    owner = world.people()
    made = owner.post("/v1/tokens", {"holder": world.agent, "name": "short", "expires_at": later(seconds=3)})
    with client(world.info, "api", made["token"]) as caller:
        assert caller.get("/v1/payments").status_code == 200
        expires = clock.parse(made["expires_at"])
        until = time.monotonic() + 6
        while caller.get("/v1/payments").status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert datetime.now(UTC) >= expires
    made = owner.post("/v1/tokens", {"holder": world.agent, "name": "revoked", "expires_at": later(days=1)})
    with client(world.info, "api", made["token"]) as caller, client(world.info, "console", world.tokens["owner"]) as people:
        assert caller.get("/v1/payments").status_code == 200
        assert people.delete(f"/v1/tokens/{made['id']}").json()["revoked_at"]
        assert caller.get("/v1/payments").status_code == 401
        assert people.delete(f"/v1/tokens/{made['id']}").status_code == 404
        assert people.post(f"/v1/tokens/{made['id']}/rotate", json={}).status_code == 404


def test_a_token_is_shown_once_and_kept_nowhere(world: World) -> None:
    made = world.people().post("/v1/tokens", {"holder": world.agent, "name": "once", "expires_at": later(days=1)})
    shown = world.people().get(f"/v1/tokens/{made['id']}")
    assert "token" not in shown and made["token"] not in str(shown)
    assert (shown["last_used_at"], shown["revoked_at"]) == (None, None)
    with client(world.info, "api", made["token"]) as caller:
        before = datetime.now(UTC)
        caller.get("/v1/payments")
    used = clock.parse(world.people().get(f"/v1/tokens/{made['id']}")["last_used_at"])
    assert abs((used - before).total_seconds()) < 2
    kept = world.rows("SELECT row_to_json(t)::text AS row FROM access_tokens t WHERE id = %s", raw_id(made["id"]), role="super")[0]["row"]
    secret = body_of(made["token"])[32:64]
    for form in (made["token"], secret.hex(), base64.b64encode(secret).decode()):
        assert form not in kept and form not in str(world.entries())


@pytest.mark.parametrize("expires", [{"seconds": -1}, {"days": 401}])
def test_a_token_expires_in_the_future_within_400_days(shared_world: World, expires: dict[str, float]) -> None:
    answer = shared_world.people().send("/v1/tokens", {"holder": shared_world.agent, "name": "x", "expires_at": later(**expires)})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/expires_at")


RATE = 100


@dataclass
class Load:
    """RATE requests a second, spread over clients; every second one uses the old token, the others the newest that they know."""

    world: World
    old: str
    new: str = ""
    # (which token, sent, received, status)
    seen: list[tuple[str, datetime, datetime, int]] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    turns: Iterator[int] = field(default_factory=count)

    def ask(self, started: float) -> None:
        """One client: each request goes out when its turn comes, however long the others take."""
        with client(self.world.info, "api") as caller:
            for turn in self.turns:
                if self.done.wait(max(0.0, started + turn / RATE - time.monotonic())):
                    return
                self._once(caller, "new" if self.new and turn % 2 else "old")

    def _once(self, caller: httpx2.Client, which: str) -> None:
        token, sent = {"old": self.old, "new": self.new}[which], datetime.now(UTC)
        status = caller.get(f"/v1/wallets/{self.world.wallet}", headers={"Authorization": f"Bearer {token}"}).status_code
        self.seen.append((which, sent, datetime.now(UTC), status))


def test_a_rotation_under_load_loses_no_request_and_the_old_token_dies_on_time(world: World) -> None:
    """Half of the requests take the new token at once, half never do: none is refused in the overlap, and every old one after it."""
    owner = world.people()
    made = owner.post("/v1/tokens", {"holder": world.agent, "name": "busy", "expires_at": later(days=1)})
    load = Load(world, made["token"])
    clients = [threading.Thread(target=load.ask, args=(time.monotonic(),)) for _ in range(12)]
    for one in clients:
        one.start()
    time.sleep(0.5)
    rotated = owner.post(f"/v1/tokens/{made['id']}/rotate", {"overlap_seconds": 4})
    begins, load.new = datetime.now(UTC), rotated["token"]
    ends = clock.parse(owner.get(f"/v1/tokens/{made['id']}")["expires_at"])
    time.sleep((ends - datetime.now(UTC)).total_seconds() + 1.5)
    load.done.set()
    for one in clients:
        one.join()
    overlap = [(which, status) for which, sent, received, status in load.seen if begins < sent and received < ends]
    after = [(which, status) for which, sent, _, status in load.seen if sent > ends]
    assert {status for _, _, received, status in load.seen if received < ends} == {200}
    assert overlap.count(("old", 200)) > 50 and overlap.count(("new", 200)) > 50, f"{len(overlap)} requests say too little"
    assert set(after) == {("old", 401), ("new", 200)}
    assert {(rotated["holder"], tuple(rotated["scopes"]))} == {(made["holder"], tuple(made["scopes"]))}


def test_a_rotated_token_never_lives_longer_than_it_would_have(world: World) -> None:
    owner = world.people()
    made = owner.post("/v1/tokens", {"holder": world.agent, "name": "short", "expires_at": later(seconds=60)})
    owner.post(f"/v1/tokens/{made['id']}/rotate", {"overlap_seconds": 604_800})
    assert owner.get(f"/v1/tokens/{made['id']}")["expires_at"] == made["expires_at"]
    gone = owner.post("/v1/tokens", {"holder": world.agent, "name": "gone", "expires_at": later(days=1)})
    owner.post(f"/v1/tokens/{gone['id']}/rotate", {"overlap_seconds": 0})
    with client(world.info, "api", gone["token"]) as caller:
        assert caller.get("/v1/payments").status_code == 401


@pytest.mark.parametrize("milliseconds", [0.5, 1, 2, 3, 4, 6, 8, 12])
def test_what_would_be_over_when_it_is_made_is_refused_and_breaks_nothing(shared_world: World, milliseconds: float) -> None:
    """The check of the request and the check of the database are moments apart."""

    def soon() -> str:
        return clock.stamp(datetime.now(UTC) + timedelta(milliseconds=milliseconds))

    for _ in range(3):
        made = shared_world.people().send("/v1/tokens", {"holder": shared_world.agent, "name": "x", "expires_at": soon()})
        assert made.status_code in (201, 400), made.text
        asked = {"agent": shared_world.agent, "currency": "BRL", "max_amount": 1, "expires_at": soon()}
        mandate = shared_world.people().send("/v1/mandates", asked)
        assert mandate.status_code in (201, 400), mandate.text
