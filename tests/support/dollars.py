"""An organisation that pays in dollars on a chain: its account connected, its wallet filled by a transfer of somebody's."""

from __future__ import annotations

import dataclasses
import secrets
import time
from typing import Any

import httpx2

from codespar.lib.evm import checksummed
from tests.support.reconciling import reconciled
from tests.support.world import World, key
from tests.support.x402 import DEPTH, PAYEE, PRICE, Market

USDC = "USDC"


def usdc(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": USDC}


@dataclasses.dataclass(frozen=True, slots=True)
class Dollars:
    """`market` is the chain with this organisation's own key."""

    world: World
    market: Market
    wallet: str
    payee: str
    mandate: str

    def ask(self, idempotency_key: str | None = None, **changes: Any) -> httpx2.Response:
        """Ask for the merchant's resource and do not wait for it."""
        usual = {"mandate": self.mandate, "counterparty": self.payee, "amount": usdc(PRICE), "rail": "x402", "purpose": "weather"}
        asked = usual | {"target": f"{self.market.merchant}/weather"} | changes
        headers = {"Idempotency-Key": idempotency_key or key(), "Prefer": "respond-async"}
        body = {name: value for name, value in asked.items() if value is not None}
        return self.world.api._http.post("/v1/payments", json=body, headers=headers)

    def accepted(self, payment: str, seconds: float = 30) -> dict[str, Any]:
        """The payment once the merchant has said that it was paid, or it is over."""
        until = time.monotonic() + seconds
        while not (found := self.world.payment(payment))["provider_id"] and found["status"] in ("authorized", "submitted", "uncertain"):
            assert time.monotonic() < until, found
            time.sleep(0.1)
        return found

    def settled(self, payment: str) -> dict[str, Any]:
        """The payment once the chain's last word on it is final."""
        self.accepted(payment)
        self.market.chain.mine(DEPTH)
        return self.world.settled(payment)

    def balance(self) -> tuple[int, int]:
        return self.world.balance(self.wallet)


def connect(world: World, bazaar: Market) -> Market:
    """A rail account of this organisation's own, at an address that nobody has used."""
    made = dataclasses.replace(bazaar, key=secrets.token_hex(32))
    given = made.connection().secrets | {"first_block": str(int(made.chain.rpc("eth_blockNumber"), 16))}
    # As wallets write it: with a checksum, which is not the form in which it is compared.
    account = f"eip155:{made.chain.chain}:{checksummed(made.us)}"
    world.people().post("/v1/rail-accounts", {"rail": "x402", "account": account, "secrets": given})
    return made


def main_balance(world: World, currency: str) -> int:
    accounts = world.people().get("/v1/wallets?limit=100")["data"]
    return sum(a["available"]["amount"] for a in accounts if a["kind"] == "main" and a["available"]["currency"] == currency)


def receive(world: World, market: Market, amount: int) -> str:
    """Somebody transfers that much to us: the transaction. Returns once it stands on the main account."""
    before = main_balance(world, USDC)
    made = market.chain.write("mint(address,uint256)", market.us, amount)
    market.chain.mine(DEPTH)
    assert reconciled(world, rail="x402")["status"] == "done"
    until = time.monotonic() + 30
    while main_balance(world, USDC) < before + amount:
        assert time.monotonic() < until, "the transfer was not credited"
        time.sleep(0.2)
    return made


def open_for(world: World, bazaar: Market, *, money: int = 100_000, wallet: int = 50_000) -> Dollars:
    """All of it: `money` minor units came in, of which `wallet` are the agent's."""
    market, owner = connect(world, bazaar), world.people()
    receive(world, market, money)
    made = owner.post("/v1/wallets", {"agent": world.agent, "currency": USDC})["id"]
    owner.post(f"/v1/wallets/{made}/fund", {"amount": usdc(wallet)})
    caps = ({"id": f"cap-{c.lower()}", "effect": "limit", "window": "payment", "currency": c, "max_amount": 10**12} for c in ("BRL", USDC))
    world.set_policy({"id": "all", "effect": "allow"}, *caps)
    account = {"type": "evm", "value": f"eip155:{market.chain.chain}:{checksummed(PAYEE)}", "rails": ["x402"]}
    payee = world.new_counterparty(name="Weather", accounts=[account])
    return Dollars(world, market, made, payee, world.new_mandate(currency=USDC, max_amount=10_000, rails=["x402"]))
