"""A rail that fails in every way it can: no cent is lost, none is paid twice, and nothing it says is believed unchecked."""

import base64
import hmac
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from psycopg.types.json import Jsonb

from tests.support.world import World, key, raw_id

_SETTLED_BY = """
SELECT r.source FROM attempt_results r JOIN attempts a ON a.id = r.attempt_id WHERE a.payment_id = %s AND r.result = 'settled'
"""


def status_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.json()["status"])


def test_every_call_to_the_rail_carries_our_key(world: World) -> None:
    world.pay(100)
    requests = httpx2.get(f"{world.info.sandbox_url}/_ledger").json()["requests"]
    writes = [request for request in requests if request["method"] == "PUT"]
    assert writes
    assert all(request["idempotency_key"] for request in writes)
    answer = world.api._http.post("/v1/payments", json=world.body())
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_required")


def test_ten_replays_are_one_payment_and_the_same_bytes(world: World) -> None:
    again = key()
    answers = [world.pay(100, again) for _ in range(10)]
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None] + ["true"] * 9
    assert len(world.provider_payments()) == 1
    other = world.pay(101, again)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


def test_a_denial_is_replayed_too(world: World) -> None:
    again = key()
    assert world.pay(10**13, again).content == world.pay(10**13, again).content


@pytest.mark.parametrize("fault", ["timeout_after", "disconnect_after"])
def test_what_the_rail_booked_and_did_not_say_is_found_by_asking(world: World, fault: str) -> None:
    world.fault(fault)
    payment = world.pay(100).json()["id"]
    assert world.settled(payment, 40)["status"] == "settled"
    assert len(world.provider_payments()) == 1
    states = world.rows("SELECT to_state FROM payment_transitions WHERE payment_id = %s ORDER BY at", raw_id(payment))
    path, told = [row["to_state"] for row in states], world.rows(_SETTLED_BY, raw_id(payment))
    # Who reads the statement while the call still waits is told before anybody could be in doubt.
    if "uncertain" not in path:
        assert (path, told) == (["authorized", "submitted", "settled"], [{"source": "statement"}])
    else:
        assert path == ["authorized", "submitted", "uncertain", "settled"] and told in ([{"source": "query"}], [{"source": "statement"}])


@pytest.mark.parametrize("fault", ["timeout_before", "disconnect_before", "unavailable", "rubbish"])
def test_what_the_rail_did_not_say_stays_held(world: World, fault: str) -> None:
    world.fault(fault)
    payment = world.pay(100).json()
    assert payment["status"] in ("submitted", "uncertain", "settled")
    assert world.balance()[1] == 100 or world.settled(payment["id"])["status"] == "settled"
    assert len(world.provider_payments()) <= 1


def test_a_decline_gives_the_money_back(world: World) -> None:
    world.fault("decline")
    before = world.balance()
    assert status_of(world.pay(100)) == "failed"
    assert world.balance() == before


@pytest.mark.parametrize("fault", ["wrong_amount", "wrong_payee", "wrong_id"])
def test_an_answer_that_is_not_our_payment_settles_nothing_and_calls_a_human(world: World, fault: str) -> None:
    world.fault(fault)
    assert status_of(world.pay(100)) == "needs_human"
    assert world.balance()[1] == 100


@pytest.mark.parametrize("fault", ["webhook_twice", "webhook_late", "webhook_out_of_order", "slow", "accepted_then_settled"])
def test_notices_twice_late_and_out_of_order_settle_once(world: World, fault: str) -> None:
    world.fault(fault, seconds=1)
    payment = world.pay(100).json()["id"]
    assert world.settled(payment, 40)["status"] == "settled"
    time.sleep(0.5)
    assert world.rows("SELECT count(*) AS n FROM transfers WHERE payment_id = %s", raw_id(payment))[0]["n"] == 1
    assert len(world.provider_payments()) == 1


def test_a_forged_notice_moves_nothing(world: World) -> None:
    before = world.main_balance()
    body = b'{"type":"deposit.received","account":"x","data":{"id":"DEP1","amount":100000,"currency":"BRL","status":"settled"}}'
    headers = {"webhook-id": "m1", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"}
    where = f"{world.info.console_url}/webhooks/sandbox/test/{world.org}"
    assert httpx2.post(where, content=body, headers=headers).status_code == 204
    assert httpx2.post(f"{world.info.console_url}/webhooks/sandbox/test/org_{'0' * 32}", content=body, headers=headers).status_code == 404
    until = time.monotonic() + 20
    while world.rows("SELECT status FROM webhook_messages WHERE headers->>'webhook-id' = 'm1'") != [{"status": "refused"}]:
        assert time.monotonic() < until
        time.sleep(0.2)
    assert world.main_balance() == before


def test_a_notice_is_as_old_as_it_was_when_it_came(world: World) -> None:
    """A dispatcher that was away for long reads what was fresh when it arrived; what was stale already then stays refused."""
    world.deposit(300)
    body = bytes(world.rows("SELECT body FROM webhook_messages WHERE status = 'verified' ORDER BY received_at DESC LIMIT 1")[0]["body"])
    sent = datetime.now(UTC) - timedelta(seconds=400)
    for name, received in (("late", sent), ("stale", datetime.now(UTC))):
        text = f"{name}.{int(sent.timestamp())}.".encode() + body
        secret = base64.b64decode(world.webhook_secret.removeprefix("whsec_"))
        signature = "v1," + base64.b64encode(hmac.digest(secret, text, "sha256")).decode()
        headers = {"webhook-id": name, "webhook-timestamp": str(int(sent.timestamp())), "webhook-signature": signature}
        with world.db("super") as connection:
            connection.execute(
                "INSERT INTO webhook_messages (org_id, id, rail, livemode, message_id, headers, body, received_at)"
                " VALUES (%s, gen_random_uuid(), 'sandbox', false, %s, %s, %s, %s)",
                [raw_id(world.org), name, Jsonb(headers), body, received],
            )
    query = "SELECT message_id, status FROM webhook_messages WHERE message_id IN ('late', 'stale') ORDER BY 1"
    until = time.monotonic() + 20
    while "received" in str(found := world.rows(query)):
        assert time.monotonic() < until
        time.sleep(0.2)
    assert [row["status"] for row in found] == ["verified", "refused"]


def test_a_deposit_that_was_not_found_is_asked_for_again_when_it_is_told_again(world: World) -> None:
    """The bank was away for longer than we ask: its next notice begins anew."""
    before = world.main_balance()
    world.deposit(300)
    notice = "SELECT credit_notice(%s, gen_random_uuid(), 'sandbox', %s, 'E-unknown')"
    with world.db("rail") as connection, world.db("super") as by_hand:
        tell = lambda: connection.execute(notice, [raw_id(world.org), world.account]).fetchone()["credit_notice"]
        assert tell() is True
        assert tell() is False
        by_hand.execute("UPDATE credits SET status = 'refused', checks = 31 WHERE reference = 'E-unknown'")
        assert tell() is True
        (row,) = world.rows("SELECT status, checks FROM credits WHERE reference = 'E-unknown'")
        assert (row["status"], row["checks"] < 3) == ("pending", True)
        by_hand.execute("UPDATE credits SET status = 'refused' WHERE reference = 'E-unknown'")
    assert world.main_balance() == before + 300


def test_a_refund_in_parts_and_no_more_than_was_paid(world: World) -> None:
    before = world.balance()
    payment = world.pay(1000).json()["id"]
    finance, where = world.people("finance"), f"/v1/payments/{payment}/refund"
    assert world.people("oncall").send(where, {}).status_code == 403
    part = finance.send(where, {"amount": {"amount": 300, "currency": "BRL"}})
    assert part.status_code == 201, part.text
    assert finance.send(where, {"amount": {"amount": 701, "currency": "BRL"}}).json()["code"] == "not_refundable"
    assert finance.send(where, {}).status_code == 201
    until = time.monotonic() + 30
    while world.payment(payment)["status"] != "reversed":
        assert time.monotonic() < until, world.payment(payment)
        time.sleep(0.2)
    assert world.balance() == before
    found = world.payment(payment)
    assert sorted(refund["amount"]["amount"] for refund in found["refunds"]) == [300, 700]
    assert finance.send(where, {}).json()["code"] == "not_refundable"


def test_cancel_takes_back_what_has_not_left_and_nothing_else(world: World) -> None:
    paid = world.pay(100).json()["id"]
    assert world.api.send(f"/v1/payments/{paid}/cancel").status_code == 409
    world.set_policy(
        {"id": "all", "effect": "allow"},
        {"id": "cap", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 10**9},
        {"id": "ask", "effect": "approval"},
    )
    waiting = world.pay(100).json()["id"]
    assert world.api.post(f"/v1/payments/{waiting}/cancel")["status"] == "canceled"


def test_respond_async_answers_at_once(world: World) -> None:
    world.fault("slow", seconds=3)
    headers = {"Idempotency-Key": key(), "Prefer": "respond-async"}
    started = time.monotonic()
    answer = world.api._http.post("/v1/payments", json=world.body(100), headers=headers)
    assert time.monotonic() - started < 2
    assert (answer.status_code, answer.json()["status"]) in ((202, "authorized"), (202, "submitted"))
    assert world.settled(answer.json()["id"])["status"] == "settled"


def test_money_goes_from_main_to_the_wallet_and_home_and_nowhere_else(world: World) -> None:
    main, (available, _) = world.main_balance(), world.balance()
    finance, money = world.people("finance"), {"amount": {"amount": 500, "currency": "BRL"}}
    again = key()
    first = finance.send(f"/v1/wallets/{world.wallet}/fund", money, again)
    assert finance.send(f"/v1/wallets/{world.wallet}/fund", money, again).content == first.content
    assert (world.main_balance(), world.balance()[0]) == (main - 500, available + 500)
    finance.post(f"/v1/wallets/{world.wallet}/return", money)
    assert (world.main_balance(), world.balance()[0]) == (main, available)
    much = {"amount": {"amount": 10**12, "currency": "BRL"}}
    assert finance.send(f"/v1/wallets/{world.wallet}/fund", much).json()["code"] == "insufficient_funds"
    assert world.people("operator").send(f"/v1/wallets/{world.wallet}/fund", money).status_code == 403
    kinds = [line["kind"] for line in finance.get(f"/v1/wallets/{world.wallet}/statement")["data"]]
    assert kinds[:2] == ["return_to_main", "fund"]


def test_draining_one_wallet_leaves_everybody_elses_alone(world: World) -> None:
    _, wallet, _ = world.new_agent()
    world.fund(700, wallet)
    main, available = world.main_balance(), world.balance()[0]
    assert world.pay(available).status_code == 201
    short = world.pay(1)
    assert (short.status_code, short.json()["code"]) == (403, "insufficient_funds")
    assert (world.main_balance(), world.balance(wallet), world.balance()) == (main, (700, 0), (0, 0))
