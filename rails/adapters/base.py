"""What every rail adapter is: its types and its protocol.

The rule behind all of it: an answer that does not prove what happened to the money is `unknown`. A timeout is unknown,
never failed. An adapter does not retry, does not know the database, and says honestly whether a byte has left.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

KEY = re.compile("[A-Za-z0-9]{1,64}")


class Result(enum.StrEnum):
    """What is known after asking a rail. `not_found` is an answer to a query only."""

    ACCEPTED = "accepted"  # the rail has it, the money has not moved yet
    SETTLED = "settled"  # the money has moved, and every field equals the instruction
    REJECTED = "rejected"  # a validated no: the money has not moved and will not
    UNKNOWN = "unknown"  # nothing is proven: ask by query, webhook or statement
    CONFLICTED = "conflicted"  # the rail has something else under our key: a human
    NOT_FOUND = "not_found"  # the rail does not know our key, now


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackStep:
    """How money comes back from one `state`: `action` is cancel, void, refund, recall, compensate or none.

    `within_seconds` is the rail's window, None without one; `certain` is False when the rail may say no.
    """

    state: str
    action: str
    how: str
    within_seconds: int | None
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a rail can do. `key_lifetime_seconds` is None when the rail remembers our key for ever.

    After `acceptance_window_seconds` a request that the rail has not seen will not be accepted any more;
    `settlement_seconds` is how long an accepted payment usually takes.
    """

    can_void: bool
    partial_refund: bool
    query_by_key: bool
    key_lifetime_seconds: int | None
    acceptance_window_seconds: int
    settlement_seconds: int
    rollback: tuple[RollbackStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One payment: `key` is ours in the rail's alphabet, `amount` minor units, `send_by` an aware UTC time.

    Raises ValueError when a field could not be sent.
    """

    key: str
    amount: int
    currency: str
    payee_key: str
    payee_name: str | None
    reference: str
    send_by: datetime

    def __post_init__(self) -> None:
        _check(self.amount, self.send_by, self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundInstruction:
    """Part or all of the payment `payment_key` back; fields as in `Instruction`."""

    key: str
    payment_key: str
    amount: int
    currency: str
    send_by: datetime

    def __post_init__(self) -> None:
        _check(self.amount, self.send_by, self.key, self.payment_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt or a query has shown.

    `sent` is False only when it is proven that no byte of the request was written. `raw` is the answer's body and
    `request` the request without its credentials, both as bytes, for evidence. `code` is one word of ours, `reason`
    a sentence for people, `http_status` None without an answer.
    """

    result: Result
    reason: str
    provider_id: str | None
    sent: bool
    raw: bytes
    request: bytes
    code: str
    http_status: int | None = None


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
    """One booking at the rail: `kind` is payment, refund or deposit; `amount` is signed; `key` is ours, if any."""

    line: int
    kind: str
    id: str
    key: str | None
    amount: int
    currency: str
    at: datetime
    party_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Lines in order; `opening + sum(amounts) == closing` was checked. `complete` is False when more lines follow."""

    opening: int
    lines: tuple[StatementLine, ...]
    closing: int
    complete: bool
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """An authentic webhook. It is a hint: what it says is confirmed by a query before money moves.

    `id` is the same in every delivery of one event. `key` is our key of the payment or refund, None for a deposit.
    """

    id: str
    type: str
    account: str
    provider_id: str
    key: str | None
    payment_key: str | None
    status: str
    amount: int
    currency: str
    party_key: str | None
    sent_at: datetime
    raw: bytes


class WebhookRefused(Exception):
    """The webhook is not authentic, not fresh or not readable; the message never says which."""

    def __init__(self) -> None:
        super().__init__("webhook refused")


class Unreadable(Exception):
    """A deposit or a statement could not be read; `code` as in `Outcome`, `raw` what was received."""

    def __init__(self, code: str, reason: str, raw: bytes = b"") -> None:
        super().__init__(reason)
        self.code, self.reason, self.raw = code, reason, raw


class Adapter(Protocol):
    """A rail. `deadline` is a `time.monotonic()` value: the call has returned by then, whatever the rail does.

    Network trouble is an `Outcome`, not an exception (`deposit` and `statement`: `Unreadable`). Thread-safe.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    def send(self, instruction: Instruction, deadline: float) -> Outcome: ...

    def query(self, key: str, expected: Instruction, deadline: float) -> Outcome: ...

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome: ...

    def query_refund(self, key: str, expected: RefundInstruction, deadline: float) -> Outcome: ...

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        """None when the rail does not know the id; raises `Unreadable`."""

    def statement(self, after: int, deadline: float) -> Statement:
        """The lines after line `after`; raises `Unreadable`."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secret: str | Sequence[str], now: datetime) -> Notice:
        """Several secrets are for rotation; `now` is an aware time; raises `WebhookRefused`."""

    def rail_key(self, digest: bytes) -> str:
        """A SHA-256 digest as a key in the rail's alphabet, one to one."""


def _check(amount: int, send_by: datetime, *keys: str) -> None:
    if type(amount) is not int or not 1 <= amount < 2**53:
        raise ValueError("amount must be an integer of minor units from 1 to 2^53-1")
    if send_by.tzinfo is None:
        raise ValueError("send_by must be an aware time")
    if not all(KEY.fullmatch(key) for key in keys):
        raise ValueError("a key is 1 to 64 letters and digits: make it with rail_key")
