"""Waiting for the sealer."""

import time
from pathlib import Path

from tests.support.world import World


def folder(world: World) -> Path:
    """Where the world's engine keeps checkpoints outside the database."""
    return Path(world.info.env("auditor")["CODESPAR_CHECKPOINT_DIR"])


def sealed(world: World) -> Path:
    """Wait until the last entry stands in a checkpoint outside the database. Returns its file."""
    until = time.monotonic() + 30
    while True:
        # Refunds may still be on their way: the head must stand still while it is looked for.
        head = world.rows("SELECT seq FROM ledger_heads")[0]["seq"]
        file = folder(world) / world.org / f"{head:020}.note"
        if file.exists() and not world.rows("SELECT FROM refunds WHERE due_at IS NOT NULL"):
            return file
        assert time.monotonic() < until, f"{file} was not written"
        time.sleep(0.2)
