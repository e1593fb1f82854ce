"""The chain, as one node tells it by JSON-RPC: read strictly, block by block. What it proves about a payment is said by `judge`.

A node can lie, and no single node's word could show it: whoever runs a live account runs a node, or trusts its operator with that much.
What is checked is that it serves our chain and our token, that its answers are in their form, fit together, and stand in the chain it has.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from codespar.lib.evm import keccak256
from rails.adapters import judging, reading
from rails.adapters.base import Result, Unreadable
from rails.adapters.exchange import exchange
from rails.adapters.judging import Verdict
from rails.adapters.x402_signing import Authorization, Token, word

LARGEST_ANSWER = 4 * 1024 * 1024
# Blocks that a node is asked for at once: the smallest limit that is usual among operators.
SPAN = 1000
TRANSFER = "0x" + keccak256(b"Transfer(address,address,uint256)").hex()
USED = "0x" + keccak256(b"AuthorizationUsed(address,bytes32)").hex()


@dataclass(frozen=True, slots=True)
class Block:
    number: int
    hash: str
    time: int


@dataclass(frozen=True, slots=True)
class Log:
    """One event of the token: `topics` and `data` as the ABI has them."""

    topics: tuple[str, ...]
    data: str
    block: int
    block_hash: str
    transaction: str
    index: int

    @property
    def id(self) -> str:
        return f"{self.transaction}:{self.index}"


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer of the token, in minor units."""

    payer: str
    payee: str
    value: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What the chain has of one authorization: in its last block, in the last one that is final, and the transfer that was made of it."""

    used: bool
    used_finally: bool
    final: Block
    block: int | None
    move: Move | None


def judge(seen: Seen, expected: Authorization) -> Verdict:
    """What that proves. An authorization that was not used in a final block past its `valid_before` never will be."""
    provider_id = "0x" + expected.nonce.hex()
    if not seen.used and not seen.used_finally:
        if seen.final.time >= expected.valid_before:
            return Verdict(
                Result.REJECTED, "authorization_expired", "the authorization expired unused, by the chain's own time", provider_id
            )
        return Verdict(Result.UNKNOWN, "authorization_open", "the authorization is not used, and can still be")
    if seen.move is None or seen.block is None:
        return Verdict(Result.UNKNOWN, "transfer_not_found", "the authorization is used, but its transfer was not found")
    for name, found, wanted in (
        ("payer", seen.move.payer, expected.payer),
        ("payee", seen.move.payee, expected.payee),
        ("amount", seen.move.value, expected.value),
    ):
        if found != wanted:
            return judging.mismatch(name, provider_id)
    if seen.used_finally and seen.block <= seen.final.number:
        return Verdict(Result.SETTLED, "settled", "the chain has the transfer, in a final block", provider_id)
    return Verdict(Result.ACCEPTED, "confirming", "the chain has the transfer, in a block that is not final yet", provider_id)


@dataclass(slots=True)
class Chain:
    """One conversation with a node about one token, until `deadline`: `wanted` and `said`. Every reader raises `Unreadable`."""

    url: str
    token: Token
    depth: int
    deadline: float
    said: list[bytes] = field(default_factory=list)
    wanted: list[bytes] = field(default_factory=list)

    def ends(self) -> tuple[Block, Block]:
        """The last block, and the last final one: it and what stands on it are `depth` blocks. Checks whose chain it is."""
        if self._quantity(self._ask("eth_chainId", [])) != self.token.asset.chain:
            raise self._wrong("the node serves another chain than the rail account's", "wrong_chain")
        last = self.block("latest")
        return last, self.block(max(last.number - self.depth + 1, 0))

    def block(self, which: int | str) -> Block:
        """The block of that number, or `latest`."""
        found = self._ask("eth_getBlockByNumber", [which if isinstance(which, str) else hex(which), False])
        if not isinstance(found, dict):
            raise self._wrong("the node does not have a block that it must have")
        block = Block(self._quantity(found.get("number")), self._data(found.get("hash"), 32), self._quantity(found.get("timestamp")))
        if which not in ("latest", block.number):
            raise self._wrong("the node answered with another block")
        return block

    def call(self, signature: str, *arguments: int | str | bytes, block: int) -> bytes:
        """What a function of the token returns, as it was in that block."""
        packed = b"".join(argument if isinstance(argument, bytes) else word(argument) for argument in arguments)
        data = "0x" + (keccak256(signature.encode())[:4] + packed).hex()
        return bytes.fromhex(self._data(self._ask("eth_call", [{"to": self.token.asset.contract, "data": data}, hex(block)]))[2:])

    def number(self, signature: str, *arguments: int | str | bytes, block: int) -> int:
        """The same of a function that returns one word."""
        found = self.call(signature, *arguments, block=block)
        if len(found) != 32:
            raise self._wrong(f"{signature} did not return one word")
        return int.from_bytes(found, "big")

    def has_code(self, block: int) -> bool:
        """Whether there is a contract at the token's address."""
        return self._data(self._ask("eth_getCode", [self.token.asset.contract, hex(block)])) != "0x"

    def used(self, expected: Authorization, block: int) -> bool:
        """Whether the authorization was used, or canceled, in that block or before."""
        return self.number("authorizationState(address,bytes32)", expected.payer, expected.nonce, block=block) != 0

    def balance(self, address: str, block: int) -> int | None:
        """None where the node does not remember that block's state."""
        if block < 0:
            return 0
        try:
            return self.number("balanceOf(address)", address, block=block)
        except Unreadable as error:
            if error.code == "node_refused":
                return None
            raise

    def logs(self, topics: list[str | None], first: int, last: int) -> list[Log]:
        """The token's events with those topics, in the blocks from `first` to `last`, in the chain's order."""
        asked = {"address": self.token.asset.contract, "topics": topics, "fromBlock": hex(first), "toBlock": hex(last)}
        rows = self._ask("eth_getLogs", [asked])
        if not isinstance(rows, list):
            raise self._wrong("the node did not answer with a list of events")
        found = sorted((self._log(row) for row in rows), key=lambda log: (log.block, log.index))
        if any(not first <= log.block <= last or not _fits(log.topics, topics) for log in found):
            raise self._wrong("the node answered with events that were not asked for")
        return found

    def receipt(self, transaction: str) -> list[Log]:
        """The token's events of a transaction that succeeded and stands in the node's chain; none otherwise."""
        found = self._ask("eth_getTransactionReceipt", [transaction])
        if found is None:
            return []
        if not isinstance(found, dict) or not isinstance(found.get("logs"), list) or found.get("transactionHash") != transaction:
            raise self._wrong("the node did not answer with the transaction's receipt")
        block = self.block(self._quantity(found.get("blockNumber")))
        if self._quantity(found.get("status")) != 1 or block.hash != found.get("blockHash"):
            return []
        logs = [self._log(row) for row in found["logs"] if _of(row) == self.token.asset.contract]
        if any((log.transaction, log.block_hash) != (transaction, block.hash) for log in logs):
            raise self._wrong("the receipt has events of another transaction")
        return logs

    def seen(self, expected: Authorization) -> Seen:
        """What there is of the authorization."""
        last, final = self.ends()
        used, used_finally = self.used(expected, last.number), self.used(expected, final.number)
        log = self._use(expected, last) if used else None
        return Seen(used, used_finally, final, log.block if log else None, self._move(log) if log else None)

    def _use(self, expected: Authorization, last: Block) -> Log | None:
        """The event of the authorization's use: not before `valid_after`, and not after `valid_before`."""
        end = self._first_at(expected.valid_before, last)
        while end >= 0:
            first = max(end - SPAN + 1, 0)
            found = self.logs([USED, "0x" + word(expected.payer).hex(), "0x" + expected.nonce.hex()], first, end)
            if found:
                return found[-1]
            if first == 0 or self.block(first).time <= expected.valid_after:
                return None
            end = first - 1
        return None

    def _first_at(self, time: int, last: Block) -> int:
        """The first block of that time or later; the last one when there is none."""
        low, high = 0, last.number
        if last.number < SPAN or last.time < time:
            return last.number
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.block(middle).time >= time else (middle + 1, high)
        return low

    def _move(self, used: Log) -> Move | None:
        """The transfer of an authorization: EIP-3009's tokens make it the next event after the one of the use."""
        logs = {log.index: log for log in self.receipt(used.transaction)}
        follows = logs.get(used.index + 1)
        return move(follows) if logs.get(used.index) == used and follows else None

    def _log(self, row: Any) -> Log:
        if not isinstance(row, dict) or _of(row) != self.token.asset.contract or row.get("removed", False) is not False:
            raise self._wrong("the node answered with an event of something else")
        topics = row.get("topics")
        if not isinstance(topics, list) or len(topics) > 4:
            raise self._wrong("an event's topics are not in their form")
        return Log(
            topics=tuple(self._data(topic, 32) for topic in topics),
            data=self._data(row.get("data")),
            block=self._quantity(row.get("blockNumber")),
            block_hash=self._data(row.get("blockHash"), 32),
            transaction=self._data(row.get("transactionHash"), 32),
            index=self._quantity(row.get("logIndex")),
        )

    def _ask(self, method: str, params: list[Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, separators=(",", ":")).encode()
        self.wanted.append(body)
        headers = {"Content-Type": "application/json"}
        done = exchange("POST", self.url, credentials={}, headers=headers, body=body, deadline=self.deadline, largest=LARGEST_ANSWER)
        self.said.append(done.body)
        if done.status is None:
            raise Unreadable(done.failure, done.detail, done.body)
        if done.status != 200:
            raise Unreadable(_REFUSALS.get(done.status, "unavailable"), f"the node answered {done.status}", done.body)
        try:
            answer = reading.parse_object(done.body)
        except ValueError as error:
            raise self._wrong(str(error)) from None
        if "error" in answer:
            raise self._wrong("the node refused the question", "node_refused")
        if answer.get("id") != 1 or "result" not in answer:
            raise self._wrong("the node's answer is not one of JSON-RPC")
        return answer["result"]

    def _quantity(self, found: Any) -> int:
        if not isinstance(found, str) or not re.fullmatch("0x(0|[1-9a-f][0-9a-f]{0,15})", found):
            raise self._wrong("a quantity is not in its form")
        return int(found, 16)

    def _data(self, found: Any, length: int | None = None) -> str:
        if (
            not isinstance(found, str)
            or not re.fullmatch("0x([0-9a-fA-F]{2})*", found)
            or len(found) != 2 + 2 * (length or len(found[2:]) // 2)
        ):
            raise self._wrong("data is not in its form")
        return found.lower()

    def _wrong(self, reason: str, code: str = "invalid_response") -> Unreadable:
        return Unreadable(code, reason, self.said[-1] if self.said else b"")


_REFUSALS = {401: "unauthorized", 403: "unauthorized", 429: "rate_limited"}


def move(log: Log) -> Move | None:
    """The transfer that an event tells of; None when it is another event."""
    if len(log.topics) != 3 or log.topics[0] != TRANSFER or len(log.data) != 66:
        return None
    return Move("0x" + log.topics[1][-40:], "0x" + log.topics[2][-40:], int(log.data, 16))


def _of(row: Any) -> str:
    found = row.get("address") if isinstance(row, dict) else None
    return found.lower() if isinstance(found, str) else ""


def _fits(topics: tuple[str, ...], asked: list[str | None]) -> bool:
    return len(topics) >= len(asked) and all(want is None or have == want for have, want in zip(topics, asked, strict=False))
