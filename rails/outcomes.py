"""What an answer of a rail means for a payment or a refund, and how it is booked.

A payment settles on the rail's validated word, and fails on proof only: nothing was sent, the rail rejected it, or the rail does not know
it after the time in which it could still arrive, and whoever could send it is done or dead. Everything else is uncertain, or a human's.
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from codespar.lib import db, ids
from ledger import records
from rails import booking, hints, queue, workers
from rails.adapters.base import Capabilities, Outcome, Result

Row = dict[str, Any]
# So many answers that prove nothing, and a person looks (the questions go from one a second to one every five minutes).
MOST_CHECKS = 20


@dataclass(frozen=True, slots=True)
class Step:
    """One result to book: `after` is the new state, or None when the state stays. `proof` is why a hold may be released."""

    row: Row
    source: str
    result: str
    code: str
    after: str | None
    proof: str | None = None
    moved: int | None = None
    provider_id: str | None = None
    request: bytes = b""
    raw: bytes = b""


def of_answer(row: Row, answer: Outcome) -> Step:
    """What the process that holds the attempt knows. It is done with sending now, whatever it knows."""
    if answer.result is Result.UNKNOWN and not answer.sent:
        return _step(row, "answer", answer, "failed", "unsent")
    return _step(row, "answer", answer, *_meaning(answer, "uncertain"))


def of_following(row: Row, answer: Outcome) -> Step:
    """What a capture or a cancellation has shown. Only its success ends anything; whatever else it was, the next question tells."""
    over = answer.result in (Result.SETTLED, Result.CANCELED)
    return _step(row, "answer", answer, *(_meaning(answer, None) if over else (None, None)))


def of_query(row: Row, answer: Outcome, capabilities: Capabilities) -> Step | None:
    """What a question, asked at `row["asked_at"]`, has shown; None when it has shown nothing yet and is to be asked again."""
    if answer.result in (Result.ACCEPTED, Result.RESERVED):
        # The rail has it and will end it, however long that takes. That it has it is written down once.
        return _step(row, "query", answer, None, None) if row.get("stage", answer.result) != answer.result else None
    if answer.result is Result.NOT_FOUND:
        over = row["asked_at"] > row["send_by"] + timedelta(seconds=capabilities.acceptance_window_seconds)
        if over and (row["answered"] or workers.is_dead(row["worker"])):
            return _step(row, "query", answer, "failed", "not_found_after_window")
        return _tired(row, answer)
    if answer.result is Result.UNKNOWN:
        return _tired(row, answer)
    return _step(row, "query", answer, *_meaning(answer, None))


def unasked(row: Row) -> Step | None:
    """The rail could not even be asked: again later, and after so many times a person looks."""
    if row["checks"] < MOST_CHECKS:
        return None
    return Step(row, "query", "unknown", "not_askable", "needs_human")


def of_question(row: Row, answer: Outcome | None, kind: str) -> Step | None:
    """What to book after a question, None being a rail that could not be asked. None when it is to be asked again: that is written down."""
    step = unasked(row) if answer is None else of_query(row, answer, row["adapter"].capabilities)
    if step is None:
        db.call("work_later", row["org_id"], kind, row["id"], workers.identity())
    return step


def book(steps: list[Step]) -> None:
    """Book results of one organisation and mode together: one record. A payment that went on in the meantime is left out."""
    while steps:
        try:
            moved = _book_together(steps)
        except db.Refused as error:
            if error.rule != "payments_provider":
                raise
            _book_one_by_one(steps)
            return
        if moved is None:
            for step in steps:
                hints.outcome(step.row["id"])
            return
        steps = [step for step in steps if ids.wire("pay", step.row["id"]) not in moved]


def _book_one_by_one(steps: list[Step]) -> None:
    """One of these carries a provider's id that another payment has: that one is a human's, the others are what they are."""
    if len(steps) > 1:
        for step in steps:
            book([step])
    else:
        book([_taken(steps[0])])


def _book_together(steps: list[Step]) -> list[str] | None:
    """None when all are booked; else which payments went on in the meantime, and nothing was written."""
    openings = records.Openings()
    items, parts = [], []
    for step in steps:
        items.append(_item(step, openings))
        parts += _parts(step, items[-1])
    done = booking.write(
        "payments_result",
        kind="payments.resulted",
        subject=items[0]["payment"],
        data={"items": items},
        parts=parts,
        openings=openings,
        with_openings=True,
        after=steps[0].row.get("head"),
        **booking.about([step.row for step in steps]),
    )
    return done.get("moved")


def book_refund(refund: Row, step: Step) -> None:
    """Book what the rail said of one refund. Other refunds of the payment may have been booked since it was read."""
    try:
        _book_refund(refund, step)
    except db.Refused as error:
        if error.rule != "refunds_provider":
            raise
        _book_refund(refund, _taken(step))


def _taken(step: Step) -> Step:
    """The provider's id of this result is another's already: a human's."""
    return replace(step, after="needs_human", code="provider_id_taken", provider_id=None)


def _book_refund(refund: Row, step: Step) -> None:
    while not _refund_booked(refund, step):
        found = queue.refunds(refund["org_id"], [refund["id"]])
        # Another attempt, or another state: this result is of what never was recorded, or somebody else's to tell by now.
        if not found or any(found[0][name] != refund[name] for name in ("status", "attempt_id")):
            return
        refund |= {name: found[0][name] for name in ("payment_status", "captured", "refunded")}


def _refund_booked(refund: Row, step: Step) -> bool:
    openings = records.Openings()
    wire, pay = ids.wire("ref", refund["id"]), ids.wire("pay", refund["payment_id"])
    item = {
        "id": wire,
        "payment": pay,
        "amount": refund["amount"],
        "currency": refund["currency"],
        "event": ids.wire("evt", ids.new()),
        **_result(step, openings),
        "from": refund["status"],
        "to": step.after,
    }
    parts: list[Row] = [{"part": "result", "refund": wire, "result": step.result, "code": step.code, "source": step.source}]
    if step.after == "settled":
        item["transfer"] = ids.wire("tr", ids.new())
        parts.append({"part": "refund", "id": wire, "payment": pay, "amount": refund["amount"], "currency": refund["currency"]})
    if (after := _payment_after(refund, step)) is not None:
        parts.append({"part": "transition", "subject": pay, "from": "reversing", "to": after})
    done = booking.write(
        "refund_result",
        kind="refund.resulted",
        subject=wire,
        data={"refund": item},
        parts=parts,
        openings=openings,
        with_openings=True,
        **booking.about([refund]),
    )
    return "moved" not in done


def _payment_after(refund: Row, step: Step) -> str | None:
    """The step that the end of a refund makes of its payment, if any."""
    if refund["payment_status"] != "reversing" or step.after in (None, "uncertain"):
        return None
    if step.after == "settled":
        return "reversed" if refund["refunded"] + refund["amount"] == refund["captured"] else None
    # What a person asked back is asked again by a person; what the engine asked back and does not get is a human's.
    return "settled" if step.after == "failed" and not refund["requested_by"].startswith("system:") else "needs_human"


def _meaning(answer: Outcome, unclear: str | None) -> tuple[str | None, str | None]:
    """(new state, proof) of what the rail said."""
    if answer.result is Result.SETTLED or (answer.result is Result.CANCELED and answer.moved):
        # What had moved before it was canceled has moved.
        return "settled", None
    if answer.result is Result.CANCELED:
        return "canceled", "canceled"
    if answer.result is Result.REJECTED:
        return "failed", "rejected"
    if answer.result is Result.CONFLICTED:
        return "needs_human", None
    if answer.result in (Result.ACCEPTED, Result.RESERVED):
        return None, None
    return unclear, None


def _tired(row: Row, answer: Outcome) -> Step | None:
    if row["checks"] < MOST_CHECKS:
        return None
    return _step(row, "query", answer, "needs_human", None)


def _step(row: Row, source: str, answer: Outcome, after: str | None, proof: str | None) -> Step:
    return Step(row, source, str(answer.result), answer.code, after, proof, answer.moved, answer.provider_id, answer.request, answer.raw)


def _item(step: Step, openings: records.Openings) -> Row:
    item = {
        "payment": ids.wire("pay", step.row["id"]),
        "id": ids.wire("evt", ids.new()),
        **_result(step, openings),
        "from": step.row["status"],
        "to": step.after,
    }
    if step.after == "settled":
        item["transfer"] = ids.wire("tr", ids.new())
    return item


def _captured(step: Step) -> int:
    if step.after != "settled":
        return 0
    amount: int = step.row["amount"]
    return step.moved or 0 if step.result == Result.CANCELED else amount


def _result(step: Step, openings: records.Openings) -> Row:
    """The rail's own words stay outside the record, which commits to them."""
    result: Row = {
        "attempt": ids.wire("att", step.row["attempt_id"]),
        "source": step.source,
        "result": step.result,
        "code": step.code,
        "proof": step.proof,
        "provider_id": step.provider_id,
    }
    if step.moved is not None:
        result["moved"] = step.moved
    for name, data in (("request", step.request), ("answer", step.raw)):
        if data:
            result[f"{name}_commit"] = openings.add(data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00"))
    return result


def _parts(step: Step, item: Row) -> list[Row]:
    wire = item["payment"]
    parts: list[Row] = [{"part": "result", "payment": wire, "result": step.result, "code": step.code, "source": step.source}]
    captured = _captured(step)
    if captured:
        parts.append({"part": "capture", "payment": wire, "amount": captured, "currency": step.row["currency"]})
    if step.after in ("settled", "failed", "canceled") and captured < step.row["amount"]:
        parts.append({"part": "release", "payment": wire})
    if step.after is not None:
        parts.append({"part": "transition", "subject": wire, "from": item["from"], "to": step.after})
    return parts
