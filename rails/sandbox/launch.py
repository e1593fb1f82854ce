"""Starts the bank as a child process and talks to its control plane: for tests, demos and drills."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any


class Provider:
    """A bank in a process of its own, on a free loopback port, with its book in `folder`.

    It keeps its port and its book over `kill` and `start`. `secrets` is written to a file only its owner may read.
    """

    def __init__(self, folder: pathlib.Path, secrets: dict[str, Any] | None = None) -> None:
        self.folder, self.port = folder, 0
        self.secret_file = folder / "secrets.json"
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.write_secrets(secrets or {"api_keys": {}})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the provider is not running"
        return self._process.pid

    def write_secrets(self, secrets: dict[str, Any]) -> None:
        """Replaces the secret file in one step; the running bank reads it again."""
        draft = self.secret_file.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(secrets, file)
        draft.replace(self.secret_file)

    def start(self) -> Provider:
        """Returns once the bank listens; raises RuntimeError when it does not come up."""
        command = [sys.executable, "-m", "rails.sandbox.provider", "--port", str(self.port)]
        command += ["--data", str(self.folder / "data"), "--secret-file", str(self.secret_file)]
        root = pathlib.Path(__file__).parents[2]
        with (self.folder / "provider.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=root)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("listening on "):
            self._process.wait(timeout=10)
            raise RuntimeError(f"the provider did not start: {(self.folder / 'provider.log').read_text()}")
        self.port = int(line.strip().rpartition(":")[2])
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal and waits, at most 15 seconds; the exit status, negative for a signal."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            if process.stdout:
                process.stdout.close()

    def kill(self) -> int:
        """kill -9."""
        return self.stop(signal.SIGKILL)

    def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None, timeout: float = 10.0
    ) -> tuple[int, Any]:
        """The status and the parsed JSON of one request; raises OSError when there is no answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data=data, method=method, headers={"Content-Type": "application/json"} | (headers or {})
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())

    def fault(self, name: str, count: int = 1, **more: Any) -> None:
        status, answer = self.call("POST", "/_control", {"fault": name, "count": count, **more})
        if status != 201:
            raise ValueError(answer["detail"])

    def open_account(self, account: str, api_key: str, balance: int, **more: Any) -> dict[str, Any]:
        body = {"account": account, "api_key": api_key, "balance": balance, **more}
        status, answer = self.call("POST", "/_control/accounts", body)
        if status != 201:
            raise ValueError(answer["detail"])
        return dict(answer)

    def ledger(self) -> dict[str, Any]:
        return dict(self.call("GET", "/_ledger")[1])
