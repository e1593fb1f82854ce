"""Every test that needs the engine gets a running one: a copy of the migrated template database, and all processes on it."""

import os
from collections.abc import Iterator

import pytest

from codespar.launcher import testing
from codespar.launcher.stack import StackInfo
from tests.support import world as worlds
from tests.support.world import World

pytest_plugins = ["codespar.launcher.testing"]


@pytest.fixture(scope="session")
def stack(worker_id: str) -> Iterator[StackInfo]:
    """The running engine of this worker. This process itself gets the console's role and environment."""
    running = testing.copy(worker_id).stack(extra_env={"CODESPAR_REQUESTS_PER_MINUTE": "100000"})
    with running:
        info = running.info
        os.environ.update(info.env("control"))
        os.environ["DJANGO_SETTINGS_MODULE"] = "codespar.settings"
        import django

        django.setup()
        yield info


@pytest.fixture
def world(stack: StackInfo) -> World:
    """An organisation of this test's own, ready to pay."""
    return worlds.make(stack)


@pytest.fixture(scope="module")
def shared_world(stack: StackInfo) -> World:
    """An organisation for tests of one module that leave no limits behind."""
    return worlds.make(stack)
