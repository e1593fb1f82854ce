"""A TCP proxy that stands between a process and what it depends on, and misbehaves when it is told to."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Self

FAULTS = ("refuse", "reset", "hang", "rubbish")
RUBBISH = b"HTTP/1.1 200 OK\r\n\r\n<html>\x00\xff\xfeIt works!</html>\r\n$-7\r\n*99\r\n"
_LINGER = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on loopback, passes bytes to `target` and back; `fault` is one of FAULTS, or None.

    refuse: nobody listens. reset: connections break at once. hang: bytes are taken and nothing ever comes back. rubbish: every
    question is answered with bytes that mean nothing. A fault strikes connections that are open already, too.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.fault: str | None = None
        self._pairs: list[tuple[socket.socket, socket.socket | None]] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    @contextlib.contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        """The fault, for the length of a block."""
        self._set(fault)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, fault: str | None) -> None:
        before, self.fault = self.fault, fault
        if fault in ("refuse", "reset") or before is not None:
            # What was swallowed is lost: those who wait for it start anew.
            self._break()
        if fault == "refuse":
            self._close()
        elif self._listener is None:
            self._listen()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=256)
        self.port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # A closed descriptor alone does not wake the thread that accepts on it.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self._break()

    def _break(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in filter(None, pair):
                reset(one)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            if self.fault in ("refuse", "reset"):
                reset(client)
                continue
            self._join(client)

    def _join(self, client: socket.socket) -> None:
        server = None
        if self.fault is None:
            try:
                server = socket.create_connection(self.target, timeout=5)
                server.settimeout(None)
            except OSError:
                reset(client)
                return
        with self._lock:
            self._pairs.append((client, server))
        threading.Thread(target=self._pump, args=(client, server, client), daemon=True).start()
        if server is not None:
            threading.Thread(target=self._pump, args=(server, client, client), daemon=True).start()

    def _pump(self, source: socket.socket, drain: socket.socket | None, client: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if self.fault is None and drain is not None:
                    drain.sendall(data)
                elif self.fault == "rubbish" and source is client:
                    client.sendall(RUBBISH)
        except OSError:
            pass
        for one in filter(None, (source, drain)):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def reset(one: socket.socket) -> None:
    """Close with RST: the other side learns at once that nothing comes any more."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        one.shutdown(socket.SHUT_RD)
    with contextlib.suppress(OSError):
        one.close()
