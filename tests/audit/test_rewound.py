"""A database that was set back to an older copy: noticed, stopped, confirmed by a person, and red for ever while what follows is green."""

import json
from pathlib import Path
from typing import Any

import pytest

from codespar.launcher import testing
from tests.audit.test_seal import Engine, grow


@pytest.fixture
def engine(worker_id: str, request: pytest.FixtureRequest) -> Engine:
    """A database of one test's own: what stops here stops everything on it."""
    return Engine(testing.copy(f"{worker_id}_rewound_{abs(hash(request.node.name)) % 10**6}"))


def set_back(engine: Engine, made: dict[str, str], size: int) -> None:
    """The rows as they were when the chain had `size` entries, as far as these tests make any; the files stay as they are."""
    org = f"'{made['organisation'].removeprefix('org_')}'::uuid"
    engine.superuser(f"DELETE FROM ledger_checkpoints WHERE size > {size} AND org_id = {org}")
    engine.superuser(f"DELETE FROM ledger_entries WHERE seq > {size} AND org_id = {org}")
    head = f"SELECT hash FROM ledger_entries WHERE org_id = {org} AND seq = {size}"
    engine.superuser(f"UPDATE ledger_heads SET seq = {size}, hash = ({head}) WHERE org_id = {org}")
    later = f"WHERE org_id = {org} AND entry_id NOT IN (SELECT id FROM ledger_entries)"
    engine.superuser(f"WITH openings AS (DELETE FROM ledger_openings {later}) DELETE FROM projects {later}")


def grown(engine: Engine, made: dict[str, str], entries: int) -> None:
    for _ in range(entries):
        grow(engine, made)
        engine.seal()


def confirm(engine: Engine, made: dict[str, str], tmp_path: Path, token: str = "live_token") -> Any:
    file = tmp_path / token
    file.write_text(made[token])
    return engine.run("control", "reanchor", made["organisation"], "--reason", "restored from last night", "--token-file", str(file))


def test_a_database_that_was_set_back_writes_nothing_until_a_person_confirms_it(engine: Engine, tmp_path: Path) -> None:
    made = engine.create()
    grown(engine, made, 3)
    assert engine.run("owner", "platform", made["organisation"]).returncode == 0
    set_back(engine, made, 1)
    grow(engine, made)
    assert '"rewound"' in (said := engine.seal()) or "rewound" in said
    assert not engine.note(made, 5).exists()
    refused = engine.run("control", *("org", "create", "--name", "N", "--timezone", "UTC", "--email", "n@x.example", "--owner-name", "N"))
    assert (refused.returncode, "set back" in refused.stderr) == (2, True), refused.stderr
    assert engine.verify(made)["status"] == "tampered", "nobody has confirmed it"
    test = confirm(engine, made, tmp_path, "test_token")
    assert (test.returncode, "live token" in test.stderr) == (2, True), test.stderr
    done = confirm(engine, made, tmp_path)
    assert (done.returncode, "goes on from here" in done.stdout) == (0, True), done.stderr
    again = confirm(engine, made, tmp_path)
    assert (again.returncode, "not set back" in again.stderr) == (2, True), again.stderr


def test_after_it_was_confirmed_history_is_red_and_the_future_is_green(engine: Engine, tmp_path: Path) -> None:
    made = engine.create()
    grown(engine, made, 3)
    assert engine.run("owner", "platform", made["organisation"]).returncode == 0
    set_back(engine, made, 2)
    engine.seal()
    assert confirm(engine, made, tmp_path).returncode == 0
    grown(engine, made, 2)
    # 1, 2, the confirmation, and two more; the lost third and fourth entry have checkpoints that stay.
    newest = engine.folder / made["organisation"] / "r1" / f"{5:020}.note"
    assert newest.exists() and engine.note(made, 4).exists()
    assert f"/org/{made['organisation']}/r1" in newest.read_text()
    done = engine.run("auditor", "verify", "--json", "--pin", made["pin"])
    found = json.loads(done.stdout)["organisations"][0]
    assert (done.returncode, found["status"], found["count"]) == (3, "reanchored", 5), done.stdout
    assert [(problem["seq"], problem["code"]) for problem in found["problems"]] == [(3, "rewound")]
    # What is wrong after the confirmation is found as ever.
    org = f"'{made['organisation'].removeprefix('org_')}'::uuid"
    engine.superuser(f"UPDATE ledger_entries SET sig = set_byte(sig, 0, (get_byte(sig, 0) + 1) % 256) WHERE seq = 5 AND org_id = {org}")
    found = engine.verify(made)
    assert (found["status"], {problem["code"] for problem in found["problems"]} > {"rewound"}) == ("tampered", True)


def test_a_second_setback_is_noticed_too_even_to_before_the_first_was_confirmed(engine: Engine, tmp_path: Path) -> None:
    made = engine.create()
    grown(engine, made, 2)
    assert engine.run("owner", "platform", made["organisation"]).returncode == 0
    set_back(engine, made, 2)
    engine.seal()
    assert confirm(engine, made, tmp_path).returncode == 0
    grown(engine, made, 2)
    set_back(engine, made, 1)
    engine.superuser("DELETE FROM ledger_rewinds")
    assert "rewound" in engine.seal()
    assert confirm(engine, made, tmp_path).returncode == 0
    grown(engine, made, 1)
    assert (engine.folder / made["organisation"] / "r2" / f"{3:020}.note").exists()
    found = engine.verify(made)
    assert found["status"] == "reanchored", found["problems"]


def test_two_sealers_at_once_are_no_setback(engine: Engine) -> None:
    """Sizes that were read before another sealer wrote its row and file look behind, and are not."""
    made = engine.create()
    grown(engine, made, 2)
    org = made["organisation"].removeprefix("org_")
    late = f"from codespar.audit import rewinding; from uuid import UUID; print(rewinding.notice([(UUID('{org}'), 1, 0)]))"
    assert engine.seal(late) == "False"
    grow(engine, made)
