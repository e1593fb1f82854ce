"""What the database's own words are kept from."""

import traceback

import pytest

from codespar.lib import clock, ids
from tests.support.world import World


def test_a_refusal_that_nobody_expected_carries_its_rule_and_no_row(shared_world: World) -> None:
    """Postgres quotes the row that failed; what is logged of the refusal must not."""
    from codespar.identity import actions, principals
    from codespar.lib.db import Refused

    owner = principals.authenticate(shared_world.tokens["owner"], request_id=ids.wire("req", ids.new()))
    name = "Mallory"
    with pytest.raises(Refused) as caught:
        actions.create_member(owner, email="without-an-at", name=name, roles=["finance"], now=clock.now())
    error = caught.value
    assert error.rule == "members_email_lower" and "members_email_lower" in error.detail
    assert error.__cause__ is None and error.__context__ is None
    logged = "".join(traceback.format_exception(error))
    assert "Failing row" not in logged and "Mallory" not in logged, logged
