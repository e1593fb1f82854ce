"""The live rules of the schema, read from the catalog: what the database enforces now, whatever the code says."""

from collections import defaultdict
from dataclasses import dataclass

from codespar.audit.invariants import RULES, Rule
from codespar.lib import db

_RULES = """
    SELECT c.relname AS "table", k.conname AS name, CASE k.contype WHEN 'c' THEN 'check' WHEN 'u' THEN 'unique' WHEN 'p' THEN 'primary key'
           WHEN 'f' THEN 'foreign key' ELSE 'other' END AS kind, pg_get_constraintdef(k.oid) AS definition, k.convalidated AS enforced
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid WHERE k.connamespace = 'codespar'::regnamespace AND k.contype <> 'n'
    UNION ALL
    SELECT c.relname, i.relname, 'unique', pg_get_indexdef(i.oid), x.indisvalid
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
    WHERE c.relnamespace = 'codespar'::regnamespace AND x.indisunique AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.oid)
    UNION ALL
    SELECT c.relname, t.tgname, 'trigger', pg_get_triggerdef(t.oid), t.tgenabled IN ('O', 'A')
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'codespar'::regnamespace AND NOT t.tgisinternal
    UNION ALL
    SELECT c.relname, p.polname, 'policy', pg_get_expr(p.polqual, p.polrelid), c.relrowsecurity AND c.relforcerowsecurity
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'codespar'::regnamespace
    ORDER BY 1, 3, 2
"""
_GRANTS = """
    SELECT c.relname AS target, a.grantee::regrole::text AS role, a.privilege_type AS privilege, NULL AS "column"
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
    WHERE c.relnamespace = 'codespar'::regnamespace AND c.relkind = 'r' AND a.grantee <> c.relowner
    UNION ALL
    SELECT c.relname, a.grantee::regrole::text, a.privilege_type, t.attname
    FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid CROSS JOIN LATERAL aclexplode(t.attacl) a
    WHERE c.relnamespace = 'codespar'::regnamespace AND c.relkind = 'r' AND a.grantee <> c.relowner
    UNION ALL
    SELECT p.proname || '()', a.grantee::regrole::text, a.privilege_type, NULL
    FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) a
    WHERE p.pronamespace = 'codespar'::regnamespace AND a.grantee <> p.proowner
    ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class Live:
    """One rule as the catalog has it. `enforced` is False for a disabled trigger, an unvalidated constraint, row security switched off."""

    table: str
    name: str
    kind: str
    definition: str
    enforced: bool

    @property
    def promise(self) -> str | None:
        rule = RULES.get((self.table, self.name))
        return rule.promise if rule and rule.kind == self.kind else None


def live() -> list[Live]:
    """Every constraint, unique index, trigger and policy of the schema, by table. Any role may read it."""
    return [Live(row["table"], row["name"], row["kind"], row["definition"] or "", row["enforced"]) for row in db.select(_RULES)]


def broken(rules: list[Live]) -> list[tuple[str, Rule]]:
    """Promised rules that are gone or switched off, as (name, rule)."""
    kept = {(rule.table, rule.name, rule.kind) for rule in rules if rule.enforced}
    return [(name, rule) for (table, name), rule in RULES.items() if (table, name, rule.kind) not in kept]


def grants() -> dict[str, list[str]]:
    """Who else than its owner may do what, by table or `function()`: `codespar_rail: SELECT, UPDATE (lease_owner)`."""
    found: dict[str, dict[str, dict[str, list[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in db.select(_GRANTS):
        columns = found[row["target"]][row["role"]][row["privilege"]]
        if row["column"]:
            columns.append(row["column"])
    return {target: [f"{role}: {_listed(held)}" for role, held in roles.items()] for target, roles in found.items()}


def _listed(held: dict[str, list[str]]) -> str:
    return ", ".join(f"{privilege} ({', '.join(columns)})" if columns else privilege for privilege, columns in held.items())
