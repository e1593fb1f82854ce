"""A real export, taken over HTTP: two verifiers that share no code accept it, and both find whatever is changed in it."""

import ast
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from codespar.audit import archive
from tests.audit import independent
from tests.support import exports
from tests.support.sealing import sealed
from tests.support.world import World

SEED = secrets.randbits(32)
JSONL = (archive.LEAVES, archive.CONTENTS, archive.OPENINGS, archive.CHECKPOINTS)
FLIPS = 12


@pytest.fixture(scope="module")
def told(shared_world: World) -> World:
    """A chain with three checkpoints at least, openings, and people in it."""
    world = shared_world
    for _ in range(3):
        assert world.pay(1050, memo="for the hosting").json()["status"] == "settled"
        world.people().post(f"/v1/mandates/{world.new_mandate()}/revoke", {"reason": "over"})
        sealed(world)
    return world


@pytest.fixture(scope="module")
def whole(told: World) -> bytes:
    return exports.take(told)


@pytest.fixture(scope="module")
def part(told: World, whole: bytes) -> bytes:
    """A range in the middle, the end of which no checkpoint of the range seals: it comes with a proof."""
    sizes = [row["size"] for row in told.rows("SELECT size FROM ledger_checkpoints ORDER BY size")]
    last = next(size for size in range(sizes[-1], 3, -1) if size not in sizes)
    data = exports.take(told, first_seq=4, last_seq=last)
    assert b'"consistency":{' in exports.members(data)[archive.PROOFS]
    return data


@pytest.fixture(scope="module")
def both(told: World, tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], tuple[str, bool]]:
    """What the two verifiers say: ours its status, the other one whether it accepts."""
    folder = tmp_path_factory.mktemp("both")

    def ask(data: bytes) -> tuple[str, bool]:
        try:
            accepts = bool(independent.check(data, org=told.org, pin=told.pin))
        except independent.Bad:
            accepts = False
        return exports.verify(data, folder, org=told.org, pin=told.pin).status, accepts

    return ask


@pytest.fixture(params=["whole", "part"])
def data(request: pytest.FixtureRequest) -> bytes:
    found: bytes = request.getfixturevalue(request.param)
    return found


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << random.Random(SEED + place).randrange(8)]) + data[place + 1 :]


def test_the_independent_verifier_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(independent.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} == {
        "base64",
        "hashlib",
        "io",
        "json",
        "re",
        "struct",
        "typing",
        "zipfile",
        "zlib",
        "cryptography",
    }


def test_both_accept_what_was_exported(data: bytes, both: Callable[[bytes], tuple[str, bool]]) -> None:
    assert both(data) == ("verified", True)


@pytest.mark.parametrize("name", archive.NAMES)
def test_one_changed_bit_of_a_member_is_found(data: bytes, both: Callable[[bytes], tuple[str, bool]], name: str) -> None:
    """In the file as it stands, and in one whose checksums were made to fit."""
    print(f"seed {SEED}")
    found = exports.members(data)
    start, size = data.index(found[name]) if found[name] else 0, len(found[name])
    for place in sorted(random.Random(SEED).sample(range(size), min(size, FLIPS))):
        assert both(flipped(data, start + place)) == ("tampered", False), (name, place)
        assert both(exports.frame(found | {name: flipped(found[name], place)})) == ("tampered", False), (name, place)


def test_one_changed_bit_anywhere_else_in_the_file_is_found(data: bytes, both: Callable[[bytes], tuple[str, bool]]) -> None:
    """Every byte between and after the members."""
    print(f"seed {SEED}")
    inside = set()
    for member in exports.members(data).values():
        start = data.index(member)
        inside |= set(range(start, start + len(member)))
    frame = [place for place in range(len(data)) if place not in inside]
    assert len(frame) == len(exports.frame(dict.fromkeys(archive.NAMES, b"")))
    for place in frame:
        assert both(flipped(data, place)) == ("tampered", False), place


@pytest.mark.parametrize("cut", [1, 22, 98, 99, 700])
def test_a_file_that_was_cut_or_made_longer_is_found(whole: bytes, both: Callable[[bytes], tuple[str, bool]], cut: int) -> None:
    for data in (whole[:-cut], whole[cut:], whole + bytes(cut), bytes(cut) + whole, whole[:cut], b""):
        assert both(data) == ("tampered", False)


def dropped(lines: list[bytes], at: int) -> list[bytes]:
    return lines[:at] + lines[at + 1 :]


def doubled(lines: list[bytes], at: int) -> list[bytes]:
    return lines[: at + 1] + lines[at:]


def swapped(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], *lines[at : at + 2][::-1], *lines[at + 2 :]]


def emptied(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], b"\n", *lines[at + 1 :]]


def nulled(lines: list[bytes], at: int) -> list[bytes]:
    return [*lines[:at], b"null\n", *lines[at + 1 :]]


@pytest.mark.parametrize("signed", [False, True], ids=["by somebody", "by who holds the key"])
@pytest.mark.parametrize("change", [dropped, doubled, swapped, emptied, nulled])
@pytest.mark.parametrize("name", JSONL)
def test_lines_that_were_dropped_doubled_swapped_or_emptied_are_found(
    told: World,
    data: bytes,
    both: Callable[[bytes], tuple[str, bool]],
    name: str,
    change: Callable[[list[bytes], int], list[bytes]],
    signed: bool,
) -> None:
    """Also when the manifest was made and signed anew over what is left, counts included."""
    found = exports.members(data)
    lines = found[name].splitlines(keepends=True)
    assert len(lines) > 1
    for at in sorted({0, len(lines) // 2, len(lines) - 2}):
        changed = found | {name: b"".join(change(lines, at))}
        if signed:
            if name == archive.CHECKPOINTS and change is dropped:
                # Nobody says how often a chain is sealed: one checkpoint fewer is no lie.
                continue
            changed = exports.resign(changed, exports.signer(told), counts=exports.counts(changed))
        assert both(exports.frame(changed)) == ("tampered", False), at


def test_an_entry_that_was_dropped_or_swapped_with_its_content_is_named(told: World, whole: bytes, tmp_path: Path) -> None:
    found = exports.members(whole)
    for change in (dropped, swapped, doubled, nulled):
        changed = found | {name: b"".join(change(found[name].splitlines(keepends=True), 6)) for name in (archive.LEAVES, archive.CONTENTS)}
        report = exports.verify(exports.frame(changed), tmp_path, org=told.org, pin=told.pin)
        assert (report.status, report.first_bad) == ("tampered", 7), change


def test_one_changed_bit_is_found_and_named_though_who_holds_the_key_signed_the_manifest_anew(
    told: World, whole: bytes, tmp_path: Path
) -> None:
    print(f"seed {SEED}")
    found, signer = exports.members(whole), exports.signer(told)
    for name in (archive.LEAVES, archive.CONTENTS):
        size = len(found[name])
        for place in sorted(random.Random(SEED).sample(range(size), 20)):
            line = found[name][:place].count(b"\n") + 1
            changed = exports.resign(found | {name: flipped(found[name], place)}, signer)
            report = exports.verify(exports.frame(changed), tmp_path, org=told.org, pin=told.pin)
            assert (report.status, report.first_bad) == ("tampered", line), (name, place, report.problems)
            with pytest.raises(independent.Bad) as caught:
                independent.check(exports.frame(changed), org=told.org, pin=told.pin)
            assert caught.value.seq == line, (name, place)
