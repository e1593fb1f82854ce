"""Each rail's account at its bank: how it is opened, and how the bank's own book writes down what is ours. A chain is a bank, too."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from rails.adapters.digests import base62
from rails.iso20022 import words
from tests.support import consenting, dollars
from tests.support.world import World
from tests.support.x402 import Market

Json = dict[str, Any]
OPENING = 10**8
SHOP = "acct_shop1"
IBAN = "DE89370400440532013000/COBADEFFXXX"


@dataclass(frozen=True, slots=True)
class Writing:
    """How a bank writes our key of a payment and of a refund, and our reference. `back`: payments can come back; `parts`: in parts.

    `callers` ask at once: as many as the bank keeps up with on a full machine.
    """

    payment: Callable[[bytes], str]
    refund: Callable[[bytes], str]
    reference: Callable[[str], str] = str
    back: bool = True
    parts: bool = True
    callers: int = 10


def _short(digest: bytes) -> str:
    return words.message_id(base62(digest))


WRITINGS = {
    "sandbox": Writing(bytes.hex, bytes.hex),
    "pix": Writing(base62, _short),
    "card": Writing(bytes.hex, bytes.hex),
    "wire": Writing(_short, _short, lambda name: name.replace("_", "-"), parts=False),
    # Only so much of our key is a key there: the rest of it stands behind our reference.
    "open_finance": Writing(lambda digest: base62(digest)[:40], _short, back=False),
    # An authorization says whom and how much, and nothing of what for.
    "x402": Writing(bytes.hex, bytes.hex, lambda name: "", back=False, callers=2),
}


@dataclass(frozen=True, slots=True)
class Book:
    """What a bank has of an account: payments and refunds, each with id, key, amount, status, and how much more is there than at first."""

    payments: list[Json]
    refunds: list[Json]
    more: int


def _nothing(amount: int) -> Json:
    return {}


@dataclass(frozen=True, slots=True)
class Account:
    """One account at the bank of `rail`, which held `opening` minor units at first; `asks` is what a payment of so much asks for."""

    rail: str
    name: str
    opening: int = 0
    asks: Callable[[int], Json] = _nothing

    @property
    def writing(self) -> Writing:
        return WRITINGS[self.rail]

    def book(self, world: World) -> Book:
        """What is in the bank's own book now; `more` is with what came in over the account that every world has."""
        bank = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=30).json()
        payments, refunds = ([row for row in bank[kind] if row["account"] == self.name] for kind in ("payments", "refunds"))
        if self.rail == "open_finance":
            payments = [row | {"reference": row["reference"].partition(" ")[0]} for row in payments]
        here = 0 if self.name == world.account else bank["balances"][self.name] - self.opening
        return Book(payments, refunds, bank["balances"][world.account] + here)


@dataclass(frozen=True, slots=True)
class Address(Account):
    """An address of a chain: its book is the chain."""

    market: Market | None = None

    def book(self, world: World) -> Book:
        """Every transfer from the address, by the nonce of its authorization."""
        assert self.market is not None
        moved = [{"reference": "", "key": id[2:], "id": id, "amount": amount, "status": "settled"} for id, amount in self.market.spent()]
        return Book(moved, [], usual(world).book(world).more + self.market.chain.balance(self.market.us))


def usual(world: World) -> Account:
    """The account at the sandbox bank that every world has, and that its money came in on."""
    return Account("sandbox", world.account)


def on_chain(world: World, market: Market, merchant: str) -> Address:
    """An address of the world's own, with money on it, that buys of the merchant at `merchant` for any price."""
    buyer = dollars.open_for(world, market, money=10**6, wallet=5 * 10**5)
    usual = {"rail": "x402", "counterparty": buyer.payee, "mandate": buyer.mandate}
    asks = lambda amount: {**usual, "amount": dollars.usdc(amount), "target": f"{merchant}/sold/{amount}"}
    return Address("x402", buyer.market.us, asks=asks, market=buyer.market)


def opened(world: World, rail: str) -> Account:
    """The world's account at the bank of `rail`, connected, with somebody who is paid there."""
    return {"sandbox": usual, "pix": _pix, "card": _card, "wire": _wire, "open_finance": _open_finance}[rail](world)


def _pix(world: World) -> Account:
    name = f"pix-{world.account}"
    _open(world, "pix", name, "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())
    return _account(world, "pix", name, {"type": "pix_key", "value": "+55 (11) 98765-4321", "rails": ["pix"]})


def _wire(world: World) -> Account:
    name = f"w-{world.account}"
    _open(world, "wire", name, "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())
    # Hours, in a test's time.
    control(world, "wire", {"settle_seconds": 0.7, "recall_seconds": 0.7})
    return _account(world, "wire", name, {"type": "iban", "value": IBAN, "rails": ["wire"]})


def _card(world: World) -> Account:
    name = f"acct_{secrets.token_hex(8)}"
    card = {"account": name, "brand": "visa", "last4": "4242", "id": f"pm_{secrets.token_hex(8)}"}
    _open(world, "card", name, f"whsec_{secrets.token_hex(16)}", method=card)
    return _account(world, "card", name, {"type": "card_merchant", "value": SHOP})


def _open_finance(world: World) -> Account:
    name = consenting.connect(world, OPENING)
    consenting.authorised(world, consenting.to_read(world))
    consenting.authorised(world, consenting.to_pay(world, total=OPENING))
    consenting.ready(world)
    return _account(world, "open_finance", name, {"type": "pix_key", "value": "+55 (11) 98765-4322", "rails": ["open_finance"]})


def _open(world: World, rail: str, name: str, secret: str, method: Json | None = None) -> None:
    keys = {"account": name, "api_key": f"sk_{secrets.token_hex(16)}", "webhook_secret": secret}
    where = f"{world.info.console_url}/webhooks/{rail}/test/{world.org}"
    control(world, "accounts", keys | {"balance": OPENING, "api": rail, "webhook_url": where})
    more = {}
    if method is not None:
        more = {"secrets": {"payment_method": control(world, "payment_methods", method)["id"]}}
    world.people().post("/v1/rail-accounts", {"rail": rail, **keys, **more})


def _account(world: World, rail: str, name: str, payee: Json) -> Account:
    usual = {"rail": rail, "counterparty": world.new_counterparty(accounts=[payee])}
    return Account(rail, name, OPENING, lambda amount: usual)


def control(world: World, path: str, body: Json) -> Json:
    answer = httpx2.post(f"{world.info.sandbox_url}/_control/{path}", json=body, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())
