"""The sealer: checkpoints of real chains, written inside and outside, again when a file is lost, and never over something that changed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from codespar.launcher import testing
from codespar.launcher.testing import Copy

CODESPAR = str(Path(sys.executable).with_name("codespar"))
SEAL = "import django; django.setup(); from codespar.audit import sealing, tasks; {}"
CREATE = ("org", "create", "--json", "--name", "Sealed", "--timezone", "UTC", "--email", "o@x.example", "--owner-name", "O")


class Engine:
    """A database of this module's own, with no process on it but the ones that a test starts."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.folder = Path(copy.env("rail")["CODESPAR_CHECKPOINT_DIR"])

    def run(self, role: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([CODESPAR, *argv], env=self.copy.env(role), capture_output=True, text=True, check=False)

    def create(self) -> dict[str, str]:
        """A new organisation: its chain has one entry."""
        done = self.run("control", *CREATE)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def seal(self, code: str = "print(sealing.seal_due())") -> str:
        argv = [sys.executable, "-c", SEAL.format(code)]
        done = subprocess.run(argv, env=self.copy.env("rail"), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() + done.stderr

    def verify(self, made: dict[str, str]) -> dict[str, Any]:
        done = self.run("auditor", "verify", "--json", "--org", made["organisation"], "--pin", made["pin"])
        return dict(json.loads(done.stdout)["organisations"][0])

    def note(self, made: dict[str, str], size: int = 1) -> Path:
        return self.folder / made["organisation"] / f"{size:020}.note"

    def superuser(self, statement: str) -> None:
        with self.copy.cluster.postgres.connect(self.copy.name) as connection:
            connection.execute("SET search_path = codespar, pg_catalog")
            connection.execute("SET session_replication_role = replica")
            assert connection.execute(statement).rowcount > 0


@pytest.fixture(scope="module")
def engine(worker_id: str) -> Engine:
    return Engine(testing.copy(f"{worker_id}_seal"))


def test_a_chain_that_grew_is_sealed_once_inside_and_outside(engine: Engine) -> None:
    made = engine.create()
    assert engine.verify(made)["checkpoints"]["outside"]["count"] == 0
    assert engine.seal() == "1"
    assert engine.seal() == "0"
    text = engine.note(made).read_text()
    assert text.startswith(f"test.localhost/org/{made['organisation']}\n1\n")
    found = engine.verify(made)
    assert (found["status"], found["checkpoints"]) == (
        "verified",
        {"outside": {"count": 1, "size": 1}, "database": {"count": 1, "size": 1}},
    )


def test_the_task_of_the_clock_seals(engine: Engine) -> None:
    made = engine.create()
    assert engine.seal("print(tasks.seal.name, tasks.seal())") == "codespar.audit.tasks.seal None"
    assert engine.note(made).exists()


def test_two_sealers_make_one_checkpoint(engine: Engine) -> None:
    made = engine.create()
    argv = [sys.executable, "-c", SEAL.format("print(sealing.seal_due())")]
    both = [subprocess.Popen(argv, env=engine.copy.env("rail"), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sum(int(process.communicate()[0]) for process in both) == 1
    assert engine.verify(made)["checkpoints"]["database"]["count"] == 1


def test_a_lost_file_is_written_again(engine: Engine) -> None:
    made = engine.create()
    engine.seal()
    text = engine.note(made).read_text()
    engine.note(made).unlink()
    # In the same process as the first look too: it is the file that counts, not the memory of it.
    again = f"sealing.seal_due(); import os; os.unlink({str(engine.note(made))!r}); sealing.seal_due()"
    engine.seal(again)
    assert engine.note(made).read_text() == text


def test_another_checkpoint_outside_is_never_overwritten_and_never_sealed_over(engine: Engine) -> None:
    made = engine.create()
    engine.seal()
    other = engine.note(made).read_text().replace("\n1\n", "\n2\n")
    engine.note(made).write_text(other)
    grow(engine, made)
    assert "not_sealed" in engine.seal()
    assert (engine.note(made).read_text(), engine.note(made, 2).exists()) == (other, False)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_checkpoints SET frontier = ARRAY[repeat('00', 32)], root = decode(repeat('00', 32), 'hex')",
        "UPDATE ledger_checkpoints SET note = replace(note, 'localhost', 'elsewhere')",
        "UPDATE ledger_checkpoints SET frontier = '{}'",
        "DELETE FROM ledger_entries WHERE seq = 1 AND org_id =",
        "UPDATE ledger_entries SET prev = sha256(''), leaf = leaf WHERE seq = 2 AND org_id =",
    ],
)
def test_nothing_is_signed_over_a_chain_that_changed(engine: Engine, statement: str) -> None:
    made = engine.create()
    engine.seal()
    grow(engine, made)
    org = f"'{made['organisation'].removeprefix('org_')}'::uuid"
    engine.superuser(f"{statement} {org}" if statement.endswith("=") else f"{statement} WHERE org_id = {org}")
    assert "not_sealed" in engine.seal()
    assert not engine.note(made, 2).exists()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger_entries WHERE org_id = :org",
        None,
    ],
    ids=["no entries", "a note of other bytes"],
)
def test_one_broken_chain_does_not_stop_the_others(engine: Engine, statement: str | None) -> None:
    broken, whole = engine.create(), engine.create()
    if statement is None:
        engine.seal()
        engine.note(broken).write_bytes(b"\xff\xfe")
        grow(engine, broken)
        grow(engine, whole)
    else:
        engine.superuser(statement.replace(":org", f"'{broken['organisation'].removeprefix('org_')}'::uuid"))
    engine.seal()
    newest = 2 if statement is None else 1
    assert (engine.note(broken, newest).exists(), engine.note(whole, newest).exists()) == (False, True)


def test_an_old_chain_without_a_checkpoint_outside_is_not_verified(engine: Engine) -> None:
    """Cut, with the database's own checkpoints of what was cut, it would look like one that nobody has sealed yet."""
    made = engine.create()
    assert engine.verify(made)["status"] == "verified"
    argv = ["verify", "--json", "--org", made["organisation"], "--pin", made["pin"]]
    old = "from datetime import timedelta; from codespar.audit import verify; verify.SEALED_WITHIN = timedelta(0)"
    code = f"import django; django.setup(); {old}; from codespar import cli; cli.app({argv!r})"
    done = subprocess.run([sys.executable, "-c", code], env=engine.copy.env("auditor"), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    problems = json.loads(done.stdout)["organisations"][0]["problems"]
    assert [problem["code"] for problem in problems] == ["checkpoints_unreachable"]


@pytest.mark.parametrize("role", ["agent", "control", "auditor"])
def test_only_the_rails_role_seals(engine: Engine, role: str) -> None:
    with psycopg.connect(engine.copy.dsn(role)) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT checkpoint_add(gen_random_uuid(), 1, '\\x00', '{}', '', 0)")


def grow(engine: Engine, made: dict[str, str]) -> None:
    """One more entry: a project, made by the owner."""
    code = (
        "import django, sys; django.setup(); from codespar.identity import actions, principals; from codespar.lib import clock, ids;"
        "p = principals.authenticate(sys.argv[1], request_id=ids.wire('req', ids.new()));"
        "actions.create_project(p, name=str(ids.new()), now=clock.now())"
    )
    argv = [sys.executable, "-c", code, made["test_token"]]
    done = subprocess.run(argv, env=engine.copy.env("control"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
