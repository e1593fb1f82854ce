"""How the engine's own processes write: system records, signed for the organisation, in one SQL function call."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from codespar.identity import acting
from codespar.lib import clock, db, ids
from ledger import records
from rails import workers

# A record names a head of less than a minute ago: one that was seen before a call of a rail is old enough to look again.
_FRESH_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Head:
    """A chain's head, {seq, hash}, as this process saw it."""

    value: Mapping[str, Any]
    seen: float = field(default_factory=time.monotonic)

    @property
    def fresh(self) -> bool:
        return time.monotonic() - self.seen < _FRESH_SECONDS


def actor() -> str:
    """The process as records name it: never a shared `system`."""
    host, _, _, pid, _ = workers.identity().split("/")
    return f"system:dispatcher@{host.partition(':')[0]}:{pid}"


def about(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Whose rows a record speaks of, for `write`: one organisation's in one mode; agent and project are named when there is one of each."""
    agents, projects = {row["agent_id"] for row in rows}, {row["project_id"] for row in rows}
    return {
        "org": rows[0]["org_id"],
        "livemode": rows[0]["livemode"],
        "on_behalf_of": ids.wire("agt", agents.pop()) if len(agents) == 1 else None,
        "project": ids.wire("prj", projects.pop()) if len(projects) == 1 else None,
    }


def by_mode(rows: Iterable[Any], key: Callable[[Any], bool] = lambda row: row["livemode"]) -> list[list[Any]]:
    """One record speaks of one mode."""
    found: dict[bool, list[Any]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())


def attempt(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of the attempt that this process is about to make. `key` is the rail key as the rail is told it."""
    return {
        "attempt": ids.wire("att", row["attempt_id"]),
        "rail": row["rail"],
        "rail_key": bytes(row["rail_key"]).hex(),
        "key": row["adapter"].rail_key(bytes(row["rail_key"])) if row["adapter"] else None,
        "send_by": clock.stamp(row["send_by"]),
        "worker": workers.identity(),
    }


def write(
    function: str,
    *,
    org: UUID,
    livemode: bool,
    kind: str,
    subject: str,
    data: Mapping[str, Any],
    parts: Sequence[Mapping[str, Any]] = (),
    openings: records.Openings | None = None,
    on_behalf_of: str | None = None,
    project: str | None = None,
    with_openings: bool = False,
    after: Head | None = None,
) -> dict[str, Any]:
    """Sign a record of what this process does and call `function(org, content, sig[, openings])`. Returns {seq, hash} or {moved}.

    `after` is the head that this process has seen already, if it has.
    """
    draft = records.Draft(
        kind=kind,
        livemode=livemode,
        org=org,
        actor=actor(),
        subject=subject,
        request_id=ids.wire("req", ids.new()),
        data=data,
        project=project,
        on_behalf_of=on_behalf_of,
        parts=parts,
        openings=openings or records.Openings(),
    )
    head = after.value if after and after.fresh else db.call("head_read", org)
    signed = acting.sign(draft, after=head, now=clock.now())
    extra = (signed.openings,) if with_openings else ()
    return dict(db.call(function, org, signed.content, signed.sig, *extra, refusals=acting.COMMON))
