"""The sandbox bank's rail: instructions to its HTTP API, and its answers to outcomes that can be trusted.

`judge_payment` and `judge_refund` are pure: they say what an answer proves, and the answer is `settled` only when every
field in it equals the instruction.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from codespar.lib.addresses import is_private
from rails.adapters import reading
from rails.adapters.base import (
    KEY,
    Capabilities,
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
from rails.adapters.exchange import LARGEST_BODY, Exchange, exchange, utc_now

T = TypeVar("T")

PIX_ID = r"[0-9]{20}[A-Za-z0-9]{11}"
CURRENCY = "[A-Z]{3,5}"
TOLERANCE = 300  # seconds a webhook's timestamp may differ from our clock, either way
LINES = 100  # lines asked for at once: their answer stays below LARGEST_BODY

# A no to this very body: the bank has booked nothing. 401, 403 and 429 are not in it: they speak of the caller, and
# say nothing about a payment that an earlier attempt may have made.
REFUSALS = {(400, "invalid_request"), (404, "payment_not_found"), (422, "payment_not_settled")}
WEBHOOKS = ("payment.settled", "payment.rejected", "refund.settled", "deposit.received")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer proves."""

    result: Result
    code: str
    reason: str
    provider_id: str | None = None


def judge_payment(status: int, body: bytes, expected: Instruction) -> Verdict:
    """What the answer to a PUT or GET of this payment proves."""
    fields: dict[str, str | int] = {
        "amount": expected.amount,
        "currency": expected.currency,
        "key": expected.key,
        "payee": expected.payee_key,
        "reference": expected.reference,
    }
    return _judge(status, body, fields, "E", ("settled", "accepted", "rejected"))


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
        return _judge_outage(status)
    try:
        answer = reading.parse_object(body)
        if status not in (200, 201):
            return _judge_refusal(status, reading.text(answer, "code"))
        return _judge_booking(answer, fields, letter, statuses)
    except ValueError as error:
        return Verdict(Result.UNKNOWN, "invalid_response", f"the bank answered {status}, not as agreed: {error}")


def _judge_outage(status: int) -> Verdict:
    return Verdict(Result.UNKNOWN, "unavailable", f"the bank answered {status}")


def _judge_refusal(status: int, code: str) -> Verdict:
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
            reason = f"{name} in the bank's answer does not equal the instruction"
            return Verdict(Result.CONFLICTED, f"mismatch_{name}", reason, provider_id)
    if status == "rejected":
        why = reading.match(answer, "reason", "[a-z_]{1,60}")
        return Verdict(Result.REJECTED, "declined", f"the bank declined: {why}", provider_id)
    if status == "settled":
        reading.time(answer, "settled_at" if letter == "E" else "at")
    return Verdict(Result(status), status, f"the bank says {status}", provider_id)


class SandboxAdapter:
    """One account at the sandbox bank. Thread-safe; connections are shared by all adapters of the process.

    Raises ValueError when `base_url` is neither https nor http on a loopback address. `clock` is what `send_by` is
    compared with.
    """

    capabilities = Capabilities(
        can_void=False,
        partial_refund=True,
        query_by_key=True,
        key_lifetime_seconds=None,
        acceptance_window_seconds=30,
        settlement_seconds=10,
        rollback=(
            RollbackStep(state="accepted", action="none", how="wait for settled", within_seconds=None, certain=False),
            RollbackStep(
                state="settled",
                action="refund",
                how="devolução: PUT /v1/payments/{key}/refunds/{refund_key}, in parts or whole",
                within_seconds=None,
                certain=True,
            ),
        ),
    )

    def __init__(self, base_url: str, api_key: str, account: str, clock: Callable[[], datetime] = utc_now) -> None:
        if not api_key.isascii() or not api_key.isprintable():
            raise ValueError("api_key must be printable ASCII")
        self._base_url, self._account, self._clock = _safe_url(base_url), account, clock
        self._credentials = {"Authorization": f"Bearer {api_key}"}

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Asks for the payment, once. Never `not_found`."""
        payee = {"key": instruction.payee_key}
        if instruction.payee_name is not None:
            payee["name"] = instruction.payee_name
        body = {
            "account": self._account,
            "amount": instruction.amount,
            "currency": instruction.currency,
            "payee": payee,
            "reference": instruction.reference,
        }
        done = self._put(f"/v1/payments/{instruction.key}", instruction, body, deadline)
        return _outcome(done, lambda status, raw: judge_payment(status, raw, instruction), query=False)

    def query(self, key: str, expected: Instruction, deadline: float) -> Outcome:
        """What the bank has under our key; raises ValueError when `expected` has another key."""
        if key != expected.key:
            raise ValueError("the instruction expected has another key")
        done = self._get(f"/v1/payments/{key}", deadline)
        return _outcome(done, lambda status, raw: judge_payment(status, raw, expected), query=True)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Asks for the refund, once. Never `not_found`."""
        path = f"/v1/payments/{instruction.payment_key}/refunds/{instruction.key}"
        done = self._put(path, instruction, {"amount": instruction.amount}, deadline)
        return _outcome(done, lambda status, raw: judge_refund(status, raw, instruction), query=False)

    def query_refund(self, key: str, expected: RefundInstruction, deadline: float) -> Outcome:
        """What the bank has under our refund key; raises ValueError when `expected` has another key."""
        if key != expected.key:
            raise ValueError("the instruction expected has another key")
        done = self._get(f"/v1/payments/{expected.payment_key}/refunds/{key}", deadline)
        return _outcome(done, lambda status, raw: judge_refund(status, raw, expected), query=True)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """The deposit, confirmed at the bank; None when it is not known there; raises `Unreadable`."""
        if not re.fullmatch("E" + PIX_ID, deposit_id):
            return None
        done = self._get(f"/v1/deposits/{deposit_id}", deadline)
        return _read(done, lambda answer: self._deposit(answer, deposit_id, done.body))

    def statement(self, after: int, deadline: float) -> Statement:
        """Up to 100 lines after line `after`; raises `Unreadable`, also when the sums are wrong."""
        query = urllib.parse.urlencode({"account": self._account, "after": after, "limit": LINES})
        done = self._get(f"/v1/statement?{query}", deadline)
        found = _read(done, lambda answer: _statement(answer, self._account, after, done.body))
        if found is None:
            raise Unreadable("not_found", "the bank does not know this account", done.body)
        return found

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secret: str | Sequence[str], now: datetime) -> Notice:
        """An authentic, fresh webhook for this account; anything else raises `WebhookRefused`.

        Standard Webhooks: base64 HMAC-SHA256 of `id.timestamp.body`, at most 300 seconds from `now`. A secret that is
        not `whsec_` and base64 raises ValueError.
        """
        keys = [_hmac_key(text) for text in ([secret] if isinstance(secret, str) else secret)]
        message_id, sent_at = _authenticate({name.lower(): value for name, value in headers.items()}, body, keys, now)
        try:
            return self._notice(reading.parse_object(body), message_id, sent_at, body)
        except ValueError:
            raise WebhookRefused from None

    def rail_key(self, digest: bytes) -> str:
        """The digest in hexadecimal: 64 characters, all of them in the bank's alphabet; ValueError unless SHA-256."""
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        return digest.hex()

    def _put(self, path: str, instruction: Instruction | RefundInstruction, body: object, deadline: float) -> Exchange:
        return exchange(
            "PUT",
            self._base_url + path,
            credentials=self._credentials,
            headers={"Content-Type": "application/json", "Idempotency-Key": instruction.key},
            body=json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            deadline=deadline,
            send_by=instruction.send_by,
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

    def _notice(self, event: dict[str, Any], message_id: str, sent_at: datetime, raw: bytes) -> Notice:
        kind, data = reading.text(event, "type"), event.get("data")
        if kind not in WEBHOOKS or event.get("account") != self._account or not isinstance(data, dict):
            raise reading.Malformed("type, account or data")
        return Notice(
            id=message_id,
            type=kind,
            account=self._account,
            provider_id=reading.match(data, "id", "[ED]" + PIX_ID),
            key=None if kind == "deposit.received" else reading.match(data, "key", KEY.pattern),
            payment_key=reading.match(data, "payment", KEY.pattern) if kind == "refund.settled" else None,
            status=reading.text(data, "status"),
            amount=reading.positive(data, "amount"),
            currency=reading.match(data, "currency", CURRENCY),
            party_key=next((reading.party(data, name) for name in ("payee", "payer") if name in data), None),
            sent_at=sent_at,
            raw=raw,
        )


def _safe_url(base_url: str) -> str:
    parts = urllib.parse.urlsplit(base_url)
    if parts.query or parts.fragment or not is_private(base_url):
        raise ValueError("base_url must be https, or http on a loopback address, without a query, a fragment or a user")
    return base_url.rstrip("/")


def _outcome(done: Exchange, judge: Callable[[int, bytes], Verdict], *, query: bool) -> Outcome:
    verdict = Verdict(Result.UNKNOWN, done.failure, done.detail)
    if done.status is not None:
        verdict = _only_what_was_asked(done.status, judge(done.status, done.body), query=query)
    return Outcome(
        result=verdict.result,
        reason=verdict.reason,
        provider_id=verdict.provider_id,
        sent=done.sent,
        raw=done.body,
        request=done.request,
        code=verdict.code,
        http_status=done.status,
    )


def _only_what_was_asked(status: int, verdict: Verdict, *, query: bool) -> Verdict:
    """A refused query says nothing about the payment; a request to pay is not answered by not_found."""
    beside = (Result.REJECTED, Result.CONFLICTED) if query else (Result.NOT_FOUND,)
    if status in (200, 201) or verdict.result not in beside:
        return verdict
    return Verdict(Result.UNKNOWN, "invalid_response", f"the bank answered {status}, which does not answer the request")


def _read(done: Exchange, read: Callable[[dict[str, Any]], T]) -> T | None:
    """What `read` makes of the answer, None for a not_found; raises `Unreadable` for all that proves nothing."""
    if done.status is None:
        raise Unreadable(done.failure, done.detail, done.body)
    try:
        answer = reading.parse_object(done.body) if done.status < 500 else {}
        if done.status == 200:
            return read(answer)
        verdict = _judge_refusal(done.status, reading.text(answer, "code")) if answer else _judge_outage(done.status)
    except ValueError as error:
        raise Unreadable("invalid_response", str(error), done.body) from None
    if verdict.result is Result.NOT_FOUND:
        return None
    raise Unreadable(verdict.code, verdict.reason, done.body)


def _statement(answer: dict[str, Any], account: str, after: int, raw: bytes) -> Statement:
    rows, complete = answer.get("lines"), answer.get("complete")
    if answer.get("account") != account or not isinstance(rows, list) or not isinstance(complete, bool):
        raise reading.Malformed("account, lines or complete")
    lines = tuple(_line(row) for row in rows)
    opening, closing = reading.integer(answer, "opening"), reading.integer(answer, "closing")
    if any(later.line <= earlier for earlier, later in zip([after, *(x.line for x in lines)], lines, strict=False)):
        raise reading.Malformed("lines are not in order")
    if opening + sum(line.amount for line in lines) != closing:
        raise reading.Malformed("opening and lines do not add up to closing")
    return Statement(opening=opening, lines=lines, closing=closing, complete=complete, raw=raw)


def _line(row: object) -> StatementLine:
    if not isinstance(row, dict):
        raise reading.Malformed("a line is not an object")
    kind = reading.match(row, "kind", "payment|refund|deposit")
    return StatementLine(
        line=reading.integer(row, "line"),
        kind=kind,
        id=reading.match(row, "id", "[ED]" + PIX_ID),
        key=None if kind == "deposit" else reading.match(row, "key", KEY.pattern),
        amount=reading.integer(row, "amount"),
        currency=reading.match(row, "currency", CURRENCY),
        at=reading.time(row, "at"),
        party_key=reading.party(row, "payer" if kind == "deposit" else "payee"),
    )


# Webhooks.


def _hmac_key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith("whsec_") or not key:
        raise ValueError("a webhook secret is whsec_ followed by base64")
    return key


def _authenticate(headers: Mapping[str, str], body: bytes, keys: list[bytes], now: datetime) -> tuple[str, datetime]:
    """The id and time of an authentic message. Every signature is compared with every key, without an early way out."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "")[:4096].split(" ")
    readable = re.fullmatch("[0-9]{1,12}", stamp) is not None and re.fullmatch(r"[!-~]{1,128}", message_id) is not None
    signed = f"{message_id}.{stamp}.".encode(errors="replace") + body[:LARGEST_BODY]
    wanted = [b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()) for key in keys]
    equal = [hmac.compare_digest(want, text.encode(errors="replace")) for want in wanted for text in given]
    fresh = readable and abs(now.timestamp() - int(stamp)) <= TOLERANCE
    if not (readable and fresh and any(equal) and len(body) <= LARGEST_BODY):
        raise WebhookRefused
    return message_id, datetime.fromtimestamp(int(stamp), UTC)
