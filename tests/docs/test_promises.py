"""The table of promises: one row an id, and each proof is a test that there is."""

import re

import pytest

from tests.docs.reading import ROOT, existing, nodes, rows

TABLE = rows((ROOT / "docs" / "promises.md").read_text())
FAMILIES = "MPWLRIKAGECXOT"


def _place(row: str) -> tuple[int, int]:
    return FAMILIES.index(row[0]), int(row[1:])


def test_each_promise_stands_once_and_in_order() -> None:
    ids = [row[0] for row in TABLE]
    assert all(re.fullmatch(rf"[{FAMILIES}][1-9]\d?", row) for row in ids)
    assert ids == sorted(set(ids), key=_place)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_each_promise_is_proved_by_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3
    _, promise, proof = row
    assert promise and "|" not in promise
    named = nodes(proof)
    assert named and len(named) == len(set(named))
    assert proof == " ".join(f"`{node}`" for node in named), "a proof is a list of file::test"
    assert [node for node in named if node not in existing()] == []
