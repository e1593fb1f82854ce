"""What an answer means and how it is booked, where the world is at its least likely: faults are made by hand, nothing else is."""

import os
import socket
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from codespar.launcher.stack import StackInfo
from codespar.lib import db
from codespar.lib.errors import Unavailable
from rails import workers
from rails.adapters.base import Outcome, Result
from tests.support.world import World

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
WINDOW: Any = SimpleNamespace(acceptance_window_seconds=30)


@pytest.fixture
def engine(stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules, which need the settings, and what they wrote."""
    from rails import booking, calls, debts, dispatch, outcomes, queue

    found = SimpleNamespace(booking=booking, calls=calls, debts=debts, dispatch=dispatch, outcomes=outcomes, queue=queue, written=[])
    monkeypatch.setattr(debts, "_owed", type(debts._owed)())
    return found


def said(result: Result, **more: Any) -> Outcome:
    return Outcome(**{"result": result, "reason": "", "provider_id": None, "sent": True, "raw": b"", "request": b"", "code": "x"} | more)


def row(**more: Any) -> dict[str, Any]:
    usual = {"id": uuid4(), "org_id": uuid4(), "attempt_id": uuid4(), "agent_id": uuid4(), "project_id": uuid4(), "livemode": False}
    rest = {
        "status": "submitted",
        "checks": 0,
        "answered": True,
        "worker": "?",
        "send_by": NOW,
        "asked_at": NOW,
        "amount": 7,
        "currency": "BRL",
    }
    return usual | rest | more


def test_what_the_rail_has_accepted_is_asked_for_as_long_as_it_takes(engine: SimpleNamespace) -> None:
    assert engine.outcomes.of_query(row(checks=10_000), said(Result.ACCEPTED), WINDOW) is None
    assert engine.outcomes.of_query(row(checks=10_000), said(Result.UNKNOWN), WINDOW).after == "needs_human"


def test_a_person_is_called_only_when_everything_a_rail_signed_is_over(engine: SimpleNamespace, world: World) -> None:
    """The questions of an unclear payment go on past the last moment in which the rail could still move it, and past the chain's last word."""
    from rails.adapters import ADAPTERS

    spaced = "SELECT extract(epoch FROM sum(next_check(n) - clock_timestamp()))::float AS seconds FROM generate_series(0, %s) n"
    [row] = world.rows(spaced, engine.outcomes.MOST_CHECKS - 1, role="super")
    windows = [adapter.capabilities.acceptance_window_seconds for adapter in ADAPTERS.values()]
    # A dozen blocks of twelve seconds, as slow as chains are.
    assert row["seconds"] > 5 * (max(windows) + 12 * 12)


def test_a_payment_that_is_not_there_is_judged_by_when_the_rail_was_asked(engine: SimpleNamespace) -> None:
    """An answer that comes after the window may have been made within it."""
    within, after = NOW + timedelta(seconds=30), NOW + timedelta(seconds=30.001)
    assert engine.outcomes.of_query(row(asked_at=within), said(Result.NOT_FOUND), WINDOW) is None
    assert engine.outcomes.of_query(row(asked_at=after), said(Result.NOT_FOUND), WINDOW).proof == "not_found_after_window"
    # While whoever could still send it lives, it proves nothing.
    held = row(asked_at=after, answered=False, worker=workers.identity())
    assert engine.outcomes.of_query(held, said(Result.NOT_FOUND), WINDOW) is None


def test_only_the_same_machine_proves_that_a_process_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    host, boot, namespace, pid, started = workers.identity().split("/")
    assert host.startswith(f"{socket.gethostname()}:") and pid == str(os.getpid())
    assert not workers.is_dead(workers.identity())
    assert workers.is_dead("/".join([host, boot, namespace, pid, "1"]))
    for other in ("elsewhere:1", f"{socket.gethostname()}:another-machine-of-this-name", socket.gethostname()):
        assert not workers.is_dead("/".join([other, boot, namespace, pid, "1"]))
        assert not workers.is_dead("/".join([other, "another-boot", namespace, pid, started]))
    monkeypatch.setattr(workers, "_host", lambda: "known:1234")
    assert workers.is_dead(f"known:1234/another-boot/{namespace}/{pid}/{started}")
    monkeypatch.setattr(workers, "_host", lambda: "unknown:?")
    assert not workers.is_dead(f"unknown:?/another-boot/{namespace}/{pid}/{started}")


def test_one_answer_with_anothers_id_does_not_hold_up_the_rest(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bank's id of the second payment is one that it has used before: that payment is a person's, the others are booked."""
    batch = [row() for _ in range(3)]

    def write(function: str, **named: Any) -> dict[str, Any]:
        items = named["data"]["items"]
        if any(item["provider_id"] == "used" and item["to"] == "settled" for item in items):
            raise db.Refused("payments_provider", "")
        engine.written.append([(item["payment"], item["to"], item["code"]) for item in items])
        return {"seq": 1}

    monkeypatch.setattr(engine.booking, "write", write)
    monkeypatch.setattr(engine.outcomes.hints, "outcome", lambda payment: None)
    answers = [said(Result.SETTLED, provider_id=id) for id in ("a", "used", "c")]
    engine.outcomes.book([engine.outcomes.of_answer(*pair) for pair in zip(batch, answers, strict=True)])
    wire = [f"pay_{one['id'].hex}" for one in batch]
    assert engine.written == [[(wire[0], "settled", "x")], [(wire[1], "needs_human", "provider_id_taken")], [(wire[2], "settled", "x")]]


def test_a_refund_is_booked_on_what_its_payment_is_now(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two refunds were read together; when the second is booked, the first has already changed what is left."""
    refund = row(payment_id=uuid4(), payment_status="reversing", captured=100, refunded=0, amount=40, refunding=100)
    monkeypatch.setattr(engine.queue, "refunds", lambda org, ids: [refund | {"refunded": 60}])

    def write(function: str, **named: Any) -> dict[str, Any]:
        steps = [part["to"] for part in named["parts"] if part["part"] == "transition"]
        engine.written.append(steps)
        return {"seq": 1} if steps == ["reversed"] else {"moved": "state"}

    monkeypatch.setattr(engine.booking, "write", write)
    engine.outcomes.book_refund(refund, engine.outcomes.of_answer(refund, said(Result.SETTLED)))
    assert engine.written == [[], ["reversed"]]


@pytest.mark.parametrize("change", [{"attempt_id": uuid4()}, {"attempt_id": None}, {"status": "settled"}])
def test_a_result_of_an_attempt_that_is_not_the_refunds_own_is_let_go(
    engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    """The attempt was never recorded, and another process has sent the refund since: nothing is asked of the database for ever."""
    refund = row(payment_id=uuid4(), payment_status="settled", captured=100, refunded=0, amount=40)
    monkeypatch.setattr(engine.queue, "refunds", lambda org, ids: [refund | change])

    def write(function: str, **named: Any) -> dict[str, Any]:
        engine.written.append(function)
        assert len(engine.written) < 3, "it is tried again and again"
        return {"moved": "state"}

    monkeypatch.setattr(engine.booking, "write", write)
    engine.outcomes.book_refund(refund, engine.outcomes.of_answer(refund, said(Result.UNKNOWN, sent=False)))
    assert engine.written == ["refund_result"]


def test_what_cannot_be_booked_now_is_booked_before_anything_else(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    away = [True]

    def book(steps: list[Any]) -> None:
        if away[0]:
            raise Unavailable("away")
        engine.written.append([step.code for step in steps])

    monkeypatch.setattr(engine.outcomes, "book", book)
    monkeypatch.setattr(engine.queue, "claim", lambda owner, rail: {})
    monkeypatch.setattr(engine.dispatch, "_clock_agrees", lambda: True)
    rows = [row(number=number) for number in range(5)]
    # Every answer of a batch that is under way comes in, though the first of them could not be booked.
    call = lambda row: said(Result.SETTLED, code=f"settled {row['number']}")
    engine.calls.each(rows, call, engine.dispatch._book_answers)
    with pytest.raises(Unavailable):
        engine.dispatch.run_once("sandbox")
    away[0] = False
    assert engine.dispatch.run_once("sandbox") == 0
    booked = sorted(code for codes in engine.written for code in codes)
    assert booked == [f"settled {number}" for number in range(5)]
    engine.written.clear()
    assert (engine.dispatch.run_once("sandbox"), engine.written) == (0, [])


@pytest.mark.parametrize("fault", ["payments_submit", "may_send"])
def test_an_attempt_that_may_be_recorded_is_owed_as_unsent(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """The database went away while the attempt was written, or before the last look: nothing left, and only this process knows."""
    payment = row(status="authorized", submit_by=datetime.now(UTC) + timedelta(minutes=1), rail="sandbox", rail_key=b"k" * 32)
    head = engine.booking.Head({"seq": 1, "hash": "00" * 32})

    def answer(name: str, value: Any) -> Any:
        def call(function: str, *arguments: Any, **named: Any) -> Any:
            if fault == name:
                raise Unavailable("away")
            return value

        return call

    monkeypatch.setattr(engine.booking, "write", answer("payments_submit", {"seq": 1}))
    monkeypatch.setattr(engine.dispatch.db, "rows", answer("may_send", []))
    monkeypatch.setattr(engine.dispatch.accounts, "adapter", lambda *arguments: None)
    monkeypatch.setattr(engine.dispatch, "_prepared", lambda batch: batch)
    monkeypatch.setattr(engine.calls, "each", lambda *arguments: pytest.fail("nothing may leave"))
    monkeypatch.setattr(engine.outcomes, "book", engine.written.append)
    with pytest.raises(Unavailable):
        engine.dispatch._submit(payment["org_id"], [payment], head)
    assert engine.written == []
    engine.debts.pay()
    (steps,) = engine.written
    assert [(s.source, s.after, s.proof, s.code) for s in steps] == [("answer", "failed", "unsent", "interrupted")]


def test_a_clock_that_disagrees_sends_and_concludes_nothing(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.queue, "claim", lambda owner, rail: pytest.fail("nothing may be taken"))
    for seconds in (2.5, -2.5, 86_400):
        monkeypatch.setattr(engine.dispatch.clock, "now", lambda seconds=seconds: datetime.now(UTC) + timedelta(seconds=seconds))
        assert engine.dispatch.run_once("sandbox") == 0


def test_an_adapter_that_raises_leaves_the_payment_uncertain(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(order: Any, until: float) -> Outcome:
        raise OSError("too many open files")

    monkeypatch.setattr(engine.dispatch.accounts, "adapter", lambda *arguments: SimpleNamespace(send=send))
    payment = row(rail="sandbox")
    engine.dispatch.accounts.open_for([payment])
    answer = engine.calls.leave(payment, "pay", lambda row, adapter: SimpleNamespace(send_by=NOW))
    assert (answer.result, answer.sent) == (Result.UNKNOWN, True)
    assert engine.outcomes.of_answer(payment, answer).after == "uncertain"


def test_a_credential_that_does_not_open_sends_nothing_and_says_so(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def adapter(*arguments: Any) -> Any:
        raise Unavailable("no key")

    monkeypatch.setattr(engine.dispatch.accounts, "adapter", adapter)
    payment = row(rail="sandbox")
    engine.dispatch.accounts.open_for([payment])
    answer = engine.calls.leave(payment, "pay", lambda row, adapter: SimpleNamespace(send_by=NOW))
    step = engine.outcomes.of_answer(row(), answer)
    assert (step.after, step.proof, step.code) == ("failed", "unsent", "not_sendable")
    assert engine.calls.learn(payment, lambda row, adapter: None, lambda adapter: adapter.query) is None


def test_what_waits_for_its_rail_expires_when_its_minute_is_over(engine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rail takes one call, as a probe: one payment goes, one waits, and one has waited long enough."""
    now, minute = datetime.now(UTC), timedelta(minutes=1)
    goes, waits, over = (row(rail="sandbox", status="authorized", submit_by=now + later) for later in (minute, minute, -minute))
    monkeypatch.setattr(engine.dispatch.breakers, "allowance", lambda rail, operation: 1)
    monkeypatch.setattr(engine.dispatch.db, "call", lambda name, *arguments: engine.written.append((name, arguments[1])))
    monkeypatch.setattr(engine.dispatch, "end_unsent", lambda payment, state, code: engine.written.append((payment["id"], state, code)))
    assert engine.dispatch._let_through(goes["org_id"], [goes, waits, over]) == [goes]
    assert engine.written == [(over["id"], "expired", "rail_unavailable"), ("work_wait", [waits["id"]])]
