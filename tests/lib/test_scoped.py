"""A read without a tenant cannot be written: every queryset names its organisation, besides the database's own wall."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("codespar", "wallets", "mandates", "ledger", "rails")
# The organisation's own row: its id is the tenant.
BY_ID = {"Organisation"}


def unscoped(source: str) -> list[str]:
    """`Model.objects` that is not at once followed by `.for_org(...)` (or, for the organisation itself, by its id)."""
    tree = ast.parse(source)
    parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "objects":
            after = parents[node]
            name = node.value.id if isinstance(node.value, ast.Name) else ast.unparse(node.value)
            if not isinstance(after, ast.Attribute) or (after.attr != "for_org" and name not in BY_ID):
                found.append(f"line {node.lineno}: {ast.unparse(after)}")
    return found


def test_every_queryset_is_scoped() -> None:
    faults = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if found := unscoped(path.read_text(encoding="utf-8")):
                faults[str(path.relative_to(ROOT))] = found
    assert faults == {}


def test_the_check_can_fail() -> None:
    assert unscoped("Payment.objects.filter(id=1)") == ["line 1: Payment.objects.filter"]
    assert unscoped("rows = Payment.objects.all()") != []
    assert unscoped("Payment.objects.for_org(org).get(id=1)") == []
