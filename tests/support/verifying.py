"""`codespar verify` on one organisation's database, as its auditor runs it."""

import os
import subprocess
import sys

from codespar.launcher.cluster import PROJECT
from tests.support import books
from tests.support.world import World


def unverified(world: World) -> list[str]:
    """What `codespar verify` finds wrong: nothing."""
    command = [sys.executable, "-m", "codespar", "verify", "--org", world.org, "--pin", f"{world.org}={world.pin}", "--json"]
    env = os.environ | world.info.env("auditor")
    done = subprocess.run(command, env=env, cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False)
    return [f"codespar verify ended with {done.returncode}: {done.stdout}{done.stderr}"] if done.returncode else []


def complaints(world: World) -> list[str]:
    """What is wrong with the books, the records or the chain: nothing."""
    return books.faults(world) + books.unrecorded(world) + unverified(world)
