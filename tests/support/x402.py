"""What the tests of the rail x402 share: a chain with a merchant on it, our address with money, and orders to pay."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from codespar.lib.evm import keccak256
from rails.adapters.base import Connection, Instruction
from rails.adapters.x402 import X402Adapter
from rails.adapters.x402_signing import Signer, word
from tests.support import evm

PRICE = 1500
DEPTH = 3
PAYEE = "0x" + "ab" * 20
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Market:
    """A chain, the facilitator and the merchant on it, and us."""

    chain: evm.Ether
    facilitator: str
    merchant: str
    key: str

    @property
    def us(self) -> str:
        return Signer(self.key).address

    def connection(self, **secrets_: str) -> Connection:
        network = f"eip155:{self.chain.chain}"
        given = {"private_key": self.key, "asset": f"{network}/erc20:{self.chain.token}", "asset_name": "Test Dollar"}
        given |= {"asset_version": "2", "confirmations": str(DEPTH)} | secrets_
        return Connection(base_url=secrets_.get("node", self.chain.url), account=f"{network}:{self.us}", secrets=given)

    def adapter(self, **secrets_: str) -> X402Adapter:
        return X402Adapter.connect(self.connection(**secrets_))

    def order(self, **changes: Any) -> Instruction:
        """An order for the merchant's resource under a new key."""
        fields: dict[str, Any] = {
            "key": f"{next(_numbers):064x}",
            "amount": PRICE,
            "currency": "USDC",
            "payee_type": "evm",
            "payee_account": f"eip155:{self.chain.chain}:{PAYEE}",
            "payee_name": "Weather",
            "reference": "inv 7",
            "send_by": datetime.now(UTC) + timedelta(seconds=30),
            "target": f"{self.merchant}/weather",
        }
        return Instruction(**(fields | changes))

    def paid(self) -> int:
        """What the payee has."""
        return self.chain.balance(PAYEE)

    def spent(self) -> list[tuple[str, int]]:
        """What left our address, as the chain's blocks tell it: each authorization's nonce (0x…; else the transaction) and the amount."""
        nonces = {log["transactionHash"]: log["topics"][2] for log in self._logs("AuthorizationUsed(address,bytes32)")}
        moved = self._logs("Transfer(address,address,uint256)")
        return [(nonces.get(log["transactionHash"], log["transactionHash"]), int(log["data"], 16)) for log in moved]

    def _logs(self, event: str) -> list[dict[str, Any]]:
        """The token's events of ours."""
        topics = ["0x" + keccak256(event.encode()).hex(), "0x" + word(self.us).hex()]
        asked = {"address": self.chain.token, "fromBlock": "0x0", "toBlock": self.chain.rpc("eth_blockNumber"), "topics": topics}
        return list(self.chain.rpc("eth_getLogs", asked))

    @contextlib.contextmanager
    def mining(self) -> Iterator[None]:
        """Blocks come as time goes by, for the length of the block: one each second, which is how long a block of this chain takes."""
        enough = threading.Event()

        def work() -> None:
            while not enough.wait(0.3):
                if self.chain.time() < time.time():
                    self.chain.mine(1)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()

    def asks(self, **what: str) -> None:
        """What the merchant asks for from now on."""
        evm.post(f"{self.merchant}/_control", what)


@contextlib.contextmanager
def market(place: socket.socket | None = None) -> Iterator[Market]:
    """All of it, running; the node listens on `place`, if it is given one."""
    with contextlib.ExitStack() as stack:
        chain = evm.ether(stack.enter_context(evm.process("evm_node", place=place)))
        facilitator = stack.enter_context(evm.process("x402_facilitator", chain.url, str(chain.chain), chain.keys[1]))["url"]
        merchant = stack.enter_context(evm.process("x402_merchant", facilitator, str(chain.chain), chain.token, PAYEE))["url"]
        made = Market(chain, facilitator, merchant, secrets.token_hex(32))
        chain.write("mint(address,uint256)", made.us, 1_000_000)
        chain.mine(DEPTH)
        yield made
