"""The sandbox bank's rail: instructions to its HTTP API, and its answers to outcomes that can be trusted.

`judge_payment` and `judge_refund` are pure: they say what an answer proves, and the answer is `settled` only when every
field in it equals the instruction.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from rails.adapters import judging, notices, reading
from rails.adapters.base import (
    KEY,
    Action,
    Capabilities,
    Check,
    Connection,
    Cost,
    Deposit,
    Instruction,
    Notice,
    Outcome,
    RefundInstruction,
    Result,
    RollbackStep,
    Statement,
    StatementLine,
    Unreadable,
    WebhookRefused,
)
from rails.adapters.exchange import Exchange, bearer, exchange, safe_url, utc_now
from rails.adapters.judging import Verdict

PIX_ID = r"[0-9]{20}[A-Za-z0-9]{11}"
CURRENCY = "[A-Z]{3,5}"
LINES = 100  # lines asked for at once: their answer stays below LARGEST_BODY

# A no to this very body: the bank has booked nothing. 401, 403 and 429 are not in it: they speak of the caller, and
# say nothing about a payment that an earlier attempt may have made.
REFUSALS = {(400, "invalid_request"), (404, "payment_not_found"), (422, "payment_not_settled")}
WEBHOOKS = {
    "payment.settled": "payment",
    "payment.rejected": "payment",
    "payment.canceled": "payment",
    "refund.settled": "refund",
    "deposit.received": "deposit",
}


def judge_payment(status: int, body: bytes, expected: Instruction) -> Verdict:
    """What the answer to a PUT or GET of this payment proves."""
    fields: dict[str, str | int] = {
        "amount": expected.amount,
        "currency": expected.currency,
        "key": expected.key,
        "payee": expected.payee_account,
        "reference": expected.reference,
    }
    return _judge(status, body, fields, "E", ("settled", "accepted", "canceled", "rejected"))


def judge_refund(status: int, body: bytes, expected: RefundInstruction) -> Verdict:
    """What the answer to a PUT or GET of this refund proves."""
    fields: dict[str, str | int] = {
        "amount": expected.amount,
        "currency": expected.currency,
        "key": expected.key,
        "payment": expected.payment_key,
    }
    return _judge(status, body, fields, "D", ("settled", "rejected"))


def _judge(status: int, body: bytes, fields: Mapping[str, str | int], letter: str, statuses: tuple[str, ...]) -> Verdict:
    if status >= 500:
        return judging.outage(status)
    try:
        answer = reading.parse_object(body)
        if status not in (200, 201):
            return _judge_refusal(status, answer)
        return _judge_booking(answer, fields, letter, statuses)
    except ValueError as error:
        return judging.invalid(status, error)


def _judge_refusal(status: int, answer: dict[str, Any]) -> Verdict:
    code = reading.text(answer, "code")
    if (status, code) == (404, "not_found"):
        return Verdict(Result.NOT_FOUND, "not_found", "the bank does not know this key")
    if (status, code) == (409, "conflict"):
        return Verdict(Result.CONFLICTED, "conflict", "the bank has something else under this key")
    if (status, code) in REFUSALS:
        return Verdict(Result.REJECTED, "refused", f"the bank refused the request: {code}")
    if status in (401, 403):
        return Verdict(Result.UNKNOWN, "unauthorized", "the bank does not accept our API key")
    if status == 429:
        return Verdict(Result.UNKNOWN, "rate_limited", "the bank asks us to slow down")
    raise reading.Malformed("an unknown refusal")


def _judge_booking(answer: dict[str, Any], fields: Mapping[str, str | int], letter: str, statuses: tuple[str, ...]) -> Verdict:
    found = {name: reading.field(answer, name) for name in fields}
    provider_id, status = reading.match(answer, "id", letter + PIX_ID), reading.text(answer, "status")
    if status not in statuses:
        raise reading.Malformed("status is not one of the API's")
    for name, value in fields.items():
        if found[name] != value:
            return judging.mismatch(name, provider_id)
    if status == "rejected":
        why = reading.match(answer, "reason", "[a-z_]{1,60}")
        return Verdict(Result.REJECTED, "declined", f"the bank declined: {why}", provider_id)
    if status == "settled":
        reading.time(answer, "settled_at" if letter == "E" else "at")
    moved = _moved(answer, fields) if status in ("accepted", "canceled") else None
    return Verdict(Result(status), status, f"the bank says {status}", provider_id, moved)


def _moved(answer: dict[str, Any], fields: Mapping[str, str | int]) -> int:
    moved = reading.integer(answer, "moved")
    if not 0 <= moved <= int(fields["amount"]):
        raise reading.Malformed("moved is not a part of the amount")
    return moved


class SandboxAdapter:
    """One account at the sandbox bank. Thread-safe; connections are shared by all adapters of the process.

    Raises ValueError when `base_url` is neither https nor http on a loopback address. `clock` is what `send_by` is
    compared with.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("pix_key",),
        currencies=None,
        secrets=("api_key",),
        webhook_headers=notices.HEADERS,
        captures=False,
        can_void=True,
        can_refund=True,
        partial_refund=True,
        query_by_key=True,
        key_repeats=True,
        key_lifetime_seconds=None,
        acceptance_window_seconds=30,
        settlement_seconds=10,
        cost=Cost(fixed=1),
        rollback=(
            RollbackStep(
                state=Result.ACCEPTED,
                action=Action.VOID,
                how="DELETE /v1/payments/{key}: what has not moved yet will not; what has moved is refunded",
                within_seconds=None,
                certain=False,
            ),
            RollbackStep(
                state=Result.SETTLED,
                action=Action.REFUND,
                how="devolução: PUT /v1/payments/{key}/refunds/{refund_key}, in parts or whole",
                within_seconds=None,
                certain=True,
            ),
        ),
    )

    def __init__(self, base_url: str, api_key: str, account: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._base_url, self._account, self._clock = safe_url(base_url), account, clock
        self._credentials = bearer(api_key)

    @classmethod
    def connect(cls, connection: Connection) -> SandboxAdapter:
        """The adapter of this account."""
        return cls(connection.base_url, connection.secrets["api_key"], connection.account)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """That the bank answers, knows our API key, and shows the account's statement."""
        try:
            self.statement("", deadline)
        except Unreadable as error:
            return judging.unfit(error.code, str(error))
        return (
            Check(name="reachable", ok=True, detail="the bank answers"),
            Check(name="account", ok=True, detail="the bank knows the API key and shows the account"),
        )

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """Nothing is to be asked first: the bank checks a payee when it is paid."""
        return instruction

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Asks for the payment, once. Never `not_found`."""
        payee = {"key": instruction.payee_account}
        if instruction.payee_name is not None:
            payee["name"] = instruction.payee_name
        body = {
            "account": self._account,
            "amount": instruction.amount,
            "currency": instruction.currency,
            "payee": payee,
            "reference": instruction.reference,
        }
        done = self._write("PUT", f"/v1/payments/{instruction.key}", instruction, body, deadline)
        return self._payment(done, instruction, asks=False)

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the bank has under our key."""
        return self._payment(self._get(f"/v1/payments/{instruction.key}", deadline), instruction, asks=True)

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """The bank reserves nothing: what it has accepted it moves by itself."""
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """Stops what has not moved yet; the answer says what had. Settled stays settled."""
        done = self._write("DELETE", f"/v1/payments/{instruction.key}", instruction, None, deadline)
        return self._payment(done, instruction, asks=True)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Asks for the refund, once. Never `not_found`."""
        path = f"/v1/payments/{instruction.payment_key}/refunds/{instruction.key}"
        done = self._write("PUT", path, instruction, {"amount": instruction.amount}, deadline)
        return self._refund(done, instruction, asks=False)

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """What the bank has under our refund key."""
        done = self._get(f"/v1/payments/{instruction.payment_key}/refunds/{instruction.key}", deadline)
        return self._refund(done, instruction, asks=True)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """The deposit, confirmed at the bank; None when it is not known there; raises `Unreadable`."""
        if not re.fullmatch("E" + PIX_ID, deposit_id):
            return None
        done = self._get(f"/v1/deposits/{deposit_id}", deadline)
        return judging.read(done, lambda answer: self._deposit(answer, deposit_id, done.body), _judge_refusal)

    def statement(self, cursor: str, deadline: float) -> Statement:
        """Up to 100 lines after the line with the number `cursor`; raises `Unreadable`."""
        after = int(cursor or 0)
        query = urllib.parse.urlencode({"account": self._account, "after": after, "limit": LINES})
        done = self._get(f"/v1/statement?{query}", deadline)
        found = judging.read(done, lambda answer: _statement(answer, self._account, after, done.body), _judge_refusal)
        if found is None:
            raise Unreadable("not_found", "the bank does not know this account", done.body)
        return found

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """The one event of an authentic, fresh webhook for this account; anything else raises `WebhookRefused`."""
        message_id = notices.authenticate(headers, body, secrets, now)
        try:
            return (self._notice(reading.parse_object(body), message_id),)
        except ValueError:
            raise WebhookRefused from None

    def rail_key(self, digest: bytes) -> str:
        """The digest in hexadecimal: 64 characters, all of them in the bank's alphabet; ValueError unless SHA-256."""
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        return digest.hex()

    def _payment(self, done: Exchange, expected: Instruction, *, asks: bool) -> Outcome:
        return judging.outcome(
            done, lambda status, raw: judge_payment(status, raw, expected), asks=asks, repeats=self.capabilities.key_repeats
        )

    def _refund(self, done: Exchange, expected: RefundInstruction, *, asks: bool) -> Outcome:
        return judging.outcome(
            done, lambda status, raw: judge_refund(status, raw, expected), asks=asks, repeats=self.capabilities.key_repeats
        )

    def _write(self, method: str, path: str, instruction: Instruction | RefundInstruction, body: object, deadline: float) -> Exchange:
        return exchange(
            method,
            self._base_url + path,
            credentials=self._credentials,
            headers={"Content-Type": "application/json", "Idempotency-Key": instruction.key},
            body=b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            deadline=deadline,
            send_by=None if method == "DELETE" else instruction.send_by,
            clock=self._clock,
        )

    def _get(self, path: str, deadline: float) -> Exchange:
        url = self._base_url + path
        return exchange("GET", url, credentials=self._credentials, headers={}, body=b"", deadline=deadline)

    def _deposit(self, answer: dict[str, Any], deposit_id: str, raw: bytes) -> Deposit:
        if (answer.get("id"), answer.get("account"), answer.get("status")) != (deposit_id, self._account, "settled"):
            raise reading.Malformed("id, account or status is not that of the deposit asked for")
        return Deposit(
            id=deposit_id,
            account=self._account,
            amount=reading.positive(answer, "amount"),
            currency=reading.match(answer, "currency", CURRENCY),
            payer_key=reading.party(answer, "payer"),
            reference=reading.text(answer, "reference"),
            at=reading.time(answer, "at"),
            raw=raw,
        )

    def _notice(self, event: dict[str, Any], message_id: str) -> Notice:
        kind, data = WEBHOOKS.get(reading.text(event, "type")), event.get("data")
        if kind is None or event.get("account") != self._account or not isinstance(data, dict):
            raise reading.Malformed("type, account or data")
        provider_id = reading.match(data, "id", "[ED]" + PIX_ID)
        key = None if kind == "deposit" else reading.match(data, "key", KEY.pattern)
        return Notice(id=message_id, kind=kind, provider_id=provider_id, key=key)


def _statement(answer: dict[str, Any], account: str, after: int, raw: bytes) -> Statement:
    rows, complete = answer.get("lines"), answer.get("complete")
    if answer.get("account") != account or not isinstance(rows, list) or not isinstance(complete, bool):
        raise reading.Malformed("account, lines or complete")
    lines = tuple(_line(row) for row in rows)
    numbers = [reading.integer(row, "line") for row in rows]
    opening, closing = reading.integer(answer, "opening"), reading.integer(answer, "closing")
    if any(later <= earlier for earlier, later in zip([after, *numbers], numbers, strict=False)):
        raise reading.Malformed("lines are not in order")
    cursor = str(rows[-1]["line"]) if rows else str(after)
    return Statement(opening=opening, lines=lines, closing=closing, cursor=cursor, complete=complete, raw=raw)


def _line(row: object) -> StatementLine:
    if not isinstance(row, dict):
        raise reading.Malformed("a line is not an object")
    kind = reading.match(row, "kind", "payment|refund|deposit")
    provider_id = reading.match(row, "id", "[ED]" + PIX_ID)
    return StatementLine(
        id=f"{reading.integer(row, 'line')}",
        kind=kind,
        provider_id=provider_id,
        key=None if kind == "deposit" else reading.match(row, "key", KEY.pattern),
        amount=reading.integer(row, "amount"),
        currency=reading.match(row, "currency", CURRENCY),
        at=reading.time(row, "at"),
        party=reading.party(row, "payer" if kind == "deposit" else "payee"),
    )
