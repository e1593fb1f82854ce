"""The database backend. Each physical connection is checked before the first query runs on it."""

import os
import sys
from typing import Any

# Django imports it with the first connection: a process that is forked at that moment would have half of it for ever.
import psycopg_pool  # noqa: F401
from django.db import connections
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
SELECT format('%%s may change rows of %%s directly', session_user, c.relname)
FROM pg_class c WHERE c.relnamespace = to_regnamespace('codespar') AND c.relkind IN ('r', 'p')
  AND NOT format('%%s %%s', session_user, c.relname) = ANY (%(tables)s)
  AND (has_table_privilege(session_user, c.oid, 'DELETE, TRUNCATE')
       OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND has_column_privilege(session_user, c.oid, a.attnum, 'INSERT, UPDATE')
                  AND NOT format('%%s %%s.%%s', session_user, c.relname, a.attname) = ANY (%(columns)s)))
UNION ALL
SELECT format('%%s may create objects in the schema', session_user)
FROM pg_namespace n WHERE n.nspname = 'codespar' AND has_schema_privilege(session_user, n.oid, 'CREATE')
LIMIT 1
"""

# What a runtime role writes by itself; everything else goes through the definer's functions.
_TABLES = ["codespar_control django_session"]
_COLUMNS = [f"codespar_control member_devices.{name}" for name in ("last_step", "failures", "failed_at")]
# Pools of the process that this one was forked from, kept for ever: their end would say goodbye on the parent's own sockets.
_inherited: list[Any] = []


def too_strong(cursor: Any, expected: str) -> str | None:
    """Why this connection's role must not serve, or None. `expected` is the database role's name."""
    cursor.execute(_STRONGER, {"expected": expected, "tables": _TABLES, "columns": _COLUMNS})
    row = cursor.fetchone()
    return row[0] if row else None


def elsewhere(cursor: Any, deployment: str) -> str | None:
    """The deployment that this database belongs to, when that is another one; None too while it belongs to nobody yet."""
    cursor.execute("SELECT to_regclass('codespar.deployment') IS NOT NULL")
    if not cursor.fetchone()[0]:
        return None
    cursor.execute("SELECT name FROM codespar.deployment WHERE name <> %s", [deployment])
    row = cursor.fetchone()
    return row[0] if row else None


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, with checked connections, and a pool that is one process's own."""

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
        if self.settings_dict.get("EXPECTED_ROLE"):
            with connection.cursor() as cursor:
                reason = self._misfit(cursor)
            if not connection.autocommit:
                connection.commit()
            if reason:
                # A process that could do more than its work allows must not run at all, whichever thread finds out.
                sys.stderr.write(f"codespar stops: {reason}.\n")
                sys.stderr.flush()
                os._exit(78)
        return changed

    def _misfit(self, cursor: Any) -> str | None:
        """Why this process must not serve this database, or None."""
        reason = too_strong(cursor, self.settings_dict["EXPECTED_ROLE"])
        if reason:
            return f"the database role is stronger than it should be: {reason}"
        deployment = self.settings_dict.get("DEPLOYMENT")
        found = elsewhere(cursor, deployment) if deployment else None
        if found:
            return f"CODESPAR_DEPLOYMENT is {deployment}, but this database belongs to {found}: a deployment keeps its first name"
        return None


def _forget_parent() -> None:
    """After a fork the child opens its own connections: on a shared one, each would read answers that are meant for the other."""
    pools = DatabaseWrapper._connection_pools  # type: ignore[attr-defined]  # not in the stubs
    _inherited.extend(pools.values())
    pools.clear()
    for wrapper in connections.all(initialized_only=True):
        _inherited.append(wrapper.connection)
        wrapper.connection = None
    watchdog.forget()


os.register_at_fork(after_in_child=_forget_parent)
