"""A proxy between the dispatcher and its rail that does something to single requests."""

import contextlib
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.proxy import Proxy, reset

STRIKES = ("drop_before", "drop_after", "delay", "half_request", "half_answer", "duplicate", "corrupt", "reorder")


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens to the next request.

    drop_before: the rail never sees it. drop_after: the rail answers and nobody hears it. delay: it arrives `seconds` late.
    half_request and half_answer: a part of the bytes (`share`), then the end. duplicate: it arrives again, `seconds` later.
    corrupt: bytes of the answer (at `share`) are rubbish. reorder: the next request overtakes it, or none within `seconds`.
    none: nothing happens to it.
    """

    name: str
    seconds: float = 0.0
    share: float = 0.5


class RequestProxy(Proxy):
    """A `Proxy` for HTTP with `Content-Length` bodies. Each planned strike hits one request, in the order of planning.

    `lag` is how many seconds each answer is on its way: the time in which the rail has booked what its client has not heard of.
    `made` counts the strikes that have found their request.
    """

    lag = 0.0

    def __init__(self, host: str, port: int) -> None:
        self._planned: deque[Strike] = deque()
        self._held: threading.Event | None = None
        self._under_way = 0
        self._passed = threading.Condition()
        self._passes = 0
        self.made: Counter[str] = Counter()
        self.holding = threading.Event()
        super().__init__(host, port)

    def strike(self, strike: Strike) -> None:
        self._planned.append(strike)

    @property
    def planned(self) -> int:
        """How many strikes have not found their request yet."""
        return len(self._planned)

    @property
    def under_way(self) -> int:
        """How many requests were taken and may still arrive."""
        return self._under_way

    @contextlib.contextmanager
    def holding_writes(self) -> Iterator[None]:
        """Keep every PUT that arrives, as a slow network would, and let all of them go on at the end; `holding` says that there is one."""
        self.holding.clear()
        self._held = threading.Event()
        try:
            yield
        finally:
            held, self._held = self._held, None
            held.set()

    def _join(self, client: socket.socket) -> None:
        if self.fault is not None:
            return super()._join(client)
        threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        """All requests of one connection, one after the other."""
        server = None
        try:
            while request := _message(client):
                if server is None:
                    server = self._connect()
                    with self._lock:
                        self._pairs.append((client, server))
                with self._counted():
                    goes_on = self._pass(client, server, request)
                if not goes_on:
                    break
        except OSError:
            pass
        for one in filter(None, (client, server)):
            reset(one)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _connect(self) -> socket.socket:
        server = socket.create_connection(self.target, timeout=5)
        server.settimeout(None)
        return server

    def _pass(self, client: socket.socket, server: socket.socket, request: bytes) -> bool:
        """One request and its answer. Whether the connection goes on."""
        strike = self._next()
        if strike.name == "drop_before":
            return False
        if strike.name == "half_request":
            return _half(server, request, strike.share)
        if strike.name == "reorder":
            self._be_overtaken(strike.seconds)
        self._wait(request, strike.seconds if strike.name == "delay" else 0.0)
        server.sendall(request)
        self._tell_passed()
        answer = _message(server)
        if not answer or strike.name == "drop_after":
            return False
        if strike.name == "half_answer":
            return _half(client, answer, strike.share)
        if strike.name == "duplicate":
            threading.Thread(target=self._again, args=(request, strike.seconds), daemon=True).start()
        time.sleep(self.lag)
        client.sendall(_spoiled(answer, strike.share) if strike.name == "corrupt" else answer)
        return strike.name != "corrupt"

    def _next(self) -> Strike:
        with self._lock:
            strike = self._planned.popleft() if self._planned else Strike("none")
            self.made[strike.name] += strike.name != "none"
            return strike

    def _wait(self, request: bytes, seconds: float) -> None:
        """Whoever has sent the request may be gone when it goes on: the rail gets it all the same."""
        time.sleep(seconds)
        held = self._held
        if held is not None and request.startswith(b"PUT"):
            self.holding.set()
            held.wait()

    def _be_overtaken(self, seconds: float) -> None:
        with self._passed:
            before = self._passes
            self._passed.wait_for(lambda: self._passes > before, timeout=seconds)

    def _tell_passed(self) -> None:
        with self._passed:
            self._passes += 1
            self._passed.notify_all()

    def _again(self, request: bytes, seconds: float) -> None:
        with self._counted(), contextlib.suppress(OSError):
            time.sleep(seconds)
            self._send_again(request)

    def _send_again(self, request: bytes) -> None:
        with self._connect() as server:
            server.sendall(request)
            _message(server)


def _message(one: socket.socket) -> bytes:
    """A whole HTTP message; empty at the end of the connection."""
    found = b""
    while b"\r\n\r\n" not in found:
        data = one.recv(65_536)
        if not data:
            return b""
        found += data
    head, _, body = found.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    left = int(fields.get(b"content-length", b"0")) - len(body)
    while left > 0:
        data = one.recv(left)
        if not data:
            return b""
        found, left = found + data, left - len(data)
    return found


def _half(to: socket.socket, message: bytes, share: float) -> bool:
    """A part of the message and no more. What the other side makes of that is its own business."""
    to.sendall(message[: int(len(message) * share)])
    to.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        to.settimeout(5)
        to.recv(65_536)
    return False


def _spoiled(message: bytes, share: float) -> bytes:
    """Bytes that no JSON and no header has, somewhere in the message."""
    at = int(share * (len(message) - 8))
    return message[:at] + b"\xff\x00\xfe\xff" + message[at + 4 :]
