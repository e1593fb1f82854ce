"""A chain for tests: a node, a facilitator and a merchant, each a process of its own, and short words for what is done on the chain."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import traceback
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from codespar.lib.evm import keccak256
from rails.adapters.x402_signing import word

ROOT = Path(__file__).parents[2]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


class Threads(ThreadingMixIn):
    """A thread for each caller, and no word about one that hung up."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


class _Wsgi(Threads, WSGIServer):
    pass


def serve(app: Any) -> None:
    """Serve a WSGI application on a free loopback port, say where in one line, and end with whoever started this process."""
    server = make_server("127.0.0.1", 0, app, server_class=_Wsgi, handler_class=_Quiet)
    print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}"}), flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


@contextlib.contextmanager
def process(module: str, *arguments: str, place: socket.socket | None = None) -> Iterator[dict[str, Any]]:
    """The module as a process, ready; what it said in its first line. It listens on `place`, if it is given one."""
    handed = () if place is None else (place.fileno(),)
    command = [sys.executable, "-m", f"tests.support.{module}", *arguments, *map(str, handed)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=handed) as child:
        assert child.stdin is not None and child.stdout is not None
        try:
            yield json.loads(child.stdout.readline())
        finally:
            child.stdin.close()
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()


def post(url: str, body: Any) -> Any:
    """What comes back for that JSON."""
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def get(url: str) -> Any:
    """The JSON that is there."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


@dataclass(frozen=True, slots=True)
class Ether:
    """The chain behind a node, as its owner sees it."""

    url: str
    token: str
    chain: int
    accounts: list[str]
    keys: list[str]

    def rpc(self, method: str, *params: Any) -> Any:
        answer = post(self.url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self, blocks: int) -> None:
        self.rpc("evm_mine", blocks)

    def time(self) -> int:
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def write(self, signature: str, *arguments: int | str, sender: int = 0) -> str:
        """A transaction to the token; its hash."""
        data = "0x" + (keccak256(signature.encode())[:4] + b"".join(word(argument) for argument in arguments)).hex()
        sent = {"from": self.accounts[sender], "to": self.token, "data": data, "gas": hex(300_000)}
        return str(self.rpc("eth_sendTransaction", sent))

    def balance(self, address: str) -> int:
        data = "0x" + (keccak256(b"balanceOf(address)")[:4] + word(address)).hex()
        return int(self.rpc("eth_call", {"to": self.token, "data": data}, "latest"), 16)


def ether(told: dict[str, Any]) -> Ether:
    """The chain of a node that said `told`."""
    asked = post(told["url"], {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    return Ether(told["url"], told["token"], int(asked["result"], 16), told["accounts"], told["keys"])
