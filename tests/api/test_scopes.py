"""Least privilege: each operation needs exactly the scope that its view names, and a member's roles bound every token of theirs."""

from functools import cache
from typing import Any

import pytest

from codespar.identity import access
from codespar.launcher.stack import StackInfo
from codespar.lib import clock, ids
from codespar.lib.errors import Conflict
from tests.support import operations
from tests.support import world as worlds
from tests.support.operations import SERVICES, Furnished, Operation, client
from tests.support.world import World, later, raw_id

CLOSED = [operation for operation in operations.operations() if not operation.public]
NOBODY = "0" * 32


@cache
def scopes() -> dict[str, str]:
    """The scope that each operation needs, as its view says it, by service, method and path."""
    from codespar.alerts import urls as alerts
    from codespar.audit import urls as audit
    from codespar.identity import urls as identity
    from ledger import urls as ledger
    from mandates import urls as mandates
    from rails import urls as rails
    from wallets import urls as wallets

    served = {
        "api": [*rails.agents, *mandates.agents, *wallets.agents],
        "console": [
            *rails.people,
            *mandates.people,
            *wallets.people,
            *identity.urlpatterns,
            *ledger.urlpatterns,
            *audit.urlpatterns,
            *alerts.urlpatterns,
        ],
    }
    found: dict[str, str] = {}
    for service, patterns in served.items():
        for pattern in patterns:
            path = "/" + str(pattern.pattern).replace("<str:", "{").replace(">", "}")
            view: Any = pattern.callback
            found |= {f"{service} {method} {path}": scope for method, scope in view.view_class.scopes.items()}
    return found


def needed(operation: Operation) -> str:
    return scopes()[f"{operation.service} {operation.method} {operation.path}"]


def nothing(operation: Operation) -> dict[str, Any]:
    """A request that no scope lets do anything: a malformed body, or an id of nobody."""
    prefix = operations.PREFIXES.get(operation.parameter or "", "")
    return {"id": f"{prefix}_{NOBODY}", "body": {"nonsense": 1} if operation.takes_body else None}


def said(operation: Operation, info: StackInfo, token: str) -> tuple[int, str, str | None]:
    with client(info, operation.service, token) as caller:
        answer = operation.send(caller, **nothing(operation))
    body = answer.json() if "json" in answer.headers["content-type"] else {}
    return answer.status_code, body.get("code", ""), body.get("scope")


def test_the_contract_and_the_views_know_the_same_operations(stack: StackInfo) -> None:
    assert {f"{one.service} {one.method} {one.path}" for one in CLOSED} == set(scopes())
    assert set(scopes().values()) == set(access.SCOPES), "a scope that opens nothing, or a view with an unknown one"


def test_reading_needs_a_scope_to_read_and_changing_one_to_change(stack: StackInfo) -> None:
    """And the scope is of the thing that the address names; a provider's account is part of a project's set-up, a revocation is
    of mandates and read with the stops."""
    for operation in CLOSED:
        thing, _, verb = needed(operation).partition(":")
        # Taking a copy reads the ledger, and more of it than its lists show: that has a scope of its own.
        # So has a look into an account at a bank.
        assert (verb in ("read", "export", "use")) == (operation.method == "GET"), operation
        named = operation.path.split("/")[2]
        others = {"revocations": ("stops", "mandates"), "rulings": ("payments",), "webhook-endpoints": ("webhooks",)}
        assert thing in {"rail-accounts": ("rails", "projects"), **others}.get(named, (named,)), operation
    for verb, operation_id in (("approve", "payments_approve"), ("approve", "payments_deny"), ("refund", "payments_refund")):
        assert {needed(one) for one in CLOSED if one.id == operation_id} == {f"payments:{verb}"}
    assert [one.id for one in CLOSED if needed(one).endswith(":export")] == ["ledger_export"]
    looks = {"consents_accounts", "consents_balances", "consents_transactions"}
    assert {one.id for one in CLOSED if needed(one).endswith(":use")} == looks


def test_the_matrix_of_roles_is_the_databases_and_the_documents(shared_world: World) -> None:
    rows = shared_world.rows("SELECT role, scope FROM role_scopes")
    assert {(row["role"], row["scope"]) for row in rows} == {(role, scope) for role, all in access.ROLES.items() for scope in all}
    assert access.matrix() in (operations.DOCS / "access.md").read_text()


@pytest.fixture(scope="module")
def minted(furnished: Furnished) -> dict[str, dict[str, str]]:
    """For each scope two tokens that have, of everything their holder could have, `all_but` that scope, and `only` that scope."""
    world, found = furnished.world, {}
    owner = next(row["id"] for row in world.people().get("/v1/members")["data"] if row["roles"] == ["owner"])
    for scope in access.SCOPES:
        holder, all = (owner, access.ROLES["owner"]) if scope in access.ROLES["owner"] else (world.agent, access.ROLES["agent"])
        found[scope] = {"all_but": mint(world, holder, all - {scope}), "only": mint(world, holder, {scope})}
    for scope in access.ROLES["agent"]:
        found[f"agent {scope}"] = {
            "all_but": mint(world, world.agent, access.ROLES["agent"] - {scope}),
            "only": mint(world, world.agent, {scope}),
        }
    return found


def mint(world: World, holder: str, scopes: Any) -> str:
    made = world.people().post("/v1/tokens", {"holder": holder, "name": "s", "scopes": sorted(scopes), "expires_at": later(hours=1)})
    return str(made["token"])


@pytest.mark.parametrize("operation", CLOSED, ids=str)
def test_every_scope_but_the_needed_one_opens_nothing(
    furnished: Furnished, minted: dict[str, dict[str, str]], operation: Operation
) -> None:
    scope, info = needed(operation), furnished.world.info
    holder = f"agent {scope}" if operation.service == "api" else scope
    assert said(operation, info, minted[holder]["all_but"]) == (403, "scope_missing", scope)
    status, code, _ = said(operation, info, minted[holder]["only"])
    assert status in (200, 400, 404), f"{scope} alone opens {operation}: {code}"
    assert status == 200 or operation.parameter or operation.takes_body


@pytest.mark.parametrize("role", access.MEMBER_ROLES)
def test_a_role_opens_what_the_matrix_says_and_nothing_else(furnished: Furnished, role: str) -> None:
    world = furnished.world
    world.people(role)
    for operation in CLOSED:
        code = said(operation, world.info, world.tokens[role])[1]
        assert (code != "scope_missing") == (needed(operation) in access.ROLES[role]), f"{role} and {operation}: {code}"


def test_an_agents_token_opens_its_seven_scopes_on_both_services(furnished: Furnished) -> None:
    for operation in CLOSED:
        code = said(operation, furnished.world.info, furnished.world.tokens["agent"])[1]
        assert (code != "scope_missing") == (needed(operation) in access.ROLES["agent"]), f"{operation}: {code}"


@pytest.mark.parametrize("service", SERVICES)
def test_without_a_token_nothing_opens(stack: StackInfo, service: str) -> None:
    with client(stack, service) as anybody:
        for operation in operations.operations(service):
            answer = operation.send(anybody, **nothing(operation))
            if operation.public:
                assert answer.status_code == 200, operation
            else:
                assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), operation
                assert answer.headers["www-authenticate"] == 'Bearer realm="codespar"'


# No privilege climbs through tokens.


@pytest.fixture
def people(world: World) -> dict[str, str]:
    """A member of each role, with a token: member ids by role."""
    for role in access.MEMBER_ROLES:
        world.people(role)
    return {row["roles"][0]: row["id"] for row in world.people().get("/v1/members")["data"]}


def test_no_role_but_the_owner_makes_a_token_that_can_do_more(world: World, people: dict[str, str]) -> None:
    for role in ("operator", "finance", "oncall", "auditor"):
        caller, ask = world.people(role), {"name": "climb", "expires_at": later(hours=1)}
        for other in set(access.MEMBER_ROLES) - {role}:
            answer = caller.send("/v1/tokens", ask | {"holder": people[other], "scopes": ["payments:read"]})
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing"), f"{role} for {other}: {answer.text}"
        for scope in sorted(set(access.SCOPES) - access.ROLES[role]):
            answer = caller.send("/v1/tokens", ask | {"holder": people[role], "scopes": [scope]})
            assert answer.status_code in (400, 403), f"{role} took {scope}: {answer.text}"
        assert caller.send("/v1/tokens", ask | {"holder": people[role]}).status_code == 201
        expected = 201 if "agents:write" in access.ROLES[role] else 403
        assert caller.send("/v1/tokens", ask | {"holder": world.agent}).status_code == expected


def test_a_narrow_token_does_not_widen_itself(world: World, people: dict[str, str]) -> None:
    narrow = mint(world, people["finance"], {"tokens:write", "payments:read"})
    with client(world.info, "console", narrow) as caller:
        ask = {"name": "wider", "holder": people["finance"], "expires_at": later(hours=1)}
        assert caller.post("/v1/tokens", json=ask).status_code == 403
        assert caller.post("/v1/tokens", json=ask | {"scopes": ["payments:approve"]}).status_code == 403
        wide = next(row["id"] for row in world.people().get("/v1/tokens")["data"] if row["name"] == "finance")
        assert caller.post(f"/v1/tokens/{wide}/rotate", json={}).status_code == 403
        made = caller.post("/v1/tokens", json=ask | {"scopes": ["payments:read"]})
        assert made.json()["scopes"] == ["payments:read"]


def test_nobody_rotates_or_revokes_a_stronger_members_token(world: World, people: dict[str, str]) -> None:
    tokens = {row["name"]: row["id"] for row in world.people().get("/v1/tokens?limit=100")["data"]}
    for role in ("operator", "finance", "oncall", "auditor"):
        with client(world.info, "console", world.tokens[role]) as caller:
            for name in ("first owner", *(set(access.MEMBER_ROLES) - {role, "owner"})):
                assert caller.post(f"/v1/tokens/{tokens[name]}/rotate", json={}).status_code == 403, f"{role} {name}"
                assert caller.delete(f"/v1/tokens/{tokens[name]}").status_code == 404, f"{role} {name}"
    assert world.people().get(f"/v1/tokens/{tokens['finance']}")["revoked_at"] is None


def test_an_agents_token_has_no_persons_scope(world: World) -> None:
    for scope in sorted(set(access.SCOPES) - access.ROLES["agent"]):
        ask = {"holder": world.agent, "name": "x", "scopes": [scope], "expires_at": later(hours=1)}
        answer = world.people().send("/v1/tokens", ask)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/scopes"), answer.text
    with client(world.info, "api", world.tokens["agent"]) as agent:
        assert agent.post("/v1/tokens", json={}).status_code == 404


def test_nobody_changes_their_own_roles_or_closes_themselves(world: World, people: dict[str, str]) -> None:
    with client(world.info, "console", world.tokens["owner"]) as owner:
        assert owner.patch(f"/v1/members/{people['owner']}", json={"roles": ["owner", "finance"]}).status_code == 409
        assert owner.delete(f"/v1/members/{people['owner']}").status_code == 409
        assert owner.get(f"/v1/members/{people['owner']}").json()["roles"] == ["owner"]


def test_a_test_token_does_nothing_to_a_member_who_holds_a_live_one(world: World, people: dict[str, str]) -> None:
    from codespar.identity import actions, principals

    member, body = people["finance"], {"holder": people["finance"], "name": "live", "expires_at": later(hours=1)}
    with client(world.info, "console", world.tokens["owner_live"]) as live, client(world.info, "console", world.tokens["owner"]) as test:
        made = live.post("/v1/tokens", json=body).json()
        for answer in (test.patch(f"/v1/members/{member}", json={"roles": ["owner"]}), test.delete(f"/v1/members/{member}")):
            assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict"), answer.text
            assert "only a live token" in answer.json()["detail"]
        for target in (member, people["owner"]):
            caller = principals.authenticate(world.tokens["owner"], request_id=ids.wire("req", ids.new()))
            with pytest.raises(Conflict, match="only a live token"):
                actions.set_login(caller, member=raw_id(target), password="a long pass phrase", now=clock.now())
        with client(world.info, "console", made["token"]) as finance:
            assert finance.get("/v1/members").status_code == 200
        assert live.patch(f"/v1/members/{member}", json={"roles": ["finance", "auditor"]}).status_code == 200
        assert live.delete(f"/v1/tokens/{made['id']}").status_code == 200
        assert test.patch(f"/v1/members/{member}", json={"roles": ["finance"]}).status_code == 200


def test_a_change_of_roles_holds_from_the_next_call(world: World, people: dict[str, str]) -> None:
    with client(world.info, "console", world.tokens["owner"]) as owner, client(world.info, "console", world.tokens["finance"]) as finance:
        ask = {"document": worlds.OPEN_POLICY}
        for roles, expected in ((["auditor"], 403), (["finance"], 201), (["auditor", "oncall"], 403), (["auditor", "finance"], 201)):
            assert owner.patch(f"/v1/members/{people['finance']}", json={"roles": roles}).status_code == 200
            assert finance.post(f"/v1/policies/{world.policy}/versions", json=ask).status_code == expected, roles
        # More roles give an old token no more scopes than it was made with.
        owner.patch(f"/v1/members/{people['finance']}", json={"roles": ["owner"]})
        assert finance.post("/v1/projects", json={"name": "x"}).json()["code"] == "scope_missing"


def test_a_closed_members_tokens_die_with_it(world: World, people: dict[str, str]) -> None:
    spare = mint(world, people["finance"], {"payments:read"})
    with client(world.info, "console", world.tokens["owner"]) as owner:
        assert owner.delete(f"/v1/members/{people['finance']}").json()["closed_at"]
        assert owner.delete(f"/v1/members/{people['finance']}").status_code == 404
    for token in (spare, world.tokens["finance"]):
        with client(world.info, "console", token) as closed:
            assert closed.get("/v1/payments").status_code == 401


def test_nobody_makes_a_token_for_a_closed_member(world: World, people: dict[str, str]) -> None:
    with client(world.info, "console", world.tokens["owner"]) as owner:
        owner.delete(f"/v1/members/{people['oncall']}")
        ask = {"holder": people["oncall"], "name": "x", "scopes": ["payments:read"], "expires_at": later(hours=1)}
        assert owner.post("/v1/tokens", json=ask).status_code == 404
