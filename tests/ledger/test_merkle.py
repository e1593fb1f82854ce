"""The Merkle tree: the known roots of Certificate Transparency, and proofs that hold for the truth only."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import merkle
from ledger.merkle import Frontier

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())
LEAVES = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
MANY = [merkle.leaf_hash(str(number).encode()) for number in range(70)]


def recursive_root(leaves):
    """RFC 6962 §2.1, word for word: an independent way to the same root."""
    if len(leaves) < 2:
        return leaves[0] if leaves else merkle.EMPTY
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return merkle.node_hash(recursive_root(leaves[:half]), recursive_root(leaves[half:]))


def test_the_roots_of_certificate_transparency_are_met():
    assert [merkle.root(LEAVES[:size]) for size in range(9)] == ROOTS
    assert ROOTS[0].hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_proofs_of_certificate_transparency_are_met():
    for case in VECTORS["inclusion"]:
        assert [node.hex() for node in merkle.inclusion_proof(LEAVES[: case["size"]], index=case["index"])] == case["proof"]
    for case in VECTORS["consistency"]:
        assert [node.hex() for node in merkle.consistency_proof(LEAVES[: case["size"]], first=case["first"])] == case["proof"]


def test_a_root_is_what_the_rfc_says_for_every_small_size():
    frontier = Frontier()
    for size in range(len(MANY) + 1):
        assert frontier.root() == merkle.root(MANY[:size]) == recursive_root(MANY[:size])
        assert frontier.size == size
        if size < len(MANY):
            frontier = frontier.append(MANY[size])


def test_a_frontier_survives_storage():
    for size in range(40):
        frontier = Frontier().extend(MANY[:size])
        again = Frontier.from_list(frontier.to_list(), size=size)
        assert again == frontier
        assert again.append(*MANY[size:60]).root() == merkle.root(MANY[:60])


def test_appending_leaves_the_old_frontier_alone():
    old = Frontier().append(MANY[0])
    old.append(MANY[1])
    assert old.root() == MANY[0]


@pytest.mark.parametrize("nodes, size", [(["00" * 32], 0), ([], 1), (["00" * 32], 3), (["00" * 31], 1), (["zz"], 1), ([], -1)])
def test_a_frontier_that_does_not_fit_its_size_refuses(nodes, size):
    with pytest.raises(ValueError):
        Frontier.from_list(nodes, size=size)


def test_a_leaf_hash_of_another_length_refuses():
    with pytest.raises(ValueError):
        Frontier().append(b"short")


def test_every_leaf_of_every_small_tree_is_included():
    for size in range(1, 40):
        root = merkle.root(MANY[:size])
        for index in range(size):
            proof = merkle.inclusion_proof(MANY[:size], index=index)
            claim = {"leaf_hash": MANY[index], "index": index, "size": size, "proof": proof, "root": root}
            assert merkle.verify_inclusion(**claim)
            assert not merkle.verify_inclusion(**claim | {"leaf_hash": MANY[index + 1]})
            assert not merkle.verify_inclusion(**claim | {"index": index + 1})
            assert not merkle.verify_inclusion(**claim | {"index": index - 1})
            assert not merkle.verify_inclusion(**claim | {"root": MANY[69]})
            assert not merkle.verify_inclusion(**claim | {"proof": (*proof, MANY[0])})
            assert not proof or not merkle.verify_inclusion(**claim | {"proof": proof[:-1]})


def test_every_small_tree_is_consistent_with_its_beginnings():
    for second in range(40):
        for first in range(second + 1):
            proof = merkle.consistency_proof(MANY[:second], first=first)
            roots = {"first_root": merkle.root(MANY[:first]), "second_root": merkle.root(MANY[:second])}
            claim = {"first": first, "second": second, "proof": proof, **roots}
            assert merkle.verify_consistency(**claim)
            assert not merkle.verify_consistency(**claim | {"proof": (*proof, MANY[0])})
            assert not merkle.verify_consistency(**claim | {"first_root": MANY[69]})
            assert first == 0 or not merkle.verify_consistency(**claim | {"second_root": MANY[69]})
            assert not proof or not merkle.verify_consistency(**claim | {"proof": proof[:-1]})
            assert not merkle.verify_consistency(**claim | {"first": second + 1})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_tree_that_was_rewritten_has_no_proof_of_growth(data):
    second = data.draw(st.integers(2, 60))
    first = data.draw(st.integers(1, second - 1))
    changed = data.draw(st.integers(0, first - 1))
    forged = [*MANY[:changed], merkle.leaf_hash(b"forged"), *MANY[changed + 1 : second]]
    old = merkle.root(MANY[:first])
    for leaves in (MANY[:second], forged):
        proof = merkle.consistency_proof(leaves, first=first)
        assert not merkle.verify_consistency(first=first, second=second, first_root=old, second_root=merkle.root(forged), proof=proof)


@settings(max_examples=200, deadline=None)
@given(st.integers(-2, 70), st.integers(-2, 70), st.lists(st.sampled_from(MANY), max_size=8))
def test_a_proof_out_of_nothing_never_holds_and_never_fails_to_answer(one, other, proof):
    forged = {"first_root": merkle.leaf_hash(b"a"), "second_root": merkle.leaf_hash(b"b")}
    if one:
        assert not merkle.verify_consistency(first=one, second=other, proof=proof, **forged)
    leaf = merkle.leaf_hash(b"x")
    assert not merkle.verify_inclusion(leaf_hash=leaf, index=one, size=other, proof=proof, root=merkle.leaf_hash(b"b"))


def test_a_proof_for_what_does_not_exist_is_not_made():
    for index in (-1, 3):
        with pytest.raises(ValueError):
            merkle.inclusion_proof(MANY[:3], index=index)
    for first in (-1, 4):
        with pytest.raises(ValueError):
            merkle.consistency_proof(MANY[:3], first=first)


def test_an_inner_node_does_not_pass_as_a_leaf():
    inner = merkle.node_hash(MANY[0], MANY[1])
    assert merkle.root([inner]) != merkle.leaf_hash(MANY[0] + MANY[1])
