"""Which rail carries a payment, and that a rail which is not ready carries none."""

import base64
import secrets
from typing import Any

import httpx2
import pytest

from codespar.lib import ids
from tests.support import verifying
from tests.support.world import World


@pytest.fixture
def both(world: World) -> World:
    """The organisation at the bank twice, over its own rail and over Pix; its payee can be paid over both."""
    world.connect("pix")
    world.counterparty = world.new_counterparty(
        accounts=[{"type": "pix_key", "value": f"{secrets.token_hex(4)}@payee.example", "rails": ["sandbox", "pix"]}]
    )
    return world


def route(world: World, payment: str) -> dict[str, Any]:
    """The route decision, as the payment's first record has it."""
    [entry] = [e for e in world.entries() if e["subject"] == payment and e["kind"] in ("payment.authorized", "payment.denied")]
    return next(part for part in entry["content"]["parts"] if part["part"] == "route")


def test_a_payment_that_names_no_rail_takes_one_and_says_why_not_the_others(both: World) -> None:
    paid = both.pay(100).json()
    assert (paid["status"], paid["rail"]) == ("settled", "pix")
    found = route(both, paid["id"])
    compared = {"cost": 1, "settlement_seconds": 10, "breaker": "closed"}
    assert found == {
        "part": "route",
        "rail": "pix",
        "account": paid["account"],
        **compared,
        "alternatives": [{"rail": "sandbox", "reason": "equal", **compared}],
    }
    stop = both.stop("rail", "pix")
    elsewhere = both.pay(101).json()
    assert (elsewhere["status"], elsewhere["rail"]) == ("settled", "sandbox")
    assert [(one["rail"], one["reason"]) for one in route(both, elsewhere["id"])["alternatives"]] == [("pix", "stopped")]
    # A rail that is named is the only one.
    named = both.pay(102, rail="pix")
    assert (named.status_code, named.json()["code"], named.json()["payment"]["rail"]) == (403, "stopped", "pix")
    both.lift(stop)
    tried = both.api.send("/v1/payments?dry_run=true", both.body(103)).json()
    assert (tried["outcome"], tried["rail"], [one["rail"] for one in tried["alternatives"]]) == ("allow", "pix", ["sandbox"])
    assert verifying.complaints(both) == []


def test_a_mandate_and_a_policy_choose_among_rails(both: World) -> None:
    mandate = both.new_mandate(rails=["sandbox"])
    paid = both.pay(104, mandate=mandate).json()
    assert (paid["rail"], route(both, paid["id"])["alternatives"][0]["reason"]) == ("sandbox", "rail_mismatch")
    cap = {"id": "cap", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 10**9}
    both.set_policy({"id": "all", "effect": "allow"}, cap, {"id": "no", "effect": "deny", "when": {"rails": ["sandbox", "pix"]}})
    denied = both.pay(105)
    assert (denied.status_code, denied.json()["code"]) == (403, "rail_denied")
    assert [one["reason"] for one in route(both, denied.json()["payment"]["id"])["alternatives"]] == ["rail_denied"]


def test_an_account_that_does_not_pass_its_checks_carries_nothing(world: World) -> None:
    """A wrong API key: each check is named, the payment is blocked, nothing reaches the bank, and no other rail is used instead."""
    body = {"rail": "pix", "account": f"pix-{world.account}", "api_key": secrets.token_urlsafe(24)}
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    account = world.people().post("/v1/rail-accounts", {**body, "webhook_secret": secret})
    assert account["ready"] is False
    assert ("reachable", True) in [(one["name"], one["ok"]) for one in account["checks"]]
    failed = next(one["name"] for one in account["checks"] if not one["ok"])
    payee = world.new_counterparty(accounts=[{"type": "pix_key", "value": "a@payee.example", "rails": ["sandbox", "pix"]}])
    before = len(httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["payments"])
    denied = world.pay(106, counterparty=payee, rail="pix")
    assert (denied.status_code, denied.json()["code"], denied.json()["payment"]["decision"]["layer"]) == (403, "rail_not_ready", "route")
    assert f"({failed})" in denied.json()["detail"]
    assert len(httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["payments"]) == before
    # Left to the route decision it takes the rail that is ready, and the record says why not this one.
    paid = world.pay(107, counterparty=payee).json()
    assert (paid["rail"], route(world, paid["id"])["alternatives"][0]["reason"]) == ("sandbox", "rail_not_ready")
    again = world.people().post(f"/v1/rail-accounts/{account['id']}/preflight")
    assert (again["ready"], again["checks"]) == (False, account["checks"])
    assert again["checked_at"] > account["checked_at"]
    told = [entry["content"]["data"] for entry in world.entries() if entry["kind"] == "rail_account.checked"]
    # One for each account: the same answer again is no news.
    assert [(one["rail"], one["ready"]) for one in told] == [("sandbox", True), ("pix", False)]


def test_a_rail_that_comes_back_is_ready_once_it_was_asked(world: World) -> None:
    account = next(one for one in world.people().get("/v1/rail-accounts")["data"] if one["rail"] == "sandbox")
    assert (account["ready"], [one["ok"] for one in account["checks"]]) == (True, [True, True])
    change_key(world, secrets.token_urlsafe(24))
    asked = world.people().post(f"/v1/rail-accounts/{account['id']}/preflight")
    assert (asked["ready"], [one["name"] for one in asked["checks"] if not one["ok"]]) == (False, ["account"])
    denied = world.pay(108)
    assert (denied.status_code, denied.json()["code"]) == (403, "rail_not_ready")
    assert world.provider_payments() == []
    change_key(world, world.api_key)
    assert world.people().post(f"/v1/rail-accounts/{account['id']}/preflight")["ready"] is True
    assert world.pay(109).json()["status"] == "settled"


def test_another_credential_takes_the_place_of_one_that_the_bank_does_not_take_any_more(world: World) -> None:
    account = world.people().get("/v1/rail-accounts")["data"][0]
    path, new = f"/v1/rail-accounts/{account['id']}/rotate", {"webhook_secret": world.webhook_secret}
    fresh = secrets.token_urlsafe(24)
    change_key(world, fresh)
    # Who puts the old one there again is told so, and it carries nothing.
    assert world.people().post(path, new | {"api_key": world.api_key})["ready"] is False
    denied = world.pay(110)
    assert (denied.status_code, denied.json()["code"]) == (403, "rail_not_ready")
    rotated = world.people().post(path, new | {"api_key": fresh})
    assert rotated | {"checked_at": None} == account | {"checked_at": None}
    assert world.pay(111).json()["status"] == "settled"
    told = [entry["content"] for entry in world.entries() if entry["subject"] == account["id"]]
    rotations = [f"rail_account.{step}" for step in ("added", "checked", "rotated", "checked", "rotated", "checked")]
    assert [(one["kind"], one["data"].get("ready")) for one in told] == list(
        zip(rotations, [None, True, None, False, None, True], strict=True)
    )
    assert fresh not in str(told) and world.api_key not in str(told)
    assert verifying.complaints(world) == []


def test_a_credential_that_does_not_fit_replaces_nothing(world: World, shared_world: World) -> None:
    account = world.people().get("/v1/rail-accounts")["data"][0]
    path, new = f"/v1/rail-accounts/{account['id']}/rotate", {"api_key": world.api_key, "webhook_secret": world.webhook_secret}
    for wrong in ({"api_key": "k"}, {}, new | {"secrets": {"colour": "1"}}, new | {"api_key": ""}, new | {"rail": "sandbox"}):
        answer = world.people().send(path, wrong)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    assert shared_world.people().send(path, new).status_code == 404
    assert world.people().send(f"/v1/rail-accounts/{ids.wire('key', ids.new())}/rotate", new).status_code == 404
    for role in ("finance", "oncall", "auditor"):
        assert world.people(role).send(path, new).status_code == 403
    assert world.people().get("/v1/rail-accounts")["data"] == [account]
    assert world.pay(112).json()["status"] == "settled"


def change_key(world: World, api_key: str) -> None:
    """The bank takes another key for the account from now on."""
    body = {"account": world.account, "api_key": api_key}
    httpx2.post(f"{world.info.sandbox_url}/_control/accounts", json=body, timeout=10).raise_for_status()


def test_a_check_is_for_those_who_connect_accounts_and_for_their_own(world: World) -> None:
    [account] = [one["id"] for one in world.people().get("/v1/rail-accounts")["data"]]
    assert world.people("auditor").send(f"/v1/rail-accounts/{account}/preflight", {}).status_code == 403
    unknown = world.people().send(f"/v1/rail-accounts/key_{'0' * 32}/preflight", {})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
