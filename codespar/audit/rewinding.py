"""A database that was set back to an older copy: noticed by the checkpoints outside of it, and gone on from when people have confirmed it.

A checkpoint's row is written before its file. So a file of more entries than the newest row, or of a later generation, can only be of a
chain that went further than this one: the database is an older copy of itself. From then on nothing is written, and so nothing is
decided, held or sent, until the platform's people have confirmed it for each such chain. What the copy has forgotten stays forgotten, and
`codespar verify` says so for ever; what comes after is sealed under a name of its own.
"""

import socket
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings

from codespar.audit import checkpoints
from codespar.identity import acting
from codespar.identity.acting import conflict
from codespar.identity.principals import Principal
from codespar.lib import db, ids
from ledger import notes, records
from mandates.actions.stops import PlatformOnly

log = structlog.get_logger(__name__)
# The last (generation, size) of each chain that this process knows to have a checkpoint outside.
_seen: dict[UUID, tuple[int, int]] = {}


def notice(chains: Iterable[tuple[UUID, int, int]]) -> bool:
    """Whether one of these (org, size of the newest checkpoint in the database, generation) is behind its files; it is written down.

    Another sealer may have written a row and its file since the sizes were read, so the database is asked again before it is believed.
    """
    behind = False
    for org, sealed, generation in chains:
        latest, size = _outside(org, generation, sealed)
        if (latest, size) > (generation, sealed) and db.call("ledger_rewound", org, latest, size):
            behind = True
            log.error("rewound", org=ids.wire("org", org), sealed=sealed, outside=size)
    return behind


def open_rewinds() -> list[dict[str, Any]]:
    """Chains that wait for a confirmation: {org_id, generation, sealed, size, noticed_at}."""
    return db.select("SELECT org_id, generation, sealed, size, noticed_at FROM ledger_rewinds WHERE entry_id IS NULL ORDER BY org_id")


def reanchor(confirmer: Principal, *, org: UUID, reason: str, now: datetime) -> None:
    """Confirm that `org`'s chain was set back: an entry says what was lost, and the chain goes on.

    Raises `Conflict` when it was not, `PlatformOnly`, `Unavailable`. A crash leaves it confirmed with its entry, or not confirmed.
    """
    found = next((row for row in open_rewinds() if row["org_id"] == org), None)
    if found is None:
        raise conflict("This chain was not set back, or that is confirmed already.")("")
    openings = records.Openings()
    lost = {name: found[name] for name in ("generation", "sealed", "size")}
    record = records.Draft(
        kind="ledger.reanchored",
        livemode=True,
        org=org,
        actor=f"system:reanchor@{socket.gethostname()[:90]}",
        on_behalf_of=confirmer.actor,
        subject=ids.wire("org", org),
        request_id=confirmer.request_id,
        data={**lost, "root": _lost_root(org, **lost), "reason_commit": openings.add(reason)},
        openings=openings,
    )
    signed = acting.sign(record, after=db.call("head_read", org), now=now)
    refusals: db.Refusals = {
        **acting.COMMON,
        "stops_platform": lambda _: PlatformOnly("This takes a live token of the platform's own organisation."),
        "ledger_rewinds_open": conflict("This chain was not set back, or that is confirmed already."),
    }
    arguments = (org, signed.content, signed.sig, signed.openings, confirmer.org, confirmer.digest)
    db.call("ledger_reanchor", *arguments, refusals=refusals)


def _outside(org: UUID, generation: int, sealed: int) -> tuple[int, int]:
    """The last (generation, size) that the folder has of this chain. It is listed at first, and again when it seems to be ahead."""
    seen = _seen.get(org)
    if seen is None or seen > (generation, sealed):
        latest = checkpoints.generation(folder=_folder(), org=org)
        seen = latest, max(checkpoints.sizes(folder=_folder(), org=org, generation=latest), default=0)
    # What the database has sealed stands outside too, or will in a moment.
    _seen[org] = max(seen, (generation, sealed))
    return seen


def _lost_root(org: UUID, *, generation: int, sealed: int, size: int) -> str | None:
    """The root of the lost tree in hex, as its checkpoint outside says; None when that file is not there to be read."""
    try:
        note = checkpoints.path(folder=_folder(), org=org, size=size, generation=generation - 1).read_text("utf-8")
        return notes.parse_checkpoint(notes.parse(note)[0]).root.hex()
    except (OSError, ValueError, notes.NoteInvalid):
        return None


def _folder() -> Path:
    return Path(settings.CONFIG.checkpoint_dir)
