"""Mandates: what is issued verifies to the same terms, and nothing else verifies."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from sd_jwt.verifier import SDJWTVerifier

from codespar.lib import sdjwt
from codespar.lib.canonical import MAX_SAFE_INTEGER
from codespar.lib.errors import Invalid
from codespar.lib.money import EXPONENTS
from mandates import credentials
from mandates.credentials import (
    MandateInvalid,
    Payee,
    ProfileCannotExpress,
    Terms,
    TimeWindow,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "mandates.json").read_text())


def key(name):
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest(), "big"), ec.SECP256R1())


ISSUER, AGENT, STRANGER = key("issuer"), key("agent"), key("stranger")
KEYS = {"key-1": ISSUER.public_key()}
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
AUDIENCE = "codespar.example/live"
NONCE = "n" * 22
NAMES = {name: f"{name}_{'0' * 31}{index}" for index, name in enumerate(("mnd", "org", "prj", "agt"))}
TERMS = Terms(
    id=NAMES["mnd"],
    org=NAMES["org"],
    project=NAMES["prj"],
    agent=NAMES["agt"],
    livemode=True,
    profile="extended",
    currency="BRL",
    max_amount=10_000,
    budget=435,
    max_uses=3,
    purposes=("office supplies", "viagens à São Paulo"),
    countries=("BR", "PT"),
    categories=("stationery",),
    rails=("pix",),
    counterparties=(Payee("ctp_1", "Papelaria Três Irmãos"), Payee("ctp_2", "Acme")),
    not_before=NOW - timedelta(hours=1),
    expires_at=NOW + timedelta(days=1),
    time_windows=(TimeWindow((1, 2, 3, 4, 5), 540, 1080, "America/Sao_Paulo"), TimeWindow((5,), 1320, 120, "UTC")),
    agent_jwk=credentials.public_jwk(AGENT),
)
PURE = replace(TERMS, profile="pure", purposes=None, countries=None, categories=None, rails=None, time_windows=None)


def issue(terms=TERMS, now=NOW, private_key=ISSUER, kid="key-1"):
    return credentials.issue(terms=terms, deployment="codespar.example", kid=kid, private_key=private_key, now=now)


def verify(credential, now=NOW, **more):
    return credentials.verify(credential=credential, keys=KEYS, now=now, **more)


def claims_of(credential):
    return json.loads(sdjwt.decode(credential.split(".")[1]), parse_float=Decimal)


def forge(*, payload=None, header=None, private_key=ISSUER, **changes):
    """A credential with a good signature over whatever a test wants it to say. A value of None leaves the claim out."""
    payload = claims_of(issue()) if payload is None else payload
    payload = {name: value for name, value in (payload | changes).items() if value is not None}
    header = {"alg": "ES256", "kid": "key-1", "typ": "dc+sd-jwt"} if header is None else header
    return sdjwt.sign(header=header, payload=payload, key=private_key) + "~"


def raw(payload, header=None):
    """Like `forge`, with the payload's JSON given as text."""
    head = header or '{"alg":"ES256","kid":"key-1","typ":"dc+sd-jwt"}'
    signing_input = f"{sdjwt.encode(head.encode())}.{sdjwt.encode(payload.encode())}"
    r, s = sdjwt.decode_dss_signature(ISSUER.sign(signing_input.encode(), sdjwt._ES256))
    return f"{signing_input}.{sdjwt.encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}~"


def refused(credential, code="invalid_mandate", **more):
    with pytest.raises(MandateInvalid) as caught:
        verify(credential, **more)
    assert caught.value.code == code, caught.value.detail
    return caught.value.detail


def with_constraint(kind, **changes):
    """The constraints of a good mandate, one of them changed. A value of ... removes the member."""
    constraints = claims_of(issue())["constraints"]
    for entry in constraints:
        if entry["type"] == kind:
            entry.update(changes)
            for name in [name for name, value in entry.items() if value is ...]:
                del entry[name]
    return constraints


# --- the round trip -----------------------------------------------------------------------------------------------

ids = st.uuids().map(lambda value: value.hex)
amounts = st.integers(1, MAX_SAFE_INTEGER)
words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20)
lists = st.none() | st.lists(words, min_size=1, max_size=4, unique=True).map(tuple)
moments = st.integers(1, 200_000_000).map(lambda seconds: NOW + timedelta(seconds=seconds))
windows = st.builds(
    lambda days, minutes, tz: TimeWindow(tuple(sorted(days)), *minutes, tz),
    st.sets(st.integers(1, 7), min_size=1),
    st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(lambda pair: pair[0] != pair[1]),
    st.sampled_from(["UTC", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia"]),
)
payees = st.lists(st.builds(Payee, ids, words), min_size=1, max_size=4, unique_by=lambda payee: payee.id)


@st.composite
def terms(draw):
    pure = draw(st.booleans())
    budget = draw(st.none() | amounts)
    restrict = (lambda strategy: None) if pure else draw
    return Terms(
        id=f"mnd_{draw(ids)}",
        org=f"org_{draw(ids)}",
        project=f"prj_{draw(ids)}",
        agent=f"agt_{draw(ids)}",
        livemode=draw(st.booleans()),
        profile="pure" if pure else "extended",
        currency=draw(st.sampled_from(sorted(EXPONENTS))),
        max_amount=draw(amounts),
        budget=budget,
        max_uses=None if pure and budget is None else draw(st.none() | amounts),
        purposes=restrict(lists),
        countries=restrict(st.none() | st.just(("BR", "JP"))),
        categories=restrict(lists),
        rails=restrict(lists),
        counterparties=draw(st.none() | payees.map(tuple)),
        not_before=draw(st.none() | st.just(NOW - timedelta(days=400))),
        expires_at=draw(moments),
        time_windows=restrict(st.none() | st.lists(windows, min_size=1, max_size=3, unique=True).map(tuple)),
        agent_jwk=credentials.public_jwk(AGENT),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(terms())
@example(TERMS)
@example(PURE)
def test_what_is_issued_verifies_to_the_same_terms(stated):
    assert verify(issue(stated)) == stated


@settings(max_examples=200, deadline=None)
@given(amounts, st.sampled_from(sorted(EXPONENTS)))
@example(MAX_SAFE_INTEGER, "BRL")
@example(MAX_SAFE_INTEGER, "BHD")
@example(435, "BRL")
@example(5000, "BRL")
def test_a_budget_stands_there_in_exact_major_units(budget, currency):
    credential = issue(replace(PURE, budget=budget, currency=currency))
    written = next(c["max"] for c in claims_of(credential)["constraints"] if c["type"] == "payment.budget")
    assert Decimal(written) * 10 ** EXPONENTS[currency] == budget
    assert verify(credential).budget == budget


def test_an_independent_library_reads_the_credential_as_an_sd_jwt():
    issuer = JWK.from_pyca(ISSUER.public_key())
    for stated in (TERMS, PURE):
        credential = issue(stated)
        payload = SDJWTVerifier(credential, lambda issuer_name, header: issuer).get_verified_payload()
        assert payload["vct"] == "mandate.payment.open.1"
        assert payload["cnf"] == {"jwk": credentials.public_jwk(AGENT)}
        assert json.loads(json.dumps(payload)) == json.loads(sdjwt.decode(credential.split(".")[1]))
        with pytest.raises(Exception, match="(?i)verif"):
            SDJWTVerifier(credential, lambda *_: JWK.from_pyca(STRANGER.public_key()))


def test_the_frozen_credential_keeps_verifying():
    frozen = VECTORS["open"]
    jwk = {"key-1": sdjwt.public_key(VECTORS["issuer_jwk"])}
    assert credentials.verify(credential=frozen, keys=jwk, now=NOW) == TERMS
    assert claims_of(frozen) == claims_of(issue())
    assert frozen.split(".")[:2] == issue().split(".")[:2], "the signed bytes have changed: this is another version"


def test_a_pure_mandate_has_types_of_ap2_only():
    kinds = [constraint["type"] for constraint in claims_of(issue(PURE))["constraints"]]
    assert kinds == [f"payment.{x}" for x in ["amount_range", "budget", "agent_recurrence", "allowed_payees", "execution_date"]]


@pytest.mark.parametrize("name", ["purposes", "countries", "categories", "rails", "time_windows"])
def test_a_pure_mandate_refuses_what_ap2_cannot_say(name):
    with pytest.raises(ProfileCannotExpress) as caught:
        issue(replace(PURE, **{name: getattr(TERMS, name)}))
    assert caught.value.extra["member"] == name and name in caught.value.detail


def test_a_pure_mandate_with_a_number_of_uses_needs_a_budget():
    with pytest.raises(ProfileCannotExpress):
        issue(replace(PURE, budget=None))


# --- times --------------------------------------------------------------------------------------------------------


def test_a_mandate_expires_at_its_second_and_not_before():
    credential = issue()
    assert verify(credential, now=TERMS.expires_at - timedelta(microseconds=1)) == TERMS
    refused(credential, "mandate_expired", now=TERMS.expires_at)
    refused(credential, "mandate_expired", now=TERMS.expires_at + timedelta(seconds=1))
    assert verify(credential, now=None) == TERMS


def test_a_mandate_does_not_hold_before_its_time():
    credential = issue(now=TERMS.not_before - timedelta(hours=1))
    refused(credential, "mandate_not_yet_valid", now=TERMS.not_before - timedelta(microseconds=1))
    assert verify(credential, now=TERMS.not_before) == TERMS


def test_a_mandate_from_the_future_is_refused_past_sixty_seconds():
    credential = issue(now=NOW + timedelta(seconds=60))
    assert verify(credential, now=NOW) == TERMS
    refused(credential, "mandate_not_yet_valid", now=NOW - timedelta(seconds=1))


def test_a_mandate_that_has_expired_is_not_issued():
    with pytest.raises(Invalid):
        issue(now=TERMS.expires_at)


# --- attacks on the form ------------------------------------------------------------------------------------------


def test_every_flipped_byte_refuses():
    credential = issue()
    for position in range(0, len(credential), 3):
        for bit in (1, 2, 32):
            flipped = credential[:position] + chr(ord(credential[position]) ^ bit) + credential[position + 1 :]
            with pytest.raises(MandateInvalid):
                verify(flipped)


def test_every_truncation_refuses():
    credential = issue()
    for end in [*range(0, len(credential), 11), len(credential) - 1]:
        refused(credential[:end])


@pytest.mark.parametrize("tail", ["~", "~~", "WyJzYWx0IiwiYSIsMV0~", "x", "\n", " ", "é~"])
def test_anything_appended_refuses(tail):
    refused(issue() + tail)


def test_a_presentation_is_not_an_open_mandate():
    refused(present())


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "ES384", "EdDSA", "es256", "", None, 256, ["ES256"]])
def test_every_other_algorithm_refuses(alg):
    refused(forge(header={"alg": alg, "kid": "key-1", "typ": "dc+sd-jwt"}))


def test_a_token_without_a_signature_refuses():
    head, body, _ = issue()[:-1].split(".")
    unsigned = sdjwt.encode(b'{"alg":"none","kid":"key-1","typ":"dc+sd-jwt"}')
    refused(f"{unsigned}.{body}.~")
    refused(f"{head}.{body}.~")
    refused(f"{head}.{body}.{sdjwt.encode(bytes(64))}~")
    refused(f"{head}.{body}.{sdjwt.encode(bytes(63))}~")


def test_an_hmac_with_the_public_key_refuses():
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret = ISSUER.public_key().public_bytes(*form)
    head = sdjwt.encode(b'{"alg":"HS256","kid":"key-1","typ":"dc+sd-jwt"}')
    body = issue().split(".")[1]
    mac = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
    refused(f"{head}.{body}.{sdjwt.encode(mac)}~")
    refused(f"{head}.{body}.{sdjwt.encode(mac + mac)}~")


def test_the_other_s_of_a_signature_is_accepted():
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    jwt = issue()[:-1]
    signing_input, _, signature = jwt.rpartition(".")
    r, s = sdjwt.decode(signature)[:32], int.from_bytes(sdjwt.decode(signature)[32:], "big")
    assert verify(f"{signing_input}.{sdjwt.encode(r + (order - s).to_bytes(32, 'big'))}~") == TERMS


def test_a_signature_in_der_refuses():
    jwt = issue()[:-1]
    signing_input = jwt.rpartition(".")[0]
    refused(f"{signing_input}.{sdjwt.encode(ISSUER.sign(signing_input.encode(), sdjwt._ES256))}~")


def test_an_unknown_kid_refuses_with_its_own_code():
    refused(issue(kid="key-2"), "unknown_key")


def test_another_key_under_a_known_kid_refuses():
    refused(issue(private_key=STRANGER))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256", "kid": "key-1"},
        {"alg": "ES256", "typ": "dc+sd-jwt"},
        {"alg": "ES256", "kid": 1, "typ": "dc+sd-jwt"},
        {"alg": "ES256", "kid": ["key-1"], "typ": "dc+sd-jwt"},
        {"alg": "ES256", "kid": "key-1", "typ": "kb+sd-jwt"},
        {"alg": "ES256", "kid": "key-1", "typ": "DC+SD-JWT"},
        {"alg": "ES256", "kid": "key-1", "typ": "dc+sd-jwt", "crit": ["b64"], "b64": False},
        {"alg": "ES256", "kid": "key-1", "typ": "dc+sd-jwt", "jwk": {}},
        {"alg": "ES256", "kid": "key-1", "typ": "dc+sd-jwt", "x5c": []},
    ],
)
def test_a_header_with_other_members_refuses(header):
    refused(forge(header=header))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"a":1', '{"a":NaN}', '{"a":"\\ud800"}', "\ufeff{}"])
def test_a_payload_that_is_not_one_json_object_refuses(text):
    refused(raw(text or " "))


def test_repeated_names_refuse():
    good = sdjwt.decode(issue().split(".")[1]).decode()
    assert verify(raw(good)) == TERMS
    refused(raw(good.replace('"max":10000', '"max":10000,"max":99999')))
    refused(raw(good.replace('"vct":', '"vct":"x","vct":')))
    refused(raw(good, header='{"alg":"none","alg":"ES256","kid":"key-1","typ":"dc+sd-jwt"}'))


def test_base64_has_one_spelling():
    head, body, signature = issue()[:-1].split(".")
    loose = signature[:-1] + chr(ord(signature[-1]) + 1)
    assert base64.urlsafe_b64decode(loose + "==") == base64.urlsafe_b64decode(signature + "==")
    refused(f"{head}.{body}.{loose}~")
    refused(f"{head}.{body}.{signature}==~")
    refused(f"{head}\n.{body}.{signature}~")
    refused(f"{head}.{body}!.{signature}~")


def test_what_is_too_long_refuses_before_it_is_read():
    refused("a" * 70_000 + "." + "b" * 70_000 + ".c~")


# --- attacks on what it says --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vct", "constraints", "cnf", "iat", "exp", "iss", "sub", "jti"])
def test_every_claim_is_needed(name):
    refused(forge(**{name: None}))


@pytest.mark.parametrize("name", ["nbf", "aud", "status", "_sd", "_sd_alg", "max_amount", "scope"])
def test_an_unknown_claim_refuses(name):
    refused(forge(**{name: "x"}))


@pytest.mark.parametrize("name", ["payee", "payment_amount", "payment_instrument", "pisp", "execution_date"])
def test_a_preset_that_is_not_enforced_refuses(name):
    refused(forge(**{name: {"id": "x"}}), "unknown_constraint")


def test_risk_data_restricts_nothing_and_may_stand_there():
    assert verify(forge(risk_data={"score": Decimal("0.25")})) == TERMS
    refused(forge(risk_data="x"))


@pytest.mark.parametrize(
    "changes",
    [
        {"vct": "mandate.payment.open.2"},
        {"vct": "mandate.payment.1"},
        {"iat": 1.5},
        {"iat": True},
        {"iat": "1"},
        {"exp": -1},
        {"exp": 10**15},
        {"exp": 1},
        {"iss": "codespar.example"},
        {"iss": f"/{NAMES['org']}"},
        {"iss": f"codespar.example/{NAMES['org']}x"},
        {"iss": 1},
        {"sub": f"test/{NAMES['prj']}/{NAMES['agt']}"},
        {"sub": f"live/{NAMES['prj']}/agt_{'1' * 32}"},
        {"sub": f"live/{NAMES['agt']}"},
        {"jti": NAMES["agt"]},
        {"jti": 7},
        {"cnf": {}},
        {"cnf": {"jwk": credentials.public_jwk(AGENT), "kid": "x"}},
        {"cnf": {"jwk": credentials.public_jwk(AGENT) | {"use": "sig"}}},
        {"constraints": {}},
        {"constraints": []},
        {"constraints": ["payment.amount_range"]},
        {"constraints": [{"max": 1}]},
        {"constraints": [{"type": ["payment.amount_range"]}]},
    ],
)
def test_a_claim_of_another_shape_refuses(changes):
    refused(forge(**changes))


@pytest.mark.parametrize(
    "kind",
    [
        "com.codespar.colour",
        "org.example.x",
        "payment.allowed_pisps",
        "payment.allowed_payment_instruments",
        "",
        "payment.reference",
    ],
)
def test_an_unknown_constraint_refuses(kind):
    refused(forge(constraints=[*claims_of(issue())["constraints"], {"type": kind}]), "unknown_constraint")


def test_a_constraint_that_stands_there_twice_refuses():
    for entry in claims_of(issue())["constraints"]:
        refused(forge(constraints=[*claims_of(issue())["constraints"], entry]))


def test_every_constraint_refuses_an_unknown_member_and_a_missing_one():
    for entry in claims_of(issue())["constraints"]:
        refused(forge(constraints=with_constraint(entry["type"], extra=1)))
        for name in set(entry) - {"type", "not_after"}:
            refused(forge(constraints=with_constraint(entry["type"], **{name: ...})))
            for value in ({}, [], "", 0, -1, Decimal("1.5"), True, "  x", [[]], [""], ["\u0000"], [1], [{}]):
                if type(value) is not type(entry[name]) or not value:
                    with pytest.raises(MandateInvalid):
                        verify(forge(constraints=with_constraint(entry["type"], **{name: value})))


@pytest.mark.parametrize("value", [-1, 0, Decimal("10.5"), "100", True, MAX_SAFE_INTEGER + 1, [1]])
def test_an_amount_that_is_not_a_positive_integer_refuses(value):
    refused(forge(constraints=with_constraint("payment.amount_range", max=value)))
    refused(forge(constraints=with_constraint("payment.agent_recurrence", max_occurrences=value)))


@pytest.mark.parametrize("value", [-1, 0, Decimal("4.355"), Decimal("-4.35"), "4.35", True, 10**40, [1]])
def test_a_budget_that_is_not_exact_refuses(value):
    refused(forge(constraints=with_constraint("payment.budget", max=value)))


@pytest.mark.parametrize("text", ["1e999999999", "1e-999999999", "1e99999999999999999999", "4.35" + "0" * 30 + "1", "9" * 5000])
def test_a_number_that_is_made_to_be_slow_refuses_at_once(text):
    good = sdjwt.decode(issue().split(".")[1]).decode()
    assert '"max":4.35' in good
    refused(raw(good.replace('"max":4.35', f'"max":{text}')))


@pytest.mark.parametrize("text", ["4.35", "4.350", "435e-2", "0.435E1"])
def test_a_budget_may_be_written_as_any_exact_number(text):
    good = sdjwt.decode(issue().split(".")[1]).decode()
    assert verify(raw(good.replace('"max":4.35', f'"max":{text}'))) == TERMS


@pytest.mark.parametrize("text", ["1e4", "1E4", "10000.0", "-0", "1e999", "9" * 5000])
def test_an_amount_that_is_not_written_as_an_integer_refuses(text):
    good = sdjwt.decode(issue().split(".")[1]).decode()
    assert '"max":10000' in good
    refused(raw(good.replace('"max":10000', f'"max":{text}')))


def test_a_budget_in_another_currency_refuses():
    refused(forge(constraints=with_constraint("payment.budget", currency="USD")))


@pytest.mark.parametrize("frequency", ["DAILY", "WEEKLY", "MONTHLY", "on_demand"])
def test_a_recurrence_that_is_not_enforced_refuses(frequency):
    refused(forge(constraints=with_constraint("payment.agent_recurrence", frequency=frequency)), "unknown_constraint")


def test_an_end_that_is_not_the_mandates_end_refuses():
    refused(forge(constraints=with_constraint("payment.execution_date", not_after="2026-03-03T11:59:59Z")))


@pytest.mark.parametrize("moment", ["2026-03-02", "2026-03-02T10:00:00+00:00", 1772445600, None])
def test_a_date_in_another_form_refuses(moment):
    refused(forge(constraints=with_constraint("payment.execution_date", not_before=moment)))


def test_our_constraints_without_the_scope_refuse():
    constraints = [entry for entry in claims_of(issue())["constraints"] if entry["type"] != "com.codespar.scope"]
    refused(forge(constraints=constraints))


@pytest.mark.parametrize("name, value", [("org", "org_" + "9" * 32), ("agent", "agt_" + "9" * 32), ("livemode", False)])
def test_a_scope_that_contradicts_the_issuer_refuses(name, value):
    refused(forge(constraints=with_constraint("com.codespar.scope", **{name: value})))


def test_another_deployment_refuses_when_one_is_pinned():
    assert verify(issue(), deployment="codespar.example") == TERMS
    refused(issue(), deployment="other.example")


# --- terms that cannot exist --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{name: ()} for name in ("purposes", "countries", "categories", "rails", "counterparties", "time_windows")]
    + [
        {"max_amount": 0},
        {"max_amount": 1.0},
        {"max_amount": MAX_SAFE_INTEGER + 1},
        {"budget": 0},
        {"max_uses": 0},
        {"max_uses": True},
        {"currency": "brl"},
        {"currency": "XAU"},
        {"livemode": 1},
        {"profile": "strict"},
        {"id": "pay_" + "0" * 32},
        {"countries": ("br",)},
        {"countries": ("BRA",)},
        {"purposes": ("a", "a")},
        {"purposes": ["a"]},
        {"purposes": ("a ",)},
        {"purposes": ("a\u202eb",)},
        {"rails": (1,)},
        {"counterparties": (Payee("a", "x"), Payee("a", "y"))},
        {"expires_at": NOW.replace(tzinfo=None)},
        {"expires_at": NOW.replace(microsecond=1)},
        {"not_before": NOW + timedelta(days=2)},
        {"agent_jwk": {}},
    ],
)
def test_terms_that_mean_nothing_cannot_be_made(changes):
    with pytest.raises(Invalid):
        replace(TERMS, **changes)


@pytest.mark.parametrize(
    "window",
    [((), 0, 60, "UTC"), ((0,), 0, 60, "UTC"), ((8,), 0, 60, "UTC"), ((2, 1), 0, 60, "UTC"), ((1, 1), 0, 60, "UTC")]
    + [
        ((1,), 60, 60, "UTC"),
        ((1,), -1, 60, "UTC"),
        ((1,), 0, 1441, "UTC"),
        ((1,), 1440, 60, "UTC"),
        ((True,), 0, 60, "UTC"),
    ]
    + [((1,), 0, 60, tz) for tz in ("", "../etc/passwd", "/etc/localtime", "localtime", "Brasilia", "America", 1, "\0")],
)
def test_a_window_that_means_nothing_cannot_be_made(window):
    with pytest.raises(Invalid):
        TimeWindow(*window)


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_began():
    friday_night = TimeWindow((5,), 1320, 120, "America/Sao_Paulo")
    friday = datetime(2026, 3, 6, tzinfo=UTC) + timedelta(hours=3)  # midnight in São Paulo, where it is UTC-3
    at = {hours: friday_night.covers(friday + timedelta(hours=hours)) for hours in (0, 1, 21.99, 22, 23.99, 24, 25.99, 26, 46)}
    assert at == {0: False, 1: False, 21.99: False, 22: True, 23.99: True, 24: True, 25.99: True, 26: False, 46: False}
    monday = TimeWindow((7,), 1380, 60, "UTC")
    assert monday.covers(datetime(2026, 3, 9, 0, 30, tzinfo=UTC)), "Sunday's window reaches into Monday"


def test_a_window_in_a_day_ends_before_its_end():
    office = TimeWindow((1,), 540, 1080, "UTC")
    monday = datetime(2026, 3, 2, tzinfo=UTC)
    assert [office.covers(monday + timedelta(minutes=m)) for m in (539, 540, 1079, 1080)] == [False, True, True, False]
    assert not office.covers(monday + timedelta(days=1, hours=10))


# --- keys ---------------------------------------------------------------------------------------------------------


def test_a_private_key_is_refused_and_named():
    with pytest.raises(Invalid, match="private key") as caught:
        credentials.check_agent_jwk(credentials.public_jwk(AGENT) | {"d": "c2VjcmV0"})
    assert "c2VjcmV0" not in str(caught.value.detail)


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "RSA"},
        {"crv": "P-384"},
        {"x": "AA"},
        {"x": 5},
        {"x": "é" * 43},
        {"kid": "a"},
        {"use": "sig"},
        {"y": "A" * 43},
    ],
)
def test_a_key_that_is_not_a_point_on_p256_refuses(changes):
    with pytest.raises(Invalid):
        credentials.check_agent_jwk(credentials.public_jwk(AGENT) | changes)


def test_the_thumbprint_is_rfc_7638():
    jwk = credentials.public_jwk(AGENT)
    assert credentials.thumbprint(jwk) == JWK.from_pyca(AGENT.public_key()).thumbprint() == VECTORS["agent_thumbprint"]
    assert credentials.check_agent_jwk(jwk) == jwk == credentials.public_jwk(AGENT.public_key())


# --- presentations ------------------------------------------------------------------------------------------------

ASKED = {
    "audience": AUDIENCE,
    "nonce": NONCE,
    "transaction_id": "tx_1",
    "payee_id": "ctp_1",
    "payee_name": "Papelaria Três Irmãos",
    "amount": 435,
    "currency": "BRL",
    "now": NOW,
}


def present(credential=None, agent_key=AGENT, **changes):
    return credentials.present(credential=credential or issue(), agent_key=agent_key, **(ASKED | changes))


def check(presentation, now=NOW, audience=AUDIENCE):
    return credentials.verify_presentation(presentation=presentation, keys=KEYS, audience=audience, now=now)


def hop(*, credential=None, header=None, agent_key=AGENT, tail="", **changes):
    """A presentation with a good signature over whatever a test wants. A value of ... leaves the claim out."""
    credential = credential or issue()
    payload = claims_of(present(credential).split("~~")[1]) | changes
    payload = {name: value for name, value in payload.items() if value is not ...}
    head = header or {"alg": "ES256", "typ": "kb+sd-jwt"}
    return f"{credential}~{sdjwt.sign(header=head, payload=payload, key=agent_key)}~{tail}"


def not_shown(presentation, code="invalid_mandate", **more):
    with pytest.raises(MandateInvalid) as caught:
        check(presentation, **more)
    assert caught.value.code == code, caught.value.detail


def test_a_presentation_shows_what_the_agent_asked_for():
    instrument = {"id": "acc_1", "type": "pix", "description": "Conta"}
    shown = check(present(instrument=instrument, website="https://example.com"))
    assert (shown.terms, shown.transaction_id, shown.payee_id, shown.amount) == (TERMS, "tx_1", "ctp_1", 435)
    assert (shown.payee_name, shown.currency, shown.instrument, shown.nonce) == (
        ASKED["payee_name"],
        "BRL",
        instrument,
        NONCE,
    )
    assert shown.cnf_thumbprint == credentials.thumbprint(TERMS.agent_jwk)
    assert check(present()).instrument is None


def test_the_hash_of_the_closed_hop_is_over_its_bytes():
    sent = present()
    closed = sent.split("~~")[1]
    assert check(sent).closed_sha256 == sdjwt.encode(hashlib.sha256(closed.encode()).digest())


def test_both_ways_of_binding_count_and_exactly_one_must_be_there():
    assert check(present(binding="issuer_jwt_hash")).terms == TERMS
    not_shown(hop(sd_hash=...))
    not_shown(hop(issuer_jwt_hash=sdjwt.digest(issue()[:-1])))
    not_shown(hop(sd_hash=sdjwt.digest("x")))
    not_shown(hop(sd_hash=..., issuer_jwt_hash=sdjwt.digest("x")))


def test_a_closed_mandate_does_not_fit_another_open_one():
    closed = present(issue()).split("~~")[1]
    not_shown(f"{issue(replace(TERMS, max_amount=99_999))}~{closed}")


def test_the_frozen_presentation_keeps_verifying():
    assert check(VECTORS["presentation"]) == replace(check(present()), closed_sha256=VECTORS["closed_sha256"])


def test_only_the_agents_key_may_present():
    not_shown(present(agent_key=STRANGER))
    not_shown(present(agent_key=ISSUER))


def test_every_flipped_byte_of_the_closed_hop_refuses():
    sent = present()
    start = sent.index("~~")
    for position in range(start, len(sent), 5):
        flipped = sent[:position] + chr(ord(sent[position]) ^ 1) + sent[position + 1 :]
        with pytest.raises(MandateInvalid):
            check(flipped)


@pytest.mark.parametrize("tail", ["~", "x", "WyJzIix7fV0~", "~x~"])
def test_anything_appended_to_a_presentation_refuses(tail):
    not_shown(present() + tail)


def test_a_presentation_needs_both_hops_and_the_last_tilde():
    sent = present()
    not_shown(sent[:-1])
    not_shown(issue())
    not_shown(sent.replace("~~", "~"))
    not_shown(sent.replace("~~", "~~~"))
    not_shown(sent + "~" + sent.split("~~")[1])
    not_shown(sent.split("~~")[1])


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "ES256", "typ": "kb+jwt"},
        {"alg": "ES256", "typ": "dc+sd-jwt"},
        {"alg": "none", "typ": "kb+sd-jwt"},
        {"alg": "HS256", "typ": "kb+sd-jwt"},
        {"alg": "ES256", "typ": "kb+sd-jwt", "jwk": {}},
        {"alg": "ES256"},
    ],
)
def test_a_closed_header_of_another_kind_refuses(header):
    not_shown(hop(header=header))


def test_a_kid_in_the_closed_header_is_a_hint_and_not_trusted():
    header = {"alg": "ES256", "typ": "kb+sd-jwt", "kid": "key-1"}
    assert check(hop(header=header)).terms == TERMS
    not_shown(hop(header=header, agent_key=ISSUER))


@pytest.mark.parametrize(
    "changes",
    [
        {"vct": "mandate.payment.open.1"},
        {"aud": "codespar.example/test"},
        {"aud": [AUDIENCE]},
        {"aud": ...},
        {"nonce": ...},
        {"nonce": "n" * 21},
        {"nonce": "n" * 22 + "="},
        {"nonce": 12345678901234567890123},
        {"iat": ...},
        {"iat": 1.5},
        {"transaction_id": ...},
        {"transaction_id": ""},
        {"transaction_id": "a b"},
        {"transaction_id": "x" * 256},
        {"payee": ...},
        {"payee": {"id": "ctp_1"}},
        {"payee": {"id": "ctp_1", "name": "x", "account": "y"}},
        {"payee": {"id": " ctp_1", "name": "x"}},
        {"payment_amount": 435},
        {"payment_amount": {"amount": 4.35, "currency": "BRL"}},
        {"payment_amount": {"amount": 435, "currency": "BRL", "unit": "major"}},
        {"payment_amount": {"amount": 0, "currency": "BRL"}},
        {"payment_amount": {"amount": -1, "currency": "BRL"}},
        {"payment_amount": {"amount": "435", "currency": "BRL"}},
        {"payment_amount": {"amount": 435, "currency": "R$"}},
        {"payment_amount": {"amount": 2**53, "currency": "BRL"}},
        {"payment_instrument": None},
        {"payment_instrument": {"id": "x"}},
        {"payment_instrument": {"id": "x", "type": "pix", "number": "4111111111111111"}},
        {"cnf": {"jwk": credentials.public_jwk(STRANGER)}},
        {"execution_date": "2026-03-02"},
        {"extra": 1},
    ],
)
def test_a_closed_mandate_of_another_shape_refuses(changes):
    not_shown(hop(**changes))


def test_a_closed_mandate_is_fresh_for_300_seconds_and_60_ahead():
    sent = present()
    for seconds in (-60, 0, 300):
        assert check(sent, now=NOW + timedelta(seconds=seconds)).terms == TERMS
    not_shown(sent, now=NOW + timedelta(seconds=301))
    not_shown(present(now=NOW + timedelta(seconds=61)))


def test_the_open_mandate_is_judged_first():
    not_shown(present(), "mandate_expired", now=TERMS.expires_at)
    not_shown(present(issue(kid="key-2")), "unknown_key")


def sdk_hop(disclosure=True, mandate=None, tail="", **changes):
    """A hop in the form of AP2's own SDK: the mandate inside `delegate_payload`, as a disclosure or plain."""
    credential = issue()
    flat = claims_of(present(credential).split("~~")[1])
    hop_claims = {name: flat.pop(name) for name in ("iat", "aud", "nonce", "sd_hash")}
    inner = flat | (mandate or {})
    encoded = sdjwt.encode(json.dumps(["c2FsdA", inner]).encode())
    listed = [{"...": sdjwt.digest(encoded)}] if disclosure else [inner]
    payload = hop_claims | {"delegate_payload": listed, "_sd_alg": "sha-256"} | changes
    closed = sdjwt.sign(header={"alg": "ES256", "typ": "kb+sd-jwt", "kid": "a"}, payload=payload, key=AGENT) + "~"
    return f"{credential}~{closed}{encoded + '~' if disclosure else ''}{tail}"


def test_the_form_of_ap2s_sdk_is_read_too():
    for disclosure in (True, False):
        shown = check(sdk_hop(disclosure))
        assert (shown.transaction_id, shown.amount, shown.terms) == ("tx_1", 435, TERMS)


def test_the_form_of_ap2s_sdk_is_read_strictly():
    not_shown(sdk_hop(tail="WyJzIix7fV0~"))
    not_shown(sdk_hop(disclosure=False, tail="WyJzIix7fV0~"))
    not_shown(sdk_hop()[:-1].rpartition("~")[0] + "~")
    not_shown(sdk_hop(mandate={"aud": AUDIENCE}))
    not_shown(sdk_hop(mandate={"cnf": {}}))
    not_shown(sdk_hop(_sd_alg="md5"))
    not_shown(sdk_hop(delegate_payload=[]))
    not_shown(sdk_hop(delegate_payload=[{}, {}]))
    not_shown(sdk_hop(delegate_payload="x"))
    not_shown(sdk_hop(transaction_id="tx_2"))
