# pragma version ~=0.4.3
# A token with six decimals and EIP-3009, as USDC has it: AuthorizationUsed, then Transfer.

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    amount: uint256

event AuthorizationUsed:
    authorizer: indexed(address)
    nonce: indexed(bytes32)

event AuthorizationCanceled:
    authorizer: indexed(address)
    nonce: indexed(bytes32)

name: public(constant(String[32])) = "Test Dollar"
version: public(constant(String[8])) = "2"
symbol: public(constant(String[8])) = "USDC"
decimals: public(constant(uint8)) = 6

DOMAIN_TYPE: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
TRANSFER_TYPE: constant(bytes32) = keccak256(
    "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
CANCEL_TYPE: constant(bytes32) = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)")

totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
authorizationState: public(HashMap[address, HashMap[bytes32, bool]])
DOMAIN_SEPARATOR: public(immutable(bytes32))


@deploy
def __init__():
    DOMAIN_SEPARATOR = keccak256(abi_encode(DOMAIN_TYPE, keccak256(name), keccak256(version), chain.id, self))


@external
def mint(receiver: address, amount: uint256):
    self.totalSupply += amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=empty(address), receiver=receiver, amount=amount)


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferWithAuthorization(
    sender: address, receiver: address, amount: uint256, validAfter: uint256, validBefore: uint256, nonce: bytes32,
    v: uint8, r: bytes32, s: bytes32,
):
    assert block.timestamp > validAfter, "FiatTokenV2: authorization is not yet valid"
    assert block.timestamp < validBefore, "FiatTokenV2: authorization is expired"
    self._use(sender, nonce, keccak256(abi_encode(TRANSFER_TYPE, sender, receiver, amount, validAfter, validBefore, nonce)), v, r, s)
    log AuthorizationUsed(authorizer=sender, nonce=nonce)
    self._move(sender, receiver, amount)


@external
def cancelAuthorization(authorizer: address, nonce: bytes32, v: uint8, r: bytes32, s: bytes32):
    self._use(authorizer, nonce, keccak256(abi_encode(CANCEL_TYPE, authorizer, nonce)), v, r, s)
    log AuthorizationCanceled(authorizer=authorizer, nonce=nonce)


@internal
def _use(authorizer: address, nonce: bytes32, content: bytes32, v: uint8, r: bytes32, s: bytes32):
    assert not self.authorizationState[authorizer][nonce], "FiatTokenV2: authorization is used or canceled"
    digest: bytes32 = keccak256(concat(b"\x19\x01", DOMAIN_SEPARATOR, content))
    signer: address = ecrecover(digest, v, r, s)
    assert signer != empty(address) and signer == authorizer, "FiatTokenV2: invalid signature"
    self.authorizationState[authorizer][nonce] = True


@internal
def _move(sender: address, receiver: address, amount: uint256):
    assert self.balanceOf[sender] >= amount, "ERC20: transfer amount exceeds balance"
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, amount=amount)
