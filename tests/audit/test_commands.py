"""The other commands: what an organisation is told once, what the database promises, and secrets under a new master key."""

import base64
import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from codespar.audit.invariants import RULES
from codespar.launcher import testing
from codespar.launcher.testing import Copy

CODESPAR = str(Path(sys.executable).with_name("codespar"))


@pytest.fixture(scope="module")
def copy(worker_id: str) -> Copy:
    return testing.copy(f"{worker_id}_commands")


def run(copy: Copy, role: str, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CODESPAR, *argv], env=copy.env(role) | env, capture_output=True, text=True, check=False)


def create(copy: Copy, *changes: str, role: str = "control") -> subprocess.CompletedProcess[str]:
    argv = ("--name", "Acme", "--timezone", "America/Sao_Paulo", "--email", "ana@acme.example", "--owner-name", "Ana")
    return run(copy, role, "org", "create", *argv, *changes)


def execute(copy: Copy, statement: str, *parameters: Any) -> list[Any]:
    """As the superuser, in this copy."""
    with copy.cluster.postgres.connect(copy.name) as connection:
        connection.execute("SET search_path = codespar, pg_catalog")
        done = connection.execute(statement, parameters or None)
        return done.fetchall() if done.description else []


def test_a_new_organisation_is_told_its_tokens_and_its_pin(copy: Copy) -> None:
    done = create(copy)
    assert done.returncode == 0, done.stderr
    said = {line[:14].strip(): line[14:] for line in done.stdout.splitlines()}
    assert (
        said["organisation"].startswith("org_") and said["test token"].startswith("cs_test_") and said["live token"].startswith("cs_live_")
    )
    assert said["pin"].startswith(said["organisation"] + "=sha256:")
    assert run(copy, "auditor", "verify", "--org", said["organisation"], "--pin", said["pin"]).returncode == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [(("--timezone", "Mars/Base"), "IANA"), (("--email", "nobody"), "e-mail"), (("--name", ""), "name")],
)
def test_an_organisation_that_cannot_be_is_one_sentence(copy: Copy, changes: tuple[str, ...], said: str) -> None:
    done = create(copy, *changes)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_an_auditor_creates_nothing(copy: Copy) -> None:
    done = create(copy, role="auditor")
    assert (done.returncode, "CODESPAR_ROLE=control" in done.stderr) == (2, True)


def login(copy: Copy, file: Path, token: str, *argv: str, role: str = "control") -> subprocess.CompletedProcess[str]:
    file.write_text(f"{token}\n")
    return run(copy, role, "member", "login", "--token-file", str(file), *argv)


def logs_in(copy: Copy, told: dict[str, str]) -> bool:
    """Whether the console lets this log-in in, now."""
    argv = [sys.executable, "-c", LOG_IN, told["e-mail"], told["password"], told["otpauth"]]
    done = subprocess.run(argv, env=copy.env("control"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout == f"{told['member']}\n"


def test_an_owner_gets_a_log_in_and_the_next_one_ends_it(copy: Copy, tmp_path: Path) -> None:
    made = json.loads(create(copy, "--email", "log.in@acme.example", "--json").stdout)
    refused = login(copy, tmp_path / "token", made["test_token"])
    assert (refused.returncode, refused.stdout) == (2, "") and "live" in refused.stderr, refused.stderr
    first, second = (login(copy, tmp_path / "token", made["live_token"], "--json") for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    before, after = json.loads(first.stdout), json.loads(second.stdout)
    assert (before["member"], before["e-mail"]) == (made["owner"], "log.in@acme.example")
    assert before["password"] != after["password"] and before["otpauth"] != after["otpauth"]
    assert (logs_in(copy, before), logs_in(copy, after)) == (False, True)
    assert run(copy, "auditor", "verify", "--org", made["organisation"], "--pin", made["pin"]).returncode == 0


def test_an_owner_gives_another_member_a_log_in(copy: Copy, tmp_path: Path) -> None:
    made = json.loads(create(copy, "--email", "boss@acme.example", "--json").stdout)
    other = subprocess.run(
        [sys.executable, "-c", MEMBER, made["test_token"]], env=copy.env("control"), capture_output=True, text=True, check=False
    )
    mem, token = other.stdout.split()
    done = login(copy, tmp_path / "token", made["test_token"], "--member", mem)
    assert done.returncode == 0, done.stderr
    assert logs_in(copy, {line[:14].strip(): line[14:] for line in done.stdout.splitlines()} | {"member": mem})
    refused = login(copy, tmp_path / "token", token)
    assert (refused.returncode, refused.stdout) == (2, "") and "members:write" in refused.stderr, refused.stderr


def test_a_log_in_that_cannot_be_is_one_sentence(copy: Copy, tmp_path: Path) -> None:
    made = json.loads(create(copy, "--email", "nobody.else@acme.example", "--json").stdout)
    stranger = json.loads(create(copy, "--email", "stranger@acme.example", "--json").stdout)["owner"]
    file, token = tmp_path / "token", made["test_token"]
    for done, said in (
        (login(copy, file, "not a token"), "not an access token"),
        (login(copy, file, token, "--member", stranger), "no such open member"),
        (login(copy, file, token, "--member", "ana"), "of the form mem_"),
        (login(copy, file, token, role="auditor"), "CODESPAR_ROLE=control"),
        (run(copy, "control", "member", "login", "--token-file", str(tmp_path / "none")), "No such file"),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and done.stderr.count("\n") == 1 and token not in done.stderr, done.stderr


def test_every_promised_rule_is_live_and_every_named_rule_is_promised(copy: Copy) -> None:
    done = run(copy, "auditor", "invariants")
    assert (done.returncode, done.stderr) == (0, "")
    live = execute(
        copy,
        """
        SELECT c.relname, k.conname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
        WHERE k.connamespace = 'codespar'::regnamespace AND k.contype IN ('c', 'u', 'f') AND k.conname NOT LIKE '%\\_fkey'
          AND c.relname !~ '^(django|auth)_'
        UNION ALL SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'codespar'::regnamespace AND NOT t.tgisinternal""",
    )
    assert not set(live) - set(RULES)
    for (table, name), rule in RULES.items():
        assert table == rule.table and name in done.stdout and rule.promise in done.stdout


@pytest.mark.parametrize(
    ("off", "on", "name"),
    [
        (
            "ALTER TABLE transfers DISABLE TRIGGER transfers_append_only",
            "ALTER TABLE transfers ENABLE TRIGGER transfers_append_only",
            "transfers_append_only",
        ),
        (
            "ALTER TABLE holds DROP CONSTRAINT holds_amount",
            "ALTER TABLE holds ADD CONSTRAINT holds_amount CHECK (amount > 0)",
            "holds_amount",
        ),
        ("ALTER TABLE payments NO FORCE ROW LEVEL SECURITY", "ALTER TABLE payments FORCE ROW LEVEL SECURITY", "tenant"),
    ],
)
def test_a_rule_that_is_gone_or_off_is_named(copy: Copy, off: str, on: str, name: str) -> None:
    execute(copy, off)
    try:
        done = run(copy, "auditor", "invariants")
    finally:
        execute(copy, on)
    assert (done.returncode, done.stderr.startswith(name)) == (1, True), done.stderr


def test_grants_are_shown(copy: Copy) -> None:
    said = run(copy, "auditor", "invariants").stdout
    assert "codespar_rail: SELECT" in said and "authorise()" in said


def test_secrets_move_to_a_new_master_key_and_the_old_one_can_go(copy: Copy, tmp_path: Path) -> None:
    made = json.loads(create(copy, "--json").stdout)
    old = Path(copy.env("control")["CODESPAR_MASTER_KEY_FILE"]).read_text().strip()
    new = f"new:{base64.b64encode(secrets.token_bytes(32)).decode()}"
    both, only = tmp_path / "both", tmp_path / "only"
    both.write_text(f"{new}\n{old}\n")
    only.write_text(f"{new}\n")
    for file in (both, only):
        file.chmod(0o600)
    _device_and_account(copy, made)
    before = dict(execute(copy, "SELECT kid, public_jwk::text FROM private_keys"))

    stuck = run(copy, "control", "rewrap", CODESPAR_MASTER_KEY_FILE=str(only))
    assert (stuck.returncode, "is not loaded" in stuck.stderr) == (2, True)
    done = [run(copy, role, "rewrap", CODESPAR_MASTER_KEY_FILE=str(both)) for role in ("control", "rail")]
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    again = run(copy, "control", "rewrap", CODESPAR_MASTER_KEY_FILE=str(both))
    assert again.stdout.startswith("0 secrets")
    assert dict(execute(copy, "SELECT kid, public_jwk::text FROM private_keys")) == before

    opened = subprocess.run(
        [sys.executable, "-c", OPEN, made["organisation"]],
        env=copy.env("control") | {"CODESPAR_MASTER_KEY_FILE": str(only)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert opened.returncode == 0, opened.stderr
    for table in ("private_keys", "member_devices", "rail_accounts"):
        assert execute(copy, f"SELECT count(*) FROM {table} WHERE substr(sealed, 3, 3) <> 'new'")[0] == (0,)
        assert execute(copy, f"SELECT count(*) FROM {table}")[0][0] > 0
    # The rest of this module goes on with the old key.
    old_first = tmp_path / "old"
    old_first.write_text(f"{old}\n{new}\n")
    old_first.chmod(0o600)
    for role in ("control", "rail"):
        assert run(copy, role, "rewrap", CODESPAR_MASTER_KEY_FILE=str(old_first)).returncode == 0


LOG_IN = """
import base64, sys, time, urllib.parse, django
django.setup()
from django_otp.oath import TOTP
from codespar.identity.login import MemberBackend
from codespar.lib import ids
email, password, otpauth = sys.argv[1:]
secret = base64.b32decode(urllib.parse.parse_qs(urllib.parse.urlsplit(otpauth).query)["secret"][0])
found = MemberBackend().authenticate(None, username=email, password=password, otp=f"{TOTP(secret, 30).token():06d}")
print(ids.wire("mem", found.id) if found else "refused")
"""
MEMBER = """
import sys, datetime, django
django.setup()
from codespar.identity import actions, principals
from codespar.lib import clock, ids
owner = principals.authenticate(sys.argv[1], request_id=ids.wire("req", ids.new()))
member = actions.create_member(owner, email="finance@acme.example", name="Fin", roles=["finance"], now=clock.now())
until = clock.now() + datetime.timedelta(days=1)
wire = ids.wire("mem", member)
token = actions.create_token(owner, holder=wire, name="finance", scopes=["payments:read"], expires_at=until, now=clock.now())
print(wire, token.text)
"""
OPEN = """
import sys, django
django.setup()
from codespar.lib import ids
from codespar.vault import keys
org = ids.parse(sys.argv[1], "org")
keys.mandate_key(org)
assert len(keys.ledger_signer(org).sign(b"x")) == 64
"""
SECRETS = """
import sys, django
django.setup()
from codespar.identity import actions, principals
from codespar.lib import clock, ids
from rails.actions import connections
owner = principals.authenticate(sys.argv[1], request_id=ids.wire("req", ids.new()))
actions.set_login(owner, member=owner.member, password="a long pass phrase", now=clock.now())
connections.connect(owner, rail="sandbox", provider_account="acct-1", secrets={"api_key": "k", "webhook_secret": "whsec_c2VjcmV0"})
"""


def _device_and_account(copy: Copy, made: dict[str, str]) -> None:
    argv = [sys.executable, "-c", SECRETS, made["live_token"]]
    done = subprocess.run(argv, env=copy.env("control"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_agents_process_rewraps_nothing(copy: Copy) -> None:
    assert run(copy, "agent", "rewrap").returncode == 2
    with psycopg.connect(copy.dsn("agent")) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT secret_rewrap(gen_random_uuid(), 'private_keys', gen_random_uuid(), '', '')")
