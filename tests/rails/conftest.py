"""A bank and a localstripe for each module that asks for one; a module of another rail brings fixtures of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rails.adapters import base
from rails.sandbox.launch import Provider
from tests.support.card_bank import CardBank
from tests.support.localstripe import LocalStripe


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    provider = Provider(tmp_path_factory.mktemp("bank")).start()
    yield provider
    assert provider.stop() == 0


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
