"""A chain is what its bytes say: whole ones verify, and every way to change one is found at the place where it was changed."""

import base64
import hashlib
import json
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from codespar.audit import chain
from codespar.audit.chain import Head, Trust
from ledger import merkle, records
from tests.audit.chains import KEY, ORG, START, THIEF, TRUST, Chain, introduction, make, relink


def verify(rows, *, trust=TRUST, head=None):
    return chain.verify(rows, trust=trust, head=head)


def broken(rows, *, at, code, head=None):
    """It is tampered with, the first bad entry is `at`, and `code` says why."""
    result = verify(rows, head=head)
    assert result.status == "tampered"
    assert result.problems[0].seq == at, result.problems
    assert code in {problem.code for problem in result.problems if problem.seq == at}, result.problems
    return result


def changed(rows, seq, **changes):
    return [replace(row, **changes) if row.seq == seq else row for row in rows]


def rewritten(row, change):
    """The row's content with `change` applied, canonical again."""
    content = json.loads(row.content)
    change(content)
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_whole_chain_is_verified_with_its_count_head_and_root():
    made = make(8)
    result = verify(made.rows, head=made.head)
    assert (result.status, result.ok, result.count, result.head, result.problems) == ("verified", True, 8, made.head, ())
    assert result.root == merkle.root([row.hash for row in made.rows]).hex()


def test_twenty_lines_that_share_nothing_with_us_find_the_same_head():
    rows = make(8).rows
    prev = hashlib.sha256(b"codespar/genesis/v1\norg_" + ORG.hex.encode()).hexdigest()
    for number, row in enumerate(rows, start=1):
        leaf = {
            "content": hashlib.sha256(row.content).hexdigest(),
            "kid": json.loads(row.content)["kid"],
            "org": "org_" + ORG.hex,
            "prev": prev,
            "seq": number,
            "sig": base64.b64encode(row.sig).decode(),
        }
        line = json.dumps(leaf, sort_keys=True, separators=(",", ":")).encode()
        KEY.public_key().verify(row.sig, b"codespar/entry/v1\n" + hashlib.sha256(row.content).digest())
        prev = hashlib.sha256(b"\x00" + line).hexdigest()
    assert verify(rows).head == Head(8, prev)


def test_without_a_pin_nobody_says_whose_chain_it_is():
    assert verify(make().rows, trust=Trust(ORG, "test.localhost")).status == "untrusted"
    assert verify([], trust=TRUST).status == "untrusted"


@pytest.mark.parametrize("seq", [1, 4, 8])
def test_an_edited_content_is_found(seq):
    made = make(8)
    row = made.rows[seq - 1]
    content = rewritten(row, lambda content: content.update(subject="prj_2"))
    found = broken(changed(made.rows, seq, content=content), at=seq, code="signature")
    assert "leaf" in {problem.code for problem in found.problems}


def test_an_edit_whose_hashes_are_all_computed_anew_fails_its_signature():
    made = make(8)
    content = rewritten(made.rows[3], lambda content: content.update(subject="prj_2"))
    result = broken(relink(changed(made.rows, 4, content=content)), at=4, code="signature")
    # What follows names the old entry as the head it saw.
    assert {problem.code for problem in result.problems} == {"signature", "after"}


def test_a_deleted_entry_is_found():
    made = make(8)
    broken([row for row in made.rows if row.seq != 4], at=4, code="missing", head=made.head)


def test_a_deleted_entry_is_found_when_the_rest_is_numbered_and_linked_anew():
    made = make(8)
    broken(relink([row for row in made.rows if row.seq != 4]), at=4, code="after")


def test_a_deleted_first_entry_is_found():
    made = make(8)
    broken(made.rows[1:], at=1, code="missing", head=made.head)


def test_a_deleted_tail_is_found_by_the_head_row():
    made = make(8)
    broken(made.rows[:6], at=7, code="head", head=made.head)


def test_a_head_row_that_was_moved_back_is_found():
    made = make(8)
    broken(made.rows, at=7, code="head", head=Head(6, made.rows[5].hash.hex()))
    broken(made.rows, at=8, code="head", head=Head(8, "00" * 32))


def test_an_inserted_entry_is_found():
    made = make(8)
    stranger = Chain(key=THIEF)
    forged = stranger.add(at=START + timedelta(seconds=3))
    broken(relink([*made.rows[:3], forged, *made.rows[3:]]), at=4, code="signature")


def test_an_inserted_copy_is_found():
    made = make(8)
    broken(relink([*made.rows[:4], made.rows[2], *made.rows[4:]]), at=5, code="id_twice")


def test_swapped_entries_are_found():
    rows = make(8).rows
    rows[2], rows[3] = rows[3], rows[2]
    broken(rows, at=3, code="missing")
    broken(relink(rows), at=3, code="after")


@pytest.mark.parametrize("seq", [1, 5])
def test_one_changed_bit_of_a_signature_is_found(seq):
    made = make(8)
    sig = bytes([made.rows[seq - 1].sig[0] ^ 1]) + made.rows[seq - 1].sig[1:]
    broken(changed(made.rows, seq, sig=sig), at=seq, code="signature")
    broken(relink(changed(made.rows, seq, sig=sig)), at=seq, code="signature")


@pytest.mark.parametrize("name", ["hash", "prev", "sig", "leaf", "content"])
def test_a_stripped_value_is_a_failure(name):
    broken(changed(make(8).rows, 4, **{name: None}), at=4, code="stripped")


@pytest.mark.parametrize("change", [{"hash": bytes(32)}, {"leaf": b"{}"}, {"prev": bytes(32)}])
def test_a_changed_hash_leaf_or_link_is_found(change):
    broken(changed(make(8).rows, 4, **change), at=4, code="prev" if "prev" in change else "leaf")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "agent.created"},
        {"id": UUID(int=7)},
        {"at": START},
        {"kid": "ledger-2"},
        {"org": UUID(int=8)},
    ],
)
def test_a_column_that_is_not_the_signed_value_is_found(change):
    broken(changed(make(8).rows, 4, **change), at=4, code="columns")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"kind": "money.printed"}, "unknown_kind"),
        ({"data": {"id": "prj_1"}}, "data"),
        ({"parts": [{"part": "hold"}]}, "unknown_part"),
        ({"parts": [{"part": ["hold"]}]}, "unknown_part"),
        ({"kind": "payment.rejected", "data": {"payment": {}, "idempotency": {}}}, "parts"),
        ({"kind": "organisation.created", "data": introduction()}, "kind_place"),
        ({"actor": ""}, "content_shape"),
        ({"subject": ""}, "content_shape"),
        ({"org": UUID(int=9)}, "elsewhere"),
    ],
)
def test_a_signed_record_that_should_not_be_is_found(options, code):
    made = make(4)
    made.add(**options)
    made.add()
    broken(made.rows, at=5, code=code)


def test_a_hold_before_its_decision_is_found():
    made = make(4)
    parts = [{"part": name} for name in ("check", "route", "mandate_use", "hold", "decision", "transition")]
    made.add(kind="payment.authorized", data={"payment": {}, "idempotency": {}}, parts=parts)
    broken(made.rows, at=5, code="parts")


def test_a_chain_of_another_deployment_is_not_ours():
    made = Chain(deployment="elsewhere.example")
    broken(made.rows, at=1, code="elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.replace(b'"v":1}', b'"v": 1}'),
        lambda content: content[:-1] + b',"v":1}',
        lambda content: b"\xff" + content,
        lambda content: b"[]",
        lambda content: b"[" * 100_000,
    ],
)
def test_content_in_another_form_is_found_though_it_is_signed(spoil):
    made = make(4)
    record = made.sign()
    content = spoil(record.content)
    sig = KEY.sign(records.message(content))
    rows = relink([*made.rows, replace(make(5).rows[4], content=content, sig=sig, id=record.id)])
    result = broken(rows, at=5, code="content_shape" if content == b"[]" else "not_canonical")
    assert result.count == 5


@pytest.mark.parametrize(
    "after",
    [
        {"seq": 0, "hash": "00" * 32},
        {"seq": 3, "hash": "00" * 32},
        {"seq": 5, "hash": "00" * 32},
        {"seq": 99, "hash": "00" * 32},
        {"seq": -1, "hash": "00" * 32},
    ],
)
def test_a_record_that_follows_nothing_in_this_chain_is_found(after):
    made = make(4)
    made.add(after=after)
    broken(made.rows, at=5, code="after")


@pytest.mark.parametrize(("seconds", "status"), [(120, "verified"), (180, "verified"), (181, "tampered"), (3600, "tampered")])
def test_a_record_follows_what_was_the_head_a_moment_ago(seconds, status):
    """The entry after `after` is at most 60 s older, with 60 s for each of the two clocks."""
    made = make(4)
    successor = made.rows[2].at
    made.add(after=made.after(2), at=successor + timedelta(seconds=seconds))
    assert verify(made.rows).status == status


def test_a_record_follows_the_head_however_old_that_is():
    made = make(4)
    made.add(at=START + timedelta(days=300))
    made.add(at=START + timedelta(days=600))
    assert verify(made.rows, head=made.head).ok


def test_an_unknown_key_is_not_called_tampering():
    made = make(4)
    made.add(kid="ledger-2", key=THIEF)
    result = verify(made.rows)
    assert (result.status, [(p.seq, p.code) for p in result.problems]) == ("untrusted", [(5, "unknown_key")])


def test_the_known_key_id_under_another_key_is_tampering():
    made = make(4)
    made.add(key=THIEF)
    broken(made.rows, at=5, code="signature")


def test_a_chain_written_anew_with_another_key_is_not_the_pinned_one():
    made = Chain(key=THIEF)
    made.add()
    result = verify(made.rows, head=made.head)
    assert (result.status, [(p.seq, p.code) for p in result.problems]) == ("untrusted", [(1, "unknown_key")])


def test_another_first_key_does_not_vouch_for_old_signatures():
    assert verify(Chain(introduces=THIEF).rows).status == "tampered"


def test_a_first_entry_with_two_ledger_keys_is_refused():
    made = Chain()
    data = introduction()
    data["keys"].append(introduction(THIEF, "ledger-2")["keys"][0])
    made.rows.clear()
    made.add(kind="organisation.created", data=data)
    broken(made.rows, at=1, code="first_key")


def test_a_seq_beyond_what_json_can_say_does_not_stop_the_verifier():
    made = make(4)
    broken([*made.rows[:3], replace(made.rows[3], seq=2**60)], at=4, code="missing")


def test_equal_times_do_not_matter_order_is_seq():
    made = Chain()
    for _ in range(5):
        made.add(at=START)
    assert verify(made.rows, head=made.head).ok


def test_many_problems_do_not_fill_the_memory():
    made = make(150)
    result = verify([replace(row, hash=bytes(32)) for row in made.rows])
    assert len(result.problems) == 100


def test_memory_does_not_grow_with_the_chain():
    made = Chain()
    for number in range(1, 1500):
        made.add(at=START + timedelta(seconds=10 * number))

    def peak(rows):
        tracemalloc.start()
        assert verify(iter(rows)).ok
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(made.rows[:10])
    assert peak(made.rows) < 2 * peak(made.rows[:300])
