"""A member that is named like a person's credential is refused by every operation, and what stood in it is nowhere afterwards."""

import json
import secrets
import subprocess
from typing import Any

import httpx2
import pytest

from tests.support import operations
from tests.support.operations import Furnished, Operation, client
from tests.support.problems import is_problem

TAKING = [operation for operation in operations.operations() if operation.takes_body]


def sent(furnished: Furnished, operation: Operation, body: dict[str, Any]) -> httpx2.Response:
    """The operation's own good body with more in it, to an object that is there."""
    target = furnished.ids.get(operation.parameter or "", "")
    with client(furnished.world.info, operation.service, furnished.token(operation.service)) as caller:
        return operation.send(caller, id=target, body=body)


@pytest.mark.parametrize("operation", TAKING, ids=str)
def test_every_operation_refuses_it_beside_what_it_takes_and_deep_inside(furnished: Furnished, operation: Operation) -> None:
    secret = f"hunter2-{secrets.token_hex(4)}"
    good = furnished.bodies()[operation.id]
    for extra, pointer in (
        ({"password": secret}, "/password"),
        ({"userPassword": secret}, "/userPassword"),
        ({"SENHA": secret}, "/SENHA"),
        ({"context": {"notes": [{"login": {"otp-code": secret}}]}}, "/context/notes/0/login/otp-code"),
        ({"secrets": {"api_key": "k", "pin": secret}}, "/secrets/pin"),
    ):
        found = is_problem(sent(furnished, operation, good | extra), 400, "credential_refused")
        assert [error["pointer"] for error in found["errors"]] == [pointer]
        assert secret not in json.dumps(found)


def test_a_parameter_of_that_name_is_refused_too(furnished: Furnished) -> None:
    with client(furnished.world.info, "api", furnished.world.tokens["agent"]) as agent:
        is_problem(agent.get("/v1/payments", params={"senha": "x"}), 400, "credential_refused")


def test_it_is_in_no_log_no_row_and_no_record(furnished: Furnished) -> None:
    world, secret = furnished.world, f"hunter2{secrets.token_hex(8)}"
    for operation in TAKING:
        sent(furnished, operation, furnished.bodies()[operation.id] | {"password": secret})
    # Where anything may stand, and would be kept.
    is_problem(world.pay(100, context={"shop": {"password": secret}}), 400, "credential_refused")
    found = subprocess.run(["grep", "-rl", secret, str(world.info.folder)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert secret not in json.dumps(world.entries())
    with world.db("super") as connection:
        tables = connection.execute("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'codespar'").fetchall()
        for table in tables:
            row = connection.execute(f"SELECT count(*) AS n FROM {table['name']} t WHERE t::text LIKE %s", [f"%{secret}%"]).fetchone()
            assert row == {"n": 0}, table
