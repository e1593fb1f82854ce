"""Every race is run against one process of the agents' service, and against four."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from codespar.launcher import ports
from codespar.launcher.cluster import PROJECT
from codespar.launcher.processes import Spec, Supervisor
from codespar.launcher.stack import StackInfo
from tests.support import world as worlds
from tests.support.world import World


@pytest.fixture(scope="session")
def four_workers(stack: StackInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackInfo]:
    """A second agents' service on the same database: four worker processes instead of one."""
    port = ports.free()
    url = f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "granian", "--interface", "wsgi", "codespar.wsgi:application", "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--no-ws", "--workers", "4", "--blocking-threads", "96", "--workers-kill-timeout", "10"]
    env = stack.env("agent", "api") | {"CODESPAR_REQUESTS_PER_MINUTE": "100000"}
    supervisor = Supervisor(tmp_path_factory.mktemp("four") / "stack")
    try:
        supervisor.start(Spec("api", argv, env, PROJECT, health_url=f"{url}/v1/status"))
        yield replace(stack, base_url=url)
    finally:
        supervisor.stop()


@pytest.fixture(scope="module", params=["one process", "four processes"])
def racing(request: pytest.FixtureRequest, stack: StackInfo) -> World:
    """An organisation whose agents call a service of one process, and one whose agents call a service of four."""
    info = stack if request.param == "one process" else request.getfixturevalue("four_workers")
    return worlds.make(info, money=10_000_000, wallet=5_000_000)
