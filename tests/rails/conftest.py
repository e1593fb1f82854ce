"""What the tests of rails share: a bank for each module, a receiver of its webhooks, servers that behave worse than it, and a localstripe."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rails.adapters import base
from rails.sandbox.launch import Provider
from tests.support.card_bank import CardBank
from tests.support.inbox import Inbox
from tests.support.localstripe import LocalStripe
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


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStripe]:
    stripe = LocalStripe(tmp_path_factory.mktemp("localstripe")).start()
    yield stripe
    stripe.stop()


@pytest.fixture
def bank(running: Provider, request: pytest.FixtureRequest) -> Iterator[CardBank]:
    """An account with a card, of this test's own."""
    yield CardBank(running, "acct_" + re.sub("[^A-Za-z0-9]", "", request.node.name)[-50:])
    running.call("DELETE", "/_control")
    running.call("POST", "/_control/card", {"key_seconds": 86_400, "authorisation_seconds": 604_800})


@pytest.fixture
def adapter(bank: CardBank) -> base.Adapter:
    return bank.adapter()
