"""The queue is found by its index: what is due costs the same, however many payments there ever were."""

from typing import Any

import pytest

from tests.support import books
from tests.support.world import World, raw_id

HISTORY = """
INSERT INTO payments SELECT (jsonb_populate_record(p, jsonb_build_object('id', uuidv7(), 'hold_id', uuidv7(), 'decision_id', uuidv7(),
    'rail_key', '\\x' || encode(sha256(n::text::bytea), 'hex'), 'provider_id', 'old-' || n, 'rail_ref', 'old-' || n, 'presentation', NULL, 'transaction_id', NULL))).*
FROM payments p, generate_series(1, 20000) n WHERE p.org_id = %s AND p.id = %s
"""
WHOLE = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'payments'::regclass"


@pytest.mark.parametrize(
    "query", ["SELECT id FROM due_work('w', 32, 45, 'sandbox')", "SELECT 1 FROM lease_owners()", "SELECT lease_end('w')"]
)
def test_what_is_due_is_found_without_reading_every_payment(shared_world: World, query: str) -> None:
    payment = shared_world.settled(shared_world.pay(5).json()["id"])
    org, mine = raw_id(shared_world.org), raw_id(payment["id"])
    with books.superuser(shared_world) as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        connection.execute(HISTORY, [org, mine])
        connection.execute("UPDATE payments SET due_at = clock_timestamp() WHERE org_id = %s AND id = %s", [org, mine])
        connection.execute("ANALYZE payments")
        before = whole(connection)
        found = connection.execute(query).fetchall()
        assert whole(connection) == before
        assert "due_work" not in query or found == [{"id": mine}]


def whole(connection: Any) -> int:
    """How often this transaction has read the table from end to end."""
    return int(connection.execute(WHOLE).fetchone()["seq_scan"])
