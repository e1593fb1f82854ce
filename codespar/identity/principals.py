"""Who is asking. The tenant comes from here, never from a request's body, path or header."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from codespar.identity import tokens
from codespar.lib import db, ids
from codespar.lib.errors import CodesparError


class ScopeMissing(CodesparError):
    """The token is good, but not for this."""

    code = "scope_missing"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: an agent or a member, through one access token.

    `digest` authenticates the caller again inside every SQL function; `actor` is the wire id that records name.
    """

    org: UUID
    digest: bytes
    token: UUID
    actor: str
    livemode: bool
    scopes: frozenset[str]
    request_id: str
    agent: UUID | None = None
    member: UUID | None = None
    project: UUID | None = None

    is_authenticated = True

    @property
    def org_wire(self) -> str:
        return ids.wire("org", self.org)

    @property
    def project_wire(self) -> str | None:
        return ids.wire("prj", self.project) if self.project else None


def authenticate(bearer: str, *, request_id: str) -> Principal:
    """The principal behind an access token. Raises `Unauthenticated`, `Unavailable`."""
    token = tokens.parse(bearer)
    row = db.call("authenticate", token.org, token.digest)
    if row is None or row["livemode"] != token.livemode:
        raise tokens.Unauthenticated("The access token is unknown, expired or revoked.")
    return from_row(row, org=token.org, digest=token.digest, request_id=request_id)


def from_row(row: dict[str, Any], *, org: UUID, digest: bytes, request_id: str) -> Principal:
    """The principal as the database described it."""
    return Principal(
        org=org,
        digest=digest,
        token=UUID(row["token_id"]),
        actor=row["actor"],
        livemode=row["livemode"],
        scopes=frozenset(row["scopes"]),
        request_id=request_id,
        agent=_uuid(row["agent_id"]),
        member=_uuid(row["member_id"]),
        project=_uuid(row["project_id"]),
    )


def require(principal: Principal, scope: str) -> None:
    """Raises `ScopeMissing` that names the scope."""
    if scope not in principal.scopes:
        raise ScopeMissing(f"This needs the scope {scope}, which the token does not have.", scope=scope)


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None
