"""What the bank's messages prove about a wire. All of it is pure; `settled` only when every field equals the instruction."""

from __future__ import annotations

import re
from collections.abc import Callable

from rails.adapters import judging, reading
from rails.adapters.base import Deposit, Instruction, Notice, RefundInstruction, Result, Statement, StatementLine, Unreadable
from rails.adapters.exchange import Exchange
from rails.adapters.judging import Verdict, mismatch
from rails.iso20022 import documents, reports, words
from rails.iso20022.orders import LINE
from rails.iso20022.reports import Entry, Resolution, Status
from rails.iso20022.words import BadMessage

REFERENCE = "[A-Za-z0-9]{1,35}"
# External codes: what the bank has and has not finished, what it has, and what it will not do.
STATUSES = {
    **dict.fromkeys(("RCVD", "ACTC", "ACCP", "ACSP", "PDNG"), Result.ACCEPTED),
    **dict.fromkeys(("ACSC", "ACCC"), Result.SETTLED),
    "RJCT": Result.REJECTED,
    "CANC": Result.CANCELED,
}
RESOLVED = ("CNCL", "PDCR", "RJCR")
# A no to these very bytes: the bank has not taken the message.
REFUSALS = {
    (400, "invalid_message"): Result.REJECTED,
    (400, "invalid_request"): Result.REJECTED,
    (404, "not_found"): Result.NOT_FOUND,
    (409, "conflict"): Result.CONFLICTED,
}
CODES = {Result.REJECTED: "refused", Result.CONFLICTED: "conflict", Result.NOT_FOUND: "not_found"}


def judge_payment(status: int, body: bytes, expected: Instruction, account: str) -> Verdict:
    """What the status report of this transfer proves."""
    return _judge(status, body, lambda: _transfer(reports.read_status(body), expected, account))


def judge_stop(status: int, body: bytes, expected: Instruction, key: str) -> Verdict:
    """What the resolution of the recall `key`, which was to stop this transfer, proves."""

    def of() -> Verdict:
        found = reports.read_resolution(body)
        wrong = _other_recall(found, key, expected.key, expected.amount, expected.currency)
        if wrong is not None:
            return wrong
        if found.confirmation == "CNCL" and found.returned in (None, expected.amount):
            return Verdict(Result.CANCELED, "canceled", "the bank has stopped the transfer, or has all of it back", None, 0)
        if found.confirmation == "CNCL":
            return mismatch("returned", found.returned_as)
        refused = found.confirmation == "RJCR"
        why = f"the bank does not stop it: {found.reason}" if refused else "the bank looks whether it can be stopped"
        return Verdict(Result.ACCEPTED, "recall_refused" if refused else "recall_asked", why)

    return _judge(status, body, of)


def judge_refund(status: int, body: bytes, expected: RefundInstruction) -> Verdict:
    """What the resolution of this recall proves: money is back once its return is booked, and not when somebody has agreed to it."""

    def of() -> Verdict:
        found = reports.read_resolution(body)
        wrong = _other_recall(found, expected.key, expected.payment_key, expected.amount, expected.currency)
        if wrong is not None:
            return wrong
        if found.confirmation == "RJCR":
            return Verdict(Result.REJECTED, "declined", f"the bank does not get it back: {_code(found.reason)}")
        if found.confirmation == "PDCR" or found.returned is None:
            return Verdict(Result.ACCEPTED, "accepted", "the bank has asked for it back, and it is not booked yet")
        reference = _reference(found.returned_as)
        if found.returned != expected.amount or (expected.provider_id or reference) != reference:
            return mismatch("returned", reference)
        return Verdict(Result.SETTLED, "settled", "the bank has booked the return", reference)

    return _judge(status, body, of)


def refusal(status: int, body: bytes) -> Verdict:
    """What a refusal of the API proves; raises ValueError for one that nobody agreed on."""
    if status in (401, 403):
        return Verdict(Result.UNKNOWN, "unauthorized", "the bank does not accept our API key for this account")
    if status == 429:
        return Verdict(Result.UNKNOWN, "rate_limited", "the bank asks us to slow down")
    code = reading.text(reading.parse_object(body), "code")
    result = REFUSALS.get((status, code))
    if result is None:
        raise reading.Malformed("an unknown refusal")
    return Verdict(result, CODES[result], f"the bank says {code}")


def read(done: Exchange, of: Callable[[bytes], judging.T]) -> judging.T | None:
    """What `of` makes of the answer, None when the bank has nothing; raises `Unreadable` for all that proves nothing."""
    if done.status is None:
        raise Unreadable(done.failure, done.detail, done.body)
    try:
        if done.status == 200:
            return of(done.body)
        verdict = judging.outage(done.status) if done.status >= 500 else refusal(done.status, done.body)
    except ValueError as error:
        raise Unreadable("invalid_response", str(error), done.body) from None
    if verdict.result is Result.NOT_FOUND:
        return None
    raise Unreadable("invalid_response" if verdict.result is not Result.UNKNOWN else verdict.code, verdict.reason, done.body)


def _judge(status: int, body: bytes, of: Callable[[], Verdict]) -> Verdict:
    if status >= 500:
        return judging.outage(status)
    try:
        return of() if status in (200, 201) else refusal(status, body)
    except ValueError as error:
        return judging.invalid(status, error)


def _transfer(found: Status, expected: Instruction, account: str) -> Verdict:
    if found.code not in STATUSES:
        raise reading.Malformed("the status is none that we know")
    result, reference = STATUSES[found.code], _reference(found.reference)
    pairs = {
        "key": (found.original.is_of(expected.key), True),
        "amount": (found.amount, expected.amount),
        "currency": (found.currency, expected.currency),
        "payee": (found.payee, expected.payee_account),
        "reference": (found.remittance, words.spell(expected.reference, LINE, "the reference")),
        "account": (found.account, account),
        "id": (reference, expected.provider_id or reference),
    }
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            return mismatch(name, reference)
    if result is Result.REJECTED:
        return Verdict(result, "declined", f"the bank declined: {_code(found.reason)}", reference)
    return Verdict(result, str(result), f"the bank says {found.code}", reference, 0 if result is Result.CANCELED else None)


def _other_recall(found: Resolution, key: str, payment_key: str, amount: int, currency: str) -> Verdict | None:
    """None when the resolution is of this recall of this transfer."""
    if found.confirmation not in RESOLVED:
        raise reading.Malformed("the confirmation is none that we know")
    pairs = {
        "key": (found.key, key),
        "payment": (found.original.is_of(payment_key), True),
        "amount": (found.amount, amount),
        "currency": (found.currency, currency),
    }
    wrong = next((name for name, (theirs, ours) in pairs.items() if theirs != ours), None)
    return None if wrong is None else mismatch(wrong, found.returned_as)


def _reference(found: str | None) -> str:
    if found is None or not re.fullmatch(REFERENCE, found):
        raise reading.Malformed("the bank's own reference is missing or not in its form")
    return found


def _code(found: str | None) -> str:
    """A no has its reason: without one it is not what was agreed."""
    if found is None or not re.fullmatch("[A-Z0-9]{4}", found):
        raise reading.Malformed("the reason is none of ISO 20022")
    return found


# The account.


def statement(body: bytes, account: str, after: int) -> Statement:
    """A part of the statement after the line `after`. What the bank shows before that line is taken off its opening balance."""
    found = reports.read_statement(body)
    if found.account != account:
        raise BadMessage("the statement is of another account")
    lines = [_line(entry) for entry in found.entries]
    numbers = [int(line.id) for line in lines]
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:], strict=False)):
        raise BadMessage("the entries are not in order")
    before = sum(line.amount for line in lines if int(line.id) <= after)
    shown = tuple(line for line in lines if int(line.id) > after)
    cursor = str(max(after, *numbers, 0))
    return Statement(opening=found.opening + before, lines=shown, closing=found.closing, cursor=cursor, complete=found.complete, raw=body)


def _line(entry: Entry) -> StatementLine:
    if not re.fullmatch("[1-9][0-9]{0,15}", entry.line):
        raise BadMessage("an entry's number is none")
    key = entry.recall if entry.back else entry.original.key if entry.original and entry.amount < 0 else None
    kind = "refund" if entry.back else "deposit" if entry.amount > 0 else "payment" if key else "other"
    return StatementLine(
        id=entry.line,
        kind=kind,
        provider_id=_reference(entry.reference),
        key=key,
        amount=entry.amount,
        currency=entry.currency,
        at=entry.at,
        party=entry.party,
    )


def deposit(body: bytes, account: str, reference: str) -> Deposit:
    """The booking with this reference, when it is money that came in and not a return."""
    named, entries = reports.read_notification(body)
    found = [entry for entry in entries if entry.reference == reference]
    if named != account or len(found) != 1 or found[0].amount <= 0 or found[0].back:
        raise BadMessage("the notification is not that of the deposit asked for")
    [entry] = found
    return Deposit(
        id=reference,
        account=account,
        amount=entry.amount,
        currency=entry.currency,
        payer_key=entry.party,
        reference=entry.remittance,
        at=entry.at,
        raw=body,
    )


def notices(body: bytes, account: str, message_id: str) -> tuple[Notice, ...]:
    """The events of a pain.002 or a camt.054 for `account`; raises `BadMessage`."""
    if documents.kind(body) == documents.STATUS:
        found = reports.read_status(body)
        if found.account != account:
            raise BadMessage("a status of another account")
        return (Notice(id=f"{message_id}:0", kind="payment", provider_id=_reference(found.reference), key=found.original.key),)
    named, entries = reports.read_notification(body)
    if named != account or not entries:
        raise BadMessage("a notification of another account, or of nothing")
    told = [_line(entry) for entry in entries]
    return tuple(
        Notice(id=f"{message_id}:{at}", kind=line.kind, provider_id=line.provider_id, key=line.key)
        for at, line in enumerate(told)
        if line.kind != "other"
    )
