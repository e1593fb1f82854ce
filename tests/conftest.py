"""Every test that needs the engine gets a running one: a copy of the migrated template database, and all processes on it."""

import os
import socket
from collections.abc import Iterator

import pytest

from codespar.launcher import testing
from codespar.launcher.stack import StackInfo
from tests.support import world as worlds
from tests.support.world import World
from tests.support.x402 import Market, market

pytest_plugins = ["codespar.launcher.testing"]


@pytest.fixture(scope="session")
def node_place() -> Iterator[socket.socket]:
    """Where the node of a chain will listen, if a test wants one: the engine must know before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as place:
        yield place


@pytest.fixture(scope="session")
def stack(worker_id: str, node_place: socket.socket) -> Iterator[StackInfo]:
    """The running engine of this worker. This process itself gets the console's role and environment."""
    rails = {"x402": f"http://127.0.0.1:{node_place.getsockname()[1]}"}
    running = testing.copy(worker_id).stack(extra_env={"CODESPAR_REQUESTS_PER_MINUTE": "100000"}, rails=rails)
    with running:
        info = running.info
        os.environ.update(info.env("control"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "codespar.settings"
        import django

        django.setup()
        yield info


@pytest.fixture(scope="session")
def bazaar(stack: StackInfo, node_place: socket.socket) -> Iterator[Market]:
    """A chain that the engine's rail x402 reaches, with a facilitator and a merchant on it."""
    with market(node_place) as made:
        yield made


@pytest.fixture
def world(stack: StackInfo) -> World:
    """An organisation of this test's own, ready to pay."""
    return worlds.make(stack)


@pytest.fixture(scope="module")
def shared_world(stack: StackInfo) -> World:
    """An organisation for tests of one module that leave no limits behind."""
    return worlds.make(stack)
