"""Organisations and their people."""

import secrets
import uuid
from pathlib import Path
from typing import Annotated

import typer

from codespar.cli import running

PASSWORD_BYTES = 18


def org_create(
    name: Annotated[str, typer.Option(help="The organisation's name.")],
    timezone: Annotated[str, typer.Option(help="An IANA time zone such as America/Sao_Paulo: where its days begin.")],
    email: Annotated[str, typer.Option(help="The first owner's e-mail address.")],
    owner_name: Annotated[str, typer.Option(help="The first owner's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create an organisation, its keys, its chain and its first owner. The tokens are shown once, here."""
    with running.django_for("control"):
        from codespar.audit import chain
        from codespar.identity import actions
        from codespar.lib import clock, ids
        from codespar.vault import keys

        request = f"req_{uuid.uuid4().hex}"
        made = actions.create_organisation(
            name=name, timezone=timezone, email=email, owner_name=owner_name, request_id=request, now=clock.now()
        )
        jwk = next(key["jwk"] for key in keys.public_keys(made.id) if key["kid"] == made.ledger_kid)
        shown = {
            "organisation": ids.wire("org", made.id),
            "owner": ids.wire("mem", made.owner),
            "test_token": made.test_token,
            "live_token": made.live_token,
            "pin": f"{ids.wire('org', made.id)}={chain.fingerprint(chain.public_key(jwk))}",
        }
    running.show(shown, as_json=as_json)
    if not as_json:
        running.err.print(
            "The tokens are not shown again. Keep the pin apart from this database: `codespar verify --pin` trusts nothing else."
        )


def member_login(
    token_file: Annotated[Path, typer.Option(help="The file with an owner's access token, and nothing else; /dev/stdin reads a pipe.")],
    member: Annotated[str | None, typer.Option(help="Whose log-in (mem_…); the token's own member otherwise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give a member a new console log-in; the one before ends. Password and authenticator are shown once, here."""
    with running.django_for("control"):
        from codespar.identity import actions, principals, totp
        from codespar.identity.models import Member
        from codespar.lib import clock, db, ids

        bearer = token_file.read_text(encoding="utf-8", errors="replace").strip()
        owner = principals.authenticate(bearer, request_id=ids.wire("req", ids.new()))
        wanted = ids.parse(member, "mem") if member else owner.member
        with db.tenant(owner.org):
            found = Member.objects.for_org(owner.org).filter(id=wanted, closed_at=None).first()
        if found is None:
            running.fail("There is no such open member in the token's organisation: name one with --member mem_….")
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        secret = actions.set_login(owner, member=found.id, password=password, now=clock.now())
        shown = {
            "member": ids.wire("mem", found.id),
            "e-mail": found.email,
            "password": password,
            "otpauth": totp.uri(secret, email=found.email),
        }
    running.show(shown, as_json=as_json)
    if not as_json:
        running.err.print("Password and authenticator are not shown again. An authenticator takes the otpauth line as a QR code.")
