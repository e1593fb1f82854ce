"""The Pix rail: instructions to a bank's API in the shapes of Bacen's API Pix, and its answers to outcomes that can be trusted.

The key at the rail: our digest has 256 bits. 35 letters and digits, which is all that Bacen allows the id of a devolução, hold 208, and two
digests that agree in those could be found in 2^104 tries. So `rail_key` writes the whole digest in base 62, one to one, in 43 characters.
That is the `idEnvio`, which is the bank's own affair and may have 64. A devolução's id is the key's first 35 characters, and its
`descricao`, which the bank keeps, compares and repeats, is the whole key. An answer counts only when both are ours, so two keys that
share an id are a conflict and never each other's answer: the collision resistance stays 128 bits.
"""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from codespar.lib import pix
from rails.adapters import digests, judging, notices, pix_answers, pix_tokens, reading
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
from rails.adapters.exchange import Exchange, exchange, safe_url, utc_now
from rails.adapters.judging import Verdict
from rails.adapters.pix_answers import E2E, RETURN_ID
from rails.adapters.pix_tokens import NoToken

# Trouble with an access token, or before the first byte, that may be over the next time.
PASSING = ("connect_failed", "pool_timeout", "timeout", "disconnected", "unavailable", "rate_limited")


class PixAdapter:
    """One account at a bank that speaks the API Pix. Thread-safe; connections and tokens are shared by all adapters of the process.

    Raises ValueError when `base_url` is neither https nor http on a loopback address. `clock` is what `send_by` is compared with.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("pix_key",),
        currencies=(pix.CURRENCY,),
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
                how="DELETE /v2/pix/enviados/{idEnvio}: what has not moved yet will not; what has moved is refunded",
                within_seconds=None,
                certain=False,
            ),
            RollbackStep(
                state=Result.SETTLED,
                action=Action.REFUND,
                how="devolução: PUT /v2/pix/{e2eid}/devolucao/{id}, in parts or whole",
                within_seconds=90 * 86_400,
                certain=False,
            ),
        ),
        asks_first=True,
    )

    def __init__(self, base_url: str, api_key: str, account: str, clock: Callable[[], datetime] = utc_now) -> None:
        self._base_url, self._account, self._api_key, self._clock = safe_url(base_url), account, api_key, clock

    @classmethod
    def connect(cls, connection: Connection) -> PixAdapter:
        """The adapter of this account."""
        return cls(connection.base_url, connection.secrets["api_key"], connection.account)

    @property
    def _tokens(self) -> pix_tokens.Tokens:
        return pix_tokens.of(self._base_url, self._account, self._api_key)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """That the bank answers, gives a token for our account and API key, with the scopes that are needed, and shows the statement."""
        try:
            missing = set(pix_tokens.SCOPES) - self._tokens.get(deadline).scopes
            if not missing:
                self.statement("", deadline)
        except NoToken as error:
            return judging.unfit(error.done.failure, error.done.detail)
        except Unreadable as error:
            return judging.unfit(error.code, str(error))
        lacks = f"the token lacks {', '.join(sorted(missing))}" if missing else "the token has the scopes that are needed"
        return (
            Check(name="reachable", ok=True, detail="the bank answers"),
            Check(name="account", ok=True, detail="the bank gives an access token for the account and its API key"),
            Check(name="scopes", ok=not missing, detail=lacks),
        )

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """Asks the DICT for the payee's key; `terms` says whose it is. When the DICT does not answer, the bank looks when it pays."""
        _valor, key = _fitted(instruction)
        done = self._get(f"/v2/dict/{urllib.parse.quote(key, safe='')}", deadline)
        try:
            found = judging.read(done, lambda answer: pix_answers.holder(answer, key), pix_answers.no_key)
        except Unreadable:
            return instruction
        if found is None:
            raise NotSendable("payee_unknown", "the DICT does not know the payee's Pix key")
        return dataclasses.replace(instruction, terms=json.dumps(found, ensure_ascii=False))

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Asks for the Pix, once. Never `not_found`."""
        try:
            valor, key = _fitted(instruction)
        except NotSendable as error:
            return judging.unsent(error.code, error.reason)
        payee = {"chave": key}
        if instruction.payee_name is not None:
            payee["nome"] = instruction.payee_name
        body = {"valor": valor, "pagador": {"conta": self._account}, "favorecido": payee, "infoPagador": instruction.reference}
        if instruction.target is not None:
            body["txid"] = instruction.target
        done = self._write("PUT", f"/v2/pix/{instruction.key}", instruction.key, instruction.send_by, body, deadline)
        return self._payment(done, instruction, asks=False)

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the bank has under our key."""
        return self._payment(self._get(f"/v2/pix/enviados/{instruction.key}", deadline), instruction, asks=True)

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """A Pix reserves nothing for us: what the bank has accepted it moves by itself."""
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """Stops what has not moved yet; the answer says what had. Settled stays settled."""
        done = self._write("DELETE", f"/v2/pix/enviados/{instruction.key}", instruction.key, None, None, deadline)
        return self._payment(done, instruction, asks=True)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Asks for the devolução, once. Never `not_found`. The bank is asked for the endToEndId first when it is not known."""
        known = self._e2e(instruction, deadline)
        if known.provider_id is None:
            return dataclasses.replace(judging.unsent(known.code, known.reason), again=known.again)
        try:
            body = {"valor": pix.decimal(instruction.amount), "descricao": instruction.key}
        except pix.BadPix as error:
            return judging.unsent("amount_too_large", str(error))
        path, key = _return_path(known.provider_id, instruction), instruction.key[:RETURN_ID]
        done = self._write("PUT", path, key, instruction.send_by, body, deadline)
        return self._refund(done, instruction, known.provider_id, asks=False)

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """What the bank has under our refund key."""
        known = self._e2e(instruction, deadline)
        if known.provider_id is None:
            return known
        done = self._get(_return_path(known.provider_id, instruction), deadline)
        return self._refund(done, instruction, known.provider_id, asks=True)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """The Pix received, confirmed at the bank; None when it is not known there; raises `Unreadable`."""
        if not re.fullmatch(E2E, deposit_id):
            return None
        done = self._get(f"/v2/pix/{deposit_id}", deadline)
        return judging.read(
            done, lambda answer: pix_answers.deposit(answer, deposit_id, self._account, done.body), pix_answers.not_received
        )

    def statement(self, cursor: str, deadline: float) -> Statement:
        """Up to 100 lines after the line with the number `cursor`; raises `Unreadable`."""
        after = int(cursor or 0)
        done = self._get(f"/v2/extrato?{urllib.parse.urlencode({'cursor': after})}", deadline)
        found = judging.read(done, lambda answer: pix_answers.statement(answer, self._account, after, done.body), pix_answers.no_statement)
        if found is None:
            raise Unreadable("not_found", "the bank does not know this account", done.body)
        return found

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """The events of an authentic, fresh message for this account; anything else raises `WebhookRefused`.

        Bacen authenticates webhooks by mutual TLS; this rail by the headers of Standard Webhooks.
        """
        message_id = notices.authenticate(headers, body, secrets, now)
        try:
            return pix_answers.notices(reading.parse_object(body), self._account, message_id)
        except ValueError:
            raise WebhookRefused from None

    def rail_key(self, digest: bytes) -> str:
        """The digest in base 62: 43 letters and digits, one to one (see this module's beginning); ValueError unless SHA-256."""
        return digests.base62(digest)

    def _payment(self, done: Exchange, expected: Instruction, *, asks: bool) -> Outcome:
        return self._outcome(done, lambda status, raw: pix_answers.judge_payment(status, raw, expected), asks=asks)

    def _refund(self, done: Exchange, expected: RefundInstruction, e2e: str, *, asks: bool) -> Outcome:
        return self._outcome(done, lambda status, raw: pix_answers.judge_refund(status, raw, expected, e2e), asks=asks)

    def _outcome(self, done: Exchange, judge: Callable[[int, bytes], Verdict], *, asks: bool) -> Outcome:
        """The next try brings a new token, and the bank remembers our key."""
        found = judging.outcome(done, judge, asks=asks, repeats=self.capabilities.key_repeats)
        unsent = done.status is None and not done.sent and done.failure in PASSING
        return dataclasses.replace(found, again=found.again or unsent or (done.status == 401 and not asks))

    def _e2e(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """The endToEndId of the payment as `provider_id`; without one, why it is not known."""
        if instruction.payment_id is not None and re.fullmatch(E2E, instruction.payment_id):
            return dataclasses.replace(judging.unsent("known", "the payment's endToEndId is known"), provider_id=instruction.payment_id)
        done = self._get(f"/v2/pix/enviados/{instruction.payment_key}", deadline)
        found = self._outcome(done, lambda status, raw: pix_answers.judge_e2e(status, raw, instruction.payment_key), asks=True)
        return found if found.result is Result.ACCEPTED else dataclasses.replace(found, provider_id=None)

    def _write(self, method: str, path: str, key: str, send_by: datetime | None, body: object, deadline: float) -> Exchange:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        raw = b"" if body is None else json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return self._asked(method, path, deadline, headers=headers, body=raw, send_by=send_by)

    def _get(self, path: str, deadline: float) -> Exchange:
        """A question is asked once more, with a new token, when the bank does not take the one that we had. A write never is."""
        done = self._asked("GET", path, deadline, headers={}, body=b"")
        return self._asked("GET", path, deadline, headers={}, body=b"") if done.status == 401 else done

    def _asked(self, method: str, path: str, deadline: float, **more: Any) -> Exchange:
        tokens = self._tokens
        try:
            token = tokens.get(deadline)
        except NoToken as error:
            return error.done
        credentials = {"Authorization": f"Bearer {token.text}"}
        done = exchange(method, self._base_url + path, credentials=credentials, deadline=deadline, clock=self._clock, **more)
        if done.status == 401:
            tokens.drop(token)
        return done


def _fitted(instruction: Instruction) -> tuple[str, str]:
    """The amount and the payee's key as this rail writes them; raises `NotSendable` for what it cannot carry."""
    if instruction.currency != pix.CURRENCY:
        raise NotSendable("currency_unsupported", "Pix pays in BRL")
    if instruction.payee_type not in PixAdapter.capabilities.account_types:
        raise NotSendable("account_type_unsupported", "Pix pays to Pix keys")
    if instruction.target is not None and not re.fullmatch("[a-zA-Z0-9]{1,35}", instruction.target):
        raise NotSendable("target_malformed", "what is paid for is a txid, of 1 to 35 letters and digits")
    try:
        valor = pix.decimal(instruction.amount)
    except pix.BadPix as error:
        raise NotSendable("amount_too_large", str(error)) from None
    try:
        return valor, pix.key(instruction.payee_account).text
    except pix.BadPix as error:
        raise NotSendable("payee_malformed", str(error)) from None


def _return_path(e2e: str, instruction: RefundInstruction) -> str:
    return f"/v2/pix/{e2e}/devolucao/{instruction.key[:RETURN_ID]}"
