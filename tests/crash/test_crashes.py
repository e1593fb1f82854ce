"""Every process is killed and paused, and the rail's wire is broken, at random under a running load: nothing is lost, doubled or left over."""

import os
import secrets
import time
from pathlib import Path

from tests.crash import engine as engines
from tests.crash import faults
from tests.crash.judge import judge
from tests.crash.load import Load
from tests.support import world as worlds

FAULTS = int(os.environ.get("CODESPAR_TEST_FAULTS", "50"))
SEED = int(os.environ.get("CODESPAR_TEST_SEED", secrets.randbelow(10**9)))


def test_whatever_is_killed_each_payment_is_charged_once_or_not_at_all(tmp_path: Path) -> None:
    began, log = time.monotonic(), tmp_path / "faults.log"
    print(f"\nCODESPAR_TEST_SEED={SEED} CODESPAR_TEST_FAULTS={FAULTS}; what was done is in {log}")
    with engines.alone() as engine, log.open("w") as lines:
        world = worlds.make(engine.stack.info, money=10**7, wallet=9 * 10**6)
        load = Load(world, SEED)
        player = faults.Player(engine, lambda line: print(line, file=lines, flush=True))
        with load.running():
            player.play(faults.plan(SEED, FAULTS))
        verdict = judge(world, load.asked)
    made = "\n".join(f"{name:<28}{count:>7}" for name, count in sorted(player.made.items()))
    print(f"{made}\n{verdict.table()}\n{'faults':<28}{player.made.total():>7}\n{'seconds':<28}{time.monotonic() - began:>7.0f}")
    assert verdict.complaints == {}
    assert player.made.total() == FAULTS
    assert verdict.states["payments settled"] > FAULTS
