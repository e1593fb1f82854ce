"""EVM chains: CAIP-2 networks, CAIP-10 accounts, CAIP-19 assets, and addresses by EIP-55. Small letters are the normal form."""

import re
from dataclasses import dataclass

from Crypto.Hash import keccak

_ADDRESS = "0x[0-9a-fA-F]{40}"
_CHAIN = "[1-9][0-9]{0,17}"


@dataclass(frozen=True, slots=True)
class Asset:
    """An ERC-20 token: `chain` is its chain's id, `contract` its address."""

    chain: int
    contract: str

    @property
    def network(self) -> str:
        """The chain as CAIP-2 writes it."""
        return f"eip155:{self.chain}"


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum has it, which is not SHA3-256."""
    return keccak.new(digest_bits=256, data=data).digest()


def evm_account(text: str) -> str:
    """A CAIP-10 account such as eip155:8453:0x… in its normal form. Raises ValueError, which says what would be right."""
    found = re.fullmatch(f"eip155:({_CHAIN}):({_ADDRESS})", text)
    if not found:
        raise ValueError("an EVM account is eip155:, the chain's id, a colon, and an address of 0x and 40 hexadecimal digits")
    return f"eip155:{found[1]}:{address(found[2])}"


def account_parts(text: str) -> tuple[int, str]:
    """The chain's id and the address of a CAIP-10 account. Raises ValueError."""
    _namespace, chain, found = evm_account(text).split(":")
    return int(chain), found


def erc20(text: str) -> Asset:
    """The token that CAIP-19 calls eip155:8453/erc20:0x…. Raises ValueError, which says what would be right."""
    found = re.fullmatch(f"eip155:({_CHAIN})/erc20:({_ADDRESS})", text)
    if not found:
        raise ValueError("a token is eip155:, the chain's id, /erc20:, and the address of its contract")
    return Asset(int(found[1]), address(found[2]))


def address(text: str) -> str:
    """The address in small letters. Raises ValueError for anything else, and for mixed letters that are not the checksum of EIP-55."""
    if not re.fullmatch(_ADDRESS, text):
        raise ValueError("an address is 0x and 40 hexadecimal digits")
    digits = text[2:]
    if digits not in (digits.lower(), digits.upper()) and text != checksummed(text):
        raise ValueError("the address does not have the checksum of EIP-55: a letter is wrong, or its size is")
    return text.lower()


def checksummed(text: str) -> str:
    """The address with the checksum of EIP-55 in the size of its letters."""
    digits = text[2:].lower()
    sizes = keccak256(digits.encode()).hex()
    return "0x" + "".join(digit.upper() if int(size, 16) >= 8 else digit for digit, size in zip(digits, sizes, strict=False))
