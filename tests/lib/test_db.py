"""What the way to the database promises: no words of its own in a refusal, and reads of one moment."""

import traceback

import pytest

from codespar.lib import clock, ids
from tests.support import books
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
    level, mode = (f"SELECT current_setting('transaction_{name}') AS found" for name in ("isolation", "read_only"))
    first, _, last = db.read(org, (level, []), ("SELECT pg_sleep(0)", []), (mode, []))
    assert (first, last) == ([{"found": "repeatable read"}], [{"found": "on"}])
    assert db.read(org, (level, [])) == [[{"found": "repeatable read"}]]
    with db.tenant(org):
        assert db.select("SHOW transaction_isolation") == [{"transaction_isolation": "read committed"}]


def test_a_connection_plans_a_read_once_and_again_when_the_table_has_changed(shared_world: World) -> None:
    """A migration adds a column while an older process still serves."""
    from codespar.lib import db

    org, query = raw_id(shared_world.org), ("SELECT * FROM codespar.changing WHERE n = %s", [1])
    plans = "SELECT count(*) AS n FROM pg_prepared_statements WHERE statement LIKE '%%codespar.changing%%'"
    with books.superuser(shared_world) as connection:
        connection.execute("CREATE TABLE codespar.changing AS SELECT 1 AS n; GRANT SELECT ON codespar.changing TO codespar_control")
        try:
            assert db.read(org, query, query) == [[{"n": 1}], [{"n": 1}]]
            assert db.select(plans, [])[0]["n"] == 1
            connection.execute("ALTER TABLE codespar.changing ADD COLUMN more text DEFAULT 'new'")
            assert db.read(org, query) == [[{"n": 1, "more": "new"}]]
        finally:
            connection.execute("DROP TABLE codespar.changing")
