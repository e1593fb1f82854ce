"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket

# Below Linux's and macOS's ephemeral ranges: an outgoing connection can never take a port between our look and its use.
_RANGE = range(20000, 32000)
_given: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        # As the servers do: without it, a port whose last connections are in TIME_WAIT looks taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free(kept: int | None = None) -> int:
    """`kept` when it is still free, else a random free port that this process has not been given before."""
    if kept and is_free(kept):
        _given.add(kept)
        return kept
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.choice(_RANGE)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
