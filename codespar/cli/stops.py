"""What an on-call engineer does: stop, revoke, lift. Straight to the database, whatever else is down."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from codespar.cli import running

if TYPE_CHECKING:
    from codespar.identity.principals import Principal
    from mandates.scopes import Target

TOKEN_FILE = "CODESPAR_TOKEN_FILE"
_Scope = Annotated[str, typer.Argument(help="org, project, agent, mandate, counterparty, rail or platform.")]
_Name = Annotated[str | None, typer.Argument(help="Which one: its id, or a rail's name. Your organisation, and the platform, need none.")]
_Reason = Annotated[str, typer.Option(prompt="Why", help="Why: it stands in the record and in the receipt.")]
_Token = Annotated[Path | None, typer.Option("--token-file", help=f"The file with your access token. {TOKEN_FILE} names it otherwise.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stop(scope: _Scope, name: _Name = None, reason: _Reason = "", token_file: _Token = None, as_json: _Json = False) -> None:
    """Stop payments at once. Another person lifts it."""
    with running.django_for("control"):
        caller = _caller(token_file)
        shown = _stopped(caller, _target(caller, scope, name), reason)
    running.show(shown, as_json=as_json)


def revoke_all(scope: _Scope, name: _Name = None, reason: _Reason = "", token_file: _Token = None, as_json: _Json = False) -> None:
    """Stop, and revoke every mandate that was signed so far, for ever. A lift brings back no mandate."""
    with running.django_for("control"):
        from codespar.lib import clock, ids
        from mandates import queries
        from mandates.actions import stops

        caller = _caller(token_file)
        target = _target(caller, scope, name, revoke=True)
        shown = _stopped(caller, target, reason)
        revoked = stops.revoke(caller, target=target, reason=reason, now=clock.now())
        row = queries.revocation(caller.org, revoked)
        shown |= {"revocation": ids.wire("rev", revoked), "revocation_entry": row["entry"], "revocation_receipt": row["receipt"]}
    running.show(shown, as_json=as_json)


def lift(
    stop: Annotated[str, typer.Argument(help="The stop to end (stp_…).")],
    reason: _Reason = "",
    token_file: _Token = None,
    as_json: _Json = False,
) -> None:
    """End a stop that somebody else set. What was revoked stays revoked."""
    with running.django_for("control"):
        from codespar.lib import clock, ids
        from mandates import queries
        from mandates.actions import stops
        from mandates.scopes import Target

        caller = _caller(token_file)
        found = ids.parse(stop, "stp")
        row = queries.stop(caller.org, found, livemode=caller.livemode)
        stops.lift(caller, stop=found, target=Target(row["scope"], row["target"]), reason=_given(reason), now=clock.now())
        row = queries.stop(caller.org, found)
    shown = {"stop": row["id"], "lifted": f"{row['scope']} {row['target']}", "by": row["lifted"]["by"], "entry": row["lifted"]["entry"]}
    running.show(shown, as_json=as_json)


def platform(org: Annotated[str, typer.Argument(help="The organisation of those who run this deployment (org_…).")]) -> None:
    """Name, once, the organisation whose people stop rails and the platform."""
    with running.django_for("owner"):
        from codespar.lib import db
        from codespar.lib.errors import Conflict, NotFound

        refusals: dict[str, Callable[[str], Any]] = {
            "deployment_named_once": lambda _: Conflict("This deployment has its platform organisation already."),
            "scopes_known": lambda _: NotFound("There is no such organisation."),
        }
        db.call("platform_name", running.org(org), refusals=refusals)
    running.out.print(f"The people of {org} stop rails and the platform, with live tokens.")


def reanchor(
    org: Annotated[str, typer.Argument(help="Whose chain was set back (org_…).")],
    reason: _Reason = "",
    token_file: _Token = None,
) -> None:
    """Confirm that the database was set back to an older copy. What is lost stays lost, and on record; everything else goes on."""
    with running.django_for("control"):
        from codespar.audit import rewinding
        from codespar.lib import clock

        caller = _caller(token_file)
        rewinding.reanchor(caller, org=running.org(org), reason=_given(reason), now=clock.now())
        waiting = len(rewinding.open_rewinds())
    running.out.print(f"{org} goes on from here." + (f" {waiting} chains still wait to be confirmed." if waiting else ""))


def _caller(token_file: Path | None) -> "Principal":
    from codespar.identity import principals
    from codespar.lib import ids

    named = token_file or os.environ.get(TOKEN_FILE)
    if not named:
        running.fail(f"Whose word is it? Give your access token's file: --token-file, or {TOKEN_FILE}.")
    bearer = Path(named).read_text(encoding="utf-8", errors="replace").strip()
    return principals.authenticate(bearer, request_id=ids.wire("req", ids.new()))


def _target(caller: "Principal", scope: str, name: str | None, *, revoke: bool = False) -> "Target":
    from mandates import scopes

    known = scopes.REVOCABLE if revoke else scopes.STOPPABLE
    if scope not in known:
        running.fail(f"{scope!r} is not one of {', '.join(known)}.")
    return scopes.target(scope, name, org=caller.org_wire)


def _given(reason: str) -> str:
    from mandates import serializers

    return serializers.REASON.read(reason)


def _stopped(caller: "Principal", target: "Target", reason: str) -> dict[str, str]:
    from codespar.lib import clock
    from mandates import queries
    from mandates.actions import stops

    made: UUID | None = stops.stop(caller, target=target, reason=_given(reason), now=clock.now())
    if made is None:
        return {"stopped": f"{target.scope} {target.name}", "record": "follows: nothing can be signed now; the flag holds"}
    row = queries.stop(caller.org, made)
    return {
        "stopped": f"{row['scope']} {row['target']}",
        "stop": row["id"],
        "at": row["at"],
        "entry": row["entry"],
        "receipt": row["receipt"],
    }
