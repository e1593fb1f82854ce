"""Postgres, Valkey, roles, keys and a migrated database in one state folder, and the environment of each process."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, cast

from codespar.launcher import roles
from codespar.launcher.errors import LauncherError
from codespar.launcher.logs import LogFile
from codespar.launcher.postgres import Postgres
from codespar.launcher.state import State, private_folder
from codespar.launcher.valkey import Valkey

DATABASE = "codespar"
PROJECT = Path(__file__).resolve().parents[2]
ROLES = ("agent", "control", "rail", "auditor", "owner")

# Called with the owner's environment for one database; raises LauncherError.
Migrate = Callable[[Mapping[str, str], LogFile], None]


def migrate_with_django(env: Mapping[str, str], log: LogFile) -> None:
    """Run the migrations in a process of their own: the launcher itself never loads Django."""
    with log.open() as file:
        start = file.tell()
        done = subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--no-input", "--verbosity", "1"],
            env=dict(env),
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            check=False,
        )
    if done.returncode:
        raise LauncherError(f"The migrations failed; their log {log.path} ends:\n{log.tail(start, 8)}")


class Cluster:
    """The servers of one state folder and what processes need to reach them.

    `settings` override Postgres' (postgres.SETTINGS); `migrate` is what fills a database (a test gives its own).
    """

    def __init__(
        self,
        state_dir: Path | str,
        *,
        deployment: str = "demo.localhost",
        migrate: Migrate = migrate_with_django,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.state = State(state_dir)
        self.deployment = deployment
        self.postgres = Postgres(self.state.folder, settings=settings)
        self.valkey = Valkey(self.state.folder)
        self._migrate = migrate

    @property
    def roles(self) -> roles.Roles:
        address = f"127.0.0.1:{self.postgres.port}"
        return roles.Roles(self.postgres.connect, self._passwords(), address)

    def start_servers(self) -> Cluster:
        """Postgres, Valkey and the roles, without a database; safe to repeat."""
        self.postgres.start()
        self.valkey.start()
        self.roles.ensure()
        self.roles.close_maintenance_databases()
        return self

    def start(self) -> Self:
        """Everything: servers, keys, and the database `codespar` at its newest migration; safe to repeat."""
        self.start_servers()
        self.roles.create_database(DATABASE)
        self.migrate(DATABASE)
        return self

    def stop(self) -> None:
        """Stop both servers; their data stays."""
        self.valkey.stop()
        self.postgres.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def migrate(self, database: str) -> None:
        """Bring `database` to the newest migration as its owner; raises LauncherError with the end of the log."""
        self._migrate(self.env("owner", database=database), LogFile(self.state.path("logs", "migrate.log")))

    def dsn(self, role: str, database: str = DATABASE) -> str:
        """`postgresql://` for one of ROLES."""
        return self.roles.dsn(f"codespar_{role}", database)

    def folder(self, database: str = DATABASE) -> Path:
        """Where the processes on `database` keep files: the state folder, or one of its own for another database."""
        return self.state.folder if database == DATABASE else self.state.path("stacks", database)

    def master_key_file(self) -> Path:
        """32 random bytes in base64, made once: without them nothing in the vault can be opened again."""
        self.state.secret("master.key", lambda: base64.b64encode(secrets.token_bytes(32)).decode())
        return self.state.path("master.key")

    def env(self, role: str, *, database: str = DATABASE, redis_db: int = 0, service: str = "api", **urls: str) -> dict[str, str]:
        """The environment of a process that runs as `role` (one of ROLES) and serves `service` (api or console).

        `urls` are base_url, console_url and rail_urls. Nothing of another role, and no CODESPAR_ or PG variable of
        the launcher's own environment, gets through; the auditor gets no key, no queue and no address.
        """
        if role not in ROLES:
            raise LauncherError(f"There is no role {role!r}; it is one of {', '.join(ROLES)}.")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CODESPAR_", "PG"))}
        every = inherited | {
            "DJANGO_SETTINGS_MODULE": "codespar.settings",
            "PYTHONUNBUFFERED": "1",
            "CODESPAR_ROLE": role,
            "CODESPAR_DATABASE_URL": self.dsn(role, database),
            "CODESPAR_DEPLOYMENT": self.deployment,
            "CODESPAR_CHECKPOINT_DIR": str(private_folder(self.folder(database) / "checkpoints")),
        }
        if role == "auditor":
            return every
        return every | {
            "CODESPAR_REDIS_URL": self.valkey.url(redis_db),
            "CODESPAR_MASTER_KEY_FILE": str(self.master_key_file()),
            "CODESPAR_SECRET_KEY": self.state.secret("django.key"),
            "CODESPAR_SERVICE": service,
            **{f"CODESPAR_{name.upper()}": value for name, value in urls.items()},
        }

    def _passwords(self) -> dict[str, str]:
        def make() -> str:
            return json.dumps({role: secrets.token_hex(24) for role in roles.LOGIN})

        return cast(dict[str, str], json.loads(self.state.secret("roles.json", make)))
