"""What needs a person is told outside, signed, until it is heard; and a receiver that is not there costs no payment anything."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import reconciling
from tests.support.receiver import Receiver, deliveries, delivered, due, enlist, receiver
from tests.support.world import World

Json = dict[str, Any]


@pytest.fixture
def told(world: World) -> Iterator[Receiver]:
    """A receiver that is told of everything that needs a person."""
    with receiver() as found:
        yield enlist(world, found)


def test_a_discrepancy_is_told_within_a_minute_of_its_statement(world: World, told: Receiver) -> None:
    case = reconciling.extra(world)
    [call] = told.wait("reconciliation.flagged", seconds=60)
    assert call.told is not None
    assert call.told["data"]["discrepancies"] == [case]
