"""Nothing is read and nothing is paid over Open Finance without a consent of the account's holder that holds now and allows it."""

import time
from typing import Any

import httpx2
import pytest

from tests.support import consenting, verifying
from tests.support.consenting import authorised, bank_consents, bank_payments, connect, holder, paying, to_pay, to_read
from tests.support.problems import is_problem
from tests.support.world import World, later, raw_id

LOOKS = ("accounts", "balances", "transactions")


def look(world: World, consent: str, what: str, **params: Any) -> httpx2.Response:
    """A read under a consent, as the agent; whatever comes."""
    return world.api._http.get(f"/v1/consents/{consent}/{what}", params=params)


def test_reads_need_the_holders_yes_and_show_what_the_bank_has(world: World) -> None:
    connect(world)
    consent = to_read(world)
    assert (consent["status"], consent["provider_knows"]) == ("awaiting_authorisation", False)
    for what in LOOKS:
        is_problem(look(world, consent["id"], what), 403, "consent_pending")
    authorised(world, consent)
    [account] = look(world, consent["id"], "accounts").json()["data"]
    [balance] = look(world, consent["id"], "balances").json()["data"]
    assert balance["account"] == account["id"]
    assert balance["available"] == {"amount": 100_000, "currency": "BRL"}
    assert look(world, consent["id"], "transactions").json()["data"] == []
    assert verifying.complaints(world) == []


def test_a_payment_is_initiated_under_the_consent_and_found_in_the_account(world: World) -> None:
    consent, payee = paying(world)
    answer = world.pay(1050, counterparty=payee, rail=consenting.RAIL)
    assert (answer.status_code, answer.json()["status"]) == (201, "settled"), answer.text
    [booked] = bank_payments(world)
    assert (booked["amount"], booked["status"]) == (1050, "settled")
    [row] = world.rows("SELECT consent_id, provider_id FROM payments WHERE id = %s", raw_id(answer.json()["id"]))
    assert (row["consent_id"], row["provider_id"]) == (raw_id(consent), booked["id"])
    assert verifying.complaints(world) == []
