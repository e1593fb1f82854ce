"""Tenants: walls on every table, keys that cannot point over them, and nothing to see without saying who one is."""

import uuid

import psycopg
import pytest

from codespar.launcher.stack import StackInfo
from tests.support import books
from tests.support import world as worlds
from tests.support.world import World, raw_id

# Tables that are no tenant's. Nobody but the functions' owner writes any of them.
PLATFORM = {
    "ledger_rewinds": "chains that were set back: one of them stops everybody",
    "deployment": "one row: this deployment's name, and who runs it",
    "ledger_kinds": "the closed list of kinds",
    "payment_transition_rules": "the state machine",
    "platform_states": "stops of the platform and of rails",
    "provider_accounts": "says which tenant a provider's account belongs to, so its key is the account",
    "role_scopes": "role -> scope",
}
DJANGO = ("django_", "auth_")

_TABLES = """
SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS walled,
       (SELECT array_agg(pg_get_expr(polqual, polrelid)) FROM pg_policy WHERE polrelid = c.oid AND polpermissive AND polroles = '{0}') AS walls
FROM pg_class c WHERE relnamespace = 'codespar'::regnamespace AND relkind IN ('r', 'p')
"""
_KEYS = """
SELECT i.indrelid::regclass::text AS tab, i.indexrelid::regclass::text AS key,
       array_agg(a.attname::text ORDER BY k.n) AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid CROSS JOIN unnest(i.indkey) WITH ORDINALITY k(attnum, n)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE c.relnamespace = 'codespar'::regnamespace AND i.indisunique GROUP BY 1, 2
"""
_REFERENCES = """
SELECT conrelid::regclass::text AS tab, conname AS name, confrelid::regclass::text AS target,
       ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k(n, i) JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY i) AS columns,
       ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k(n, i) JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY i) AS targets,
       condeferrable OR confdeltype <> 'a' OR confupdtype <> 'a' AS soft
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'codespar'::regnamespace
"""


def tenants(world: World) -> dict[str, books.Row]:
    return {row["name"]: row for row in books.look(world, _TABLES) if row["name"] not in PLATFORM and not row["name"].startswith(DJANGO)}


def test_every_tenant_table_has_forced_walls_by_its_org(shared_world: World) -> None:
    found = tenants(shared_world)
    assert len(found) > 35
    for name, row in found.items():
        column = "id" if name == "organisations" else "org_id"
        wall = f"({column} = (NULLIF(current_setting('codespar.org'::text, true), ''::text))::uuid)"
        assert (name, row["walled"], row["walls"]) == (name, True, [wall])


def test_every_unique_key_of_a_tenant_table_begins_with_its_org(shared_world: World) -> None:
    known = tenants(shared_world)
    keys = [row for row in books.look(shared_world, _KEYS) if row["tab"] in known]
    first = {row["key"]: row["columns"][0] for row in keys if row["tab"] != "organisations"}
    assert {key for key, column in first.items() if column != "org_id"} == set()
    assert {row["tab"] for row in keys} == set(known), "a table without a key"
    assert [row["columns"] for row in keys if row["tab"] == "organisations"] == [["id"]]


def test_every_reference_between_tenants_tables_carries_the_org(shared_world: World) -> None:
    known = tenants(shared_world)
    for row in books.look(shared_world, _REFERENCES):
        if row["tab"] in known and row["target"] in known:
            place = ("org_id", "id" if row["target"] == "organisations" else "org_id")
            assert place in zip(row["columns"], row["targets"], strict=True), row
            assert not row["soft"], f"{row['name']} could be put off or cascade"


def test_every_column_that_names_a_tenants_row_is_a_reference(shared_world: World) -> None:
    """What a tenant's row points at is checked by the database, or listed here with the reason why not."""
    free = {
        ("decisions", "payment_id"): "written before its payment; payments_decision points back",
        ("holds", "payment_id"): "written before its payment; payments_hold points back",
        ("transfers", "payment_id"): "a capture's is checked against its hold by hold_resolutions_transfer",
        ("payments", "account_id"): "an account inside the counterparty's version, checked when the payment is decided",
        ("payments", "provider_id"): "the provider's own name of it",
        ("refunds", "provider_id"): "the provider's own name of it",
        ("attempt_results", "provider_id"): "the provider's own name of it",
        ("payments", "transaction_id"): "the presentation's own name of it",
        ("statement_lines", "line_id"): "the provider's own name of it",
        ("statement_lines", "provider_id"): "the provider's own name of it",
        ("discrepancies", "line_id"): "the provider's own name of it",
        ("webhook_messages", "message_id"): "the provider's own name of it",
        ("policy_rules", "rule_id"): "the rule's name within its document",
        ("policies", "scope_id"): "an organisation, project or agent: checked by policy_write",
        ("counter_selectors", "scope_id"): "an organisation, project or agent: copied from the policy",
        ("scope_states", "scope_id"): "any scope: checked by the function that stops or revokes",
        ("revocations", "scope_id"): "any scope: checked by the function that revokes",
        ("stops", "scope_id"): "any scope: checked by the function that stops",
    }
    entries = {"entry_id", "created_entry_id"}  # known before the entry, which is written last
    known = tenants(shared_world)
    pointed = {(row["tab"], column) for row in books.look(shared_world, _REFERENCES) for column in row["columns"]}
    query = "SELECT attrelid::regclass::text AS tab, attname AS name FROM pg_attribute WHERE attname LIKE '%\\_id' AND attnum > 0 AND NOT attisdropped"
    named = {(row["tab"], row["name"]) for row in books.look(shared_world, query) if row["tab"] in known}
    loose = {pair for pair in named - pointed if pair[1] not in entries and pair[1] != "org_id"}
    assert loose == set(free)


@pytest.mark.parametrize("role", ["agent", "control", "rail", "auditor"])
def test_without_a_tenant_there_are_no_rows_and_with_anothers_only_anothers(shared_world: World, role: str) -> None:
    for name in tenants(shared_world):
        column = "id" if name == "organisations" else "org_id"
        with shared_world.db(role, tenant=False) as connection:
            for setting in (None, "", str(uuid.uuid4())):
                if setting is not None:
                    connection.execute("SELECT set_config('codespar.org', %s, false)", [setting])
                try:
                    found = connection.execute(f"SELECT {column} FROM {name} LIMIT 1").fetchall()
                except psycopg.errors.InsufficientPrivilege:
                    break
                assert found == [], f"{role} sees {name} as {setting!r}"


def test_one_organisations_setting_never_shows_anothers_rows(shared_world: World, stack: StackInfo) -> None:
    other = worlds.make(stack, money=0)
    shared_world.pay(100)
    for name in tenants(shared_world):
        column = "id" if name == "organisations" else "org_id"
        with shared_world.db("auditor") as connection:
            try:
                seen = {row[column] for row in connection.execute(f"SELECT DISTINCT {column} FROM {name}").fetchall()}
            except psycopg.errors.InsufficientPrivilege:
                continue
        assert seen <= {raw_id(shared_world.org)}, name
    with other.db("auditor") as connection:
        assert connection.execute("SELECT id FROM payments").fetchall() == []


def test_the_owner_is_walled_too(shared_world: World) -> None:
    with psycopg.connect(shared_world.info.dsn("owner"), autocommit=True) as connection:
        for name in ("accounts", "transfers", "ledger_entries", "mandates", "private_keys", "access_tokens"):
            seen = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
            # Of private keys the owner sees what the key list publishes: it is a member of the role that publishes it.
            assert seen == (0,) or name == "private_keys", name
