"""`python -m codespar.launcher.setup`: roles, database, grants and migrations on any Postgres, then an end.

Reads CODESPAR_SUPERUSER_URL, CODESPAR_DATABASE (default `codespar`) and the password of each login role, as
CODESPAR_OWNER_PASSWORD, _AGENT_, _CONTROL_, _RAIL_ and _AUDITOR_, or from the file that the same name with _FILE names.
Everything else in the environment goes to the migrations. Safe to repeat; a repeated run also sets changed passwords.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from codespar.launcher import roles
from codespar.launcher.cluster import DATABASE, PROJECT
from codespar.launcher.errors import LauncherError

WAIT_SECONDS = 60.0
# What the superuser's URL says of TLS holds for the owner's connection, too.
TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding")


def main() -> int:
    try:
        return _setup(os.environ)
    except (LauncherError, psycopg.Error) as error:
        print(str(error).strip(), file=sys.stderr)
        return 1


def value(environ: Mapping[str, str], name: str) -> str:
    """A setting, or the content of the file that `<name>_FILE` names; raises LauncherError when there is neither."""
    if environ.get(name):
        return environ[name]
    file = environ.get(f"{name}_FILE")
    if not file:
        raise LauncherError(f"{name} is not set; set it, or {name}_FILE to the file that holds it.")
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LauncherError(f"{name}_FILE is {file}, which cannot be read ({error.strerror}).") from error
    if not content:
        raise LauncherError(f"{name}_FILE is {file}, which is empty.")
    return content


def prepare(environ: Mapping[str, str]) -> tuple[roles.Roles, str]:
    """Make roles, database and grants; returns the roles and the database's name."""
    url = value(environ, "CODESPAR_SUPERUSER_URL")
    where = conninfo_to_dict(url)
    passwords = {role: value(environ, f"{role.upper()}_PASSWORD") for role in roles.LOGIN}
    name = environ.get("CODESPAR_DATABASE") or DATABASE

    def connect(dbname: str) -> roles.Connection:
        return psycopg.connect(url, dbname=dbname, autocommit=True, connect_timeout=5)

    _wait(connect)
    tls = {name: str(where[name]) for name in TLS if where.get(name)}
    made = roles.Roles(connect, passwords, f"{where.get('host', '127.0.0.1')}:{where.get('port', 5432)}", tls)
    made.ensure()
    made.create_database(name)
    return made, name


def _wait(connect: roles.Connect) -> None:
    """A server that is still starting refuses connections; a wrong password is not worth waiting for."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connect("postgres").close()
        except psycopg.OperationalError as error:
            if time.monotonic() > deadline or "authentication failed" in str(error):
                raise LauncherError(f"The database server cannot be reached: {str(error).strip()}") from error
            time.sleep(0.5)
        else:
            return


def _setup(environ: Mapping[str, str]) -> int:
    made, name = prepare(environ)
    env: dict[str, Any] = {key: text for key, text in environ.items() if "PASSWORD" not in key and key != "CODESPAR_SUPERUSER_URL"}
    env |= {"CODESPAR_ROLE": "owner", "CODESPAR_DATABASE_URL": made.dsn(roles.OWNER, name)}
    env.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")
    argv = [sys.executable, "-m", "django", "migrate", "--no-input"]
    return subprocess.run(argv, env=env, cwd=PROJECT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
