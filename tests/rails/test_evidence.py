"""What the dispatcher finds wrong with what a payment is for, whoever stored it."""

from typing import Any

import pytest

from codespar.launcher.stack import StackInfo
from codespar.lib import canonical, pix

CODE = pix.write_brcode(pix.BRCode(name="MARIA", city="RECIFE", key="maria@example.com", amount=1050))
SALT = b"\x07" * 32
MARIA, JOAO = {"id": "acc_1", "value": "maria@example.com"}, {"id": "acc_2", "value": "joao@example.com"}


def row(**changes: Any) -> dict[str, Any]:
    usual = {"target_salt": SALT, "target_value": CODE.encode(), "target": canonical.sha256(SALT + CODE.encode()).hex()}
    paid = {"rail": "pix", "amount": 1050, "currency": "BRL", "account_id": "acc_1", "counterparty": {"accounts": [MARIA, JOAO]}}
    return usual | paid | changes


def holds(**changes: Any) -> bool:
    from rails import evidence

    return evidence._target_holds(row(**changes))


def test_what_agrees_and_what_names_nothing_holds(stack: StackInfo) -> None:
    assert holds()
    assert holds(target=None, target_salt=None, target_value=None)
    assert holds(target=None, target_salt=None, target_value=None, rail="sandbox")


@pytest.mark.parametrize(
    "change",
    [
        {"target_salt": b"\x08" * 32},
        {"target_value": CODE.encode() + b" "},
        {"target": "00" * 32},
        {"target_salt": None, "target_value": None},
        {"amount": 1051},
        {"currency": "USD"},
        {"account_id": "acc_2"},
        {"rail": "sandbox"},
        {"rail": "x402"},
    ],
)
def test_another_text_or_one_that_asks_for_something_else_does_not(stack: StackInfo, change: dict[str, Any]) -> None:
    assert not holds(**change)


def test_a_rail_that_must_be_told_is_not_sent_a_payment_for_nothing(stack: StackInfo) -> None:
    assert not holds(target=None, target_salt=None, target_value=None, rail="x402")
