"""`python -m codespar.launcher.demo`: everything on this machine, with a story played through it.

CODESPAR_STATE_DIR names the state folder (`.codespar` in the current one by default); CODESPAR_DEMO_EXIT=1 ends after
the story. Exit status: 0 after a normal end, 1 when something was in the way, 130 when it was interrupted while starting.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from codespar.launcher import interrupts
from codespar.launcher.cluster import Cluster
from codespar.launcher.errors import LauncherError
from codespar.launcher.progress import Progress
from codespar.launcher.stack import Stack, StackInfo
from codespar.launcher.state import State, write_private

_DEMO_FILE = "demo.json"
_AUDITOR_FILE = "auditor.env"


def main() -> int:
    state = State(os.environ.get("CODESPAR_STATE_DIR") or ".codespar")
    try:
        with interrupts.installed():
            state.make()
            with state.only_one():
                return _run(state, Progress())
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    except interrupts.Interrupted:
        return 130


def play_the_story(info: StackInfo, progress: Progress) -> dict[str, Any]:
    """Play the demo's story against the running stack; returns what goes into demo.json.

    Looked up by name because the launcher is below everything else and may not import the engine.
    """
    story: dict[str, Any] = import_module("codespar.demo.story").play(info, progress)
    return story


def _run(state: State, progress: Progress) -> int:
    cluster = Cluster(state.folder)
    stack = Stack(cluster)
    state.path(_DEMO_FILE).unlink(missing_ok=True)
    try:
        _start(cluster, stack, progress)
        story = play_the_story(stack.info, progress)
        write_private(state.path(_AUDITOR_FILE), _exports(stack.info.env("auditor")))
        write_private(state.path(_DEMO_FILE), json.dumps(story, indent=2, default=str) + "\n")
        _announce(story, stack.info, state.path(_DEMO_FILE), progress)
        return 0 if os.environ.get("CODESPAR_DEMO_EXIT") == "1" else _stay(cluster, stack, progress)
    finally:
        with interrupts.ignored():
            _stop(cluster, stack, progress)


def _start(cluster: Cluster, stack: Stack, progress: Progress) -> None:
    with progress.step("Starting Postgres and Valkey"):
        cluster.start_servers()
    with progress.step("Migrating the database"):
        cluster.start()
    with progress.step(f"Starting {', '.join(stack.names)}"):
        stack.start()


def _stop(cluster: Cluster, stack: Stack, progress: Progress) -> None:
    """Both halves, even when the first one fails: a server must not outlive the launcher for that."""
    with progress.step("Stopping"):
        try:
            stack.stop()
        finally:
            cluster.stop()


def _stay(cluster: Cluster, stack: Stack, progress: Progress) -> int:
    """Until somebody presses Ctrl-C, or a process stays down; servers that die are started again on their ports."""
    progress.line("Press Ctrl-C to stop.")
    try:
        while stack.supervisor.failure is None:
            time.sleep(1.0)
            if not (cluster.postgres.healthy() and cluster.valkey.healthy()):
                progress.line("A server has ended; starting it again.")
                cluster.start_servers()
    except interrupts.Interrupted:
        return 0
    raise LauncherError(stack.supervisor.failure)


def _announce(story: dict[str, Any], info: StackInfo, file: Path, progress: Progress) -> None:
    """URLs, login and one call to copy; the story's own words win where it has them."""
    progress.line()
    for label, key, otherwise in (
        ("API", "api_url", info.base_url),
        ("Console", "console_url", info.console_url),
        ("Sandbox provider", "sandbox_url", info.sandbox_url),
    ):
        progress.line(f"{label + ':':<22}{story.get(key, otherwise)}")
    for name, value in _login(story).items():
        progress.line(f"{'Login ' + name + ':':<22}{value}")
    progress.line(f"{'Details:':<22}{file}")
    progress.line()
    progress.line(str(story.get("curl") or f"curl {info.base_url}/v1/status"))
    if "pin" in story:
        progress.line()
        progress.line(f". {file.with_name(_AUDITOR_FILE)} && .venv/bin/codespar verify --pin {story['org']}={story['pin']}")
    progress.line()


def _exports(env: dict[str, str]) -> str:
    """The engine's variables as a file that a shell reads with `.`: what an auditor's commands need."""
    found = {name: value for name, value in sorted(env.items()) if name.startswith("CODESPAR_")}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items())


def _login(story: dict[str, Any]) -> dict[str, Any]:
    login = story.get("login", {})
    return login if isinstance(login, dict) else {"": login}


if __name__ == "__main__":
    sys.exit(main())
