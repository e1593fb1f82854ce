"""The table of invariants names rules that a database has, and tests that there are."""

import re

import pytest

from tests.docs.reading import ROOT, existing, nodes, rows
from tests.support.world import World

TABLE = [row for row in rows((ROOT / "ARCHITECTURE.md").read_text().partition("## Invariants")[2]) if not row[0].startswith("**")]
_LIVE = """
SELECT conname AS name FROM pg_constraint WHERE connamespace = 'codespar'::regnamespace
UNION SELECT t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = 'codespar'::regnamespace AND NOT t.tgisinternal AND t.tgenabled = 'O'
UNION SELECT relname FROM pg_class WHERE relnamespace = 'codespar'::regnamespace AND relkind = 'i'
UNION SELECT polname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'codespar'::regnamespace
UNION SELECT proname FROM pg_proc WHERE pronamespace = 'codespar'::regnamespace
UNION SELECT m[1] FROM pg_proc, regexp_matches(prosrc, 'refuse\\(''(\\w+)''', 'g') m WHERE pronamespace = 'codespar'::regnamespace
"""


def test_each_rule_of_the_table_is_in_a_live_database(shared_world: World) -> None:
    live = {row["name"] for row in shared_world.rows(_LIVE)}
    named = {rule for row in TABLE for rule in re.findall(r"`(\w+)`", row[1])}
    assert sorted(named - live) == []


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0][:50])
def test_each_invariant_has_a_rule_and_an_attack(row: list[str]) -> None:
    assert len(row) == 3
    assert re.findall(r"`(\w+)`", row[1])
    assert nodes(row[2])
    assert [node for node in nodes(row[2]) if node not in existing()] == []


def test_the_layers_are_those_that_imports_are_held_to() -> None:
    """Every layer of the contract stands in the table, in its order."""
    contract = re.search(r'type = "layers"\nlayers = \[(.*?)\]', (ROOT / "pyproject.toml").read_text(), re.S)
    assert contract
    wanted = re.findall(r"[\w.]+", contract[1].replace('"', " "))
    section = (ROOT / "ARCHITECTURE.md").read_text().partition("## Layers")[2].partition("## ")[0]
    found = [name.removesuffix(".py").replace("/", ".") for row in rows(section) for name in re.findall(r"`([\w./]+)`", row[0])]
    assert found == wanted
