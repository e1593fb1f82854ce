"""The Open Finance rail: payments initiated, and accounts read, under a consent of the account's holder, at a bank that speaks the shapes
of Open Finance Brasil (consents 3, accounts 2, automatic payments 2).

The key at the rail: `rail_key` writes the whole digest in base 62, one to one, in 43 characters. The header `x-idempotency-key` may have
40: it is the key's first 40, and the whole key stands behind our reference in `remittanceInformation`, which the bank keeps, compares
and repeats. An answer counts only when the whole key is ours. There is no question by key in the ecosystem: the payments of the consent
are listed, and ours is found among them by the key that it carries.

A payment is a Pix of the holder's bank. Whoever initiated it can neither take it back nor ask for its return.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar

from codespar.lib import pix
from rails.adapters import digests, judging, open_finance_answers, reading
from rails.adapters.base import (
    Action,
    Capabilities,
    Check,
    Connection,
    Consent,
    ConsentAsk,
    ConsentStatus,
    Cost,
    Deposit,
    Instruction,
    Notice,
    NotSendable,
    Outcome,
    Reading,
    RefundInstruction,
    Result,
    RollbackStep,
    Statement,
    StatementLine,
    Unreadable,
    WebhookRefused,
)
from rails.adapters.exchange import Exchange, exchange, safe_url, utc_now
from rails.adapters.judging import Verdict

T = TypeVar("T")
CONSENTS, RECURRING = "/open-banking/consents/v3/consents", "/open-banking/automatic-payments/v2/recurring-consents"
PAYMENTS, ACCOUNTS = "/open-banking/automatic-payments/v2/pix/recurring-payments", "/open-banking/accounts/v2/accounts"
PAY = "payments.initiate"
# What each of our scopes is at the bank. A consent to pay is one of another kind there, and has no permissions.
PERMISSIONS: Mapping[str, str] = {
    "accounts.read": "ACCOUNTS_READ",
    "balances.read": "ACCOUNTS_BALANCES_READ",
    "transactions.read": "ACCOUNTS_TRANSACTIONS_READ",
}
IDEMPOTENCY = 40  # the most characters of x-idempotency-key
# The ecosystem tells a year, and pages of so many.
DAYS, SIZE, MOST_PAGES = 364, 100, 100
LARGEST = 512 * 1024


class OpenFinanceAdapter:
    """One account at a bank, over Open Finance. Thread-safe; connections are shared by all adapters of the process.

    Raises ValueError when `base_url` is neither https nor http on a loopback address. `clock` is what `send_by` is compared with.
    """

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

    def __init__(
        self,
        base_url: str,
        api_key: str,
        account: str,
        consents: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._base_url, self._consents, self._clock = safe_url(base_url), dict(consents or {}), clock
        self._own = account
        self._credentials = {"Authorization": f"Bearer {api_key}"}

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
            known = error.code == "unauthorized"
            return (
                Check(name="reachable", ok=known, detail="the bank answers" if known else str(error)),
                Check(name="account", ok=False, detail=str(error)),
            )
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
            self._read(self._get(f"{ACCOUNTS}?{_page(1)}", deadline), lambda answer: answer)
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
            return _unsent(error.code, error.reason)
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
            return _unsent("consent_missing", "the payment names no consent to ask about")
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
        return _unsent("too_many", "the consent has more payments than are read at once")

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """A payment reserves nothing for us: what the bank has accepted it settles by itself."""
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """What was initiated cannot be taken back: what became of it is told."""
        return self.query(instruction, deadline)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Who initiated a payment cannot ask for it back."""
        return _unsent("refund_unsupported", "who initiated a payment cannot ask for its return")

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

    # Consents.

    def register(self, ask: ConsentAsk, deadline: float) -> Consent:
        """Ask the bank for the consent; its holder says yes or no at its address. Raises `Unreadable`."""
        data: dict[str, Any] = {"expirationDateTime": f"{ask.expires_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        if PAY in ask.scopes:
            limits = {"transactionLimit": _decimal(ask.max_payment), "globalLimits": {"transactionLimit": _decimal(ask.max_total)}}
            data["recurringConfiguration"] = {"vrp": limits}
        else:
            data["permissions"] = sorted(PERMISSIONS[scope] for scope in ask.scopes)
        path, name = _consents(ask.scopes)
        done = self._write("POST", path, ask.key[:IDEMPOTENCY], {"data": data}, deadline)
        return _must(self._read(done, lambda answer: open_finance_answers.consent(answer, name, self._base_url), created=True))

    def registered(self, consent: str, scopes: Sequence[str], deadline: float) -> Consent | None:
        """The consent as the bank has it now, None when it does not know it. Raises `Unreadable`."""
        path, name = _consents(scopes)
        done = self._get(f"{path}/{urllib.parse.quote(consent, safe=':')}", deadline)
        return self._read(done, lambda answer: open_finance_answers.consent(answer, name, self._base_url))

    def revoke(self, consent: str, scopes: Sequence[str], deadline: float) -> None:
        """Tell the bank that the consent is revoked. Raises `Unreadable` while it does not say that it knows."""
        path, name = _consents(scopes)
        path = f"{path}/{urllib.parse.quote(consent, safe=':')}"
        if PAY not in scopes:
            done = self._write("DELETE", path, "", None, deadline)
            if done.status == 204:
                return
            self._read(done, lambda answer: None)
            return
        body = {"data": {"status": "REVOKED", "revocation": {"revokedBy": "INICIADORA", "revokedFrom": "INICIADORA"}}}
        done = self._write("PATCH", path, "", body, deadline)
        found = self._read(done, lambda answer: open_finance_answers.consent(answer, name, self._base_url))
        if found is not None and found.status not in (ConsentStatus.REVOKED, ConsentStatus.REJECTED):
            raise Unreadable("invalid_response", "the bank says that the consent holds", done.body)

    def read(self, resource: str, consent: str, account: str | None, page: int, deadline: float) -> Reading:
        """A page of accounts, balances or transactions under this consent. Raises `Unreadable`."""
        if resource == "accounts":
            return self._reading(f"{ACCOUNTS}?{_page(page)}", consent, deadline, lambda answer: open_finance_answers.accounts(answer, page))
        named = account or self._account(deadline, consent)
        if resource == "balances":
            return self._reading(
                f"{ACCOUNTS}/{named}/balances", consent, deadline, lambda answer: open_finance_answers.balances(answer, named)
            )
        path = f"{ACCOUNTS}/{named}/transactions?{_page(page)}&fromBookingDate={self._clock() - timedelta(days=DAYS):%Y-%m-%d}"
        return self._reading(path, consent, deadline, lambda answer: open_finance_answers.transactions(answer, named, page))

    def _account(self, deadline: float, consent: str | None = None) -> str:
        """The account that a consent reaches: the first."""
        found = self._reading(
            f"{ACCOUNTS}?{_page(1)}",
            consent or self._held("accounts.read"),
            deadline,
            lambda answer: open_finance_answers.accounts(answer, 1),
        )
        if not found.rows:
            raise Unreadable("not_found", "the consent reaches no account")
        return str(found.rows[0]["id"])

    def _held(self, scope: str) -> str:
        if scope not in self._consents:
            raise Unreadable("consent_missing", f"there is no consent that holds with {scope}")
        return self._consents[scope]

    def _lines(self, account: str, day: str, page: int, deadline: float) -> tuple[tuple[StatementLine, ...], bool, bytes]:
        dates = {"fromBookingDate": day, "toBookingDate": f"{self._tomorrow():%Y-%m-%d}"}
        path = f"{ACCOUNTS}/{account}/transactions?{_page(page)}&{urllib.parse.urlencode(dates)}"
        done = self._get(path, deadline, self._held("transactions.read"))
        lines, more = _must(self._read(done, lambda answer: open_finance_answers.lines(answer, page)))
        return lines, more, done.body

    def _reading(self, path: str, consent: str, deadline: float, of: Callable[[dict[str, Any]], Reading]) -> Reading:
        return _must(self._read(self._get(path, deadline, consent), of))

    def _read(self, done: Exchange, of: Callable[[dict[str, Any]], T], *, created: bool = False) -> T | None:
        """What `of` makes of the answer, None for what is not there; raises `Unreadable`, with `refused` for a validated no."""
        if done.status is None:
            raise Unreadable(done.failure, done.detail, done.body)
        if done.status >= 500:
            raise Unreadable("unavailable", f"the bank answered {done.status}", done.body)
        try:
            answer = reading.parse_object(done.body)
            if done.status == (201 if created else 200):
                return of(answer)
            if done.status == 404:
                return None if open_finance_answers.error_code(answer) == "CONSENTIMENTO_NAO_ENCONTRADO" else _missing(done)
            raise _refused(done, answer)
        except ValueError as error:
            raise Unreadable("invalid_response", str(error), done.body) from None

    def _tomorrow(self) -> datetime:
        """Past every booking of today, in whatever time zone the bank counts its days."""
        return self._clock() + timedelta(days=1)

    def _get(self, path: str, deadline: float, consent: str | None = None) -> Exchange:
        headers = {} if consent is None else {"x-consent-id": consent}
        return exchange(
            "GET",
            self._base_url + path,
            credentials=self._credentials,
            headers=headers,
            body=b"",
            deadline=deadline,
            clock=self._clock,
            largest=LARGEST,
        )

    def _write(self, method: str, path: str, key: str, body: object, deadline: float, send_by: datetime | None = None) -> Exchange:
        headers = {"Content-Type": "application/json"} | ({"x-idempotency-key": key} if key else {})
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return exchange(
            method,
            self._base_url + path,
            credentials=self._credentials,
            headers=headers,
            body=raw,
            deadline=deadline,
            send_by=send_by,
            clock=self._clock,
        )


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


def _consents(scopes: Sequence[str]) -> tuple[str, str]:
    """Where such a consent is at the bank, and what its id is called."""
    return (RECURRING, "recurringConsentId") if PAY in scopes else (CONSENTS, "consentId")


def _refused(done: Exchange, answer: dict[str, Any]) -> Unreadable:
    """A no: of our key or the consent (401, 403), to slow down, or to this very request."""
    if done.status == 429:
        return Unreadable("rate_limited", "the bank asks us to slow down", done.body)
    code = open_finance_answers.error_code(answer)
    if code == "CONSENTIMENTO_NAO_AUTORIZADO":
        return Unreadable("consent_refused", "the bank says that this consent does not hold", done.body)
    if done.status == 401:
        return Unreadable("unauthorized", "the bank does not take our API key", done.body)
    return Unreadable("refused", f"the bank says {code}", done.body)


def _missing(done: Exchange) -> Any:
    raise Unreadable("not_found", "the bank does not have what it was asked for", done.body)


def _must(found: T | None) -> T:
    if found is None:
        raise Unreadable("not_found", "the bank does not have what it was asked for")
    return found


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


def _page(number: int) -> str:
    return urllib.parse.urlencode({"page": number, "page-size": SIZE})


def _decimal(amount: int | None) -> str:
    if amount is None:
        raise Unreadable("refused", "a consent to pay has its limits")
    return pix.decimal(amount)


def _unsent(code: str, reason: str) -> Outcome:
    return Outcome(result=Result.UNKNOWN, reason=reason, provider_id=None, sent=False, raw=b"", request=b"", code=code)
