"""A queue that goes away at any moment is away, and nothing else: no hint may turn a payment that is written down into an error."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from uuid import uuid4

import pytest

from codespar.launcher.stack import StackInfo


@contextmanager
def hanging_up(after: int) -> Iterator[str]:
    """The URL of a server that answers so many commands on each connection, and hangs up at the next."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                for _ in range(after):
                    if not connection.recv(65536):
                        break
                    connection.sendall(b"+OK\r\n")

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("after", range(4))
def test_a_server_that_hangs_up_is_a_server_that_is_away(stack: StackInfo, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    from codespar.lib import cache
    from codespar.lib.errors import Unavailable
    from rails import hints

    with hanging_up(after) as url:
        monkeypatch.setattr(cache, "settings", SimpleNamespace(CONFIG=SimpleNamespace(redis_url=url)))
        cache.client.cache_clear()
        try:
            hints.work("sandbox")
            hints.outcome(uuid4())
            hints.wait(uuid4(), 0.05)
            hints.take("sandbox")
            with suppress(Unavailable) if after else pytest.raises(Unavailable, match="new payments are refused"):
                cache.require()
        finally:
            cache.client.cache_clear()
