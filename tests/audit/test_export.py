"""Taking a copy of the ledger: it is written down first, comes while it is read, and says whose texts are in it."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from codespar.audit import archive, openings
from ledger import merkle
from ledger.merkle import Frontier
from tests.support import books, exports, processes
from tests.support.forge import Forger
from tests.support.problems import is_problem
from tests.support.sealing import folder, sealed
from tests.support.world import World, raw_id

MEMBERS = list(archive.NAMES)
# What a process may grow by while it gives out a copy that is many times as large, in bytes.
ROOM = 48 << 20


def manifest(data: bytes) -> dict[str, Any]:
    return dict(json.loads(exports.members(data)[archive.MANIFEST]))


def records(world: World) -> list[dict[str, Any]]:
    return [entry for entry in world.entries() if entry["kind"] == "ledger.exported"]


def test_a_copy_is_the_bytes_of_the_chain_as_any_zip_reader_finds_them(shared_world: World) -> None:
    world = shared_world
    assert world.pay(1050, memo="a text").status_code == 201
    rows = world.rows("SELECT seq, leaf, content FROM ledger_entries ORDER BY seq")
    found = exports.members(exports.take(world))
    assert list(found) == MEMBERS
    taken = len(found[archive.LEAVES].splitlines())
    assert taken >= len(rows)
    assert found[archive.LEAVES].splitlines()[: len(rows)] == [row["leaf"] for row in rows]
    assert found[archive.CONTENTS].splitlines()[: len(rows)] == [row["content"] for row in rows]
    assert b'"value":"a text"' in found[archive.OPENINGS]


def test_each_copy_is_an_entry_of_its_own_that_names_who_took_which_range(world: World) -> None:
    first, second = exports.take(world), exports.take(world, "owner", first_seq=2, last_seq=5, openings="false")
    told, other = manifest(first), manifest(second)
    made = records(world)
    members = {row["roles"][0]: row["id"] for row in world.people().get("/v1/members")["data"]}
    assert [(entry["actor"], entry["content"]["data"]) for entry in made] == [
        (members["auditor"], {"first_seq": 1, "last_seq": told["last_seq"], "openings": "test"}),
        (members["owner"], {"first_seq": 2, "last_seq": 5, "openings": "none"}),
    ]
    for entry, said in zip(made, (told, other), strict=True):
        assert said["entry"] == {"id": entry["id"], "seq": entry["seq"], "hash": entry["hash"]}
        assert (said["exported_by"], said["exported_at"]) == (entry["actor"], entry["at"])
    assert told["last_seq"] < told["entry"]["seq"], "a copy ends before its own record"
    assert manifest(exports.take(world))["last_seq"] >= other["entry"]["seq"], "the next one has it"


def test_the_ledger_still_verifies_after_it_was_exported(world: World) -> None:
    from codespar.audit import verify

    exports.take(world)
    sealed(world)
    report = verify.verify_org(raw_id(world.org), pins={raw_id(world.org): world.pin}, checkpoint_dir=folder(world))
    assert (report.status, report.books_checked) == ("verified", True), report.problems


@pytest.mark.parametrize(
    "asked",
    [
        {"first_seq": 0},
        {"first_seq": -1},
        {"first_seq": "x"},
        {"first_seq": "9" * 17},
        {"first_seq": 10**9},
        {"last_seq": 10**9},
        {"first_seq": 3, "last_seq": 2},
        {"last_seq": ""},
        {"openings": "no"},
        {"openings": ""},
        {"last": 3},
    ],
    ids=str,
)
def test_a_range_that_is_not_there_is_refused_and_leaves_no_record(shared_world: World, asked: dict[str, Any]) -> None:
    before = records(shared_world)
    is_problem(exports.fetch(shared_world, **asked), 400, "invalid_request")
    assert records(shared_world) == before


def test_a_refusal_is_a_problem_also_for_who_accepts_only_a_zip(shared_world: World) -> None:
    shared_world.people("oncall")
    with httpx2.Client(base_url=shared_world.info.console_url, headers={"Accept": "application/zip"}, timeout=30) as caller:
        caller.headers["Authorization"] = f"Bearer {shared_world.tokens['oncall']}"
        is_problem(caller.get("/v1/ledger/export"), 403, "scope_missing")
        caller.headers["Authorization"] = f"Bearer {shared_world.tokens['owner']}"
        assert caller.get("/v1/ledger/export").headers["content-type"] == "application/zip"


def test_a_head_request_takes_no_copy(shared_world: World) -> None:
    before = records(shared_world)
    headers = {"Authorization": f"Bearer {shared_world.tokens['owner']}"}
    assert httpx2.head(f"{shared_world.info.console_url}/v1/ledger/export", headers=headers).status_code == 403
    assert records(shared_world) == before


def test_a_test_token_takes_no_text_of_a_live_record(world: World, tmp_path: Path) -> None:
    owner = {"Authorization": f"Bearer {world.tokens['owner_live']}"}
    body = {"email": "live@x.example", "name": "Somebody of live", "roles": ["auditor"]}
    httpx2.post(f"{world.info.console_url}/v1/members", json=body, headers=owner, timeout=30).raise_for_status()
    test, live, none = exports.take(world), exports.take(world, "owner_live"), exports.take(world, "owner_live", openings="false")
    texts = [exports.members(data)[archive.OPENINGS] for data in (test, live, none)]
    assert [b"Somebody of live" in text for text in texts] == [False, True, False]
    assert [b"owner@x.example" in text for text in texts] == [True, True, False]
    assert [manifest(data)["openings"] for data in (test, live, none)] == ["test", "all", "none"] and texts[2] == b""
    for data in (test, live, none):
        report = exports.verify(data, tmp_path, org=world.org, pin=world.pin)
        assert report.status == "verified", report.problems


def test_the_database_itself_refuses_a_record_of_another_range_or_of_texts_that_are_not_seen(world: World) -> None:
    pen = Forger(world)
    owner = next(row["id"] for row in world.people().get("/v1/members")["data"] if row["roles"] == ["owner"])
    head = pen.head()["seq"]

    def asked(**data: Any) -> str:
        said = {"first_seq": 1, "last_seq": head, "openings": "test"} | data
        record = pen.record("ledger.exported", said, changes={"actor": owner, "project": None})
        return pen.outcome("control", "ledger_export", pen.org, pen.digest("owner"), *record.values())

    for data in ({"first_seq": 0}, {"first_seq": head + 1}, {"last_seq": head + 10}, {"first_seq": None}, {"last_seq": None}):
        assert asked(**data) == "ledger_exports_range", data
    for data in ({"openings": "all"}, {"openings": None}, {"openings": "some"}):
        assert asked(**data) == "ledger_exports_openings", data
    assert pen.head()["seq"] == head
    assert asked() == "done"


def test_nothing_is_given_out_that_cannot_be_written_down_first(world: World, tmp_path: Path) -> None:
    """Evidence before effect: without a key there is no record, and so no byte."""
    before = world.entries()
    with processes.extra(world.info, "console", CODESPAR_MASTER_KEY_FILE=str(tmp_path / "nowhere.key")) as info:
        is_problem(exports.fetch(replace(world, info=info, clients={}), "owner"), 503)
    assert world.entries() == before


# Large copies.


@contextmanager
def large(world: World, entries: int, size: int) -> Iterator[None]:
    """The chain goes on with this many entries of this many bytes, which nobody signed."""
    head = world.rows("SELECT seq FROM ledger_heads")[0]["seq"]
    query = """
        INSERT INTO ledger_entries (org_id, id, seq, kind, at, kid, prev, hash, content, sig, leaf)
        SELECT %(org)s, gen_random_uuid(), %(head)s + n, 'project.created', now(), 'k', sha256(int8send(n)), sha256('\\x00'::bytea || leaf),
               convert_to(repeat('x', %(size)s), 'UTF8'), decode(repeat('00', 64), 'hex'), leaf
        FROM (SELECT n, convert_to(format('{"n":%%s}', n), 'UTF8') AS leaf FROM generate_series(1, %(entries)s) n) made"""
    org = raw_id(world.org)
    with books.superuser(world) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(query, {"org": org, "head": head, "size": size, "entries": entries})
        connection.execute("UPDATE ledger_heads SET seq = seq + %s WHERE org_id = %s", [entries, org])
        try:
            yield
        finally:
            # Not left for the sealer to complain of.
            connection.execute("DELETE FROM ledger_entries WHERE org_id = %s AND seq > %s", [org, head])
            connection.execute("UPDATE ledger_heads SET seq = %s WHERE org_id = %s", [head, org])


def memory(pids: set[int]) -> int:
    """What these processes hold together, in bytes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def consoles(info: Any) -> set[int]:
    """The processes that listen at the console's address, and their children."""
    from codespar.launcher import identity

    port = info.console_url.rpartition(":")[2]
    return {pid for pid, line in identity.commands().items() if "granian" in line and f"--port {port} " in f"{line} "}


@pytest.fixture(scope="module")
def lone(shared_world: World) -> Iterator[World]:
    """The world behind a console that does nothing else."""
    with processes.extra(shared_world.info, "console") as info:
        yield replace(shared_world, info=info, clients={})


def test_a_large_copy_takes_no_more_memory_than_a_small_one_however_slowly_it_is_read(lone: World) -> None:
    headers = {"Authorization": f"Bearer {lone.tokens['owner']}"}
    exports.take(lone, "owner")
    with large(lone, 2000, 120_000):
        pids = consoles(lone.info)
        assert pids
        before, most, received = memory(pids), 0, 0
        with httpx2.stream("GET", f"{lone.info.console_url}/v1/ledger/export", headers=headers, timeout=60) as answer:
            for number, chunk in enumerate(answer.iter_raw()):
                received += len(chunk)
                if number == 20:
                    time.sleep(3)
                if number % 50 == 0:
                    most = max(most, memory(pids) - before)
    assert received > 240_000_000 > 4 * ROOM
    assert chunk.endswith(b"PK\5\6" + bytes(4) + b"\xff" * 12 + bytes(2)), "it is whole"
    assert most < ROOM, f"{most >> 20} MiB more"


def test_the_first_bytes_come_while_the_rest_is_not_read_and_no_connection_is_held(lone: World) -> None:
    """Whoever reads slowly keeps a thread, and nothing of the database."""
    headers = {"Authorization": f"Bearer {lone.tokens['owner']}"}
    activity = "SELECT state, query FROM pg_stat_activity WHERE usename = 'codespar_control' AND state <> 'idle' AND datname = %s"
    with (
        large(lone, 1000, 200_000),
        httpx2.stream("GET", f"{lone.info.console_url}/v1/ledger/export", headers=headers, timeout=60) as answer,
    ):
        pieces = answer.iter_raw()
        first = b"".join(next(pieces) for _ in range(3))
        assert first.startswith(b"PK")
        time.sleep(2)
        open_now = [row for row in books.look(lone, activity, lone.info.database) if "ledger_entries" in row["query"]]
        assert open_now == []
        # What it has not read yet is not in it: this entry is taken away from under it.
        with books.superuser(lone) as connection:
            connection.execute("SET session_replication_role = replica")
            last = connection.execute(
                "SELECT max(seq) AS seq FROM ledger_entries WHERE org_id = %s AND kid = 'k'", [raw_id(lone.org)]
            ).fetchone()
            connection.execute(
                "UPDATE ledger_entries SET content = 'taken'::bytea WHERE org_id = %s AND seq = %s",
                [raw_id(lone.org), last and last["seq"]],
            )
        rest = b"".join(pieces)
    contents = exports.members(first + rest)[archive.CONTENTS].splitlines()
    assert contents[-1] == b"taken" and len(contents[-2]) == 200_000


def test_a_copy_that_breaks_off_is_told_from_a_whole_one(lone: World, tmp_path: Path) -> None:
    """The texts cannot be read when their turn comes. The server ends its answer there; what came until then has no end, and is no file."""
    headers, received = {"Authorization": f"Bearer {lone.tokens['owner']}"}, b""
    with (
        large(lone, 500, 100_000),
        httpx2.stream("GET", f"{lone.info.console_url}/v1/ledger/export", headers=headers, timeout=60) as answer,
    ):
        assert answer.status_code == 200
        pieces = answer.iter_raw()
        received += next(pieces)
        with books.superuser(lone) as connection:
            connection.execute("REVOKE SELECT ON ledger_openings FROM codespar_control")
            try:
                with contextlib.suppress(httpx2.HTTPError):
                    for piece in pieces:
                        received += piece
            finally:
                connection.execute("GRANT SELECT ON ledger_openings TO codespar_control")
    assert len(received) > 1_000_000
    report = exports.verify(received, tmp_path, org=lone.org, pin=lone.pin)
    assert (report.status, [problem.code for problem in report.problems]) == ("tampered", ["archive"])


@pytest.mark.parametrize("deep", [False, True])
def test_what_a_record_commits_to_is_found_wherever_it_stands(deep: bool) -> None:
    value: Any = {"commit": "a", "reason_commit": "b", "committed": "c", "other": [{"x_commit": 1}, {"y": {"z_commit": "d"}}]}
    for _ in range(5000 if deep else 0):
        value = [value]
    assert openings.commitments(value) == {"a", "b", "d"}


def test_a_proof_from_a_frontier_is_the_proof_from_all_leaves() -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(40)]
    for size in range(1, 41):
        for first in range(size + 1):
            asked = []

            def root_of(low: int, high: int, size: int = size, first: int = first, asked: list[Any] = asked) -> bytes:
                assert first <= low < high <= size, "it holds nothing of what is in the frontier"
                asked.append((low, high))
                return merkle.root(leaves[low:high])

            tree = Frontier().extend(leaves[:first])
            proof = merkle.consistency_from(tree, size=size, root_of=root_of)
            assert proof == merkle.consistency_proof(leaves[:size], first=first)
            assert merkle.verify_consistency(
                first=first, second=size, first_root=tree.root(), second_root=merkle.root(leaves[:size]), proof=proof
            )
