"""The card rail: a merchant is paid with a card that is a token at the provider, over an API of Stripe's shapes.

Sending authorises: the card's issuer holds the money. A capture moves all of it, a cancel lets it go, a refund brings it back. Every
request that moves something has an Idempotency-Key made of our key, and everything that is made carries our key in its metadata.
The API is https://docs.stripe.com/api.

A provider may forget a key (Stripe after a day) or ignore it (a fake), and the adapter cannot see that. So a request to pay is made
only after the provider's list was read (`card_looks`) without finding our own earlier one, and no request of the adapter is ever
repeated: `key_repeats` is false. That look is a read. When it fails nothing was written, and the outcome says so: `sent` is False.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from rails.adapters import card_judging, card_lists, card_looks, card_notices, judging, reading
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
)
from rails.adapters.card_amounts import CURRENCIES, from_stripe, to_stripe
from rails.adapters.card_lists import Found
from rails.adapters.exchange import LARGEST_BODY, Exchange, bearer, exchange, safe_url, utc_now
from rails.adapters.judging import NOT_NOW, UNHEARD, Verdict

API_VERSION = "2024-06-20"
INTENTS = "/v1/payment_intents"
ACCOUNT = "acct_[A-Za-z0-9]{1,64}"
# How far back a payment looks for an earlier one under its key: a database that was restored to the day before yesterday.
LOOK_BACK = timedelta(days=3)
# Lists are long: a hundred intents with their charges.
LARGEST_LIST = 4 * 1024 * 1024


class CardAdapter:
    """One account at a card provider. Thread-safe; connections are shared by all adapters of the process.

    An account `acct_…` pays merchants' accounts: the payee is the destination of the payment, and an answer without it counts for nothing.
    Any other account is at a provider that has no such accounts: there the payee stands in the metadata only, and nobody is paid. That is
    for trying things out: it must be on this machine, over http. Raises ValueError for that and for what cannot stand in a header.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("card_merchant",),
        currencies=CURRENCIES,
        secrets=("api_key", "payment_method"),
        webhook_headers=card_notices.HEADERS,
        captures=True,
        can_void=True,
        can_refund=True,
        partial_refund=True,
        query_by_key=True,
        key_repeats=False,
        key_lifetime_seconds=24 * 3600,
        acceptance_window_seconds=120,
        settlement_seconds=10,
        cost=Cost(fixed=30, basis_points=290),
        rollback=(
            RollbackStep(
                state=Result.ACCEPTED,
                action=Action.WAIT,
                how="the provider ends what it processes: it becomes reserved, settled or declined",
                within_seconds=None,
                certain=True,
            ),
            RollbackStep(
                state=Result.RESERVED,
                action=Action.VOID,
                how="POST /v1/payment_intents/{id}/cancel: what is reserved is let go; uncaptured it ends by itself after seven days",
                within_seconds=7 * 24 * 3600,
                certain=True,
            ),
            RollbackStep(
                state=Result.SETTLED,
                action=Action.REFUND,
                how="POST /v1/refunds, in parts or whole; an issuer may send one back",
                within_seconds=None,
                certain=False,
            ),
        ),
    )

    def __init__(self, base_url: str, api_key: str, payment_method: str, account: str, clock: Callable[[], datetime] = utc_now) -> None:
        if not re.fullmatch("pm_[A-Za-z0-9_]{1,128}", payment_method):
            raise ValueError("payment_method must be the provider's token of a card, pm_…, and never a number")
        self._base_url, self._account, self._clock = safe_url(base_url), account, clock
        self._routed = re.fullmatch(ACCOUNT, account) is not None
        if not self._routed and not self._base_url.startswith("http://"):
            raise ValueError("account must be acct_…: without merchants' accounts nobody would be paid")
        self._method = payment_method
        self._credentials = bearer(api_key)
        self._looks = card_looks.of(self._base_url, account, api_key)

    @classmethod
    def connect(cls, connection: Connection) -> CardAdapter:
        """The adapter of this account."""
        found = connection.secrets
        return cls(connection.base_url, found["api_key"], found["payment_method"], connection.account)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """That the provider answers, that it shows our key its list of payments, and that it knows the card."""
        listed = self._get(f"{INTENTS}?limit=1", deadline)
        known = self._get(f"/v1/payment_methods/{self._method}", deadline)
        # Any answer of the API's own, a refusal too, shows that it is there.
        there = listed.status is not None and listed.status < 500 and _object(listed) is not None
        may, card = listed.status == 200 and there, _card(known)
        return (
            Check(name="reachable", ok=there, detail="the provider answers" if there else f"no answer: {_why(listed)}"),
            Check(
                name="account", ok=may, detail="the provider accepts the API key" if may else f"the API key is not accepted: {_why(listed)}"
            ),
            Check(name="payment_method", ok=card is not None, detail=card or f"the provider shows no such card: {_why(known)}"),
        )

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """Nothing is asked: what the provider cannot carry is known before."""
        self._fields(instruction)
        return instruction

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Reserves the money, once; our own earlier authorisation answers in its place. Never `not_found`."""
        try:
            fields = self._fields(instruction)
        except NotSendable as error:
            return judging.unsent(error.code, str(error))
        since = int((instruction.send_by - LOOK_BACK).timestamp())
        earlier = self._looks.find(lambda path: self._get(path, deadline), INTENTS, instruction.key, since)
        if earlier.verdict is not None:
            return _not_looked(earlier)
        if earlier.ids:
            return _there(self._known(earlier, instruction, deadline))
        done = self._post(INTENTS, fields, instruction.key, deadline, instruction.send_by)
        return self._payment(done, instruction, asks=False)

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the provider has under its id, or else under our key."""
        if instruction.provider_id is not None:
            return self._payment(self._get(_intent_path(instruction.provider_id), deadline), instruction, asks=True)
        found = self._find(instruction.key, instruction.send_by - LOOK_BACK, deadline)
        return self._known(found, instruction, deadline) if found.ids else _from_list(found)

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """Moves all that is reserved, once, before `send_by`."""
        return self._change(instruction, "capture", deadline, instruction.send_by)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """Lets go what is reserved. What is captured stays settled."""
        return self._change(instruction, "cancel", deadline, None)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Asks for the refund, once; our own earlier one answers in its place. Never `not_found`."""
        try:
            amount = to_stripe(instruction.amount, instruction.currency)
        except NotSendable as error:
            return judging.unsent(error.code, str(error))
        asked = self._with_payment(instruction, deadline)
        if isinstance(asked, Outcome):
            return dataclasses.replace(asked, sent=False)
        earlier = self._find_refund(asked, deadline)
        if earlier.verdict is not None:
            return _not_looked(earlier)
        if earlier.ids:
            return _there(self._known_refund(earlier, asked, deadline))
        fields = {"payment_intent": asked.payment_id or "", "amount": str(amount), "metadata[codespar_key]": asked.key}
        done = self._post("/v1/refunds", fields, asked.key, deadline, asked.send_by)
        return self._refunded(done, asked, asks=False)

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """What the provider has under its refund id, or else under our refund key."""
        asked = self._with_payment(instruction, deadline)
        if isinstance(asked, Outcome):
            return asked
        if asked.provider_id is not None:
            return self._refunded(self._get(_refund_path(asked.provider_id), deadline), asked, asks=True)
        found = self._find_refund(asked, deadline)
        return self._known_refund(found, asked, deadline) if found.ids else _from_list(found)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """The top-up, confirmed at the provider; None when it is not known there; raises `Unreadable`."""
        if not re.fullmatch(card_notices.TOPUP_ID, deposit_id):
            return None
        done = self._get(f"/v1/topups/{deposit_id}", deadline)
        return judging.read(done, lambda answer: self._deposit(answer, deposit_id, done.body), _refused, fractions=True)

    def statement(self, cursor: str, deadline: float) -> Statement:
        """Up to 100 lines after the line `cursor`; without one, a step down to the account's first line. Raises `Unreadable`."""
        if not re.fullmatch(card_lists.CURSOR, cursor):
            raise Unreadable("invalid_cursor", "the cursor is not one of this rail's")
        done = self._get(f"/v1/balance_transactions?{card_lists.statement_query(cursor)}", deadline)
        found = judging.read(done, lambda answer: card_lists.statement(answer, cursor, done.body), _refused, fractions=True)
        if found is None:
            raise Unreadable("not_found", "the provider does not know this line", done.body)
        return found

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """The events of an authentic, fresh webhook for this account; raises `WebhookRefused`."""
        return card_notices.parse(headers, body, secrets, now, self._account)

    def rail_key(self, digest: bytes) -> str:
        """The digest in hexadecimal: 64 characters; ValueError unless SHA-256."""
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        return digest.hex()

    def _fields(self, instruction: Instruction) -> dict[str, str]:
        """The form of the request. Raises `NotSendable`."""
        if instruction.payee_type != "card_merchant" or not re.fullmatch(ACCOUNT, instruction.payee_account):
            raise NotSendable("payee", "a card pays a merchant's account at the provider, acct_…")
        routed = {"transfer_data[destination]": instruction.payee_account} if self._routed else {}
        return {
            "amount": str(to_stripe(instruction.amount, instruction.currency)),
            "currency": instruction.currency.lower(),
            "payment_method": self._method,
            "capture_method": "manual",
            "confirm": "true",
            # The card's holder is not there: where they would have to be asked, the provider declines.
            "off_session": "true",
            "metadata[codespar_key]": instruction.key,
            "metadata[codespar_payee]": instruction.payee_account,
            "metadata[codespar_reference]": instruction.reference,
        } | routed

    def _change(self, instruction: Instruction, action: str, deadline: float, send_by: datetime | None) -> Outcome:
        """Captures or cancels the intent. Where the answer does not say what has become of it, a question does."""
        known = self._with_id(instruction, deadline)
        if isinstance(known, Outcome):
            return dataclasses.replace(known, sent=False)
        path = f"{_intent_path(known.provider_id or '')}/{action}"
        done = self._post(path, {}, f"{known.key}-{action}", deadline, send_by)
        outcome = self._payment(done, known, asks=True)
        if done.status in (400, 402, 404, 409) and outcome.result in (Result.UNKNOWN, Result.NOT_FOUND):
            return dataclasses.replace(self.query(known, deadline), sent=True)
        return outcome

    def _with_id(self, instruction: Instruction, deadline: float) -> Instruction | Outcome:
        """The instruction with the provider's id, or why that is not known."""
        if instruction.provider_id is not None:
            return instruction
        found = self._find(instruction.key, instruction.send_by - LOOK_BACK, deadline)
        if len(found.ids) != 1:
            return self._known(found, instruction, deadline) if found.ids else _from_list(found)
        return dataclasses.replace(instruction, provider_id=found.ids[0])

    def _with_payment(self, instruction: RefundInstruction, deadline: float) -> RefundInstruction | Outcome:
        """The same for the payment that a refund is of, however long ago that was."""
        if instruction.payment_id is not None:
            return instruction
        found = self._find(instruction.payment_key, None, deadline)
        if len(found.ids) != 1:
            return _from_list(dataclasses.replace(found, verdict=found.verdict or _NO_PAYMENT))
        return dataclasses.replace(instruction, payment_id=found.ids[0])

    def _find(self, key: str, since: datetime | None, deadline: float) -> Found:
        query = {} if since is None else {card_lists.SINCE: str(int(since.timestamp()))}
        return card_lists.find(lambda path: self._get(path, deadline), INTENTS, query, key)

    def _find_refund(self, instruction: RefundInstruction, deadline: float) -> Found:
        query = {"payment_intent": instruction.payment_id or ""}
        return card_lists.find(lambda path: self._get(path, deadline), "/v1/refunds", query, instruction.key)

    def _known(self, found: Found, instruction: Instruction, deadline: float) -> Outcome:
        """What was found, asked for by its id: that answer is small, and speaks of nothing else."""
        if len(found.ids) > 1:
            return _from_list(dataclasses.replace(found, verdict=_TWICE))
        return self._payment(self._get(_intent_path(found.ids[0]), deadline), instruction, asks=True)

    def _known_refund(self, found: Found, instruction: RefundInstruction, deadline: float) -> Outcome:
        if len(found.ids) > 1:
            return _from_list(dataclasses.replace(found, verdict=_TWICE))
        return self._refunded(self._get(_refund_path(found.ids[0]), deadline), instruction, asks=True)

    def _payment(self, done: Exchange, expected: Instruction, *, asks: bool) -> Outcome:
        judge = lambda status, raw: card_judging.judge_payment(status, raw, expected, routed=self._routed, asks=asks)
        return judging.outcome(done, judge, asks=asks, repeats=self.capabilities.key_repeats)

    def _refunded(self, done: Exchange, expected: RefundInstruction, *, asks: bool) -> Outcome:
        judge = lambda status, raw: card_judging.judge_refund(status, raw, expected, asks=asks)
        return judging.outcome(done, judge, asks=asks, repeats=self.capabilities.key_repeats)

    def _post(self, path: str, fields: Mapping[str, str], key: str, deadline: float, send_by: datetime | None) -> Exchange:
        return exchange(
            "POST",
            self._base_url + path,
            credentials=self._credentials,
            headers={"Content-Type": "application/x-www-form-urlencoded", "Stripe-Version": API_VERSION, "Idempotency-Key": key},
            body=urllib.parse.urlencode(fields).encode(),
            deadline=deadline,
            send_by=send_by,
            clock=self._clock,
        )

    def _get(self, path: str, deadline: float) -> Exchange:
        url, headers = self._base_url + path, {"Stripe-Version": API_VERSION}
        return exchange("GET", url, credentials=self._credentials, headers=headers, body=b"", deadline=deadline, largest=LARGEST_LIST)

    def _deposit(self, answer: dict[str, Any], deposit_id: str, raw: bytes) -> Deposit:
        if (answer.get("id"), answer.get("object"), answer.get("status")) != (deposit_id, "topup", "succeeded"):
            raise reading.Malformed("id, object or status is not that of the top-up asked for")
        currency = reading.match(answer, "currency", card_judging.CURRENCY).upper()
        source = answer.get("source")
        return Deposit(
            id=deposit_id,
            account=self._account,
            amount=from_stripe(reading.positive(answer, "amount"), currency),
            currency=currency,
            payer_key=reading.text(source, "id") if isinstance(source, dict) else "",
            reference=reading.text(answer, "description") if answer.get("description") is not None else "",
            at=card_lists.seconds(answer, "created"),
            raw=raw,
        )


_TWICE = Verdict(Result.CONFLICTED, "duplicate", "the provider has more than one under our key")
_NO_PAYMENT = Verdict(Result.UNKNOWN, "payment_not_found", "the provider has no payment, or more than one, under the payment's key")


def _from_list(found: Found) -> Outcome:
    """What the list itself proves: that nothing has our key, or why that is not known."""
    verdict = found.verdict or Verdict(Result.NOT_FOUND, "not_found", "no page of the provider's list has our key")
    outcome = judging.outcome(found.done, lambda status, raw: verdict, asks=True, repeats=False)
    if found.done.status is None:
        return outcome
    return dataclasses.replace(outcome, raw=outcome.raw[:LARGEST_BODY])


def _not_looked(found: Found) -> Outcome:
    """It is not known whether there is an earlier one: nothing was written, so a look that nobody answered may be taken again."""
    outcome = _from_list(found)
    return dataclasses.replace(outcome, sent=False, again=outcome.http_status in NOT_NOW or found.done.failure in UNHEARD)


def _there(outcome: Outcome) -> Outcome:
    """What is known of our earlier request: it was written, whatever became of the question."""
    if outcome.result is Result.NOT_FOUND:
        outcome = dataclasses.replace(outcome, result=Result.UNKNOWN, code="invalid_response", invalid=True)
    return dataclasses.replace(outcome, sent=True, again=False)


def _refused(status: int, answer: dict[str, Any]) -> Verdict:
    return card_judging.judge_error(status, answer, asks=True)


def _intent_path(intent_id: str) -> str:
    return f"{INTENTS}/{urllib.parse.quote(intent_id, safe='')}"


def _refund_path(refund_id: str) -> str:
    return f"/v1/refunds/{urllib.parse.quote(refund_id, safe='')}"


def _object(done: Exchange) -> dict[str, Any] | None:
    try:
        return reading.parse_object(done.body, fractions=True)
    except ValueError:
        return None


def _card(done: Exchange) -> str | None:
    """The card as people know it, None when the provider has not shown one."""
    found = _object(done) or {}
    card = found.get("card")
    if done.status != 200 or found.get("object") != "payment_method" or found.get("type") != "card" or not isinstance(card, dict):
        return None
    return f"the provider knows the card: {card.get('brand')} ending in {card.get('last4')}"


def _why(done: Exchange) -> str:
    return done.detail or f"the provider answered {done.status}"
