"""What the way to the database promises: no words of its own in a refusal, and reads of one moment."""

import traceback

import pytest

from codespar.lib import clock, ids
from tests.support.world import World, raw_id


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


def test_reads_that_are_sent_together_are_of_one_moment(shared_world: World) -> None:
    """What a payment names is there, though it moves between the first statement and the last."""
    from codespar.lib import db

    org = raw_id(shared_world.org)
    first, _, last = db.read(org, ("SHOW transaction_isolation", []), ("SELECT pg_sleep(0)", []), ("SHOW transaction_read_only", []))
    assert (first, last) == ([{"transaction_isolation": "repeatable read"}], [{"transaction_read_only": "on"}])
    assert db.read(org, ("SHOW transaction_isolation", []))[0][0]["transaction_isolation"] == "repeatable read"
    with db.tenant(org):
        assert db.select("SHOW transaction_isolation") == [{"transaction_isolation": "read committed"}]
