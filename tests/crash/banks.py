"""Each rail's account at its bank: how it is opened, and how the bank's own book writes down what is ours."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from rails.adapters.digests import base62
from rails.iso20022 import words
from tests.support.world import World

Json = dict[str, Any]
OPENING = 10**8
SHOP = "acct_shop1"
IBAN = "DE89370400440532013000/COBADEFFXXX"


@dataclass(frozen=True, slots=True)
class Writing:
    """How a bank writes our key of a payment and of a refund, and our reference. `parts`: a part of a payment can come back."""

    payment: Callable[[bytes], str]
    refund: Callable[[bytes], str]
    reference: Callable[[str], str] = str
    parts: bool = True


def _short(digest: bytes) -> str:
    return words.message_id(base62(digest))


WRITINGS = {
    "sandbox": Writing(bytes.hex, bytes.hex),
    "pix": Writing(base62, _short),
    "card": Writing(bytes.hex, bytes.hex),
    "wire": Writing(_short, _short, lambda name: name.replace("_", "-"), parts=False),
}


@dataclass(frozen=True, slots=True)
class Account:
    """One account at the bank of `rail`, which held `opening` minor units at first; `asks` is what a payment over it asks for."""

    rail: str
    name: str
    opening: int = 0
    asks: Json = field(default_factory=dict)

    @property
    def writing(self) -> Writing:
        return WRITINGS[self.rail]


def usual(world: World) -> Account:
    """The account at the sandbox bank that every world has, and that its money came in on."""
    return Account("sandbox", world.account)


def opened(world: World, rail: str) -> Account:
    """The world's account on `rail`, connected, with somebody who is paid there."""
    return {"sandbox": usual, "pix": _pix, "card": _card, "wire": _wire}[rail](world)


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


def _open(world: World, rail: str, name: str, secret: str, method: Json | None = None) -> None:
    keys = {"account": name, "api_key": f"sk_{secrets.token_hex(16)}", "webhook_secret": secret}
    where = f"{world.info.console_url}/webhooks/{rail}/test/{world.org}"
    control(world, "accounts", keys | {"balance": OPENING, "api": rail, "webhook_url": where})
    more = {}
    if method is not None:
        more = {"secrets": {"payment_method": control(world, "payment_methods", method)["id"]}}
    world.people().post("/v1/rail-accounts", {"rail": rail, **keys, **more})


def _account(world: World, rail: str, name: str, payee: Json) -> Account:
    return Account(rail, name, OPENING, {"rail": rail, "counterparty": world.new_counterparty(accounts=[payee])})


def control(world: World, path: str, body: Json) -> Json:
    answer = httpx2.post(f"{world.info.sandbox_url}/_control/{path}", json=body, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())
