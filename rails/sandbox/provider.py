"""The bank as a process: `python -m rails.sandbox.provider --port P --data DIR --secret-file FILE`.

It listens on a loopback address only, prints `listening on http://127.0.0.1:P` once it does, keeps its book in DIR,
and stops cleanly on SIGTERM and SIGINT. Port 0 takes a free port.
"""

from __future__ import annotations

import argparse
import fcntl
import ipaddress
import json
import pathlib
import signal
import socket
import sys
import threading
import traceback
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rails.sandbox import api
from rails.sandbox.book import Book, Refusal
from rails.sandbox.faults import Faults
from rails.sandbox.requests import HangUp, Request
from rails.sandbox.secret_file import BadSecretFile, SecretFile
from rails.sandbox.webhooks import Deliverer
from rails.sandbox.wire_drop import Drop

LARGEST_BODY = 64 * 1024


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], bank: api.Bank) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.bank = bank
        self.busy = 0
        self.idle = threading.Condition()
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is normal here; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    timeout = 75

    def do_GET(self) -> None:
        self._serve()

    do_PUT = do_POST = do_PATCH = do_DELETE = do_GET

    def _serve(self) -> None:
        with self.server.idle:
            self.server.busy += 1
        try:
            self._respond()
            self.wfile.flush()
        finally:
            with self.server.idle:
                self.server.busy -= 1
                self.server.idle.notify_all()

    def _respond(self) -> None:
        note = self._note()
        try:
            status, body = self.server.bank.answer(self._request())
        except Refusal as refusal:
            self._refuse(note, refusal)
        except HangUp:
            self.close_connection = True
        except Exception:
            traceback.print_exc()
            self._refuse(note, Refusal(500, "internal", "the bank failed"))
        else:
            self._answer(note, status, body, api.manners(self.path).answers)

    def _refuse(self, note: str | None, refusal: Refusal) -> None:
        manners = api.manners(self.path)
        self._answer(note, refusal.status, manners.error(refusal), manners.media)

    def _answer(self, note: str | None, status: int, body: object, media: str) -> None:
        if note:
            self.server.bank.book.note_status(note, status)
        self._send(status, api.encode(body), media)

    def _note(self) -> str | None:
        if self.path.startswith("/_"):
            return None
        return self.server.bank.book.note_request(self.command, self.path, self._key())

    def _key(self) -> str | None:
        """The client's key, by either name that the APIs have for it."""
        return self.headers.get("Idempotency-Key") or self.headers.get("x-idempotency-key")

    def _request(self) -> Request:
        url = urllib.parse.urlsplit(self.path)
        raw = self._body()
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        return Request(
            method=self.command,
            path=url.path,
            query=dict(urllib.parse.parse_qsl(url.query)),
            raw=raw,
            body=self._object(raw),
            bearer=credentials if scheme.lower() == "bearer" else "",
            idempotency_key=self._key(),
            consent=self.headers.get("x-consent-id", ""),
            basic=credentials if scheme.lower() == "basic" else "",
        )

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > LARGEST_BODY:
            self.close_connection = True
            raise Refusal(413, "invalid_request", f"send a Content-Length of at most {LARGEST_BODY}")
        raw = self.rfile.read(int(length))
        if len(raw) < int(length):
            # The client is gone in the middle of it. A part of a form may be a whole form: nothing of it counts.
            raise HangUp
        return raw

    def _object(self, raw: bytes) -> dict[str, Any] | None:
        if not raw or "json" not in self.headers.get("Content-Type", "json"):
            return None
        try:
            body = json.loads(raw, object_pairs_hook=_without_duplicates)
        except (ValueError, RecursionError):
            raise Refusal(400, "invalid_request", "the body is not JSON, or names a member twice") from None
        return body if isinstance(body, dict) else None

    def _send(self, status: int, body: bytes, media: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """The request log is in the book."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a member is named twice")
    return dict(pairs)


def loopback(host: str) -> str:
    """The host, when it is a loopback address; otherwise an argument error."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{host} is not a loopback address: the control plane has no password")


def serve(host: str, port: int, data: pathlib.Path, secret_file: pathlib.Path) -> None:
    """Serves until SIGTERM or SIGINT; raises OSError when the port or the data folder is taken."""
    secrets = SecretFile(secret_file)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        faults = Faults()
        bank = api.Bank(Book(data, faults), faults, secrets, data)
        server, deliverer = Server((host, port), bank), Deliverer(bank.book, secrets)
        drop = Drop(bank, data / "drop")
        _stop_on_signals(server, bank)
        deliverer.start()
        drop.start()
        print(f"listening on http://{host}:{server.server_address[1]}", flush=True)
        server.serve_forever(poll_interval=0.1)
        server.server_close()
        with server.idle:
            server.idle.wait_for(lambda: not server.busy, timeout=5)
        drop.stop()
        deliverer.stop()
        bank.book.close()


def _stop_on_signals(server: Server, bank: api.Bank) -> None:
    def stop(number: int, frame: object) -> None:
        bank.stopping.set()
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="rails.sandbox.provider", description="A sandbox bank, for tests and demos.")
    parser.add_argument("--host", type=loopback, default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--secret-file", type=pathlib.Path, required=True)
    asked = parser.parse_args(arguments)
    try:
        serve(asked.host, asked.port, asked.data, asked.secret_file)
    except (OSError, BadSecretFile) as failure:
        print(f"rails.sandbox.provider: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
