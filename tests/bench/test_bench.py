"""The bench works, all of it in one run: everybody has a turn, every table has its figures. How fast anything is, is nobody's business here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codespar.launcher.cluster import PROJECT

SECONDS = 540


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """What `make bench` prints in its smallest run: the cells of each table's rows, by the table's title."""
    env = {**os.environ, "CODESPAR_STATE_DIR": str(tmp_path_factory.mktemp("bench"))}
    argv = [sys.executable, "-m", "bench", "--smoke"]
    done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tables: dict[str, list[list[str]]] = {}
    for part in done.stdout.split("### ")[1:]:
        title, *lines = part.splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        tables[title] = tables.get(title, []) + rows[2:]
    return tables


def table(said: dict[str, list[list[str]]], start: str) -> list[list[str]]:
    return next(rows for title, rows in said.items() if title.startswith(start))


def test_every_contestant_pays_in_every_cell(said: dict[str, list[list[str]]]) -> None:
    rows = table(said, "Payments from the request to settled")
    assert {(row[0], row[1], row[2]) for row in rows} == {
        (organisations, connections, what)
        for organisations in ("one", "2")
        for connections in ("1", "2")
        for what in ("floor_sql", "floor_http", "engine_http")
    }
    assert all(float(cell) > 0 for row in rows for cell in row[3:-1])
    assert {row[-1] for row in rows} == {"0"}, "not settled"
    assert len(table(said, "The same with a long chain")) == 6


def test_each_goal_is_told_with_its_figure(said: dict[str, list[list[str]]]) -> None:
    rows = table(said, "Goals")
    assert len(rows) == 17
    assert all(float(row[1]) > 0 and re.match("at (least|most) ", row[2]) and row[3] in ("met", "missed") for row in rows)


def test_the_time_is_told_by_step_and_by_statement(said: dict[str, list[list[str]]]) -> None:
    steps = {row[0] for row in table(said, "Where the time goes in Python")}
    assert {
        "decide",
        "sign",
        "wait",
        "evidence",
        "sql: snapshot",
        "sql: authorise",
        "sql: payments_submit",
        "sql: payments_result",
    } <= steps
    statements = " ".join(row[0] for row in table(said, "Where the time goes in Postgres"))
    assert "authorise(" in statements and "payments_result(" in statements


def test_the_rail_that_settles_by_itself_is_no_part_of_what_is_shipped() -> None:
    config = (PROJECT / "pyproject.toml").read_text()
    shipped = re.search(r"\[tool\.hatch\.build\.targets\.wheel\]\npackages = \[(.*)\]", config)
    assert shipped and "bench" not in shipped[1]
    assert "bench" in (Path(PROJECT) / ".dockerignore").read_text().split()


def test_everything_is_revoked_and_one_row_a_scope_says_so(said: dict[str, list[list[str]]]) -> None:
    told = {(row[0], row[1]) for row in table(said, "One call, over HTTP")}
    assert told == {
        (what, count) for what in ("revoke agent", "revoke project", "revoke org", "refuse the next payment") for count in ("10", "100")
    }
    assert table(said, "Rows that say what is revoked")[0][-1] == "6", "three scopes of two organisations"


def test_a_statement_is_matched_by_the_engine_and_by_the_bare_join(said: dict[str, list[list[str]]]) -> None:
    rows = table(said, "Statements")
    assert [row[0] for row in rows] == [
        "match 300 lines: sql join",
        "match 300 lines: engine",
        "read and match 50 lines: after many (300)",
        "read and match 50 lines: after few (100)",
    ]
    assert all(float(row[1]) > 0 for row in rows)


def test_a_rail_is_paid_over_alone_and_beside_a_dead_one(said: dict[str, list[list[str]]]) -> None:
    rows = table(said, "Payments over one rail, with another one dead")
    assert [row[0] for row in rows] == ["alone", "beside a rail where nobody listens", "beside a rail that never answers"]
    assert all(float(cell) > 0 for row in rows for cell in row[1:])
