"""One key, many requests at one moment: it happens once, and everybody hears the same."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx2

from tests.support import books
from tests.support.parallel import outcome, together
from tests.support.world import BRL, World, key, raw_id

Json = dict[str, Any]


def at_once(call: Callable[[], httpx2.Response], times: int = 64) -> list[httpx2.Response]:
    return together([call] * times)


def waiting(world: World, amount: int = 300) -> str:
    """A payment that waits for a person."""
    account = {"type": "pix_key", "value": f"{key()}@payee.example"}
    proposed = world.api.post("/v1/counterparties", {"name": f"New {account['value']}", "accounts": [account]})["id"]
    answer = world.pay(amount, counterparty=proposed).json()
    assert answer["status"] == "requires_approval", answer
    return str(answer["id"])


def test_identical_requests_are_one_payment_with_one_answer(racing: World) -> None:
    one, body = key(), racing.body(1111)
    before = racing.balance()
    answers = at_once(lambda: racing.api.send("/v1/payments", body, one))
    assert {answer.status_code for answer in answers} <= {201, 409, 503}
    said = {answer.content for answer in answers if answer.status_code == 201}
    assert len(said) == 1, "all who got an answer got the same bytes"
    assert at_once(lambda: racing.api.send("/v1/payments", body, one), 1)[0].content in said
    assert len(racing.rows("SELECT 1 FROM payments WHERE amount = 1111")) == 1
    assert [p["amount"] for p in racing.provider_payments()].count(1111) == 1
    assert racing.balance() == (before[0] - 1111, before[1])


def test_one_key_for_two_bodies_pays_one_of_them(racing: World) -> None:
    one = key()
    calls = [lambda amount=amount: racing.api.send("/v1/payments", racing.body(amount), one) for amount in (2221, 2222)] * 32
    answers = together(calls)
    rows = racing.rows("SELECT amount FROM payments WHERE amount IN (2221, 2222)")
    assert len(rows) == 1
    won = [2221, 2222].index(rows[0]["amount"])
    mine, others = answers[won::2], answers[1 - won :: 2]
    assert {answer.status_code for answer in mine} <= {201, 409, 503}
    assert Counter(map(outcome, others)) == {"idempotency_conflict": 32}
    assert {answer.status_code for answer in others} == {422}


def test_one_key_funds_once(racing: World) -> None:
    one, body = key(), {"amount": {"amount": 777, "currency": BRL}}
    before, main = racing.balance(), racing.main_balance()
    answers = at_once(lambda: racing.people().send(f"/v1/wallets/{racing.wallet}/fund", body, one), 32)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert (racing.balance(), racing.main_balance()) == ((before[0] + 777, before[1]), main - 777)


def test_one_key_for_two_amounts_funds_one_of_them(racing: World) -> None:
    one, before = key(), racing.balance()
    bodies = [{"amount": {"amount": amount, "currency": BRL}} for amount in (3331, 3332)]
    answers = together([partial(racing.people().send, f"/v1/wallets/{racing.wallet}/fund", body, one) for body in bodies * 16])
    moved = racing.balance()[0] - before[0]
    assert moved in (3331, 3332)
    mine, others = answers[moved - 3331 :: 2], answers[3332 - moved :: 2]
    assert {answer.status_code for answer in mine} == {201}
    assert Counter(map(outcome, others)) == {"idempotency_conflict": 16}


def test_many_fundings_take_what_main_has_and_no_more(racing: World) -> None:
    left = racing.main_balance() % 1000
    racing.people().post(f"/v1/wallets/{racing.wallet}/fund", {"amount": {"amount": racing.main_balance() - left - 5000, "currency": BRL}})
    body = {"amount": {"amount": 1000, "currency": BRL}}
    answers = at_once(lambda: racing.people().send(f"/v1/wallets/{racing.wallet}/fund", body), 32)
    assert Counter(answer.status_code for answer in answers)[201] == 5
    assert {outcome(answer) for answer in answers if answer.status_code != 201} == {"insufficient_funds"}
    assert racing.main_balance() == left
    racing.people().post(f"/v1/wallets/{racing.wallet}/return", {"amount": {"amount": 100_000, "currency": BRL}})
    assert books.faults(racing) == []


def test_one_key_refunds_once(racing: World) -> None:
    paid = racing.pay(1000).json()["id"]
    one, body = key(), {"amount": {"amount": 100, "currency": BRL}}
    answers = at_once(lambda: racing.people().send(f"/v1/payments/{paid}/refund", body, one), 32)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(racing.rows("SELECT 1 FROM refunds WHERE payment_id = %s", raw_id(paid))) == 1


def test_many_refunds_give_back_what_was_paid_and_no_more(racing: World) -> None:
    paid = racing.pay(1000).json()["id"]
    body = {"amount": {"amount": 100, "currency": BRL}}
    answers = at_once(lambda: racing.people().send(f"/v1/payments/{paid}/refund", body), 32)
    # Whoever moved first changes what is whole: a request may be told to try again, never to have more than there is.
    assert {answer.status_code for answer in answers} <= {201, 409, 422, 503}, Counter(map(outcome, answers))
    asked = racing.rows("SELECT sum(amount) AS n FROM refunds WHERE payment_id = %s", raw_id(paid))[0]["n"]
    assert asked <= 1000
    assert asked == 100 * [answer.status_code for answer in answers].count(201)
    assert books.faults(racing) == []


def test_one_key_approves_once(racing: World) -> None:
    payment, one = waiting(racing), key()
    finance = racing.people("finance")
    answers = at_once(lambda: finance.send(f"/v1/payments/{payment}/approve", None, one), 32)
    assert {answer.status_code for answer in answers} == {200}, Counter(map(outcome, answers))
    assert len({answer.content for answer in answers}) == 1
    assert racing.settled(payment)["status"] == "settled"
    assert len(racing.rows("SELECT 1 FROM holds WHERE payment_id = %s", raw_id(payment))) == 1


def test_yes_and_no_at_one_moment_are_one_of_them(racing: World) -> None:
    payment, finance = waiting(racing), racing.people("finance")
    yes = lambda: finance.send(f"/v1/payments/{payment}/approve")
    no = lambda: finance.send(f"/v1/payments/{payment}/deny", {"reason": "not this one"})
    answers = together([yes, no] * 8)
    assert Counter(answer.status_code for answer in answers)[200] == 1, Counter(map(outcome, answers))
    assert (
        len(racing.rows("SELECT 1 FROM approval_votes v JOIN approvals a ON a.id = v.approval_id WHERE payment_id = %s", raw_id(payment)))
        == 1
    )
    assert racing.settled(payment)["status"] == (
        "settled" if answers[0].status_code == 200 or 200 in [a.status_code for a in answers[::2]] else "denied"
    )


def test_one_key_for_two_votes_is_one_vote(racing: World) -> None:
    """The key names one request: a second payment is not approved under it, at whatever moment it comes."""
    finance = racing.people("finance")
    for _ in range(6):
        one, pair = key(), [waiting(racing), waiting(racing)]
        answers = together([partial(finance.send, f"/v1/payments/{payment}/approve", None, one) for payment in pair])
        voted = racing.rows(
            "SELECT 1 FROM approval_votes v JOIN approvals a ON a.id = v.approval_id WHERE payment_id = ANY(%s)", [raw_id(p) for p in pair]
        )
        assert len(voted) == 1, [(answer.status_code, answer.json()["id"] in pair) for answer in answers]
        assert sorted(answer.status_code for answer in answers) in ([200, 409], [200, 422])


def test_cancel_and_send_at_one_moment_are_one_of_them(racing: World) -> None:
    """A payment that has left is not taken back; one that was taken back never leaves."""
    headers = {"Prefer": "respond-async"}
    ids = []
    for _ in range(12):
        sent = httpx2.post(
            f"{racing.info.base_url}/v1/payments",
            json=racing.body(1357),
            headers=headers | {"Authorization": f"Bearer {racing.tokens['agent']}", "Idempotency-Key": key()},
            timeout=30,
        ).json()
        ids.append(sent["id"])
        at_once(partial(racing.api.send, f"/v1/payments/{sent['id']}/cancel"), 2)
    ended = {payment: racing.settled(payment)["status"] for payment in ids}
    assert set(ended.values()) <= {"settled", "canceled"}
    at_provider = {p["reference"] for p in racing.provider_payments()}
    assert {payment for payment, status in ended.items() if status == "settled"} == at_provider & set(ids)
    assert books.faults(racing) == []
