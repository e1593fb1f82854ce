"""A rail that settles at once and talks to nobody, so that what is measured is the engine. It is known to `bench.dispatcher` only."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from rails.adapters.base import Capabilities, Deposit, Instruction, Notice, Outcome, RefundInstruction, Result, Statement, WebhookRefused


class NullRail:
    """Says yes to everything, with bytes of the size that a bank's are. Nothing ever asks it about what it said."""

    capabilities = Capabilities(
        can_void=False,
        partial_refund=True,
        query_by_key=True,
        key_lifetime_seconds=None,
        acceptance_window_seconds=30,
        settlement_seconds=0,
        rollback=(),
    )

    def __init__(self, base_url: str, api_key: str, account: str) -> None:
        self._account = account

    def send(self, instruction: Instruction, deadline: float) -> Outcome:
        asked = {
            "account": self._account,
            "amount": instruction.amount,
            "currency": instruction.currency,
            "payee": {"key": instruction.payee_key, "name": instruction.payee_name},
            "reference": instruction.reference,
        }
        said = {**asked, "id": f"null-{instruction.key}", "key": instruction.key, "status": "settled"}
        return _settled(f"null-{instruction.key}", json.dumps(asked).encode(), json.dumps(said).encode())

    def query(self, key: str, expected: Instruction, deadline: float) -> Outcome:
        return _settled(f"null-{key}", b"", b"")

    def refund(self, instruction: RefundInstruction, deadline: float) -> Outcome:
        return _settled(f"null-{instruction.key}", b"", b"")

    def query_refund(self, key: str, expected: RefundInstruction, deadline: float) -> Outcome:
        return _settled(f"null-{key}", b"", b"")

    def deposit(self, deposit_id: str, deadline: float) -> Deposit | None:
        return None

    def statement(self, after: int, deadline: float) -> Statement:
        return Statement(opening=0, lines=(), closing=0, complete=True, raw=b"")

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, secret: str | Sequence[str], now: datetime) -> Notice:
        # This rail sends none, so none is authentic.
        raise WebhookRefused

    def rail_key(self, digest: bytes) -> str:
        return digest.hex()


def _settled(provider_id: str, request: bytes, raw: bytes) -> Outcome:
    return Outcome(result=Result.SETTLED, reason="", provider_id=provider_id, sent=True, raw=raw, request=request, code="settled")
