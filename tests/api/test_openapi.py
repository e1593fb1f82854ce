"""The contract is what the services say, is valid OpenAPI 3.1, and no request gets an answer that is not in it."""

from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from codespar.launcher.stack import StackInfo
from tests.support import operations
from tests.support.operations import DOCS, SERVICES, Furnished, Json, client
from tests.support.parallel import together
from tests.support.world import BRL, key, later

# A malformed request may also be one that is too large.
REFUSED = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 429]
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})
API, CONSOLE = (schemathesis.openapi.from_path(DOCS / f"openapi.{service}.json", config=CONFIG) for service in SERVICES)
# A schema says the form of a currency, a time or a key; whether it exists, lies ahead or is on the curve is told by a 400.
UNCHECKED: list[CheckFunction] = [positive_data_acceptance]
LIVE = "rail_accounts_create"
bounded = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("service", SERVICES)
def test_the_served_contract_is_the_committed_one_and_valid(stack: StackInfo, service: str) -> None:
    with client(stack, service) as anybody:
        served = anybody.get("/openapi.json").json()
    assert served == operations.document(service)
    assert served["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(served).validate()


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_has_a_name_of_its_own_and_says_its_answers(service: str) -> None:
    found = operations.operations(service)
    assert len({one.id for one in found}) == len(found) > 10
    for path, methods in operations.document(service)["paths"].items():
        for method, said in methods.items():
            good = [status for status in said["responses"] if status.startswith("2")]
            assert good and all("content" in said["responses"][status] for status in good), f"{method} {path}"


@pytest.mark.parametrize("service", SERVICES)
def test_the_good_answer_of_every_operation_is_as_the_contract_says(furnished: Furnished, service: str) -> None:
    schema, bodies = {"api": API, "console": CONSOLE}[service], furnished.bodies()
    world = furnished.world
    with client(world.info, service, furnished.token(service)) as caller:
        for operation in [one for one in operations.operations(service) if one.id != operations.SELLS]:
            # There is one account at a rail in each mode, and test has its own.
            caller.headers["Authorization"] = f"Bearer {world.tokens['owner_live'] if operation.id == LIVE else furnished.token(service)}"
            body = bodies[operation.id] if operation.takes_body else None
            answer = operation.send(caller, id=furnished.target(operation), body=body)
            assert answer.status_code in (200, 201), f"{operation}: {answer.text}"
            schema[operation.path][operation.method].validate_response(answer)


def real(case: Any, furnished: Furnished) -> None:
    """Point a well-formed request at things that exist, so that it gets past the door."""
    for name in case.path_parameters or {}:
        # Some stay as they were made: nothing is there.
        if len(str(case.path_parameters[name])) % 4:
            case.path_parameters[name] = furnished.ids[name]
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = key()
    if isinstance(case.body, dict):
        case.body = {name: _real(name, value, furnished) for name, value in case.body.items()}


def _real(name: str, value: Any, furnished: Furnished) -> Any:
    known: Json = {
        "agent": furnished.ids["agent"],
        "project": furnished.ids["project"],
        "holder": furnished.ids["agent"],
        "mandate": furnished.ids["mandate"],
        "counterparty": furnished.ids["counterparty"],
        "counterparties": [furnished.ids["counterparty"]],
        "public_jwk": operations.jwk(),
        "expires_at": later(days=2),
        "not_before": later(days=1),
        "currency": BRL,
        "countries": ["BR"],
        "country": "BR",
        "scopes": ["payments:read"],
    }
    if isinstance(value, dict) and set(value) == {"amount", "currency"}:
        return {"amount": value["amount"], "currency": BRL}
    return known.get(name, value)


def hold_to_the_contract(case: Any, furnished: Furnished, service: str, session: requests.Session) -> None:
    if case.meta.generation.mode == GenerationMode.POSITIVE:
        real(case, furnished)
    headers = {"Authorization": f"Bearer {furnished.token(service)}"}
    base = getattr(furnished.world.info, "base_url" if service == "api" else "console_url")
    answer = case.call_and_validate(base_url=base, headers=headers, session=session, timeout=30, excluded_checks=UNCHECKED)
    assert answer.headers["request-id"][0].startswith("req_")


@pytest.fixture(scope="module")
def session() -> Any:
    with requests.Session() as kept:
        yield kept


@API.parametrize()
@bounded
def test_agents_requests_are_answered_as_the_contract_says(case: Any, furnished: Furnished, session: requests.Session) -> None:
    hold_to_the_contract(case, furnished, "api", session)


@CONSOLE.parametrize()
@bounded
def test_peoples_requests_are_answered_as_the_contract_says(case: Any, furnished: Furnished, session: requests.Session) -> None:
    hold_to_the_contract(case, furnished, "console", session)


def test_the_contract_is_made_once_whoever_asks_first(stack: StackInfo) -> None:
    """The generator fails when two threads use it, as the first requests to a new process would."""
    from codespar import public

    for _ in range(3):
        public._document.cache_clear()
        assert len({id(found) for found in together([public.document] * 8)}) == 1


def test_the_contract_is_read_by_anybody_and_cached(stack: StackInfo) -> None:
    answer = httpx2.get(f"{stack.base_url}/openapi.json")
    assert answer.headers["cache-control"] == "max-age=300"
