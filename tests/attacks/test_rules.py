"""Past all grants: every named rule of the ledger, the books, mandates and payments still refuses, and says its name."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
import pytest

from codespar.launcher.stack import StackInfo
from codespar.lib import db
from tests.attacks import cases_payments
from tests.attacks.rules import CASES, RULES, STRUCTURAL
from tests.support import books, scene
from tests.support import world as worlds
from tests.support.scene import Scene
from tests.support.world import World

ROOT = Path(__file__).parents[2]
APPS = ("ledger", "wallets", "mandates", "rails", "codespar/alerts")


@pytest.fixture(scope="module")
def stage(shared_world: World) -> Scene:
    """An organisation with at least one row in every table that rules guard."""
    day = {"id": "day", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 10**12}
    shared_world.set_policy({"id": "all", "effect": "allow"}, day)
    made = scene.make(shared_world)
    waiting = shared_world.people().get("/v1/payments?limit=100")["data"]
    payment = next(p["id"] for p in waiting if p["status"] == "requires_approval")
    shared_world.people("finance").post(f"/v1/payments/{payment}/deny", {"reason": "a scene needs one"})
    return made


@pytest.mark.parametrize("rule", CASES)
def test_each_rule_refuses_by_its_name(stage: Scene, rule: str) -> None:
    assert [stage.refusal(case) for case in CASES[rule]] == [rule] * len(CASES[rule])


def test_a_hold_without_a_mandate_cannot_be_written(stage: Scene) -> None:
    """NOT NULL has no name: the SQL state says it."""
    assert stage.refusal(lambda c: c.hold(mandate_id=None)) == "23502"


# Tables that the scene leaves empty.
MADE: dict[str, Any] = {
    "ledger_checkpoints": lambda c: c.insert("ledger_checkpoints", size=10**9, root=b"x", frontier=[], note="x", generation=0),
    "breaker_changes": cases_payments.breaker(),
    "discrepancies": cases_payments.discrepancy(),
    "discrepancy_resolutions": cases_payments.resolution(),
    "payment_rulings": cases_payments.ruling(),
    "ruling_confirmations": cases_payments.confirmed,
}


def test_rows_of_an_append_only_table_never_change(stage: Scene) -> None:
    query = "SELECT DISTINCT tgrelid::regclass::text AS name FROM pg_trigger WHERE tgname LIKE '%\\_append\\_only' ORDER BY 1"
    tables = [row["name"] for row in books.look(stage.world, query)]
    assert len(tables) >= 20
    said = {}
    for table in tables:
        with stage.cursor() as cursor:
            if table in MADE:
                MADE[table](cursor)
            for verb in (f"UPDATE {table} SET org_id = org_id WHERE org_id = %s", f"DELETE FROM {table} WHERE org_id = %s", "TRUNCATE"):
                said[table, verb.split()[0]] = _refusal(cursor, verb, table)
    assert said == {(table, verb): f"{table}_append_only" for table, verb in product(tables, ("UPDATE", "DELETE", "TRUNCATE"))}


def _refusal(cursor: scene.Cursor, statement: str, table: str) -> str | None:
    try:
        with cursor.connection.transaction(force_rollback=True):
            if statement == "TRUNCATE":
                cursor.run(f"TRUNCATE {table} CASCADE")
            else:
                cursor.run(statement, cursor.scene.org)
    except psycopg.Error as error:
        return db.rule_name(error)
    return None


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("a revocation is taken back", "DELETE FROM scope_states WHERE org_id = %s AND scope = 'mandate'"),
        ("all revocations are taken back", "TRUNCATE scope_states"),
        ("a rail's stop and epoch are forgotten", "DELETE FROM platform_states WHERE scope = 'rail'"),
        ("a mandate's use is forgotten", "DELETE FROM mandate_usages WHERE org_id = %s"),
        ("the heads are forgotten", "TRUNCATE ledger_heads"),
        ("payments are forgotten", "TRUNCATE payments CASCADE"),
        ("balances are forgotten", "TRUNCATE accounts CASCADE"),
        ("consents are forgotten", "TRUNCATE consents CASCADE"),
        ("looks into accounts are forgotten", "TRUNCATE consent_reads"),
        ("whom to tell is forgotten", "TRUNCATE webhook_endpoints CASCADE"),
    ],
)
def test_what_only_grows_is_not_removed_either(stage: Scene, what: str, statement: str) -> None:
    parameters = [stage.org] if "%s" in statement else []
    assert stage.refusal(lambda c: c.run(statement, *parameters)) is not None, what


def test_a_wallet_is_debited_under_a_mandate_of_its_own_agent_only(stage: Scene) -> None:
    """A transfer's mandate agrees with its wallet, as a hold's does."""
    assert stage.refusal(lambda c: c.transfer("capture", "wallet", "clearing", mandate_id=stage.rival_mandate)) is not None


def test_every_step_outside_the_transition_table_is_refused(stage: Scene) -> None:
    allowed = {(r["from_state"], r["to_state"]) for r in books.look(stage.world, "SELECT * FROM payment_transition_rules")}
    states = {state for pair in allowed for state in pair} | {"made_up"}
    refused = set()
    for pair in product(states, states):
        step = {"payment_id": stage.paid, "entry_id": stage.paid, "from_state": pair[0], "to_state": pair[1]}
        said = stage.refusal(lambda c, step=step: c.insert("payment_transitions", **step))
        assert said in (None, "payment_transitions_allowed")
        if said:
            refused.add(pair)
    assert refused == set(product(states, states)) - allowed


def test_a_step_leaves_its_row_and_names_its_record(stage: Scene) -> None:
    with stage.cursor() as cursor:
        payment = cursor.held()
        cursor.run("UPDATE payments SET status = 'canceled', due_at = NULL, entry_id = gen_random_uuid() WHERE id = %s", payment["id"])
        query = "SELECT from_state, to_state FROM payment_transitions WHERE payment_id = %s ORDER BY at"
        steps = [(row["from_state"], row["to_state"]) for row in cursor.run(query, payment["id"])]
    assert steps == [("new", "authorized"), ("authorized", "canceled")]


_REFERENCES = """
SELECT conrelid::regclass::text AS tab, conname AS name, confrelid::regclass::text AS target,
       ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k(n, i) JOIN pg_attribute ON attrelid = conrelid AND attnum = n ORDER BY i) AS columns,
       ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k(n, i) JOIN pg_attribute ON attrelid = confrelid AND attnum = n ORDER BY i) AS targets
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'codespar'::regnamespace
"""


def test_no_row_can_be_pointed_at_another_organisations_row(stage: Scene, stack: StackInfo) -> None:
    """Every reference between tenants' tables in turn: this organisation's row is pointed at a real row of another one."""
    other = scene.make(worlds.make(stack))
    tried = set()
    for found in books.look(stage.world, _REFERENCES):
        if "org_id" not in found["columns"] or found["target"] == "organisations":
            continue
        named = [(c, t) for c, t in zip(found["columns"], found["targets"], strict=True) if c != "org_id"]
        # Mode, currency and kind stay: the row pointed at differs in nothing but whose it is.
        pairs = [(c, t) for c, t in named if t == "id" or t.endswith("_id")] or named
        with stage.cursor() as cursor:
            whole = " AND ".join(f"{t} IS NOT NULL" for _, t in pairs)
            names = ", ".join(t for _, t in pairs)
            values = cursor.run(f"SELECT {names} FROM {found['target']} WHERE org_id = %s AND {whole} LIMIT 1", other.org)
            where = " AND ".join(f"{c} IS NOT NULL" for c, _ in pairs)
            mine = cursor.run(f"SELECT ctid FROM {found['tab']} WHERE org_id = %s AND {where} LIMIT 1", stage.org)
            if not values or not mine:
                continue
            # The rules on changing rows are out of the way: references alone must hold.
            cursor.run(f"ALTER TABLE {found['tab']} DISABLE TRIGGER USER")
            settings = ", ".join(f"{c} = %s" for c, _ in pairs)
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                cursor.run(f"UPDATE {found['tab']} SET {settings} WHERE ctid = %s", *values[0].values(), mine[0]["ctid"])
        tried.add(found["name"])
    assert {"holds_mandate", "holds_wallet", "transfers_debit", "payments_mandate", "payments_wallet", "payments_counterparty"} <= tried
    assert len(tried) >= 35


def test_every_rule_of_the_sql_files_is_attacked_or_explained(stage: Scene) -> None:
    text = "\n".join(path.read_text() for app in APPS for path in sorted((ROOT / app / "sql").glob("*.sql")))
    tables = set(re.findall(r"^CREATE TABLE (\w+)", text, re.M))
    rules = set(re.findall(r"CONSTRAINT (\w+)", text)) | set(re.findall(r"^CREATE (?:UNIQUE INDEX|TRIGGER) (\w+)", text, re.M))
    live = {row["name"] for row in books.look(stage.world, "SELECT conname AS name FROM pg_constraint WHERE contype <> 'n'")}
    live |= {row["name"] for row in books.look(stage.world, "SELECT tgname AS name FROM pg_trigger WHERE NOT tgisinternal")}
    live |= {row["name"] for row in books.look(stage.world, "SELECT relname AS name FROM pg_class WHERE relkind = 'i'")}
    rules -= {"rule"}
    assert rules <= live, "named in a file and not in the database"
    references = {row["name"] for row in books.look(stage.world, _REFERENCES)}
    keys = {f"{table}_pkey" for table in tables}
    explained = set(RULES) | set(STRUCTURAL) | references | keys
    assert sorted(rules - explained) == []
    assert set(STRUCTURAL) <= live


def test_every_attacked_rule_exists(stage: Scene) -> None:
    text = "\n".join(path.read_text() for path in sorted(ROOT.glob("*/sql/*.sql")) + sorted(ROOT.glob("codespar/*/sql/*.sql")))
    assert [rule for rule in RULES if not re.search(rf"\b{rule}\b", text) and not rule.endswith("_epoch_grows")] == []
    for place in set(RULES.values()):
        path, _, name = place.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(), place
