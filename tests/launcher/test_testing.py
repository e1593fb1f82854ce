"""The databases that pytest gets, with sessions in processes of their own where two are needed."""

import signal
import subprocess
import sys

import psycopg
import pytest

from codespar.launcher import testing
from codespar.launcher.cluster import PROJECT
from codespar.launcher.errors import LauncherError
from tests.launcher.conftest import migrate_one_table

PROGRAM = """
import sys
from codespar.launcher import testing
from tests.launcher.conftest import migrate_one_table
session = testing.Session(sys.argv[1], migrate=migrate_one_table)
made = session.copy('gw0', [])
print(made.name, made.redis_db, flush=True)
sys.stdin.read()
session.end()
"""


@pytest.fixture
def session(state_dir):
    made = testing.Session(state_dir, migrate=migrate_one_table)
    try:
        yield made
    finally:
        made.end()
        made.cluster.postgres.remove()


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "0001.sql").write_text("one")
    return [tmp_path / "0001.sql"]


def databases(session) -> list[str]:
    with session.cluster.postgres.connect() as connection:
        return sorted(row[0] for row in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE '%\\_%'"))


def other_session(session) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", PROGRAM, str(session.state.folder)]
    return subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_copies_are_apart_and_have_grants(session, sources):
    one, two = session.copy("gw0", sources), session.copy("gw1", sources)
    assert one.redis_db != two.redis_db
    with psycopg.connect(one.dsn("owner")) as connection:
        connection.execute("INSERT INTO note VALUES ('only here')")
    with psycopg.connect(two.dsn("auditor")) as connection:
        assert connection.execute("SELECT count(*) FROM note").fetchone() == (0,)
        assert connection.execute("SHOW search_path").fetchone() == ("codespar, pg_catalog, pg_temp",)
    assert one.env("rail")["CODESPAR_DATABASE_URL"].endswith(one.name)
    assert one.env("rail")["CODESPAR_CHECKPOINT_DIR"] != two.env("rail")["CODESPAR_CHECKPOINT_DIR"]


def test_the_template_is_made_again_when_a_source_changes_and_only_then(session, sources):
    first = session.template(sources)
    assert session.template(sources) == first
    sources[0].write_text("two")
    second = session.template(sources)
    assert second != first
    assert databases(session) == [second]
    assert not list(session.state.path("stacks").glob("*"))


def test_a_failed_migration_leaves_no_template(session, sources):
    def fail(env, log):
        raise LauncherError("The migrations failed.")

    broken = testing.Session(session.state.folder, migrate=fail)
    with pytest.raises(LauncherError):
        broken.copy("gw0", sources)
    broken.end()
    session.copy("gw0", sources)


def test_the_last_session_stops_the_servers(session, sources):
    other = other_session(session)
    assert other.stdout.readline()
    session.copy("gw0", sources)
    session.end()
    assert session.cluster.postgres.healthy()
    assert session.cluster.valkey.healthy()
    other.communicate("")
    assert not session.cluster.postgres.healthy()
    assert not session.cluster.valkey.healthy()


def test_what_a_killed_session_left_is_dropped_by_the_next(session, sources):
    other = other_session(session)
    name, redis_db = other.stdout.readline().split()
    other.send_signal(signal.SIGKILL)
    other.communicate()
    made = session.copy("gw0", sources)
    assert name not in databases(session)
    assert made.redis_db == int(redis_db)


def test_the_digest_covers_the_projects_migrations_and_sql():
    names = {path.relative_to(PROJECT).parts[0] for path in testing._default_sources()}
    assert {"codespar", "uv.lock"} <= names
