"""Signed receipts of a stop or a revocation: ES256 JWS, made once and stored, because ECDSA is randomised."""

from datetime import datetime

from django.conf import settings

from codespar.identity.models import Member
from codespar.identity.principals import Principal
from codespar.lib import clock, db, sdjwt
from codespar.vault import keys
from mandates.scopes import Target

REVOCATION = "codespar-revocation+jwt"
STOP = "codespar-stop+jwt"


def sign(principal: Principal, *, typ: str, id: str, target: Target, reason: str, now: datetime) -> str:
    """Who (and in which roles) stopped or revoked what, when and why, under the organisation's mandate key. Raises `Unavailable`."""
    kid, private = keys.mandate_key(principal.org)
    payload = {
        "iss": f"{settings.CONFIG.deployment}/{principal.org_wire}",
        "iat": int(now.timestamp()),
        "jti": id,
        "scope": target.scope,
        "sub": target.name,
        "initiator": principal.actor,
        "roles": _roles(principal),
        "at": clock.stamp(now),
        "reason": reason,
        "livemode": principal.livemode,
    }
    return sdjwt.sign(header={"alg": "ES256", "typ": typ, "kid": kid}, payload=payload, key=private)


def _roles(principal: Principal) -> list[str]:
    with db.tenant(principal.org):
        found = Member.objects.for_org(principal.org).filter(id=principal.member).values_list("roles", flat=True).first()
    return sorted(found or ())
