"""The sealer: a signed checkpoint for every chain that grew, in the database and outside it. Off the payment path; safe to run twice."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import connection

from codespar.audit import chain, checkpoints, rewinding
from codespar.lib import db, ids
from codespar.lib.errors import CodesparError, Unavailable
from codespar.vault import keys
from ledger import merkle, notes, records
from ledger.merkle import Frontier

_log = structlog.get_logger(__name__)
_AT_ONCE = 2000
# The newest file that this process has seen, so that looking for lost files costs no query.
_kept: dict[UUID, Path] = {}


class NotSealed(CodesparError):
    """The chain, or its last checkpoint, is not what it was when it was sealed: nothing is signed over that."""

    code = "not_sealed"


def seal_due() -> int:
    """Seal every chain that grew since its last checkpoint, and write files that are missing. Returns how many checkpoints were made.

    Nothing is sealed while a chain is behind its checkpoints. One organisation's trouble is logged and does not stop the others. A crash
    between the row and the file leaves a row whose file the next run writes.
    """
    made, chains = 0, db.rows("chain_sizes")
    if rewinding.notice([(org, sealed, generation) for org, _, sealed, generation in chains]):
        return 0
    for org, size, sealed, generation in chains:
        if size > sealed:
            made += _guarded(seal, org, generation)
    for org, _, _, _ in chains:
        _guarded(restore, org)
    return made


def seal(org: UUID, generation: int = 0) -> bool:
    """Seal one chain as it is now. Returns False when another sealer was first, or nothing is new. Raises `NotSealed`, `OSError`."""
    signer = keys.ledger_signer(org)
    key = _public_key(org, signer.kid)
    # Listed first. A row is written before its file: a file of more entries than the rows tell of a database that was set back.
    outside = max(checkpoints.sizes(folder=_folder(), org=org, generation=generation), default=0)
    with db.tenant(org):
        last = _last(org, key)
        if last.size < outside:
            raise NotSealed(f"A checkpoint outside covers {outside} entries, the last one in the database {last.size}. Verify the chain.")
        tree = last.extend(_new_hashes(org, last.size))
    if tree.size == last.size:
        return False
    note = checkpoints.make(deployment=settings.CONFIG.deployment, org=org, tree=tree, signer=signer, public_key=key, generation=generation)
    if not db.call("checkpoint_add", org, tree.size, tree.root(), tree.to_list(), note, generation):
        return False
    _write(org, tree.size, note, generation)
    return True


def restore(org: UUID) -> bool:
    """Write the files of checkpoints that are in the database only. Returns whether there were any."""
    known = _kept.get(org)
    if known is not None and known.exists():
        return False
    query = "SELECT size, generation FROM ledger_checkpoints WHERE org_id = %s ORDER BY size"
    with db.tenant(org):
        rows = db.select(query, [str(org)])
    paths = {row["size"]: checkpoints.path(folder=_folder(), org=org, **row) for row in rows}
    missing = [row for row in rows if not paths[row["size"]].exists()]
    for row in missing:
        with db.tenant(org):
            note = db.select("SELECT note FROM ledger_checkpoints WHERE org_id = %s AND size = %s", [str(org), row["size"]])[0]["note"]
        _write(org, row["size"], note, row["generation"])
    if rows:
        _kept[org] = paths[rows[-1]["size"]]
    return bool(missing)


def _guarded(action: Any, org: UUID, *more: Any) -> bool:
    try:
        return bool(action(org, *more))
    except Exception as error:
        # Whatever one organisation's rows or files hold: the others are sealed.
        _log.error("not sealed", org=ids.wire("org", org), code=getattr(error, "code", type(error).__name__), reason=str(error))
        return False


def _write(org: UUID, size: int, note: str, generation: int) -> None:
    checkpoints.write(folder=_folder(), org=org, size=size, note=note, generation=generation)
    _kept[org] = checkpoints.path(folder=_folder(), org=org, size=size, generation=generation)


def _last(org: UUID, key: Ed25519PublicKey) -> Frontier:
    """The tree of the last checkpoint. Raises `NotSealed` unless it is the one that was signed, and the one that is kept outside."""
    query = "SELECT size, frontier, note, generation FROM ledger_checkpoints WHERE org_id = %s ORDER BY size DESC LIMIT 1"
    rows = db.select(query, [str(org)])
    if not rows:
        return Frontier()
    generation = rows[0]["generation"]
    name = checkpoints.origin(deployment=settings.CONFIG.deployment, org=org, generation=generation)
    try:
        tree = Frontier.from_list(rows[0]["frontier"], size=rows[0]["size"])
        said = notes.parse_checkpoint(notes.verify(note=rows[0]["note"], name=name, public_key=key))
    except (ValueError, notes.NoteInvalid) as error:
        raise NotSealed("The last checkpoint in the database is damaged. Verify the chain.") from error
    outside = checkpoints.path(folder=_folder(), org=org, size=tree.size, generation=generation)
    if said != notes.Checkpoint(name, tree.size, tree.root()) or (outside.exists() and outside.read_text("utf-8") != rows[0]["note"]):
        raise NotSealed("The last checkpoint in the database is not the one that was made. Verify the chain.")
    return tree


def _new_hashes(org: UUID, sealed: int) -> Iterator[bytes]:
    """The hashes of the entries after `sealed`, each computed from its leaf and tied to the one before."""
    prev = records.genesis(org) if sealed == 0 else None
    expected = max(sealed, 1)
    with connection.chunked_cursor() as cursor:
        cursor.execute("SELECT seq, prev, hash, leaf FROM ledger_entries WHERE org_id = %s AND seq >= %s ORDER BY seq", [str(org), sealed])
        while rows := cursor.fetchmany(_AT_ONCE):
            for found, before, stored, leaf in rows:
                digest = merkle.leaf_hash(bytes(leaf))
                if digest != bytes(stored) or (prev is not None and bytes(before) != prev):
                    raise NotSealed(f"Entry {found} is not what it was, or does not follow the one before it. Verify the chain.")
                if found != expected:
                    raise NotSealed(f"Entry {expected} is missing. Verify the chain.")
                prev, expected = digest, found + 1
                if found > sealed:
                    yield digest


def _public_key(org: UUID, kid: str) -> Ed25519PublicKey:
    for key in keys.public_keys(org):
        if key["kid"] == kid:
            return chain.public_key(key["jwk"])
    raise Unavailable("The organisation has no current ledger key.")


def _folder() -> Path:
    return Path(settings.CONFIG.checkpoint_dir)
