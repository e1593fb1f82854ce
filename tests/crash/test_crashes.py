"""Every process is killed and paused, and the rail's wire is broken, at random under a running load: nothing is lost, doubled or left over."""

import os
import secrets
import shutil
import time
from pathlib import Path

from tests.crash import engine as engines
from tests.crash import faults
from tests.crash.judge import judge
from tests.crash.load import Load
from tests.support import world as worlds

FAULTS = int(os.environ.get("CODESPAR_TEST_FAULTS", "50"))
SEED = int(os.environ.get("CODESPAR_TEST_SEED", secrets.randbelow(10**9)))
ONLY = os.environ.get("CODESPAR_TEST_ONLY", "")


def test_whatever_is_killed_each_payment_is_charged_once_or_not_at_all(tmp_path: Path) -> None:
    began = time.monotonic()
    print(f"\nCODESPAR_TEST_SEED={SEED} CODESPAR_TEST_FAULTS={FAULTS} CODESPAR_TEST_ONLY='{ONLY}' replay this plan")
    with engines.alone() as engine:
        world = worlds.make(engine.stack.info, money=10**7, wallet=9 * 10**6)
        # Long enough for many kills to fall between the bank's booking and our reading of it.
        engine.rail.lag = 0.15
        load = Load(world, SEED)
        player = faults.Player(engine, load.answers, print)
        with load.running():
            player.play(faults.plan(SEED, FAULTS, ONLY))
        verdict = judge(world, load.asked)
        shutil.copytree(engine.cluster.state.path("logs"), tmp_path / "logs")
    rows = [*sorted(player.made.items()), ("faults", player.made.total())]
    print("\n".join(f"{name:<28}{count:>7}" for name, count in rows))
    print(f"{verdict.table()}\n{'seconds':<28}{time.monotonic() - began:>7.0f}")
    print(
        f"logs of the processes: {tmp_path / 'logs'}",
        *(f"{name}: {line}" for name, found in verdict.complaints.items() for line in found),
        sep="\n",
    )
    assert verdict.complaints == {}
    assert player.made.total() == FAULTS
    assert verdict.states["payments settled"] > FAULTS / 4
    assert ONLY or verdict.states["payments found by asking"] > 0
