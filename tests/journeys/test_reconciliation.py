"""The provider's own records against ours: what does not agree is shown, and stays until a named person closes it."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from codespar.launcher.cluster import PROJECT
from codespar.launcher.stack import StackInfo
from tests.support import verifying
from tests.support import world as worlds
from tests.support.reconciling import edit, extra, reconciled
from tests.support.world import World, raw_id


@pytest.fixture
def world(stack: StackInfo) -> World:
    return worlds.make(stack)


@pytest.fixture(autouse=True)
def _no_faults_left(stack: StackInfo) -> Any:
    yield
    httpx2.delete(f"{stack.sandbox_url}/_control", timeout=10)


def settled(world: World, amount: int = 1000) -> tuple[str, str]:
    """A payment that settled long enough ago to stand in a statement: (payment, our key at the bank)."""
    payment = world.settled(world.pay(amount).json()["id"])
    assert payment["status"] == "settled"
    [booked] = [one for one in world.provider_payments() if one["reference"] == payment["id"]]
    return payment["id"], booked["key"]


def unmatched(world: World) -> int:
    """Lines that agree with nothing yet."""
    return int(world.rows("SELECT count(*) AS n FROM statement_lines WHERE current AND NOT matched")[0]["n"])


def cases(world: World) -> list[dict[str, Any]]:
    return list(world.people("finance").get("/v1/discrepancies?limit=100")["data"])


def resolve(world: World, case: dict[str, Any], reason: str = "looked at") -> httpx2.Response:
    return world.people("finance").send(f"/v1/discrepancies/{case['id']}/resolve", {"verdict": "both", "reason": reason})


def test_what_agrees_opens_nothing(world: World) -> None:
    payment, _ = settled(world)
    world.people().post(f"/v1/payments/{payment}/refund", {"amount": {"amount": 300, "currency": "BRL"}})
    until = time.monotonic() + 20
    while world.payment(payment)["refunded"]["amount"] < 300:
        assert time.monotonic() < until
        time.sleep(0.1)
    run = reconciled(world)
    assert (run["status"], run["opened"], run["open"], unmatched(world)) == ("done", 0, 0, 0)
    again = reconciled(world)
    assert (again["status"], again["matched"], again["closing"], again["expected"]) == ("done", 0, 999_300, 999_300)
    assert cases(world) == []


@pytest.mark.parametrize(
    ("change", "values", "kind", "theirs"),
    [
        ("amount", {"amount": -1001}, "amount", {"amount": -1001}),
        ("currency", {"currency": "USD"}, "currency", {"currency": "USD"}),
        ("payee", {"payee": "eve@example.com"}, "payee", {"payee": "eve@example.com"}),
        ("duplicate", {}, "duplicate", {"lines": 2, "amount": -2000}),
        ("at", {"at": (datetime.now(UTC) + timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")}, "late", {}),
    ],
)
@pytest.mark.parametrize("read", [False, True])
def test_a_line_that_says_something_else_is_shown(
    world: World, change: str, values: dict[str, Any], kind: str, theirs: dict[str, Any], read: bool
) -> None:
    """Before anybody has read it, and after it was read and had agreed."""
    payment, key = settled(world)
    if read:
        assert (reconciled(world)["status"], unmatched(world)) == ("done", 0)
    edit(world, key, change, **values)
    assert reconciled(world)["opened"] == 1
    [case] = cases(world)
    assert (case["kind"], case["payment"], case["status"]) == (kind, payment, "open")
    assert {name: case["theirs"][name] for name in theirs} == theirs
    assert case["ours"]["amount"] == -1000
    # It is one case, for ever, and the engine never closes it.
    assert [reconciled(world)["opened"] for _ in range(2)] == [0, 0]
    assert [one["id"] for one in cases(world)] == [case["id"]]
    assert world.payment(payment)["status"] == "settled"


def test_a_payment_that_the_bank_never_made_and_one_that_it_made_by_itself_are_shown(world: World) -> None:
    payment, key = settled(world)
    reconciled(world)
    edit(world, key, "remove")
    added = {"amount": -77, "currency": "BRL", "payee": "eve@example.com", "at": "2026-11-01T00:00:00Z"}
    edit(world, "neverasked", "add", **added)
    until = time.monotonic() + 20
    while len(found := {case["kind"]: case for case in cases(world)}) < 2:
        # What settled a moment ago is not missed yet.
        assert time.monotonic() < until, found
        reconciled(world)
    assert set(found) == {"missing", "extra"}
    assert found["missing"]["payment"] == payment
    assert (found["extra"]["payment"], found["extra"]["theirs"]["amount"], found["extra"]["theirs"]["payee"]) == (
        None,
        -77,
        "eve@example.com",
    )


def test_money_that_moved_for_a_payment_that_we_hold_as_over_is_shown(world: World) -> None:
    world.fault("decline")
    payment = world.settled(world.pay(900).json()["id"])
    assert payment["status"] == "failed"
    [booked] = [one for one in world.provider_payments() if one["reference"] == payment["id"]]
    reconciled(world)
    edit(world, booked["key"], "add", amount=-900, currency="BRL", payee=booked["payee"]["key"], at="2026-11-01T00:00:00Z")
    reconciled(world)
    [case] = cases(world)
    assert (case["kind"], case["payment"], case["ours"]["status"]) == ("status", payment["id"], "failed")


def test_a_statement_that_does_not_add_up_opens_one_case_and_matches_nothing(world: World) -> None:
    settled(world)
    world.fault("statement_gap", key=world.account, count=2)
    first, second = reconciled(world), reconciled(world)
    assert [(run["status"], run["matched"]) for run in (first, second)] == [("incomplete", 0)] * 2
    assert [case["kind"] for case in cases(world)] == ["incomplete"]
    assert (reconciled(world)["status"], unmatched(world)) == ("done", 0)


def test_what_could_not_be_settled_by_asking_is_settled_by_the_statement(world: World) -> None:
    """The bank booked it, its answer was lost, and it denies the key to every question: the statement has it under our key."""
    world.fault("disconnect_after")
    world.fault("not_found_once", count=1000)
    headers = {"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
    payment = world.api._http.post("/v1/payments", json=world.body(800), headers=headers).json()["id"]
    assert world.settled(payment, among=("authorized", "submitted"))["status"] == "uncertain"
    reconciled(world)
    assert world.settled(payment)["status"] == "settled"
    results = "SELECT source FROM attempt_results r JOIN attempts a ON a.org_id = r.org_id AND a.id = r.attempt_id WHERE a.payment_id = %s"
    assert "statement" in [row["source"] for row in world.rows(results, raw_id(payment))]
    assert (reconciled(world)["status"], unmatched(world)) == ("done", 0)
    assert verifying.complaints(world) == []


@pytest.mark.parametrize("change", [{"amount": -801}, {"currency": "USD"}, {"payee": "eve@example.com"}])
def test_a_statement_settles_nothing_that_differs_in_any_field(world: World, change: dict[str, Any]) -> None:
    world.fault("disconnect_after")
    world.fault("not_found_once", count=1000)
    headers = {"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
    payment = world.api._http.post("/v1/payments", json=world.body(800), headers=headers).json()["id"]
    world.settled(payment, among=("authorized", "submitted"))
    [booked] = [one for one in world.provider_payments() if one["reference"] == payment]
    [name] = change
    edit(world, booked["key"], name, **change)
    reconciled(world)
    assert world.payment(payment)["status"] == "uncertain"
    assert [case["kind"] for case in cases(world)] == [name]


def test_only_a_named_person_closes_a_case_once_and_with_a_reason(world: World) -> None:
    _, key = settled(world)
    edit(world, key, "amount", amount=-1)
    reconciled(world)
    [case] = cases(world)
    path = f"/v1/discrepancies/{case['id']}/resolve"
    assert world.people("finance").send(path, {"verdict": "ours", "reason": ""}).status_code == 400
    assert world.people("finance").send(path, {"verdict": "nobody", "reason": "x"}).status_code == 400
    for role in ("oncall", "auditor", "operator"):
        assert world.people(role).send(path, {"verdict": "ours", "reason": "x"}).status_code == 403
    assert world.api.send(path, {"verdict": "ours", "reason": "x"}).status_code == 404
    done = resolve(world, case, "a fee that the bank took: agreed by phone").json()
    assert (done["status"], done["resolution"]["verdict"]) == ("resolved", "both")
    assert done["resolution"]["reason"] == "a fee that the bank took: agreed by phone"
    assert resolve(world, case).status_code == 409
    kinds = [entry["kind"] for entry in world.entries()]
    assert kinds.index("reconciliation.flagged") < kinds.index("discrepancy.resolved")
    # The account is from here on as people accepted it: the difference is no news.
    assert [reconciled(world)["opened"] for _ in range(2)] == [0, 0]
    assert verifying.complaints(world) == []


def test_a_day_of_passes_closes_nothing_and_opens_nothing_twice(world: World) -> None:
    """One pass each minute, without the minutes. A payment that is made meanwhile agrees like any other."""
    paid = [settled(world)[1] for _ in range(4)]
    reconciled(world)
    edit(world, paid[0], "amount", amount=-1001)
    edit(world, paid[1], "payee", payee="eve@example.com")
    edit(world, paid[2], "remove")
    extra(world)
    until = time.monotonic() + 20
    while len(known := cases(world)) < 4:
        # What settled a moment ago is not missed yet.
        assert time.monotonic() < until, known
        reconciled(world)
    assert sorted(case["kind"] for case in known) == ["amount", "extra", "missing", "payee"]
    org = raw_id(world.org)
    with world.db("super") as connection:
        # The engine itself looks again tomorrow.
        connection.execute("UPDATE reconciliation_states SET next_at = clock_timestamp() + interval '1 day' WHERE org_id = %s", [org])
    [(begun, account)] = (row.values() for row in world.rows("SELECT clock_timestamp(), id FROM rail_accounts"))
    passes(world, account, 700)
    later, _ = settled(world)
    passes(world, account, 740)
    runs = world.rows("SELECT status, count(*) AS n, sum(opened) AS opened FROM reconciliations WHERE started_at > %s GROUP BY 1", begun)
    assert runs == [{"status": "done", "n": 1440, "opened": 0}]
    assert (cases(world), world.payment(later)["status"]) == (known, "settled")
    assert world.rows("SELECT 1 FROM statement_lines l JOIN payments p ON p.rail_ref = l.ref WHERE p.id = %s AND matched", raw_id(later))
    assert verifying.complaints(world) == []


def passes(world: World, account: UUID, count: int) -> None:
    """So many passes, one after the other, by a process of the dispatcher's role."""
    command = [sys.executable, "-m", "tests.support.passes", str(raw_id(world.org)), str(account), str(count)]
    subprocess.run(command, env=world.info.env("rail"), cwd=PROJECT, check=True, timeout=300)


def test_money_that_came_in_without_a_notice_is_found_in_the_statement(world: World) -> None:
    before = world.main_balance()
    body = {"account": world.account, "amount": 4321, "currency": "BRL", "payer": "someone", "reference": "no notice"}
    opened = {"account": world.account, "api_key": world.api_key, "webhook_url": "http://127.0.0.1:9/nowhere"}
    httpx2.post(f"{world.info.sandbox_url}/_control/accounts", json=opened, timeout=10).raise_for_status()
    httpx2.post(f"{world.info.sandbox_url}/_control/deposits", json=body, timeout=10).raise_for_status()
    reconciled(world)
    until = time.monotonic() + 20
    while world.main_balance() < before + 4321:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert (reconciled(world)["open"], world.main_balance()) == (0, before + 4321)


def test_what_has_settled_and_is_not_told_yet_is_on_its_way_and_no_difference(world: World) -> None:
    """Books and statement are never read at one moment: a payment may settle in between."""
    settled(world)
    assert reconciled(world)["opened"] == 0
    _, key = settled(world, 700)
    edit(world, key, "remove")
    run = reconciled(world)
    # After a few seconds it would be missing, which is another thing.
    assert run["status"] == "done" and {case["kind"] for case in cases(world)} <= {"missing"}
    assert run["closing"] - run["expected"] in (0, 700)


def test_a_balance_that_nothing_explains_is_shown(world: World) -> None:
    settled(world)
    assert (reconciled(world)["status"], unmatched(world)) == ("done", 0)
    with world.db("super") as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE payments SET captured = captured - 1 WHERE org_id = %s AND captured > 0", [raw_id(world.org)])
    assert reconciled(world)["opened"] == 1
    [case] = cases(world)
    assert (case["kind"], case["theirs"]["amount"] - case["ours"]["amount"]) == ("balance", -1)


def test_a_look_at_a_statement_waits_for_its_turn_as_long_as_its_minute(stack: StackInfo) -> None:
    """Notices share its processes: a look that is thrown away before they are through never comes to its turn."""
    from codespar.celery import app

    looks = {name: entry for name, entry in app.conf.beat_schedule.items() if entry["task"] == "rails.tasks.reconcile"}
    assert looks and all(entry["options"]["expires"] >= 60 for entry in looks.values())
