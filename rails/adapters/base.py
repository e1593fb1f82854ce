"""What every rail adapter is: its types and its protocol.

The rule behind all of it: an answer that does not prove what happened to the money is `unknown`. A timeout is unknown,
never failed. An adapter does not retry, does not know the database, and says honestly whether a byte has left.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol

KEY = re.compile("[A-Za-z0-9]{1,64}")


class Result(enum.StrEnum):
    """What is known after asking a rail. `not_found` is an answer to a query only."""

    ACCEPTED = "accepted"  # the rail has it, the money has not moved yet
    RESERVED = "reserved"  # the rail holds the money for us: a capture moves it, a void lets it go
    SETTLED = "settled"  # the money has moved, and every field equals the instruction
    CANCELED = "canceled"  # a void or recall is confirmed: nothing more will move, `Outcome.moved` had moved before
    REJECTED = "rejected"  # a validated no: the money has not moved and will not
    UNKNOWN = "unknown"  # nothing is proven: ask by query, webhook or statement
    CONFLICTED = "conflicted"  # the rail has something else under our key: a human
    NOT_FOUND = "not_found"  # the rail does not know our key, now


class Action(enum.StrEnum):
    """What the engine does to get money back. `void` and `recall` are `Adapter.cancel`, `refund` is `Adapter.refund`."""

    WAIT = "wait"  # the rail ends it by itself, and the next step applies then
    VOID = "void"  # what is reserved or not yet moved is let go
    RECALL = "recall"  # the rail is asked to stop or return it, and may say no
    REFUND = "refund"  # what has moved comes back by a movement of its own
    HUMAN = "human"  # the rail has no way back: a case for people, with the amount owed


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackStep:
    """How money comes back from one `state` (accepted, reserved, settled): the dispatcher runs `action`.

    `how` says it in the rail's words. `within_seconds` is the rail's window, None without one; `certain` is False when the rail may say no.
    """

    state: Result
    action: Action
    how: str
    within_seconds: int | None
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a payment usually costs: `fixed` minor units and `basis_points` of the amount, rounded up."""

    fixed: int = 0
    basis_points: int = 0

    def of(self, amount: int) -> int:
        """Minor units for a payment of `amount` minor units."""
        return self.fixed - (-amount * self.basis_points // 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a rail can do.

    `account_types` are the kinds of counterparty accounts that it pays, `currencies` what it pays in (None: any). `secrets` names what
    connecting an account needs beside the account itself, `optional` what it takes besides, `webhook_headers` (small letters) what
    authenticates a notice. `account_form` is the kind of account (`codespar.lib.payees`) in whose normal form our own account is written.
    `captures`: sending reserves the money, and a capture moves it. `key_repeats`: the rail answers a request that it has had before, under
    the same key, with what it did then, for `key_lifetime_seconds` (None: for ever); only then may an adapter's request be sent again.
    `query_by_key`: the rail finds a payment by our key. `acceptance_window_seconds` after `send_by` a request that the rail has not
    seen will not be accepted any more; `settlement_seconds` is how long an accepted payment usually takes.
    `statement_seconds` after it settled a payment stands in the statement: before that it is not missed there. `statement_final`: what
    a statement has told never changes, so that nobody reads it all again.
    `rollback` has one step for each state that a payment can be found in when it must come back. `asks_first`: `prepare` asks the rail.
    `consents`: nothing is paid or read without a consent of the account's holder (`Consenting`).
    """

    account_types: tuple[str, ...]
    currencies: tuple[str, ...] | None
    secrets: tuple[str, ...]
    webhook_headers: tuple[str, ...]
    captures: bool
    can_void: bool
    can_refund: bool
    partial_refund: bool
    query_by_key: bool
    key_repeats: bool
    key_lifetime_seconds: int | None
    acceptance_window_seconds: int
    settlement_seconds: int
    cost: Cost
    rollback: tuple[RollbackStep, ...]
    asks_first: bool = False
    statement_seconds: int = 5
    statement_final: bool = False
    optional: tuple[str, ...] = ()
    account_form: str | None = None
    consents: bool = False

    def step_from(self, state: Result) -> RollbackStep:
        """The way back from `state`; without one, a human's."""
        found = (step for step in self.rollback if step.state is state)
        return next(found, RollbackStep(state=state, action=Action.HUMAN, how="no way back is known", within_seconds=None, certain=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One account at a rail: where the rail is, our account there, and its secrets (`Capabilities.secrets`, and `webhook_secret`).

    `consents` are the provider's ids of the consents that hold now, by what each allows; only where `Capabilities.consents`.
    """

    base_url: str
    account: str
    secrets: Mapping[str, str] = field(repr=False)
    consents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One payment: `key` is ours in the rail's alphabet, `amount` minor units, `send_by` an aware UTC time.

    `payee_type`, `payee_account` and `payee_name` are the registry's. `target` is what is paid for on the payee's side, in the rail's words
    (a Pix txid, the URL of an x402 resource), None without. `provider_id` is the rail's own id once it is known; `terms` is what
    `prepare` learnt. `consent` is the provider's id of the consent that it is paid under. Raises ValueError when a field could not be sent.
    """

    key: str
    amount: int
    currency: str
    payee_type: str
    payee_account: str
    payee_name: str | None
    reference: str
    send_by: datetime
    target: str | None = None
    provider_id: str | None = None
    terms: str | None = None
    consent: str | None = None

    def __post_init__(self) -> None:
        _check(self.amount, self.send_by, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundInstruction:
    """Part or all of the payment `payment_key`, which the rail calls `payment_id`, back; fields as in `Instruction`."""

    key: str
    payment_key: str
    payment_id: str | None
    amount: int
    currency: str
    send_by: datetime
    provider_id: str | None = None

    def __post_init__(self) -> None:
        _check(self.amount, self.send_by, self.key, self.payment_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt or a query has shown.

    `sent` is False only when it is proven that no byte of the request was written. `raw` is the answer's body and
    `request` the request without its credentials, both as bytes, for evidence. `code` is one word of ours, `reason`
    a sentence for people, `http_status` None without an answer. `moved` is how much has moved (minor units) when that is not all or
    nothing: of an accepted payment so far, of a canceled one for good.

    `again` says that the rail asks to try again and that doing so is safe: nothing was written, or the rail remembers our key.
    `invalid` says that the rail's answer is not what was agreed: rubbish, or fields of another payment.
    """

    result: Result
    reason: str
    provider_id: str | None
    sent: bool
    raw: bytes
    request: bytes
    code: str
    http_status: int | None = None
    moved: int | None = None
    again: bool = False
    invalid: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must hold before an account carries money: `name` is one word of ours, `detail` a sentence for people."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """Money that came in, as the rail tells it; `amount` in minor units."""

    id: str
    account: str
    amount: int
    currency: str
    payer_key: str
    reference: str
    at: datetime
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One booking at the rail.

    `id` is the line's own, unique in the account; `kind` is payment, refund, deposit or other; `provider_id` is the rail's id of what was
    booked, `key` ours, if the rail knows it. `amount` is signed minor units: negative when money left. `party` is the other side's account.
    """

    id: str
    kind: str
    provider_id: str
    key: str | None
    amount: int
    currency: str
    at: datetime
    party: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A part of the account's statement, lines in the rail's order.

    `opening` and `closing` are the account's balances (minor units) before the first and after the last line, None where the rail tells no
    balances. They are as the rail said them: the engine adds up. `cursor` asks for what follows; `complete` is False when more follows.
    """

    opening: int | None
    lines: tuple[StatementLine, ...]
    closing: int | None
    cursor: str
    complete: bool
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One event of an authentic webhook. It is a hint: what it says is confirmed by a query before money moves.

    `id` is the same in every delivery of one event. `kind` is payment, refund or deposit. `key` is our key of the payment or refund,
    None when the notice does not name it; `provider_id` is the rail's id.
    """

    id: str
    kind: str
    provider_id: str
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentAsk:
    """A consent to be registered: `scopes` are ours, `expires_at` an aware UTC time, the limits minor units, None where nothing is paid."""

    key: str
    scopes: tuple[str, ...]
    expires_at: datetime
    max_payment: int | None = None
    max_total: int | None = None


class ConsentStatus(enum.StrEnum):
    """What a provider says of a consent."""

    AWAITING = "awaiting_authorisation"
    AUTHORISED = "authorised"
    REJECTED = "rejected"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A consent as the provider has it: its id there, and the address at which the account's holder says yes or no."""

    id: str
    status: ConsentStatus
    address: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A page of what was read under a consent; `more` says that another page follows. Amounts are minor units, times RFC 3339."""

    rows: tuple[Mapping[str, Any], ...]
    more: bool


class WebhookRefused(Exception):
    """The webhook is not authentic, not fresh or not readable; the message never says which."""

    def __init__(self) -> None:
        super().__init__("webhook refused")


class Unreadable(Exception):
    """A deposit or a statement could not be read; `code` as in `Outcome`, `raw` what was received."""

    def __init__(self, code: str, reason: str, raw: bytes = b"") -> None:
        super().__init__(reason)
        self.code, self.reason, self.raw = code, reason, raw


class NotSendable(Exception):
    """This rail cannot carry this instruction: nothing was sent, and nothing will be. `code` is one word of ours."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Adapter(Protocol):
    """A rail. `deadline` is a `time.monotonic()` value: the call has returned by then, whatever the rail does.

    Network trouble is an `Outcome`, not an exception (`deposit` and `statement`: `Unreadable`). Thread-safe. No call sends twice by itself:
    `rails.retries` does, where `Outcome.again` allows it.
    """

    capabilities: ClassVar[Capabilities]

    @classmethod
    def connect(cls, connection: Connection) -> Adapter:
        """The adapter of this account. Raises ValueError or KeyError for settings that cannot be used."""

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        """What must hold before this account carries money, each with its answer. Reads only; never raises."""

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        """The instruction, ready to be sent. May ask the rail; moves nothing. Raises `NotSendable`."""

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        """Ask for the payment, once. Never `not_found`."""

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        """What the rail has under our key: the answer counts only when every field of it equals the instruction."""

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        """Move what is reserved, all of it. Only where `Capabilities.captures`."""

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        """Void what is reserved or recall what was accepted. `canceled` is the rail's confirmation; asked for is `accepted`."""

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """Ask for the refund, once. Never `not_found`."""

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        """What the rail has under our refund key."""

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """None when the rail does not know the id; raises `Unreadable`."""

    def statement(self, cursor: str, deadline: float) -> Statement:
        """What follows `cursor`; the empty one asks from the beginning. Raises `Unreadable`."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        """The events of an authentic message; several secrets are for rotation; `now` is an aware time; raises `WebhookRefused`."""

    def rail_key(self, digest: bytes) -> str:
        """A SHA-256 digest as a key in the rail's alphabet, one to one."""


class Consenting(Protocol):
    """What a rail with `Capabilities.consents` does besides. Every call raises `Unreadable`: with the code `refused` for a validated no."""

    def register(self, ask: ConsentAsk, deadline: float) -> Consent:
        """Ask the provider for the consent. Twice makes two, of which the account's holder is shown the last one only."""

    def registered(self, consent: str, scopes: Sequence[str], deadline: float) -> Consent | None:
        """The consent as the provider has it now, None when it does not know it."""

    def revoke(self, consent: str, scopes: Sequence[str], deadline: float) -> None:
        """Tell the provider that the consent is revoked. Once it knows, telling it again changes nothing."""

    def read(self, resource: str, consent: str, account: str | None, page: int, deadline: float) -> Reading:
        """A page, counted from 1, of accounts, balances or transactions; of `account`, or of the first one."""


def _check(amount: int, send_by: datetime, *keys: str) -> None:
    if type(amount) is not int or not 1 <= amount < 2**53:
        raise ValueError("amount must be an integer of minor units from 1 to 2^53-1")
    if send_by.tzinfo is None:
        raise ValueError("send_by must be an aware time")
    if not all(KEY.fullmatch(key) for key in keys):
        raise ValueError("a key is 1 to 64 letters and digits: make it with rail_key")
