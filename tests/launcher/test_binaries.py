import os
import shutil
from pathlib import Path

import pytest

from codespar.launcher import accounts, binaries
from codespar.launcher.errors import LauncherError


def pretend_postgres(folder: Path, version: str) -> Path:
    """A bin folder whose programs say they are PostgreSQL `version`."""
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_wheel_is_found_without_importing_it():
    found = binaries.postgres()
    assert found.major >= binaries.MINIMUM
    assert (found.folder / "initdb").exists()


def test_the_environment_names_the_binaries_first(tmp_path, monkeypatch):
    monkeypatch.setenv("CODESPAR_PG_BIN", str(pretend_postgres(tmp_path / "pg" / "bin", "17.2")))
    assert binaries.postgres().version == "17.2"
    monkeypatch.setenv("CODESPAR_VALKEY_BIN", "/bin/sh")
    assert binaries.valkey() == Path("/bin/sh")


def test_an_old_postgres_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CODESPAR_PG_BIN", str(pretend_postgres(tmp_path / "pg" / "bin", "14.11")))
    with pytest.raises(LauncherError, match=r"14\.11; version 15 or later is needed"):
        binaries.postgres()


def test_a_folder_without_a_server_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CODESPAR_PG_BIN", str(tmp_path))
    with pytest.raises(LauncherError, match="has no initdb and postgres"):
        binaries.postgres()
    monkeypatch.setenv("CODESPAR_VALKEY_BIN", str(tmp_path / "none"))
    with pytest.raises(LauncherError, match="which is not a program"):
        binaries.valkey()


def test_without_the_wheel_the_newest_system_installation_is_used(tmp_path, monkeypatch):
    for version in ("14.1", "15.3", "16.9"):
        pretend_postgres(tmp_path / version / "bin", version)
    monkeypatch.setattr(binaries, "_wheel_folder", lambda *_: None)
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", (f"{tmp_path}/*/bin",))
    monkeypatch.setattr(binaries.shutil, "which", lambda _: None)
    assert binaries.postgres().version == "16.9"
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", (f"{tmp_path}/14*/bin",))
    with pytest.raises(LauncherError, match="version 15 or later"):
        binaries.postgres()
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", ())
    with pytest.raises(LauncherError, match="There is no PostgreSQL here"):
        binaries.postgres()


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the binaries where they are")
def test_binaries_that_the_servers_user_cannot_reach_are_copied_once(tmp_path, monkeypatch):
    account = accounts.for_servers()
    found = binaries.postgres()
    tmp_path.chmod(0o700)
    for tree in found.trees:
        shutil.copytree(found.root / tree, tmp_path / tree, symlinks=True)
    hidden = tmp_path / found.folder.relative_to(found.root)
    closed = binaries.PostgresBinaries(hidden, found.version, tmp_path, found.trees)
    assert not accounts.may_run(account, hidden / "postgres")
    copy = binaries.for_account(closed, account)
    root = binaries.SHARED_FOLDER / copy.folder.relative_to(binaries.SHARED_FOLDER).parts[0]
    try:
        assert accounts.may_run(account, copy.folder / "postgres")
        made = root.stat().st_mtime_ns
        assert binaries.for_account(closed, account).folder == copy.folder
        assert root.stat().st_mtime_ns == made
        os.chown(root, 65534, 65534)
        with pytest.raises(LauncherError, match="made by somebody else"):
            binaries.for_account(closed, account)
    finally:
        shutil.rmtree(root)
