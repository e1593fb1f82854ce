"""The bench of revocations works: it revokes in both organisations, and writes a row for each scope."""

import os
import subprocess
import sys
from pathlib import Path

from codespar.launcher.cluster import PROJECT


def test_everything_is_revoked_and_one_row_a_scope_says_so(tmp_path: Path) -> None:
    env = {**os.environ, "CODESPAR_STATE_DIR": str(tmp_path)}
    argv = [sys.executable, "-m", "bench", "--smoke", "--only", "revocations"]
    done = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if line.startswith("| ")]
    told = {(row[0], row[1]) for row in rows if len(row) == 4 and row[1] in ("10", "100")}
    assert told == {
        (what, count) for what in ("revoke agent", "revoke project", "revoke org", "refuse the next payment") for count in ("10", "100")
    }
    assert rows[-1][-1] == "6", "three scopes of two organisations"
