"""What goes wrong, when, and with whom: a plan that one number makes, and its execution."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from codespar.launcher import identity
from tests.crash.engine import Engine, kill
from tests.support.request_proxy import STRIKES, Strike

# How often each is struck, of a hundred faults: on the rail's wire, and kill -9 and SIGSTOP of each process.
_WIRE = 36
_WEIGHTS: dict[tuple[str, str], float] = {
    ("kill", "dispatcher child"): 24,
    ("pause", "dispatcher child"): 8,
    ("kill", "dispatcher"): 2,
    ("pause", "dispatcher"): 2,
    ("kill", "api child"): 2,
    ("kill", "api"): 1,
    ("pause", "api child"): 1,
    ("kill", "console"): 1,
    ("pause", "console child"): 1,
    ("kill", "worker"): 1,
    ("kill", "worker child"): 1,
    ("pause", "worker child"): 1,
    ("kill", "beat"): 1,
    ("kill", "postgres"): 2,
    ("kill", "postgres child"): 3,
    ("pause", "postgres"): 1,
    ("pause", "postgres child"): 3,
    ("kill", "valkey"): 2,
    ("pause", "valkey"): 2,
    ("kill", "provider"): 3,
    ("pause", "provider"): 2,
}
_PATIENCE = 10.0
# Found dead by nobody else: the supervisor brings all others back.
_SERVERS = ("postgres", "valkey")


@dataclass(frozen=True, slots=True)
class Fault:
    """`after` seconds from the fault before, `kind` (kill, pause or one of STRIKES) strikes `whom`.

    `seconds` is how long a pause, an outage or a delay lasts; `pick`, from 0 to 1, chooses among several processes, or a place in a message.
    """

    after: float
    kind: str
    whom: str
    seconds: float
    pick: float


def plan(seed: int, count: int, only: str = "") -> list[Fault]:
    """The same faults for the same arguments. Every kind is there once, and then as often as its weight says.

    `only` leaves the kinds whose name (as in "kill dispatcher child") contains it.
    """
    choose = random.Random(seed)
    weights = _WEIGHTS | {(strike, "rail"): _WIRE / len(STRIKES) for strike in STRIKES}
    weights = {name: weight for name, weight in weights.items() if only in " ".join(name)}
    every = list(weights)
    drawn = every + choose.choices(every, list(weights.values()), k=max(0, count - len(every)))
    choose.shuffle(drawn)
    return [Fault(choose.uniform(0.1, 0.8), kind, whom, _seconds(choose), choose.random()) for kind, whom in drawn[:count]]


def _seconds(choose: random.Random) -> float:
    """Mostly short; one in eight is longer than an attempt may wait, a rail or a database may take, and a lease's renewal."""
    return choose.uniform(6, 12) if choose.random() < 0.125 else choose.uniform(0.1, 2.5)


@dataclass
class Player:
    """Strikes an engine with a plan. `answers` counts what the load was told; `say` hears one line for each fault that was made."""

    engine: Engine
    answers: Callable[[], int]
    say: Callable[[str], object]
    made: Counter[str] = field(default_factory=Counter)
    _paused: list[threading.Timer] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def play(self, faults: list[Fault]) -> None:
        """Make each fault; one whose victim is just starting waits for it. Returns once everybody goes on."""
        waiting: list[Fault] = []
        for fault in faults:
            self._wait(fault.after)
            waiting = [one for one in [*waiting, fault] if not self._made(one)]
        until = time.monotonic() + 120
        while waiting or self.engine.rail.planned:
            assert time.monotonic() < until, f"never made: {waiting}, and {self.engine.rail.planned} on the wire"
            time.sleep(0.2)
            waiting = [one for one in waiting if not self._made(one)]
        for timer in self._paused:
            timer.join()

    def _wait(self, seconds: float) -> None:
        """Let the time pass, and the load go on: striking what only starts up again, on a slow machine, tries nothing."""
        before, until = self.answers(), time.monotonic() + _PATIENCE
        time.sleep(seconds)
        while self.answers() == before and time.monotonic() < until:
            time.sleep(0.05)

    def _made(self, fault: Fault) -> bool:
        who = self._strike(fault) if fault.kind in STRIKES else self._signal(fault)
        if who:
            self.made[f"{fault.kind} {fault.whom}"] += 1
            self.say(f"{time.monotonic() - self._began:7.2f} {fault.kind} {fault.whom} {who} {fault.seconds:.1f}s")
        return bool(who)

    def _strike(self, fault: Fault) -> str:
        """The next request is hit, be it one that sends or one that asks."""
        self.engine.rail.strike(Strike(fault.kind, fault.seconds, fault.pick))
        return "next"

    def _signal(self, fault: Fault) -> str:
        found = self.engine.find(fault.whom)
        if not found:
            return ""
        victim = found[int(fault.pick * len(found))]
        if fault.kind == "pause":
            return str(victim.pid) if self._pause(victim, fault.seconds) else ""
        if not kill(victim):
            return ""
        if fault.whom in _SERVERS:
            time.sleep(min(fault.seconds, 3))
            self.engine.restart(fault.whom)
        return str(victim.pid)

    def _pause(self, victim: identity.Process, seconds: float) -> bool:
        if not identity.send(victim, signal.SIGSTOP):
            return False
        timer = threading.Timer(seconds, identity.send, (victim, signal.SIGCONT))
        timer.daemon = True
        timer.start()
        self._paused.append(timer)
        return True
