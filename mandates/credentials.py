"""Mandates as signed credentials: issue and verify the open one, present and verify the closed one (AP2 v0.2).

**Open mandate** (principal to agent), one SD-JWT without disclosures, `<header>.<payload>.<signature>~`:

    header   {"alg": "ES256", "kid": ..., "typ": "dc+sd-jwt"}
    payload  {"vct": "mandate.payment.open.1", "constraints": [...], "cnf": {"jwk": {kty, crv, x, y}}, "iat": s,
              "exp": s, "iss": "<deployment>/<org>", "sub": "<live|test>/<project>/<agent>", "jti": "<mandate>"}

`typ` is `dc+sd-jwt`, the media type of SD-JWT VC (draft-ietf-oauth-sd-jwt-vc, before it was `vc+sd-jwt`): the
credential has a `vct`, so it is one; and a `typ` that is ours to check keeps every other ES256 token of the same key
from passing as a mandate. Everything that restricts stands in `constraints`; in the extended profile that includes
what `iss` and `sub` say, and they must agree. AP2's preset claims (`payee`, `payment_amount`, `payment_instrument`,
`pisp`, `execution_date`) restrict too, and are refused because `Terms` cannot hold them; `risk_data` restricts
nothing and may stand there.

**Closed mandate** (agent to us), a KB-SD-JWT hop behind the open one: `<open>~` + `<header>.<payload>.<signature>~`.
Its claims stand in the payload, or as AP2's SDK writes them: in `delegate_payload`, a list of one object, which may
be a disclosure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec

from codespar.lib import money, sdjwt
from codespar.lib.errors import Invalid
from codespar.lib.sdjwt import MandateInvalid, check_agent_jwk, public_jwk, thumbprint
from mandates import constraints
from mandates.constraints import ProfileCannotExpress
from mandates.terms import Payee, Terms, TimeWindow, text

__all__ = ["MandateInvalid", "Payee", "Presentation", "ProfileCannotExpress", "Terms", "TimeWindow"]
__all__ += ["check_agent_jwk", "issue", "present", "public_jwk", "thumbprint", "verify", "verify_presentation"]

OPEN_VCT, OPEN_TYP = "mandate.payment.open.1", "dc+sd-jwt"
CLOSED_VCT, CLOSED_TYP = "mandate.payment.1", "kb+sd-jwt"

_AHEAD = timedelta(seconds=60)
_BEHIND = timedelta(seconds=300)
_NONCE = re.compile(r"[A-Za-z0-9_-]{22,255}\Z")
_LAST_SECOND = 253402300799  # 9999-12-31T23:59:59Z

_OPEN_CLAIMS = {"vct", "constraints", "cnf", "iat", "exp", "iss", "sub", "jti"}
_PRESETS = frozenset({"payee", "payment_amount", "payment_instrument", "pisp", "execution_date"})
_CLOSED_CLAIMS = {"vct", "transaction_id", "payee", "payment_amount"}
_HOP_CLAIMS = {"iat", "aud", "nonce"}
_BINDINGS = ("sd_hash", "issuer_jwt_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """A verified use of a mandate: the agent that holds its key asked for this one payment.

    `amount` in minor units. `instrument` is `{id, type, description?}` or None. `closed_sha256` is base64url of
    SHA-256 over the closed hop as it was sent (AP2 receipts call it `reference`). Consume it by (org, cnf_thumbprint,
    audience, nonce) and by (org, mandate, transaction_id); never by that hash, for ES256 has a second signature for
    the same statement. That amount, payee and currency lie within `terms` is not checked here.
    """

    terms: Terms
    transaction_id: str
    payee_id: str
    payee_name: str
    amount: int
    currency: str
    instrument: dict[str, str] | None
    nonce: str
    cnf_thumbprint: str
    closed_sha256: str


def issue(*, terms: Terms, deployment: str, kid: str, private_key: ec.EllipticCurvePrivateKey, now: datetime) -> str:
    """The signed open mandate for `terms`, as `<jwt>~`.

    `kid` names the organisation's mandate key, `deployment` this installation. Raises `ProfileCannotExpress`;
    `Invalid` for terms that have expired already, a key that is not P-256, or names that are not visible ASCII.
    """
    if now >= terms.expires_at:
        raise Invalid("The mandate would have expired before it exists.", pointer="/expires_at")
    header = {"alg": "ES256", "kid": sdjwt.visible(kid, "kid"), "typ": OPEN_TYP}
    payload = {
        "vct": OPEN_VCT,
        "constraints": constraints.write(terms),
        "cnf": {"jwk": dict(terms.agent_jwk)},
        "iat": int(now.timestamp()),
        "exp": int(terms.expires_at.timestamp()),
        "iss": f"{sdjwt.visible(deployment, 'deployment')}/{terms.org}",
        "sub": f"{'live' if terms.livemode else 'test'}/{terms.project}/{terms.agent}",
        "jti": terms.id,
    }
    return sdjwt.sign(header=header, payload=payload, key=private_key) + "~"


def verify(
    *,
    credential: str,
    keys: Mapping[str, ec.EllipticCurvePublicKey],
    now: datetime | None,
    deployment: str | None = None,
) -> Terms:
    """The terms that `credential` states, after everything about it has been checked.

    `keys` are the issuer's keys by kid, pinned by the caller, who also compares `org`. With `now` None the times are
    read but not compared (an audit); with `deployment` the issuer must be that one. `exp` has no tolerance. Raises
    `MandateInvalid`.
    """
    jws = sdjwt.parse(_open_jwt(credential))
    sdjwt.check_header(jws.header, typ=OPEN_TYP, kid=True)
    key = keys.get(jws.header["kid"])
    if key is None:
        raise MandateInvalid("No key of this kid is trusted here.", code="unknown_key")
    claims = sdjwt.claims(jws, key=key)
    try:
        terms = _terms(claims, deployment)
    except Invalid as error:
        raise MandateInvalid(f"The mandate says what no mandate can say: {error.detail}") from error
    if now is not None:
        _check_time(terms, _second(claims, "iat"), now)
    return terms


def present(
    *,
    credential: str,
    agent_key: ec.EllipticCurvePrivateKey,
    audience: str,
    nonce: str,
    transaction_id: str,
    payee_id: str,
    payee_name: str,
    amount: int,
    currency: str,
    now: datetime,
    instrument: Mapping[str, str] | None = None,
    website: str | None = None,
    binding: Literal["sd_hash", "issuer_jwt_hash"] = "sd_hash",
) -> str:
    """What an agent sends to use its mandate once: `credential` and the closed mandate, joined with `~~`.

    `amount` in minor units; `nonce` at least 22 base64url characters, never used before. Raises `MandateInvalid` if
    `credential` is not an open mandate; everything else is for the verifier to judge.
    """
    payload: dict[str, Any] = {
        "vct": CLOSED_VCT,
        "transaction_id": transaction_id,
        "payee": {"id": payee_id, "name": payee_name} | ({"website": website} if website else {}),
        "payment_amount": {"amount": amount, "currency": currency},
        "iat": int(now.timestamp()),
        "aud": audience,
        "nonce": nonce,
        binding: _binding(credential, binding),
    }
    if instrument is not None:
        payload["payment_instrument"] = dict(instrument)
    header = {"alg": "ES256", "typ": CLOSED_TYP}
    return f"{credential}~{sdjwt.sign(header=header, payload=payload, key=agent_key)}~"


def verify_presentation(
    *,
    presentation: str,
    keys: Mapping[str, ec.EllipticCurvePublicKey],
    audience: str,
    now: datetime,
    deployment: str | None = None,
) -> Presentation:
    """What the agent asks for, after both hops have been checked: the open one by `keys`, the closed one by `cnf`.

    `audience` names this deployment and livemode, and must be the hop's `aud`; its `iat` lies between 300 s ago and
    60 s ahead. Whether the nonce and the transaction are new is for the caller, in the database. Raises
    `MandateInvalid`.
    """
    hops = presentation[: 2 * sdjwt.LONGEST].split("~~")
    if len(hops) != 2 or not hops[1].endswith("~") or not presentation.isascii():
        raise MandateInvalid("A presentation is the open mandate and one closed mandate, joined with ~~ and ended with ~.")
    credential, closed = hops[0] + "~", hops[1]
    terms = verify(credential=credential, keys=keys, now=now, deployment=deployment)
    claims = _closed_claims(closed, terms)
    try:
        _check_hop(claims, credential=credential, audience=audience, now=now)
        return _presentation(claims, terms, sdjwt.digest(closed))
    except Invalid as error:
        raise MandateInvalid(f"The closed mandate says what none can say: {error.detail}") from error


def _open_jwt(credential: str) -> str:
    jwt, tilde, rest = credential.partition("~")
    if not tilde or rest or not credential.isascii() or len(credential) > sdjwt.LONGEST:
        raise MandateInvalid("An open mandate is one signed token and a ~, without disclosures.")
    return jwt


def _terms(claims: dict[str, Any], deployment: str | None) -> Terms:
    for name in sorted(_PRESETS & set(claims)):
        raise MandateInvalid(f"The preset {name} would restrict and is not enforced here: use a constraint.", code="unknown_constraint")
    sdjwt.members(claims, "The mandate", required=_OPEN_CLAIMS, optional=frozenset({"risk_data"}))
    if claims["vct"] != OPEN_VCT or not isinstance(claims.get("risk_data", {}), dict):
        raise MandateInvalid(f"The mandate's vct must be {OPEN_VCT}, and its risk_data an object.")
    if _second(claims, "iat") >= _second(claims, "exp"):
        raise MandateInvalid("The mandate ends before it begins.")
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    stated = {"id": claims["jti"], "expires_at": expires_at, **_named(claims, deployment)}
    found = constraints.read(claims["constraints"], exp=expires_at)
    if found["profile"] == "extended" and any(found[name] != stated[name] for name in ("org", "project", "agent", "livemode")):
        raise MandateInvalid("iss and sub say something else than the scope constraint.")
    jwk = sdjwt.members(claims["cnf"], "cnf", required={"jwk"})["jwk"]
    terms = Terms(**(stated | found), agent_jwk=jwk)
    constraints.check_profile(terms)
    return terms


def _named(claims: dict[str, Any], deployment: str | None) -> dict[str, Any]:
    if not isinstance(claims["iss"], str) or not isinstance(claims["sub"], str):
        raise MandateInvalid("iss and sub must be text.")
    issuer, _, org = claims["iss"].rpartition("/")
    sdjwt.visible(issuer, "The deployment in iss")
    if deployment is not None and issuer != deployment:
        raise MandateInvalid("The mandate was issued by another deployment.")
    mode, *scope = claims["sub"].split("/")
    if mode not in ("live", "test") or len(scope) != 2:
        raise MandateInvalid("sub must be live or test, the project and the agent, with / between them.")
    return {"org": org, "project": scope[0], "agent": scope[1], "livemode": mode == "live"}


def _second(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise MandateInvalid(f"{name} must be a whole number of seconds since 1970.")
    return value


def _check_time(terms: Terms, iat: int, now: datetime) -> None:
    if now >= terms.expires_at:
        raise MandateInvalid("The mandate has expired: ask for a new one.", code="mandate_expired")
    if datetime.fromtimestamp(iat, UTC) > now + _AHEAD:
        raise MandateInvalid("The mandate was issued in the future: compare the clocks.", code="mandate_not_yet_valid")
    if terms.not_before is not None and now < terms.not_before:
        raise MandateInvalid("The mandate does not hold yet.", code="mandate_not_yet_valid")


def _binding(credential: str, name: str) -> str:
    jwt = _open_jwt(credential)
    return sdjwt.digest(credential if name == "sd_hash" else jwt)


def _closed_claims(closed: str, terms: Terms) -> dict[str, Any]:
    """The closed mandate and the hop's own claims in one object, signed by the mandate's key."""
    if len(closed) > sdjwt.LONGEST:
        raise MandateInvalid("The closed mandate is too long.")
    jwt, *disclosures, _ = closed.split("~")
    jws = sdjwt.parse(jwt)
    # The hop's kid is a hint from the agent's side: the key is always the one that the open mandate names.
    sdjwt.check_header(jws.header, typ=CLOSED_TYP, kid=None)
    claims = sdjwt.claims(jws, key=sdjwt.public_key(terms.agent_jwk))
    if "delegate_payload" in claims:
        return _delegated(claims, disclosures)
    if disclosures:
        raise MandateInvalid("The closed mandate has a disclosure that nothing in it refers to.")
    return claims


def _delegated(claims: dict[str, Any], disclosures: list[str]) -> dict[str, Any]:
    """AP2's SDK: `delegate_payload` is a list of the mandate itself or of `{"...": digest}` for the only disclosure."""
    hop = dict(claims)
    listed, algorithm = hop.pop("delegate_payload"), hop.pop("_sd_alg", "sha-256")
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], dict) or algorithm != "sha-256":
        raise MandateInvalid("delegate_payload must be a list of one object, with sha-256 digests.")
    inner = listed[0]
    if disclosures:
        if len(disclosures) != 1 or inner != {"...": sdjwt.digest(disclosures[0])}:
            raise MandateInvalid("The disclosure is not the one that delegate_payload refers to.")
        inner = _disclosed(disclosures[0])
    if set(hop) & set(inner):
        raise MandateInvalid("A claim stands in the hop and in its delegate_payload.")
    return hop | inner


def _disclosed(disclosure: str) -> dict[str, Any]:
    parts = sdjwt.read(sdjwt.decode(disclosure))
    if not isinstance(parts, list) or len(parts) != 2 or not isinstance(parts[0], str) or not isinstance(parts[1], dict):
        raise MandateInvalid("The disclosure must be a JSON array of a salt and an object.")
    return parts[1]


def _check_hop(claims: dict[str, Any], *, credential: str, audience: str, now: datetime) -> None:
    bindings = [name for name in _BINDINGS if name in claims]
    if len(bindings) != 1:
        raise MandateInvalid("The closed mandate must have exactly one of sd_hash and issuer_jwt_hash.")
    required = _CLOSED_CLAIMS | _HOP_CLAIMS | set(bindings)
    sdjwt.members(claims, "The closed mandate", required=required, optional=frozenset({"payment_instrument"}))
    if claims[bindings[0]] != _binding(credential, bindings[0]):
        raise MandateInvalid("The closed mandate is bound to another open mandate.")
    if claims["vct"] != CLOSED_VCT:
        raise MandateInvalid(f"The closed mandate's vct must be {CLOSED_VCT}.")
    if claims["aud"] != audience:
        raise MandateInvalid("The closed mandate was made for another audience.")
    if not isinstance(claims["nonce"], str) or not _NONCE.match(claims["nonce"]):
        raise MandateInvalid("The nonce must be 22 to 255 base64url characters: at least 128 random bits.")
    if not now - _BEHIND <= datetime.fromtimestamp(_second(claims, "iat"), UTC) <= now + _AHEAD:
        raise MandateInvalid("The closed mandate must have been made within the last 300 seconds: compare the clocks.")


def _presentation(claims: dict[str, Any], terms: Terms, closed_sha256: str) -> Presentation:
    payee = sdjwt.members(claims["payee"], "payee", required={"id", "name"}, optional=frozenset({"website"}))
    paid = sdjwt.members(claims["payment_amount"], "payment_amount", required={"amount", "currency"})
    if "website" in payee:
        text(payee["website"], "/payee/website", 2048)
    return Presentation(
        terms=terms,
        transaction_id=sdjwt.visible(claims["transaction_id"], "transaction_id"),
        payee_id=text(payee["id"], "/payee/id"),
        payee_name=text(payee["name"], "/payee/name"),
        amount=money.amount(paid["amount"], "/payment_amount/amount"),
        currency=money.currency(paid["currency"], "/payment_amount/currency"),
        instrument=_instrument(claims["payment_instrument"]) if "payment_instrument" in claims else None,
        nonce=claims["nonce"],
        cnf_thumbprint=thumbprint(terms.agent_jwk),
        closed_sha256=closed_sha256,
    )


def _instrument(value: object) -> dict[str, str]:
    found = sdjwt.members(value, "payment_instrument", required={"id", "type"}, optional=frozenset({"description"}))
    return {name: text(item, f"/payment_instrument/{name}") for name, item in found.items()}
