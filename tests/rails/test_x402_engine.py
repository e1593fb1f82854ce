"""A resource bought with a stablecoin through the engine's real processes: a chain, a facilitator and a merchant of others' making."""

import base64
import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis

from codespar.launcher.stack import StackInfo
from tests.support import dollars, evm, operations, verifying
from tests.support import world as worlds
from tests.support.dollars import Dollars, usdc
from tests.support.raw_servers import Raw, RawServer, http_answer
from tests.support.reconciling import reconciled
from tests.support.world import World, raw_id
from tests.support.x402 import DEPTH, PAYEE, PRICE, Market

THIEF = "0x" + "66" * 20


@pytest.fixture(scope="module")
def opened(stack: StackInfo, bazaar: Market) -> Dollars:
    return dollars.open_for(worlds.make(stack), bazaar)


@pytest.fixture
def buyer(opened: Dollars) -> Iterator[Dollars]:
    """The merchant is honest at the end of each test."""
    yield opened
    opened.market.asks()


def resource(payer: Dollars, payment: str, client: httpx2.Client | None = None) -> httpx2.Response:
    return (client or payer.world.api._http).get(f"/v1/payments/{payment}/resource")


def test_a_resource_is_bought_once_given_to_its_buyer_and_agrees_with_the_chain(buyer: Dollars) -> None:
    world, market = buyer.world, buyer.market
    paid, (available, _), same = market.paid(), buyer.balance(), worlds.key()
    answer = buyer.ask(same)
    assert (answer.status_code, answer.json()["target"]) == (202, f"{market.merchant}/weather"), answer.text
    payment = answer.json()["id"]
    # The merchant's word moves nothing: the money is held until the chain's own is final.
    told = buyer.accepted(payment)
    assert (told["status"], buyer.balance()) == ("submitted", (available - PRICE, PRICE)), told
    over = buyer.settled(payment)
    assert (over["status"], over["captured"], over["target"]) == ("settled", usdc(PRICE), f"{market.merchant}/weather"), over
    assert (market.paid() - paid, buyer.balance()) == (PRICE, (available - PRICE, 0))
    assert buyer.ask(same).json() == answer.json()

    bought = resource(buyer, payment)
    assert (bought.status_code, bought.json()) == (200, {"weather": "fine", "degrees": 21})
    assert (bought.headers["content-type"], bought.headers["x-content-type-options"]) == ("application/json", "nosniff")
    assert bought.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert bought.headers["content-disposition"].startswith("attachment")

    contract = schemathesis.openapi.from_dict(operations.document("api"))
    contract["/v1/payments/{payment}/resource"]["GET"].validate_response(bought)

    row = world.rows("SELECT encode(rail_key, 'hex') AS key, provider_id, target FROM payments WHERE id = %s", raw_id(payment))[0]
    assert row["provider_id"] == f"0x{row['key']}" == over["provider_id"]
    [signed] = [one for one in evm.get(f"{market.merchant}/_paid") if one["payload"]["authorization"]["nonce"] == row["provider_id"]]
    assert signed["payload"]["authorization"]["value"] == str(PRICE)
    of_request = "SELECT e.content FROM ledger_entries e JOIN payments p ON p.created_entry_id = e.id WHERE p.id = %s"
    record = world.rows(of_request, raw_id(payment))[0]
    asked = json.loads(bytes(record["content"]))["data"]["payment"]
    assert asked["target_commit"] == row["target"] and market.merchant not in json.dumps(asked)

    run = reconciled(world, rail="x402")
    assert (run["status"], run["opened"], run["open"], run["closing"]) == ("done", 0, 0, run["expected"]), run
    lines = world.rows("SELECT kind, provider_id, matched FROM statement_lines WHERE current AND currency = 'USDC'")
    assert all(line["matched"] for line in lines)
    assert ("payment", over["provider_id"]) in [(line["kind"], line["provider_id"]) for line in lines]
    assert verifying.complaints(world) == []


@pytest.mark.parametrize(
    ("asks", "code"),
    [
        ({"amount": str(PRICE + 1)}, "price_mismatch"),
        ({"amount": str(PRICE * 10**6)}, "price_mismatch"),
        ({"asset": THIEF}, "asset_mismatch"),
        ({"pay_to": THIEF}, "payee_mismatch"),
    ],
)
def test_a_merchant_that_asks_for_something_else_gets_nothing(buyer: Dollars, asks: dict[str, str], code: str) -> None:
    market, held = buyer.market, buyer.balance()
    before = (market.paid(), market.chain.balance(market.us), market.chain.balance(THIEF), len(evm.get(f"{market.merchant}/_paid")))
    market.asks(**asks)
    payment = buyer.ask().json()["id"]
    over = buyer.world.settled(payment)
    assert (over["status"], over["code"], buyer.balance()) == ("canceled", code, held), over
    after = (market.paid(), market.chain.balance(market.us), market.chain.balance(THIEF), len(evm.get(f"{market.merchant}/_paid")))
    assert after == before
    assert resource(buyer, payment).status_code == 404


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"target": None}, "target_needed"),
        ({"target": "http://shop.example/weather"}, "target_malformed"),
        ({"target": "https://user:pass@shop.example/weather"}, "target_malformed"),
        ({"target": "pay me"}, "target_malformed"),
        ({"amount": {"amount": PRICE, "currency": "BRL"}}, "currency_mismatch"),
        ({"amount": usdc(10_001)}, "amount_exceeded"),
    ],
)
def test_what_mandate_or_registry_do_not_cover_is_denied_before_anybody_is_asked(
    buyer: Dollars, changes: dict[str, Any], code: str
) -> None:
    answer = buyer.ask(**changes)
    assert (answer.status_code, answer.json()["code"]) == (403, code), answer.text
    layers = {reason["layer"] for reason in answer.json()["reasons"]}
    assert layers == {"counterparty" if code.startswith("target_") else "mandate"}
    assert answer.json()["payment"]["target"] == changes.get("target", f"{buyer.market.merchant}/weather")


def test_a_payee_on_another_chain_is_not_paid(buyer: Dollars) -> None:
    elsewhere = buyer.world.new_counterparty(name="Far", accounts=[{"type": "evm", "value": f"eip155:1:{PAYEE}", "rails": ["x402"]}])
    paid, held = buyer.market.paid(), buyer.balance()
    over = buyer.world.settled(buyer.ask(counterparty=elsewhere).json()["id"])
    assert (over["status"], over["code"], buyer.balance(), buyer.market.paid()) == ("canceled", "payee_mismatch", held, paid)


def test_another_target_under_the_same_key_is_another_request(buyer: Dollars) -> None:
    same = worlds.key()
    payment = buyer.ask(same, target="https://one.invalid/a").json()["id"]
    answer = buyer.ask(same, target="https://one.invalid/b")
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict"), answer.text
    assert buyer.world.settled(payment)["status"] == "canceled"


def test_nobody_else_gets_what_was_bought(buyer: Dollars) -> None:
    payment = buyer.ask().json()["id"]
    buyer.settled(payment)
    world = buyer.world
    assert resource(buyer, payment, world.people("auditor")._http).status_code == 200
    _, _, stranger = world.new_agent()
    answer = resource(buyer, payment, stranger._http)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


class Shop:
    """A merchant that asks for what the honest one asks for, and says nothing but `gives` to who has paid. `uses`: it takes the money first."""

    def __init__(self, raw: Raw, market: Market, *, uses: bool, gives: bytes = b"") -> None:
        self._market, self._uses, self._gives = market, uses, gives
        self.server = raw(self._script)
        self.url = f"{self.server.url}/weather"

    def _script(self, server: RawServer, connection: socket.socket) -> None:
        while received := server.read_request(connection):
            signed = re.search(rb"(?i)payment-signature: ([^\r]+)", received)
            if signed is None:
                connection.sendall(http_answer(b"", 402, f"PAYMENT-REQUIRED: {self._terms()}\r\n"))
                continue
            if self._uses:
                assert self._honest({"PAYMENT-SIGNATURE": signed[1].decode()}).status_code == 200
            connection.sendall(self._gives)
            return connection.close()

    def _terms(self) -> str:
        asked = json.loads(base64.b64decode(self._honest({}).headers["payment-required"]))
        asked["resource"]["url"] = self.url
        return base64.b64encode(json.dumps(asked).encode()).decode()

    def _honest(self, headers: dict[str, str]) -> httpx2.Response:
        return httpx2.get(f"{self._market.merchant}/weather", headers=headers, timeout=30)


def test_what_a_silent_merchant_never_used_comes_back_when_the_chain_proves_it(buyer: Dollars, raw: Raw) -> None:
    market, held, shop = buyer.market, buyer.balance(), Shop(raw, buyer.market, uses=False)
    payment = buyer.ask(target=shop.url).json()["id"]
    unclear = buyer.world.settled(payment, among=("authorized", "submitted"))
    assert (unclear["status"], buyer.balance()) == ("uncertain", (held[0] - PRICE, PRICE)), unclear
    with later(market, 400):
        over = buyer.world.settled(payment)
    assert (over["status"], over["code"], buyer.balance()) == ("failed", "authorization_expired", held), over
    assert shop.server.requests == 2


def test_what_a_silent_merchant_used_is_found_on_the_chain_and_counted_once(buyer: Dollars, raw: Raw) -> None:
    market, (available, _), paid = buyer.market, buyer.balance(), buyer.market.paid()
    shop = Shop(raw, market, uses=True)
    payment = buyer.ask(target=shop.url).json()["id"]
    over = buyer.settled(payment)
    assert (over["status"], over["captured"], buyer.balance()) == ("settled", usdc(PRICE), (available - PRICE, 0)), over
    assert (market.paid() - paid, shop.server.requests, resource(buyer, payment).status_code) == (PRICE, 2, 404)
    run = reconciled(buyer.world, rail="x402")
    assert (run["status"], run["opened"], run["open"], run["closing"]) == ("done", 0, 0, run["expected"]), run


def test_a_transfer_that_is_read_before_anybody_asked_is_no_discrepancy(buyer: Dollars, raw: Raw) -> None:
    """The line carries our key: the statement settles the payment, or leaves it to the question that is on its way."""
    market, shop = buyer.market, Shop(raw, buyer.market, uses=True)
    payment = buyer.ask(target=shop.url).json()["id"]
    buyer.world.settled(payment, among=("authorized", "submitted"))
    unasked(buyer.world, payment)
    market.chain.mine(DEPTH)
    run = reconciled(buyer.world, rail="x402")
    assert (run["status"], run["opened"], run["open"]) == ("done", 0, 0), run
    assert buyer.world.settled(payment)["status"] == "settled"
    said = "SELECT r.source FROM attempt_results r JOIN attempts a ON a.id = r.attempt_id WHERE a.payment_id = %s AND r.result = 'settled'"
    assert [row["source"] for row in buyer.world.rows(said, raw_id(payment))] == ["statement"]


@pytest.mark.parametrize(
    ("given", "told"),
    [("text/html; charset=utf-8", "text/html; charset=utf-8"), ('image/svg+xml; a="b"; c=d', "application/octet-stream")],
)
def test_a_page_of_somebody_elses_is_given_as_bytes_to_save(buyer: Dollars, raw: Raw, given: str, told: str) -> None:
    """Of half a megabyte, by a merchant that says it was paid and never was: the hold goes back when the chain has the last word."""
    market, held, body = buyer.market, buyer.balance(), b"<script>alert(1)</script>" * 20_000
    settled = {"success": True, "transaction": "0x" + "1f" * 32, "network": f"eip155:{market.chain.chain}", "payer": market.us}
    header = base64.b64encode(json.dumps(settled).encode()).decode()
    gives = http_answer(body, 200, f"PAYMENT-RESPONSE: {header}\r\nContent-Type: {given}\r\n")
    payment = buyer.ask(target=Shop(raw, market, uses=False, gives=gives).url).json()["id"]
    assert buyer.accepted(payment)["status"] == "submitted"
    bought = resource(buyer, payment)
    assert (bought.status_code, bought.content == body, bought.headers["content-type"]) == (200, True, told)
    assert "sandbox" in bought.headers["content-security-policy"] and bought.headers["x-content-type-options"] == "nosniff"
    with later(market, 400):
        over = buyer.world.settled(payment)
    assert (over["status"], over["code"], buyer.balance()) == ("failed", "authorization_expired", held), over


def unasked(world: World, payment: str) -> None:
    """Nobody asks about it for a while, whoever was about to."""
    for _ in range(3):
        with world.db("super") as connection:
            connection.execute("UPDATE payments SET due_at = now() + interval '1 hour' WHERE id = %s", [raw_id(payment)])
        time.sleep(0.7)
    assert world.rows("SELECT due_at > now() + interval '59 minutes' AS later FROM payments WHERE id = %s", raw_id(payment))[0]["later"]


@contextlib.contextmanager
def later(market: Market, seconds: int) -> Iterator[None]:
    """The chain, that much later; afterwards it is as it was."""
    kept = market.chain.rpc("evm_snapshot")
    market.chain.rpc("testing_timeTravel", market.chain.time() + seconds)
    market.chain.mine(DEPTH)
    try:
        yield
    finally:
        market.chain.rpc("evm_revert", kept)


def test_an_account_is_connected_with_what_fits_it_and_is_one_organisations(buyer: Dollars, world: World) -> None:
    given, account = buyer.market.connection().secrets, f"eip155:{buyer.market.chain.chain}:{buyer.market.us}"
    people = world.people()
    wrong: list[dict[str, Any]] = [
        {"secrets": {name: text for name, text in given.items() if name != "asset"}},
        {"secrets": given | {"gas": "1"}},
        {"secrets": given | {"confirmations": "0"}},
        {"secrets": given | {"private_key": "22" * 32}},
        {"account": "0x" + "22" * 20},
    ]
    for change in wrong:
        answer = people.send("/v1/rail-accounts", {"rail": "x402", "account": account, "secrets": given} | change)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
        assert answer.json()["errors"][0]["pointer"] == ("/account" if "account" in change else "/secrets")
        assert given["private_key"] not in answer.text
    # It was connected in another spelling.
    taken = people.send("/v1/rail-accounts", {"rail": "x402", "account": account, "secrets": given})
    assert (taken.status_code, taken.json()["code"]) == (409, "state_conflict"), taken.text
