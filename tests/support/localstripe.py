"""A fake of Stripe's API that nobody here wrote, as a process of its own: it is GPL, and is run, never imported."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from rails.adapters import card_looks

API_KEY = "sk_test_codespar"
LOOPBACK = pathlib.Path(__file__).parent / "loopback"


class LocalStripe:
    """`python -m localstripe` on a free loopback port, empty at its start. It keeps its port over `kill` and `start`, and nothing else."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> LocalStripe:
        """Returns once it answers; raises RuntimeError when it does not within twenty seconds."""
        command = [sys.executable, "-m", "localstripe", "--port", str(self.port), "--from-scratch"]
        with (self.folder / "localstripe.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(LOOPBACK)}, cwd=self.folder
            )
        until = time.monotonic() + 20
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.call("GET", "/v1/payment_intents")
                return self
            except OSError:
                time.sleep(0.05)
        raise RuntimeError((self.folder / "localstripe.log").read_text())

    def stop(self) -> None:
        """Ends this process, by its own id."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=10)

    def call(
        self, method: str, path: str, fields: dict[str, Any] | None = None, raw: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """The status and the parsed JSON, or the text, of one request with a form or a raw body."""
        basic = base64.b64encode(f"{API_KEY}:".encode()).decode()
        data = raw if fields is None else urllib.parse.urlencode(fields).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={"Authorization": f"Basic {basic}"} | headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.code, _parsed(refusal.read())

    def empty(self) -> None:
        """All that it has is gone, and nobody remembers it."""
        self.call("DELETE", "/_config/data")
        card_looks.of.cache_clear()

    def listed(self, what: str) -> list[dict[str, Any]]:
        """Everything of one kind, the way it lists it."""
        return list(self.call("GET", f"/v1/{what}?limit=1000")[1]["data"])


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()
