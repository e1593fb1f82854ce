import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from codespar.launcher.errors import LauncherError
from codespar.launcher.state import State


def test_a_secret_is_made_once_and_only_its_owner_may_read_it(state):
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: State(state.folder).secret("some.password"), range(16)))
    assert len(found) == 1
    assert stat.S_IMODE(state.path("some.password").stat().st_mode) == 0o600


def test_a_torn_state_file_counts_as_missing(state):
    state.path("ports.json").write_text('{"api": 2')
    assert state.read("ports.json") == {}
    state.update("ports.json", api=20001)
    assert state.read("ports.json") == {"api": 20001}


def test_a_second_launcher_is_told_who_runs(state):
    with state.only_one(), pytest.raises(LauncherError, match=f"process {os.getpid()}.*already running"):
        State(state.folder).only_one().__enter__()
    with State(state.folder).only_one():
        pass


def test_the_lock_of_a_killed_launcher_is_free(state):
    program = (
        "import os, signal; from codespar.launcher.state import State\n"
        f"with State({str(state.folder)!r}).only_one(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    with state.only_one():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_another_user_is_refused(state):
    os.chown(state.folder, 65534, 65534)
    with pytest.raises(LauncherError, match="belongs to user 65534"):
        state.make()
