"""The demo's launcher as a process, with the sandbox provider as its only child and a story of one line."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codespar.launcher import identity
from codespar.launcher.cluster import PROJECT
from codespar.launcher.state import State
from codespar.launcher.stop import stop

PROGRAM = """
import functools, os, sys, time
from codespar.launcher import demo
from tests.launcher.conftest import migrate_one_table

def story(info, progress):
    time.sleep(float(os.environ.get("STORY_SECONDS", "0")))
    return {"base_url": info.base_url, "login": {"email": "ana@example.com"}, "curl": "curl -X POST"}

demo.play_the_story = story
demo.Cluster = functools.partial(demo.Cluster, migrate=migrate_one_table)
demo.Stack = functools.partial(demo.Stack, names=["provider"])
sys.exit(demo.main())
"""


@pytest.fixture
def folder(state_dir: Path) -> Iterator[Path]:
    try:
        yield state_dir
    finally:
        stop(state_dir, remove=True)


def start(folder: Path, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT,
        env=os.environ | {"CODESPAR_STATE_DIR": str(folder), "PYTHONUNBUFFERED": "1"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read_until(launcher: subprocess.Popen[str], text: str) -> str:
    said = ""
    assert launcher.stdout is not None
    while text not in said:
        line = launcher.stdout.readline()
        assert line, f"it ended early: {said}"
        said += line
    return said


def running(folder: Path) -> list[str]:
    """Command lines of live processes that belong to the state folder."""
    valkey = json.loads((folder / "valkey.json").read_text())["pid"] if (folder / "valkey.json").exists() else 0
    found = {pid: line for pid, line in identity.commands().items() if str(folder) in line or pid == valkey}
    return [line for pid, line in found.items() if identity.find(pid) and pid != os.getpid()]


def test_it_plays_the_story_writes_the_file_and_stops_everything(folder):
    done = start(folder, CODESPAR_DEMO_EXIT="1")
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 0, said
    for text in ("API:", "Console:", "Login email:", "ana@example.com", "curl -X POST", "Stopping ("):
        assert text in said
    file = folder / "demo.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["base_url"].startswith("http://127.0.0.1:")
    assert running(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_well_and_a_second_start_is_refused_before(folder, number):
    launcher = start(folder)
    read_until(launcher, "Press Ctrl-C")
    second = start(folder)
    said, _ = second.communicate(timeout=30)
    assert second.returncode == 1
    assert said.count("\n") == 1
    assert f"Another launcher (process {launcher.pid}) is already running on {folder}" in said
    launcher.send_signal(number)
    launcher.communicate(timeout=60)
    assert launcher.returncode == 0
    assert running(folder) == []


@pytest.mark.parametrize("seconds", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5])
def test_an_interrupt_while_it_starts_leaves_nothing_running(folder, seconds):
    launcher = start(folder, STORY_SECONDS="30")
    time.sleep(seconds)
    launcher.send_signal(signal.SIGINT)
    launcher.communicate(timeout=60)
    assert launcher.returncode in (130, -signal.SIGINT)
    assert running(folder) == []


def test_after_a_kill_the_next_start_takes_over(folder):
    launcher = start(folder)
    read_until(launcher, "Press Ctrl-C")
    url = json.loads((folder / "demo.json").read_text())["base_url"]
    launcher.kill()
    launcher.communicate()
    assert running(folder)
    again = start(folder, CODESPAR_DEMO_EXIT="1")
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0, said
    assert json.loads((folder / "demo.json").read_text())["base_url"] == url
    assert running(folder) == []


def test_a_server_that_dies_is_started_again(folder):
    launcher = start(folder)
    read_until(launcher, "Press Ctrl-C")
    os.kill(json.loads((folder / "valkey.json").read_text())["pid"], signal.SIGKILL)
    read_until(launcher, "A server has ended; starting it again.")
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=60)
    assert running(folder) == []


def test_stop_ends_what_a_killed_launcher_left(folder):
    launcher = start(folder)
    read_until(launcher, "Press Ctrl-C")
    launcher.kill()
    launcher.communicate()
    stop(folder, remove=True)
    assert not folder.exists()
    with contextlib.suppress(FileNotFoundError):
        assert running(folder) == []


def test_cleaning_removes_what_killed_crash_tests_left(folder: Path) -> None:
    left = State(folder / "crash-1").make().folder
    command, env = [sys.executable, "-m", "codespar.launcher.stop", "--remove"], os.environ | {"CODESPAR_STATE_DIR": str(folder)}
    assert subprocess.run(command, cwd=PROJECT, env=env, check=False).returncode == 0
    assert not left.exists()
