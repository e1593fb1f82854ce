"""What is signed on the rail x402: an authorization of EIP-3009, as EIP-712 hashes it.

The message has one fixed shape, so hashing it is these few lines over Keccak, and a test compares them with the reference implementation.
The curve is not ours: `eth-keys` signs with libsecp256k1 (in constant time, the same signature for the same message). `eth-account`, which
reads any typed data, would bring ten more packages into the one process that holds keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from eth_keys.constants import SECPK1_N
from eth_keys.datatypes import PrivateKey

from codespar.lib.evm import Asset, checksummed, keccak256

_DOMAIN = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_TRANSFER = keccak256(
    b"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


@dataclass(frozen=True, slots=True)
class Token:
    """The token that stands for the currency, and the name and version in its EIP-712 domain."""

    asset: Asset
    name: str
    version: str

    @property
    def domain(self) -> bytes:
        """The domain separator: a signature for one token, on one chain, is nothing elsewhere."""
        named = keccak256(self.name.encode()) + keccak256(self.version.encode())
        return keccak256(_DOMAIN + named + word(self.asset.chain) + word(self.asset.contract))


@dataclass(frozen=True, slots=True)
class Authorization:
    """`value` units of the token from `payer` to `payee`, once, between two times (seconds since 1970, both exclusive)."""

    payer: str
    payee: str
    value: int
    valid_after: int
    valid_before: int
    nonce: bytes

    def digest(self, token: Token) -> bytes:
        """What the payer signs."""
        parts = (self.payer, self.payee, self.value, self.valid_after, self.valid_before)
        content = keccak256(_TRANSFER + b"".join(word(part) for part in parts) + self.nonce)
        return keccak256(b"\x19\x01" + token.domain + content)

    def wire(self) -> dict[str, str]:
        """As x402 writes it. Addresses have their checksums: facilitators in wide use take no others."""
        return {
            "from": checksummed(self.payer),
            "to": checksummed(self.payee),
            "value": str(self.value),
            "validAfter": str(self.valid_after),
            "validBefore": str(self.valid_before),
            "nonce": "0x" + self.nonce.hex(),
        }


class Signer:
    """A private key, in hexadecimal with or without 0x: it signs, and never shows itself. Raises ValueError, which does not repeat it."""

    __slots__ = ("_key", "address")

    def __init__(self, text: str) -> None:
        found = re.fullmatch("(?:0x)?([0-9a-fA-F]{64})", text)
        if not found or not 0 < int(found[1], 16) < SECPK1_N:
            raise ValueError("private_key must be 64 hexadecimal digits, of a key of secp256k1")
        self._key = PrivateKey(bytes.fromhex(found[1]))
        # In small letters.
        self.address = self._key.public_key.to_address()

    def sign(self, digest: bytes) -> str:
        """r, s and v (27 or 28), in hexadecimal."""
        made = self._key.sign_msg_hash(digest)
        return "0x" + made.r.to_bytes(32, "big").hex() + made.s.to_bytes(32, "big").hex() + bytes([27 + made.v]).hex()


def nonce_of(key: str) -> bytes:
    """The nonce of the payment with this rail key: the key itself, so that the chain lets it move money once, however often it is sent, and
    tells in its events which payment it was. Raises ValueError for a key that is not 64 hexadecimal digits."""
    if not re.fullmatch("[0-9a-f]{64}", key):
        raise ValueError("a key is a SHA-256 digest in hexadecimal: make it with rail_key")
    return bytes.fromhex(key)


def word(value: int | str) -> bytes:
    """A number or an address as 32 bytes of the ABI."""
    return (int(value, 16) if isinstance(value, str) else value).to_bytes(32, "big")
