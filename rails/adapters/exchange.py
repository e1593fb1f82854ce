"""HTTP that keeps its deadlines and never sends twice: one pool for each process, one deadline for each call."""

from __future__ import annotations

import enum
import http.cookiejar
import os
import select
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpcore2
import httpx2

from codespar.lib.addresses import is_here, is_private, is_public

LARGEST_BODY = 64 * 1024


class Reach(enum.Enum):
    """Which addresses a call may connect to. A rail's own is configured; the others are for a host that somebody else named."""

    ANY = "any"
    PUBLIC = "public"
    PUBLIC_OR_HERE = "public_or_here"

    def holds(self, address: str) -> bool:
        """Whether `address`, an IP address, is within it."""
        return self is Reach.ANY or is_public(address) or (self is Reach.PUBLIC_OR_HERE and is_here(address))


class AddressRefused(Exception):
    """Raised in the place of a connection: the host's address is not within the call's reach."""


class SendByPassed(Exception):
    """Raised in the place of a write: `send_by` has passed."""


@dataclass(slots=True)
class _Call:
    deadline: float
    send_by: datetime | None
    clock: Callable[[], datetime]
    reach: Reach
    largest: int
    wrote_on: object | None = None
    received: bytearray = field(default_factory=bytearray)
    headers: dict[str, str] = field(default_factory=dict)

    def left(self, error: type[Exception]) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise error("the deadline has passed")
        return left

    def before_write(self, stream: object) -> None:
        if self.wrote_on not in (None, stream):
            raise httpcore2.LocalProtocolError("a request is never written on a second connection")
        if self.send_by is not None and self.clock() >= self.send_by:
            raise SendByPassed
        self.wrote_on = stream


_call: ContextVar[_Call] = ContextVar("rail_call")


@contextmanager
def _named(timed_out: type[Exception], failed: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timed_out(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error


class _Stream(httpcore2.NetworkStream):
    """A socket whose every operation ends at the deadline of the call that uses it, however slowly bytes drip in."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _named(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._sock.settimeout(_call.get().left(httpcore2.ReadTimeout))
            return self._sock.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        call, view = _call.get(), memoryview(buffer)
        while view:
            self._sock.settimeout(call.left(httpcore2.WriteTimeout))
            call.before_write(self)
            with _named(httpcore2.WriteTimeout, httpcore2.WriteError):
                view = view[self._sock.send(view) :]

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        try:
            with _named(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                self._sock.settimeout(_call.get().left(httpcore2.ConnectTimeout))
                return _Stream(ssl_context.wrap_socket(self._sock, server_hostname=server_hostname))
        except BaseException:
            self._sock.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        return self._readable() if info == "is_readable" else None

    def _readable(self) -> bool:
        if self._sock.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))


def _connected(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(_call.get().left(httpcore2.ConnectTimeout))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


class _Network(httpcore2.NetworkBackend):
    """Connects within the deadline of the call; names are resolved in a thread, so that it holds for DNS too."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._resolver = ThreadPoolExecutor(4, thread_name_prefix="resolver")

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failure: Exception = httpcore2.ConnectError(f"{host} has no address")
        for family, address in self._addresses(host, port):
            try:
                with _named(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                    return _Stream(_connected(family, address))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> list[tuple[int, Any]]:
        found = self._resolver.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            rows = found.result(_call.get().left(httpcore2.ConnectTimeout))
        except FutureTimeout:
            raise httpcore2.ConnectTimeout(f"{host} was not resolved in time") from None
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        if not all(self._reach.holds(str(row[4][0])) for row in rows):
            raise AddressRefused(f"{host} is not a public address")
        return [(row[0], row[4]) for row in rows]


class _Transport(httpx2.BaseTransport):
    """Our sockets under httpx2: HTTP/1.1 only, no proxy, no connect retries, nothing that sends a request again."""

    def __init__(self, reach: Reach) -> None:
        self._pool = httpcore2.ConnectionPool(
            max_connections=128, keepalive_expiry=20.0, retries=0, http2=False, network_backend=_Network(reach)
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        answer = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        return httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer), request=request)


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


# One for each reach: a call must not find a connection that it could not have made.
_clients: dict[Reach, httpx2.Client] = {}
_client_lock = threading.Lock()


def _process_client(reach: Reach) -> httpx2.Client:
    with _client_lock:
        if reach not in _clients:
            nobody = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
            _clients[reach] = httpx2.Client(transport=_Transport(reach), trust_env=False, follow_redirects=False, cookies=nobody)
        return _clients[reach]


def _forget_clients() -> None:
    """After a fork the child opens its own sockets: those of the parent are not its to write to or to close."""
    global _clients, _client_lock
    _clients, _client_lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_forget_clients)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and what came back. `status` is None unless the whole answer was read; then `failure` says why.

    `failure` is empty or one of send_by_passed, address_refused, connect_failed, pool_timeout, timeout, disconnected, invalid_response.
    `headers` are the answer's, by their names in small letters.
    """

    status: int | None
    body: bytes
    sent: bool
    failure: str
    detail: str
    request: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def safe_url(base_url: str) -> str:
    """The rail's address without its last slash. Raises ValueError when it is neither https nor http on a loopback address."""
    parts = urllib.parse.urlsplit(base_url)
    if parts.query or parts.fragment or not is_private(base_url):
        raise ValueError("base_url must be https, or http on a loopback address, without a query, a fragment or a user")
    return base_url.rstrip("/")


def bearer(api_key: str) -> dict[str, str]:
    """The credentials of a call whose API key is its bearer token. Raises ValueError for one that cannot stand in a header."""
    if not api_key.isascii() or not api_key.isprintable():
        raise ValueError("api_key must be printable ASCII")
    return {"Authorization": f"Bearer {api_key}"}


def utc_now() -> datetime:
    return datetime.now(UTC)


def exchange(
    method: str,
    url: str,
    *,
    credentials: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    deadline: float,
    send_by: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
    reach: Reach = Reach.ANY,
    largest: int = LARGEST_BODY,
) -> Exchange:
    """One HTTP request, sent at most once; trouble on the way is part of what it returns, not an exception.

    `reach` says which addresses it may connect to; an answer longer than `largest` bytes is not read.
    `deadline` (`time.monotonic()`) covers the wait for a connection, DNS, connect, TLS, write and read together.
    `send_by` is compared with the clock on the line before each `socket.send`. What remains is the time between that
    comparison and the send: a process paused exactly there still sends when it wakes up, and so does the kernel with
    bytes it has buffered. Nothing in user space closes this; the rail's memory of our key is what makes it harmless.
    """
    call = _Call(deadline, send_by, clock, reach, largest)
    shown = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
    request = f"{method} {httpx2.URL(url).raw_path.decode()} HTTP/1.1\r\n".encode() + shown + b"\r\n" + body
    status, failure, detail = None, "", ""
    token = _call.set(call)
    try:
        status = _receive(method, url, {**headers, **credentials, "Accept-Encoding": "identity"}, body, call)
    except SendByPassed:
        failure, detail = "send_by_passed", "the time to send by had passed before the write"
    except AddressRefused as error:
        failure, detail = "address_refused", str(error)
    except _TROUBLE as error:
        failure, detail = _failure(error, call), str(error) or type(error).__name__
    finally:
        _call.reset(token)
    sent = call.wrote_on is not None
    return Exchange(
        status=status,
        body=bytes(call.received[:largest]),
        sent=sent,
        failure=failure,
        detail=detail,
        request=request,
        headers=call.headers,
    )


class _BadAnswer(Exception):
    """The answer cannot be read as HTTP with a small, plain body."""


_TROUBLE = (
    *(httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol),
    *(httpx2.HTTPError, httpx2.StreamError, _BadAnswer),
)


def _receive(method: str, url: str, headers: Mapping[str, str], body: bytes, call: _Call) -> int:
    left = call.left(httpcore2.PoolTimeout)
    with _process_client(call.reach).stream(method, url, headers=headers, content=body, timeout=left) as answer:
        call.headers.update(answer.headers)
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise _BadAnswer("the answer is compressed")
        for chunk in answer.iter_raw():
            call.received += chunk
            if len(call.received) > call.largest:
                raise _BadAnswer(f"the answer is longer than {call.largest} bytes")
        return answer.status_code


def _failure(error: Exception, call: _Call) -> str:
    if isinstance(error, httpcore2.PoolTimeout):
        return "pool_timeout"
    if isinstance(error, (httpcore2.ConnectError, httpcore2.ConnectTimeout)):
        return "connect_failed"
    if isinstance(error, httpcore2.TimeoutException):
        return "timeout"
    closed = isinstance(error, httpcore2.NetworkError) or "disconnected" in str(error) or "peer closed" in str(error)
    return "disconnected" if closed else "invalid_response"
