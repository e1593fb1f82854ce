"""What the tests of rails share: a bank for each module, a receiver of its webhooks, and servers that behave worse than it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rails.sandbox.launch import Provider
from tests.support.inbox import Inbox
from tests.support.raw_servers import Raw, raw_servers


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("bank")).start()
    yield provider
    assert provider.stop() == 0


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    box = Inbox()
    yield box
    box.server.shutdown()
    box.server.server_close()


@pytest.fixture
def raw() -> Iterator[Raw]:
    with raw_servers() as start:
        yield start
