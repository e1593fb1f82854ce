"""Every write of identity. Each leaves one record; a crash leaves the action whole, or no trace of it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.hashers import make_password

from codespar.identity import access, acting, tokens, totp
from codespar.identity.acting import conflict, not_found
from codespar.identity.principals import Principal, ScopeMissing
from codespar.lib import canonical, clock, db, ids
from codespar.lib.errors import Invalid
from codespar.lib.sdjwt import check_agent_jwk, thumbprint
from codespar.vault import keys
from ledger import records

LONGEST_LIFE = timedelta(days=400)
LONGEST_OVERLAP = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class NewToken:
    """An access token just made. `text` is shown once and kept nowhere."""

    id: UUID
    text: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NewOrganisation:
    """A new organisation, its first owner, and that owner's first tokens."""

    id: UUID
    owner: UUID
    test_token: str
    live_token: str
    ledger_kid: str


def create_organisation(*, name: str, timezone: str, email: str, owner_name: str, request_id: str, now: datetime) -> NewOrganisation:
    """A tenant with its keys, its chain, its first owner, and a test and a live token of 90 days for that owner.

    Raises `Invalid` for a time zone that is not IANA's. A crash leaves all of it, or nothing.
    """
    if timezone not in available_timezones():
        raise Invalid("The time zone must be an IANA name such as America/Sao_Paulo.", pointer="/timezone")
    org, owner = ids.new(), ids.new()
    made = [keys.generate(org, "ledger"), keys.generate(org, "mandate")]
    texts = {mode: tokens.make(org, mode) for mode in (False, True)}
    openings = records.Openings()
    scopes = sorted(access.ROLES["owner"])
    actor = ids.wire("mem", owner)
    data = {
        "organisation": {"id": ids.wire("org", org), "name": name, "timezone": timezone},
        "member": {"id": actor, "commit": openings.add(_person(email, owner_name))},
        "keys": [{"id": ids.wire("key", key.id), "kid": key.kid, "purpose": key.purpose, "jwk": key.jwk} for key in made],
        "tokens": [_token(text, actor, "first owner", scopes, now + timedelta(days=90)) for _, text in texts.values()],
    }
    draft = records.Draft(
        kind="organisation.created",
        livemode=False,
        org=org,
        actor=actor,
        subject=ids.wire("org", org),
        request_id=request_id,
        data=data,
        openings=openings,
    )
    signed = records.sign(
        draft,
        deployment=settings.CONFIG.deployment,
        after={"seq": 0, "hash": records.genesis(org).hex()},
        at=now,
        signer=keys.signer(made[0].kid, made[0].private),
    )
    sealed = {key.kid: base64.b64encode(key.sealed).decode() for key in made}
    db.call("organisation_create", org, signed.content, signed.sig, signed.openings, sealed, refusals=acting.COMMON)
    return NewOrganisation(org, owner, texts[False][0], texts[True][0], made[0].kid)


def create_project(principal: Principal, *, name: str, now: datetime) -> UUID:
    """A project in the token's mode. Raises `Conflict` when the name is taken."""
    project = ids.new()
    wire = ids.wire("prj", project)
    record = acting.draft(principal, kind="project.created", subject=wire, data={"id": wire, "name": name}, project=wire)
    refusals = {"projects_name": conflict("A project of this name exists already.")}
    acting.write(principal, "project_create", record, now=now, refusals=refusals)
    return project


def create_agent(principal: Principal, *, project: UUID, name: str, public_jwk: Mapping[str, Any], now: datetime) -> UUID:
    """An agent with its public P-256 key. Raises `Invalid` for another key, `NotFound`, `Conflict`."""
    jwk = check_agent_jwk(public_jwk)
    agent = ids.new()
    wire = ids.wire("agt", agent)
    data = {"id": wire, "name": name, "public_jwk": jwk, "thumbprint": thumbprint(jwk)}
    record = acting.draft(principal, kind="agent.created", subject=wire, data=data, project=ids.wire("prj", project))
    refusals = {
        "agents_name": conflict("An agent of this name exists already in the project."),
        "agents_key": conflict("Another agent has this key already: every agent has its own."),
        "agents_of_project": not_found("project in this mode"),
    }
    acting.write(principal, "agent_create", record, now=now, refusals=refusals)
    return agent


def create_member(principal: Principal, *, email: str, name: str, roles: Sequence[str], now: datetime) -> UUID:
    """A person with roles. Raises `Conflict` when the e-mail address is a member's already."""
    member = ids.new()
    wire = ids.wire("mem", member)
    openings = records.Openings()
    data = {"id": wire, "roles": sorted(set(roles)), "commit": openings.add(_person(email, name))}
    record = acting.draft(principal, kind="member.created", subject=wire, data=data, openings=openings)
    refusals = {"members_email": conflict("There is a member with this e-mail address already.")}
    acting.write(principal, "member_create", record, now=now, refusals=refusals)
    return member


def change_roles(principal: Principal, *, member: UUID, roles: Sequence[str], now: datetime) -> None:
    """Another person's roles; they hold from the next request on. Nobody changes their own, and a test token nobody's who acts in live."""
    wire = ids.wire("mem", member)
    record = acting.draft(principal, kind="member.roles_changed", subject=wire, data={"id": wire, "roles": sorted(set(roles))})
    acting.write(principal, "member_change", record, now=now, refusals=_MEMBER)


def close_member(principal: Principal, *, member: UUID, now: datetime) -> None:
    """Another person leaves: the log-in and every token of theirs end with this."""
    wire = ids.wire("mem", member)
    record = acting.draft(principal, kind="member.closed", subject=wire, data={"id": wire})
    acting.write(principal, "member_change", record, now=now, refusals=_MEMBER)


def set_login(principal: Principal, *, member: UUID, password: str, now: datetime) -> bytes:
    """The member's console password and a new authenticator. Returns the authenticator's secret, shown once."""
    wire, device, secret = ids.wire("mem", member), ids.new(), totp.new_secret()
    hashed, sealed = make_password(password), totp.seal(secret, org=principal.org, device=device)
    data = {
        "id": wire,
        "device": ids.wire("key", device),
        "password_sha256": canonical.sha256(hashed.encode()).hex(),
        "device_sha256": canonical.sha256(sealed).hex(),
    }
    record = acting.draft(principal, kind="member.login_set", subject=wire, data=data)
    acting.write(principal, "member_login_set", record, hashed, sealed, now=now, refusals=_MEMBER)
    return secret


def create_token(principal: Principal, *, holder: str, name: str, scopes: Sequence[str], expires_at: datetime, now: datetime) -> NewToken:
    """A token for an agent or a member, in the mode of the token at hand. `holder` is a wire id."""
    _check_expiry(expires_at, now)
    text, kept = tokens.make(principal.org, principal.livemode)
    data = {"token": _token(kept, holder, name, sorted(set(scopes)), expires_at)}
    record = acting.draft(principal, kind="token.created", subject=ids.wire("tok", kept.id), data=data)
    acting.write(principal, "token_create", record, now=now, refusals=_TOKEN)
    return NewToken(kept.id, text, expires_at)


def rotate_token(
    principal: Principal,
    *,
    token: UUID,
    holder: str,
    name: str,
    scopes: Sequence[str],
    overlap: timedelta,
    expires_at: datetime,
    now: datetime,
) -> NewToken:
    """A successor with the same holder and scopes; the old token lives on for `overlap` (0 to 7 days), then dies."""
    _check_expiry(expires_at, now)
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise Invalid("The overlap is between 0 and 604800 seconds.", pointer="/overlap_seconds")
    text, kept = tokens.make(principal.org, principal.livemode)
    data = {
        "token": _token(kept, holder, name, sorted(scopes), expires_at),
        "old": ids.wire("tok", token),
        "overlap_until": clock.stamp(now + overlap),
    }
    record = acting.draft(principal, kind="token.rotated", subject=ids.wire("tok", kept.id), data=data)
    acting.write(principal, "token_rotate", record, now=now, refusals=_TOKEN)
    return NewToken(kept.id, text, expires_at)


def revoke_token(principal: Principal, *, token: UUID, now: datetime) -> None:
    """The token ends now."""
    wire = ids.wire("tok", token)
    record = acting.draft(principal, kind="token.revoked", subject=wire, data={"id": wire})
    acting.write(principal, "token_revoke", record, now=now, refusals={"access_tokens_live": not_found("live token")})


_MEMBER: db.Refusals = {
    "members_open": not_found("open member"),
    "members_mode": conflict("The member holds a live token: only a live token changes this member's roles or log-in, or closes them."),
    "members_not_self": conflict("Nobody changes their own roles or closes themselves: another owner does."),
}
_TOKEN: db.Refusals = {
    "access_tokens_scopes": acting.invalid("A scope is not one that this holder can have: see docs/access.md.", "/scopes"),
    "access_tokens_grant": lambda detail: ScopeMissing(f"This token cannot do that: {detail}."),
    "access_tokens_live": not_found("live token"),
    "access_tokens_expiry": acting.invalid("A token expires in the future, within 400 days.", "/expires_at"),
    "access_tokens_holder": not_found("open agent or member"),
    "access_tokens_rotation": conflict("A rotation keeps the holder and the mode, and adds no scope."),
    "access_tokens_agent": not_found("agent in this mode"),
    "access_tokens_member": not_found("member"),
}


def _check_expiry(expires_at: datetime, now: datetime) -> None:
    if not now < expires_at <= now + LONGEST_LIFE:
        raise Invalid("A token expires in the future, within 400 days.", pointer="/expires_at")


def _token(kept: tokens.TokenText, holder: str, name: str, scopes: Sequence[str], expires_at: datetime) -> dict[str, Any]:
    return {
        "id": ids.wire("tok", kept.id),
        "holder": holder,
        "livemode": kept.livemode,
        "name": name,
        "scopes": list(scopes),
        "expires_at": clock.stamp(expires_at),
        "digest": tokens.stored_digest(kept.digest),
    }


def _person(email: str, name: str) -> str:
    return canonical.dumps({"email": email.lower(), "name": name}).decode()
