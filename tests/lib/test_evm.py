"""Addresses, accounts and tokens of EVM chains, and which addresses of the internet are anybody's."""

from __future__ import annotations

import pytest
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from codespar.lib import evm
from codespar.lib.addresses import is_public

EIP55 = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


@given(st.binary(min_size=20, max_size=20))
def test_the_checksum_is_that_of_the_reference_implementation(raw: bytes) -> None:
    assert evm.checksummed("0x" + raw.hex()) == to_checksum_address(raw)


@pytest.mark.parametrize("text", [EIP55, EIP55.lower(), "0x" + EIP55[2:].upper()])
def test_an_account_is_kept_in_small_letters(text: str) -> None:
    assert evm.evm_account(f"eip155:84532:{text}") == f"eip155:84532:{EIP55.lower()}"


@pytest.mark.parametrize(
    "text",
    [
        "eip155:84532:" + EIP55.replace("5aA", "5AA"),
        "eip155:84532:" + EIP55[:-1],
        "eip155:84532:" + EIP55 + "\n",
        "eip155:084532:" + EIP55,
        "eip155:0:" + EIP55,
        "EIP155:84532:" + EIP55,
        "eip155:84532:0X" + EIP55[2:],
        "solana:84532:" + EIP55,
        EIP55,
        "",
    ],
)
def test_an_account_with_a_wrong_letter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address|account"):
        evm.evm_account(text)


def test_a_token_is_read_from_caip_19() -> None:
    found = evm.erc20(f"eip155:84532/erc20:{EIP55}")
    assert (found.chain, found.contract, found.network) == (84532, EIP55.lower(), "eip155:84532")
    for text in (f"eip155:84532/erc721:{EIP55}", f"eip155:84532:{EIP55}", f"eip155:84532/erc20:{EIP55} "):
        with pytest.raises(ValueError, match="token"):
            evm.erc20(text)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1"),
        *("2002:a00:1::1", "2001:0:1::1", "localhost", ""),
    ],
)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_public(address)
