"""Money comes in over every rail, and lands on one ledger: once, however often it is told."""

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

import httpx2

from tests.support import dollars, verifying
from tests.support.reconciling import reconciled
from tests.support.world import World
from tests.support.x402 import DEPTH, Market

# What each account at the bank keeps, and what arrives on it. A card account is topped up; on a chain somebody transfers.
BANK = {"pix": ("BRL", 1_100), "card": ("EUR", 2_200), "wire": ("USD", 3_300)}
ON_CHAIN = 4_400


def control(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = httpx2.post(f"{world.info.sandbox_url}/_control/{path}", json=body, timeout=10)
    answer.raise_for_status()
    return dict(answer.json())


def connected(world: World, rail: str, currency: str) -> tuple[str, str]:
    """The organisation's account at the bank, reached over that rail: its name and the secret of its notices."""
    account, secret = f"acct_{secrets.token_hex(8)}", "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    opened = {"account": account, "api_key": f"sk_{secrets.token_hex(12)}", "webhook_secret": secret}
    where = f"{world.info.console_url}/webhooks/{rail}/test/{world.org}"
    control(world, "accounts", opened | {"balance": 0, "currency": currency, "api": rail, "webhook_url": where})
    more = {}
    if rail == "card":
        card = control(world, "payment_methods", {"account": account, "brand": "visa", "last4": "4242"})["id"]
        more = {"secrets": {"payment_method": card}}
    world.people().post("/v1/rail-accounts", {"rail": rail, **opened, **more})
    return account, secret


def arrives(world: World, account: str, amount: int, currency: str) -> None:
    payer = {"account": account, "amount": amount, "currency": currency, "payer": "someone", "reference": "thanks"}
    control(world, "deposits", payer)


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.2)


def balances(world: World) -> dict[str, int]:
    """What stands on the main accounts, by currency."""
    accounts = world.people().get("/v1/wallets?limit=100")["data"]
    return {a["available"]["currency"]: a["available"]["amount"] for a in accounts if a["kind"] == "main"}


def told_again(world: World, rail: str, secret: str) -> int:
    """The same news in a message that is authentic and was never seen, as from a provider that delivers twice. Returns how many."""
    rows = world.rows("SELECT headers, body FROM webhook_messages WHERE rail = %s AND status = 'verified'", rail)
    for row in rows:
        body, now = bytes(row["body"]), str(int(time.time()))
        if "stripe-signature" in row["headers"]:
            signed = hmac.digest(secret.encode(), f"{now}.".encode() + body, "sha256").hex()
            headers = {"stripe-signature": f"t={now},v1={signed}"}
        else:
            key, name = base64.b64decode(secret.removeprefix("whsec_")), secrets.token_hex(8)
            signed = base64.b64encode(hmac.digest(key, f"{name}.{now}.".encode() + body, "sha256")).decode()
            headers = {"webhook-id": name, "webhook-timestamp": now, "webhook-signature": f"v1,{signed}"}
        answer = httpx2.post(f"{world.info.console_url}/webhooks/{rail}/test/{world.org}", content=body, headers=headers)
        assert answer.status_code == 204, answer.text
    read = "SELECT count(*) AS n FROM webhook_messages WHERE rail = %s AND status = 'verified'"
    until(lambda: bool(world.rows(read, rail)[0]["n"] == 2 * len(rows)))
    return len(rows)


def test_five_rails_fund_one_ledger_and_each_deposit_counts_once(world: World, bazaar: Market) -> None:
    before = balances(world)
    accounts = {rail: connected(world, rail, currency) for rail, (currency, _) in BANK.items()}
    market = dollars.connect(world, bazaar)
    world.deposit(550)
    for rail, (currency, amount) in BANK.items():
        arrives(world, accounts[rail][0], amount, currency)
    transfer = market.chain.write("mint(address,uint256)", market.us, ON_CHAIN)
    market.chain.mine(DEPTH)
    # A chain sends no notices: its statement tells.
    assert reconciled(world, rail="x402")["status"] == "done"
    wanted = before | {"BRL": before["BRL"] + 550 + 1_100, "EUR": 2_200, "USD": 3_300, "USDC": ON_CHAIN}
    until(lambda: balances(world) == wanted)

    assert {rail: told_again(world, rail, secret) for rail, (_, secret) in accounts.items()} == {"pix": 1, "card": 1, "wire": 1}
    for _ in range(2):
        for rail in ("sandbox", "x402", *BANK):
            run = reconciled(world, rail=rail)
            assert (run["status"], run["opened"], run["open"]) == ("done", 0, 0), run
    assert balances(world) == wanted

    credits = world.rows("SELECT rail, currency, amount, status, reference FROM credits WHERE amount < 1000000 ORDER BY rail")
    assert [(row["rail"], row["currency"], row["amount"], row["status"]) for row in credits] == [
        ("card", "EUR", 2_200, "confirmed"),
        ("pix", "BRL", 1_100, "confirmed"),
        ("sandbox", "BRL", 550, "confirmed"),
        ("wire", "USD", 3_300, "confirmed"),
        ("x402", "USDC", ON_CHAIN, "confirmed"),
    ]
    assert credits[-1]["reference"] == f"{transfer}:0"
    written = [entry["content"]["data"]["reference"] for entry in world.entries() if entry["kind"] == "credit.confirmed"]
    assert sorted(written) == sorted(row["reference"] for row in world.rows("SELECT reference FROM credits"))
    assert verifying.complaints(world) == []
