"""Many payments at once: each is decided and answered by itself, sees the ones before it, and has a key of its own."""

import base64
import hashlib
import threading
from typing import Any

import pytest
import rfc8785

from codespar.demo.client import Api
from tests.support import books, verifying
from tests.support import world as worlds
from tests.support.world import BRL, World, raw_id

PAID = (201, 202)
ALLOW = {"id": "all", "effect": "allow"}


def item(world: World, amount: int, **changes: Any) -> dict[str, Any]:
    return {"idempotency_key": worlds.key(), **world.body(amount, **changes)}


def send(world: World, items: list[Any], key: str | None = None, api: Api | None = None) -> dict[str, Any]:
    answer = (api or world.api).send("/v1/payments/batch", {"payments": items}, key or worlds.key())
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def told(found: dict[str, Any]) -> list[tuple[int, str]]:
    """Status and code of each answer; what was paid is (202, authorized), however far it has come since."""
    return [(202, "authorized") if one["status"] in PAID else (one["status"], one["body"]["code"]) for one in found["data"]]


def test_a_line_that_is_refused_drops_no_other(world: World) -> None:
    """Four lines, the second over the mandate's amount: the others settle, and the whole list stands under one hash."""
    items = [item(world, 101), item(world, 10**9 + 1), item(world, 103), item(world, 104)]
    found = send(world, items)
    assert told(found) == [(202, "authorized"), (403, "amount_exceeded"), (202, "authorized"), (202, "authorized")]
    payments = [one["body"]["id"] for one in found["data"] if one["status"] in PAID]
    assert [world.settled(payment)["status"] for payment in payments] == ["settled"] * 3
    assert sorted(one["amount"] for one in world.provider_payments()) == [101, 103, 104]
    assert found["list_sha256"] == hashlib.sha256(rfc8785.dumps(items)).hexdigest()
    [entry] = [entry for entry in world.entries() if entry["kind"] == "payments.batch_received"]
    assert (entry["subject"], entry["content"]["data"]["list_sha256"], entry["content"]["data"]["count"]) == (
        found["id"],
        found["list_sha256"],
        4,
    )
    assert verifying.complaints(world) == []


def test_a_line_that_cannot_be_read_drops_no_other(world: World) -> None:
    twice = item(world, 5)
    items: list[Any] = [
        item(world, 1),
        "rubbish",
        {**item(world, 2), "amount": {"amount": "2", "currency": BRL}},
        world.body(3),
        {**item(world, 4), "idempotency_key": ""},
        {**item(world, 4), "pan": "x"},
        {**item(world, 4), "mandate": "mnd_1"},
        twice,
        twice,
        {**twice, "amount": {"amount": 6, "currency": BRL}},
    ]
    found = send(world, items)
    bad = (400, "invalid_request")
    required = (400, "idempotency_key_required")
    paid = (202, "authorized")
    assert told(found) == [paid, bad, bad, bad, required, bad, bad, paid, paid, (422, "idempotency_conflict")]
    assert found["data"][7]["body"]["id"] == found["data"][8]["body"]["id"]
    assert [error["pointer"] for error in found["data"][2]["body"]["errors"]] == ["/amount/amount"]
    for payment in (found["data"][0]["body"]["id"], found["data"][7]["body"]["id"]):
        world.settled(payment)
    assert sorted(one["amount"] for one in world.provider_payments()) == [1, 5]


def test_each_line_sees_the_ones_before_it(world: World) -> None:
    """A limit of the day, a mandate's budget, its uses, and the wallet, each crossed in the middle of a batch."""
    world.set_policy(ALLOW, {"id": "day", "effect": "limit", "window": "day", "currency": BRL, "max_amount": 1000})
    over = (403, "limit_day")
    assert told(send(world, [item(world, amount) for amount in (400, 400, 300, 200, 1)])) == [
        (202, "authorized"),
        (202, "authorized"),
        over,
        (202, "authorized"),
        over,
    ]
    world.set_policy(ALLOW, {"id": "cap", "effect": "limit", "window": "payment", "currency": BRL, "max_amount": 10**9})
    budget = world.new_mandate(budget=500)
    assert [
        code
        for _, code in told(
            send(world, [item(world, 300, mandate=budget), item(world, 300, mandate=budget), item(world, 200, mandate=budget)])
        )
    ] == [
        "authorized",
        "budget_exhausted",
        "authorized",
    ]
    uses = world.new_mandate(max_uses=2)
    assert [code for _, code in told(send(world, [item(world, 1, mandate=uses) for _ in range(3)]))] == ["authorized"] * 2 + [
        "uses_exhausted"
    ]
    left = world.balance()[0]
    found = send(world, [item(world, left - 10), item(world, 11), item(world, 10)])
    assert [code for _, code in told(found)] == ["authorized", "insufficient_funds", "authorized"]
    for one in found["data"]:
        if one["status"] in PAID:
            world.settled(one["body"]["id"])
    assert world.balance() == (0, 0)
    assert books.faults(world) == []


def test_a_repeated_batch_pays_nothing_again_and_says_the_same(world: World) -> None:
    key, items = worlds.key(), [item(world, 11), item(world, 10**9 + 1), item(world, 13)]
    first = send(world, items, key)
    for one in first["data"]:
        if one["status"] in PAID:
            world.settled(one["body"]["id"])
    before = len(world.entries())
    assert send(world, items, key) == first
    # Each line is the payment that it would be alone, under the same key.
    alone = {name: value for name, value in items[2].items() if name != "idempotency_key"}
    answer = world.api.send("/v1/payments", alone, items[2]["idempotency_key"])
    assert (answer.status_code, answer.json()) == (first["data"][2]["status"], first["data"][2]["body"])
    assert len(world.entries()) == before
    other = world.api.send("/v1/payments/batch", {"payments": items[:1]}, key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
    assert sorted(one["amount"] for one in world.provider_payments()) == [11, 13]


@pytest.mark.parametrize("items", [[], None, "x", {}, [1] * 129])
def test_a_list_of_another_size_is_refused_whole(world: World, items: Any) -> None:
    answer = world.api.send("/v1/payments/batch", {"payments": items}, worlds.key())
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert "128" in answer.text or items is None


def test_a_whole_batch_of_128_fits_beside_others(world: World) -> None:
    """Two batches of the same lines in opposite order, and single payments between them: no deadlock, nothing twice, every limit exact."""
    world.set_policy(ALLOW, {"id": "day", "effect": "limit", "window": "day", "currency": BRL, "max_amount": 200, "per": ["counterparty"]})
    payees = [world.counterparty, world.new_counterparty()]
    mandates = [world.mandate, world.new_mandate()]
    lines = [{"counterparty": payees[n % 2], "mandate": mandates[n // 2 % 2]} for n in range(128)]
    answers: list[tuple[int, str]] = []

    def batch(order: list[dict[str, Any]]) -> None:
        api = Api(world.info.base_url, world.tokens["agent"])
        answers.extend(told(send(world, [item(world, 3, **line) for line in order], api=api)))

    def single() -> None:
        api = Api(world.info.base_url, world.tokens["agent"])
        for line in lines[:8]:
            made = api._http.post(
                "/v1/payments", json=world.body(3, **line), headers={"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
            )
            answers.append((made.status_code, made.json().get("code") or made.json()["status"]))

    threads = [
        threading.Thread(target=batch, args=(lines,)),
        threading.Thread(target=batch, args=(lines[::-1],)),
        threading.Thread(target=single),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 128 * 2 + 8
    allowed = [answer for answer in answers if answer[0] in PAID]
    # 200 minor units for each of two payees, in payments of three.
    assert len(allowed) == 2 * (200 // 3), answers
    assert {answer for answer in answers if answer not in allowed} == {(403, "limit_day")}
    stored = world.rows(
        "SELECT count(*) AS n, sum(amount) AS total FROM payments WHERE status <> 'denied' AND org_id = %s", raw_id(world.org)
    )
    assert (stored[0]["n"], stored[0]["total"]) == (132, 396)
    ends = [world.settled(f"pay_{row['id'].hex}", 90)["status"] for row in world.rows("SELECT id FROM payments WHERE status <> 'denied'")]
    # A busy machine may let some expire before they leave; what was booked is what settled.
    assert set(ends) <= {"settled", "expired"}, ends
    assert len(world.provider_payments()) == ends.count("settled") > 0
    assert books.faults(world) == []


def test_a_batch_is_an_agents_and_in_its_own_name(world: World) -> None:
    _, _, other = world.new_agent()
    found = send(world, [item(world, 7)], api=other)
    assert told(found) == [(403, "agent_mismatch")]
    denied = world.people().send("/v1/payments/batch", {"payments": [item(world, 7)]}, worlds.key())
    assert denied.status_code == 405
    keyless = world.api._http.post("/v1/payments/batch", json={"payments": [item(world, 7)]})
    assert (keyless.status_code, keyless.json()["code"]) == (400, "idempotency_key_required")


def test_a_card_number_in_any_line_refuses_the_list(world: World) -> None:
    number = base64.b64decode("NDI0MjQyNDI0MjQyNDI0Mg==").decode()
    answer = world.api.send("/v1/payments/batch", {"payments": [item(world, 7), item(world, 7, memo=number)]}, worlds.key())
    assert (answer.status_code, answer.json()["code"]) == (400, "card_number_refused")
    assert number not in answer.text
    assert world.provider_payments() == []
