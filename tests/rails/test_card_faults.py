"""The card adapter when the bank misbehaves or time runs out, and what it reads of deposits and the statement."""

from __future__ import annotations

import os
import pathlib
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from rails.adapters import base
from rails.adapters.base import Result, Unreadable
from rails.adapters.card import CardAdapter
from rails.sandbox.launch import Provider
from tests.support.card_bank import SHOP, CardBank, order, said, undo
from tests.support.raw_servers import within

SLACK = 0.5


# Faults at the bank.


@pytest.mark.parametrize(
    ("fault", "result", "code", "payments"),
    [
        ("decline", Result.REJECTED, "declined", 1),
        ("accepted_then_settled", Result.ACCEPTED, "accepted", 1),
        ("in_two_legs", Result.RESERVED, "reserved", 1),
        ("timeout_before", Result.UNKNOWN, "timeout", 0),
        ("timeout_after", Result.UNKNOWN, "timeout", 1),
        ("unavailable", Result.UNKNOWN, "unavailable", 0),
        ("slow", Result.UNKNOWN, "timeout", 0),
        ("wrong_amount", Result.CONFLICTED, "mismatch_amount", 1),
        ("wrong_payee", Result.CONFLICTED, "mismatch_payee", 1),
        ("wrong_id", Result.CONFLICTED, "mismatch_key", 1),
        ("rubbish", Result.UNKNOWN, "invalid_response", 1),
        ("disconnect_before", Result.UNKNOWN, "disconnected", 0),
        ("disconnect_after", Result.UNKNOWN, "disconnected", 1),
    ],
)
def test_each_fault_has_its_outcome_and_asks_for_no_second_try(
    adapter: base.Adapter, bank: CardBank, fault: str, result: Result, code: str, payments: int
) -> None:
    bank.provider.fault(fault, seconds=4)
    started = time.monotonic()
    done = adapter.send(order(), within(1.5))
    assert time.monotonic() - started < 1.5 + SLACK
    assert (said(done), done.again) == ((result, code, True), False)
    assert len(bank.booked()) == payments


@pytest.mark.parametrize(
    ("fault", "code", "again"),
    [
        ("timeout_before", "timeout", True),
        ("timeout_after", "timeout", True),
        ("unavailable", "unavailable", True),
        ("rubbish", "invalid_response", False),
        ("disconnect_before", "disconnected", True),
    ],
)
def test_a_look_that_fails_sends_nothing_and_says_so(adapter: base.Adapter, bank: CardBank, fault: str, code: str, again: bool) -> None:
    bank.provider.fault(fault, on="read", seconds=4)
    done = adapter.send(order(), within(1.5))
    assert (said(done), done.again) == ((Result.UNKNOWN, code, False), again)
    assert bank.booked() == []
    paid = bank.paid("k1")
    bank.provider.fault(fault, on="read", seconds=4)
    refund = adapter.refund(undo(payment_id=paid), within(1.5))
    assert (said(refund), refund.again) == ((Result.UNKNOWN, code, False), again)
    assert bank.booked("refunds") == []


def test_an_earlier_charge_that_cannot_be_read_counts_as_sent(adapter: base.Adapter, bank: CardBank) -> None:
    """The list shows it, and the question for its details fails: nobody may take that for a payment that never left."""
    intent = adapter.send(order(), within(5)).provider_id
    assert intent is not None
    for fault in ("unavailable", "rubbish", "disconnect_before"):
        bank.provider.fault(fault, on="read", key=intent)
        done = adapter.send(order(), within(5))
        assert (done.result, done.sent, done.again) == (Result.UNKNOWN, True, False)
    bank.provider.fault("not_found_once", key="k1")
    bank.pay("k2")
    assert said(adapter.query(order(provider_id=intent), within(5)))[0] is Result.NOT_FOUND


def test_not_found_once_is_an_answer_of_now_and_not_a_proof(adapter: base.Adapter, bank: CardBank) -> None:
    adapter.send(order(), within(5))
    bank.provider.fault("not_found_once", key="k1")
    assert [adapter.query(order(), within(5)).result for _ in range(2)] == [Result.NOT_FOUND, Result.RESERVED]


@pytest.mark.parametrize("fault", ["timeout_after", "disconnect_after", "rubbish"])
def test_an_unknown_authorisation_capture_or_cancel_is_decided_by_a_query(adapter: base.Adapter, bank: CardBank, fault: str) -> None:
    bank.provider.fault(fault, seconds=4)
    assert adapter.send(order(), within(1.5)).result is Result.UNKNOWN
    found = adapter.query(order(), within(5))
    assert found.result is Result.RESERVED
    known = order(provider_id=found.provider_id)
    bank.provider.fault(fault, seconds=4)
    assert said(adapter.capture(known, within(1.5)))[::2] == (Result.UNKNOWN, True)
    assert adapter.query(known, within(5)).result is Result.SETTLED
    other = order("k2", provider_id=adapter.send(order("k2"), within(5)).provider_id)
    bank.provider.fault(fault, seconds=4)
    assert adapter.cancel(other, within(1.5)).result is Result.UNKNOWN
    assert adapter.query(other, within(5)).result is Result.CANCELED


def test_accepted_becomes_reserved_and_a_capture_becomes_settled(adapter: base.Adapter, bank: CardBank) -> None:
    bank.provider.fault("accepted_then_settled", seconds=1.5)
    sent = adapter.send(order(), within(5))
    assert (sent.result, sent.moved) == (Result.ACCEPTED, 0)
    known = order(provider_id=sent.provider_id)
    assert adapter.capture(known, within(5)).result is Result.ACCEPTED
    _until(adapter, known, Result.RESERVED)
    assert adapter.capture(known, within(5)).result is Result.SETTLED


def test_a_capture_in_two_legs_says_how_much_has_moved(adapter: base.Adapter, bank: CardBank) -> None:
    bank.provider.fault("in_two_legs", key="k1", seconds=0.4)
    known = order(provider_id=adapter.send(order(), within(5)).provider_id)
    first = adapter.capture(known, within(5))
    assert (first.result, first.moved) == (Result.ACCEPTED, 525)
    _until(adapter, known, Result.SETTLED)
    bank.provider.fault("in_two_legs", key="k2-capture", seconds=60)
    other = order("k2", provider_id=adapter.send(order("k2"), within(5)).provider_id)
    adapter.capture(other, within(5))
    stopped = adapter.cancel(other, within(5))
    assert (stopped.result, stopped.moved) == (Result.CANCELED, 525)


def test_a_capture_that_is_declined_is_rejected_and_an_expired_one_canceled(adapter: base.Adapter, bank: CardBank) -> None:
    bank.provider.fault("decline", key="k1-capture")
    known = order(provider_id=adapter.send(order(), within(5)).provider_id)
    assert said(adapter.capture(known, within(5))) == (Result.REJECTED, "declined", True)
    bank.provider.call("POST", "/_control/card", {"authorisation_seconds": 0.2})
    late = order("k2", provider_id=adapter.send(order("k2"), within(5)).provider_id)
    _until(adapter, late, Result.CANCELED)
    assert said(adapter.capture(late, within(5))) == (Result.CANCELED, "canceled", True)


def test_a_refund_may_be_declined_refused_or_unknown(adapter: base.Adapter, bank: CardBank) -> None:
    paid = bank.paid(**{"metadata[codespar_payee]": SHOP, "metadata[codespar_reference]": "inv 7"})
    bank.provider.fault("decline", key="r1")
    assert said(adapter.refund(undo("r1", paid), within(5))) == (Result.REJECTED, "declined", True)
    assert said(adapter.refund(undo("r2", paid, 1051), within(5))) == (Result.REJECTED, "refused", True)
    bank.provider.fault("timeout_after", seconds=4)
    assert adapter.refund(undo("r3", paid, 50), within(1.5)).result is Result.UNKNOWN
    assert adapter.query_refund(undo("r3", paid, 50), within(5)).result is Result.SETTLED
    reserved = bank.pay("k2")[1]["id"]
    assert said(adapter.refund(undo("r4", reserved, 1), within(5))) == (Result.REJECTED, "refused", True)
    assert bank.balance() == 10_000 - 1050 + 50


def test_a_card_that_asks_its_holder_is_declined_because_nobody_is_there(bank: CardBank) -> None:
    done = bank.adapter(bank.card(challenges=True)).send(order(), within(5))
    assert said(done) == (Result.REJECTED, "declined", True)
    assert "authentication_required" in done.reason


def _until(adapter: base.Adapter, asked: base.Instruction, result: Result) -> None:
    end = time.monotonic() + 15
    while adapter.query(asked, within(5)).result is not result and time.monotonic() < end:
        time.sleep(0.05)
    assert adapter.query(asked, within(5)).result is result


# Time, processes and threads.


def test_a_send_by_that_has_passed_sends_nothing(adapter: base.Adapter, bank: CardBank) -> None:
    late = datetime.now(UTC)
    assert said(adapter.send(order(send_by=late), within(5))) == (Result.UNKNOWN, "send_by_passed", False)
    known = adapter.send(order(), within(5)).provider_id
    assert said(adapter.capture(order(provider_id=known, send_by=late), within(5))) == (Result.UNKNOWN, "send_by_passed", False)
    assert bank.status(known or "") == "requires_capture"
    assert adapter.cancel(order(provider_id=known, send_by=late), within(5)).result is Result.CANCELED
    paid = bank.paid("k2")
    assert said(adapter.refund(undo("r1", paid, send_by=late), within(5))) == (Result.UNKNOWN, "send_by_passed", False)


def test_send_by_is_read_at_the_write_and_not_at_the_look(bank: CardBank) -> None:
    asked = order()
    looks = len(bank.provider.ledger()["requests"])

    def clock() -> datetime:
        assert len(bank.provider.ledger()["requests"]) == looks + 1
        return asked.send_by

    adapter = CardAdapter(f"{bank.provider.url}/card-api", bank.api_key, bank.method, bank.account, clock)
    assert said(adapter.send(asked, within(5))) == (Result.UNKNOWN, "send_by_passed", False)
    assert bank.booked() == []


def test_a_deadline_that_has_passed_sends_nothing(adapter: base.Adapter, bank: CardBank) -> None:
    done = adapter.send(order(), time.monotonic() - 1)
    assert (said(done), done.again) == ((Result.UNKNOWN, "pool_timeout", False), True)
    assert bank.booked() == []


def test_after_kill_9_the_query_finds_the_one_payment(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    bank = CardBank(provider, "acct_a")
    adapter = bank.adapter()
    provider.fault("timeout_after", seconds=30)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(adapter.send, order(), within(5))
        while not bank.booked():
            time.sleep(0.02)
        provider.kill()
        assert said(waiting.result())[::2] == (Result.UNKNOWN, True)
    down = adapter.send(order("k2"), within(2))
    assert (said(down), down.again) == ((Result.UNKNOWN, "connect_failed", False), True)
    provider.start()
    assert adapter.query(order(), within(5)).result is Result.RESERVED
    assert adapter.send(order(), within(5)).result is Result.RESERVED
    assert len(bank.booked()) == 1
    provider.stop()


def test_sixty_four_threads_share_one_adapter(adapter: base.Adapter, bank: CardBank) -> None:
    with ThreadPoolExecutor(64) as pool:
        same = list(pool.map(lambda _: adapter.send(order(), within(20)), range(64)))
    assert {(done.result, done.provider_id) for done in same} == {(Result.RESERVED, same[0].provider_id)}
    assert len(bank.booked()) == 1


def test_a_forked_child_opens_its_own_connections(adapter: base.Adapter) -> None:
    assert adapter.send(order(), within(5)).result is Result.RESERVED
    child = os.fork()
    if child == 0:
        os._exit(0 if adapter.query(order(), within(5)).result is Result.RESERVED else 1)
    assert os.waitpid(child, 0)[1] == 0


# Deposits and the statement.


def test_deposits_and_the_statement_are_read(adapter: base.Adapter, bank: CardBank) -> None:
    topup, intent = bank.deposit(7, "joão", "thanks"), adapter.send(order(), within(5)).provider_id
    adapter.capture(order(provider_id=intent), within(5))
    refund = adapter.refund(undo(payment_id=intent), within(5)).provider_id
    found = adapter.deposit(topup, within(5))
    assert found is not None
    assert (found.id, found.account, found.amount, found.currency, found.payer_key, found.reference) == (
        *(topup, bank.account, 7, "BRL", "joão", "thanks"),
    )
    assert found.at.utcoffset() == timedelta(0)
    assert adapter.deposit("tu_nobody", within(5)) is None
    assert adapter.deposit("../secrets", within(5)) is None
    shown = adapter.statement("", within(5))
    assert [(x.kind, x.provider_id, x.key, x.amount, x.currency, x.party) for x in shown.lines] == [
        ("deposit", topup, None, 7, "BRL", "joão"),
        ("payment", intent, "k1", -1050, "BRL", SHOP),
        ("refund", refund, "r1", 50, "BRL", ""),
    ]
    assert (shown.opening, shown.closing, shown.complete, shown.cursor) == (None, None, True, shown.lines[-1].id)
    after = adapter.statement(shown.cursor, within(5))
    assert (after.lines, after.complete, after.cursor) == ((), True, shown.cursor)


def test_a_long_statement_is_read_from_its_first_line_to_its_last(adapter: base.Adapter, bank: CardBank) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(bank.deposit, range(1, 251)))
    lines, cursor, calls = _whole(adapter, "")
    assert sorted(line.amount for line in lines) == list(range(1, 251))
    assert len({line.id for line in lines}) == 250
    assert [line.id for line in lines] == sorted(line.id for line in lines)
    assert calls <= 6
    bank.deposit(999)
    more, _, _ = _whole(adapter, cursor)
    assert [line.amount for line in more] == [999]


def _whole(adapter: base.Adapter, cursor: str) -> tuple[list[base.StatementLine], str, int]:
    lines: list[base.StatementLine] = []
    for calls in range(1, 20):
        part = adapter.statement(cursor, within(5))
        lines, cursor = [*lines, *part.lines], part.cursor
        if part.complete:
            return lines, cursor, calls
    raise AssertionError("the statement never ends")


def test_an_empty_statement_is_complete_and_a_strange_cursor_is_refused(adapter: base.Adapter) -> None:
    empty = adapter.statement("", within(5))
    assert (empty.lines, empty.cursor, empty.complete) == ((), "", True)
    for cursor in ("../secrets", "7", "<", "txn_00000000000000000001"):
        with pytest.raises(Unreadable):
            adapter.statement(cursor, within(5))


def test_the_statement_is_given_as_the_bank_tells_it(adapter: base.Adapter, bank: CardBank) -> None:
    bank.paid()
    bank.paid("k2", amount=1)
    edits = ({"edit": "amount", "amount": -7}, {"edit": "payee", "payee": "acct_eve"}, {"edit": "at", "at": "2020-01-01T00:00:00Z"})
    for edit in edits:
        bank.provider.call("POST", "/_control/statement", {"account": bank.account, "key": "k1", **edit})
    first = adapter.statement("", within(5)).lines[0]
    assert (first.key, first.amount, first.party, first.at.year) == ("k1", -7, "acct_eve", 2020)
    bank.provider.fault("statement_gap", key=bank.account)
    assert [line.key for line in adapter.statement("", within(5)).lines] == ["k2"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [("rubbish", "invalid_response"), ("unavailable", "unavailable"), ("disconnect_before", "disconnected"), ("timeout_before", "timeout")],
)
def test_reads_that_fail_are_unreadable_and_queries_unknown(adapter: base.Adapter, bank: CardBank, fault: str, code: str) -> None:
    topup = bank.deposit()
    bank.provider.fault(fault, count=3, on="read", seconds=3)
    for read in (lambda: adapter.statement("", within(1.0)), lambda: adapter.deposit(topup, within(1.0))):
        with pytest.raises(Unreadable) as failure:
            read()
        assert failure.value.code == code
    assert said(adapter.query(order(), within(1.0)))[:2] == (Result.UNKNOWN, code)


@pytest.mark.parametrize("fault", ["wrong_amount", "wrong_id", "wrong_payee"])
def test_a_deposit_that_the_bank_lies_about_is_what_the_bank_says(adapter: base.Adapter, bank: CardBank, fault: str) -> None:
    topup = bank.deposit(7)
    bank.provider.fault(fault, on="read")
    found = adapter.deposit(topup, within(5))
    assert found is not None
    assert found.amount == (8 if fault == "wrong_amount" else 7)
