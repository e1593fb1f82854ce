"""A cluster of the launcher's own for these tests; nothing here needs Django or a migration."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from codespar.launcher.cluster import Cluster
from codespar.launcher.logs import LogFile
from codespar.launcher.state import State


def migrate_one_table(env: Mapping[str, str], log: LogFile) -> None:
    """What the migrations are to the launcher: the owner makes tables in the schema, once."""
    with psycopg.connect(env["CODESPAR_DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS codespar.note (text text)")
        connection.execute("GRANT SELECT ON codespar.note TO codespar_auditor")


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A folder that other users may pass through, as a checkout is; pytest's own are closed to them."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="codespar-test-"))
    folder.chmod(0o755)
    try:
        yield folder / "state"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def state(state_dir: Path) -> State:
    return State(state_dir).make()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One running cluster with the database `codespar` for all tests of a module that do not break it."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="codespar-test-"))
    folder.chmod(0o755)
    made = Cluster(folder / "state", migrate=migrate_one_table)
    try:
        yield made.start()
    finally:
        made.stop()
        shutil.rmtree(folder)
