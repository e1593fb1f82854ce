"""The rail x402: a stablecoin paid for a resource of the web (x402 v2, scheme `exact` on EVM chains), where we are the payer.

What we send is an authorization (EIP-3009): signed for this amount, this payee, these minutes, and one nonce, which is our key. So
the chain moves the money at most once however often it is sent, and whoever holds it can do nothing else with it. The merchant hands it
to the chain. What the merchant then says is a hint: whether money has moved is read from the chain, and only from there.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from urllib.parse import urlsplit

from codespar.lib import canonical, evm, targets
from codespar.lib.addresses import is_here
from codespar.lib.errors import Invalid
from rails.adapters import judging, x402_chain, x402_statement, x402_terms
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
from rails.adapters.exchange import Exchange, Reach, exchange, safe_url, utc_now
from rails.adapters.judging import Verdict
from rails.adapters.x402_chain import Chain
from rails.adapters.x402_signing import Authorization, Signer, Token, nonce_of
from rails.adapters.x402_statement import CURRENCY

DECIMALS = 6
# What is bought comes in the answer to the payment.
LARGEST_RESOURCE = 512 * 1024
# An authorization is good from so long before `send_by`, for clocks and blocks that lag, until at most so long after it.
EARLIER_SECONDS, LONGEST_SECONDS = 600, 300
DEPTH = 12
# Trouble with a merchant is not the rail's, and must not stop the payments to others.
_TROUBLE = dict.fromkeys(("connect_failed", "timeout", "disconnected"), "merchant_unavailable") | {"invalid_response": "merchant_invalid"}


class X402Adapter:
    """One address on one chain that pays in one token. Thread-safe; connections are shared by all adapters of the process.

    `base_url` is the node's JSON-RPC. Raises ValueError when that is neither https nor http on a loopback address, or when key, account and
    token do not belong together. A merchant on this machine is only paid when the node is on this machine too.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("evm",),
        currencies=(CURRENCY,),
        secrets=("private_key", "asset", "asset_name", "asset_version"),
        webhook_headers=(),
        captures=False,
        can_void=False,
        can_refund=False,
        partial_refund=False,
        query_by_key=True,
        key_repeats=False,
        key_lifetime_seconds=None,
        acceptance_window_seconds=LONGEST_SECONDS,
        settlement_seconds=60,
        cost=Cost(),
        rollback=(
            RollbackStep(
                state=Result.ACCEPTED,
                action=Action.WAIT,
                how="an authorization that is out cannot be taken back: it is used, or expires within minutes",
                within_seconds=None,
                certain=True,
            ),
            RollbackStep(
                state=Result.SETTLED,
                action=Action.HUMAN,
                how="a chain has no way back: the payee is asked for a transfer of its own",
                within_seconds=None,
                certain=False,
            ),
        ),
        asks_first=True,
        statement_seconds=600,
        statement_final=True,
        optional=("confirmations", "first_block"),
        account_form="evm",
    )

    def __init__(
        self,
        base_url: str,
        account: str,
        key: str,
        token: Token,
        depth: int = DEPTH,
        first: int = 0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._node, self._signer, self._token = safe_url(base_url), Signer(key), token
        self._depth, self._first, self._clock = depth, first, clock
        chain, self._address = evm.account_parts(account)
        self._account = evm.evm_account(account)
        if chain != token.asset.chain or self._signer.address != self._address:
            raise ValueError("private_key, account and asset do not belong together")
        self._reach = Reach.PUBLIC_OR_HERE if is_here(urlsplit(self._node).hostname or "") else Reach.PUBLIC

    @classmethod
    def connect(cls, connection: Connection) -> X402Adapter:
        """The adapter of this account."""
        given = connection.secrets
        token = Token(evm.erc20(given["asset"]), given["asset_name"], given["asset_version"])
        depth, first = _number(given.get("confirmations", str(DEPTH)), 1), _number(given.get("first_block", "0"), 0)
        return cls(connection.base_url, connection.account, given["private_key"], token, depth, first)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """That the node serves our chain, that the token is there and is the one that we sign for, and that our balance can be read."""
        chain = self._chain(deadline)
        try:
            last = chain.ends()[0].number
            code, domain = chain.has_code(last), chain.call("DOMAIN_SEPARATOR()", block=last)
            decimals, balance = chain.number("decimals()", block=last), chain.balance(self._address, last)
        except Unreadable as error:
            return (_check("node", False, str(error)), _check("account", False, str(error)))
        signs = domain == self._token.domain
        return (
            _check("node", True, "the node serves the chain of the rail account"),
            _check(
                "asset",
                code and decimals == DECIMALS,
                f"at the token's address stands a contract with {decimals} decimals, {DECIMALS} are needed",
            ),
            _check("domain", signs, f"name and version {'make' if signs else 'do not make'} the EIP-712 domain that the token has"),
            _check("account", balance is not None, f"the key is the account's, and it holds {balance} minor units"),
        )

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """Asks the merchant what it wants, without paying. `terms` is the offer, when all of it is the instruction's."""
        target = _fitted(instruction)
        done = self._merchant(target, {}, deadline)
        if done.status is None:
            raise NotSendable(_TROUBLE.get(done.failure, done.failure), f"the merchant could not be asked: {done.detail}")
        if 200 <= done.status < 300:
            raise NotSendable("no_payment_asked", "the resource is given without payment")
        if done.status != 402:
            refused = "merchant_unavailable" if done.status >= 500 else "merchant_refused"
            raise NotSendable(refused, f"the merchant answered {done.status} in the place of its terms")
        return dataclasses.replace(instruction, terms=x402_terms.asked(done.headers, instruction, self._token))

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Signs the terms and gives them to the merchant, once. The money has not moved until the chain says so."""
        try:
            target, terms = _fitted(instruction), x402_terms.held(instruction.terms, instruction, self._token)
        except NotSendable as error:
            return judging.unsent(error.code, error.reason)
        authorization = self._authorization(instruction)
        payload = {"x402Version": 2, **terms, "payload": {"authorization": authorization.wire()}}
        for declared in terms["extensions"].values():
            declared["info"] = {**declared["info"], "id": instruction.key}
        shown = canonical.dumps(payload)
        payload["payload"]["signature"] = self._signer.sign(authorization.digest(self._token))
        credentials = {"PAYMENT-SIGNATURE": x402_terms.encoded(payload)}
        done = self._merchant(target, credentials, deadline, instruction.send_by)
        return _told(done, shown, judge_answer(done, authorization, self._token))

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the chain has of the authorization that our key makes."""
        expected, chain = self._authorization(instruction), self._chain(deadline)
        try:
            verdict = x402_chain.judge(chain.seen(expected), expected)
        except Unreadable as error:
            verdict = Verdict(Result.UNKNOWN, error.code, str(error))
        return Outcome(
            result=verdict.result,
            reason=verdict.reason,
            provider_id=verdict.provider_id,
            sent=True,
            raw=b"\n".join(chain.said),
            request=b"\n".join(chain.wanted),
            code=verdict.code,
            invalid=verdict.code in ("invalid_response", "wrong_chain") or verdict.result is Result.CONFLICTED,
        )

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """Nothing is reserved on a chain."""
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """An authorization that is out is out: what became of it is told."""
        return self.query(instruction, deadline)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """There is no way back on a chain but a transfer of the payee's."""
        return judging.unsent("refund_unsupported", "money on a chain comes back by a transfer of the payee's only")

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """None was ever sent."""
        return self.refund(instruction, deadline)

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """A transfer to us by the hash of its transaction, a colon and the index of its event, once it is final; raises `Unreadable`."""
        return x402_statement.deposit(self._chain(deadline), self._address, self._account, deposit_id)

    def statement(self, cursor: str, deadline: float) -> Statement:
        """What the final blocks after the block `cursor` hold; the empty one asks from the account's first block. Raises `Unreadable`."""
        return x402_statement.page(self._chain(deadline), self._address, cursor, self._first)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """A chain calls nobody."""
        raise WebhookRefused

    def rail_key(self, digest: bytes) -> str:
        """The digest in hexadecimal: 64 characters, which is a payment identifier of x402 too; ValueError unless SHA-256."""
        if len(digest) != 32:
            raise ValueError("a SHA-256 digest has 32 bytes")
        return digest.hex()

    def _authorization(self, instruction: Instruction) -> Authorization:
        """Always the same for one instruction: the merchant's word is in none of it but how long it lasts, and that is bounded."""
        by = int(instruction.send_by.timestamp())
        asked = LONGEST_SECONDS
        if instruction.terms is not None:
            asked = min(asked, canonical.loads(instruction.terms)["accepted"]["maxTimeoutSeconds"])
        payee = evm.account_parts(instruction.payee_account)[1]
        nonce = nonce_of(instruction.key)
        return Authorization(self._address, payee, instruction.amount, by - EARLIER_SECONDS, by + asked, nonce)

    def _chain(self, deadline: float) -> Chain:
        return Chain(self._node, self._token, self._depth, deadline)

    def _merchant(self, target: str, credentials: Mapping[str, str], deadline: float, send_by: datetime | None = None) -> Exchange:
        return exchange(
            "GET",
            target,
            credentials=credentials,
            headers={"Accept": "*/*"},
            body=b"",
            deadline=deadline,
            send_by=send_by,
            clock=self._clock,
            reach=self._reach,
            largest=LARGEST_RESOURCE,
        )


def judge_answer(done: Exchange, expected: Authorization, token: Token) -> Verdict:
    """What a merchant's answer to a payment proves: at most that the chain has been given it."""
    if done.status is None:
        return Verdict(Result.UNKNOWN, _TROUBLE.get(done.failure, done.failure), done.detail)
    if done.status == 402:
        return Verdict(Result.UNKNOWN, "merchant_asks_again", "the merchant asks for payment again: it is not signed again")
    if not 200 <= done.status < 300:
        code = "merchant_unavailable" if done.status >= 500 else "merchant_refused"
        return Verdict(Result.UNKNOWN, code, f"the merchant answered {done.status}")
    try:
        settled = x402_terms.header(done.headers, "payment-response")
    except x402_terms.Unclear as error:
        return Verdict(Result.UNKNOWN, "merchant_invalid", str(error))
    named = {"network": token.asset.network, "payer": expected.payer, "amount": str(expected.value)}
    given = {name: str(settled.get(name) or named[name]) for name in named}
    if settled.get("success") is not True or not re.fullmatch("0x[0-9a-fA-F]{64}", str(settled.get("transaction"))):
        return Verdict(Result.UNKNOWN, "merchant_invalid", "the merchant gave the resource without saying that it was paid")
    if given | {"payer": given["payer"].lower()} != named:
        return Verdict(Result.UNKNOWN, "merchant_invalid", "the merchant tells of another payment")
    return Verdict(Result.ACCEPTED, "accepted", "the merchant says that it has settled on the chain", "0x" + expected.nonce.hex())


def bought(raw: bytes) -> tuple[str, bytes] | None:
    """The resource in `Outcome.raw` of a payment: its media type and its bytes; None when none came."""
    try:
        answer = canonical.loads(raw)
        return (answer["content_type"], base64.b64decode(answer["body"])) if 200 <= answer["status"] < 300 else None
    except (Invalid, ValueError, KeyError, TypeError):
        return None


def _told(done: Exchange, shown: bytes, verdict: Verdict) -> Outcome:
    """The outcome of a payment: the evidence is what was signed, without its signature, and all that came back."""
    answer = {
        "status": done.status or 0,
        "payment_response": done.headers.get("payment-response", "")[: x402_terms.LONGEST_HEADER],
        "payment_required": done.headers.get("payment-required", "")[: x402_terms.LONGEST_HEADER],
        "content_type": done.headers.get("content-type", "")[:200],
        "body": base64.b64encode(done.body).decode(),
    }
    unsent = done.status is None and not done.sent and done.failure in judging.BEFORE_A_BYTE
    return Outcome(
        result=verdict.result,
        reason=verdict.reason,
        provider_id=verdict.provider_id,
        sent=done.sent,
        raw=canonical.dumps(answer),
        request=done.request + shown,
        code=verdict.code,
        http_status=done.status,
        again=unsent,
    )


def _fitted(instruction: Instruction) -> str:
    """The resource's URL; raises `NotSendable` for an instruction that this rail cannot carry."""
    if instruction.currency != CURRENCY:
        raise NotSendable("currency_unsupported", f"x402 pays in {CURRENCY} here")
    try:
        evm.account_parts(instruction.payee_account)
    except ValueError as error:
        raise NotSendable("payee_malformed", str(error)) from None
    if instruction.payee_type != "evm":
        raise NotSendable("account_type_unsupported", "x402 pays to EVM accounts")
    target = instruction.target or ""
    if not targets.is_resource(target):
        raise NotSendable("target_malformed", "what is paid for is the URL of a resource: https, or http on this machine")
    return target


def _number(text: str, least: int) -> int:
    if not re.fullmatch("[0-9]{1,15}", text) or int(text) < least:
        raise ValueError(f"confirmations and first_block are whole numbers; this one is at least {least}")
    return int(text)


def _check(name: str, ok: bool, detail: str) -> Check:
    return Check(name=name, ok=ok, detail=detail)
