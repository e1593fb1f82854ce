"""Business rows against records, both ways: no row without a record that names it, no record without the rows that it speaks of."""

from collections.abc import Sequence

from codespar.audit.checks import Check

# What each table's ids look like in records. The accounts that the books make for themselves stand in none.
NAMED = {
    "organisations": "org", "projects": "prj", "agents": "agt", "members": "mem", "access_tokens": "tok", "rail_accounts": "key",
    "accounts": "wal", "transfers": "tr", "holds": "hld", "credits": "crd", "counterparties": "ctp", "mandates": "mnd",
    "revocations": "rev", "stops": "stp", "policies": "pol", "decisions": "dec", "payments": "pay", "approvals": "apr", "refunds": "ref",
    "attempts": "att", "attempt_results": "evt", "breaker_changes": "brk", "discrepancies": "dsc", "payment_rulings": "rul",
    "consents": "cns", "consent_reads": "cnr",
    "webhook_endpoints": "whe",
}  # fmt: skip
_ONLY = {"accounts": "t.kind = 'wallet'"}

# (kinds, path of an id in the content, table): the row must be there.
SPOKEN: tuple[tuple[str, str, str], ...] = (
    ("organisation.created", "$.data.organisation.id", "organisations"),
    ("organisation.created", "$.data.member.id", "members"),
    ("organisation.created", "$.data.tokens[*].id", "access_tokens"),
    ("project.created", "$.data.id", "projects"),
    ("agent.created", "$.data.id", "agents"),
    ("member.created", "$.data.id", "members"),
    ("token.created token.rotated", "$.data.token.id", "access_tokens"),
    ("rail_account.added rail_account.rotated", "$.data.id", "rail_accounts"),
    ("consent.registered consent.answered consent.revoked", "$.data.id", "consents"),
    ("consent.read", "$.data.id", "consent_reads"),
    ("wallet.created", "$.data.id", "accounts"),
    ("wallet.funded wallet.returned credit.confirmed", "$.data.transfer", "transfers"),
    ("credit.confirmed credit.refused", "$.data.id", "credits"),
    ("counterparty.created counterparty.proposed", "$.data.id", "counterparties"),
    ("mandate.issued", "$.data.id", "mandates"),
    ("mandate.revoked scope.revoked", "$.data.revocation", "revocations"),
    ("scope.stopped", "$.data.stop", "stops"),
    ("policy.version_written", "$.data.id", "policies"),
    (
        "payment.authorized payment.denied payment.approval_requested payment.approved payment.rejected payment.handed_over"
        " payment.scheduled payment.executed",
        "$.data.payment.id",
        "payments",
    ),
    (
        "payment.authorized payment.denied payment.approval_requested payment.approved payment.scheduled payment.executed",
        '$.parts[*] ? (@.part == "decision").id',
        "decisions",
    ),
    ("payment.authorized payment.approved payment.executed", '$.parts[*] ? (@.part == "hold").id', "holds"),
    ("payment.approval_requested payment.executed", '$.parts[*] ? (@.part == "approval_request").id', "approvals"),
    ("payments.submitted payments.followed", "$.data.items[*].attempt", "attempts"),
    ("payments.resulted", "$.data.items[*].id", "attempt_results"),
    ("payments.resulted", '$.data.items[*] ? (@.to == "settled").transfer', "transfers"),
    ("payment.ruled", "$.data.ruling.id", "payment_rulings"),
    ("payment.settled_late", "$.data.payment.id", "payments"),
    ("rail.breaker_changed", "$.data.id", "breaker_changes"),
    ("reconciliation.flagged", "$.data.items[*].id", "discrepancies"),
    ("discrepancy.resolved", "$.data.id", "discrepancies"),
    ("webhook_endpoint.created", "$.data.id", "webhook_endpoints"),
    ("refund.requested refund.initiated", "$.data.refund.id", "refunds"),
    ("refund.submitted", "$.data.refund.attempt", "attempts"),
    ("refund.resulted", "$.data.refund.event", "attempt_results"),
    ("refund.resulted", '$.data.refund ? (@.to == "settled").transfer', "transfers"),
)


def checks(entry_columns: Sequence[tuple[str, str]]) -> list[Check]:
    """`entry_columns` are the (table, column) that name a record."""
    return [
        *(_recorded(table, column) for table, column in entry_columns),
        *(_named(table, column) for table, column in entry_columns if table in NAMED and column != "created_entry_id"),
        *(_spoken(kinds.split(), path, table) for kinds, path, table in SPOKEN),
    ]


def _recorded(table: str, column: str) -> Check:
    query = f"""
        SELECT NULL::bigint, '{table} ' || t.{column}::text, 'is the record of a row and is not in the chain.'
        FROM {table} t LEFT JOIN ledger_entries e ON e.org_id = @org AND e.id = t.{column}
        WHERE t.{_tenant(table)} = @org AND t.{column} IS NOT NULL AND e.id IS NULL"""
    return Check("row_unrecorded", query)


def _named(table: str, column: str) -> Check:
    query = f"""
        SELECT e.seq, {_wired(table)}, 'is a row of {table} that its record does not name.'
        FROM {table} t JOIN ledger_entries e ON e.org_id = @org AND e.id = t.{column}
        WHERE t.{_tenant(table)} = @org AND {_ONLY.get(table, "true")}
          AND position(convert_to('"' || {_wired(table)} || '"', 'UTF8') IN e.content) = 0 ORDER BY 1"""
    return Check("row_unnamed", query)


def _spoken(kinds: list[str], path: str, table: str) -> Check:
    query = f"""
        SELECT e.seq, n #>> '{{}}', 'is recorded and is not in {table}.'
        FROM @entries e CROSS JOIN LATERAL jsonb_path_query(e.c, @path::jsonpath) n
        LEFT JOIN {table} t ON t.{_tenant(table)} = @org AND {_wired(table)} = n #>> '{{}}'
        WHERE e.kind = ANY (@kinds) AND t.id IS NULL ORDER BY 1"""
    return Check("row_missing", query, {"path": path, "kinds": kinds})


def _tenant(table: str) -> str:
    return "id" if table == "organisations" else "org_id"


def _wired(table: str) -> str:
    return f"@{NAMED[table]}(t.id)"
