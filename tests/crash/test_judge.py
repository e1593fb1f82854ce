"""The judge of the crash tests is worth something: it finds what a weaker engine would do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from codespar.launcher import testing
from tests.crash import engine as engines
from tests.crash.engine import Engine
from tests.crash.judge import judge
from tests.crash.load import Asked, Load
from tests.support import world as worlds
from tests.support.world import World, raw_id

# A server that writes when it is asked to, and else in its own time: what was not asked for is lost with it.
LAZY = {"wal_writer_delay": "10s", "wal_writer_flush_after": "100MB"}


def test_a_database_that_confirms_what_it_has_not_written_is_found_out() -> None:
    """The same load and the same kill -9 of Postgres, first as in production, then without waiting for the disk."""
    with engines.alone(names=("provider", "api", "console", "dispatcher"), **LAZY) as engine:
        honest, hasty = (worlds.make(engine.stack.info) for _ in range(2))
        kept = paid_over_a_kill(engine, honest)
        database = engine.stack.info.database
        with engine.cluster.postgres.connect() as superuser:
            superuser.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
        engines.kill(engine.find("postgres")[0])
        engine.restart("postgres")
        gone = paid_over_a_kill(engine, hasty)
        assert judge(honest, kept.asked, seconds=0).lost == []
        assert [line for line in judge(hasty, gone.asked, seconds=0).lost if line.endswith("is not there")]


def paid_over_a_kill(engine: Engine, world: World) -> Load:
    load = Load(world, seed=1)
    with load.running():
        time.sleep(4)
        engines.kill(engine.find("postgres")[0])
        engine.restart("postgres")
        time.sleep(1)
    return load


def test_a_payment_that_leaves_late_is_found_out_and_send_by_is_what_prevents_it(worker_id: str) -> None:
    """Three dispatchers stop between their last look and the call, and go on when nobody can expect their request any more.

    One keeps `send_by`: nothing leaves. One has forgotten it, lives, and books what it is answered: its payment was not given up before.
    One has forgotten it and dies while its request is on the wire: its payment was given up, and the bank books it.
    """
    copy = testing.copy(f"late_{worker_id}")
    with engines.behind_proxy(copy.stack()) as engine:
        processes = [late_dispatcher(engine, *how) for how in ((), ("careless",), ("careless",))]
        world = worlds.make(engine.stack.info)
        with without_dispatcher(engine.stack):
            late = [(stopped(world, number, process), process) for number, process in enumerate(processes)]
        kept, lived, died = (asked.told[0][0] for asked, _ in late)
        # Five seconds in which it may be sent, and thirty in which the bank may still take it.
        time.sleep(36)
        with engine.rail.holding_writes():
            go_on(late[2][1])
            assert engine.rail.holding.wait(10)
            end(late[2][1])
            assert world.settled(died, 30)["status"] == "failed"
        for _, process in late[:2]:
            go_on(process)
            assert process.wait(20) == 0
        assert (world.settled(kept)["status"], world.settled(lived)["status"]) == ("failed", "settled")
        verdict = judge(world, [asked for asked, _ in late])
        assert set(verdict.complaints) == {"orphans", "books"}
        assert len(verdict.orphans) == 1 and died in verdict.orphans[0]
        assert world.rows("SELECT code FROM payments WHERE id = %s", raw_id(kept)) == [{"code": "send_by_passed"}]


@contextmanager
def without_dispatcher(stack: engines.Stack) -> Iterator[None]:
    spec = next(one for one in stack.specs() if one.name == "dispatcher")
    stack.supervisor.stop("dispatcher")
    yield
    stack.supervisor.start(spec)


def late_dispatcher(engine: Engine, *how: str) -> subprocess.Popen[bytes]:
    env = next(one for one in engine.stack.specs() if one.name == "dispatcher").env
    return subprocess.Popen([sys.executable, "-m", "tests.crash.late_dispatcher", *how], env=dict(env), stdin=subprocess.PIPE)


def stopped(world: World, number: int, process: subprocess.Popen[bytes]) -> Asked:
    """A payment whose attempt this dispatcher has recorded, and has not made."""
    asked = Asked(f"late-{number}", 101 + number)
    headers = {"Idempotency-Key": asked.key, "Prefer": "respond-async"}
    answer = world.api._http.post("/v1/payments", json=world.body(asked.amount), headers=headers).json()
    asked.told.append((answer["id"], answer["status"]))
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.close()
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    assert world.payment(answer["id"])["status"] == "submitted"
    return asked


def go_on(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
