"""What a mandate lets through, and what it does not: each refusal before any rail is called."""

import json
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from codespar.demo.client import Api
from codespar.lib import sdjwt
from mandates import credentials
from tests.support import world as worlds
from tests.support.world import World, key, later, raw_id


def refused(answer: httpx2.Response, code: str, layer: str | None = "mandate") -> dict:
    body = answer.json()
    assert (answer.status_code, body["code"]) == (403, code), answer.text
    assert body["payment"]["status"] == "denied"
    assert body["payment"]["decision"]["layer"] == layer
    assert body["payment"]["receipt"]["seq"] > 0
    return body


def forged(credential: str, **claims: object) -> str:
    """The credential with other claims and no signature (alg none)."""
    header, payload, _ = credential.rstrip("~").split(".")
    found = json.loads(sdjwt.decode(payload)) | claims
    head = json.loads(sdjwt.decode(header)) | {"alg": "none"}
    return f"{sdjwt.encode(json.dumps(head).encode())}.{sdjwt.encode(json.dumps(found).encode())}.~"


def test_a_payment_without_a_good_mandate_never_reaches_the_rail(world: World) -> None:
    credential = world.people().get(f"/v1/mandates/{world.mandate}")["credential"]
    body = world.body()
    del body["mandate"]
    assert world.api.send("/v1/payments", body).status_code == 400
    refused(world.pay(mandate=f"mnd_{'0' * 32}"), "invalid_mandate")
    refused(world.pay(mandate=forged(credential)), "invalid_mandate")
    head, payload, signature = credential.rstrip("~").split(".")
    raw = bytearray(sdjwt.decode(signature))
    raw[10] ^= 1
    refused(world.pay(mandate=f"{head}.{payload}.{sdjwt.encode(bytes(raw))}~"), "invalid_mandate")
    assert world.provider_payments() == []
    assert world.pay(mandate=credential).json()["status"] == "settled"


def test_another_agents_mandate_is_refused(world: World) -> None:
    _, wallet, other = world.new_agent()
    world.fund(5000, wallet)
    refused(other.send("/v1/payments", world.body()), "agent_mismatch")
    assert world.balance(wallet) == (5000, 0)


@pytest.mark.parametrize("amount", [0, -1, 1.5, "100", 2**63, None, True, [1], {}])
def test_an_amount_that_is_no_amount_is_a_malformed_request(shared_world: World, amount: object) -> None:
    answer = shared_world.api.send("/v1/payments", shared_world.body() | {"amount": {"amount": amount, "currency": "BRL"}})
    assert answer.status_code == 400, answer.text
    assert all(error["pointer"].startswith("/amount") for error in answer.json()["errors"])


def test_nan_is_not_json(shared_world: World) -> None:
    text = json.dumps(shared_world.body()).replace("1000", "NaN")
    headers = {"Authorization": f"Bearer {shared_world.tokens['agent']}", "Idempotency-Key": key(), "Content-Type": "application/json"}
    answer = httpx2.post(f"{shared_world.info.base_url}/v1/payments", content=text, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_the_cap_is_exact(world: World) -> None:
    mandate = world.new_mandate(max_amount=500)
    refused(world.pay(501, mandate=mandate), "amount_exceeded")
    assert world.pay(500, mandate=mandate).status_code == 201


def test_purpose_currency_country_category_and_rail_are_held(world: World) -> None:
    mandate = world.new_mandate(purposes=["hosting"], countries=["BR"], categories=["hosting"], rails=["sandbox"])
    refused(world.pay(mandate=mandate, purpose="gifts"), "purpose_mismatch")
    refused(world.api.send("/v1/payments", world.body(mandate=mandate) | {"amount": {"amount": 5, "currency": "USD"}}), "currency_mismatch")
    refused(world.pay(mandate=mandate, rail="card"), "rail_mismatch")
    refused(world.pay(mandate=mandate, counterparty=world.new_counterparty(country="PT")), "country_mismatch")
    refused(world.pay(mandate=mandate, counterparty=world.new_counterparty(country=None)), "country_mismatch")
    refused(world.pay(mandate=mandate, counterparty=world.new_counterparty(category="gifts")), "category_mismatch")
    assert world.pay(mandate=mandate).status_code == 201


def test_a_counterparty_is_who_the_mandate_and_the_registry_say(world: World) -> None:
    name = "Hosting Ltda"
    payee = world.new_counterparty(name=name, accounts=[{"type": "pix_key", "value": "pay@hosting.example"}])
    mandate = world.new_mandate(counterparties=[payee])
    refused(world.pay(mandate=mandate), "counterparty_mismatch")
    for lie in ("Hosting Ltdа", "hosting ltda", "Hosting Ltda ", "Hosting  Ltda"):
        refused(world.pay(mandate=mandate, counterparty={"id": payee, "name": lie}), "counterparty_mismatch", "counterparty")
    refused(world.pay(mandate=mandate, counterparty={"id": payee, "account": "thief@x.example"}), "counterparty_mismatch", "counterparty")
    told = {"id": payee, "name": name, "country": "BR", "category": "hosting", "account": "pay@hosting.example"}
    assert world.pay(mandate=mandate, counterparty=told).status_code == 201


def test_a_mandate_ends_to_the_second_and_begins_to_the_second(world: World) -> None:
    short = world.new_mandate(expires_at=later(seconds=3))
    early = world.new_mandate(not_before=later(seconds=4))
    refused(world.pay(mandate=early), "mandate_not_yet_valid")
    assert world.pay(mandate=short).status_code == 201
    time.sleep(4)
    refused(world.pay(mandate=short), "mandate_expired")
    assert world.pay(mandate=early).status_code == 201


def test_a_paused_mandate_waits_for_its_resumption(world: World) -> None:
    world.people("oncall").post(f"/v1/mandates/{world.mandate}/pause")
    refused(world.pay(), "mandate_paused")
    assert world.people("oncall").send(f"/v1/mandates/{world.mandate}/resume").status_code == 403
    world.people().post(f"/v1/mandates/{world.mandate}/resume")
    assert world.pay().status_code == 201


def test_a_mandate_signed_by_another_organisation_is_refused(world: World) -> None:
    stranger = worlds.make(world.info, money=0)
    terms = credentials.Terms(
        id=world.mandate,
        org=world.org,
        project=world.project,
        agent=world.agent,
        livemode=False,
        profile="extended",
        currency="BRL",
        max_amount=10**9,
        expires_at=datetime.fromisoformat(later(days=1)),
        agent_jwk=sdjwt.public_jwk(world.agent_key),
    )
    kid, private = stranger.mandate_key()
    deployment = world.entries()[0]["content"]["deployment"]
    foreign = credentials.issue(terms=terms, deployment=deployment, kid=kid, private_key=private, now=datetime.now(UTC))
    assert world.pay(mandate=foreign).json()["code"] in ("unknown_key", "invalid_mandate")
    kids = [
        k["kid"] for k in httpx2.get(f"{world.info.base_url}/.well-known/jwks.json").json()["keys"] if k["org"] in (world.org, stranger.org)
    ]
    assert len(set(kids)) == 4


def test_a_leaked_mandate_spends_at_most_what_it_has_left(world: World) -> None:
    small, other = world.new_mandate(budget=1500, max_amount=1000), world.new_mandate(budget=3000)
    spent = [world.pay(500, mandate=small).status_code for _ in range(6)]
    assert spent == [201, 201, 201, 403, 403, 403]
    assert world.people().get(f"/v1/mandates/{other}")["spent"] == 0
    assert world.pay(3000, mandate=other).status_code == 201


def test_a_revocation_needs_a_reason_holds_at_once_and_leaves_a_signed_receipt(world: World) -> None:
    oncall, where = world.people("oncall"), f"/v1/mandates/{world.mandate}/revoke"
    assert world.pay().status_code == 201
    assert oncall.send(where, {}).status_code == 400
    assert oncall.send(where, {"reason": " "}).status_code == 400
    oncall.post(where, {"reason": "the agent was talked into something"})
    body = refused(world.pay(), "mandate_revoked", "stop")
    header, payload, signature = body["revocation_receipt"].split(".")
    found = json.loads(sdjwt.decode(payload))
    assert found["reason"] == "the agent was talked into something"
    assert found["sub"] == world.mandate
    assert found["initiator"].startswith("mem_")
    jwks = httpx2.get(f"{world.info.base_url}/.well-known/jwks.json?org={world.org}").json()["keys"]
    kid = json.loads(sdjwt.decode(header))["kid"]
    public = sdjwt.public_key({n: v for n, v in next(k for k in jwks if k["kid"] == kid).items() if n in ("kty", "crv", "x", "y")})
    assert sdjwt.claims(sdjwt.parse(body["revocation_receipt"]), key=public)["jti"].startswith("rev_")
    entry = next(e for e in world.entries() if e["kind"] == "mandate.revoked")
    assert entry["actor"] == found["initiator"]
    assert oncall.send(where, {"reason": "again"}).status_code == 409
    assert signature


def test_the_next_payment_after_a_revocation_is_refused_however_fast_it_comes(world: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            mandate = world.new_mandate()
            running = [pool.submit(world.pay, 10, mandate=mandate) for _ in range(8)]
            world.people().post(f"/v1/mandates/{mandate}/revoke", {"reason": "race"})
            refused(world.pay(10, mandate=mandate), "mandate_revoked", "stop")
            assert {r.result().status_code for r in running} <= {201, 403}
            seq = world.rows(
                "SELECT (SELECT max(e.seq) FROM holds h JOIN ledger_entries e ON e.org_id = h.org_id AND e.id = h.entry_id WHERE h.mandate_id = %s) AS held,"
                " (SELECT e.seq FROM revocations r JOIN ledger_entries e ON e.org_id = r.org_id AND e.id = r.entry_id WHERE r.scope_id = %s) AS revoked",
                raw_id(mandate),
                raw_id(mandate),
            )[0]
            assert seq["held"] is None or seq["held"] < seq["revoked"]


def presentation(world: World, *, amount: int, nonce: str, transaction: str, **changes: object) -> str:
    found = world.people().get(f"/v1/mandates/{world.mandate}")
    deployment = world.entries()[0]["content"]["deployment"]
    asked = {
        "credential": found["credential"],
        "agent_key": world.agent_key,
        "audience": f"{deployment}/test",
        "nonce": nonce,
        "transaction_id": transaction,
        "payee_id": world.counterparty,
        "payee_name": "anybody",
        "amount": amount,
        "currency": "BRL",
        "now": datetime.now(UTC),
    } | changes
    return credentials.present(**asked)


def test_a_presentation_pays_once_whatever_key_it_comes_under(world: World) -> None:
    shown = presentation(world, amount=700, nonce=secrets.token_urlsafe(24), transaction="order-1")
    first = world.pay(700, mandate=shown)
    assert first.status_code == 201, first.text
    again = world.pay(700, mandate=shown)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other_nonce = presentation(world, amount=700, nonce=secrets.token_urlsafe(24), transaction="order-1")
    assert world.pay(700, mandate=other_nonce).json()["id"] == first.json()["id"]
    assert len(world.provider_payments()) == 1


def test_a_nonce_or_a_transaction_that_paid_something_else_is_told_so(world: World) -> None:
    """Neither is the earlier payment given as the answer to another request, nor is the caller told to try again."""
    nonce = secrets.token_urlsafe(24)
    assert world.pay(700, mandate=presentation(world, amount=700, nonce=nonce, transaction="order-1")).status_code == 201
    for amount, again, transaction in ((700, nonce, "order-2"), (701, nonce, "order-2"), (701, secrets.token_urlsafe(24), "order-1")):
        answer = world.pay(amount, mandate=presentation(world, amount=amount, nonce=again, transaction=transaction))
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict"), answer.text
    assert len(world.provider_payments()) == 1


def test_a_presentation_says_what_is_paid_and_to_whom_and_is_for_this_place(world: World) -> None:
    nonce = secrets.token_urlsafe(24)
    refused(world.pay(701, mandate=presentation(world, amount=700, nonce=nonce, transaction="a")), "presentation_mismatch")
    refused(
        world.pay(700, mandate=presentation(world, amount=700, nonce=nonce, transaction="a", audience="elsewhere/test")), "invalid_mandate"
    )
    thief = ec.generate_private_key(ec.SECP256R1())
    refused(world.pay(700, mandate=presentation(world, amount=700, nonce=nonce, transaction="a", agent_key=thief)), "invalid_mandate")


def test_no_answer_log_or_row_shows_a_secret(world: World) -> None:
    """A rail's key, a webhook's secret, an access token, the master key: after a payment, a refusal and a failure."""
    world.fault("rubbish")
    answers = [world.pay().text, world.pay().text, world.pay(10**13).text]
    answers += [json.dumps(page) for page in (world.api.get("/v1/payments"), world.people().get("/v1/rail-accounts"), world.entries())]
    master = world.info.cluster.master_key_file().read_text().strip()
    logs = [path.read_text(errors="replace") for path in (world.info.folder / "logs").iterdir()]
    with world.db("super") as connection:
        tables = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'codespar'").fetchall()
        rows = [
            str(connection.execute(f"SELECT string_agg(t::text, E'\\n') AS s FROM codespar.\"{t['table_name']}\" t").fetchone())
            for t in tables
        ]
    for secret in (world.api_key, world.webhook_secret, world.tokens["agent"], world.tokens["owner"], master):
        assert not any(secret in text for text in answers), "in an answer"
        assert not any(secret in text for text in logs), "in a log"
        assert not any(secret in text for text in rows), "in a row"


def test_a_pure_mandate_pays_and_says_what_it_cannot_express(world: World) -> None:
    assert world.pay(mandate=world.new_mandate(profile="pure", budget=5000)).status_code == 201
    asked = {"agent": world.agent, "profile": "pure", "currency": "BRL", "max_amount": 1, "expires_at": later(days=1), "purposes": ["a"]}
    answer = world.people().send("/v1/mandates", asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "profile_cannot_express")


def test_a_row_that_was_edited_behind_the_signature_pays_nothing(world: World) -> None:
    mandate = world.new_mandate(max_amount=100)
    with world.db("super") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE codespar.mandates SET max_amount = 100000 WHERE id = %s", [raw_id(mandate)])
    refused(world.pay(50_000, mandate=mandate), "invalid_mandate")


def test_an_agents_token_on_the_consoles_doors_opens_nothing_more(world: World) -> None:
    agent = Api(world.info.console_url, world.tokens["agent"])
    assert agent.send(f"/v1/mandates/{world.mandate}/revoke", {"reason": "x"}).status_code == 403
    assert agent.send(f"/v1/wallets/{world.wallet}/fund", {"amount": {"amount": 1, "currency": "BRL"}}).status_code == 403
