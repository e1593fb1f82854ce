"""The cluster's roles and each database's grants.

Roles are cluster-wide, so no migration may make them; whoever runs the cluster does, once, and again harmlessly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from codespar.launcher.errors import LauncherError

SCHEMA = "codespar"
OWNER = "codespar_owner"
DEFINER = "codespar_definer"
SCANNER = "codespar_scanner"
RUNTIME = ("codespar_agent", "codespar_control", "codespar_rail", "codespar_auditor")
LOGIN = (OWNER, *RUNTIME)
ALL = (*LOGIN, DEFINER, SCANNER)

# A process that hangs must give its locks back, and the server gives up before the client's watchdog lets go of the connection:
# what is answered as not done is not done. Migrations and backups of the owner may take longer.
LIMITS = {
    "statement_timeout": "5s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "30s",
    # Every function finds its rows by whole keys: one plan fits all arguments, and planning again costs more than running.
    "plan_cache_mode": "force_generic_plan",
}

_ADVISORY_KEY = 0x636F6465  # "code": two setups of one cluster wait for each other

Connection = psycopg.Connection[tuple[Any, ...]]
Connect = Callable[[str], Connection]


@dataclass(frozen=True)
class _Attributes:
    login: bool
    inherit: bool

    def create(self) -> sql.SQL:
        return sql.SQL(
            f"{'LOGIN' if self.login else 'NOLOGIN'} {'INHERIT' if self.inherit else 'NOINHERIT'} "
            "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        )

    def row(self) -> tuple[bool, ...]:
        """As `_ATTRIBUTES` reads it from pg_roles."""
        return (self.login, self.inherit, False, False, False, False, False)


_ATTRIBUTES = (
    "SELECT rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls FROM pg_roles WHERE rolname = %s"
)


def _wanted(role: str) -> _Attributes:
    """The owner inherits: only so may it replace functions that the definer already owns."""
    return _Attributes(login=role in LOGIN, inherit=role not in RUNTIME)


class Roles:
    """Roles and databases of one cluster, embedded or not.

    `connect(dbname)` opens an autocommit connection of a superuser (or of one with CREATEROLE and CREATEDB);
    `passwords` has one for each of the five login roles; `address` is `host:port` and `tls` libpq's words for `dsn`.
    """

    def __init__(self, connect: Connect, passwords: Mapping[str, str], address: str, tls: Mapping[str, str] | None = None) -> None:
        missing = [role for role in LOGIN if not passwords.get(role)]
        if missing:
            raise LauncherError(f"These roles have no password: {', '.join(missing)}.")
        self.connect = connect
        self.passwords = dict(passwords)
        self.address = address
        self.tls = dict(tls or {})

    def dsn(self, role: str, dbname: str) -> str:
        """`postgresql://role:password@host:port/dbname`, with `?sslmode=…` where `tls` says so."""
        query = f"?{urlencode(self.tls, quote_via=quote)}" if self.tls else ""
        return f"postgresql://{role}:{quote(self.passwords[role], safe='')}@{self.address}/{quote(dbname, safe='')}{query}"

    def ensure(self) -> None:
        """Make the seven roles what they must be: attributes, memberships, passwords, time limits."""
        with self.connect("postgres") as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ADVISORY_KEY])
            for role in ALL:
                _ensure_role(connection, role)
            for role in LOGIN:
                _set_password(connection, role, self.passwords[role])
            for role in RUNTIME:
                for name, value in LIMITS.items():
                    _run(connection, "ALTER ROLE {} SET {} = {}", _id(role), _id(name), sql.Literal(value))
            _run(connection, "GRANT {}, {} TO {}", _id(DEFINER), _id(SCANNER), _id(OWNER))
            _join_when_ordinary(connection)

    def exists(self, name: str) -> bool:
        with self.connect("postgres") as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def create_database(self, name: str, template: str | None = None) -> None:
        """Make the database `name` unless it is there, and give it its grants either way.

        A copy of `template` gets everything that is inside a database; its database-level grants and role settings
        live in the cluster's catalogs and are made here for each copy. A crash in between is repaired by the next call.
        """
        if not self.exists(name):
            source = sql.SQL("TEMPLATE {}").format(_id(template)) if template else sql.SQL("TEMPLATE template0")
            with self.connect("postgres") as connection:
                _run(connection, "CREATE DATABASE {} OWNER {} {}", _id(name), _id(OWNER), source)
        self.grant_database(name)
        if template is None:
            with self.connect(name) as connection, connection.transaction():
                _prepare_schema(connection)

    def grant_database(self, name: str) -> None:
        """Database-level grants and settings: connect for the five login roles, nothing for PUBLIC."""
        with self.connect("postgres") as connection, connection.transaction():
            _run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", _id(name))
            for role in LOGIN:
                where = sql.SQL("ALTER ROLE {} IN DATABASE {} ").format(_id(role), _id(name))
                _run(connection, "GRANT CONNECT ON DATABASE {} TO {}", _id(name), _id(role))
                _run(connection, "{} SET search_path = {}, pg_catalog, pg_temp", where, _id(SCHEMA))
                _run(connection, "{} SET timezone = 'UTC'", where)

    def drop_database(self, name: str) -> None:
        with self.connect("postgres") as connection:
            _run(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", _id(name))

    def rename_database(self, old: str, new: str) -> None:
        """Only while nobody is connected to `old`."""
        with self.connect("postgres") as connection:
            _run(connection, "ALTER DATABASE {} RENAME TO {}", _id(old), _id(new))

    def close_maintenance_databases(self) -> None:
        """Keep the runtime roles out of `postgres` and `template1`; only for a cluster that is ours alone."""
        with self.connect("postgres") as connection:
            for name in ("postgres", "template1"):
                _run(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", _id(name))


def _id(name: str) -> sql.Identifier:
    return sql.Identifier(name)


def _run(connection: Connection, statement: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))


def _ensure_role(connection: Connection, role: str) -> None:
    """ALTER only what differs: managed services forbid to name SUPERUSER even to take it away."""
    wanted = _wanted(role)
    found = connection.execute(_ATTRIBUTES, [role]).fetchone()
    if found is None:
        _run(connection, "CREATE ROLE {} {}", _id(role), wanted.create())
    elif found != wanted.row():
        _run(connection, "ALTER ROLE {} {}", _id(role), wanted.create())


def _set_password(connection: Connection, role: str, password: str) -> None:
    """Hashed here, so that the server's log never sees the password itself."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    _run(connection, "ALTER ROLE {} PASSWORD {}", _id(role), sql.Literal(verifier.decode()))


def _join_when_ordinary(connection: Connection) -> None:
    """Who is not a superuser must be a member of the owner to make a database and a schema for it."""
    row = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    if row is not None and not row[0]:
        for role in (OWNER, DEFINER, SCANNER):
            _run(connection, "GRANT {} TO CURRENT_USER", _id(role))


def _prepare_schema(connection: Connection) -> None:
    """The schema and what PUBLIC loses; all of it lives inside the database and travels with a copy."""
    _drop_public(connection)
    _run(connection, "CREATE SCHEMA IF NOT EXISTS {} AUTHORIZATION {}", _id(SCHEMA), _id(OWNER))
    _run(connection, "REVOKE ALL ON SCHEMA {} FROM PUBLIC", _id(SCHEMA))
    for role in (*RUNTIME, DEFINER, SCANNER):
        _run(connection, "GRANT USAGE ON SCHEMA {} TO {}", _id(SCHEMA), _id(role))
    for role in (DEFINER, SCANNER):
        # A function's new owner must be allowed to create in its schema; neither of the two can log in.
        _run(connection, "GRANT CREATE ON SCHEMA {} TO {}", _id(SCHEMA), _id(role))
    for role in (OWNER, DEFINER, SCANNER):
        _run(
            connection,
            "ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
            _id(role),
        )


def _drop_public(connection: Connection) -> None:
    """Drop it when it is empty; a managed service may have put extensions there, which then nobody may use."""
    if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'public'").fetchone() is None:
        return
    try:
        with connection.transaction():
            connection.execute("DROP SCHEMA public")
    except psycopg.errors.DependentObjectsStillExist:
        connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
