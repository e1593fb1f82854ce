"""What a merchant asks for is held against the instruction, member by member; what is signed is what the reference implementation signs."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from codespar.lib.evm import Asset
from rails.adapters.base import Instruction, NotSendable, Result
from rails.adapters.exchange import Exchange
from rails.adapters.x402 import bought, judge_answer
from rails.adapters.x402_chain import Block, Move, Seen, judge
from rails.adapters.x402_signing import Authorization, Signer, Token, nonce_of
from rails.adapters.x402_terms import IDENTIFIER, asked, encoded, held

TOKEN = Token(Asset(84532, "0x" + "5a" * 20), "USD Coin", "2")
PAYEE, US = "0x" + "ab" * 20, "0x" + "cd" * 20
URL = "https://weather.example/v1/today?city=1"
OFFER: dict[str, Any] = {
    "scheme": "exact",
    "network": "eip155:84532",
    "amount": "1500",
    "asset": TOKEN.asset.contract,
    "payTo": PAYEE,
    "maxTimeoutSeconds": 60,
    "extra": {"name": "USD Coin", "version": "2"},
}


def order(**changes: Any) -> Instruction:
    fields: dict[str, Any] = {
        "key": "a" * 64,
        "amount": 1500,
        "currency": "USDC",
        "payee_type": "evm",
        "payee_account": f"eip155:84532:{PAYEE}",
    }
    fields |= {"payee_name": None, "reference": "", "send_by": datetime(2030, 1, 1, tzinfo=UTC), "target": URL}
    return Instruction(**(fields | changes))


def terms_of(*offers: Any, **more: Any) -> str:
    required = {"x402Version": 2, "resource": {"url": URL}, "accepts": list(offers)} | more
    header = base64.b64encode(json.dumps(required).encode()).decode()
    return asked({"payment-required": header}, order(), TOKEN)


def refusal(*offers: Any, **more: Any) -> str:
    with pytest.raises(NotSendable) as refused:
        terms_of(*offers, **more)
    return refused.value.code


def test_the_offer_that_is_the_instruction_is_taken_as_it_stands() -> None:
    offer = OFFER | {"extra": OFFER["extra"] | {"more": [1, {"deep": None}]}}
    assert json.loads(terms_of(offer)) == {"accepted": offer, "resource": {"url": URL}, "extensions": {}}
    elsewhere = [offer | {"network": "eip155:1"}, offer | {"scheme": "upto"}, offer | {"asset": US}]
    assert json.loads(terms_of(*elsewhere, offer))["accepted"] == offer


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"amount": "1501"}, "price_mismatch"),
        ({"amount": "1499"}, "price_mismatch"),
        ({"amount": "0"}, "price_mismatch"),
        ({"payTo": US}, "payee_mismatch"),
        ({"payTo": "0xAbababababababababababababababababababab"}, "payee_mismatch"),
        ({"payTo": "weather.eth"}, "payee_mismatch"),
        ({"asset": US}, "asset_mismatch"),
        ({"asset": "USDC"}, "asset_mismatch"),
        ({"network": "eip155:8453"}, "network_mismatch"),
        ({"network": "base"}, "network_mismatch"),
        ({"scheme": "upto"}, "scheme_unsupported"),
        ({"extra": {"name": "USD Coin", "version": "1"}}, "asset_mismatch"),
        ({"extra": {"name": "USDC", "version": "2"}}, "asset_mismatch"),
        ({"extra": {}}, "asset_mismatch"),
        ({"extra": OFFER["extra"] | {"assetTransferMethod": "permit2"}}, "transfer_method_unsupported"),
        ({"maxTimeoutSeconds": 0}, "timeout_out_of_bounds"),
        ({"maxTimeoutSeconds": 86_401}, "timeout_out_of_bounds"),
        ({"amount": 1500}, "ghost_paywall"),
        ({"amount": "0.0015"}, "ghost_paywall"),
        ({"amount": "1500.0"}, "ghost_paywall"),
        ({"amount": "+1500"}, "ghost_paywall"),
        ({"amount": "01500"}, "ghost_paywall"),
        ({"amount": "٣"}, "ghost_paywall"),
        ({"maxTimeoutSeconds": True}, "ghost_paywall"),
        ({"payTo": None}, "ghost_paywall"),
        ({"extra": "x" * 9000}, "ghost_paywall"),
        ({"extra": OFFER["extra"] | {"more": "x" * 9000}}, "ghost_paywall"),
    ],
)
def test_an_offer_of_anything_else_is_not_paid(change: dict[str, Any], code: str) -> None:
    assert refusal(OFFER | change) == code


def test_two_offers_in_our_token_are_none() -> None:
    assert refusal(OFFER, OFFER) == "several_offers"
    assert refusal(OFFER, OFFER | {"amount": "1"}) == "several_offers"


@pytest.mark.parametrize(
    "url",
    [
        *("http://weather.example/v1/today", "https://weather.example:8443/v1/today", "https://evil.example/v1/today"),
        *("https://weather.example/v1/tomorrow", "https://weather.example.evil/v1/today", "//weather.example/v1/today", "https://[", ""),
    ],
)
def test_an_offer_for_another_resource_is_not_paid(url: str) -> None:
    assert refusal(OFFER, resource={"url": url}) in ("resource_mismatch", "ghost_paywall")


@pytest.mark.parametrize(
    "more", [{"x402Version": 1}, {"x402Version": "2"}, {"accepts": []}, {"accepts": {}}, {"resource": None}, {"extensions": [1]}]
)
def test_terms_of_another_form_are_no_terms(more: dict[str, Any]) -> None:
    assert refusal(OFFER, **more) == "ghost_paywall"


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode()), st.just("")))
def test_a_header_of_rubbish_is_no_terms(text: str) -> None:
    with pytest.raises(NotSendable) as refused:
        asked({"payment-required": text}, order(), TOKEN)
    assert refused.value.code == "ghost_paywall"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner),
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(OFFER)), values)
def test_whatever_a_member_is_only_the_instruction_is_held(name: str, value: Any) -> None:
    try:
        text = terms_of(OFFER | {name: value})
    except NotSendable:
        return
    offer = json.loads(text)["accepted"]
    assert name == "maxTimeoutSeconds" or offer == OFFER
    assert (offer["amount"], offer["payTo"], offer["asset"], offer["network"]) == ("1500", PAYEE, TOKEN.asset.contract, "eip155:84532")


def test_stored_terms_are_held_again_before_they_are_signed() -> None:
    text = terms_of(OFFER)
    assert held(text, order(), TOKEN)["accepted"] == OFFER
    for changed, code in ((order(amount=1501), "price_mismatch"), (order(payee_account=f"eip155:84532:{US}"), "payee_mismatch")):
        with pytest.raises(NotSendable) as refused:
            held(text, changed, TOKEN)
        assert refused.value.code == code
    for rubbish in (None, "", "x", "[]", "{}", '{"accepted":{}}', '{"accepted":3}'):
        with pytest.raises(NotSendable) as refused:
            held(rubbish, order(), TOKEN)
        assert refused.value.code == "no_terms"


def test_our_key_goes_only_where_the_extension_is_declared() -> None:
    declared = {"info": {"required": True}, "schema": {}}
    assert json.loads(terms_of(OFFER, extensions={IDENTIFIER: declared, "bazaar": {"info": {"price": 1.5}}}))["extensions"] == {
        IDENTIFIER: declared
    }
    for odd in ({IDENTIFIER: 1}, {IDENTIFIER: {"info": 3}}, {}, None):
        assert json.loads(terms_of(OFFER, extensions=odd))["extensions"] == {}


# What is signed.


@settings(max_examples=50)
@given(st.integers(1, 2**53), st.integers(0, 2**40), st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.text(max_size=20))
def test_the_signature_is_that_of_the_reference_implementation(value: int, after: int, before: int, nonce: bytes, name: str) -> None:
    signer, token = Signer("0x" + "17" * 32), Token(TOKEN.asset, name, "2")
    made = Authorization(signer.address, PAYEE, value, after, before, nonce)
    fields = [
        ("from", "address"),
        ("to", "address"),
        ("value", "uint256"),
        ("validAfter", "uint256"),
        ("validBefore", "uint256"),
        ("nonce", "bytes32"),
    ]
    message = {"from": made.payer, "to": PAYEE, "value": value, "validAfter": after, "validBefore": before, "nonce": nonce}
    domain = {"name": name, "version": "2", "chainId": 84532, "verifyingContract": token.asset.contract}
    types = {"TransferWithAuthorization": [{"name": name, "type": kind} for name, kind in fields]}
    theirs = Account.from_key("0x" + "17" * 32).sign_message(encode_typed_data(domain, types, message))
    assert signer.sign(made.digest(token)) == "0x" + bytes(theirs.signature).hex()
    assert Account.from_key("0x" + "17" * 32).address.lower() == signer.address


@pytest.mark.parametrize("text", ["", "0x", "11" * 31, "00" * 32, "ff" * 32, "0x" + "zz" * 32, "11" * 32 + "\n"])
def test_what_is_no_private_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="private_key") as refused:
        Signer(text)
    assert len(text) < 3 or text.strip() not in str(refused.value)


def test_the_nonce_is_frozen() -> None:
    # A change here could pay twice: what was signed before the change does not stop what is signed after it.
    assert nonce_of("0a1b" * 16).hex() == "0a1b" * 16


@pytest.mark.parametrize("key", ["", "k1", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n"])
def test_a_key_that_no_digest_makes_is_no_nonce(key: str) -> None:
    with pytest.raises(ValueError, match="rail_key"):
        nonce_of(key)


# What an answer and the chain prove.

EXPECTED = Authorization(US, PAYEE, 1500, 1000, 2000, nonce_of("a" * 64))
PAID = {"success": True, "transaction": "0x" + "1f" * 32, "network": "eip155:84532", "payer": US, "amount": "1500"}


def answer(status: int | None, said: Any = None, header: str | None = None) -> Result:
    headers = {"payment-response": header if header is not None else encoded(said)}
    done = Exchange(status=status, body=b"x", sent=True, failure="" if status else "timeout", detail="", request=b"", headers=headers)
    return judge_answer(done, EXPECTED, TOKEN).result


def test_a_merchant_proves_at_most_that_the_chain_has_it() -> None:
    assert answer(200, PAID) is Result.ACCEPTED
    assert answer(200, {name: PAID[name] for name in ("success", "transaction", "network")}) is Result.ACCEPTED
    for change in (
        {"success": False},
        {"success": "true"},
        {"transaction": ""},
        {"network": "eip155:1"},
        {"payer": PAYEE},
        {"amount": "1"},
    ):
        assert answer(200, PAID | change) is Result.UNKNOWN
    for status in (None, 301, 400, 402, 409, 500, 503):
        assert answer(status, PAID) is Result.UNKNOWN


@given(st.integers(100, 599), st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_rubbish_from_a_merchant_proves_nothing(status: int, header: str) -> None:
    assert answer(status, header=header) is Result.UNKNOWN


@given(st.binary())
def test_no_resource_is_read_from_rubbish(raw: bytes) -> None:
    assert bought(raw) is None


addresses = st.sampled_from([US, PAYEE, "0x" + "00" * 20])
moves = st.none() | st.just(Move(US, PAYEE, 1500)) | st.builds(Move, addresses, addresses, st.sampled_from([1499, 1500, 1501, 0]))
blocks = st.builds(Block, st.integers(0, 30), st.just("0x"), st.integers(0, 4000))


@settings(max_examples=1000)
@given(st.builds(Seen, st.booleans(), st.booleans(), blocks, st.none() | st.integers(0, 30), moves))
def test_only_a_final_transfer_of_everything_settles_and_only_final_time_rejects(seen: Seen) -> None:
    verdict, whole = judge(seen, EXPECTED), seen.move == Move(US, PAYEE, 1500)
    final = seen.used_finally and seen.block is not None and seen.block <= seen.final.number
    assert (verdict.result is Result.SETTLED) == bool(whole and final)
    assert (verdict.result is Result.REJECTED) == (not seen.used and not seen.used_finally and seen.final.time >= 2000)
    assert verdict.result is not Result.NOT_FOUND
    if verdict.result is Result.ACCEPTED:
        assert whole and not final
