"""`python -m codespar.launcher.stop [--remove]`: end whatever runs in the state folder, and with --remove delete it.

For `make clean`, and for what a killed launcher or test session left running.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from codespar.launcher.cluster import Cluster
from codespar.launcher.errors import LauncherError
from codespar.launcher.processes import kill_leftovers
from codespar.launcher.state import State


def stop(folder: Path, *, remove: bool = False) -> None:
    """Stop the processes and servers of a state folder; raises LauncherError while a launcher runs on it."""
    state = State(folder)
    if not state.folder.is_dir():
        return
    with state.only_one():
        for stack in (state.folder, *state.path("stacks").glob("*")):
            kill_leftovers(stack)
        cluster = Cluster(state.folder)
        cluster.stop()
        if remove:
            cluster.postgres.remove()
            shutil.rmtree(state.folder)


def main() -> int:
    remove = "--remove" in sys.argv[1:]
    folder = Path(os.environ.get("CODESPAR_STATE_DIR") or ".codespar")
    try:
        for each in (*folder.glob("crash-*"), folder / "test", folder / "bench", folder):
            stop(each, remove=remove)
    except LauncherError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
