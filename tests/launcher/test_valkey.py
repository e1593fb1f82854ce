import signal
import subprocess
import sys

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from codespar.launcher import identity
from codespar.launcher.cluster import PROJECT
from codespar.launcher.errors import LauncherError
from codespar.launcher.valkey import Valkey


@pytest.fixture
def server(state_dir):
    made = Valkey(state_dir)
    try:
        yield made
    finally:
        made.stop()


def process(server: Valkey) -> identity.Process:
    kept = server.state.read("valkey.json")
    return identity.Process(kept["pid"], kept["start"])


def test_it_answers_on_loopback_to_the_password_alone(server):
    server.start()
    assert server.client(63).ping()
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)).ping()
    assert server.client().config_get("bind") == {"bind": "127.0.0.1"}
    assert server.client().config_get("save") == {"save": ""}


def test_the_password_is_on_no_command_line(server):
    server.start()
    assert not any(server.password in line for line in identity.commands().values())


def test_a_stop_leaves_no_process_and_a_start_keeps_the_port(server):
    server.start()
    first, port = process(server), server.port
    server.stop()
    assert not first.alive
    assert not server.healthy()
    assert server.start().port == port


def test_a_killed_server_is_started_again(server):
    server.start()
    first = process(server)
    identity.send(first, signal.SIGKILL)
    identity.wait_gone(first, 5)
    assert server.start().healthy()
    assert process(server) != first


def test_the_server_of_a_killed_launcher_is_used_again(server):
    program = (
        "import os, signal; from codespar.launcher.valkey import Valkey\n"
        f"Valkey({str(server.state.folder)!r}).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=PROJECT, check=False).returncode == -9
    first = process(server)
    assert process(server.start()) == first
    server.stop()
    assert not first.alive


def test_a_stranger_with_the_noted_pid_is_not_killed(server):
    server.start()
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            server.state.update("valkey.json", pid=stranger.pid, start="another time")
            server.start()
            server.stop()
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_server_that_cannot_start_is_explained(server, monkeypatch):
    monkeypatch.setenv("CODESPAR_VALKEY_BIN", "/bin/false")
    with pytest.raises(LauncherError, match=f"Valkey did not start; its log is {server.log.path}"):
        server.start()
