"""The messages of ISO 20022: exact, valid against the published schema, and safe to read."""

from __future__ import annotations

import pathlib
import re
import string
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sepaxml
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from codespar.lib.money import ISO_4217
from rails.iso20022 import documents, orders, reports, words
from rails.iso20022.orders import Recall, Transfer
from rails.iso20022.words import BadMessage

KEY, OTHER = "a" * 35 + "bcdefghi", "Z" * 43
AT = datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)
IBAN, BIC = "DE89370400440532013000", "COBADEFFXXX"
# The schema as ISO publishes it, which a library brings: not ours.
PUBLISHED = xmlschema.XMLSchema(str(pathlib.Path(sepaxml.__file__).parent / "schemas" / "pain.001.001.09.xsd"))


def transfer(**changes: Any) -> Transfer:
    fields: dict[str, Any] = {"key": KEY, "at": AT, "account": "acct-1", "amount": 1050, "currency": "EUR", "iban": IBAN}
    return Transfer(**(fields | {"bic": BIC, "name": "Jose Muller", "reference": "pay-01"} | changes))


def recall(**changes: Any) -> Recall:
    fields: dict[str, Any] = {"key": OTHER, "payment_key": KEY, "at": AT, "account": "acct-1", "amount": 1050, "currency": "EUR"}
    return Recall(**(fields | changes))


KEYS = st.text(string.ascii_letters + string.digits, min_size=43, max_size=43)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0))
TEXTS = st.text(string.ascii_letters + string.digits + "/-?:().,'+ ", min_size=1, max_size=140).filter(
    lambda text: text == text.strip() and not text.startswith("/") and not text.endswith("/") and "//" not in text
)
CURRENCIES = st.sampled_from(sorted(ISO_4217))
TRANSFERS = st.builds(
    Transfer,
    key=KEYS,
    at=TIMES,
    account=st.sampled_from(["acct-1", "7", IBAN, "x" * 34]),
    amount=st.integers(1, 2**53 - 1),
    currency=CURRENCIES,
    iban=st.sampled_from([IBAN, "GB33BUKB20201555555555", "BR1800360305000010009795493C1", "NO9386011117947"]),
    bic=st.none() | st.sampled_from([BIC, "DEUTDEFF"]),
    name=st.none() | TEXTS,
    reference=TEXTS,
)


@settings(deadline=None, max_examples=150)
@given(order=TRANSFERS)
def test_a_transfer_is_read_as_it_was_written_and_valid_against_the_published_schema(order: Transfer) -> None:
    body = orders.write_transfer(order)
    assert orders.read_transfer(body) == order
    assert orders.write_transfer(order) == body
    PUBLISHED.validate(body.decode().partition("?>")[2])


@settings(deadline=None, max_examples=150)
@given(
    order=st.builds(
        Recall, key=KEYS, payment_key=KEYS, at=TIMES, account=st.sampled_from(["acct-1", IBAN]), amount=st.integers(1, 2**53 - 1),
        currency=CURRENCIES, stop_only=st.booleans(),
    )
)  # fmt: skip
def test_a_recall_is_read_as_it_was_written(order: Recall) -> None:
    body = orders.write_recall(order)
    assert orders.read_recall(body) == order


def test_a_message_says_what_the_rail_agreed_on() -> None:
    body = orders.write_transfer(transfer(currency="EUR")).decode()
    for said in (
        f"<MsgId>{KEY[:35]}</MsgId><CreDtTm>2026-01-02T15:04:05Z</CreDtTm><NbOfTxs>1</NbOfTxs><CtrlSum>10.50</CtrlSum>",
        "<PmtMtd>TRF</PmtMtd>",
        "<ReqdExctnDt><Dt>2026-01-02</Dt></ReqdExctnDt>",
        "<ChrgBr>SLEV</ChrgBr>",
        f"<InstrId>{KEY[-35:]}</InstrId><EndToEndId>{KEY[:35]}</EndToEndId><UETR>{words.uetr(KEY)}</UETR>",
        '<InstdAmt Ccy="EUR">10.50</InstdAmt>',
        f"<CdtrAgt><FinInstnId><BICFI>{BIC}</BICFI></FinInstnId></CdtrAgt><Cdtr><Nm>Jose Muller</Nm></Cdtr>",
    ):
        assert said in body
    assert "<ChrgBr>SHAR</ChrgBr>" in orders.write_transfer(transfer(currency="USD")).decode()
    assert "<DbtrAcct><Id><IBAN>" in orders.write_transfer(transfer(account=IBAN)).decode()


# Ids.


@given(key=KEYS, other=KEYS)
def test_the_ids_of_a_key_name_it_and_no_other(key: str, other: str) -> None:
    first, last = words.message_id(key), words.instruction_id(key)
    assert words.key_of(first, last) == key
    assert uuid.UUID(words.uetr(key)).version == 4
    if other != key:
        assert (words.message_id(other), words.instruction_id(other)) != (first, last)
        assert words.uetr(other) != words.uetr(key)


@pytest.mark.parametrize(("first", "last"), [(None, None), (KEY[:35], None), (KEY[:35], OTHER[-35:]), (KEY[:34], KEY[-35:]), ("", "")])
def test_ids_that_are_not_of_one_key_name_none(first: str | None, last: str | None) -> None:
    assert words.key_of(first, last) is None


@pytest.mark.parametrize("key", ["", "a" * 42, "a" * 44, "a" * 42 + "-"])
def test_a_key_of_another_rail_is_none(key: str) -> None:
    with pytest.raises(BadMessage):
        words.message_id(key)


# Amounts.


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(1050, "EUR", "10.50"), (5, "EUR", "0.05"), (1050, "JPY", "1050"), (1050, "BHD", "1.050"), (2**53 - 1, "BRL", "90071992547409.91")],
)
def test_amounts_are_exact_to_the_minor_unit(amount: int, currency: str, text: str) -> None:
    assert words.decimal(amount, currency) == text
    assert words.minor_units(text, currency) == amount


@given(amount=st.integers(0, 2**53 - 1), currency=CURRENCIES)
def test_an_amount_is_read_as_it_was_written(amount: int, currency: str) -> None:
    assert words.minor_units(words.decimal(amount, currency), currency) == amount


@pytest.mark.parametrize(
    ("text", "currency"),
    [("10.505", "EUR"), ("10.5", "JPY"), ("-1.00", "EUR"), ("1e3", "EUR"), ("", "EUR"), (".50", "EUR"), ("1,50", "EUR"), ("1.00", "XAU")]
    + [("1.0000000", "EUR"), ("١.00", "EUR"), ("1.00", "None")],
)
def test_what_is_no_exact_amount_is_refused(text: str, currency: str) -> None:
    with pytest.raises(BadMessage):
        words.minor_units(text, currency)


def test_an_amount_may_have_fewer_or_more_zeros() -> None:
    assert (words.minor_units("10.5", "EUR"), words.minor_units("10", "EUR"), words.minor_units("10.50000", "EUR")) == (1050, 1000, 1050)


# Texts and accounts.


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("José Müller", "Jose Muller"),
        ("Straße & Söhne", "Strasse + Sohne"),
        ("pay_01", "pay-01"),
        ("Łódź", "Lodz"),
        ("a@b.example", "a(at)b.example"),
    ],
)
def test_a_text_is_spelt_in_swifts_characters(text: str, spelt: str) -> None:
    assert words.spell(text, 140, "x") == spelt


@pytest.mark.parametrize("text", ["株式会社", "a\nb", "a\x00b", "a#b", "a<b", "", " a", "/a", "a/", "a//b", "x" * 141, "😀"])
def test_a_text_that_banks_cannot_write_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(BadMessage, match="the payee's name (has|begins|is longer)"):
        words.spell(text, 140, "the payee's name")


@pytest.mark.parametrize(
    ("value", "found"), [(IBAN, (IBAN, None)), (f"{IBAN}/{BIC}", (IBAN, BIC)), (f"{IBAN}/DEUTDEFF", (IBAN, "DEUTDEFF"))]
)
def test_an_account_is_an_iban_with_or_without_a_bic(value: str, found: tuple[str, str | None]) -> None:
    assert words.account(value) == found


@pytest.mark.parametrize(
    "value",
    [
        "",
        "DE89370400440532013001",
        "DE89 3704 0044 0532 0130 00",
        IBAN.lower(),
        "XX89370400440532013000",
        IBAN[:-1],
        f"{IBAN}/",
        f"{IBAN}/COBA",
    ]
    + [f"{IBAN}/cobadeffxxx", f"{IBAN}/{BIC}/x", "12345678909", f"{IBAN}/COBAZZFFXXX"],
)
def test_a_wrong_account_is_refused_with_a_sentence(value: str) -> None:
    with pytest.raises(BadMessage, match="IBAN|BIC"):
        words.account(value)


# What is read.

BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">%s]><Document>&lol9;</Document>""" % b"".join(
    b'<!ENTITY lol%d "%s">' % (n, b"&lol%d;" % (n - 1) * 10 if n > 1 else b"&lol;" * 10) for n in range(1, 10)
)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document>&x;</Document>',
        b'<?xml version="1.0"?><!DOCTYPE d SYSTEM "http://127.0.0.1:1/d.dtd"><Document/>',
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE d [<!ENTITY x "y">]><Document>&x;</Document>'.encode("utf-16"),
        b"",
        b"<Document>",
        b"\xff",
        b"{}",
        b"<a>" * 10_000,
        b"<a>" + b" " * documents.LARGEST + b"</a>",
    ],
)
def test_what_is_no_small_plain_xml_is_refused_at_once(body: bytes) -> None:
    started = time.monotonic()
    for read in (
        orders.read_transfer,
        orders.read_recall,
        reports.read_status,
        reports.read_resolution,
        reports.read_statement,
        documents.kind,
    ):
        with pytest.raises(BadMessage):
            read(body)
    assert time.monotonic() - started < 1


def test_an_external_file_is_never_opened(tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pay-01")
    body = orders.write_transfer(transfer()).replace(
        b"<Ustrd>pay-01</Ustrd>",
        f'<Ustrd><xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret}" parse="text"/></Ustrd>'.encode(),
    )
    with pytest.raises(BadMessage):
        orders.read_transfer(body)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<NbOfTxs>1</NbOfTxs>", "<NbOfTxs>x</NbOfTxs>"),
        ("<PmtMtd>TRF</PmtMtd>", "<PmtMtd>TRX</PmtMtd>"),
        (f"<MsgId>{KEY[:35]}</MsgId>", f"<MsgId>{'a' * 36}</MsgId>"),
        (f"<MsgId>{KEY[:35]}</MsgId>", ""),
        ("<CreDtTm>2026-01-02T15:04:05Z</CreDtTm>", "<CreDtTm>yesterday</CreDtTm>"),
        (' Ccy="EUR"', ""),
        (">10.50</InstdAmt>", ">10.505050</InstdAmt>"),
        (">10.50</InstdAmt>", ">-10.50</InstdAmt>"),
        (f"<IBAN>{IBAN}</IBAN>", "<IBAN>de1</IBAN>"),
        ("pain.001.001.09", "pain.001.001.08"),
        ("<Cdtr><Nm>Jose Muller</Nm></Cdtr>", "<Cdtr><Nm>" + "x" * 141 + "</Nm></Cdtr>"),
        ("<PmtMtd>TRF</PmtMtd>", "<PmtMtd>TRF</PmtMtd><Unknown>x</Unknown>"),
    ],
)
def test_what_the_schema_forbids_is_refused(old: str, new: str) -> None:
    body = orders.write_transfer(transfer()).decode()
    assert old in body
    with pytest.raises(BadMessage):
        orders.read_transfer(body.replace(old, new).encode())


def test_elements_in_another_order_are_refused() -> None:
    body = orders.write_transfer(transfer()).decode()
    swapped = re.sub(r"(<InstrId>.*</InstrId>)(<EndToEndId>.*</EndToEndId>)", r"\2\1", body)
    assert swapped != body
    with pytest.raises(BadMessage, match="not valid against pain.001.001.09"):
        orders.read_transfer(swapped.encode())


@pytest.mark.parametrize(
    "change", [{"key": "short"}, {"account": ""}, {"account": "x" * 35}, {"amount": -1}, {"currency": "XAU"}, {"iban": "DE1"}, {"bic": "x"}]
    + [{"name": "株"}, {"reference": ""}, {"reference": "x" * 141}],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        orders.write_transfer(transfer(**change))


@settings(deadline=None, max_examples=200)
@given(body=st.binary(max_size=300), at=st.integers(0, 1500), cut=st.integers(0, 40))
def test_random_and_damaged_messages_are_refused_or_read_exactly(body: bytes, at: int, cut: int) -> None:
    whole = orders.write_transfer(transfer())
    for candidate in (body, whole[:at] + body[:cut] + whole[at + cut :]):
        try:
            found = orders.read_transfer(candidate)
        except BadMessage:
            continue
        assert orders.write_transfer(found) == candidate


def test_a_time_without_a_zone_is_utc() -> None:
    assert orders.moment("2026-01-02T15:04:05") == AT
    assert orders.moment("2026-01-02T12:04:05-03:00") == AT
    assert orders.moment("2026-01-02") == AT.replace(hour=0, minute=0, second=0)
    assert orders.moment("2026-01-02T15:04:05Z") + timedelta(0) == AT
