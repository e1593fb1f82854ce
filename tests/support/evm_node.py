"""A node of an EVM chain as a process: JSON-RPC over HTTP around py-evm, with a token on it. It says where it is in its first line.

    python -m tests.support.evm_node [<descriptor of a socket that listens>]

Beside Ethereum's methods it has `evm_mine`, `evm_snapshot`, `evm_revert` (a reorganisation) and `testing_timeTravel`.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from eth_tester import EthereumTester, PyEVMBackend
from vyper.compiler import compile_code
from vyper.compiler.settings import Settings
from web3 import EthereumTesterProvider, Web3

from tests.support.evm import Threads

TOKEN = Path(__file__).with_name("evm_token.vy")


class Node:
    """One chain, and one request at a time: py-evm knows no threads."""

    def __init__(self) -> None:
        backend = PyEVMBackend()
        self.provider = EthereumTesterProvider(EthereumTester(backend))
        self.web3, self.lock = Web3(self.provider), threading.Lock()
        # The provider's own middleware writes what eth-tester says as JSON-RPC does.
        self.request = self.provider.request_func(self.web3, self.web3.middleware_onion)
        self.keys = [key.to_hex() for key in backend.account_keys]
        # By block, until a reorganisation.
        self.events: dict[int, list[dict[str, Any]]] = {}

    def deploy(self) -> str:
        """The address of a new token."""
        made = compile_code(TOKEN.read_text(), output_formats=["bytecode", "abi"], settings=Settings(evm_version="cancun"))
        contract = self.web3.eth.contract(abi=made["abi"], bytecode=made["bytecode"])
        sent = contract.constructor().transact({"from": self.web3.eth.accounts[0]})
        return str(self.web3.eth.wait_for_transaction_receipt(sent)["contractAddress"])

    def logs(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Events, past the middleware of web3, which does not take topics in their form. A block is looked through once: it is slow."""
        first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
        return {"result": [log for number in range(first, last + 1) for log in self._events(number) if _fits(log, asked)]}

    def _events(self, number: int) -> list[dict[str, Any]]:
        if number not in self.events:
            found = self.provider.ethereum_tester.get_logs(from_block=number, to_block=number)
            self.events[number] = [{_camel(name): value for name, value in log.items()} for log in found]
        return self.events[number]

    def answer(self, call: dict[str, Any]) -> dict[str, Any]:
        """What a node says to one call."""
        try:
            with self.lock:
                if call["method"] == "evm_revert":
                    self.events.clear()
                made = (
                    self.logs(*call["params"]) if call["method"] == "eth_getLogs" else self.request(call["method"], _read(call["params"]))
                )
        except Exception as error:
            return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": 3, "message": f"execution reverted: {error}"}}
        if made.get("error"):
            return {"jsonrpc": "2.0", "id": call["id"], "error": made["error"]}
        return {"jsonrpc": "2.0", "id": call["id"], "result": wire(made["result"])}


def _fits(log: dict[str, Any], asked: dict[str, Any]) -> bool:
    topics = [topic.lower() for topic in log["topics"]]
    wanted = asked["topics"]
    same = all(topic is None or topic.lower() == found for topic, found in zip(wanted, topics, strict=False))
    return log["address"].lower() == asked["address"].lower() and len(wanted) <= len(topics) and same


def _camel(name: str) -> str:
    first, *more = name.split("_")
    return first + "".join(word.title() for word in more)


def _read(params: list[Any]) -> list[Any]:
    """Parameters as eth-tester wants them: what a newer node calls input is data there."""
    return [
        {("data" if name == "input" else name): value for name, value in one.items()} if isinstance(one, dict) else one for one in params
    ]


def wire(value: Any) -> Any:
    """As JSON-RPC writes it: integers are quantities, bytes are data."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return hex(value)
    if isinstance(value, bytes):
        return "0x" + bytes(value).hex()
    if hasattr(value, "items"):
        return {name: wire(inner) for name, inner in value.items()}
    return [wire(inner) for inner in value] if isinstance(value, (list, tuple)) else value


class Handler(BaseHTTPRequestHandler):
    node: Node
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = [self.node.answer(call) for call in asked] if isinstance(asked, list) else self.node.answer(asked)
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        return


class Server(Threads, HTTPServer):
    pass


def main() -> None:
    node = Handler.node = Node()
    token = node.deploy()
    server = Server(("127.0.0.1", 0), Handler, bind_and_activate=len(sys.argv) == 1)
    if len(sys.argv) > 1:
        server.socket.close()
        server.socket = socket.socket(fileno=int(sys.argv[1]))
        server.server_port = server.socket.getsockname()[1]
    told = {"url": f"http://127.0.0.1:{server.server_port}", "token": token.lower(), "keys": node.keys, "accounts": node.web3.eth.accounts}
    print(json.dumps(told), flush=True)
    # Ends with whoever started it.
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
