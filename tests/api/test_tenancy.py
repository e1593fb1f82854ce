"""Nothing in a request names a tenant: another organisation's ids, and the other mode's, answer as if they were nobody's."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from psycopg import sql

from codespar.launcher.stack import StackInfo
from codespar.lib import ids
from tests.support import operations
from tests.support import world as worlds
from tests.support.books import superuser
from tests.support.operations import PREFIXES, SERVICES, Furnished, Json, Operation, client
from tests.support.problems import is_problem
from tests.support.world import World, later, raw_id

WITH_ID = [operation for operation in operations.operations() if operation.parameter]
LISTS = [operation for operation in operations.operations() if operation.lists]
# Written by the sealing of every organisation's chain, by reading its banks' statements, and by the use of a token: not by whoever attacks.
MOVING = {"ledger_checkpoints", "access_tokens", "reconciliations", "reconciliation_states", "statement_lines"}
# Members that are new in every answer.
NEW = {"id", "request_id", "created_at", "updated_at", "submit_by", "receipt"}
_TABLES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'
WHERE c.relnamespace = 'codespar'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1
"""


@pytest.fixture(scope="module")
def mallory(stack: StackInfo) -> Furnished:
    """Another organisation, with everything of its own."""
    return operations.furnish(worlds.make(stack))


def everything(world: World) -> dict[str, str]:
    """A digest of all rows of one organisation, by table."""
    with superuser(world) as connection:
        names = [row["name"] for row in connection.execute(_TABLES).fetchall()]
        found = {}
        for name in sorted(set(names) - MOVING):
            query = sql.SQL("SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) AS digest FROM {} t WHERE org_id = %s")
            row = connection.execute(query.format(sql.Identifier(name)), [raw_id(world.org)]).fetchone()
            found[name] = str(row and row["digest"])
    assert len(found) > 30
    return found


def unknown(prefix: str) -> str:
    return ids.wire(prefix, ids.new())


def plain(answer: httpx2.Response, *told: str) -> tuple[int, Any]:
    """An answer without what is new in every answer, and without the ids that the request itself said."""
    text = answer.text
    for one in told:
        text = text.replace(one, "<told>")
    return answer.status_code, _steady(json.loads(text))


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(item) for name, item in value.items() if name not in NEW}
    return [_steady(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("operation", WITH_ID, ids=str)
def test_another_tenants_id_in_a_path_is_nobodys(furnished: Furnished, mallory: Furnished, operation: Operation) -> None:
    """Every operation with an id, under a token with every scope: 404, the same words as for an id of nobody, and no row moves."""
    assert operation.parameter
    before, theirs, nobodys = everything(furnished.world), furnished.ids[operation.parameter], unknown(PREFIXES[operation.parameter])
    body = mallory.bodies()[operation.id] if operation.takes_body else None
    with client(mallory.world.info, operation.service, mallory.token(operation.service)) as caller:
        answer = operation.send(caller, id=theirs, body=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text
        assert plain(answer, theirs) == plain(operation.send(caller, id=nobodys, body=body), nobodys)
    assert everything(furnished.world) == before


def in_bodies(mine: Furnished, theirs: dict[str, str]) -> dict[str, tuple[str, str, Callable[[str], Json]]]:
    """Every member of a body that takes an id: (operation, the id that is put there, the body with an id in that place)."""
    bodies = mine.bodies()

    def put(operation: str, member: str) -> Callable[[str], Json]:
        return lambda id: bodies[operation] | {member: id}

    def policy(scope: str) -> Callable[[str], Json]:
        return lambda id: bodies["policies_create"] | {"scope": scope, "scope_id": id}

    return {
        "payment's mandate": ("payments_create", theirs["mandate"], put("payments_create", "mandate")),
        "payment's counterparty": ("payments_create", theirs["counterparty"], put("payments_create", "counterparty")),
        "agent's project": ("agents_create", theirs["project"], put("agents_create", "project")),
        "mandate's agent": ("mandates_issue", theirs["agent"], put("mandates_issue", "agent")),
        "mandate's counterparty": (
            "mandates_issue",
            theirs["counterparty"],
            lambda id: bodies["mandates_issue"] | {"counterparties": [id]},
        ),
        "token's agent": ("tokens_create", theirs["agent"], put("tokens_create", "holder")),
        "token's member": ("tokens_create", theirs["member"], put("tokens_create", "holder")),
        "wallet's agent": ("wallets_create", theirs["agent"], put("wallets_create", "agent")),
        "policy's project": ("policies_create", theirs["project"], policy("project")),
        "policy's agent": ("policies_create", theirs["agent"], policy("agent")),
        "policy's organisation": ("policies_create", theirs["org"], policy("org")),
    }


def test_the_list_of_ids_in_bodies_is_whole() -> None:
    """Every member of a request that the contract describes as an id is tried below."""
    found = set()
    for service in SERVICES:
        for name, schema in operations.document(service)["components"]["schemas"].items():
            if name.endswith("Request"):
                found |= {
                    (name, m) for m, said in schema["properties"].items() if re.search(r"(agt|prj|mem|mnd|ctp|pol|wal|pay)[_|)]", str(said))
                }
    tried = {("AgentInRequest", "project"), ("MandateInRequest", "agent"), ("MandateInRequest", "counterparties")}
    tried |= {("PaymentInRequest", "counterparty"), ("TokenInRequest", "holder"), ("WalletInRequest", "agent")}
    assert found - {("AccountInRequest", "id")} == tried, "an account's id is a name within its counterparty"


def test_another_tenants_id_in_a_body_is_nobodys(furnished: Furnished, mallory: Furnished) -> None:
    known = {one.id: one for one in operations.operations()}
    theirs = furnished.ids | {"org": furnished.world.org}
    before = everything(furnished.world)
    for what, (name, id, body) in in_bodies(mallory, theirs).items():
        operation, nobodys = known[name], unknown(id.partition("_")[0])
        with client(mallory.world.info, operation.service, mallory.token(operation.service)) as caller:
            answer = operation.send(caller, body=body(id))
            assert answer.status_code in (400, 403, 404), f"{what}: {answer.text}"
            assert plain(answer, id) == plain(operation.send(caller, body=body(nobodys)), nobodys), what
            assert not [one for one in furnished.all_ids if one in answer.text and one != id], what
    assert everything(furnished.world) == before


def test_another_tenants_signed_mandate_is_refused(furnished: Furnished, mallory: Furnished) -> None:
    """Its bytes are real and its signature is good: it is still not a mandate of this organisation."""
    credential = furnished.world.people().get(f"/v1/mandates/{furnished.world.mandate}")["credential"]
    before = everything(furnished.world)
    answer = mallory.world.pay(100, mandate=credential)
    assert answer.status_code == 403, answer.text
    assert answer.json()["payment"]["mandate"] is None
    answer = furnished.world.pay(100, mandate=mallory.world.mandate)
    assert answer.status_code == 403, answer.text
    assert everything(furnished.world)["accounts"] == before["accounts"]


SAID = ("org", "org_id", "organisation", "tenant", "tenant_id", "project_id", "livemode")


def test_a_tenant_said_by_the_caller_is_never_believed(furnished: Furnished, mallory: Furnished) -> None:
    """In a body and in the query it is refused; in headers nobody reads it: the answer is the caller's own."""
    theirs, caller = furnished.world.org, mallory.world
    for name in SAID:
        answer = caller.pay(100, **{name: theirs})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, f"/{name}"), answer.text
    headers = dict.fromkeys(
        ("X-Org-Id", "X-Organisation", "X-Tenant-Id", "Codespar-Org", "X-Project-Id", "X-Forwarded-User", "X-Actor"), theirs
    )
    for operation in LISTS:
        path = f"{operation.at(mallory.ids)}?limit=50"
        with client(caller.info, operation.service, mallory.token(operation.service)) as plainly:
            for name in SAID:
                is_problem(plainly.get(f"{path}&{name}={theirs}"), 400, "invalid_request")
            expected, said = (plainly.get(path, headers=more).json()["data"] for more in ({}, headers))
        # The token that asks is among the rows.
        used = {"last_used_at": None}
        assert [row | used for row in said] == [row | used for row in expected], operation


@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_no_list_shows_another_tenants_rows(furnished: Furnished, mallory: Furnished, operation: Operation) -> None:
    shown = {}
    for one in (furnished, mallory):
        with client(one.world.info, operation.service, one.token(operation.service)) as caller:
            path = operation.at(one.ids)
            shown[one.world.org] = caller.get(f"{path}?limit=100")
    rows = {org: {row["id"] for row in answer.json()["data"]} for org, answer in shown.items()}
    assert all(rows.values()) and not set.intersection(*rows.values())
    if operation.id != "ledger_entries_list":  # a record quotes what its caller asked for
        assert not [id for id in furnished.all_ids if id in shown[mallory.world.org].text]
        assert not [id for id in mallory.all_ids if id in shown[furnished.world.org].text]


def test_nobody_approves_denies_cancels_or_refunds_another_tenants_payment(furnished: Furnished, mallory: Furnished) -> None:
    people, before = mallory.world.people(), everything(furnished.world)
    for payment in (furnished.waiting, furnished.ids["payment"]):
        for verb, body in (("approve", {}), ("deny", {"reason": "no"}), ("cancel", {}), ("refund", {})):
            assert people.send(f"/v1/payments/{payment}/{verb}", body).status_code == 404
    assert everything(furnished.world) == before
    assert furnished.world.payment(furnished.waiting)["status"] == "requires_approval"


# What belongs to a person or to the whole organisation, and so to both modes.
BOTH_MODES = {"members_list", "members_get", "members_change_roles", "members_close", "ledger_entries_list", "ledger_entries_get"}


def test_a_live_token_sees_nothing_of_test_and_the_other_way_round(furnished: Furnished) -> None:
    info, world = furnished.world.info, furnished.world
    with client(info, "console", world.tokens["owner_live"]) as live, client(info, "console", world.tokens["owner"]) as test:
        made = live.post("/v1/projects", json={"name": "live"}).json()["id"]
        jwk = {"name": "live", "project": made, "public_jwk": operations.jwk()}
        agent = live.post("/v1/agents", json=jwk).json()["id"]
        token = live.post("/v1/tokens", json={"holder": agent, "name": "live", "expires_at": later(days=1)}).json()
        wallet = live.post("/v1/wallets", json={"agent": agent, "currency": "BRL"}).json()["id"]
        others = {"project": made, "agent": agent, "token": token["id"], "wallet": wallet}
        bodies = furnished.bodies()
        for operation in operations.operations("console"):
            if operation.id in BOTH_MODES or operation.public:
                continue
            if operation.parameter:
                body = bodies[operation.id] if operation.takes_body else None
                assert operation.send(live, id=furnished.ids[operation.parameter], body=body).status_code == 404, operation
                if operation.parameter in others:
                    assert operation.send(test, id=others[operation.parameter], body=body).status_code == 404, operation
            elif operation.lists:
                rows = live.get(f"{operation.path}?limit=100").json()["data"]
                assert all(row["livemode"] for row in rows) and not {row["id"] for row in rows} & set(furnished.all_ids), operation
                assert not any(row["livemode"] for row in test.get(f"{operation.path}?limit=100").json()["data"]), operation
    with client(info, "api", token["token"]) as agent_live:
        for path in ("payments", "mandates", "counterparties"):
            assert agent_live.get(f"/v1/{path}").json()["data"] == []
        assert agent_live.get(f"/v1/payments/{furnished.ids['payment']}").status_code == 404
        refused = agent_live.post("/v1/payments", json=world.body(100), headers={"Idempotency-Key": "live-to-test"})
        assert refused.status_code == 403, refused.text


def test_a_live_token_cannot_use_tests_ids_in_bodies(furnished: Furnished) -> None:
    known = {one.id: one for one in operations.operations("console")}
    with client(furnished.world.info, "console", furnished.world.tokens["owner_live"]) as live:
        for what, (name, id, body) in in_bodies(furnished, furnished.ids | {"org": unknown("org")}).items():
            if name in known and "member" not in what:
                answer = known[name].send(live, body=body(id))
                assert answer.status_code in (400, 404), f"{what}: {answer.text}"


def test_one_agent_sees_and_uses_nothing_of_another(furnished: Furnished) -> None:
    world = furnished.world
    _, wallet, rival = world.new_agent()
    seen: dict[str, Any] = {path: rival.get(f"/v1/{path}")["data"] for path in ("payments", "mandates", "wallets")}
    assert seen["payments"] == seen["mandates"] == [] and [row["id"] for row in seen["wallets"]] == [wallet]
    for path in ("payments/{payment}", "mandates/{mandate}", "wallets/{wallet}", "wallets/{wallet}/statement"):
        where = f"/v1/{path.format(**furnished.ids)}"
        assert rival._http.get(where).status_code == 404, where
        assert world.api._http.get(where).status_code == 200, where
    assert rival.send(f"/v1/payments/{furnished.waiting}/cancel").status_code == 404
    answer = rival.send("/v1/payments", world.body(100))
    assert (answer.status_code, answer.json()["code"]) == (403, "agent_mismatch"), answer.text
    main = next(row["id"] for row in world.people().get("/v1/wallets?limit=100")["data"] if row["kind"] == "main")
    assert world.api._http.get(f"/v1/wallets/{main}").status_code == 404
    assert main not in world.api._http.get("/v1/wallets?limit=100").text


def test_the_key_list_of_one_organisation_holds_no_others_keys(furnished: Furnished, mallory: Furnished) -> None:
    with client(furnished.world.info, "api") as anybody:
        keys = anybody.get("/.well-known/jwks.json", params={"org": mallory.world.org}).json()["keys"]
        assert {key["org"] for key in keys} == {mallory.world.org}
        assert anybody.get("/.well-known/jwks.json", params={"org": unknown("org")}).json()["keys"] == []
        assert not any("d" in key for key in anybody.get("/.well-known/jwks.json").json()["keys"])
