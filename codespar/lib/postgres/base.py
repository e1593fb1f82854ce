"""The database backend. Each physical connection is checked before the first query runs on it."""

import os
import sys
from typing import Any

from django.db.backends.postgresql import base

from codespar.lib.postgres import watchdog

_STRONGER = """
SELECT format('logged in as %%s, expected %%s', session_user, %(expected)s) WHERE session_user <> %(expected)s
UNION ALL
SELECT format('%%s is a superuser, or may bypass row security, create roles or create databases', rolname)
FROM pg_roles WHERE rolname = session_user AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)
UNION ALL
SELECT format('%%s owns %%s', session_user, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.oid = c.relowner
WHERE n.nspname = 'codespar' AND pg_has_role(session_user, r.oid, 'MEMBER')
UNION ALL
SELECT format('%%s may change rows of %%s directly', session_user, t) FROM unnest(%(walled)s::text[]) t
WHERE to_regclass('codespar.' || t) IS NOT NULL
  AND (has_table_privilege(session_user, 'codespar.' || t, 'INSERT') OR has_table_privilege(session_user, 'codespar.' || t, 'UPDATE')
       OR has_table_privilege(session_user, 'codespar.' || t, 'DELETE') OR has_table_privilege(session_user, 'codespar.' || t, 'TRUNCATE'))
UNION ALL
SELECT format('%%s may create objects in the schema', session_user) WHERE has_schema_privilege(session_user, 'codespar', 'CREATE')
LIMIT 1
"""

# No runtime role writes these but through the definer's functions.
WALLED = [
    "accounts",
    "transfers",
    "holds",
    "hold_resolutions",
    "credits",
    "ledger_entries",
    "ledger_heads",
    "ledger_openings",
    "ledger_checkpoints",
    "mandates",
    "mandate_usages",
    "counters",
    "counter_selectors",
    "scope_states",
    "platform_states",
    "payments",
    "payment_transitions",
    "payment_transition_rules",
    "refunds",
    "attempts",
    "attempt_results",
    "decisions",
    "idempotency_keys",
    "approvals",
    "approval_votes",
    "policies",
    "policy_versions",
    "policy_activations",
    "policy_rules",
    "counterparties",
    "counterparty_versions",
    "revocations",
    "organisations",
    "projects",
    "agents",
    "members",
    "access_tokens",
    "private_keys",
    "rail_accounts",
    "role_scopes",
]


def too_strong(cursor: Any, expected: str) -> str | None:
    """Why this connection's role must not serve, or None. `expected` is the database role's name."""
    cursor.execute(_STRONGER, {"expected": expected, "walled": WALLED})
    row = cursor.fetchone()
    return row[0] if row else None


class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        found = super().get_connection_params()
        if self.settings_dict.get("WATCHED"):
            found["cursor_factory"] = watchdog.WatchedCursor
        return found

    def _commit(self) -> None:
        if self.connection is None or not self.settings_dict.get("WATCHED"):
            return super()._commit()  # type: ignore[misc]  # not in the stubs
        with watchdog.guard(self.connection):
            return super()._commit()  # type: ignore[misc]

    def _configure_connection(self, connection: Any) -> bool:
        changed: bool = super()._configure_connection(connection)  # type: ignore[misc]  # newer than the stubs
        expected = self.settings_dict.get("EXPECTED_ROLE")
        if expected:
            with connection.cursor() as cursor:
                reason = too_strong(cursor, expected)
            if not connection.autocommit:
                connection.commit()
            if reason:
                # A process that could do more than its work allows must not run at all, whichever thread finds out.
                sys.stderr.write(f"codespar stops: the database role is stronger than it should be: {reason}.\n")
                sys.stderr.flush()
                os._exit(78)
        return changed
