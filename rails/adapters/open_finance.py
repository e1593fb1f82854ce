"""The Open Finance rail: payments initiated, and accounts read, under a consent of the account's holder, at a bank that speaks the shapes
of Open Finance Brasil (consents 3, accounts 2, automatic payments 2).

The key at the rail: `rail_key` writes the whole digest in base 62, one to one, in 43 characters. The header `x-idempotency-key` may have
40: it is the key's first 40, and the whole key stands behind our reference in `remittanceInformation`, which the bank keeps, compares
and repeats. An answer counts only when the whole key is ours. There is no question by key in the ecosystem: the payments of the consent
are listed, and ours is found among them by the key that it carries.

A payment is a Pix of the holder's bank. Whoever initiated it can neither take it back nor ask for its return.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from codespar.lib import pix
from rails.adapters import digests, judging, open_finance_answers
from rails.adapters.base import (
    Action,
    Capabilities,
    Check,
    Connection,
    ConsentStatus,
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
    StatementLine,
    Unreadable,
    WebhookRefused,
)
from rails.adapters.judging import Verdict
from rails.adapters.open_finance_bank import ACCOUNTS, DAYS, IDEMPOTENCY, MOST_PAGES, PAY, PAYMENTS, SIZE, OpenFinanceBank, page_query


class OpenFinanceAdapter(OpenFinanceBank):
    """One account at a bank, over Open Finance. Thread-safe; connections are shared by all adapters of the process."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("pix_key",),
        currencies=(pix.CURRENCY,),
        secrets=("api_key",),
        webhook_headers=(),
        captures=False,
        can_void=False,
        can_refund=False,
        partial_refund=False,
        query_by_key=True,
        key_repeats=True,
        key_lifetime_seconds=86_400,
        acceptance_window_seconds=30,
        settlement_seconds=40,
        cost=Cost(fixed=1),
        rollback=(
            RollbackStep(
                state=Result.ACCEPTED,
                action=Action.WAIT,
                how="who initiated a payment cannot stop it: the holder's bank settles it, or declines it, within a minute",
                within_seconds=None,
                certain=True,
            ),
            RollbackStep(
                state=Result.SETTLED,
                action=Action.HUMAN,
                how="who initiated a Pix cannot ask for its devolução: the payee is asked, or the holder asks at the bank",
                within_seconds=None,
                certain=False,
            ),
        ),
        consents=True,
    )

    @classmethod
    def connect(cls, connection: Connection) -> OpenFinanceAdapter:
        """The adapter of this account."""
        return cls(connection.base_url, connection.secrets["api_key"], connection.account, connection.consents)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """That the bank takes our key, that the holder's consent to pay holds there too, and that there is one to read the statement by."""
        try:
            paying = self.registered(self._consents[PAY], [PAY], deadline) if PAY in self._consents else None
            if PAY not in self._consents:
                self._ask_for_nothing(deadline)
        except Unreadable as error:
            return judging.unfit(error.code, str(error))
        holds = paying is not None and paying.status is ConsentStatus.AUTHORISED
        told = "the holder's consent to pay holds at the bank" if holds else "no consent to pay (payments.initiate) holds at the bank"
        return (
            Check(name="reachable", ok=True, detail="the bank answers"),
            Check(name="account", ok=True, detail="the bank takes our API key"),
            Check(name="consent", ok=holds, detail=told),
            self._statement_check(deadline),
        )

    def _ask_for_nothing(self, deadline: float) -> None:
        """A question that only tells whether the bank answers and takes our key: it is refused for want of a consent."""
        try:
            self._read(self._get(f"{ACCOUNTS}?{page_query(1)}", deadline), lambda answer: answer)
        except Unreadable as error:
            if error.code != "consent_refused":
                raise

    def _statement_check(self, deadline: float) -> Check:
        try:
            self.statement("", deadline)
        except Unreadable as error:
            return Check(name="statement", ok=False, detail=str(error))
        return Check(name="statement", ok=True, detail="the account's transactions can be read")

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """Nothing is asked first: what cannot be carried at all is refused here."""
        _fitted(instruction)
        return instruction

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Asks for the payment, once. Never `not_found`."""
        try:
            amount, payee = _fitted(instruction)
        except NotSendable as error:
            return judging.unsent(error.code, error.reason)
        data = {
            "recurringConsentId": instruction.consent,
            "date": f"{self._clock():%Y-%m-%d}",
            "payment": {"amount": amount, "currency": instruction.currency},
            "localInstrument": "DICT",
            "proxy": payee,
            "remittanceInformation": open_finance_answers.written(instruction.reference, instruction.key),
        }
        done = self._write("POST", PAYMENTS, instruction.key[:IDEMPOTENCY], {"data": data}, deadline, instruction.send_by)
        judge = lambda status, raw: open_finance_answers.judge_payment(status, raw, instruction)
        return judging.outcome(done, judge, asks=False, repeats=self.capabilities.key_repeats)

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the bank has under our key: the payments of its consent are read until it is found."""
        if instruction.consent is None:
            return judging.unsent("consent_missing", "the payment names no consent to ask about")
        since = instruction.send_by.astimezone(UTC) - timedelta(days=2)
        asked = {"recurringConsentId": instruction.consent, "startDate": f"{since:%Y-%m-%d}", "endDate": f"{self._tomorrow():%Y-%m-%d}"}
        for page in range(1, MOST_PAGES + 1):
            more = False

            def judge(status: int, raw: bytes, page: int = page) -> Verdict:
                nonlocal more
                verdict, more = open_finance_answers.judge_list(status, raw, instruction, page)
                return verdict

            done = self._get(f"{PAYMENTS}?{urllib.parse.urlencode(asked | {'page': page, 'page-size': SIZE})}", deadline)
            found = judging.outcome(done, judge, asks=True, repeats=False)
            if found.result is not Result.NOT_FOUND or not more:
                return found
        return judging.unsent("too_many", "the consent has more payments than are read at once")

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """A payment reserves nothing for us: what the bank has accepted it settles by itself."""
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """What was initiated cannot be taken back: what became of it is told."""
        return self.query(instruction, deadline)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Who initiated a payment cannot ask for it back."""
        return judging.unsent("refund_unsupported", "who initiated a payment cannot ask for its return")

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """None was ever sent."""
        return self.refund(instruction, deadline)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """The Pix received, looked up among the account's transactions of its day; raises `Unreadable`."""
        if not re.fullmatch(open_finance_answers.E2E, deposit_id):
            return None
        day, page, account = open_finance_answers.moment_of(deposit_id), 1, self._account(deadline)
        while page <= MOST_PAGES:
            lines, more, raw = self._lines(account, f"{day:%Y-%m-%d}", page, deadline)
            found = next((line for line in lines if (line.kind, line.provider_id) == ("deposit", deposit_id)), None)
            if found is not None:
                return _deposit(found, self._own, raw)
            if not more:
                return None
            page += 1
        raise Unreadable("too_many", "the account has more transactions on that day than are read at once")

    def statement(self, cursor: str, deadline: float) -> Statement:
        """Up to 100 lines from the day and page that `cursor` names (`2026-01-31/2`); the empty one asks for a year. Raises `Unreadable`.

        Where a day is over the next page begins with that of its last line: days are short, and no later line moves them.
        """
        first = f"{self._clock() - timedelta(days=DAYS):%Y-%m-%d}/1"
        day, _, number = (cursor or first).partition("/")
        lines, more, raw = self._lines(self._account(deadline), day, int(number), deadline)
        last = f"{lines[-1].at:%Y-%m-%d}" if lines else day
        following = f"{last}/1" if last > day else f"{day}/{int(number) + 1}"
        return Statement(opening=None, lines=lines, closing=None, cursor=following if more else cursor or first, complete=not more, raw=raw)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """The bank calls nobody: it is asked."""
        raise WebhookRefused

    def rail_key(self, digest: bytes) -> str:
        """The digest in base 62: 43 letters and digits, one to one (see this module's beginning); ValueError unless SHA-256."""
        return digests.base62(digest)


def _fitted(instruction: Instruction) -> tuple[str, str]:
    """The amount and the payee's key as this rail writes them; raises `NotSendable` for what it cannot carry."""
    if instruction.consent is None:
        raise NotSendable("consent_missing", "a payment is initiated under a consent of the account's holder")
    if instruction.currency != pix.CURRENCY:
        raise NotSendable("currency_unsupported", "Open Finance pays in BRL")
    if instruction.payee_type != "pix_key":
        raise NotSendable("account_type_unsupported", "Open Finance pays to Pix keys")
    try:
        return pix.decimal(instruction.amount), pix.key(instruction.payee_account).text
    except pix.BadPix as error:
        raise NotSendable("payee_malformed", str(error)) from None


def _deposit(line: StatementLine, account: str, raw: bytes) -> Deposit:
    return Deposit(
        id=line.provider_id,
        account=account,
        amount=line.amount,
        currency=line.currency,
        payer_key=line.party,
        reference="",
        at=line.at,
        raw=raw,
    )
