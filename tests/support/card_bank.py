"""One account at the bank's card API, opened for one test."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

from rails import adapters
from rails.adapters import base
from rails.adapters.base import Instruction, Outcome, RefundInstruction, Result
from rails.sandbox.launch import Provider

SECRET = "whsec_0123456789abcdefghijklmnopqrstuv"
OTHER_SECRET = "whsec_vutsrqponmlkjihgfedcba9876543210"
SHOP = "acct_shop1"
SOON = timedelta(seconds=30)


def order(key: str = "k1", **changes: Any) -> Instruction:
    fields: dict[str, Any] = {
        "key": key,
        "amount": 1050,
        "currency": "BRL",
        "payee_type": "card_merchant",
        "payee_account": SHOP,
        "payee_name": "Shop",
        "reference": "inv 7",
        "send_by": datetime.now(UTC) + SOON,
    }
    return Instruction(**(fields | changes))


def undo(key: str = "r1", payment_id: str | None = None, amount: int = 50, **changes: Any) -> RefundInstruction:
    fields: dict[str, Any] = {"key": key, "payment_key": "k1", "payment_id": payment_id, "amount": amount, "currency": "BRL"}
    return RefundInstruction(**({"send_by": datetime.now(UTC) + SOON} | fields | changes))


def said(outcome: Outcome) -> tuple[Result, str, bool]:
    """What an outcome says before anything else."""
    return outcome.result, outcome.code, outcome.sent


class CardBank:
    """The account's own view of the API: forms in, JSON out."""

    def __init__(self, provider: Provider, account: str, **more: Any) -> None:
        self.provider, self.account, self.api_key = provider, account, f"sk_{account}"
        provider.open_account(account, self.api_key, more.pop("balance", 10_000), api="card", **more)
        self.method = self.card()

    def adapter(self, method: str | None = None) -> base.Adapter:
        """The adapter of this account, with this card or its first one."""
        secrets = {"api_key": self.api_key, "payment_method": method or self.method}
        url = f"{self.provider.url}/card-api"
        return adapters.adapter_for("card", base.Connection(base_url=url, account=self.account, secrets=secrets))

    def card(self, **more: Any) -> str:
        """A new card's token."""
        body = {"account": self.account, "brand": "visa", "last4": "4242", **more}
        status, made = self.provider.call("POST", "/_control/payment_methods", body)
        assert status == 201, made
        return str(made["id"])

    def call(self, method: str, path: str, fields: dict[str, Any] | None = None, key: str | None = None, timeout: float = 5.0) -> Any:
        """(status, the JSON's bytes parsed)"""
        return (lambda status, raw: (status, json.loads(raw)))(*self.raw(method, path, fields, key, timeout))

    def raw(
        self, method: str, path: str, fields: dict[str, Any] | None = None, key: str | None = None, timeout: float = 5.0
    ) -> tuple[int, bytes]:
        data = urllib.parse.urlencode(fields or {}).encode() if method == "POST" else None
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/x-www-form-urlencoded"}
        headers |= {"Idempotency-Key": key} if key else {}
        request = urllib.request.Request(f"{self.provider.url}/card-api{path}", data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def fields(self, **changes: Any) -> dict[str, Any]:
        fields = {
            "amount": 1050,
            "currency": "brl",
            "payment_method": self.method,
            "confirm": "true",
            "capture_method": "manual",
            "metadata[codespar_key]": "k1",
            "transfer_data[destination]": SHOP,
        }
        return {name: value for name, value in (fields | changes).items() if value is not None}

    def pay(self, key: str = "k1", timeout: float = 5.0, **changes: Any) -> Any:
        """Authorises under this key."""
        return self.call("POST", "/v1/payment_intents", self.fields(**{"metadata[codespar_key]": key} | changes), key, timeout)

    def change(self, intent: str, action: str, key: str = "k1") -> Any:
        return self.call("POST", f"/v1/payment_intents/{intent}/{action}", {}, f"{key}-{action}")

    def paid(self, key: str = "k1", **changes: Any) -> str:
        """The id of an intent that was authorised and captured."""
        intent = self.pay(key, **changes)[1]["id"]
        assert self.change(intent, "capture", key)[1]["status"] == "succeeded"
        return str(intent)

    def refund(self, intent: str, key: str = "r1", **fields: Any) -> Any:
        return self.call("POST", "/v1/refunds", {"payment_intent": intent, "metadata[codespar_key]": key, **fields}, key)

    def status(self, intent: str) -> str:
        return str(self.call("GET", f"/v1/payment_intents/{intent}")[1]["status"])

    def booked(self, kind: str = "payments") -> list[dict[str, Any]]:
        return [row for row in self.provider.ledger()[kind] if row["account"] == self.account]

    def balance(self) -> int:
        return int(self.provider.ledger()["balances"][self.account])

    def deposit(self, amount: int = 7, payer: str = "joão", reference: str = "thanks") -> str:
        """Money comes in: the top-up's id."""
        body = {"account": self.account, "amount": amount, "currency": "BRL", "payer": payer, "reference": reference}
        return f"tu_{self.provider.call('POST', '/_control/deposits', body)[1]['id']}"
