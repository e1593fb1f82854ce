"""Envelope encryption: a secret opens with its own master key and its own place, and with nothing else."""

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codespar.vault import envelope
from codespar.vault.envelope import MasterKeys, VaultRefused

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "envelope.json").read_text())
OLD, NEW = bytes(range(32)), bytes(range(100, 132))
KEYS = MasterKeys(current="old", keys={"old": OLD})
ROTATED = MasterKeys(current="new", keys={"new": NEW, "old": OLD})
AAD = b"vault_secret/org_1/crd_1"
SECRET = b"sk_live_correct-horse-battery-staple"


def refused(call, *arguments, **more):
    """The refusal's message, in which no secret may stand."""
    with pytest.raises(VaultRefused) as caught:
        call(*arguments, **more)
    shown = f"{caught.value!r} {caught.value} {caught.value.detail} {caught.value.extra} {caught.value.__cause__!r}"
    for secret in (SECRET.decode(), *(form(key) for key in (OLD, NEW) for form in (bytes.hex, encoded, repr))):
        assert secret not in shown
    return caught.value.detail


def encoded(key):
    return base64.b64encode(key).decode()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=60))
def test_what_is_sealed_opens_to_the_same_bytes(secret, aad):
    sealed = envelope.seal(secret, keys=KEYS, aad=aad)
    assert envelope.open_(sealed, keys=KEYS, aad=aad) == secret
    again = envelope.rewrap(sealed, keys=ROTATED, aad=aad)
    assert envelope.open_(again, keys=ROTATED, aad=aad) == secret


def test_the_same_secret_never_seals_to_the_same_bytes():
    assert len({envelope.seal(SECRET, keys=KEYS, aad=AAD) for _ in range(50)}) == 50


def test_the_format_is_frozen(monkeypatch):
    fixed = iter([b"D" * 32, b"W" * 12, b"N" * 12])
    monkeypatch.setattr(envelope.secrets, "token_bytes", lambda size: next(fixed))
    sealed = envelope.seal(SECRET, keys=KEYS, aad=AAD)
    assert sealed.hex() == VECTORS["sealed"]
    assert sealed[:5] == b"\x01\x03old" and sealed[5:17] == b"W" * 12 and sealed[65:77] == b"N" * 12
    assert len(sealed) == 77 + len(SECRET) + 16


def test_the_frozen_secret_still_opens():
    assert envelope.open_(bytes.fromhex(VECTORS["sealed"]), keys=KEYS, aad=AAD) == SECRET


def test_every_changed_byte_refuses():
    sealed = envelope.seal(SECRET, keys=ROTATED, aad=AAD)
    for position in range(len(sealed)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(sealed)
            changed[position] ^= flip
            refused(envelope.open_, bytes(changed), keys=ROTATED, aad=AAD)


def test_every_length_but_the_right_one_refuses():
    sealed = envelope.seal(SECRET, keys=KEYS, aad=AAD)
    for end in range(len(sealed)):
        refused(envelope.open_, sealed[:end], keys=KEYS, aad=AAD)
    refused(envelope.open_, sealed + b"\0", keys=KEYS, aad=AAD)


@pytest.mark.parametrize("aad", [b"", AAD + b"x", AAD[:-1], b"vault_secret/org_2/crd_1"])
def test_a_secret_that_was_moved_to_another_place_refuses(aad):
    sealed = envelope.seal(SECRET, keys=KEYS, aad=AAD)
    refused(envelope.open_, sealed, keys=KEYS, aad=aad)
    refused(envelope.rewrap, sealed, keys=ROTATED, aad=aad)


def test_halves_of_two_secrets_do_not_fit():
    one, other = (envelope.seal(secret, keys=KEYS, aad=AAD) for secret in (b"a", b"b"))
    refused(envelope.open_, one[:65] + other[65:], keys=KEYS, aad=AAD)


def test_another_master_key_of_the_same_id_refuses():
    sealed = envelope.seal(SECRET, keys=KEYS, aad=AAD)
    refused(envelope.open_, sealed, keys=MasterKeys(current="old", keys={"old": NEW}), aad=AAD)


def test_a_master_key_that_is_not_loaded_is_named():
    sealed = envelope.seal(SECRET, keys=ROTATED, aad=AAD)
    assert "new" in refused(envelope.open_, sealed, keys=KEYS, aad=AAD)


def test_rewrapping_leaves_the_ciphertext_and_drops_the_old_key():
    sealed = envelope.seal(SECRET, keys=KEYS, aad=AAD)
    again = envelope.rewrap(sealed, keys=ROTATED, aad=AAD)
    assert (envelope.master_id(sealed), envelope.master_id(again)) == ("old", "new")
    assert sealed[65:] == again[65:] and sealed[5:65] != again[5:65]
    only_new = MasterKeys(current="new", keys={"new": NEW})
    assert envelope.open_(again, keys=only_new, aad=AAD) == SECRET
    assert envelope.open_(envelope.rewrap(again, keys=only_new, aad=AAD), keys=only_new, aad=AAD) == SECRET


def test_keys_do_not_show_themselves():
    assert OLD.hex() not in repr(KEYS) and repr(OLD) not in repr(KEYS) and "old" in repr(KEYS)


@pytest.mark.parametrize(
    "current, keys",
    [("a", {}), ("b", {"a": OLD}), ("a", {"a": OLD[:31]}), ("a:b", {"a:b": OLD}), ("", {"": OLD}), ("é", {"é": OLD})],
)
def test_master_keys_that_cannot_work_refuse(current, keys):
    refused(MasterKeys, current=current, keys=keys)


# --- loading ------------------------------------------------------------------------------------------------------


def load(env):
    return envelope.load_master_keys(file=None, env=env)


def test_the_first_line_is_current_and_all_of_them_open():
    keys = load(f"new:{encoded(NEW)}\n\nold:{encoded(OLD)}\n")
    assert (keys.current, dict(keys.keys)) == ("new", {"new": NEW, "old": OLD})
    assert envelope.open_(envelope.seal(SECRET, keys=KEYS, aad=AAD), keys=keys, aad=AAD) == SECRET


def test_a_bare_key_is_named_by_its_digest():
    assert load(encoded(OLD) + "\n").current == VECTORS["bare_id"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "\n\n",
        "x",
        "a:",
        ":" + encoded(OLD),
        encoded(OLD[:31]),
        encoded(OLD)[:-1],
        f"a b:{encoded(OLD)}",
        OLD.hex(),
    ]
    + [
        f"a:{encoded(OLD)}\na:{encoded(NEW)}",
        f"{encoded(OLD)}\n{encoded(OLD)}",
        f"a:b:{encoded(OLD)}",
        f"{encoded(NEW)} #",
    ],
)
def test_a_text_without_good_master_keys_refuses(text):
    refused(load, text)


def written(folder, mode=0o600):
    file = folder / "master.key"
    file.write_text(encoded(OLD) + "\n")
    file.chmod(mode)
    return file


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(tmp_path, mode):
    assert dict(envelope.load_master_keys(file=written(tmp_path, mode), env=None).keys) == {VECTORS["bare_id"]: OLD}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o700, 0o4600])
def test_a_file_that_others_could_read_refuses_and_says_what_would_be_right(tmp_path, mode):
    detail = refused(envelope.load_master_keys, file=written(tmp_path, mode), env=None)
    assert "chmod 600" in detail and f"{mode:04o}" in detail


def test_a_symbolic_link_refuses(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(written(tmp_path))
    assert "symbolic link" in refused(envelope.load_master_keys, file=link, env=None)


def test_what_is_not_a_regular_file_refuses(tmp_path):
    refused(envelope.load_master_keys, file=tmp_path, env=None)
    refused(envelope.load_master_keys, file=tmp_path / "missing", env=None)
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "regular" in refused(envelope.load_master_keys, file=tmp_path / "pipe", env=None)


def test_two_sources_refuse(tmp_path):
    refused(envelope.load_master_keys, file=written(tmp_path), env=encoded(NEW))
