"""How every action of a person or an agent is written: a signed record and its effect, in one SQL function call."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings

from codespar.identity import tokens
from codespar.identity.principals import Principal, ScopeMissing
from codespar.lib import db
from codespar.lib.errors import Conflict, Invalid, NotFound, Unavailable
from codespar.vault import keys
from ledger import records

# Rules that any action can run into. An action adds its own.
COMMON: db.Refusals = {
    "access_tokens_valid": tokens.Unauthenticated,
    "access_tokens_scope": ScopeMissing,
    "ledger_rewound": lambda detail: Unavailable(
        "The database was set back to an older copy. Nothing is written until those who run it have confirmed that.", code="rewound"
    ),
    "record_after": lambda detail: Conflict("The ledger moved on while this was being written. Nothing was done; try again."),
    "record_time": lambda detail: Conflict("This machine's clock is away from the database's. Nothing was done."),
}


def draft(
    principal: Principal,
    *,
    kind: str,
    subject: str,
    data: Mapping[str, Any],
    parts: Sequence[Mapping[str, Any]] = (),
    project: str | None = None,
    on_behalf_of: str | None = None,
    openings: records.Openings | None = None,
) -> records.Draft:
    """A record of something that `principal` does. An agent acts for its organisation unless somebody else is named."""
    return records.Draft(
        kind=kind,
        livemode=principal.livemode,
        org=principal.org,
        actor=principal.actor,
        subject=subject,
        request_id=principal.request_id,
        data=data,
        project=project or principal.project_wire,
        on_behalf_of=on_behalf_of or (principal.org_wire if principal.agent else None),
        parts=parts,
        openings=openings or records.Openings(),
    )


def write(
    principal: Principal, function: str, record: records.Draft, *extra: Any, now: datetime, refusals: db.Refusals | None = None
) -> dict[str, Any]:
    """Sign `record` and call `function(org, digest, content, sig, openings, *extra)`: all of it happens, or nothing.

    Returns what the function returns: {seq, hash}, or {twin} or {moved} where the function says so. Raises the errors that
    `refusals` (and `COMMON`) map rule names to. A crash leaves either the whole action with its record, or no trace.
    """
    signed = sign(record, after=db.call("head_read", principal.org), now=now)
    return dict(
        db.call(
            function,
            principal.org,
            principal.digest,
            signed.content,
            signed.sig,
            signed.openings,
            *extra,
            refusals={**COMMON, **(refusals or {})},
        )
    )


def refused(principal: Principal, *, operation: str, target: str, now: datetime) -> None:
    """Leave a trace of somebody who reached for what is not theirs, or not there: in the caller's own chain."""
    record = draft(principal, kind="access.refused", subject=target, data={"operation": operation, "target": target})
    write(principal, "access_refused", record, now=now)


def sign(record: records.Draft, *, after: Mapping[str, Any], now: datetime) -> records.Record:
    """The record under its organisation's ledger key."""
    signer = keys.ledger_signer(record.org)
    return records.sign(record, deployment=settings.CONFIG.deployment, after=after, at=now, signer=signer)


def not_found(what: str) -> Any:
    """A refusal that says that there is no such thing for this caller."""
    return lambda detail: NotFound(f"There is no such {what}.")


def conflict(detail: str) -> Any:
    """A refusal with a sentence of ours: the database's own words never leave."""
    return lambda _: Conflict(detail)


def invalid(detail: str, pointer: str = "") -> Any:
    """A refusal of a malformed member."""
    return lambda _: Invalid(detail, pointer=pointer)
