"""What every answer has in common: a request id, problems that teach, strict bodies, pages, methods."""

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from codespar.launcher.stack import StackInfo
from tests.support import operations
from tests.support.operations import SERVICES, Furnished, Operation, client
from tests.support.problems import is_problem
from tests.support.world import BRL, World, key

JSON = {"Content-Type": "application/json"}


def post(world: World, raw: bytes | str, path: str = "/v1/payments", **headers: str) -> httpx2.Response:
    with client(world.info, "api", world.tokens["agent"], **{"Idempotency-Key": key()} | JSON | headers) as agent:
        return agent.post(path, content=raw)


def test_every_answer_has_a_request_id_of_its_own(furnished: Furnished) -> None:
    seen = set()
    for service in SERVICES:
        with client(furnished.world.info, service, furnished.token(service)) as caller:
            for operation in operations.operations(service):
                if operation.method == "GET":
                    answer = operation.send(caller, id=furnished.ids[operation.parameter] if operation.parameter else "")
                    assert answer.status_code == (404 if operation.id == operations.SELLS else 200), operation
                    seen.add(answer.headers["request-id"])
            for path in (
                "/",
                "/v1",
                "/v1/nothing",
                "/v1/payments/",
                "/.env",
                "/openapi.json",
                "/v1/payments?limit=0",
                "/%00",
                "/v1/%ff%fe",
            ):
                seen.add(caller.get(path, headers={"Request-Id": "req_mine", "X-Request-Id": "mine"}).headers["request-id"])
    assert len(seen) > 40 and all(len(one) == 36 and one.startswith("req_") and one != "req_mine" for one in seen)


def test_each_kind_of_refusal_is_a_problem(furnished: Furnished) -> None:
    world = furnished.world
    with client(world.info, "api", world.tokens["agent"]) as agent, client(world.info, "console", world.tokens["owner"]) as owner:
        is_problem(agent.post("/v1/payments", json={}), 400, "idempotency_key_required")
        is_problem(agent.get("/v1/payments", headers={"Authorization": "Bearer x"}), 401, "unauthenticated")
        assert is_problem(owner.post("/v1/counterparties", json={}), 400)["errors"]
        is_problem(agent.get("/v1/nothing"), 404, "not_found")
        is_problem(agent.get("/"), 404, "not_found")
        is_problem(agent.get("/v1/payments/pay_1"), 404, "not_found")
        is_problem(agent.delete("/v1/payments"), 405, "method_not_allowed")
        is_problem(agent.get("/v1/payments", headers={"Accept": "text/html"}), 406, "not_acceptable")
        is_problem(owner.post(f"/v1/payments/{furnished.ids['payment']}/cancel"), 409, "state_conflict")
        is_problem(post(world, b"a=1", **{"Content-Type": "application/x-www-form-urlencoded"}), 415, "unsupported_media_type")
        is_problem(post(world, b"{}", **{"Content-Type": "text/plain"}), 415, "unsupported_media_type")
        again = key()
        assert world.pay(100, again).status_code == 201
        is_problem(world.pay(101, again), 422, "idempotency_conflict")
        denied = is_problem(world.pay(10**12), 403)
        assert denied["payment"]["status"] == "denied" and denied["reasons"]


def test_a_query_parameter_that_is_not_known_or_repeated_is_refused_by_name(furnished: Furnished) -> None:
    """A misspelt filter that is ignored shows other rows than were asked for; a misspelt dry_run pays."""
    for operation in operations.operations():
        with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
            caller.params = {"limit_": "5"}
            id = furnished.ids[operation.parameter] if operation.parameter else ""
            answer = operation.send(caller, id=id, body={} if operation.takes_body else None)
            assert "'limit_'" in is_problem(answer, 400, "invalid_request")["detail"], operation
    world = furnished.world
    before = world.rows("SELECT count(*) AS n FROM payments")
    for said in ("dry-run=true", "dry_run=true&dry_run=false", "dry_run=true&limit=1", "DRY_RUN=true", "dry_run=1", "dry_run="):
        with client(world.info, "api", world.tokens["agent"], **{"Idempotency-Key": key()}) as agent:
            is_problem(agent.post(f"/v1/payments?{said}", json=world.body(100)), 400, "invalid_request")
    assert world.rows("SELECT count(*) AS n FROM payments") == before


def test_a_method_that_is_not_there_names_those_that_are(furnished: Furnished) -> None:
    known: dict[tuple[str, str], set[str]] = {}
    for operation in operations.operations():
        known.setdefault((operation.service, operation.path), set()).add(operation.method)
    for (service, path), methods in known.items():
        with client(furnished.world.info, service, furnished.token(service)) as caller:
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - methods:
                where = Operation(service, method, path, "", False, False, False)
                answer = where.send(caller, id="x_0", content=b"{}" if method in ("POST", "PUT", "PATCH") else None, headers=JSON)
                is_problem(answer, 405, "method_not_allowed")
                assert methods <= set(answer.headers["allow"].split(", ")), path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_ledger_has_no_verb_that_changes_it(furnished: Furnished, method: str) -> None:
    before = furnished.world.entries()
    with client(furnished.world.info, "console", furnished.world.tokens["owner"]) as owner:
        for path in ("/v1/ledger/entries", f"/v1/ledger/entries/{furnished.ids['entry']}"):
            is_problem(owner.request(method, path, json={"kind": "nothing"}), 405, "method_not_allowed")
    assert furnished.world.entries() == before


TOO_DEEP = [30_000, 990, 500, 350, 200]
BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "a word": b"payment",
    "cut": b'{"mandate": "mnd_',
    "a list": b"[]",
    "a number": b"1",
    "text": b'"x"',
    "null": b"null",
    "a name twice": b'{"purpose": "a", "purpose": "b"}',
    "a name twice, escaped": b'{"purpose": "a", "purp\\u006fse": "b"}',
    "a name twice, inside": b'{"amount": {"amount": 1, "amount": 2, "currency": "BRL"}}',
    "NaN": b'{"amount": NaN}',
    "Infinity": b'{"amount": -Infinity}',
    "a number too large for a float": b'{"amount": 1e400}',
    "a huge integer": b'{"amount": ' + b"9" * 5000 + b"}",
    "an integer past 2^53": b'{"context": {"n": 9007199254740993}}',
    "a byte order mark": b'\xef\xbb\xbf{"purpose": "a"}',
    "UTF-16": '{"purpose": "a"}'.encode("utf-16"),
    "UTF-32": '{"purpose": "a"}'.encode("utf-32-le"),
    "Latin-1": b'{"memo": "caf\xe9"}',
    "an overlong byte": b'{"memo": "\xc0\xaf"}',
    "a lone surrogate": b'{"memo": "\\ud800"}',
    "a lone surrogate as a name": b'{"\\udfff": 1}',
    "a raw surrogate": b'{"memo": "\xed\xa0\x80"}',
    "a comment": b'{"memo": "a" /* b */}',
    "a comma too many": b'{"memo": "a",}',
    "more after the end": b'{"memo": "a"} {}',
    "a control character": b'{"memo": "\x01"}',
} | {f"{levels} levels": b'{"context": ' + b'{"a":' * levels + b"1" + b"}" * levels + b"}" for levels in TOO_DEEP}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_body_that_two_readers_could_read_differently_is_refused(shared_world: World, body: bytes) -> None:
    is_problem(post(shared_world, body), 400)
    with client(shared_world.info, "console", shared_world.tokens["owner"], **JSON) as owner:
        is_problem(owner.post("/v1/projects", content=body), 400)


@pytest.mark.parametrize("levels", TOO_DEEP)
def test_nesting_is_kept_or_refused_but_breaks_nothing(shared_world: World, levels: int) -> None:
    deep = b'{"a":' * levels + b"1" + b"}" * levels
    answer = post(shared_world, json.dumps(shared_world.body(context=0)).encode().replace(b'"context": 0', b'"context": ' + deep))
    assert answer.status_code == 201 or is_problem(answer, 400)["code"] == "invalid_request", answer.text


def test_text_with_nul_is_refused_wherever_it_stands(furnished: Furnished) -> None:
    """Postgres has no NUL in text: it is a malformed request, not a broken server."""
    for operation in operations.operations():
        if operation.takes_body:
            body = furnished.bodies()[operation.id]
            for name, value in body.items():
                if isinstance(value, str):
                    with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
                        id = furnished.ids[operation.parameter] if operation.parameter else ""
                        answer = operation.send(caller, id=id, body=body | {name: value[:-1] + "\x00"})
                        is_problem(answer, 400)
                        assert answer.json()["errors"][0]["pointer"].startswith(f"/{name}"), answer.text
    answer = furnished.world.pay(100, memo="a\x00b")
    assert is_problem(answer, 400)["errors"][0]["pointer"] == "/memo"
    paid = furnished.world.pay(100, context={"deep": ["a\x00b"]})
    assert paid.status_code in (201, 400), paid.text


HIDDEN = {
    "a bell": "\x07",
    "an escape": "\x1b[31m",
    "a return": "\r",
    "a C1 control": "\x85",
    "an override": "\u202e",
    "an isolate": "\u2066",
}
ONE_LINE = {
    "a line feed": "\n",
    "a tab": "\t",
    "a zero-width space": "\u200b",
    "a line separator": "\u2028",
    "a private character": "\ue000",
}


@pytest.mark.parametrize("hidden", HIDDEN | ONE_LINE)
def test_a_name_is_what_is_seen_of_it(furnished: Furnished, hidden: str) -> None:
    """Whoever confirms a counterparty or revokes a token goes by its name."""
    named = {
        operation.id: operation for operation in operations.operations("console") if "name" in (furnished.bodies().get(operation.id) or {})
    }
    assert len(named) >= 6, "projects, agents, members, tokens, counterparties, policies"
    with client(furnished.world.info, "console", furnished.world.tokens["owner"]) as owner:
        for id, operation in named.items():
            place = furnished.ids[operation.parameter] if operation.parameter else ""
            body = furnished.bodies()[id] | {"name": f"Acme{(HIDDEN | ONE_LINE)[hidden]}Ltda"}
            refused = is_problem(operation.send(owner, id=place, body=body), 400, "invalid_request")
            assert [(error["pointer"], "printable" in error["detail"]) for error in refused["errors"]] == [("/name", True)], operation


def test_memos_and_reasons_have_lines_and_nothing_hidden(furnished: Furnished) -> None:
    world = furnished.world
    denied = world.pay(10**12, memo="one\n\ttwo, três 三 👩\u200d💻")
    assert denied.status_code == 403, denied.text
    mandate = world.new_mandate()
    for text in HIDDEN.values():
        refused = is_problem(world.pay(100, memo=f"a{text}b"), 400, "invalid_request")
        assert refused["errors"][0]["pointer"] == "/memo" and "line feeds and tabs" in refused["detail"]
        assert pointer(world, f"/v1/mandates/{mandate}/revoke", {"reason": f"a{text}b"}) == "/reason"
    assert world.people().send(f"/v1/mandates/{mandate}/revoke", {"reason": "over\n\tand out"}).status_code in (200, 201)


def test_unknown_members_are_refused_where_they_stand(furnished: Furnished) -> None:
    for operation in operations.operations():
        if operation.takes_body:
            with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
                id = furnished.ids[operation.parameter] if operation.parameter else ""
                answer = operation.send(caller, id=id, body=furnished.bodies()[operation.id] | {"aproved": True})
                assert [error["pointer"] for error in is_problem(answer, 400)["errors"]] == ["/aproved"], operation
    world = furnished.world
    answer = world.pay(amount=1, counterparty={"id": world.counterparty, "approved": True})
    assert is_problem(answer, 400)["errors"][0]["pointer"] == "/counterparty/approved"
    answer = world.api.send("/v1/payments", world.body() | {"amount": {"amount": 1, "currency": BRL, "decimals": 2}})
    assert is_problem(answer, 400)["errors"][0]["pointer"] == "/amount/decimals"
    answer = world.api.send("/v1/payments", world.body() | {"a/b~c": 1})
    assert is_problem(answer, 400)["errors"][0]["pointer"] == "/a~1b~0c", "RFC 6901"


def pointer(world: World, path: str, body: dict[str, Any]) -> str:
    answer = world.people().send(path, body)
    return str(is_problem(answer, 400)["errors"][0]["pointer"])


@pytest.mark.parametrize(
    ("rule", "where"),
    [
        ({"id": "x", "effect": "deny", "a/b~c": 1}, "/a~1b~0c"),
        ({"id": "x", "effect": "deny", "when": {"a/b~c": ["x"]}}, "/when/a~1b~0c"),
        ({"id": "x", "effect": "deny", "when": {"countries": ["BR", "Brazil"]}}, "/when/countries/1"),
    ],
)
def test_a_pointer_leads_to_the_member_of_a_rule(shared_world: World, rule: dict[str, Any], where: str) -> None:
    body = {"name": "p", "scope": "org", "document": {"rules": [rule]}}
    assert pointer(shared_world, "/v1/policies", body) == f"/document/rules/0{where}"


@pytest.mark.parametrize(("change", "where"), [({"d": "x"}, "/d"), ({"x": "short"}, "/x"), ({"crv": "P-384"}, "")])
def test_a_pointer_leads_to_the_member_of_a_key(shared_world: World, change: dict[str, str], where: str) -> None:
    body = {"project": shared_world.project, "name": "a", "public_jwk": operations.jwk() | change}
    assert pointer(shared_world, "/v1/agents", body) == f"/public_jwk{where}"


@pytest.mark.parametrize("value", [None, [], [1], "text", 1, True, [[]], [{}]], ids=str)
def test_a_member_of_the_wrong_type_is_named(furnished: Furnished, value: Any) -> None:
    for operation in operations.operations():
        if operation.takes_body:
            body = furnished.bodies()[operation.id]
            with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
                id = furnished.ids[operation.parameter] if operation.parameter else ""
                for name, good in body.items():
                    if type(value) is not type(good):
                        answer = operation.send(caller, id=id, body=body | {name: value})
                        pointers = [error["pointer"] for error in is_problem(answer, 400)["errors"]]
                        assert pointers and all(pointer.startswith(f"/{name}") for pointer in pointers), (
                            f"{operation} {name}: {answer.text}"
                        )


@pytest.mark.parametrize("size", [262_145, 300_000, 3_000_000])
def test_a_body_that_is_too_large_is_not_read(shared_world: World, size: int) -> None:
    bare = len(json.dumps(shared_world.body(memo="")))
    is_problem(post(shared_world, json.dumps(shared_world.body(memo="a" * (size - bare)))), 413, "request_too_large")
    is_problem(post(shared_world, json.dumps(shared_world.body(memo="a" * (262_144 - bare)))), 400, "invalid_request")
    with client(shared_world.info, "console", shared_world.tokens["owner"], **JSON) as owner:
        is_problem(owner.post("/v1/projects", content=json.dumps({"name": "a" * size})), 413, "request_too_large")


def test_a_body_without_a_length_is_read_or_refused_but_breaks_nothing(shared_world: World) -> None:
    parts = [json.dumps(shared_world.body()).encode()]
    with client(shared_world.info, "api", shared_world.tokens["agent"], **{"Idempotency-Key": key()} | JSON) as agent:
        assert agent.post("/v1/payments", content=iter(parts)).status_code in (201, 400, 411)
        answer = agent.post("/v1/payments", content=iter([b" " * 100_000] * 4 + parts))
        assert answer.status_code in (400, 411, 413), answer.text


@pytest.mark.parametrize("head", ["", "Authorization: Bearer x\r\n"], ids=["no token", "a bad token"])
def test_a_refusal_that_came_before_the_body_spoils_no_later_request(stack: StackInfo, head: str) -> None:
    """What was not read closes the connection: the answer says so, or the next request on it would be lost."""
    url = urlsplit(stack.base_url)
    with socket.create_connection((str(url.hostname), int(url.port or 0)), timeout=5) as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.sendall(f"POST /v1/payments HTTP/1.1\r\nHost: x\r\n{head}Content-Length: 2\r\n\r\n".encode())
        time.sleep(0.05)
        raw.sendall(b"{}")
        answer = b""
        while not answer.endswith(b"0\r\n\r\n"):
            answer += raw.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 401") and b"connection: close" in answer.lower()


@pytest.mark.parametrize("name", ["", "a" * 256, "caf\xe9", "a\tb"], ids=repr)
def test_an_odd_idempotency_key_is_refused(shared_world: World, name: str) -> None:
    with client(shared_world.info, "api", shared_world.tokens["agent"]) as agent:
        answer = agent.post("/v1/payments", json=shared_world.body(), headers=[(b"Idempotency-Key", name.encode("latin-1"))])
        is_problem(answer, 400)


# Lists.

LISTS = [operation for operation in operations.operations() if operation.lists]


@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_a_list_is_walked_from_its_newest_to_its_end(furnished: Furnished, operation: Operation) -> None:
    with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
        path = operation.at(furnished.ids)
        every = [row["id"] for row in caller.get(f"{path}?limit=100").json()["data"]]
        walked: list[str] = []
        where: str | None = f"{path}?limit=1"
        while where:
            page = caller.get(where).json()
            assert set(page) == {"data", "has_more", "next_page_url"} and len(page["data"]) == 1
            assert page["has_more"] == (page["next_page_url"] is not None)
            walked += [row["id"] for row in page["data"]]
            where = page["next_page_url"]
    assert walked == every and len(set(every)) == len(every)
    ascending = operation.id == "ledger_entries_list"
    assert ascending or every == sorted(every, reverse=True), "newest first"


@pytest.mark.parametrize("operation", LISTS, ids=str)
def test_odd_limits_and_cursors_are_refused(furnished: Furnished, operation: Operation) -> None:
    with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
        path = operation.at(furnished.ids)
        for limit in ("0", "101", "abc", "-1", "1.5", "", " 1", "1e1", "٣", "000001000000", "9" * 400, "%00"):
            is_problem(caller.get(f"{path}?limit={limit}"), 400, "invalid_request")
        name = "after_seq" if operation.id == "ledger_entries_list" else "cursor"
        for cursor in ("x", "1e3", "pay_1", "-1", "'%20OR%201=1", "%00", f"req_{'0' * 32}", "9" * 40):
            is_problem(caller.get(f"{path}?{name}={cursor}"), 400, "invalid_request")


# What anybody may read.


@pytest.mark.parametrize("service", SERVICES)
def test_status_counts_the_real_routes_and_needs_no_token(stack: StackInfo, service: str) -> None:
    from codespar import __version__
    from ledger.kinds import KINDS

    with client(stack, service) as anybody:
        answer = anybody.get("/v1/status")
    found = operations.operations(service)
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "version": __version__,
        "contracts": {
            "paths": len({one.path for one in found if one.path.startswith("/v1/")}),
            "operations": len(found),
            "record_kinds": len(KINDS),
        },
        "checks": {"database": "ok", "queue": "ok", "ledger": "ok"},
    }


@pytest.mark.parametrize("service", SERVICES)
def test_the_contract_is_read_and_nothing_else(stack: StackInfo, service: str) -> None:
    with client(stack, service) as anybody:
        answer = anybody.get("/openapi.json")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "max-age=300")
        assert anybody.head("/openapi.json").status_code == 200
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
            refused = anybody.request(method, "/openapi.json")
            is_problem(refused, 405, "method_not_allowed")
            assert "max-age" not in refused.headers.get("cache-control", ""), "a refusal is not the contract"
        assert "'version'" in is_problem(anybody.get("/openapi.json?version=1"), 400, "invalid_request")["detail"]


def test_published_keys_verify_what_was_signed(furnished: Furnished) -> None:
    with client(furnished.world.info, "api") as anybody:
        keys = anybody.get("/.well-known/jwks.json", params={"org": furnished.world.org}).json()["keys"]
        is_problem(anybody.get("/.well-known/jwks.json?org=x"), 400)
    kids = {one["kid"]: one for one in keys}
    mandate = furnished.world.people().get(f"/v1/mandates/{furnished.world.mandate}")
    assert kids[mandate["kid"]]["alg"] == "ES256"
    entry = furnished.world.people().get(f"/v1/ledger/entries/{furnished.ids['entry']}")
    assert kids[entry["kid"]]["alg"] == "Ed25519"
