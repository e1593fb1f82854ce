"""The wire rail: transfers and recalls in ISO 20022, over a bank's HTTP API or through folders that we share with it.

A payee's account (type `iban`) is written `IBAN` or `IBAN/BIC`, in capitals and without spaces. How our key becomes the ids of
messages, and which characters texts may have, says `rails.iso20022.words`. A message's CreDtTm is `send_by`, the moment until which it
may leave, so that one instruction is always the same bytes. The way back is a camt.056: before settlement it asks to stop the transfer
and no more, afterwards to have it returned; the bank may say no to both.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from rails.adapters import digests, judging, notices, wire_answers
from rails.adapters.base import (
    Action,
    Capabilities,
    Check,
    Connection,
    Cost,
    Deposit,
    Instruction,
    Notice,
    NotSendable,
    Outcome,
    RefundInstruction,
    Result,
    RollbackStep,
    Statement,
    Unreadable,
    WebhookRefused,
)
from rails.adapters.exchange import Exchange, bearer, exchange, safe_url, utc_now
from rails.adapters.judging import Verdict
from rails.adapters.wire_folders import Folders
from rails.iso20022 import orders, words
from rails.iso20022.orders import Recall, Transfer
from rails.iso20022.words import BadMessage

Judge = Callable[[int, bytes], Verdict]


class WireAdapter:
    """One account at a bank that speaks ISO 20022. Thread-safe.

    Raises ValueError when `base_url` is neither https, nor http on a loopback address, nor `file:///absolute/folder`, and when `account` is
    neither an IBAN nor a number of at most 34 characters. `clock` is what `send_by` is compared with.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("iban",),
        currencies=None,
        secrets=("api_key",),
        webhook_headers=notices.HEADERS,
        captures=False,
        can_void=True,
        can_refund=True,
        partial_refund=False,
        query_by_key=True,
        key_repeats=True,
        key_lifetime_seconds=None,
        acceptance_window_seconds=60,
        settlement_seconds=86_400,
        cost=Cost(fixed=20),
        rollback=(
            RollbackStep(
                state=Result.ACCEPTED,
                action=Action.RECALL,
                how="camt.056, only if it has not settled: the bank stops the transfer (CNCL) or says no (RJCR)",
                within_seconds=None,
                certain=False,
            ),
            RollbackStep(
                state=Result.SETTLED,
                action=Action.REFUND,
                how="recall by camt.056, all of it: the payee's bank returns the money, hours or days later, or says no",
                within_seconds=10 * 86_400,
                certain=False,
            ),
        ),
        statement_seconds=86_400,
    )

    def __init__(self, base_url: str, api_key: str, account: str, clock: Callable[[], datetime] = utc_now) -> None:
        orders.own_account(account)
        self._account, self._clock = account, clock
        self._folders = Folders(base_url, account, clock) if base_url.startswith("file:") else None
        self._base_url = "" if self._folders else safe_url(base_url)
        self._credentials = bearer(api_key)

    @classmethod
    def connect(cls, connection: Connection) -> WireAdapter:
        """The adapter of this account."""
        return cls(connection.base_url, connection.secrets["api_key"], connection.account)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """That the bank shows the account's statement, and takes messages where that can be seen."""
        try:
            self.statement("", deadline)
        except Unreadable as error:
            return judging.unfit(error.code, str(error))
        open_ = self._folders is None or self._folders.writable()
        return (
            Check(name="reachable", ok=True, detail="the bank answers"),
            Check(name="account", ok=open_, detail="the bank shows the account" if open_ else "the folder out cannot be written"),
        )

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """Nothing is to be asked first; what this rail cannot write is said now."""
        self._written(instruction)
        return instruction

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Asks for the transfer, once. Never `not_found`."""
        try:
            body = self._written(instruction)
        except NotSendable as error:
            return judging.unsent(error.code, error.reason)
        done = self._post("pain.001", "pain.002", instruction.key, body, deadline, instruction.send_by)
        return self._outcome(done, self._of(instruction), asks=False)

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the bank has under our key."""
        done = self._ask("pain.001", "pain.002", instruction.key, deadline)
        if done.failure == "refused":
            return _refused(done, self._is_ours(done.body, instruction))
        return self._outcome(done, self._of(instruction), asks=True)

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """The bank reserves nothing for us: what it has accepted it moves by itself."""
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """Asks the bank to stop what has not settled. When it says no, the transfer goes on; what became of it is told if it is over."""
        recall = Recall(
            key=stop_key(instruction),
            payment_key=instruction.key,
            at=_second(instruction.send_by),
            account=self._account,
            amount=instruction.amount,
            currency=instruction.currency,
            stop_only=True,
        )
        done = self._recall(recall, instruction.send_by, deadline)
        found = self._outcome(done, lambda status, raw: wire_answers.judge_stop(status, raw, instruction, recall.key), asks=False)
        if found.code != "recall_refused":
            return found
        over = self.query(instruction, deadline)
        return over if over.result in (Result.SETTLED, Result.CANCELED, Result.NOT_FOUND) else found

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Asks for the return of the whole transfer, once. Never `not_found`."""
        recall = Recall(
            key=instruction.key,
            payment_key=instruction.payment_key,
            at=_second(instruction.send_by),
            account=self._account,
            amount=instruction.amount,
            currency=instruction.currency,
        )
        return self._outcome(self._recall(recall, instruction.send_by, deadline), _of_refund(instruction), asks=False)

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """What became of the recall under our refund key."""
        done = self._ask("camt.056", "camt.029", instruction.key, deadline)
        if done.failure == "refused":
            return _refused(done, _is_our_recall(done.body, instruction))
        return self._outcome(done, _of_refund(instruction), asks=True)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """The credit entry, confirmed at the bank; None when it is not known there; raises `Unreadable`."""
        if not re.fullmatch(wire_answers.REFERENCE, deposit_id):
            return None
        if self._folders is None:
            done = self._get(f"/notifications/{deposit_id}", deadline)
        else:
            done = self._folders.file(f"camt.054-{deposit_id}.xml")
            if done.failure == "absent":
                return None
        return wire_answers.read(done, lambda body: wire_answers.deposit(body, self._account, deposit_id))

    def statement(self, cursor: str, deadline: float) -> Statement:
        """Up to 25 lines after the line with the number `cursor`; raises `Unreadable`."""
        after = int(cursor or 0)
        folders = self._folders
        done = folders.latest("camt.053", after) if folders else self._get(f"/statements?after={after}", deadline)
        found = wire_answers.read(done, lambda body: wire_answers.statement(body, self._account, after))
        if found is None:
            raise Unreadable("not_found", "the bank does not know this account", done.body)
        return found

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """The events of an authentic, fresh message for this account; anything else raises `WebhookRefused`."""
        message_id = notices.authenticate(headers, body, secrets, now)
        try:
            return wire_answers.notices(body, self._account, message_id)
        except ValueError:
            raise WebhookRefused from None

    def rail_key(self, digest: bytes) -> str:
        """The digest in base 62: 43 letters and digits, one to one; ValueError unless SHA-256."""
        return digests.base62(digest)

    def _written(self, instruction: Instruction) -> bytes:
        """The message; raises `NotSendable` for what this rail cannot carry."""
        if instruction.payee_type not in self.capabilities.account_types:
            raise NotSendable("account_type_unsupported", "a wire pays to an IBAN")
        if instruction.target is not None:
            raise NotSendable("target_unsupported", "a wire pays an account and nothing on the payee's side")
        payee = _fitted("payee_malformed", lambda: words.account(instruction.payee_account))
        name = instruction.payee_name
        order = Transfer(
            key=instruction.key,
            at=_second(instruction.send_by),
            account=self._account,
            amount=instruction.amount,
            currency=instruction.currency,
            iban=payee[0],
            bic=payee[1],
            name=_fitted("name_unwritable", lambda: words.spell(name, orders.NAME, "the payee's name")) if name else None,
            reference=_fitted("reference_unwritable", lambda: words.spell(instruction.reference, orders.LINE, "the reference")),
        )
        _fitted("currency_unsupported", lambda: words.decimal(instruction.amount, instruction.currency))
        return _fitted("not_writable", lambda: orders.write_transfer(order))

    def _of(self, instruction: Instruction) -> Judge:
        return lambda status, raw: wire_answers.judge_payment(status, raw, instruction, self._account)

    def _is_ours(self, raw: bytes, instruction: Instruction) -> bool:
        """Whether this is the message of the instruction, whenever it was written."""
        try:
            told = orders.read_transfer(raw)
            return orders.write_transfer(dataclasses.replace(told, at=_second(instruction.send_by))) == self._written(instruction)
        except (BadMessage, NotSendable):
            return False

    def _outcome(self, done: Exchange, judge: Judge, *, asks: bool) -> Outcome:
        if done.failure == "absent":
            return dataclasses.replace(judging.unsent("not_found", done.detail), result=Result.NOT_FOUND, sent=True, request=done.request)
        found = judging.outcome(done, judge, asks=asks, repeats=self.capabilities.key_repeats)
        return found if self._folders is None else dataclasses.replace(found, http_status=None)

    def _recall(self, recall: Recall, send_by: datetime, deadline: float) -> Exchange:
        try:
            body = orders.write_recall(recall)
        except BadMessage as error:
            return Exchange(status=None, body=b"", sent=False, failure="not_writable", detail=str(error), request=b"")
        return self._post("camt.056", "camt.029", recall.key, body, deadline, send_by)

    def _post(self, kind: str, answer: str, key: str, body: bytes, deadline: float, send_by: datetime) -> Exchange:
        identifier = words.message_id(key)
        if self._folders is not None:
            return self._folders.send(f"{kind}-{identifier}.xml", f"{answer}-{identifier}.xml", body, deadline, send_by)
        return exchange(
            "POST",
            f"{self._base_url}/messages",
            credentials=self._credentials,
            headers={"Content-Type": "application/xml", "Idempotency-Key": identifier},
            body=body,
            deadline=deadline,
            send_by=send_by,
            clock=self._clock,
        )

    def _ask(self, kind: str, answer: str, key: str, deadline: float) -> Exchange:
        identifier = words.message_id(key)
        if self._folders is not None:
            return self._folders.ask(f"{kind}-{identifier}.xml", f"{answer}-{identifier}.xml", deadline)
        return self._get(f"/messages/{urllib.parse.quote(identifier)}", deadline)

    def _get(self, path: str, deadline: float) -> Exchange:
        return exchange("GET", self._base_url + path, credentials=self._credentials, headers={}, body=b"", deadline=deadline)


def stop_key(instruction: Instruction) -> str:
    """The key of the recall that stops this transfer: each attempt to stop it has its own, for it is another message."""
    said = f"stop:{instruction.key}:{orders.stamp(instruction.send_by)}"
    return digests.base62(hashlib.sha256(said.encode()).digest())


def _of_refund(instruction: RefundInstruction) -> Judge:
    return lambda status, raw: wire_answers.judge_refund(status, raw, instruction)


def _is_our_recall(raw: bytes, instruction: RefundInstruction) -> bool:
    try:
        told = orders.read_recall(raw)
    except BadMessage:
        return False
    found = (told.key, told.payment_key, told.amount, told.currency)
    return found == (instruction.key, instruction.payment_key, instruction.amount, instruction.currency)


def _fitted(code: str, make: Callable[[], judging.T]) -> judging.T:
    try:
        return make()
    except BadMessage as error:
        raise NotSendable(code, str(error)) from None


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)


def _refused(done: Exchange, ours: bool) -> Outcome:
    """The bank took the file and did not carry it out. It proves that only when the file is the one that we mean."""
    found = judging.unsent("refused" if ours else "invalid_response", done.detail)
    result = Result.REJECTED if ours else Result.UNKNOWN
    return dataclasses.replace(found, result=result, sent=True, raw=done.body, request=done.request, invalid=not ours)
