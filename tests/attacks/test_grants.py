"""What each runtime role may do, read from the catalog: a new table, function or grant is found here by itself."""

import psycopg
import pytest
from psycopg import sql

from tests.support import books
from tests.support.world import World

RUNTIME = ("agent", "control", "rail", "auditor")
VERBS = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")

# The only tables that a runtime role writes without a function, and why.
WRITES = {
    # The console's log-in sessions are no tenant's and prove nothing: the member's password and device do.
    ("control", "django_session"): {"INSERT", "UPDATE", "DELETE"},
}
# A used one-time password must be remembered by whoever checks it.
COLUMN_WRITES = {("control", "member_devices"): {"last_step", "failures", "failed_at"}}

EVERYBODY = {"head_read(uuid)", "public_keys(uuid)"}
FUNCTIONS: dict[str, set[str]] = {
    "agent": EVERYBODY
    | {
        "access_refused(uuid,bytea,bytea,bytea,jsonb)",
        "answer_freeze(uuid,bytea,text,bytea,integer,bytea)",
        "authenticate(uuid,bytea)",
        "authorise(uuid,bytea,bytea,bytea,jsonb)",
        "authorise_batch(uuid,bytea,bytea[],bytea[],jsonb)",
        "batch_receive(uuid,bytea,bytea,bytea,jsonb)",
        "consent_ask(uuid,bytea,uuid)",
        "consent_read_ask(uuid,bytea,bytea,bytea,jsonb)",
        "consent_read_take(uuid,bytea,uuid)",
        "counterparty_create(uuid,bytea,bytea,bytea,jsonb)",
        "idempotency_read(uuid,bytea,text,bytea)",
        "payment_answer(uuid,bytea,uuid)",
        "payment_cancel(uuid,bytea,bytea,bytea,jsonb)",
        "snapshot(uuid,bytea,jsonb)",
        "snapshots(uuid,bytea,jsonb)",
    },
    "control": EVERYBODY
    | {
        "discrepancy_resolve(uuid,bytea,bytea,bytea,jsonb)",
        "events_list(uuid,bytea,text[],bigint,integer,integer,integer)",
        "webhook_endpoint_change(uuid,bytea,bytea,bytea,jsonb)",
        "webhook_endpoint_create(uuid,bytea,bytea,bytea,jsonb,bytea)",
        "webhook_endpoint_rotate(uuid,bytea,bytea,bytea,jsonb,bytea)",
        "payment_rule(uuid,bytea,bytea,bytea,jsonb)",
        "payment_ruling_confirm(uuid,bytea,bytea,bytea,jsonb)",
        "access_refused(uuid,bytea,bytea,bytea,jsonb)",
        "agent_create(uuid,bytea,bytea,bytea,jsonb)",
        "answer_freeze(uuid,bytea,text,bytea,integer,bytea)",
        "authenticate(uuid,bytea)",
        "consent_ask(uuid,bytea,uuid)",
        "consent_read_ask(uuid,bytea,bytea,bytea,jsonb)",
        "consent_read_take(uuid,bytea,uuid)",
        "consent_register(uuid,bytea,bytea,bytea,jsonb)",
        "consent_revoke(uuid,bytea,bytea,bytea,jsonb)",
        "counterparty_change(uuid,bytea,bytea,bytea,jsonb)",
        "counterparty_create(uuid,bytea,bytea,bytea,jsonb)",
        "idempotency_read(uuid,bytea,text,bytea)",
        "ledger_reanchor(uuid,bytea,bytea,jsonb,uuid,bytea)",
        "ledger_export(uuid,bytea,bytea,bytea,jsonb)",
        "mandate_issue(uuid,bytea,bytea,bytea,jsonb,text)",
        "mandate_pause(uuid,bytea,bytea,bytea,jsonb)",
        "member_change(uuid,bytea,bytea,bytea,jsonb)",
        "member_create(uuid,bytea,bytea,bytea,jsonb)",
        "member_login_set(uuid,bytea,bytea,bytea,jsonb,text,bytea)",
        "member_org(uuid)",
        "members_by_email(text)",
        "organisation_create(uuid,bytea,bytea,jsonb,jsonb)",
        "payment_answer(uuid,bytea,uuid)",
        "payment_cancel(uuid,bytea,bytea,bytea,jsonb)",
        "payment_vote(uuid,bytea,bytea,bytea,jsonb)",
        "policy_activate(uuid,bytea,bytea,bytea,jsonb)",
        "policy_write(uuid,bytea,bytea,bytea,jsonb)",
        "project_create(uuid,bytea,bytea,bytea,jsonb)",
        "rail_account_add(uuid,bytea,bytea,bytea,jsonb,bytea)",
        "rail_account_rotate(uuid,bytea,bytea,bytea,jsonb,bytea)",
        "rail_check_ask(uuid,bytea,uuid)",
        "refund_create(uuid,bytea,bytea,bytea,jsonb)",
        "revoke(uuid,bytea,bytea,bytea,jsonb,text)",
        "secret_rewrap(uuid,text,uuid,bytea,bytea)",
        "snapshot(uuid,bytea,jsonb)",
        "stop_flag(uuid,bytea,text,text)",
        "stop_lift(uuid,bytea,bytea,bytea,jsonb)",
        "stop_set(uuid,bytea,bytea,bytea,jsonb,text)",
        "token_create(uuid,bytea,bytea,bytea,jsonb)",
        "token_revoke(uuid,bytea,bytea,bytea,jsonb)",
        "token_rotate(uuid,bytea,bytea,bytea,jsonb)",
        "wallet_create(uuid,bytea,bytea,bytea,jsonb)",
        "wallet_move(uuid,bytea,bytea,bytea,jsonb)",
        "webhook_store(uuid,uuid,text,boolean,text,jsonb,bytea)",
    },
    "rail": EVERYBODY
    | {
        "breaker_change(uuid,bytea,bytea)",
        "consent_answered(uuid,bytea,bytea)",
        "consent_read_begin(uuid,uuid)",
        "consent_read_done(uuid,uuid,text,jsonb)",
        "consent_reads_due(text,integer)",
        "consent_same(uuid,uuid)",
        "consents_due(text,integer)",
        "reconciliation_lag(uuid,bytea,bytea)",
        "reconciliations_lagging(integer,integer)",
        "webhook_endpoint_gone(uuid,bytea,bytea)",
        "webhook_release(uuid,uuid,text)",
        "webhook_tried(uuid,uuid,uuid,integer,text,integer)",
        "webhook_work(uuid,uuid,integer,integer)",
        "webhooks_due(text,integer,integer)",
        "rail_account_checked(uuid,bytea,bytea)",
        "rail_account_same(uuid,uuid)",
        "rail_checks_due(text,integer)",
        "schedule_execute(uuid,bytea,bytea)",
        "schedule_seen(uuid,uuid)",
        "schedules_due(text,integer,integer)",
        "discrepancies_open(uuid,bytea,bytea,jsonb)",
        "reconciliation_begin(uuid,uuid,uuid)",
        "reconciliation_end(uuid,uuid,text,text,integer,integer,integer,bigint,bigint,text,bigint,bigint,bigint,integer)",
        "reconciliations_due(text,text,integer,integer)",
        "statement_agree(uuid,uuid,integer,text,integer)",
        "statement_match(uuid,uuid,integer,integer,integer)",
        "statement_missing(uuid,uuid,integer,timestamp with time zone,integer)",
        "statement_store(uuid,uuid,boolean,jsonb)",
        "chain_sizes()",
        "checkpoint_add(uuid,bigint,bytea,text[],text,integer)",
        "credit_notice(uuid,uuid,text,text,text)",
        "credit_resolve(uuid,bytea,bytea)",
        "credits_due(integer,text)",
        "due_work(text,integer,integer,text)",
        "lease_end(text)",
        "lease_owners()",
        "ledger_rewound(uuid,integer,bigint)",
        "may_send(uuid,uuid[])",
        "org_ids()",
        "payment_hand_over(uuid,bytea,bytea)",
        "payment_settled_late(uuid,bytea,bytea)",
        "payments_end_unsent(uuid,bytea,bytea)",
        "payments_follow(uuid,bytea,bytea)",
        "payments_result(uuid,bytea,bytea,jsonb)",
        "payments_submit(uuid,bytea,bytea)",
        "payments_to_return(uuid,uuid[])",
        "refund_initiate(uuid,bytea,bytea)",
        "refund_result(uuid,bytea,bytea,jsonb)",
        "refund_submit(uuid,bytea,bytea)",
        "secret_rewrap(uuid,text,uuid,bytea,bytea)",
        "stop_record(uuid,bytea,bytea,jsonb)",
        "stopped_lately(interval)",
        "stops_unrecorded()",
        "webhook_done(uuid,uuid,text)",
        "webhooks_new(integer)",
        "work_later(uuid,text,uuid,text)",
        "work_now(uuid,text,boolean,text,text)",
        "work_stopped(uuid)",
        "work_wait(uuid,uuid[],text,interval)",
    },
    "auditor": EVERYBODY | {"org_ids()"},
}
# The owner sets a deployment up; its processes are migrations.
OWNERS = {"platform_name(uuid)"}

_WRITES = """
SELECT role, relname AS name, array_agg(verb) AS verbs
FROM pg_class, unnest(%s::text[]) role, unnest(%s::text[]) verb
WHERE relnamespace = 'codespar'::regnamespace AND relkind IN ('r', 'p') AND has_table_privilege('codespar_' || role, pg_class.oid, verb)
GROUP BY 1, 2
"""
_COLUMN_WRITES = """
SELECT role, c.relname AS name, array_agg(DISTINCT a.attname::text) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
     unnest(%s::text[]) role, unnest('{INSERT,UPDATE}'::text[]) verb
WHERE c.relnamespace = 'codespar'::regnamespace AND c.relkind IN ('r', 'p')
  AND has_column_privilege('codespar_' || role, c.oid, a.attnum, verb) AND NOT has_table_privilege('codespar_' || role, c.oid, verb)
GROUP BY 1, 2
"""
_FIRST = """
SELECT c.relname AS name, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum = 1) AS first
FROM pg_class c WHERE relnamespace = 'codespar'::regnamespace AND relkind IN ('r', 'p')
"""
# The superuser's search_path is the schema alone, so that names come without it.
_ROUTINES = """
SELECT p.oid::regprocedure::text AS name, p.prosecdef AS definer, p.proconfig AS settings, r.rolname AS owner,
       coalesce((SELECT bool_or(a.grantee = 0) FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a), false) AS public
FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner WHERE p.pronamespace = 'codespar'::regnamespace
"""


def test_no_runtime_role_writes_a_table_but_the_documented_ones(shared_world: World) -> None:
    found = books.look(shared_world, _WRITES, list(RUNTIME), list(VERBS))
    assert {(row["role"], row["name"]): set(row["verbs"]) for row in found} == WRITES


def test_no_runtime_role_writes_a_column_but_the_documented_ones(shared_world: World) -> None:
    found = books.look(shared_world, _COLUMN_WRITES, list(RUNTIME))
    assert {(row["role"], row["name"]): set(row["columns"]) for row in found} == COLUMN_WRITES


@pytest.mark.parametrize("role", RUNTIME)
def test_writing_by_hand_is_refused_on_every_table(shared_world: World, role: str) -> None:
    tables = books.look(shared_world, _FIRST)
    assert len(tables) > 40
    with shared_world.db(role) as connection:
        for table in tables:
            name, first = sql.Identifier(table["name"]), sql.Identifier(table["first"])
            statements = {
                "INSERT": sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name),
                "UPDATE": sql.SQL("UPDATE {} SET {} = {} WHERE false").format(name, first, first),
                "DELETE": sql.SQL("DELETE FROM {} WHERE false").format(name),
                "TRUNCATE": sql.SQL("TRUNCATE {} CASCADE").format(name),
            }
            for verb in set(VERBS) - WRITES.get((role, table["name"]), set()):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statements[verb])


@pytest.mark.parametrize("role", RUNTIME)
def test_each_role_executes_exactly_the_functions_of_its_list(shared_world: World, role: str) -> None:
    query = f"SELECT name FROM ({_ROUTINES}) f WHERE has_function_privilege(%s, name::regprocedure, 'EXECUTE')"
    found = {row["name"] for row in books.look(shared_world, query.replace("%s", f"'codespar_{role}'"))}
    assert found == FUNCTIONS[role]


def test_nobody_else_executes_a_function_and_every_definer_has_the_fixed_search_path(shared_world: World) -> None:
    routines = books.look(shared_world, _ROUTINES)
    assert [row["name"] for row in routines if row["public"]] == []
    definers = [row for row in routines if row["definer"]]
    assert len(definers) > 40
    assert {row["name"] for row in definers if row["settings"] != ["search_path=codespar, pg_catalog, pg_temp"]} == set()
    assert {row["owner"] for row in definers} == {"codespar_definer", "codespar_scanner"}
    # What runs with its caller's rights must not be a way around the definer.
    assert OWNERS | {name for names in FUNCTIONS.values() for name in names} == {row["name"] for row in definers}


@pytest.mark.parametrize("role", RUNTIME)
def test_a_runtime_role_makes_no_table_function_or_temporary_table(shared_world: World, role: str) -> None:
    statements = (
        "CREATE TABLE codespar.mine (a int)",
        "CREATE TEMP TABLE accounts (a int)",
        "CREATE TABLE pg_temp.accounts (a int)",
        "CREATE FUNCTION codespar.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA mine",
        "ALTER TABLE codespar.accounts DROP CONSTRAINT accounts_available",
        "ALTER TABLE codespar.transfers DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "SET ROLE codespar_definer",
        "SET ROLE codespar_owner",
        "SELECT pg_read_file('PG_VERSION')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    )
    with shared_world.db(role) as connection:
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_roles_are_no_stronger_than_they_look(shared_world: World) -> None:
    attributes = "rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication"
    strong = books.look(shared_world, f"SELECT rolname FROM pg_roles WHERE rolname ^@ 'codespar_' AND ({attributes})")
    assert {row["rolname"] for row in strong} == {"codespar_super"}
    query = "SELECT m.rolname AS member, r.rolname AS of FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid"
    memberships = {(row["member"], row["of"]) for row in books.look(shared_world, f"{query} WHERE m.rolname ^@ 'codespar_'")}
    assert memberships == {("codespar_owner", "codespar_definer"), ("codespar_owner", "codespar_scanner")}


def test_a_function_of_another_role_is_refused_by_its_grant(shared_world: World) -> None:
    signatures = OWNERS | {name for names in FUNCTIONS.values() for name in names}
    for role in RUNTIME:
        with shared_world.db(role) as connection:
            for signature in signatures - FUNCTIONS[role]:
                name, _, types = signature.rstrip(")").partition("(")
                nulls = ", ".join(f"NULL::{kind}" for kind in types.split(",") if kind)
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(f"SELECT {name}({nulls})")
