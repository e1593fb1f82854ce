"""Exports in tests: taken over HTTP, taken apart, and put together again by somebody who holds the organisation's key, or does not."""

import base64
import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx2

from codespar.audit import archive, chain, checkpoints, manifest, offline
from codespar.audit.chain import Row
from codespar.audit.manifest import Manifest
from codespar.audit.offline import Report
from codespar.lib import canonical, clock, ids
from ledger import merkle
from ledger.merkle import Frontier
from ledger.records import Signer
from tests.audit.chains import ORG
from tests.support.world import World, raw_id


def fetch(world: World, token: str = "auditor", **asked: Any) -> httpx2.Response:
    """Whatever the console answers to a member who asks for a copy."""
    if token == "auditor":
        world.people(token)
    headers = {"Authorization": f"Bearer {world.tokens[token]}"}
    return httpx2.get(f"{world.info.console_url}/v1/ledger/export", params=asked, headers=headers, timeout=60)


def take(world: World, token: str = "auditor", **asked: Any) -> bytes:
    """A copy that must be given."""
    answer = fetch(world, token, **asked)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip"), answer.text
    return answer.content


def members(data: bytes) -> dict[str, bytes]:
    """What any tool that reads a zip finds in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert file.testzip() is None
        return {info.filename: file.read(info) for info in file.infolist()}


def frame(found: dict[str, bytes]) -> bytes:
    """The members as an archive of the right form, whatever is in them."""
    writer = archive.Writer()
    return b"".join(piece for name in archive.NAMES for piece in writer.member(name, [found[name]])) + writer.end()


def resign(found: dict[str, bytes], signer: Signer, **changes: Any) -> dict[str, bytes]:
    """The members under a manifest that lists them as they are, signed: what somebody does who has the organisation's key."""
    told = canonical.loads(found[archive.MANIFEST]) | changes
    told["files"] = {name: canonical.sha256(found[name]).hex() for name in archive.LISTED} | changes.get("files", {})
    data = canonical.dumps(told)
    return found | {archive.MANIFEST: data, archive.SIGNATURE: base64.b64encode(signer.sign(manifest.message(data)))}


def counts(found: dict[str, bytes]) -> dict[str, int]:
    """How many lines there are."""
    named = {"entries": archive.LEAVES, "checkpoints": archive.CHECKPOINTS, "openings": archive.OPENINGS}
    return {what: len(found[name].splitlines()) for what, name in named.items()}


def signer(world: World) -> Signer:
    """The organisation's own key, as only the engine can open it."""
    from codespar.vault import keys

    return keys.ledger_signer(raw_id(world.org))


def verify(data: bytes, folder: Path, *, org: str, pin: str | None, **options: Any) -> Report:
    """The report on a file with these bytes."""
    file = folder / "export.zip"
    file.write_bytes(data)
    return offline.verify_file(file, pins={ids.parse(org, "org"): pin} if pin else {}, **options)


def of(
    rows: list[Row], *, signer: Signer, first: int = 1, last: int | None = None, seals: Iterable[int] = (), made: int | None = None
) -> dict[str, bytes]:
    """The export of a chain in memory, without openings; `seals` are the sizes that were sealed, `made` the seq of the export's own record."""
    last = last or len(rows)
    trees = [Frontier().extend(row.hash or b"" for row in rows[:size]) for size in range(len(rows) + 1)]
    inside = [size for size in sorted(seals) if first <= size <= last]
    later = [size for size in sorted(seals) if size > last][:1] if last not in inside else []
    proof = [(last, size, merkle.consistency_proof([row.hash or b"" for row in rows[:size]], first=last)) for size in later]
    public = canonical.loads(rows[0].content or b"")["data"]["keys"][0]["jwk"]
    notes = [
        checkpoints.make(deployment="test.localhost", org=ORG, tree=trees[size], signer=signer, public_key=chain.public_key(public))
        for size in inside + later
    ]
    found = {
        archive.LEAVES: b"".join((row.leaf or b"") + b"\n" for row in rows[first - 1 : last]),
        archive.CONTENTS: b"".join((row.content or b"") + b"\n" for row in rows[first - 1 : last]),
        archive.OPENINGS: b"",
        archive.CHECKPOINTS: b"".join(
            canonical.dumps({"note": note, "size": size}) + b"\n" for size, note in zip(inside + later, notes, strict=True)
        ),
        archive.KEYS: canonical.dumps({"keys": [{**public, "first_seq": 1, "last_seq": None}]}),
        archive.PROOFS: manifest.proofs(trees[first - 1], proof[0] if proof else None),
    }
    entry = {"id": ids.wire("ent", ids.new()), "seq": made or len(rows) + 1, "hash": "00" * 32}
    told = Manifest(
        org=ORG, deployment="test.localhost", livemode=False, first_seq=first, last_seq=last, first_prev=(rows[first - 1].prev or b"").hex(),
        head=(rows[last - 1].hash or b"").hex(), counts=counts(found), openings=manifest.NONE, files={}, entry=entry,
        exported_at=clock.stamp(clock.now()), exported_by="mem_1", kid=signer.kid,
    )  # fmt: skip
    return resign(found | {archive.MANIFEST: told.encode()}, signer)
