"""The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1): roots, and proofs that a leaf is in, and that a tree only grew.

Everything here takes *leaf hashes*, SHA-256(0x00 || leaf), 32 bytes each: the `hash` of a ledger entry. `index`
counts from 0, a size counts leaves. Proofs are tuples of 32-byte hashes in RFC order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from codespar.lib.canonical import sha256

EMPTY = sha256(b"")


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf). The prefix keeps a leaf from passing as an inner node."""
    return sha256(b"\x00" + leaf)


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right)


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree: all that is needed to append, and to give the root.

    `nodes` are the roots of the perfect subtrees from the left (the largest) to the right, one for each bit that is
    set in `size`.
    """

    size: int = 0
    nodes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.nodes) != self.size.bit_count() or any(len(node) != 32 for node in self.nodes):
            raise ValueError("a frontier has one hash of 32 bytes for each bit that is set in its size")

    def append(self, *leaf_hashes: bytes) -> "Frontier":
        """A new frontier with these leaves at the end; this one stays as it is. Raises `ValueError`."""
        return self.extend(leaf_hashes)

    def extend(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """`append` for many."""
        size, nodes = self.size, list(self.nodes)
        for node in leaf_hashes:
            _check(node)
            rest = size
            while rest & 1:
                node, rest = node_hash(nodes.pop(), node), rest >> 1
            nodes.append(node)
            size += 1
        return Frontier(size, tuple(nodes))

    def root(self) -> bytes:
        """The root of the tree, 32 bytes; of the empty tree SHA-256 of nothing."""
        if not self.nodes:
            return EMPTY
        *left, found = self.nodes
        for node in reversed(left):
            found = node_hash(node, found)
        return found

    def to_list(self) -> list[str]:
        """The nodes as hex, for storage beside the size."""
        return [node.hex() for node in self.nodes]

    @classmethod
    def from_list(cls, nodes: Sequence[str], *, size: int) -> "Frontier":
        """The inverse of `to_list`. Raises `ValueError` if the nodes do not fit the size."""
        return cls(size, tuple(bytes.fromhex(node) for node in nodes))


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over all of `leaf_hashes`."""
    return Frontier().extend(leaf_hashes).root()


def inclusion_proof(leaf_hashes: Sequence[bytes], *, index: int) -> tuple[bytes, ...]:
    """That leaf `index` is in the tree of all `leaf_hashes` (RFC 6962 §2.1.1). Raises `ValueError` if it is outside."""
    if not 0 <= index < len(leaf_hashes):
        raise ValueError(f"there is no leaf {index} in a tree of {len(leaf_hashes)}")
    proof: list[bytes] = []
    low, high = 0, len(leaf_hashes)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(root(leaf_hashes[middle:high]))
            high = middle
        else:
            proof.append(root(leaf_hashes[low:middle]))
            low = middle
    return tuple(reversed(proof))


def consistency_proof(leaf_hashes: Sequence[bytes], *, first: int) -> tuple[bytes, ...]:
    """That the tree of the first `first` leaves is the beginning of the tree of all (RFC 6962 §2.1.2).

    Empty for `first` 0 (everything begins with nothing) and for equal sizes. Raises `ValueError` for a size outside.
    """
    if not 0 <= first <= len(leaf_hashes):
        raise ValueError(f"a tree of {len(leaf_hashes)} never had {first} leaves")
    tree = Frontier().extend(leaf_hashes[:first])
    return consistency_from(tree, size=len(leaf_hashes), root_of=lambda low, high: root(leaf_hashes[low:high]))


def consistency_from(tree: Frontier, *, size: int, root_of: Callable[[int, int], bytes]) -> tuple[bytes, ...]:
    """That `tree` is the beginning of the tree of `size` leaves, for who does not hold all leaves (RFC 6962 §2.1.2).

    `root_of(low, high)` gives the root over the leaves from `low` up to, not including, `high`; none of them is in `tree`.
    """
    if tree.size in (0, size):
        return ()
    proof: list[bytes] = []
    known = iter(tree.nodes)
    low, high = 0, size
    while tree.size < high:
        middle = low + _split(high - low)
        if tree.size <= middle:
            proof.append(root_of(middle, high))
            high = middle
        else:
            # A perfect tree inside of `tree`: its next node from the left.
            proof.append(next(known))
            low = middle
    if low:
        proof.append(next(known))
    return tuple(reversed(proof))


def verify_inclusion(*, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that `leaf_hash` is leaf `index` of the tree (`size`, `root`) (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size or any(len(node) != 32 for node in (leaf_hash, root, *proof)):
        return False
    position, last, found = index, size - 1, leaf_hash
    for node in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            found = node_hash(node, found)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, node)
        position, last = position >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(*, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the second tree begins with the first one (RFC 9162 §2.1.4.2). Sizes and roots.

    From nothing, or to itself, the proof is empty.
    """
    if not 0 <= first <= second or any(len(node) != 32 for node in (first_root, second_root, *proof)):
        return False
    if first == second:
        return not proof and first_root == second_root and (second > 0 or second_root == EMPTY)
    if first == 0:
        return not proof and first_root == EMPTY
    # A tree whose size is a power of two is a node of the larger tree, and so not in the proof.
    path = [*([first_root] if first & (first - 1) == 0 else []), *proof]
    return bool(path) and _fold(path, first - 1, second - 1) == (first_root, second_root)


def _fold(path: Sequence[bytes], position: int, last: int) -> tuple[bytes, bytes] | None:
    """The two roots that `path` leads to, or None if its length does not fit."""
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for node in path[1:]:
        if last == 0:
            return None
        if position & 1 or position == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, node)
        position, last = position >> 1, last >> 1
    return (old, new) if last == 0 else None


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _check(node: bytes) -> None:
    if len(node) != 32:
        raise ValueError("a leaf hash has 32 bytes")
