"""Sends what the bank has to tell, at least once, signed: by Standard Webhooks (https://www.standardwebhooks.com), or in Stripe's way.

The outbox is in the book: a restart delivers what a kill left. A retry keeps the id and gets a fresh timestamp.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import sqlite3
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

from rails.sandbox import card_book, outbox
from rails.sandbox.book import Book
from rails.sandbox.secret_file import SecretFile

# Seconds to wait after each failed attempt; after the last one the bank gives up.
RETRIES = (0.5, 2.0, 5.0, 15.0, 60.0)
TIMEOUT = 5.0
WORKERS = 8
TICK = 0.05


def signature(secret: str, message_id: str, sent_at: int, body: bytes) -> str:
    """`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; the secret is `whsec_` and base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{sent_at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def stripe_signature(secret: str, sent_at: int, body: bytes) -> str:
    """`t=` and the time, `v1=` and the hexadecimal HMAC-SHA256 of `t.body`; the key is the secret as it is written."""
    mac = hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256)
    return f"t={sent_at},v1={mac.hexdigest()}"


def post(url: str, headers: dict[str, str], body: bytes) -> int:
    """The status of the answer; raises OSError or HTTPException. Redirects are not followed."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


class Deliverer:
    """The background thread: settles what was accepted and whose time has come, and delivers events that are due."""

    def __init__(self, book: Book, secrets: SecretFile) -> None:
        self._book, self._secrets = book, secrets
        self._stop = threading.Event()
        self._flying: set[int] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="webhook")
        self._thread = threading.Thread(target=self._loop, name="deliverer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Waits for deliveries under way, at most `TIMEOUT` seconds each; the rest stays in the outbox."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _loop(self) -> None:
        while not self._stop.wait(TICK):
            self._book.settle_due()
            card_book.settle_due(self._book)
            for event in self._book.due_events(64, len(RETRIES) + 1, self._secrets.current().webhook_url):
                self._hand_out(event)

    def _hand_out(self, event: sqlite3.Row) -> None:
        with self._lock:
            if event["seq"] in self._flying:
                return
            self._flying.add(event["seq"])
        self._pool.submit(self._deliver, event)

    def _deliver(self, event: sqlite3.Row) -> None:
        try:
            if self._accepted(event):
                self._book.event_delivered(event["seq"], event["account"])
            else:
                self._book.event_failed(event["seq"], RETRIES[min(event["attempts"], len(RETRIES) - 1)])
        finally:
            with self._lock:
                self._flying.discard(event["seq"])

    def _accepted(self, event: sqlite3.Row) -> bool:
        secret = event["webhook_secret"] or self._secrets.current().webhook_secret
        if not secret:
            return False
        (body, media), sent_at = outbox.written(event), int(time.time())
        headers = {"Content-Type": media}
        if event["api"] == "card":
            headers["Stripe-Signature"] = stripe_signature(secret, sent_at, body)
        else:
            headers |= {"webhook-id": event["id"], "webhook-timestamp": str(sent_at)}
            headers["webhook-signature"] = signature(secret, event["id"], sent_at, body)
        try:
            return 200 <= post(event["url"], headers, body) < 300
        except (OSError, ValueError, http.client.HTTPException):
            return False
