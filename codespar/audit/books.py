"""The books against themselves, and the business rows against the records that they come from.

A chain can be whole while a superuser moved a balance, raised a cap or deleted a revocation: those rows are not the chain, they are what
its records say. The queries are in `sql/books.sql` and `sql/rows.sql`. Run them after the chain was verified: they read the contents as
JSON, and believe them.
"""

from uuid import UUID

from codespar.audit import checks, rows
from codespar.audit.chain import Problem
from codespar.lib import canonical, db
from codespar.vault import keys

_ENTRY_COLUMNS = """
    SELECT c.table_name, c.column_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'codespar' AND t.table_type = 'BASE TABLE' AND c.column_name LIKE '%%entry_id' ORDER BY 1, 2
"""
_FIRST = "SELECT content FROM ledger_entries WHERE org_id = %s AND seq = 1"


def check(org: UUID) -> list[Problem]:
    """What is wrong with the organisation's rows, the earliest entry first. Inside `db.tenant(org)`, as the auditor."""
    found = _keys(org)
    for one in (*checks.load("books"), *checks.load("rows"), *rows.checks(_entry_columns())):
        found += checks.run(one, org=org)
    return sorted(found, key=lambda problem: (problem.seq is None, problem.seq or 0))


def _entry_columns() -> list[tuple[str, str]]:
    """Every column that names a record, of every table there is: a table that is added later is checked without a line here."""
    return [(row["table_name"], row["column_name"]) for row in db.select(_ENTRY_COLUMNS, [])]


def _keys(org: UUID) -> list[Problem]:
    """The keys that mandates and records are verified with are those that the first record introduces."""
    first = db.select(_FIRST, [str(org)])
    listed = canonical.loads(bytes(first[0]["content"]))["data"]["keys"] if first else []
    introduced = {key.get("kid"): key.get("jwk") for key in listed if isinstance(key, dict)}
    return [
        Problem(None, "key_row", f"The stored {key['purpose']} key {key['kid']} is not one that a record introduces.")
        for key in keys.public_keys(org)
        if introduced.get(key["kid"]) != key["jwk"]
    ]
