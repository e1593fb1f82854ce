"""Answers as a card provider gives them, each equal to the instructions of `card_bank`."""

from __future__ import annotations

from typing import Any

from tests.support.card_bank import SHOP


def good(**changes: Any) -> dict[str, Any]:
    intent = {
        "id": "pi_3OaBcDeFgHiJkLmN",
        "object": "payment_intent",
        "amount": 1050,
        "amount_capturable": 0,
        "amount_received": 1050,
        "capture_method": "manual",
        "created": 1_795_000_000,
        "currency": "brl",
        "last_payment_error": None,
        "latest_charge": "ch_3OaBcDeFgHiJkLmN",
        "metadata": {"codespar_key": "k1", "codespar_payee": SHOP, "codespar_reference": "inv 7"},
        "status": "succeeded",
        "transfer_data": {"destination": SHOP},
    }
    return intent | changes


def reserved(**changes: Any) -> dict[str, Any]:
    return good(**({"status": "requires_capture", "amount_capturable": 1050, "amount_received": 0} | changes))


def refunded(**changes: Any) -> dict[str, Any]:
    refund = {"id": "re_1", "object": "refund", "amount": 50, "currency": "brl", "payment_intent": "pi_1", "status": "succeeded"}
    return refund | {"metadata": {"codespar_key": "r1"}} | changes
