"""Links resolve, and what a page calls a file is one."""

import re
from pathlib import Path

import pytest

from tests.docs.reading import ROOT, existing, nodes, pages, prose

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
TOP = ("codespar", "ledger", "wallets", "mandates", "rails", "tests", "docs")


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_every_link_inside_the_repository_resolves(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[name])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (PAGES[name].parent / path) if path else PAGES[name]
        assert found.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in {slug(h) for h in re.findall(r"^#+ (.*)$", found.read_text(), re.M)}, f"{name} links to {target}"


@pytest.mark.parametrize("name", PAGES)
def test_every_path_that_a_page_names_exists(name: str) -> None:
    for text in re.findall(r"`([^`\s]+)`", prose(PAGES[name])):
        path = text.partition("::")[0]
        # `mandates/actions` is a path; `payments/second` and `a/b` are none; `<table>_append_only` and `NNNN_*` are patterns.
        if re.fullmatch(r"[\w./-]+", path) and path.split("/")[0] in TOP and "/" in path:
            assert (ROOT / path).exists(), f"{name} names {path}"


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_a_page_names_exists(name: str) -> None:
    assert [node for node in nodes(PAGES[name].read_text()) if node not in existing()] == []


def test_no_page_names_a_machine_or_a_person() -> None:
    for page in PAGES.values():
        assert not re.search(r"/(work|home|root|Users)/", page.read_text()), page


def test_every_decision_has_the_three_parts_and_a_number_of_its_own() -> None:
    notes = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(note.name[:4]) for note in notes] == list(range(1, len(notes) + 1))
    for note in notes:
        heads = re.findall(r"^## (.*)$", note.read_text(), re.M)
        assert heads == ["Context", "Decision", "Consequences"], note.name


def test_the_licence_is_whole() -> None:
    text = Path(ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text and len(text) == 11358
