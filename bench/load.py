"""Clients that each do one payment after another, for some seconds, and what they saw."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# One payment from the first byte to the answer. Whether it is settled then; raises when there is no answer at all.
Pay = Callable[[], bool]


@dataclass(slots=True)
class Sample:
    """What was seen: how long it lasted, the seconds of each settled payment, and how many were answered otherwise. Samples add up."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    unsettled: int = 0

    @property
    def rate(self) -> float:
        """Payments a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: int) -> float:
        """Seconds within which so many percent of the payments were done."""
        if len(self.latencies) < 2:
            return self.latencies[0] if self.latencies else 0.0
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]

    def __add__(self, other: "Sample") -> "Sample":
        return Sample(self.seconds + other.seconds, self.latencies + other.latencies, self.unsettled + other.unsettled)


def run(clients: list[Pay], seconds: float) -> Sample:
    """Let all `clients` pay at once for `seconds`, each in a thread of its own. Raises what the first failed payment raised.

    Raises RuntimeError when nothing at all was settled: then there is nothing to compare.
    """
    start = threading.Barrier(len(clients) + 1)
    sample, lock, faults = Sample(), threading.Lock(), list[BaseException]()
    until = 0.0

    def work(pay: Pay) -> None:
        own, unsettled = list[float](), 0
        start.wait()
        try:
            # Each client pays at least once, however late it comes to it.
            while not faults and (not (own or unsettled) or time.perf_counter() < until):
                begun = time.perf_counter()
                if pay():
                    own.append(time.perf_counter() - begun)
                else:
                    unsettled += 1
        except Exception as error:
            faults.append(error)
        with lock:
            sample.latencies += own
            sample.unsettled += unsettled

    threads = [threading.Thread(target=work, args=(client,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    begun = time.perf_counter()
    until = begun + seconds
    start.wait()
    for thread in threads:
        thread.join()
    sample.seconds = time.perf_counter() - begun
    if faults:
        raise faults[0]
    if not sample.latencies:
        raise RuntimeError(f"Nothing was settled in {seconds} s over {len(clients)} connections.")
    return sample
