"""Clients that each do one payment after another, for some seconds, and what they saw."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# One payment from the first byte to settled; raises when that is not what came of it.
Pay = Callable[[], None]


@dataclass(slots=True)
class Sample:
    """What was seen: how long it lasted, and the seconds of each payment. Samples add up."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

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
        return Sample(self.seconds + other.seconds, self.latencies + other.latencies)


def run(clients: list[Pay], seconds: float) -> Sample:
    """Let all `clients` pay at once for `seconds`, each in a thread of its own. Raises what the first failed payment raised."""
    start = threading.Barrier(len(clients) + 1)
    sample, lock, faults = Sample(), threading.Lock(), list[BaseException]()
    until = 0.0

    def work(pay: Pay) -> None:
        own: list[float] = []
        start.wait()
        try:
            while (begun := time.perf_counter()) < until and not faults:
                pay()
                own.append(time.perf_counter() - begun)
        except Exception as error:
            faults.append(error)
        with lock:
            sample.latencies += own

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
    return sample
