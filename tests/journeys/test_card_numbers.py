"""A card number in any field of any request is refused, and is nowhere afterwards."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.world import World

PAN = "4111111111111111"
SPELLED = "4111 1111-1111.1111"


def paying(world: World, **changes: Any) -> httpx2.Response:
    return world.pay(100, **changes)


FIELDS: dict[str, Callable[[World, str], httpx2.Response]] = {
    "memo": lambda w, pan: paying(w, memo=f"use my card {pan} please"),
    "reference": lambda w, pan: paying(w, reference=pan),
    "context": lambda w, pan: paying(w, context={"notes": [{"deep": {"card": pan}}]}),
    "a name in context": lambda w, pan: paying(w, context={pan: "x"}),
    "purpose": lambda w, pan: paying(w, purpose=pan),
    "mandate": lambda w, pan: paying(w, mandate=pan),
    "counterparty": lambda w, pan: paying(w, counterparty=pan),
    "what is said of the counterparty": lambda w, pan: paying(w, counterparty={"id": w.counterparty, "account": pan}),
    "rail": lambda w, pan: paying(w, rail=pan),
    "amount": lambda w, pan: w.api.send("/v1/payments", w.body() | {"amount": {"amount": int(PAN), "currency": "BRL"}}),
    "an unknown member": lambda w, pan: paying(w, card=pan),
    "idempotency key": lambda w, pan: w.pay(100, idempotency_key=pan),
    "path": lambda w, pan: w.api._http.get(f"/v1/payments/{pan}"),
    "query": lambda w, pan: w.api._http.get("/v1/payments", params={"limit": pan}),
    "the name of a parameter": lambda w, pan: w.api._http.get("/v1/payments", params={pan: "1"}),
    "a header": lambda w, pan: w.api._http.get("/v1/payments", headers={"X-Note": pan}),
    "a counterparty's name": lambda w, pan: w.people().send("/v1/counterparties", {"name": pan, "accounts": []}),
    "a counterparty's account": lambda w, pan: w.people().send(
        "/v1/counterparties", {"name": "x", "accounts": [{"type": "pix_key", "value": pan}]}
    ),
    "a reason": lambda w, pan: w.people().send("/v1/stops", {"scope": "org", "reason": f"lost card {pan}"}),
    "a rail account": lambda w, pan: w.people().send(
        "/v1/rail-accounts", {"rail": "card", "account": pan, "api_key": "k", "webhook_secret": "whsec_c2VjcmV0"}
    ),
}


@pytest.mark.parametrize("pan", [PAN, SPELLED])
@pytest.mark.parametrize("field", FIELDS)
def test_it_is_refused_and_not_repeated(shared_world: World, field: str, pan: str) -> None:
    answer = FIELDS[field](shared_world, pan)
    assert (answer.status_code, answer.json()["code"]) == (400, "card_number_refused"), answer.text
    assert PAN not in answer.text.replace(" ", "").replace("-", "").replace(".", "")


def test_what_only_looks_like_one_is_taken(shared_world: World) -> None:
    answer = shared_world.pay(4111, memo="invoice 4111111111111112, phone +55 11 98765-4321, E9999900420260102150412345678901")
    assert answer.status_code == 201, answer.text


def test_it_is_in_no_log_no_row_and_no_record(shared_world: World) -> None:
    for field in FIELDS.values():
        field(shared_world, PAN)
    logs = shared_world.info.folder
    found = subprocess.run(["grep", "-rl", PAN, str(logs)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
    dumped = json.dumps(shared_world.entries())
    assert PAN not in dumped
    with shared_world.db("super") as connection:
        tables = connection.execute("SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'codespar'").fetchall()
        for table in tables:
            row = connection.execute(f"SELECT count(*) AS n FROM {table['name']} t WHERE t::text LIKE %s", [f"%{PAN}%"]).fetchone()
            assert row == {"n": 0}, table
