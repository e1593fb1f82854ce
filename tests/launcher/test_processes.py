"""The supervisor with small real children."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from codespar.launcher import identity, ports
from codespar.launcher.cluster import PROJECT
from codespar.launcher.errors import LauncherError
from codespar.launcher.processes import Spec, Supervisor, kill_leftovers

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
# A child of the child, in the same session, as the workers of a server are.
FAMILY = "import subprocess, sys, time; subprocess.Popen(['sleep', '61']); print('up', flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def spec(name: str, program: str = SLEEP, **options: object) -> Spec:
    env = {"PATH": os.environ["PATH"]}
    return Spec(name, [sys.executable, "-c", program], env, **({"ready_text": "up"} | options))


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(tmp_path / "run", backoff_seconds=0.05) as made:
        yield made


def wait_for(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def session(process: identity.Process) -> list[int]:
    """Live members of a child's session."""
    found = []
    for pid in identity.commands():
        try:
            if os.getsid(pid) == process.pid and identity.find(pid):
                found.append(pid)
        except ProcessLookupError:
            continue
    return found


def test_a_child_leads_its_own_session_and_writes_to_its_own_log(supervisor):
    supervisor.start(spec("one"))
    assert os.getsid(supervisor.pid("one")) == supervisor.pid("one")
    assert supervisor.log("one").read_text() == "up\n"
    assert supervisor.log("one").stat().st_mode & 0o077 == 0


def test_a_child_gets_its_environment_and_nothing_of_ours(supervisor, monkeypatch):
    monkeypatch.setenv("CODESPAR_SECRET_OF_THE_LAUNCHER", "x")
    supervisor.start(spec("one", "import os, time; print(sorted(os.environ), 'up', flush=True); time.sleep(60)"))
    assert "SECRET" not in supervisor.log("one").read_text()


def test_health_is_asked_over_http(supervisor):
    port = ports.free()
    server = (
        "import http.server, time; time.sleep(.3)\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(200 if self.path == '/ok' else 404); self.end_headers()\n"
        f"http.server.HTTPServer(('127.0.0.1', {port}), H).serve_forever()"
    )
    supervisor.start(spec("web", server, health_url=f"http://127.0.0.1:{port}/ok"))
    with pytest.raises(LauncherError, match=r"was not ready after 0 seconds"):
        supervisor.start(spec("sick", health_url=f"http://127.0.0.1:{port}/no"), wait=False)
        supervisor.wait_ready("sick", seconds=0.3)


def test_a_killed_child_comes_back(supervisor):
    supervisor.start(spec("one", FAMILY))
    first = identity.find(supervisor.pid("one"))
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: supervisor.pid("one") != first.pid)
    supervisor.wait_ready("one")
    assert session(first) == []
    assert supervisor.failure is None


def test_a_child_that_keeps_dying_is_given_up_with_a_reason(tmp_path):
    with Supervisor(tmp_path, max_restarts=2, backoff_seconds=0.01) as supervisor:
        supervisor.start(spec("bad", "import sys; sys.exit(7)"), wait=False)
        wait_for(lambda: supervisor.failure is not None)
        assert "bad stays down: it ended 3 times, the last time with status 7" in supervisor.failure


def test_a_child_that_never_gets_ready_shows_the_end_of_its_log(supervisor):
    with pytest.raises(LauncherError, match=r"bad does not stay up; its log .* ends:\n.*CODESPAR_ROLE is missing"):
        supervisor.start(spec("bad", "import sys; sys.exit('CODESPAR_ROLE is missing')"))


def test_a_program_that_does_not_exist_is_explained(supervisor):
    with pytest.raises(LauncherError, match=r"none cannot be started: .*No such file"):
        supervisor.start(Spec("none", ["/no/such/program"], {}))


def test_everything_is_stopped_in_reverse_order_grandchildren_included(tmp_path):
    supervisor = Supervisor(tmp_path)
    last_words = (
        "import signal, sys, time\n"
        f"def stop(*_): open({str(tmp_path / 'order')!r}, 'a').write(sys.argv[1]); sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop); print('up', flush=True); time.sleep(60)"
    )
    for name in "abc":
        supervisor.start(Spec(name, [sys.executable, "-c", last_words, name], {}, ready_text="up"))
    supervisor.start(spec("family", FAMILY))
    children = [identity.find(supervisor.pid(name)) for name in ("a", "b", "c", "family")]
    supervisor.stop()
    assert (tmp_path / "order").read_text() == "cba"
    assert not any(child.alive for child in children)
    assert session(children[3]) == []
    supervisor.stop()


def test_a_child_that_ignores_the_polite_signal_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("codespar.launcher.processes.STOP_SECONDS", 0.3)
    supervisor = Supervisor(tmp_path)
    supervisor.start(spec("deaf", DEAF))
    child = identity.find(supervisor.pid("deaf"))
    supervisor.stop()
    assert not child.alive


def killed_launcher(folder, program: str) -> list[identity.Process]:
    """Start a child under a launcher, kill that launcher, and return the child's session."""
    script = (
        "import os, signal, sys; from codespar.launcher.processes import *\n"
        f"s = Supervisor(__import__('pathlib').Path({str(folder)!r}))\n"
        f"s.start(Spec('one', [sys.executable, '-c', {program!r}], dict(os.environ), ready_text='up'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False).returncode == -9
    noted = json.loads((folder / "processes.json").read_text())["children"][0]
    return [identity.find(pid) for pid in session(identity.Process(noted["pid"], noted["start"]))]


def test_what_a_killed_launcher_left_is_ended_by_the_next(tmp_path):
    left = killed_launcher(tmp_path, FAMILY)
    assert len(left) == 2
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(spec("one"))
        assert not any(process.alive for process in left)


def test_orphans_whose_leader_is_gone_are_ended_too(tmp_path):
    leader, orphan = sorted(killed_launcher(tmp_path, FAMILY), key=lambda process: process.pid)
    identity.send(leader, signal.SIGKILL)
    identity.wait_gone(leader, 5)
    assert orphan.alive
    assert kill_leftovers(tmp_path) == 1
    assert not orphan.alive


def test_a_stranger_who_has_a_noted_pid_is_not_killed(tmp_path):
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        noted = {"children": [{"name": "one", "pid": stranger.pid, "start": "boot:1"}], "token": "t"}
        (tmp_path / "processes.json").write_text(json.dumps(noted))
        try:
            assert kill_leftovers(tmp_path) == 0
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_children_of_a_living_launcher_are_not_touched(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as other:
        noted = {"launcher": {"pid": other.pid, "start": identity.started(other.pid)}, "children": []}
        (tmp_path / "processes.json").write_text(json.dumps(noted))
        try:
            with pytest.raises(LauncherError, match="still runs the processes"):
                kill_leftovers(tmp_path)
        finally:
            other.kill()
