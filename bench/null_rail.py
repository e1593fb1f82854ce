"""A rail that settles at once and talks to nobody, so that what is measured is the engine. It is known to `bench.dispatcher` only."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar

from rails.adapters.base import (
    Capabilities,
    Check,
    Connection,
    Cost,
    Deposit,
    Instruction,
    Notice,
    Outcome,
    RefundInstruction,
    Result,
    Statement,
    WebhookRefused,
)


class NullRail:
    """Says yes to everything, with bytes of the size that a bank's are. Nothing ever asks it about what it said."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        account_types=("pix_key",),
        currencies=None,
        secrets=("api_key",),
        webhook_headers=(),
        captures=False,
        can_void=False,
        can_refund=True,
        partial_refund=True,
        query_by_key=True,
        key_repeats=True,
        key_lifetime_seconds=None,
        acceptance_window_seconds=30,
        settlement_seconds=0,
        cost=Cost(),
        rollback=(),
    )

    def __init__(self, account: str) -> None:
        self._account = account

    @classmethod
    def connect(cls, connection: Connection) -> "NullRail":
        return cls(connection.account)

    def preflight(self, deadline: float) -> tuple[Check, ...]:
        return ()

    def prepare(self, instruction: Instruction, deadline: float) -> Instruction:
        return instruction

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        asked = {
            "account": self._account,
            "amount": instruction.amount,
            "currency": instruction.currency,
            "payee": {"key": instruction.payee_account, "name": instruction.payee_name},
            "reference": instruction.reference,
        }
        said = {**asked, "id": f"null-{instruction.key}", "key": instruction.key, "status": "settled"}
        return _settled(f"null-{instruction.key}", json.dumps(asked).encode(), json.dumps(said).encode())

    def query(self, instruction: Instruction, deadline: float) -> Outcome:
        return _settled(f"null-{instruction.key}", b"", b"")

    def capture(self, instruction: Instruction, deadline: float) -> Outcome:
        return self.query(instruction, deadline)

    def cancel(self, instruction: Instruction, deadline: float) -> Outcome:
        return self.query(instruction, deadline)

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        return _settled(f"null-{instruction.key}", b"", b"")

    def query_refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        return _settled(f"null-{instruction.key}", b"", b"")

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        return None

    def statement(self, cursor: str, deadline: float) -> Statement:
        return Statement(opening=None, lines=(), closing=None, cursor="", complete=True, raw=b"")

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> tuple[Notice, ...]:
        # This rail sends none, so none is authentic.
        raise WebhookRefused

    def rail_key(self, digest: bytes) -> str:
        return digest.hex()


def _settled(provider_id: str, request: bytes, raw: bytes) -> Outcome:
    return Outcome(result=Result.SETTLED, reason="", provider_id=provider_id, sent=True, raw=raw, request=request, code="settled")
