"""`codespar verify` on a database in which everything has happened, and then somebody with all rights changes one thing."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from codespar.lib import clock, ids
from tests.support.sealing import sealed
from tests.support.world import World, later, raw_id

CODESPAR = str(Path(sys.executable).with_name("codespar"))
# One process answers all questions: starting one for each takes longer than everything else.
AUDITOR = """
import json, sys
import django
django.setup()
from django.conf import settings
from codespar.audit import verify
from codespar.lib import ids
for line in sys.stdin:
    org, pin = line.split()
    org = ids.parse(org, "org")
    report = verify.verify_org(org, pins={org: pin}, checkpoint_dir=settings.CONFIG.checkpoint_dir)
    print(json.dumps(report.as_dict()), flush=True)
"""


@pytest.fixture(scope="module")
def told(shared_world: World) -> World:
    """An organisation to which everything has happened, and whose whole chain is sealed outside the database."""
    world, owner = shared_world, shared_world.people()
    endpoint = owner.post("/v1/webhook-endpoints", {"url": "https://hooks.invalid/in"})["id"]
    owner._http.patch(f"/v1/webhook-endpoints/{endpoint}", json={"disabled": True, "types": ["scope.stopped"]}).raise_for_status()
    settled = [world.pay(amount).json()["id"] for amount in (1050, 2000, 3000)]
    for payment in settled:
        assert world.settled(payment)["status"] == "settled"
    assert world.pay(10**11).status_code == 403
    for payment, amount in ((settled[1], 2000), (settled[2], 500)):
        owner.post(f"/v1/payments/{payment}/refund", {"amount": {"amount": amount, "currency": "BRL"}})
    world.set_policy(
        {"id": "all", "effect": "allow"},
        {"id": "cap", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 10**12},
        {"id": "ask", "effect": "approval", "when": {"amount_over": {"amount": 100, "currency": "BRL"}}},
        {"id": "abroad", "effect": "deny", "when": {"countries": ["KP", "IR"]}},
        {"id": "night", "effect": "deny", "when": {"time": [{"from": "03:00", "to": "03:01"}], "purposes": ["night"]}},
        {"id": "them", "effect": "deny", "when": {"counterparties": [world.new_counterparty(), world.new_counterparty()]}},
        {"id": "what", "effect": "deny", "when": {"categories": ["gambling"], "rails": ["other"], "currencies": ["USD", "EUR"]}},
        {"id": "each", "effect": "limit", "window": "week", "currency": "BRL", "max_count": 10**6, "per": ["rail", "agent"]},
        {"id": "twice", "effect": "fingerprint", "seconds": 1},
    )
    waiting = [world.pay(amount).json()["id"] for amount in (4000, 5000, 6000)]
    owner.post(f"/v1/payments/{waiting[0]}/approve")
    owner.post(f"/v1/payments/{waiting[1]}/deny", {"reason": "not ours"})
    world.api.post(f"/v1/payments/{waiting[2]}/cancel")
    assert world.settled(waiting[0])["status"] == "settled"
    owner.post(f"/v1/mandates/{world.new_mandate(budget=7000, max_uses=3)}/revoke", {"reason": "over"})
    owner.post(f"/v1/mandates/{world.new_mandate()}/pause")
    owner.post("/v1/revocations", {"scope": "agent", "id": world.new_agent()[0], "reason": "over"})
    world.lift(world.stop("agent", world.agent))
    world.stop("counterparty", world.new_counterparty())
    world.new_mandate(
        profile="extended",
        purposes=["hosting", "energy"],
        counterparties=[world.counterparty],
        countries=["BR", "PT"],
        categories=["hosting"],
        rails=["sandbox"],
        time_windows=[{"from": "08:00", "to": "20:00"}],
        not_before=later(hours=1),
    )
    owner.post(f"/v1/counterparties/{world.new_counterparty()}/retire", {"from_version": 1})
    member = owner.post("/v1/members", {"email": "fin@x.example", "name": "Fin", "roles": ["finance"]})["id"]
    log_in(world, member)
    world.settled(settled[1], among=("settled", "reversing"))
    sealed(world)
    return world


def log_in(world: World, member: str) -> None:
    """Give the member a password, as the owner."""
    from codespar.identity import actions, principals

    owner = principals.authenticate(world.tokens["owner"], request_id=ids.wire("req", ids.new()))
    actions.set_login(owner, member=raw_id(member), password="a long pass phrase", now=clock.now())


@pytest.fixture(scope="module")
def auditor(told: World) -> Iterator[Any]:
    """Verifies the organisation and returns the report, as the auditor's role."""
    argv = [sys.executable, "-c", AUDITOR]
    with subprocess.Popen(argv, env=told.info.env("auditor"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(pin: str = told.pin) -> dict[str, Any]:
            print(told.org, pin, file=process.stdin, flush=True)
            return dict(json.loads(process.stdout.readline()))

        yield ask
        process.stdin.close()


@contextmanager
def superuser(world: World) -> Iterator[psycopg.Connection[Any]]:
    """Somebody whom no trigger, constraint of another table or row security stops."""
    with world.info.cluster.postgres.connect(world.info.database) as connection:
        connection.execute("SET search_path = codespar, pg_catalog")
        connection.execute("SET session_replication_role = replica")
        yield connection


@contextmanager
def tampered(world: World, *statements: str) -> Iterator[None]:
    """The statements run with `:org` for the organisation, and every table is put back afterwards."""
    with superuser(world) as connection:
        connection.execute("CREATE TEMP TABLE kept (name text, rows jsonb)")
        names = "SELECT tablename FROM pg_tables WHERE schemaname = 'codespar'"
        columns = "SELECT 1 FROM information_schema.columns WHERE table_schema = 'codespar' AND table_name = %s AND column_name = 'org_id'"
        tables = [name for (name,) in connection.execute(names).fetchall() if connection.execute(columns, [name]).fetchone()]
        org = raw_id(world.org)
        for name in tables:
            connection.execute(f"CREATE TEMP TABLE kept_{name} AS SELECT * FROM {name} WHERE org_id = %s", [org])
        try:
            for statement in statements:
                changed = connection.execute(statement.replace(":org", f"'{org}'::uuid")).rowcount
                assert changed > 0, f"this changed nothing: {statement}"
            yield
        finally:
            for name in tables:
                connection.execute(f"DELETE FROM {name} WHERE org_id = %s", [org])
                connection.execute(f"INSERT INTO {name} SELECT * FROM kept_{name}")


def cli(world: World, *argv: str, role: str = "auditor", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CODESPAR, *argv], env=world.info.env(role) | env, capture_output=True, text=True, check=False)


def test_everything_that_happened_is_verified(told: World, auditor: Any) -> None:
    found = auditor()
    assert (found["status"], found["problems"], found["books"]) == ("verified", [], "checked")
    head = told.rows("SELECT seq, encode(hash, 'hex') AS hash FROM ledger_heads")[0]
    assert found["head"] == head
    assert found["count"] == found["checkpoints"]["outside"]["size"] == head["seq"]


def test_the_story_has_every_row_that_the_checks_are_about(told: World) -> None:
    states = {row["status"] for row in told.rows("SELECT DISTINCT status FROM payments")}
    assert states >= {"settled", "reversed", "denied", "canceled"}
    assert told.rows("SELECT FROM refunds") and told.rows("SELECT FROM counters") and told.rows("SELECT FROM approval_votes")


def test_another_pin_is_untrusted(told: World, auditor: Any) -> None:
    found = auditor("sha256:" + "0" * 64)
    assert (found["status"], [p["code"] for p in found["problems"]]) == ("untrusted", ["unknown_key"])


def test_every_list_of_a_mandate_and_a_rule_stands_in_the_story(told: World) -> None:
    for table, columns in (("mandates", MANDATE_LISTS), ("policy_rules", (*RULE_LISTS, "currencies"))):
        for column in columns:
            assert told.rows(f"SELECT FROM {table} WHERE {column} IS NOT NULL"), f"{table}.{column}"


MANDATE_LISTS = ("purposes", "counterparties", "countries", "categories", "rails", "time_windows", "not_before")
RULE_LISTS = ("purposes", "counterparties", "countries", "categories", "rails", "time_windows")
LAST = "(SELECT max(seq) FROM ledger_entries WHERE org_id = :org)"
CHAIN = {
    "edited content": ("UPDATE ledger_entries SET content = overlay(content PLACING '\\x41' FROM 200) WHERE org_id = :org AND seq = 9", 9),
    "deleted": ("DELETE FROM ledger_entries WHERE org_id = :org AND seq = 9", 9),
    "one bit of a signature": ("UPDATE ledger_entries SET sig = set_bit(sig, 1, 1 - get_bit(sig, 1)) WHERE org_id = :org AND seq = 9", 9),
    "another kind": ("UPDATE ledger_entries SET kind = 'member.closed' WHERE org_id = :org AND seq = 9", 9),
    "another time": ("UPDATE ledger_entries SET at = at - interval '1 microsecond' WHERE org_id = :org AND seq = 9", 9),
    "another leaf": (
        "UPDATE ledger_entries SET leaf = leaf || '\\x20', "
        "hash = sha256('\\x00'::bytea || leaf || '\\x20'::bytea) WHERE org_id = :org AND seq = 9",
        9,
    ),
}


@pytest.mark.parametrize("name", CHAIN)
def test_a_changed_entry_is_named(told: World, auditor: Any, name: str) -> None:
    statement, seq = CHAIN[name]
    with tampered(told, statement):
        found = auditor()
    assert (found["status"], found["first_bad_seq"]) == ("tampered", seq), found["problems"]
    assert auditor()["status"] == "verified"


def test_swapped_entries_are_named(told: World, auditor: Any) -> None:
    move = "UPDATE ledger_entries SET seq = {} WHERE org_id = :org AND seq = {}"
    with tampered(told, move.format(10**6, 5), move.format(5, 6), move.format(6, 10**6)):
        found = auditor()
    assert (found["status"], found["first_bad_seq"]) == ("tampered", 5)


def test_a_deleted_tail_is_found_though_head_and_checkpoints_went_with_it(told: World, auditor: Any) -> None:
    """Without the checkpoints outside, the chain itself would be as whole as ever."""
    with tampered(
        told,
        f"DELETE FROM ledger_checkpoints WHERE org_id = :org AND size >= {LAST} - 1",
        f"DELETE FROM ledger_entries WHERE org_id = :org AND seq >= {LAST} - 1",
        f"UPDATE ledger_heads SET seq = {LAST}, hash = (SELECT hash FROM ledger_entries WHERE org_id = :org ORDER BY seq DESC LIMIT 1) "
        "WHERE org_id = :org",
    ):
        found = auditor()
    assert found["status"] == "tampered"
    assert {"seq": found["count"] + 1, "code": "tail_deleted"}.items() <= found["problems"][-1].items(), found["problems"]


def test_a_deleted_organisation_is_found(told: World) -> None:
    with tampered(
        told, *(f"DELETE FROM {table} WHERE org_id = :org" for table in ("ledger_checkpoints", "ledger_entries", "ledger_heads"))
    ):
        found = json.loads(cli(told, "verify", "--json", "--pin", f"{told.org}={told.pin}").stdout)
    mine = next(report for report in found["organisations"] if report["org"] == told.org)
    assert (mine["status"], mine["first_bad_seq"]) == ("tampered", 1)


BOOKS = {
    "a balance": ("UPDATE accounts SET available = available + 1 WHERE org_id = :org AND kind = 'wallet'", "balance"),
    "the main balance": ("UPDATE accounts SET available = available - 1 WHERE org_id = :org AND kind = 'main'", "balance"),
    "a held sum": ("UPDATE accounts SET held = held + 1 WHERE org_id = :org AND kind = 'wallet'", "balance"),
    "spent money": ("UPDATE mandate_usages SET spent = spent - 1 WHERE org_id = :org AND spent > 0", "mandate_usage"),
    "uses": ("UPDATE mandate_usages SET uses = 0 WHERE org_id = :org AND uses > 0", "mandate_usage"),
    "a usage row": ("DELETE FROM mandate_usages WHERE org_id = :org AND uses > 0", "mandate_usage"),
    "a raised cap": ("UPDATE mandates SET max_amount = max_amount + 1 WHERE org_id = :org", "mandate"),
    "a raised budget": ("UPDATE mandates SET budget = 10 ^ 9 WHERE org_id = :org AND budget IS NOT NULL", "mandate"),
    "a longer life": ("UPDATE mandates SET expires_at = expires_at + interval '1 day' WHERE org_id = :org", "mandate"),
    "a revocation undone": ("UPDATE scope_states SET epoch = 0 WHERE org_id = :org AND scope = 'mandate'", "revocation"),
    "a revocation of everything undone": ("UPDATE scope_states SET epoch = 0 WHERE org_id = :org AND scope = 'agent'", "revocation"),
    "another receipt": ("UPDATE revocations SET receipt = receipt || 'x' WHERE org_id = :org", "revocation_row"),
    "another receiver of alerts": ("UPDATE webhook_endpoints SET url = 'https://eve.example/' WHERE org_id = :org", "webhook_endpoint"),
    "fewer alerts": ("UPDATE webhook_endpoints SET types = '{scope.lifted}' WHERE org_id = :org", "webhook_endpoint"),
    "a stop undone": ("UPDATE scope_states SET stopped = false WHERE org_id = :org AND stopped", "stop_flag"),
    "another stop": ("UPDATE stops SET initiator = 'mem_' || repeat('0', 32) WHERE org_id = :org", "stop_row"),
    "a stop deleted": ("DELETE FROM stops WHERE org_id = :org", "row_missing"),
    "a lift made up": (
        "INSERT INTO stop_lifts (org_id, stop_id, initiator, lifted_by, reason_commit, at, entry_id) SELECT s.org_id, s.id, s.initiator, 'mem_x', 'x', now(), s.entry_id "
        "FROM stops s WHERE s.org_id = :org AND NOT EXISTS (SELECT FROM stop_lifts l WHERE l.stop_id = s.id)",
        "stop_lift",
    ),
    "a lift by another": ("UPDATE stop_lifts SET lifted_by = 'mem_' || repeat('0', 32) WHERE org_id = :org", "stop_lift"),
    "a revocation deleted": ("DELETE FROM revocations WHERE org_id = :org", "row_missing"),
    "a pause lifted": ("UPDATE mandate_usages SET paused = false WHERE org_id = :org AND paused", "mandate_paused"),
    "a smaller hold": ("UPDATE holds SET amount = amount - 1 WHERE org_id = :org", "hold"),
    "a deleted hold": ("DELETE FROM holds WHERE org_id = :org", "row_missing"),
    "a smaller transfer": ("UPDATE transfers SET amount = amount - 1 WHERE org_id = :org AND kind = 'capture'", "transfer"),
    "a larger refund": ("UPDATE transfers SET amount = amount + 1 WHERE org_id = :org AND kind = 'refund'", "transfer"),
    "a larger deposit": ("UPDATE transfers SET amount = amount + 1 WHERE org_id = :org AND kind = 'deposit'", "transfer"),
    "another wallet": ("UPDATE transfers SET credit_id = gen_random_uuid() WHERE org_id = :org AND kind = 'fund'", "transfer"),
    "a deleted transfer": ("DELETE FROM transfers WHERE org_id = :org AND kind = 'fund'", "row_missing"),
    "an invented transfer": (
        "INSERT INTO transfers (org_id, id, kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, entry_id) "
        "SELECT org_id, gen_random_uuid(), kind, debit_id, debit_kind, credit_id, credit_kind, livemode, currency, amount, entry_id FROM transfers WHERE org_id = :org AND kind = 'deposit'",
        "row_unnamed",
    ),
    "a row without a record": ("UPDATE projects SET entry_id = gen_random_uuid() WHERE org_id = :org", "row_unrecorded"),
    "another amount": ("UPDATE payments SET amount = amount + 1 WHERE org_id = :org", "payment"),
    "another state": ("UPDATE payments SET status = 'expired' WHERE org_id = :org AND status = 'canceled'", "payment_state"),
    "another capture": (
        "UPDATE payments SET captured = captured - 1 WHERE org_id = :org AND captured > refunded + refunding",
        "payment_sums",
    ),
    "another refund": ("UPDATE payments SET refunded = 0 WHERE org_id = :org AND refunded > 0", "payment_sums"),
    "a smaller refund": ("UPDATE refunds SET amount = amount - 1 WHERE org_id = :org", "refund"),
    "a deleted step": ("DELETE FROM payment_transitions WHERE org_id = :org AND to_state = 'submitted'", "transition"),
    "an invented step": (
        "INSERT INTO payment_transitions SELECT org_id, payment_id, (SELECT id FROM ledger_entries WHERE org_id = :org AND seq = 1), "
        "'settled', 'reversing', at FROM payment_transitions WHERE org_id = :org AND to_state = 'settled'",
        "transition",
    ),
    "an undone resolution": ("DELETE FROM hold_resolutions WHERE org_id = :org AND captured > 0", "hold_end"),
    "a smaller counter": ("UPDATE counters SET amount = 0 WHERE org_id = :org AND amount > 0", "counter"),
    "a deleted opening": ("DELETE FROM ledger_openings WHERE org_id = :org", "opening_missing"),
    "another reason": (
        "UPDATE ledger_openings SET value = value || '\\x20', commit = sha256(salt || value || '\\x20'::bytea) WHERE org_id = :org",
        "opening",
    ),
    "another policy": (
        "UPDATE policy_versions SET document = jsonb_set(document, '{rules,0,id}', '\"x\"') WHERE org_id = :org",
        "policy_version",
    ),
    "a raised limit": ("UPDATE policy_rules SET max_amount = 10 ^ 15 WHERE org_id = :org AND max_amount IS NOT NULL", "policy_rule"),
    "a deleted rule": ("DELETE FROM policy_rules WHERE org_id = :org AND effect = 'approval'", "policy_rule"),
    "an old policy": ("UPDATE policy_activations SET version = 1 WHERE org_id = :org AND version = 2", "policy_activation"),
    "another payee": (
        "UPDATE counterparty_versions SET document = jsonb_set(document, '{accounts,0,value}', '\"m@x.example\"') WHERE org_id = :org",
        "counterparty",
    ),
    "a counterparty back": ("UPDATE counterparties SET status = 'confirmed' WHERE org_id = :org AND status = 'retired'", "counterparty"),
    "more roles": ("UPDATE members SET roles = '{owner}' WHERE org_id = :org AND roles = '{finance}'", "member"),
    "more scopes": (
        "UPDATE access_tokens SET scopes = scopes || '{wallets:fund}' WHERE org_id = :org AND agent_id IS NOT NULL",
        "access_token",
    ),
    "a longer token": ("UPDATE access_tokens SET expires_at = expires_at + interval '1 day' WHERE org_id = :org", "access_token"),
    "another key": (
        "UPDATE private_keys SET public_jwk = public_jwk || '{\"x\": \"AAAA\"}' WHERE org_id = :org AND purpose = 'mandate'",
        "key_row",
    ),
    "a deleted decision": ("DELETE FROM decisions WHERE org_id = :org", "row_missing"),
    "a deleted attempt": ("DELETE FROM attempts WHERE org_id = :org", "row_missing"),
    **{
        f"a mandate without its {column}": (f"UPDATE mandates SET {column} = NULL WHERE org_id = :org AND {column} IS NOT NULL", "mandate")
        for column in MANDATE_LISTS
    },
    "a payee more": (
        "UPDATE mandates SET counterparties = counterparties || gen_random_uuid() WHERE org_id = :org AND counterparties IS NOT NULL",
        "mandate",
    ),
    "a list where there was none": ("UPDATE mandates SET rails = '{sandbox}' WHERE org_id = :org AND rails IS NULL", "mandate"),
    "another profile": ("UPDATE mandates SET profile = 'pure' WHERE org_id = :org AND profile = 'extended'", "mandate"),
    "another project": ("UPDATE mandates SET project_id = gen_random_uuid() WHERE org_id = :org", "mandate"),
    "epochs ahead": ("UPDATE mandates SET epochs = jsonb_set(epochs, '{agent}', '1') WHERE org_id = :org", "mandate_epochs"),
    "an epoch less": ("UPDATE mandates SET epochs = epochs - 'platform' WHERE org_id = :org", "mandate_epochs"),
    **{
        f"a rule without its {column}": (
            f"UPDATE policy_rules SET {column} = NULL WHERE org_id = :org AND {column} IS NOT NULL",
            "policy_rule",
        )
        for column in (*RULE_LISTS, "currencies")
    },
    "a rule with fewer countries": (
        "UPDATE policy_rules SET countries = '{IR}' WHERE org_id = :org AND countries IS NOT NULL",
        "policy_rule",
    ),
    "a threshold in another currency": (
        "UPDATE policy_rules SET currency = 'USD' WHERE org_id = :org AND effect = 'approval'",
        "policy_rule",
    ),
    "a longer memory": ("UPDATE policy_rules SET seconds = seconds + 1 WHERE org_id = :org AND seconds IS NOT NULL", "policy_rule"),
    "a rule for nobody": ("UPDATE policy_rules SET counterparties = '{}' WHERE org_id = :org AND effect = 'deny'", "policy_rule"),
    "another count": ("UPDATE policy_rules SET per = '{agent}' WHERE org_id = :org AND per <> '{}'", "policy_rule"),
    "unknown categories": ("UPDATE policy_rules SET unknown_category = true WHERE org_id = :org", "policy_rule"),
    "a policy of another scope": ("UPDATE policies SET scope = 'agent', scope_id = gen_random_uuid() WHERE org_id = :org", "policy"),
    "a policy of the other mode": ("UPDATE policies SET livemode = NOT livemode WHERE org_id = :org", "policy"),
    "policies in another order": (
        "UPDATE policy_activations SET epoch = 10 WHERE org_id = :org AND epoch = 1",
        "policy_activation",
    ),
    "a limit that is not counted": ("DELETE FROM counter_selectors WHERE org_id = :org AND window_kind = 'week'", "counter_selector"),
    "a fingerprint that is not taken": ("DELETE FROM counter_selectors WHERE org_id = :org AND window_kind = 'same'", "counter_selector"),
    "an old payee": (
        "UPDATE counterparties SET version = 2 WHERE org_id = :org AND status = 'confirmed'",
        "counterparty",
    ),
    "another agent key": ('UPDATE agents SET public_jwk = public_jwk || \'{"x": "AAAA"}\' WHERE org_id = :org', "agent"),
    "another password": ("UPDATE members SET password = 'x' WHERE org_id = :org AND roles = '{finance}'", "login"),
    "a password where there was none": ("UPDATE members SET password = 'x' WHERE org_id = :org AND roles = '{owner}'", "login"),
    "a live token": ("UPDATE access_tokens SET livemode = true WHERE org_id = :org AND agent_id IS NOT NULL", "access_token"),
    "another time to send": ("UPDATE attempts SET send_by = send_by - interval '1 second' WHERE org_id = :org", "attempt"),
    "another worker": ("UPDATE attempts SET worker = 'nobody' WHERE org_id = :org AND refund_id IS NULL", "attempt"),
    "another refund worker": ("UPDATE attempts SET worker = 'nobody' WHERE org_id = :org AND refund_id IS NOT NULL", "attempt"),
    "another rail key": ("UPDATE payments SET rail_key = sha256(rail_key) WHERE org_id = :org AND status = 'settled'", "attempt"),
    "another result": ("UPDATE attempt_results SET result = 'unknown' WHERE org_id = :org", "attempt_result"),
    "a proof": ("UPDATE attempt_results SET proof = 'rejected' WHERE org_id = :org AND proof IS NULL", "attempt_result"),
    "another provider's id": ("UPDATE attempt_results SET provider_id = 'x' WHERE org_id = :org", "attempt_result"),
    "another outcome": ("UPDATE decisions SET outcome = 'allow', code = NULL WHERE org_id = :org AND outcome = 'deny'", "decision"),
    "another code": ("UPDATE decisions SET code = 'other' WHERE org_id = :org AND code IS NOT NULL", "decision"),
    "another layer": ("UPDATE decisions SET layer = 'wallet' WHERE org_id = :org AND layer IS NOT NULL", "decision"),
    "another reason of a decision": ("UPDATE decisions SET reasons = '[]' WHERE org_id = :org", "decision"),
    "another voter": (
        "UPDATE approval_votes SET member_id = gen_random_uuid() WHERE org_id = :org AND verdict = 'approved'",
        "approval_vote",
    ),
    "another verdict": ("UPDATE approval_votes SET verdict = 'approved' WHERE org_id = :org AND verdict = 'denied'", "approval_vote"),
    "a deleted vote": ("DELETE FROM approval_votes WHERE org_id = :org", "approval_vote"),
    "a hold that counts nothing": ("UPDATE holds SET counters = '[]' WHERE org_id = :org AND counters <> '[]'", "hold_counters"),
    "a hold that counts once": ("UPDATE holds SET counters = counters - 0 WHERE org_id = :org AND counters <> '[]'", "hold_counters"),
    "a hold that counted last year": (
        "UPDATE holds SET counters = jsonb_set(counters, '{0,3}', '\"2001-01-01\"') WHERE org_id = :org AND counters <> '[]'",
        "hold_counters",
    ),
    "a settled refund": ("UPDATE refunds SET status = 'failed' WHERE org_id = :org AND status = 'settled'", "refund_state"),
    "another presentation": ("UPDATE payments SET presentation = id::text WHERE org_id = :org AND status = 'settled'", "payment"),
    "a checkpoint in the database": ("UPDATE ledger_checkpoints SET root = sha256(root) WHERE org_id = :org", "checkpoint_root"),
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_row_that_its_records_do_not_make_is_found(told: World, auditor: Any, name: str) -> None:
    statement, code = BOOKS[name]
    with tampered(told, statement):
        found = auditor()
    assert found["status"] == "tampered"
    assert code in {problem["code"] for problem in found["problems"]}, found["problems"]


def test_everything_was_put_back(auditor: Any) -> None:
    assert auditor()["status"] == "verified"


def test_exit_status_and_words_of_the_command(told: World) -> None:
    pinned = ("verify", "--org", told.org, "--pin", f"{told.org}={told.pin}")
    clean = cli(told, *pinned)
    head = told.rows("SELECT seq, encode(hash, 'hex') AS hash FROM ledger_heads")[0]
    assert (clean.returncode, clean.stderr) == (0, "")
    for said in (
        "verified",
        f"entries      {head['seq']}",
        f"{head['seq']} {head['hash']}",
        "outside the database",
        "books        checked",
    ):
        assert said in clean.stdout
    assert cli(told, "verify", "--org", told.org).returncode == 2
    with tampered(told, "UPDATE ledger_entries SET sig = set_bit(sig, 1, 1 - get_bit(sig, 1)) WHERE org_id = :org AND seq = 9"):
        broken = cli(told, *pinned)
    assert broken.returncode == 1
    assert "first bad    9" in broken.stdout and "signature" in broken.stdout


def test_pins_may_come_from_a_file(told: World, tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    file.write_text(json.dumps({told.org: told.pin}))
    found = cli(told, "verify", "--org", told.org, "--pins", str(file), "--json")
    assert (found.returncode, json.loads(found.stdout)["status"]) == (0, "verified")


def test_a_sealed_chain_without_its_checkpoints_is_not_verified(told: World, tmp_path: Path) -> None:
    found = cli(told, "verify", "--org", told.org, "--pin", f"{told.org}={told.pin}", "--checkpoints", str(tmp_path))
    assert (found.returncode, "unavailable" in found.stdout) == (2, True)


@pytest.mark.parametrize(
    ("stop", "undone", "code"),
    [
        (lambda world: world.stop("agent", world.agent), "stopped = false", "hold_after_stop"),
        (
            lambda world: world.people().post("/v1/revocations", {"scope": "agent", "id": world.agent, "reason": "over"}),
            "epoch = 0",
            "hold_after_revocation",
        ),
    ],
)
def test_a_hold_behind_a_stop_or_a_revocation_is_found(world: World, stop: Any, undone: str, code: str) -> None:
    """Somebody with every right in the database takes the row back for a moment: the records still say what was stopped."""
    assert world.settled(world.pay(10).json()["id"])["status"] == "settled"
    stop(world)
    assert world.pay(10).status_code == 403
    with superuser(world) as connection:
        rows = "FROM scope_states WHERE org_id = %s AND scope = 'agent'"
        kept = connection.execute(f"SELECT stopped, epoch {rows}", [raw_id(world.org)]).fetchone()
        connection.execute(f"UPDATE scope_states SET {undone} WHERE org_id = %s AND scope = 'agent'", [raw_id(world.org)])
        paid = world.settled(world.pay(10).json()["id"])
        assert paid["status"] == "settled", paid
        connection.execute(
            "UPDATE scope_states SET stopped = %s, epoch = %s WHERE org_id = %s AND scope = 'agent'", [*(kept or ()), raw_id(world.org)]
        )
    done = cli(world, "verify", "--org", world.org, "--pin", f"{world.org}={world.pin}", "--json")
    found = json.loads(done.stdout)["organisations"][0]
    said = [problem for problem in found["problems"] if problem["code"] == code]
    assert len(said) == 1 and paid["id"] in said[0]["detail"], done.stdout


# What every role but the auditor's needs.
ENGINES = {"CODESPAR_REDIS_URL": "redis://127.0.0.1:1/0", "CODESPAR_SECRET_KEY": "x" * 32}


@pytest.mark.parametrize(
    ("argv", "env", "said"),
    [
        (["--org", "nobody"], {}, "is not an organisation's id"),
        (["--pin", "org_1=md5:1"], {}, "64 lowercase hex digits"),
        (["--pin", "sha256:1"], {}, "does not say whose it is"),
        (["--pins", "/nowhere.json"], {}, "is not a JSON file"),
        (["--checkpoints", "/nowhere"], {}, "There is no folder"),
        ([], {"CODESPAR_ROLE": "control", **ENGINES}, "CODESPAR_ROLE=auditor"),
        ([], {"CODESPAR_DATABASE_URL": "postgresql://codespar_auditor:x@127.0.0.1:1/x"}, "did not answer"),
        ([], {"CODESPAR_DEPLOYMENT": ""}, "CODESPAR_DEPLOYMENT"),
    ],
)
def test_what_cannot_be_verified_is_one_sentence(told: World, argv: list[str], env: dict[str, str], said: str) -> None:
    found = cli(told, "verify", *argv, **env)
    assert found.returncode == 2
    assert said in found.stderr and found.stderr.count("\n") == 1, found.stderr
    assert "Traceback" not in found.stderr
