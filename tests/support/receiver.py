"""A real receiver of the engine's webhooks, which believes nothing that the library of Standard Webhooks does not verify."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.support.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it came in, and what the library made of it: the payload, or None when it refused."""

    headers: dict[str, str]
    body: bytes
    told: dict[str, Any] | None

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`answers` is what is said next, one after the other, and then 204: a status, with a place to go to, or None for silence."""

    server: http.server.ThreadingHTTPServer
    endpoint: str = ""
    secret: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: list[tuple[int, str | None] | None] = field(default_factory=list)
    always: tuple[int, str | None] | None = (204, None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hook?who=somebody"

    def take(self, headers: dict[str, str], body: bytes) -> tuple[int, str | None] | None:
        try:
            told = Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError:
            told = None
        self.calls.append(Call(headers, body, told))
        return self.answers.pop(0) if self.answers else self.always

    def of(self, kind: str) -> list[Call]:
        """The calls of that type whose signature held."""
        return [call for call in self.calls if call.told and call.told["type"] == kind]

    def wait(self, kind: str, count: int = 1, seconds: float = 20.0) -> list[Call]:
        until = time.monotonic() + seconds
        while len(self.of(kind)) < count:
            assert time.monotonic() < until, [(call.told, call.headers) for call in self.calls]
            time.sleep(0.05)
        return self.of(kind)


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    """A receiver that listens, and is no endpoint of anybody's yet."""
    found: Receiver
    quiet = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            said = found.take({name.lower(): value for name, value in self.headers.items()}, body)
            if said is None:
                quiet.wait(60)
                return
            self.send_response(said[0])
            if said[1]:
                self.send_header("Location", said[1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        found = Receiver(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield found
        finally:
            quiet.set()
            server.shutdown()


def enlist(world: World, found: Receiver, *types: str) -> Receiver:
    """Make it an endpoint of this organisation's, with a secret of its own."""
    made = world.people().post("/v1/webhook-endpoints", {"url": found.url} | ({"types": list(types)} if types else {}))
    found.endpoint, found.secret = made["id"], made["secret"]
    return found


def deliveries(world: World, found: Receiver) -> list[dict[str, Any]]:
    """As people see them, newest first."""
    return list(world.people().get(f"/v1/webhook-endpoints/{found.endpoint}/deliveries?limit=100")["data"])


def delivered(world: World, found: Receiver, status: str, seconds: float = 15.0) -> dict[str, Any]:
    """The newest delivery, once it is in that status."""
    until = time.monotonic() + seconds
    while (now := deliveries(world, found))[:1] == [] or now[0]["status"] != status:
        assert time.monotonic() < until, now
        time.sleep(0.1)
    return now[0]


def due(world: World) -> None:
    """What waits for its next attempt is due now, as if its time had come."""
    with world.db("super") as connection:
        connection.execute("UPDATE webhook_deliveries SET next_at = clock_timestamp() WHERE status = 'pending'")
        connection.execute("UPDATE webhook_endpoints SET due_at = clock_timestamp() WHERE due_at IS NOT NULL")
