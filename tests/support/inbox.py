"""A real receiver of webhooks."""

from __future__ import annotations

import http.server
import json
import threading
import time
from typing import Any

Event = tuple[dict[str, str], bytes]


class Inbox:
    """A real webhook receiver; `refuse` makes it answer 500 that many times."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refuse = 0
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.events.append(({k.lower(): v for k, v in self.headers.items()}, body))
                inbox.refuse -= 1
                self.send_response(500 if inbox.refuse >= 0 else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def wait(self, count: int, seconds: float = 6.0) -> list[dict[str, Any]]:
        until = time.monotonic() + seconds
        while len(self.events) < count and time.monotonic() < until:
            time.sleep(0.02)
        assert len(self.events) >= count
        return [json.loads(body) for _, body in self.events]
