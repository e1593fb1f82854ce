"""One furnished organisation a module, for tests that leave it usable."""

import pytest

from codespar.launcher.stack import StackInfo
from tests.support import operations
from tests.support import world as worlds
from tests.support.operations import Furnished


@pytest.fixture(scope="module")
def furnished(stack: StackInfo) -> Furnished:
    """An organisation with an object of every kind."""
    return operations.furnish(worlds.make(stack))
