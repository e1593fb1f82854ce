"""No setting turns a rule off, an odd one stops the start with a sentence, and a role that is too strong stops the process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import psycopg
import pytest

from codespar.config import Config
from codespar.launcher.cluster import PROJECT
from codespar.launcher.stack import StackInfo
from tests.failclosed.conftest import Doubtful
from tests.support import books, processes
from tests.support.world import World, later

START = "import codespar.settings"
CONNECT = "import django; django.setup(); from django.db import connection; connection.cursor().execute('SELECT 1'); print('serves')"
REQUIRED = {"CODESPAR_ROLE", "CODESPAR_DATABASE_URL", "CODESPAR_REDIS_URL", "CODESPAR_DEPLOYMENT", "CODESPAR_SECRET_KEY"}
ODD = {
    "CODESPAR_ROLE": ["", "superuser", "Agent", "agent,owner"],
    "CODESPAR_SERVICE": ["", "admin", "api,console"],
    "CODESPAR_DATABASE_URL": [
        "",
        "mysql://a:b@localhost/x",
        "postgresql://localhost/x",
        "postgresql://a@localhost",
        "postgresql://a:b@h:port/x",
        "postgresql://a:b@h/x#sslmode=require",
        "postgresql://a:b@h/x?sslmode=verify-ful",
        "postgresql://a:b@h/x?sslmode",
        "postgresql://a:b@h/x?sslmode=require&sslmode=disable",
        "postgresql://a:b@h/x?sslmode=require&connect_timeout=1",
        "postgresql://a:b@h/x?sslrootcert=",
    ],
    "CODESPAR_REDIS_URL": ["", "http://localhost", "localhost:6379", "redis://:password@host:port/0"],
    "CODESPAR_DEPLOYMENT": ["", "Demo", "a b", "-a", "a" * 63],
    "CODESPAR_SECRET_KEY": ["", "short"],
    "CODESPAR_WAIT_SECONDS": ["", "soon", "-1", "nan", "inf", "1e9"],
    "CODESPAR_RAIL_SECONDS": ["", "x", "0", "-1", "nan", "inf"],
    "CODESPAR_LAG_SECONDS": ["", "x", "59", "-1", "86401", "1.5"],
    "CODESPAR_WEBHOOK_SECONDS": ["", "x", "0", "-1", "nan", "inf"],
    "CODESPAR_RECONCILE_SECONDS": ["", "x", "0", "-1", "61", "1.5"],
    "CODESPAR_BREAKER_SECONDS": ["", "x", "0", "-1", "nan", "inf"],
    "CODESPAR_SEND_SECONDS": ["", "x", "0", "-1", "nan", "inf"],
    "CODESPAR_POOL_SIZE": ["", "x", "0", "-1", "1.5"],
    "CODESPAR_REQUESTS_PER_MINUTE": ["", "x", "0", "-1", "1.5"],
    "CODESPAR_BASE_URL": ["", "here"],
    "CODESPAR_CONSOLE_URL": ["", "here"],
    "CODESPAR_RAIL_URLS": [
        "",
        "here",
        "[]",
        '{"sandbox": 1}',
        '{"Sand box": "https://bank.example"}',
        '{"sandbox": "here"}',
        '{"sandbox": "http://bank:8002"}',
        '{"sandbox": "http://192.0.2.1:8002"}',
        '{"sandbox": "https://name@bank.example"}',
        '{"sandbox": "https://bank.example?x=1"}',
        '{"wire": "file://bank/drop"}',
        '{"wire": "file:drop"}',
        '{"wire": "file:///"}',
        '{"wire": "file:///srv/../etc"}',
        '{"wire": "file:///srv/%2e%2e/etc"}',
        '{"wire": "file:///srv/drop?x=1"}',
        '{"wire": "file:///srv/drop#x"}',
    ],
}
# A path is right whatever it says; whether a key is there is looked at when one is needed (test_keys_and_clock).
FREE = {"CODESPAR_MASTER_KEY_FILE", "CODESPAR_MASTER_KEY", "CODESPAR_CHECKPOINT_DIR"}


def run(info: StackInfo, program: str, without: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    whole = {name: value for name, value in (info.env("agent") | env).items() if name != without}
    return subprocess.run([sys.executable, "-c", program], env=whole, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)


def stops(done: subprocess.CompletedProcess[str], name: str) -> None:
    """One sentence that names the variable; no traceback; a status that is not success."""
    assert done.returncode == 78, f"{name}: status {done.returncode}: {done.stdout}{done.stderr[-300:]}"
    said = done.stderr.strip().splitlines()
    assert len(said) == 1 and said[0].startswith(f"codespar cannot start: {name}: ") and said[0].endswith("."), done.stderr


def test_every_variable_is_tried_with_odd_values() -> None:
    known = {f"CODESPAR_{name.upper()}" for name in Config.model_fields}
    assert known == set(ODD) | FREE


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_value_stops_the_start(doubtful: Doubtful, name: str) -> None:
    stops(run(doubtful.info, START, without=name), name)


@pytest.mark.parametrize("name", sorted(REQUIRED - {"CODESPAR_REDIS_URL", "CODESPAR_SECRET_KEY"}))
def test_an_auditor_needs_no_key_and_no_queue_but_all_the_rest(doubtful: Doubtful, name: str) -> None:
    env = doubtful.info.env("auditor")
    assert not {"CODESPAR_REDIS_URL", "CODESPAR_SECRET_KEY", "CODESPAR_MASTER_KEY_FILE"} & set(env)
    for without in ("", name):
        argv = [sys.executable, "-c", START]
        left = {key: value for key, value in env.items() if key != without}
        done = subprocess.run(argv, env=left, cwd=PROJECT, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == (78 if without else 0), done.stderr
        assert done.stderr.startswith(f"codespar cannot start: {without}: " if without else ""), done.stderr


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_stops_the_start(doubtful: Doubtful, name: str) -> None:
    accepted = []
    for value in ODD[name]:
        done = run(doubtful.info, START, **{name: value})
        if done.returncode == 0:
            accepted.append(value)
        else:
            stops(done, name)
    assert not accepted, f"{name} starts with {accepted}"


def test_a_rail_may_be_reached_through_folders_of_this_machine(doubtful: Doubtful) -> None:
    say = "from codespar import config; print(config.load().rail_urls)"
    done = run(doubtful.info, say, CODESPAR_RAIL_URLS='{"wire": "file:///srv/bank/drop/"}')
    assert (done.returncode, done.stdout) == (0, "{'wire': 'file:///srv/bank/drop'}\n"), done.stderr


def test_what_stops_the_start_shows_no_secret(doubtful: Doubtful) -> None:
    done = run(doubtful.info, START, CODESPAR_DATABASE_URL="mysql://codespar_agent:hunter2@localhost/x", CODESPAR_SECRET_KEY="hunter2")
    assert done.returncode == 78 and len(done.stderr.strip().splitlines()) == 2
    assert "hunter2" not in done.stderr


def test_a_database_without_tls_is_away_for_whoever_asks_for_tls(doubtful: Doubtful) -> None:
    done = run(doubtful.info, CONNECT, CODESPAR_DATABASE_URL=f"{doubtful.info.dsn('agent')}?sslmode=require")
    assert done.stdout == "" and "server does not support SSL" in done.stderr, done.stderr
    assert run(doubtful.info, CONNECT, CODESPAR_DATABASE_URL=f"{doubtful.info.dsn('agent')}?sslmode=prefer").stdout == "serves\n"


def test_what_the_databases_url_says_of_tls_reaches_the_driver() -> None:
    said = "sslmode=verify-full&sslrootcert=/etc/a%20b+c.pem&sslcert=/c&sslkey=/k&channel_binding=require"
    found = Config(
        role="agent",
        database_url=f"postgresql://codespar_agent:p@h/codespar?{said}",
        redis_url="redis://h/0",
        deployment="pay.example",
        secret_key="x" * 32,
    )
    options = found.database["OPTIONS"]
    assert isinstance(options, dict)
    given = {name: options.get(name) for name in ("sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding")}
    assert given == {
        "sslmode": "verify-full",
        "sslrootcert": "/etc/a b+c.pem",
        "sslcert": "/c",
        "sslkey": "/k",
        "channel_binding": "require",
    }


# Names that somebody could hope for. None of them is read by anything.
HOPED = [
    "MANDATE",
    "MANDATES",
    "POLICY",
    "POLICIES",
    "AUTH",
    "SIGNATURES",
    "SIGNATURE",
    "VERIFY",
    "LIMITS",
    "CHECKS",
    "APPROVAL",
    "LEDGER",
    "RLS",
]
OFF = {
    **{f"CODESPAR_{verb}_{what}": "1" for verb in ("SKIP", "DISABLE", "NO", "IGNORE", "BYPASS", "ALLOW_MISSING") for what in HOPED},
    **{f"CODESPAR_{what}{end}": "0" for what in HOPED for end in ("", "_ENABLED", "_REQUIRED", "_ENFORCED", "_CHECK")},
    **{
        f"CODESPAR_{name}": "1"
        for name in ("DEBUG", "DEV", "TEST", "TESTING", "UNSAFE", "INSECURE", "DRY_RUN", "SANDBOX", "DEMO", "TRUST_AGENT")
    },
    **dict.fromkeys(("DEBUG", "DJANGO_DEBUG", "TESTING", "CI", "INSECURE", "SKIP_MANDATE", "MANDATE_OPTIONAL", "ALLOW_ALL"), "1"),
    **{
        f"CODESPAR_{name}": value
        for name, value in (("ENV", "development"), ("MODE", "permissive"), ("POLICY_DEFAULT", "allow"), ("FAIL", "open"))
    },
    "DJANGO_CONFIGURATION": "Dev",
    "PYTHONOPTIMIZE": "2",
}


def test_no_variable_flag_or_header_turns_mandate_or_policy_off(doubtful: Doubtful, payer: World) -> None:
    assert not {name for name in OFF if name.removeprefix("CODESPAR_").lower() in Config.model_fields}
    revoked = payer.new_mandate()
    payer.people().post(f"/v1/mandates/{revoked}/revoke", {"reason": "test"})
    small = payer.new_mandate(max_amount=10)
    wishes = {"X-Skip-Mandate": "1", "X-Debug": "1", "X-Approved": "true", "Codespar-Override": "policy", "X-Admin": "1"}
    before = books.state(payer)
    with processes.extra(doubtful.info, "api", **OFF) as info:
        headers = {"Authorization": f"Bearer {payer.tokens['agent']}"} | wishes
        with httpx2.Client(base_url=info.base_url, headers=headers, timeout=20) as agent:
            for body, status, code in (
                ({k: v for k, v in payer.body().items() if k != "mandate"}, 400, "invalid_request"),
                (payer.body(mandate=None), 400, "invalid_request"),
                (payer.body(mandate=f"mnd_{'0' * 32}"), 403, "invalid_mandate"),
                (payer.body(mandate=revoked), 403, "mandate_revoked"),
                (payer.body(11, mandate=small), 403, "amount_exceeded"),
                (payer.body(10**9), 403, "insufficient_funds"),
                (payer.body(approved=True), 400, "invalid_request"),
            ):
                key = {"Idempotency-Key": later() + code + str(body)}
                answer = agent.post("/v1/payments", json=body, headers=key)
                assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
                for wish in ("force=true", "skip_mandate=1", "debug=1"):
                    answer = agent.post(f"/v1/payments?{wish}", json=body, headers=key)
                    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
            payer.people().post(f"/v1/policies/{payer.policy}/activate", {"version": 1, "state": "retired"})
            answer = agent.post("/v1/payments", json=payer.body(), headers={"Idempotency-Key": "no policy"})
            assert (answer.status_code, answer.json()["code"]) == (403, "policy_missing")
    payer.people().post(f"/v1/policies/{payer.policy}/activate", {"version": 1})
    after = books.state(payer)
    assert [after[name] for name in ("payments", "holds", "balances")] == [before[name] for name in ("payments", "holds", "balances")]


# The role of the process.


@pytest.mark.parametrize(
    ("role", "connected"), [("agent", "owner"), ("agent", "control"), ("agent", "rail"), ("control", "agent"), ("rail", "owner")]
)
def test_a_process_with_another_role_than_its_own_stops(doubtful: Doubtful, role: str, connected: str) -> None:
    info = doubtful.info
    done = run(info, CONNECT, CODESPAR_ROLE=role, CODESPAR_DATABASE_URL=info.dsn(connected))
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    sentence = f"logged in as codespar_{connected}, expected codespar_{role}"
    assert done.stderr.splitlines()[-1] == f"codespar stops: the database role is stronger than it should be: {sentence}."


@pytest.mark.parametrize("role", ["agent", "control", "rail"])
def test_a_process_of_another_deployment_than_its_databases_stops(doubtful: Doubtful, role: str) -> None:
    info = doubtful.info
    env = {"CODESPAR_ROLE": role, "CODESPAR_DATABASE_URL": info.dsn(role), "CODESPAR_DEPLOYMENT": "elsewhere.example"}
    done = run(info, CONNECT, **env)
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    sentence = "CODESPAR_DEPLOYMENT is elsewhere.example, but this database belongs to test.localhost: a deployment keeps its first name"
    assert done.stderr.splitlines()[-1] == f"codespar stops: {sentence}."


def test_a_database_that_belongs_to_nobody_yet_stops_nothing(doubtful: Doubtful) -> None:
    with books_owner(doubtful.info) as connection:
        connection.execute("ALTER TABLE codespar.deployment RENAME TO not_yet")
        try:
            done = run(doubtful.info, CONNECT, CODESPAR_DEPLOYMENT="elsewhere.example")
        finally:
            connection.execute("ALTER TABLE codespar.not_yet RENAME TO deployment")
    assert done.stdout == "serves\n", done.stderr


@pytest.mark.parametrize(
    ("grant", "revoke", "sentence"),
    [
        (
            "GRANT UPDATE ON codespar.accounts TO codespar_agent",
            "REVOKE UPDATE ON codespar.accounts FROM codespar_agent",
            "accounts directly",
        ),
        (
            "GRANT INSERT ON codespar.payments TO codespar_agent",
            "REVOKE INSERT ON codespar.payments FROM codespar_agent",
            "payments directly",
        ),
        (
            "GRANT DELETE ON codespar.ledger_entries TO codespar_agent",
            "REVOKE DELETE ON codespar.ledger_entries FROM codespar_agent",
            "entries directly",
        ),
        (
            "GRANT UPDATE (available) ON codespar.accounts TO codespar_agent",
            "REVOKE UPDATE (available) ON codespar.accounts FROM codespar_agent",
            "accounts directly",
        ),
        (
            "GRANT INSERT (name) ON codespar.deployment TO codespar_agent",
            "REVOKE INSERT (name) ON codespar.deployment FROM codespar_agent",
            "deployment directly",
        ),
        (
            "GRANT TRUNCATE ON codespar.webhook_messages TO codespar_agent",
            "REVOKE TRUNCATE ON codespar.webhook_messages FROM codespar_agent",
            "webhook_messages directly",
        ),
        (
            "GRANT UPDATE (last_step) ON codespar.member_devices TO codespar_agent",
            "REVOKE UPDATE (last_step) ON codespar.member_devices FROM codespar_agent",
            "member_devices directly",
        ),
        ("GRANT CREATE ON SCHEMA codespar TO codespar_agent", "REVOKE CREATE ON SCHEMA codespar FROM codespar_agent", "create objects"),
    ],
    ids=lambda text: text.split(" TO ")[0] if text.startswith("GRANT") else "",
)
def test_a_role_that_was_given_more_than_it_needs_stops_the_process(doubtful: Doubtful, grant: str, revoke: str, sentence: str) -> None:
    with books_owner(doubtful.info) as connection:
        connection.execute(grant)
        try:
            done = run(doubtful.info, CONNECT)
        finally:
            connection.execute(revoke)
    assert done.returncode == 78 and sentence in done.stderr, done.stderr
    assert run(doubtful.info, CONNECT).stdout == "serves\n"


def test_the_console_may_change_no_other_column_of_a_device(doubtful: Doubtful) -> None:
    as_console = {"CODESPAR_ROLE": "control", "CODESPAR_DATABASE_URL": doubtful.info.dsn("control")}
    with books_owner(doubtful.info) as connection:
        connection.execute("GRANT UPDATE (sealed) ON codespar.member_devices TO codespar_control")
        try:
            done = run(doubtful.info, CONNECT, **as_console)
        finally:
            connection.execute("REVOKE UPDATE (sealed) ON codespar.member_devices FROM codespar_control")
    assert done.returncode == 78 and "member_devices directly" in done.stderr, done.stderr
    assert run(doubtful.info, CONNECT, **as_console).stdout == "serves\n"


def books_owner(info: StackInfo) -> psycopg.Connection[tuple[object, ...]]:
    """The cluster's superuser, in this database only."""
    return info.cluster.postgres.connect(info.database)


def test_a_web_process_with_the_owners_role_never_answers(doubtful: Doubtful, tmp_path: Path) -> None:
    """The real server, as it is started: it says why, and serves nothing."""
    spec, where = processes.spec(doubtful.info, "api", {"CODESPAR_DATABASE_URL": doubtful.info.dsn("owner")})
    path, answered = tmp_path / "log", []
    with path.open("w") as log:
        process = subprocess.Popen(spec.argv, env=dict(spec.env), cwd=PROJECT, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 20
        while "stronger than it should be" not in path.read_text() and process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(httpx2.TransportError):
                answered.append(httpx2.get(f"{where.base_url}/v1/status", timeout=2).status_code)
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 200 not in answered
    assert "the database role is stronger than it should be: logged in as codespar_owner" in path.read_text()
