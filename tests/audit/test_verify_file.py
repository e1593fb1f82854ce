"""What an export proves offline, and what it does not: pins, parts of a chain, checkpoints that the verifier keeps, and odd files."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from codespar.audit import archive, chain, checkpoints
from codespar.lib import canonical, ids
from ledger.merkle import Frontier
from ledger.records import Signer
from tests.audit import independent
from tests.audit.chains import KEY, ORG, THIEF, TRUST, Chain, make
from tests.support import exports

SIGNER = Signer("ledger-1", KEY.sign)
WIRE = ids.wire("org", ORG)
CODESPAR = Path(sys.executable).with_name("codespar")
PIN = str(TRUST.pin)


def verify(found: dict[str, bytes] | bytes, folder: Path, *, pin: str | None = PIN, **options: Any) -> Any:
    return exports.verify(found if isinstance(found, bytes) else exports.frame(found), folder, org=WIRE, pin=pin, **options)


def codes(report: Any) -> list[tuple[int | None, str]]:
    return [(problem.seq, problem.code) for problem in report.problems]


def keep(folder: Path, rows: list[chain.Row], *sizes: int, key: Any = KEY) -> Path:
    """Checkpoints that an auditor copied earlier."""
    for size in sizes:
        tree = Frontier().extend(row.hash or b"" for row in rows[:size])
        note = checkpoints.make(
            deployment="test.localhost", org=ORG, tree=tree, signer=Signer("ledger-1", key.sign), public_key=key.public_key()
        )
        checkpoints.write(folder=folder, org=ORG, size=size, note=note)
    return folder


def test_a_whole_chain_is_verified_with_its_count_head_and_seals(tmp_path: Path) -> None:
    rows = make(9).rows
    report = verify(exports.of(rows, signer=SIGNER, seals=(1, 4, 8)), tmp_path)
    assert (report.status, report.chain.count, report.chain.head, report.sealed, report.inside) == (
        "verified",
        9,
        chain.Head(9, rows[8].hash.hex()),
        8,
        3,
    )


def test_nobody_vouches_without_the_right_pin(tmp_path: Path) -> None:
    found = exports.of(make(6).rows, signer=SIGNER, seals=(5,))
    thief = chain.fingerprint(THIEF.public_key())
    for changed in (found, exports.of(make(6).rows, signer=SIGNER, seals=(5,), first=2)):
        assert verify(changed, tmp_path, pin=None).status == "untrusted"
        report = verify(changed, tmp_path, pin=thief)
        assert report.status == "untrusted" and {code for _, code in codes(report)} == {"unknown_key"}
    other = ids.wire("org", ids.new())
    assert exports.verify(exports.frame(found), tmp_path, org=other, pin=PIN).status == "untrusted", "a pin of somebody else"


def test_a_chain_of_another_key_is_not_the_pinned_ones(tmp_path: Path) -> None:
    stolen = Chain(key=THIEF)
    for _ in range(5):
        stolen.add()
    forged = exports.of(stolen.rows, signer=Signer("ledger-1", THIEF.sign), seals=(3, 6))
    assert verify(forged, tmp_path).status == "untrusted"
    assert verify(exports.of(stolen.rows, signer=Signer("ledger-1", THIEF.sign), seals=(3, 6), first=2), tmp_path).status == "untrusted"
    real = exports.of(make(6).rows, signer=SIGNER)
    assert verify(forged | {archive.KEYS: real[archive.KEYS]}, tmp_path).status == "tampered", "another key put in front of it"


def test_another_deployment_is_not_this_one(tmp_path: Path) -> None:
    found = exports.of(make(4).rows, signer=SIGNER)
    assert verify(found, tmp_path, deployment="test.localhost").status == "verified"
    assert "elsewhere" in {code for _, code in codes(verify(found, tmp_path, deployment="pay.example"))}
    moved = exports.resign(found, SIGNER, deployment="pay.example")
    assert (1, "elsewhere") in codes(verify(moved, tmp_path))


# Parts of a chain.


def test_every_range_under_a_checkpoint_is_verified_by_both_verifiers_and_no_other(tmp_path: Path) -> None:
    rows, seals = make(14).rows, (3, 8, 11)
    for first in range(1, 15):
        for last in range(first, 15):
            found = exports.of(rows, signer=SIGNER, first=first, last=last, seals=seals)
            report = verify(found, tmp_path)
            sealed = first == 1 or first <= 11
            assert (report.status, codes(report)) == (("verified", []) if sealed else ("untrusted", [(None, "not_anchored")])), (
                first,
                last,
            )
            later = [size for size in seals if size >= last][:1] or [size for size in seals if first <= size]
            assert report.sealed == (later[-1] if later and later[-1] >= first else 0), (first, last)
            if sealed:
                assert independent.check(exports.frame(found), org=WIRE, pin=PIN)["last_seq"] == last
            else:
                with pytest.raises(independent.Bad):
                    independent.check(exports.frame(found), org=WIRE, pin=PIN)


def test_a_part_is_sealed_by_a_checkpoint_that_the_verifier_keeps(tmp_path: Path) -> None:
    rows = make(9).rows
    found = exports.of(rows, signer=SIGNER, first=4, last=9)
    assert verify(found, tmp_path).status == "untrusted"
    report = verify(found, tmp_path, checkpoint_dir=keep(tmp_path / "mine", rows, 2, 6))
    assert (report.status, report.sealed, report.kept) == ("verified", 6, 1)


def test_a_part_put_elsewhere_contradicts_its_checkpoint(tmp_path: Path) -> None:
    """Who holds the key makes a part from another chain, with the checkpoints of the real one, or its proofs."""
    real, other = make(9).rows, make(9).rows
    for seals in ((6, 9), (9,)):
        found = exports.of(other, signer=SIGNER, first=4, last=7, seals=seals)
        theirs = exports.of(real, signer=SIGNER, first=4, last=7, seals=seals)
        for name in (archive.CHECKPOINTS, archive.PROOFS):
            changed = exports.resign(found | {name: theirs[name]}, SIGNER)
            report = verify(changed, tmp_path)
            assert report.status == "tampered" and "checkpoint_root" in {code for _, code in codes(report)}, (name, report.problems)
            with pytest.raises(independent.Bad):
                independent.check(exports.frame(changed), org=WIRE, pin=PIN)


def test_the_key_has_the_name_under_which_the_first_entry_introduces_it(tmp_path: Path) -> None:
    found = exports.of(make(4).rows, signer=SIGNER)
    renamed = found | {archive.KEYS: found[archive.KEYS].replace(b'"kid":"ledger-1"', b'"kid":"ledger-2"')}
    assert codes(verify(exports.resign(renamed, SIGNER, kid="ledger-2"), tmp_path)) == [(1, "keys")]


# What the verifier kept.


def test_a_deleted_tail_is_found_by_a_checkpoint_of_before(tmp_path: Path) -> None:
    """Who holds the key cuts the chain and exports what is left: the file is perfect, and shorter than what was seen."""
    rows = make(12).rows
    cut = exports.of(rows[:7], signer=SIGNER, seals=(4,))
    assert verify(cut, tmp_path).status == "verified"
    report = verify(cut, tmp_path, checkpoint_dir=keep(tmp_path / "mine", rows, 4, 12))
    assert (report.status, codes(report)) == ("tampered", [(8, "tail_deleted")])


def test_a_history_written_anew_contradicts_a_checkpoint_of_before(tmp_path: Path) -> None:
    rows, forged = make(9).rows, make(9).rows
    assert verify(exports.of(forged, signer=SIGNER, seals=(4, 9)), tmp_path).status == "verified"
    report = verify(exports.of(forged, signer=SIGNER, seals=(4, 9)), tmp_path, checkpoint_dir=keep(tmp_path / "mine", rows, 4, 6))
    assert (report.status, codes(report)) == ("tampered", [(4, "checkpoint_root"), (6, "checkpoint_root")])


def test_checkpoints_after_the_range_and_before_the_export_are_no_contradiction(tmp_path: Path) -> None:
    rows = make(12).rows
    found = exports.of(rows, signer=SIGNER, last=7, seals=(4, 12), made=13)
    report = verify(found, tmp_path, checkpoint_dir=keep(tmp_path / "mine", rows, 1, 7, 11, 12))
    assert (report.status, report.kept) == ("verified", 2)


def test_a_folder_without_the_organisations_checkpoints_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    report = verify(exports.of(make(5).rows, signer=SIGNER), tmp_path, checkpoint_dir=tmp_path / "none")
    assert (report.status, codes(report)) == ("unavailable", [(None, "checkpoints_unreachable")])


# What somebody says who holds the key, and what cannot be.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"v": 2}, "manifest"),
        ({"v": True}, "manifest"),
        ({"more": 1}, "manifest"),
        ({"livemode": "yes"}, "manifest"),
        ({"openings": "some"}, "manifest"),
        ({"first_seq": 0}, "manifest"),
        ({"first_seq": True}, "manifest"),
        ({"last_seq": "6"}, "manifest"),
        ({"head": "AA" * 32}, "manifest"),
        ({"counts": {"entries": 6}}, "manifest"),
        ({"org": "org_1"}, "manifest"),
        ({"entry": {"id": ids.wire("ent", ORG), "seq": 6, "hash": "00" * 32}}, "manifest"),
        ({"exported_at": "today"}, "manifest"),
        ({"last_seq": 5}, "head"),
        ({"head": "aa" * 32}, "head"),
        ({"first_prev": "aa" * 32}, "prev"),
        ({"counts": {"entries": 7, "checkpoints": 1, "openings": 0}}, "counts"),
        ({"counts": {"entries": 6, "checkpoints": 0, "openings": 0}}, "counts"),
        ({"counts": {"entries": 6, "checkpoints": 1, "openings": 1}}, "counts"),
        ({"files": {archive.LEAVES: "00" * 32}}, "file"),
        ({"kid": "ledger-2"}, "manifest_signature"),
        ({"first_seq": 2}, "proofs"),
    ],
    ids=str,
)
def test_a_signed_manifest_that_does_not_fit_is_a_failure(tmp_path: Path, changes: dict[str, Any], code: str) -> None:
    report = verify(exports.resign(exports.of(make(6).rows, signer=SIGNER, seals=(5,)), SIGNER, **changes), tmp_path)
    assert report.status == "tampered" and code in {found for _, found in codes(report)}, report.problems


@pytest.mark.parametrize("name", [archive.LEAVES, archive.CONTENTS, archive.CHECKPOINTS, archive.KEYS, archive.PROOFS])
def test_json_that_is_written_in_another_way_is_a_failure_whoever_signed_it(tmp_path: Path, name: str) -> None:
    found = exports.of(make(4).rows, signer=SIGNER, seals=(3,))
    spaced = found | {name: found[name].replace(b'":', b'": ', 1)}
    assert verify(exports.resign(spaced, SIGNER), tmp_path).status == "tampered"


def test_entries_that_follow_no_rule_are_named(tmp_path: Path) -> None:
    for broken, code in (
        ({"kind": "made.up"}, "unknown_kind"),
        ({"data": {}}, "data"),
        ({"after": {"seq": 3, "hash": "00" * 32}}, "after"),
        ({"parts": [{"part": "made up"}]}, "unknown_part"),
        ({"key": THIEF}, "signature"),
        ({"kid": "ledger-9"}, "unknown_key"),
    ):
        made = make(4)
        made.add(**broken)
        report = verify(exports.of(made.rows, signer=SIGNER, seals=(5,)), tmp_path)
        assert report.status == ("untrusted" if code == "unknown_key" else "tampered"), broken
        assert (5, code) in codes(report), report.problems


def test_an_id_twice_is_named(tmp_path: Path) -> None:
    made = make(4)
    record = made.sign()
    made.add(record)
    made.add(record)
    assert (6, "id_twice") in codes(verify(exports.of(made.rows, signer=SIGNER), tmp_path))


def test_a_commitment_needs_its_opening_unless_all_were_left_out(tmp_path: Path) -> None:
    made = make(4)
    salt, commit = canonical.commit(b"why")
    made.add(data={"id": "prj_1", "name": "one", "reason_commit": commit.hex()})
    found = exports.of(made.rows, signer=SIGNER)
    assert verify(found, tmp_path).status == "verified"
    line = {"commit": commit.hex(), "salt": salt.hex(), "seq": 5, "value": "why"}
    for of in ("all", "test"):
        counts = {"entries": 5, "checkpoints": 0}
        assert codes(verify(exports.resign(found, SIGNER, openings=of), tmp_path)) == [(5, "opening_missing")]
        for said, problem in (
            (line, None),
            (line | {"value": "because"}, "opening"),
            (line | {"seq": 4}, "opening"),
            (line | {"seq": 9}, "opening"),
        ):
            opened = found | {archive.OPENINGS: canonical.dumps(said) + b"\n"}
            report = verify(exports.resign(opened, SIGNER, openings=of, counts=counts | {"openings": 1}), tmp_path)
            assert (report.status == "verified") == (problem is None) and problem in {None, *(code for _, code in codes(report))}, said


# Files that are no exports.


def odd_files() -> dict[str, bytes]:
    found = exports.of(make(4).rows, signer=SIGNER)

    def zipped(members: list[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", kind) as file:
            for name, data in members:
                file.writestr(name, data)
        return out.getvalue()

    listed = list(found.items())
    huge = bytearray(exports.frame(found))
    at = huge.rindex(b"PK\1\2") + 46 + len(archive.SIGNATURE) + 4
    huge[at : at + 8] = b"\xff" * 8
    with pytest.warns(UserWarning):
        twice = zipped([*listed, listed[0]])
    return {
        "empty": b"",
        "text": b"not a zip\n" * 100,
        "an empty zip": zipped([]),
        "another zip of the same members": zipped(listed),
        "compressed": zipped(listed, zipfile.ZIP_DEFLATED),
        "a bomb": zipped([(archive.LEAVES, bytes(50_000_000)), *listed[1:]], zipfile.ZIP_DEFLATED),
        "one member more": zipped([*listed, ("more.txt", b"x")]),
        "a member twice": twice,
        "a path": zipped([("../" + archive.LEAVES, b""), *listed[1:]]),
        "an absolute path": zipped([("/etc/passwd", b""), *listed[1:]]),
        "in another order": zipped(listed[::-1]),
        "a size past all": bytes(huge),
        "bytes before it": b"#!/bin/sh\n" + exports.frame(found),
        "a comment": exports.frame(found)[:-2] + b"\x05\0hello",
        "two files in one": exports.frame(found) * 2,
    }


@pytest.mark.parametrize("name", odd_files())
def test_a_file_of_another_form_is_refused_before_anything_of_it_is_read(tmp_path: Path, name: str) -> None:
    report = verify(odd_files()[name], tmp_path)
    assert (report.status, codes(report), report.told) == ("tampered", [(None, "archive")], None)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (archive.LEAVES, b"x" * (archive.LONGEST_LINE + 1) + b"\n"),
        (archive.LEAVES, b"[" * 100_000 + b"\n"),
        (archive.CONTENTS, b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n"),
        (archive.CONTENTS, b"{}\n"),
        (archive.CONTENTS, b"\xff\xfe\n"),
        (archive.CONTENTS, b""),
        (archive.LEAVES, b'{"content":null,"kid":null,"org":null,"prev":null,"seq":null,"sig":null}\n'),
        (archive.OPENINGS, b"{}\n"),
        (archive.CHECKPOINTS, b'{"note":null,"size":1}\n'),
        (archive.KEYS, b"x" * (archive.LONGEST_DOCUMENT + 1)),
        (archive.KEYS, b'{"keys":[]}'),
        (archive.KEYS, b'{"keys":[null]}'),
        (archive.PROOFS, b'{"before":null,"consistency":null}'),
        (archive.PROOFS, b'{"before":{"nodes":[],"size":-1},"consistency":null}'),
        (archive.MANIFEST, b"[]"),
        (archive.MANIFEST, b"[" * 100_000),
        (archive.SIGNATURE, b"\xff"),
        (archive.SIGNATURE, b""),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:24]),
)
def test_a_member_that_cannot_be_read_is_a_failure_and_never_a_crash(tmp_path: Path, name: str, data: bytes) -> None:
    found = exports.of(make(4).rows, signer=SIGNER, seals=(3,)) | {name: data}
    assert verify(found, tmp_path).status == "tampered"
    if name not in (archive.MANIFEST, archive.SIGNATURE):
        assert verify(exports.resign(found, SIGNER), tmp_path).status == "tampered"
    with pytest.raises(independent.Bad):
        independent.check(exports.frame(found), org=WIRE, pin=PIN)


# The command.

ALONE = """
import sys
for name in ("django", "psycopg", "redis", "celery", "rest_framework"):
    sys.modules[name] = None
from codespar.cli import main
sys.argv = ["codespar", *sys.argv[1:]]
main()
"""


def command(*argv: str | Path, alone: bool = True) -> subprocess.CompletedProcess[str]:
    """`codespar …` on a machine that has the package, and no settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CODESPAR_", "DJANGO_"))}
    start = [sys.executable, "-c", ALONE] if alone else [str(CODESPAR)]
    return subprocess.run([*start, *map(str, argv)], env=env, capture_output=True, text=True, check=False, cwd="/")


def test_the_command_verifies_without_settings_database_or_django(tmp_path: Path) -> None:
    rows, file = make(6).rows, tmp_path / "copy.zip"
    good, pin = exports.frame(exports.of(rows, signer=SIGNER, seals=(5,))), f"{WIRE}={PIN}"
    file.write_bytes(good)
    done = command("verify", file, "--pin", pin)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{WIRE} verified\n  entries      6: 1 to 6, of test.localhost\n  head         6 {rows[5].hash.hex()}\n")
    told = json.loads(command("verify", file, "--pin", pin, "--json").stdout)
    assert (told["status"], told["count"], told["head"], told["checkpoints"]["size"]) == (
        "verified",
        6,
        {"seq": 6, "hash": rows[5].hash.hex()},
        5,
    )
    assert command("verify", file).returncode == 2
    mine = keep(tmp_path / "mine", rows, 4)
    assert command("verify", file, "--pin", pin, "--checkpoints", mine, "--deployment", "test.localhost").returncode == 0
    place = good.index(b'"seq":4')
    file.write_bytes(good[:place] + b'"seq":7' + good[place + 7 :])
    done = command("verify", file, "--pin", pin)
    assert done.returncode == 1 and "first bad    4\n" in done.stdout
    assert json.loads(command("verify", file, "--pin", pin, "--json").stdout)["first_bad_seq"] == 4


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere.zip"], "nowhere.zip"),
        (["{file}", "--org", WIRE], "--org"),
        (["{file}", "--checkpoints", "/nowhere"], "/nowhere"),
        (["{file}", "--pin", "org_1=sha256:x"], "pin"),
        (["--deployment", "test.localhost"], "--deployment"),
    ],
    ids=str,
)
def test_a_misused_command_is_one_sentence_and_status_two(tmp_path: Path, argv: list[str], said: str) -> None:
    file = tmp_path / "copy.zip"
    file.write_bytes(exports.frame(exports.of(make(3).rows, signer=SIGNER)))
    done = command("verify", *(one.format(file=file) for one in argv), alone=False)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def serve(answer: bytes) -> tuple[str, list[bytes]]:
    """A server that gives one answer, whatever it is asked, and what it was asked."""
    listener, heard = socket.create_server(("127.0.0.1", 0)), []

    def run() -> None:
        with listener, listener.accept()[0] as caller:
            heard.append(caller.recv(65_536))
            caller.sendall(answer)

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", heard


def chunked(data: bytes, *, end: bool) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + f"{len(data):x}\r\n".encode() + data + b"\r\n" + (b"0\r\n\r\n" if end else b"")


@pytest.mark.parametrize("end", [False, True], ids=["the connection breaks", "the answer ends"])
def test_a_copy_that_did_not_come_whole_leaves_no_file(tmp_path: Path, end: bool) -> None:
    data = exports.frame(exports.of(make(4).rows, signer=SIGNER))
    (tmp_path / "token").write_text("cs_test_x\n")
    made = tmp_path / "made"
    made.mkdir()
    for body, status in ((data[:-30], 2), (data, 0 if end else 2)):
        url, heard = serve(chunked(body, end=end))
        done = command("export", made / "copy.zip", "--token-file", tmp_path / "token", "--url", url)
        assert done.returncode == status, done.stdout + done.stderr
        assert b"uthorization: Bearer cs_test_x\r\n" in heard[0]
        assert [file.name for file in made.iterdir()] == (["copy.zip"] if status == 0 else [])
    if end:
        assert (made / "copy.zip").read_bytes() == data and (made / "copy.zip").stat().st_mode & 0o777 == 0o600
        done = command("export", made / "copy.zip", "--token-file", tmp_path / "token", "--url", url)
        assert done.returncode == 2 and "never replaces another" in done.stderr


def test_a_token_is_shown_to_nobody_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("cs_test_x")
    done = command("export", tmp_path / "copy.zip", "--token-file", tmp_path / "token", "--url", "http://console.example")
    assert (done.returncode, "https" in done.stderr) == (2, True) and not (tmp_path / "copy.zip").exists()
