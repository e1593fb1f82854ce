"""The bank's wires as any client would meet them: plain HTTP, and the schema as ISO publishes it."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rails.iso20022 import documents, orders, reports
from rails.iso20022.orders import Recall, Transfer
from rails.sandbox.launch import Provider

KEY, RECALL = "k" * 43, "r" * 43
AT = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)


@pytest.fixture
def account(running: Provider, request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub("[^A-Za-z0-9]", "", request.node.name)[-30:]
    running.open_account(name, f"key-{name}", 10_000, api="wire", currency="EUR")
    running.call("POST", "/_control/wire", {"settle_seconds": 600, "recall_seconds": 600, "recalls": "accept"})
    yield name
    running.call("DELETE", "/_control")


def transfer(account: str, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"key": KEY, "at": AT, "account": account, "amount": 1050, "currency": "EUR", "iban": "DE89370400440532013000"}
    return orders.write_transfer(Transfer(**(fields | {"bic": None, "name": "Maria", "reference": "inv-7"} | changes)))


def recall(account: str, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"key": RECALL, "payment_key": KEY, "at": AT, "account": account, "amount": 1050, "currency": "EUR"}
    return orders.write_recall(Recall(**(fields | changes)))


def call(
    running: Provider, account: str, path: str, body: bytes | None = None, key: str = KEY, api_key: str = ""
) -> tuple[int, bytes, str]:
    headers = {"Authorization": f"Bearer {api_key or f'key-{account}'}"}
    if body is not None:
        headers |= {"Content-Type": "application/xml", "Idempotency-Key": key[:35]}
    asked = urllib.request.Request(f"{running.url}/wire-api{path}", data=body, headers=headers, method="GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read(), refusal.headers["Content-Type"]


def test_the_same_bytes_are_answered_as_they_stand_and_others_refused(running: Provider, account: str) -> None:
    first = call(running, account, "/messages", transfer(account))
    assert (first[0], first[2], documents.kind(first[1])) == (201, "application/xml", documents.STATUS)
    again = call(running, account, "/messages", transfer(account))
    assert reports.read_status(again[1]) == reports.read_status(first[1])
    assert reports.read_status(call(running, account, f"/messages/{KEY[:35]}")[1]) == reports.read_status(first[1])
    for other in ({"amount": 1051}, {"at": AT + timedelta(seconds=1)}):
        status, body, media = call(running, account, "/messages", transfer(account, **other))
        assert (status, b"conflict" in body, media) == (409, True, "application/json")
    assert len([row for row in running.ledger()["payments"] if row["account"] == account]) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<NbOfTxs>1</NbOfTxs>", "<NbOfTxs>2</NbOfTxs>"),
        ("<CtrlSum>10.50</CtrlSum>", "<CtrlSum>10.51</CtrlSum>"),
        ("<PmtMtd>TRF</PmtMtd>", "<PmtMtd>CHK</PmtMtd>"),
        (">10.50</InstdAmt>", ">10.5</InstdAmt>"),
        (">10.50</InstdAmt>", ">0.00</InstdAmt>"),
        ("<PmtMtd>TRF</PmtMtd>", ""),
        ("<Document", "<!DOCTYPE d [<!ENTITY a 'b'>]><Document"),
        ("pain.001.001.09", "pain.001.001.03"),
        ("</CstmrCdtTrfInitn>", ""),
    ],
)
def test_a_message_that_is_none_is_refused_and_moves_nothing(running: Provider, account: str, old: str, new: str) -> None:
    body = transfer(account).decode()
    assert old in body
    status, answer, _ = call(running, account, "/messages", body.replace(old, new).encode())
    assert (status, b"invalid_message" in answer) == (400, True), answer
    assert call(running, account, f"/messages/{KEY[:35]}")[0] == 404


def test_who_asks_owns_the_account_and_the_message(running: Provider, account: str) -> None:
    assert call(running, account, "/messages", transfer(account), api_key="wrong")[0] == 401
    assert call(running, account, "/messages", transfer("another"))[0] == 403
    assert call(running, account, "/messages", transfer(account), key=RECALL)[0] == 400
    assert call(running, account, "/messages", recall("another"), key=RECALL)[0] == 403
    assert [row for row in running.ledger()["messages"] if row["account"] == account] == []


def test_an_account_or_a_bank_that_cannot_be_is_rejected_with_its_code(running: Provider, account: str) -> None:
    body = transfer(account).replace(b"DE89370400440532013000", b"DE89370400440532013001")
    told = reports.read_status(call(running, account, "/messages", body)[1])
    assert (told.code, told.reason) == ("RJCT", "AC01")
    other = transfer(account, key="b" * 43, bic="COBADEFFXXX").replace(b"COBADEFFXXX", b"COBAZZFFXXX")
    told = reports.read_status(call(running, account, "/messages", other, key="b" * 43)[1])
    assert (told.code, told.reason) == ("RJCT", "RC01")


def test_a_recall_is_decided_once(running: Provider, account: str) -> None:
    call(running, account, "/messages", transfer(account))
    first = reports.read_resolution(call(running, account, "/messages", recall(account), key=RECALL)[1])
    assert (first.confirmation, first.key, first.returned) == ("CNCL", RECALL, None)
    running.call("POST", "/_control/wire", {"recalls": "refuse"})
    assert reports.read_resolution(call(running, account, "/messages", recall(account), key=RECALL)[1]) == first
    assert reports.read_status(call(running, account, f"/messages/{KEY[:35]}")[1]).code == "CANC"
    assert call(running, account, "/messages", recall(account, amount=1), key=RECALL)[0] == 409


@pytest.mark.parametrize("change", [{"amount": 1049}, {"currency": "USD"}, {"payment_key": "x" * 43}, {"payment_key": "k" * 42 + "x"}])
def test_a_recall_of_something_else_is_refused(running: Provider, account: str, change: dict[str, Any]) -> None:
    call(running, account, "/messages", transfer(account))
    found = reports.read_resolution(call(running, account, "/messages", recall(account, **change), key=RECALL)[1])
    assert (found.confirmation, found.reason) == ("RJCR", "NOOR")
    assert reports.read_status(call(running, account, f"/messages/{KEY[:35]}")[1]).code == "ACCP"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", {"settle_seconds": -1}),
        ("", {"settle_seconds": "1"}),
        ("", {"recalls": "maybe"}),
        ("", {"speed": 1}),
        ("", {"drop": "../x"}),
        ("/payments", {"account": "a", "id": "x", "do": "burn"}),
        ("/payments", {"account": "a", "id": "x", "do": "reject", "code": "no"}),
        ("/recalls", {"account": "a", "id": "x", "do": "accept"}),
    ],
)
def test_the_control_plane_refuses_what_it_does_not_know(running: Provider, path: str, body: dict[str, Any]) -> None:
    assert running.call("POST", f"/_control/wire{path}", body)[0] == 400


def test_a_transfer_that_is_over_is_not_moved_again(running: Provider, account: str) -> None:
    call(running, account, "/messages", transfer(account))
    settle = {"account": account, "id": KEY[:35], "do": "settle"}
    assert running.call("POST", "/_control/wire/payments", settle) == (200, {"status": "settled"})
    assert running.call("POST", "/_control/wire/payments", settle)[0] == 409
    assert running.call("POST", "/_control/wire/payments", settle | {"do": "reject"})[0] == 409
    assert running.ledger()["balances"][account] == 8_950


def test_a_rejected_transfer_gives_its_money_free(running: Provider, account: str) -> None:
    call(running, account, "/messages", transfer(account, amount=10_000))
    running.call("POST", "/_control/wire/payments", {"account": account, "id": KEY[:35], "do": "reject", "code": "AC04"})
    second = transfer(account, key="b" * 43, amount=10_000)
    assert reports.read_status(call(running, account, "/messages", second, key="b" * 43)[1]).code == "ACCP"
