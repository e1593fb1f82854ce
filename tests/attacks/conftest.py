"""Attacks share one organisation a module where they leave nothing behind; each has a pen for forged records."""

from typing import Any

import pytest

from tests.support.forge import Forger
from tests.support.world import World, later

Json = dict[str, Any]


@pytest.fixture(scope="module")
def forger(shared_world: World) -> Forger:
    """Whoever took over a process, in the module's organisation."""
    return Forger(shared_world)


@pytest.fixture(scope="module")
def rival(shared_world: World) -> Json:
    """Another agent of the same project, with money, a mandate, and a payment that waits for a person."""
    agent, wallet, api = shared_world.new_agent()
    shared_world.fund(10_000, wallet)
    mandate = shared_world.new_mandate(agent=agent)
    proposed = api.post("/v1/counterparties", {"name": "Rival's", "accounts": [{"type": "pix_key", "value": "r@payee.example"}]})["id"]
    waiting = api.send("/v1/payments", shared_world.body(300, mandate=mandate, counterparty=proposed)).json()
    assert waiting["status"] == "requires_approval"
    token = shared_world.people().post("/v1/tokens", {"holder": agent, "name": "second", "expires_at": later(days=1)})["token"]
    shared_world.tokens["rival"] = token
    return {"agent": agent, "wallet": wallet, "mandate": mandate, "waiting": waiting["id"], "proposed": proposed}
