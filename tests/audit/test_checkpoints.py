"""Checkpoints outside the database: what was sealed can neither be cut off nor written anew, whoever signs it."""

import stat

import pytest

from codespar.audit import chain, checkpoints
from codespar.audit.checkpoints import CheckpointConflict, Watch
from ledger.merkle import Frontier
from ledger.notes import NoteInvalid
from ledger.records import Signer
from tests.audit.chains import KEY, ORG, THIEF, TRUST, Chain, make


def seal(rows, size, *, key=KEY, deployment="test.localhost"):
    tree = Frontier().extend(row.hash for row in rows[:size])
    signer = Signer("ledger-1", key.sign)
    return checkpoints.make(deployment=deployment, org=ORG, tree=tree, signer=signer, public_key=key.public_key())


def kept(folder, rows, *sizes, **options):
    for size in sizes:
        checkpoints.write(folder=folder, org=ORG, size=size, note=seal(rows, size, **options))
    return folder


def watch(folder, rows):
    """The problems that the checkpoints of the folder have with these rows, as (seq, code)."""
    listed = checkpoints.listed(folder=folder, org=ORG)
    sizes = [size for size, _ in listed]
    found = Watch(checkpoints.read(folder=folder, org=ORG, which=listed), trust=TRUST, where="outside")
    verifier = chain.Verifier(TRUST)
    for row in rows:
        verifier.add(row)
        found.grow(verifier.tree, verifier.keys.values())
    found.finish(verifier.tree.size)
    assert (found.count, found.largest) == (len(sizes), max(sizes, default=0))
    return [(problem.seq, problem.code) for problem in found.problems.found]


def test_the_checkpoints_of_a_whole_chain_agree(tmp_path):
    rows = make(9).rows
    assert watch(kept(tmp_path, rows, 1, 4, 8, 9), rows) == []
    assert watch(tmp_path / "none", rows) == []


def test_a_deleted_tail_is_found_even_when_the_head_was_moved_with_it(tmp_path):
    made = make(9)
    folder = kept(tmp_path, made.rows, 4, 8)
    short = made.rows[:7]
    assert chain.verify(short, trust=TRUST, head=chain.Head(7, short[-1].hash.hex())).ok
    assert watch(folder, short) == [(8, "tail_deleted")]


def test_a_deleted_chain_is_found(tmp_path):
    made = make(4)
    assert watch(kept(tmp_path, made.rows, 4), []) == [(1, "tail_deleted")]
    assert checkpoints.organisations(tmp_path) == {ORG}


def test_a_consistent_chain_forged_with_the_stolen_key_contradicts_its_checkpoints(tmp_path):
    made = make(9)
    folder = kept(tmp_path, made.rows, 3, 6)
    forged = make(4)
    for _ in range(6):
        forged.add(subject="prj_2")
    assert chain.verify(forged.rows, trust=TRUST, head=forged.head).ok
    # The third is not even of the same first entries: ids are made at random.
    assert watch(folder, forged.rows) == [(3, "checkpoint_root"), (6, "checkpoint_root")]


def test_a_chain_forged_with_another_key_contradicts_its_checkpoints(tmp_path):
    folder = kept(tmp_path, make(4).rows, 4)
    forged = Chain(key=THIEF)
    for _ in range(3):
        forged.add()
    assert watch(folder, forged.rows) == [(4, "checkpoint_root")]


def test_a_checkpoint_that_another_key_signed_does_not_count(tmp_path):
    rows = make(4).rows
    assert watch(kept(tmp_path, rows, 4, key=THIEF), rows) == [(4, "checkpoint_signature")]


def test_a_checkpoint_of_another_log_does_not_count(tmp_path):
    rows = make(4).rows
    assert watch(kept(tmp_path, rows, 4, deployment="elsewhere.example"), rows) == [(4, "checkpoint_form")]


@pytest.mark.parametrize("note", ["", "nonsense", "a\n1\nAAAA\n\n— a b\n"])
def test_a_damaged_checkpoint_is_a_failure(tmp_path, note):
    rows = make(4).rows
    checkpoints.write(folder=tmp_path, org=ORG, size=3, note=note)
    assert watch(tmp_path, rows) == [(3, "checkpoint_form")]


def test_a_checkpoint_under_another_size_is_a_failure(tmp_path):
    rows = make(4).rows
    checkpoints.write(folder=tmp_path, org=ORG, size=3, note=seal(rows, 2))
    assert watch(tmp_path, rows) == [(3, "checkpoint_form")]


def test_files_are_whole_readable_and_written_once(tmp_path):
    rows = make(4).rows
    note = seal(rows, 3)
    assert checkpoints.write(folder=tmp_path, org=ORG, size=3, note=note)
    assert not checkpoints.write(folder=tmp_path, org=ORG, size=3, note=note)
    with pytest.raises(CheckpointConflict):
        checkpoints.write(folder=tmp_path, org=ORG, size=3, note=seal(rows, 2))
    file = checkpoints.path(folder=tmp_path, org=ORG, size=3)
    assert file == tmp_path / f"org_{ORG.hex}" / "00000000000000000003.note"
    assert file.read_text() == note
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o644, 0o755)
    assert [found.name for found in file.parent.iterdir()] == [file.name]


def test_a_signer_with_another_key_than_it_says_makes_no_checkpoint():
    tree = Frontier().extend(row.hash for row in make(2).rows)
    with pytest.raises(NoteInvalid):
        checkpoints.make(
            deployment="test.localhost", org=ORG, tree=tree, signer=Signer("ledger-1", THIEF.sign), public_key=KEY.public_key()
        )
