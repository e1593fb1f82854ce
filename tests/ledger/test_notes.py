"""Signed notes and checkpoints: Go's own note verifies here, ours are frozen, and no other spelling passes."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import notes
from ledger.notes import Checkpoint, NoteInvalid

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "notes.json").read_text())
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
WITNESS = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NAME = "codespar.example/org/org_1"
ROOT = bytes(range(32))
TEXT = notes.checkpoint_text(origin=NAME, size=20852163, root=ROOT)
NOTE = notes.sign(text=TEXT, name=NAME, key=KEY)


def verify(note, name=NAME, key=KEY):
    return notes.verify(note=note, name=name, public_key=key.public_key())


def refused(note):
    with pytest.raises(NoteInvalid):
        verify(note)


def test_a_note_that_go_signed_verifies():
    name, public_key = notes.parse_vkey(VECTORS["go_vkey"])
    assert notes.verify(note=VECTORS["go_note"], name=name, public_key=public_key) == VECTORS["go_note"].split("\n\n")[0] + "\n"
    assert notes.vkey(name=name, public_key=public_key) == VECTORS["go_vkey"]


def test_a_note_that_go_signed_is_signed_here_with_the_same_bytes():
    seed = base64.b64decode(VECTORS["go_skey"].split("+", 4)[4])[1:]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    assert notes.sign(text=VECTORS["go_note"].split("\n\n")[0] + "\n", name="PeterNeumann", key=key) == VECTORS["go_note"]


def test_our_checkpoint_is_frozen():
    assert VECTORS["checkpoint"] == NOTE
    assert notes.vkey(name=NAME, public_key=KEY.public_key()) == VECTORS["vkey"]


def test_a_checkpoint_is_read_back():
    assert notes.parse_checkpoint(verify(NOTE)) == Checkpoint(NAME, 20852163, ROOT)
    assert notes.parse_checkpoint(TEXT + "more\n").extensions == ("more",)
    assert notes.parse_checkpoint(notes.checkpoint_text(origin="a b", size=0, root=ROOT)).size == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "a\n1\n",
        "a\n1\nAA==\n",
        TEXT[:-1],
        "\n" + TEXT,
        TEXT + "\n",
        TEXT.replace("2085", "02085"),
        TEXT.replace("2085", "-2085"),
    ]
    + [
        TEXT.replace("2085", "٢085"),
        TEXT.replace("=", ""),
        TEXT.replace("Hh8=", "Hh9="),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("2", " 2"),
    ]
    + [TEXT.replace("20852163", "9" * 5000)],
)
def test_a_checkpoint_has_one_spelling(text):
    with pytest.raises(NoteInvalid):
        notes.parse_checkpoint(text)


@pytest.mark.parametrize("changes", [{"origin": ""}, {"origin": "a\nb"}, {"size": -1}, {"root": b"short"}, {"origin": "a\tb"}])
def test_a_checkpoint_that_cannot_be_read_is_not_written(changes):
    with pytest.raises(NoteInvalid):
        notes.checkpoint_text(**({"origin": NAME, "size": 1, "root": ROOT} | changes))


def test_every_changed_character_refuses():
    for position in range(len(NOTE)):
        refused(NOTE[:position] + chr(ord(NOTE[position]) ^ 1) + NOTE[position + 1 :])
        refused(NOTE[:position])


def test_another_key_and_another_name_refuse():
    for name, key in ((NAME, WITNESS), (NAME + "x", KEY)):
        with pytest.raises(NoteInvalid, match="not signed by"):
            verify(NOTE, name, key)


def test_a_signature_cannot_be_moved_to_another_text():
    other = notes.checkpoint_text(origin=NAME, size=1, root=ROOT)
    refused(other + "\n" + NOTE.split("\n\n")[1])


def test_lines_of_unknown_keys_are_passed_over():
    cosigned = NOTE + str(notes.signature(text=TEXT, name="witness.example/w1", key=WITNESS))
    assert verify(cosigned) == TEXT == verify(cosigned, "witness.example/w1", WITNESS)
    cosignature = notes.Signature("witness.example/w2", b"\1\2\3\4", b"\0" * 72)
    assert verify(cosigned + str(cosignature)) == TEXT
    assert [line.name for line in notes.parse(cosigned)[1]] == [NAME, "witness.example/w1"]


def test_a_bad_line_of_a_known_key_refuses_even_beside_a_good_one():
    good = notes.parse(NOTE)[1][0]
    bad = notes.Signature(NAME, good.key_id, bytes(64))
    refused(NOTE + str(bad))
    refused(TEXT + "\n" + str(bad) + str(good))
    refused(NOTE + str(notes.Signature(NAME, good.key_id, b"short")))


def test_a_text_may_have_empty_lines_and_the_last_one_ends_it():
    text = "one\n\ntwo\n"
    assert verify(notes.sign(text=text, name=NAME, key=KEY)) == text


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        TEXT,
        TEXT + "\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE + "x\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("— ", "—  "),
    ]
    + [
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("— ", "—\u00a0"),
        NOTE + "— a+b AAAAAAA=\n",
        NOTE + "—  AAAAAAA=\n",
        NOTE + "\x00",
    ]
    + [
        NOTE + "— a AAAA\n",
        NOTE + "— a AAAAAAB=\n",
        NOTE + "— a AAAAAAA\n",
        NOTE + "— a AAAA AAA=\n",
        NOTE + "— a\u2003b AAAAAAA=\n",
    ]
    + [NOTE + "— a AAAAAAA=\n" * 64, "a" * 300_000 + "\n\n" + NOTE, "\ud800" + NOTE, NOTE + "— a éAAAAAA=\n"],
)
def test_a_note_of_another_form_refuses(note):
    refused(note)


def test_sixteen_signatures_are_accepted():
    assert verify(NOTE + "— a AAAAAAA=\n" * 15) == TEXT


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\x01b"])
def test_a_name_that_breaks_the_line_refuses(name):
    with pytest.raises(NoteInvalid):
        notes.sign(text=TEXT, name=name, key=KEY)


@pytest.mark.parametrize("text", ["", "a", "a\tb\n", "a\r\n", "\ud800\n"])
def test_a_text_that_is_not_lines_is_not_signed(text):
    with pytest.raises(NoteInvalid):
        notes.sign(text=text, name=NAME, key=KEY)


def test_a_verifier_key_refuses_another_id_and_another_algorithm():
    vkey = notes.vkey(name=NAME, public_key=KEY.public_key())
    assert notes.parse_vkey(vkey)[0] == NAME
    name, identity, encoded = vkey.split("+", 2)
    cosigner = base64.b64encode(b"\x04" + base64.b64decode(encoded)[1:]).decode()
    for bad in (
        "",
        name,
        f"{name}+{identity}",
        f"{name}+00000000+{encoded}",
        f"x+{identity}+{encoded}",
        f"{name}+{identity}+{cosigner}",
    ):
        with pytest.raises(NoteInvalid):
            notes.parse_vkey(bad)


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=80), st.integers(0, 2**63))
def test_what_is_signed_verifies_to_the_same_text(line, size):
    text = f"{line}\n{size}\n"
    assert verify(notes.sign(text=text, name=NAME, key=KEY)) == text
