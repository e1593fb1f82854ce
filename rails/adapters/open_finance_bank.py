"""What an initiator asks of a bank that speaks Open Finance Brasil, but for payments: consents, and what is read under them."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from codespar.lib import pix
from rails.adapters import open_finance_answers, reading
from rails.adapters.base import Consent, ConsentAsk, ConsentStatus, Reading, StatementLine, Unreadable
from rails.adapters.exchange import Exchange, bearer, exchange, safe_url, utc_now

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


class OpenFinanceBank:
    """One account's bank. `consents` are those that hold, by what each allows.

    Raises ValueError when `base_url` is neither https nor http on a loopback address, and for an `api_key` that cannot stand in a header.
    `clock` is what `send_by` is compared with.
    """

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
        self._credentials = bearer(api_key)

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
            return self._reading(
                f"{ACCOUNTS}?{page_query(page)}", consent, deadline, lambda answer: open_finance_answers.accounts(answer, page)
            )
        named = account or self._account(deadline, consent)
        if resource == "balances":
            return self._reading(
                f"{ACCOUNTS}/{named}/balances", consent, deadline, lambda answer: open_finance_answers.balances(answer, named)
            )
        path = f"{ACCOUNTS}/{named}/transactions?{page_query(page)}&fromBookingDate={self._clock() - timedelta(days=DAYS):%Y-%m-%d}"
        return self._reading(path, consent, deadline, lambda answer: open_finance_answers.transactions(answer, named, page))

    def _account(self, deadline: float, consent: str | None = None) -> str:
        """The account that a consent reaches: the first."""
        found = self._reading(
            f"{ACCOUNTS}?{page_query(1)}",
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
        path = f"{ACCOUNTS}/{account}/transactions?{page_query(page)}&{urllib.parse.urlencode(dates)}"
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


def page_query(number: int) -> str:
    return urllib.parse.urlencode({"page": number, "page-size": SIZE})


def _decimal(amount: int | None) -> str:
    if amount is None:
        raise Unreadable("refused", "a consent to pay has its limits")
    return pix.decimal(amount)
