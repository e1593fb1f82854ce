"""Raw TCP servers for tests: what a broken, slow or hostile rail may do with a connection."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator


def within(seconds: float) -> float:
    """A deadline that many seconds from now."""
    return time.monotonic() + seconds


def _whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)


class RawServer:
    """Accepts connections and hands each to `script`; counts connections and requests read."""

    def __init__(self, script: Callable[[RawServer, socket.socket], None]) -> None:
        self.script, self.requests, self.connections = script, 0, 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.script(self, connection)

    def read_request(self, connection: socket.socket) -> bytes:
        received = b""
        while not _whole(received):
            chunk = connection.recv(65536)
            if not chunk:
                return b""
            received += chunk
        self.requests += 1
        return received

    def close(self) -> None:
        self.socket.close()
        for connection in self.open:
            connection.close()


Script = Callable[[RawServer, socket.socket], None]
Raw = Callable[[Script], RawServer]


@contextlib.contextmanager
def raw_servers() -> Iterator[Raw]:
    """Starts servers; all of them end with the block."""
    servers: list[RawServer] = []

    def start(script: Script) -> RawServer:
        servers.append(RawServer(script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def http_answer(body: bytes, status: int = 201, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def answering(payload: bytes) -> Callable[[RawServer, socket.socket], None]:
    def script(server: RawServer, connection: socket.socket) -> None:
        while server.read_request(connection):
            connection.sendall(payload)

    return script


def dripping(head: bytes, drop: bytes) -> Callable[[RawServer, socket.socket], None]:
    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return script
