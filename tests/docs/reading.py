"""What the tests of the documents read: blocks, tables and links of a Markdown page, and the tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NODE = re.compile(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)`")


def pages() -> list[Path]:
    """Every page that people wrote or that is made for them."""
    return [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")] + sorted(
        (ROOT / "docs").rglob("*.md")
    )


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def rows(text: str) -> list[list[str]]:
    """The rows of all tables, without their heads."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if re.fullmatch(r"\|[-:|\s]+\|", line):
            found.pop()
        elif line.startswith("|"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def nodes(text: str) -> list[str]:
    """The tests that a text names, as file::test."""
    return [f"{file}::{test}" for file, test in _NODE.findall(text)]


@cache
def existing() -> frozenset[str]:
    """Every test there is, as file::test, read without importing anything."""
    found = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
        found |= {f"{file.relative_to(ROOT)}::{name}" for name in names}
    return frozenset(found)
