"""What reaches every organisation: stops and revocations of a rail and of the platform, by the people who run the deployment."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from codespar.demo.client import Api
from codespar.launcher import testing
from codespar.launcher.stack import StackInfo
from tests.support import world as worlds
from tests.support.receipts import claims, stopped
from tests.support.world import World, later


@pytest.fixture(scope="module")
def deployment(worker_id: str, stack: object) -> Iterator[StackInfo]:
    """A deployment of this module's own: what is stopped here is stopped for nobody else."""
    with testing.copy(f"platform_{worker_id}").stack() as running:
        yield running.info


@pytest.fixture(scope="module")
def platform(deployment: StackInfo) -> World:
    """Whoever runs it."""
    found = worlds.make(deployment, money=0)
    env = os.environ | deployment.env("owner")
    done = subprocess.run([sys.executable, "-m", "codespar", "platform", found.org], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = subprocess.run([sys.executable, "-m", "codespar", "platform", found.org], env=env, capture_output=True, text=True, check=False)
    assert (again.returncode, "already" in again.stderr) == (2, True)
    return found


@pytest.fixture(scope="module")
def tenants(deployment: StackInfo) -> list[World]:
    return [worlds.make(deployment), worlds.make(deployment)]


@pytest.fixture
def runners(platform: World) -> Iterator[tuple[Api, Api]]:
    """Two of its people with live tokens; whatever they stopped is lifted at the end."""
    owner = platform.people("owner_live")
    made = []
    for role in ("operator", "oncall"):
        member = owner.post("/v1/members", {"email": f"{worlds.key()}@x.example", "name": role, "roles": [role]})["id"]
        token = owner.post("/v1/tokens", {"holder": member, "name": role, "expires_at": later(days=1)})["token"]
        made.append(Api(platform.info.console_url, token))
    yield made[0], made[1]
    for stop in made[0].get("/v1/stops")["data"]:
        if stop["status"] == "active":
            owner.delete(f"/v1/stops/{stop['id']}", reason="a test is over")


@pytest.mark.parametrize(("scope", "name"), [("platform", None), ("rail", "sandbox")])
def test_the_platforms_people_stop_everybody_and_everybody_is_shown_the_receipt(
    tenants: list[World], platform: World, runners: tuple[Api, Api], scope: str, name: str | None
) -> None:
    operator, oncall = runners
    stop = oncall.post("/v1/stops", {"scope": scope, "reason": "everybody"} | ({"id": name} if name else {}))
    for payer in tenants:
        said = claims(payer, stopped(payer.pay(10))["stop_receipt"])
        assert (said["jti"], said["scope"], said["reason"]) == (stop["id"], scope, "everybody")
        assert said["iss"].endswith(platform.org)
    assert platform.people().send("/v1/stops", {"scope": scope, "reason": "test token"} | ({"id": name} if name else {})).json()[
        "code"
    ] == ("platform_only")
    operator.delete(f"/v1/stops/{stop['id']}", reason="over")
    assert [payer.pay(10).status_code for payer in tenants] == [201, 201]


def test_a_revocation_of_the_platform_ends_every_mandate_of_everybody(tenants: list[World], runners: tuple[Api, Api]) -> None:
    made = runners[0].post("/v1/revocations", {"scope": "platform", "reason": "all keys leaked"})
    for payer in tenants:
        answer = payer.pay(10)
        assert answer.json()["code"] == "mandate_revoked", answer.text
        assert claims(payer, answer.json()["revocation_receipt"])["jti"] == made["id"]
        assert payer.people().get(f"/v1/mandates/{payer.mandate}")["status"] == "revoked"
        assert payer.pay(10, mandate=payer.new_mandate()).status_code == 201
