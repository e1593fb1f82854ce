"""What is paid for names whom and how much only as the registry and the request do, or it is not paid for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codespar.lib import cards, pix, targets
from codespar.lib.targets import BadTarget, Paid

PAID = Paid("maria@example.com", 1050, "BRL")
ON_CHAIN = Paid("eip155:8453:0x" + "ab" * 20, 1500, "USDC")


def brcode(**changes: Any) -> str:
    usual: dict[str, Any] = {"name": "MARIA", "city": "RECIFE", "key": PAID.account, "amount": PAID.amount, "txid": "T1"}
    return pix.write_brcode(pix.BRCode(**(usual | changes)))


def refused(rail: str, target: str | None, paid: Paid) -> str:
    with pytest.raises(BadTarget) as found:
        targets.check(rail, target, paid)
    assert found.value.detail.endswith(".")
    return found.value.code


@given(st.one_of(st.none(), st.just(PAID.amount)), st.one_of(st.none(), st.from_regex("[A-Za-z0-9]{1,25}", fullmatch=True)))
def test_a_br_code_that_agrees_is_told_by_its_txid(amount: int | None, txid: str | None) -> None:
    code = brcode(amount=amount, txid=txid)
    targets.check("pix", code, PAID)
    assert targets.told("pix", code) == txid
    assert cards.find({"target": code}) == []


@given(st.integers(1, 10**11), st.sampled_from(["maria@example.com", "joao@example.com", "+5511987654321"]))
def test_a_br_code_that_does_not_agree_in_all_is_refused(amount: int, key: str) -> None:
    code = brcode(amount=amount, key=key)
    if (amount, key) == (PAID.amount, PAID.account):
        targets.check("pix", code, PAID)
    else:
        assert refused("pix", code, PAID) == "target_mismatch"


def test_other_currencies_forms_and_rails_are_refused() -> None:
    assert refused("pix", brcode(), Paid(PAID.account, PAID.amount, "USD")) == "target_mismatch"
    assert refused("pix", brcode(key=None, url="pix.example/v2/1"), PAID) == "target_unsupported"
    assert refused("pix", brcode()[:-1] + "?", PAID) == "target_malformed"
    assert refused("pix", "https://shop.example", PAID) == "target_malformed"
    for rail in ("sandbox", "wire", "card"):
        assert refused(rail, brcode(), PAID) == "target_unsupported"
        targets.check(rail, None, PAID)
    targets.check("pix", None, PAID)
    assert targets.told("pix", None) is None


@pytest.mark.parametrize(
    "url", ["https://shop.example/a?b=1", "https://shop.example:8443", "http://127.0.0.1:8000/a", "http://localhost/a"]
)
def test_a_resource_is_told_as_it_is(url: str) -> None:
    targets.check("x402", url, ON_CHAIN)
    assert targets.told("x402", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "http://shop.example/a",
        "http://10.0.0.1/a",
        "ftp://shop.example/a",
        "file:///etc/passwd",
        "https://user:pass@shop.example/a",
        "https://shop.example/a#part",
        "https://shop.example/a b",
        "https://shop.example/\u00e9",
        "https://shop.example:0/a",
        "https://shop.example:99999/a",
        "https://shop.example/a\n",
        "https://shop.example/" + "a" * 2000,
        brcode(),
    ],
)
def test_what_is_no_resource_is_refused(url: str) -> None:
    assert refused("x402", url, ON_CHAIN) == "target_malformed"


def test_a_rail_that_sells_must_be_told_what() -> None:
    assert refused("x402", None, ON_CHAIN) == "target_needed"
