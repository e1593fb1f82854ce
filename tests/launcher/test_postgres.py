"""An embedded Postgres through everything that can happen to it. Each test has a server of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from codespar.launcher import accounts, binaries, identity
from codespar.launcher.cluster import PROJECT
from codespar.launcher.errors import LauncherError
from codespar.launcher.postgres import Postgres

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has another user to run Postgres as")


@pytest.fixture
def server(state_dir):
    made = Postgres(state_dir, settings={"shared_buffers": "16MB"})
    try:
        yield made
    finally:
        made.remove()


def postmaster(server: Postgres) -> identity.Process:
    found = identity.find(int((server.data / "postmaster.pid").read_text().split()[0]))
    assert found is not None
    return found


def remember(server: Postgres, word: str) -> None:
    with server.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def words(server: Postgres) -> list[str]:
    with server.connect() as connection:
        return [row[0] for row in connection.execute("SELECT word FROM words")]


def test_it_runs_as_in_production_on_loopback_with_a_password(server):
    server.start()
    with server.connect() as connection:
        found = {
            name: connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0]
            for name in ("fsync", "synchronous_commit", "max_connections", "listen_addresses", "data_checksums")
        }
    assert found == {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "200",
        "listen_addresses": "127.0.0.1",
        "data_checksums": "on",
    }
    for host in ("127.0.0.1", str(server.sockets)):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(host=host, port=server.port, user="codespar_super", password="wrong", dbname="postgres")


def test_data_and_port_are_there_again_after_a_stop(server):
    remember(server.start(), "kept")
    port, process = server.port, postmaster(server)
    server.stop()
    assert not process.alive
    assert not server.healthy()
    assert not server.sockets.exists()
    assert words(server.start()) == ["kept"]
    assert server.port == port


def test_a_start_while_it_runs_takes_the_same_server(server):
    server.start()
    process = postmaster(server)
    assert postmaster(Postgres(server.state.folder).start()) == process


def test_a_taken_port_is_replaced(server):
    server.start()
    port = server.port
    server.stop()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert server.start().port != port
        assert server.healthy()


def test_a_fixed_port_that_is_taken_is_an_error_that_says_where_the_log_is(state_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Postgres(state_dir, port=taken.getsockname()[1])
        try:
            with pytest.raises(LauncherError, match=r"Postgres did not start \(.*\); its log is .*postgres\.log"):
                server.start()
        finally:
            server.remove()


def test_a_killed_postmaster_is_recovered_with_its_data(server):
    remember(server.start(), "committed")
    with server.connect() as connection:
        process = postmaster(server)
        identity.send(process, signal.SIGKILL)
        assert identity.wait_gone(process, 5)
        assert words(server.start()) == ["committed"]
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert postmaster(server) != process


def test_a_server_that_does_not_answer_is_replaced(server, monkeypatch):
    monkeypatch.setattr("codespar.launcher.postgres.ANSWER_SECONDS", 0.5)
    remember(server.start(), "committed")
    process = postmaster(server)
    identity.send(process, signal.SIGSTOP)
    other = Postgres(server.state.folder, settings=server.settings)
    assert words(other.start()) == ["committed"]
    assert not process.alive


def test_the_server_of_a_killed_launcher_is_used_again(server):
    program = (
        "import os, signal; from codespar.launcher.postgres import Postgres\n"
        f"Postgres({str(server.state.folder)!r}).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=False).returncode == -9
    process = postmaster(server)
    assert server.healthy()
    assert postmaster(server.start()) == process
    server.stop()
    assert not process.alive


def test_a_stranger_who_has_the_postmasters_pid_is_left_alone(server):
    remember(server.start(), "kept")
    pid_file = (server.data / "postmaster.pid").read_text().split("\n", 1)
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            (server.data / "postmaster.pid").write_text("\n".join([str(stranger.pid), pid_file[1]]))
            server.stop()
            assert words(server.start()) == ["kept"]
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_data_directory_of_another_major_version_is_refused(server):
    server.start()
    server.stop()
    (server.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(LauncherError, match=r"was made by PostgreSQL 12 and .* is PostgreSQL 1\d"):
        server.start()
    assert (server.data / "PG_VERSION").read_text() == "12\n"


def test_an_initdb_that_was_cut_off_is_done_again(server):
    server.state.make()
    server._prepare()
    server.data.rename(server.folder / "data.new")
    assert server.start().healthy()


def test_a_lost_password_is_explained(server):
    server.start()
    server.stop()
    server.state.path("postgres.password").rename(server.state.path("elsewhere"))
    with pytest.raises(LauncherError, match="postgres.password is missing"):
        server.start()
    server.state.path("elsewhere").rename(server.state.path("postgres.password"))


@as_root
def test_data_lives_in_the_state_folder_when_the_servers_user_can_get_there(server):
    server.start()
    assert server.folder == server.state.path("postgres")
    assert server.data.stat().st_uid == accounts.for_servers().uid


@as_root
def test_data_lives_under_var_tmp_when_the_state_folder_is_closed(tmp_path):
    tmp_path.chmod(0o700)
    server = Postgres(tmp_path / "state", settings={"shared_buffers": "16MB"})
    try:
        remember(server.start(), "kept")
        assert server.folder.parent == binaries.SHARED_FOLDER
        server.stop()
        assert words(Postgres(tmp_path / "state").start()) == ["kept"]
    finally:
        server.remove()
    assert not server.folder.exists()


@as_root
def test_a_system_installation_is_good_enough(state_dir, monkeypatch):
    folders = sorted(Path("/").glob("usr/lib/postgresql/1[5-9]/bin/initdb"))
    if not folders:
        pytest.skip("this system has no PostgreSQL of its own")
    monkeypatch.setenv("CODESPAR_PG_BIN", str(folders[0].parent))
    server = Postgres(state_dir)
    try:
        remember(server.start(), "kept")
        assert words(server) == ["kept"]
    finally:
        server.remove()


NOBODY = accounts.Account("nobody", 65534, 65534)


def as_nobody(argv: list[str], command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` as the user nobody; `argv` comes first, with ways around a Python that only root can reach."""
    paths = os.pathsep.join([str(PROJECT), *filter(None, sys.path)])
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    who = {} if argv else accounts.options(NOBODY)
    return subprocess.run([*argv, *command], env=env, cwd="/", capture_output=True, text=True, check=False, **who)


def way_to_nobody() -> list[str] | None:
    """An empty list when nobody can run our Python, else a setpriv that lets it read root's, else None."""
    capability = "+dac_read_search"
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for argv in ([], [*setpriv, f"--inh-caps={capability}", f"--ambient-caps={capability}"]):
        try:
            if as_nobody(argv, [sys.executable, "-c", "import codespar.launcher.cluster"]).returncode == 0:
                return argv
        except OSError:
            continue
    return None


@as_root
def test_an_ordinary_user_runs_everything_as_itself():
    way = way_to_nobody()
    if way is None:
        pytest.skip("no other user can run this Python")
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="codespar-test-"))
    os.chown(folder, NOBODY.uid, NOBODY.gid)
    script = (
        "from codespar.launcher.cluster import Cluster; import psycopg, sys\n"
        "cluster = Cluster(sys.argv[1], migrate=lambda env, log: None)\n"
        "for _ in range(2):\n"
        "    with cluster:\n"
        "        with psycopg.connect(cluster.dsn('agent')) as connection:\n"
        "            print(connection.execute('SELECT current_user').fetchone()[0], cluster.valkey.healthy())\n"
        "print(cluster.postgres.folder)\n"
    )
    try:
        done = as_nobody(way, [sys.executable, "-c", script, str(folder / "state")])
        assert done.stderr == ""
        assert done.stdout.split() == ["codespar_agent", "True"] * 2 + [str(folder / "state" / "postgres")]
        assert all(path.stat().st_uid == NOBODY.uid for path in (folder / "state" / "postgres" / "data").iterdir())
    finally:
        shutil.rmtree(folder)
