"""Pix's forms: amounts, keys, identifiers and BR Codes, against Bacen's published examples and over random ones."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codespar.lib import pix
from codespar.lib.pix import BadPix, BRCode, Kind

# Bacen, Manual do BR Code and Manual de Padrões para Iniciação do Pix: a static code, a dynamic one, and one with other schemes' ids
# (its txid, of 2020, has a hyphen, which is not allowed any more).
STATIC = (
    "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-426655440000"
    "5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***63041D3D"
)
DYNAMIC = (
    "00020101021226700014br.gov.bcb.pix2548pix.example.com/8b3da2f39a4140d1a91abd93113bd441"
    "5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***630464E4"
)
OF_2020 = (
    "00020104141234567890123426580014BR.GOV.BCB.PIX0136123e4567-e12b-12d1-a456-42665544000027300012BR.COM.OUTRO011001234567895204000053039865406123.45"
    "5802BR5917NOME DO RECEBEDOR6008BRASILIA61087007490062190515RP12345678-201980390012BR.COM.OUTRO01190123.ABCD.3456.WXYZ6304AD38"
)


def crc_by_bits(text: str) -> str:
    """CRC-16/CCITT-FALSE as it is defined: polynomial 0x1021, from 0xFFFF, bit by bit."""
    crc = 0xFFFF
    for byte in text.encode():
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return f"{crc:04X}"


def sealed(body: str) -> str:
    """The body with its right CRC, so that only what is tested can be wrong."""
    return body + "6304" + crc_by_bits(body + "6304")


def changed(old: str, new: str, code: str = STATIC) -> str:
    assert old in code
    return sealed(code[:-8].replace(old, new, 1))


def test_the_crc_is_that_of_the_published_check_value() -> None:
    assert pix.crc("123456789") == "29B1" == crc_by_bits("123456789")


@pytest.mark.parametrize("code", [STATIC, DYNAMIC, OF_2020])
def test_the_published_codes_carry_their_crc(code: str) -> None:
    assert pix.crc(code[:-4]) == crc_by_bits(code[:-4]) == code[-4:]


def test_the_published_static_code_is_read_and_written() -> None:
    found = pix.parse_brcode(STATIC)
    assert found == BRCode(name="Fulano de Tal", city="BRASILIA", key="123e4567-e12b-12d1-a456-426655440000")
    assert pix.write_brcode(found) == STATIC


def test_the_published_dynamic_code_is_read_and_written() -> None:
    found = pix.parse_brcode(DYNAMIC)
    assert found == BRCode(name="Fulano de Tal", city="BRASILIA", url="pix.example.com/8b3da2f39a4140d1a91abd93113bd441", once=True)
    assert pix.write_brcode(found) == DYNAMIC


def test_other_schemes_are_read_over_and_the_old_txid_is_named() -> None:
    with pytest.raises(BadPix, match="^62-05: the txid has 1 to 25 letters and digits"):
        pix.parse_brcode(OF_2020)
    found = pix.parse_brcode(changed("0515RP12345678-2019", "0515RP12345678x2019", OF_2020))
    assert (found.key, found.amount, found.txid) == ("123e4567-e12b-12d1-a456-426655440000", 12345, "RP12345678x2019")
    assert (found.name, found.postcode, found.once) == ("NOME DO RECEBEDOR", "70074900", False)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("", "ends with its CRC"),
        ("63041D3D", "63: the CRC is 1D3D and should be"),
        (STATIC[:-4] + STATIC[-4:].lower(), "63: the CRC is 1d3d and should be 1D3D"),
        (STATIC + "0", "ends with its CRC"),
        (STATIC.replace("Fulano", "Fuläno"), "printable ASCII"),
        (sealed(STATIC[6:-8]), "begins with 000201"),
        (sealed("000202" + STATIC[6:-8]), "00: is 01"),
        (sealed(STATIC), "63: is there twice"),
        (changed("5303986", "5303840"), "53: is 986"),
        (changed("5303986", ""), "53: is missing"),
        (changed("5802BR", "5802US"), "58: is BR"),
        (changed("5802BR", "5802BR5802BR"), "58: is there twice"),
        (changed("52040000", "5203000"), "52: the merchant category code has four digits"),
        (changed("5303986", "5303986550201"), "55: Pix knows no tips"),
        (changed("5913Fulano de Tal", "5926" + "x" * 26), "59: has 1 to 25"),
        (changed("6008BRASILIA", "6016" + "x" * 16), "60: has 1 to 15"),
        (changed("6008BRASILIA", "6000"), "60: its length is 00"),
        (changed("62070503***", "62140503***0503***"), "62-05: is there twice"),
        (changed("62070503***", "62070603***"), "62-05: is missing"),
        (changed("62070503***", "62070504***"), "62-05: its length is 04"),
        (changed("62070503***", "62150503***"), "63 is the last id"),
        (changed("62070503***", "6204abcd"), "62- at character 1: an id of two digits"),
        (changed("62070503***", "6230" + "0526" + "x" * 26), "62-05: the txid has 1 to 25"),
        (changed("br.gov.bcb.pix", "br.gov.bcb.xip"), "26 to 51: one of them"),
        (changed("0136123e4567-e12b-12d1-a456-426655440000", "02" + "36" + "x" * 36), "26: a static BR Code has a key"),
        (changed("123e4567", "123z4567"), "a Pix key is"),
        (changed("pix.example.com/8b", "https://pix.com/8b", DYNAMIC), "26-25: the URL is host/path"),
        (changed("010212", "010213", DYNAMIC), "01: is 11"),
        (changed("5802BR", "5407010.0005802BR"), "54: the amount is written"),
        (changed("5802BR", "5404-1.05802BR"), "54: the amount is written"),
        (changed("5802BR", "54040.005802BR"), "54: the amount is at least 0.01"),
        (changed("5802BR", "5411123456789015802BR"), "54: the amount is written"),
        (changed("5802BR", "54031e55802BR"), "54: the amount is written"),
    ],
)
def test_what_is_wrong_is_named(code: str, says: str) -> None:
    with pytest.raises(BadPix, match=says):
        pix.parse_brcode(code)


@pytest.mark.parametrize(("text", "amount"), [("10.50", 1050), ("10.5", 1050), ("10", 1000), ("0.01", 1), ("9999999999.99", 999999999999)])
def test_an_amount_is_exact_to_the_centavo(text: str, amount: int) -> None:
    assert pix.parse_brcode(changed("5802BR", f"54{len(text):02d}{text}5802BR")).amount == amount


def test_two_accounts_of_pix_are_one_too_many() -> None:
    account = STATIC[6:68]
    with pytest.raises(BadPix, match="26 to 51"):
        pix.parse_brcode(changed(account, account + "27" + account[2:]))


def test_a_code_that_could_not_be_written_is_not_made() -> None:
    for wrong in ({}, {"key": "Maria@Example.com"}, {"key": "maria@example.com", "url": "a.com/b"}, {"url": "a.com/b", "info": "x"}):
        with pytest.raises(BadPix, match="^26"):
            BRCode(name="n", city="c", **wrong)
    long = BRCode(name="n", city="c", key="m" * 64 + "@example.com", info="x" * 30)
    with pytest.raises(BadPix, match="26: has 132 characters, and no more than 99 fit"):
        pix.write_brcode(long)


PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
ALNUM = st.sampled_from("ABCXYZabcxyz0189")
KEYS = st.sampled_from(
    ["12345678909", "12ABC34501DE35", "00000000000191", "maria@example.com", "+5511987654321", "123e4567-e12b-12d1-a456-426655440000"]
)


@st.composite
def codes(draw: st.DrawFn) -> BRCode:
    dynamic = draw(st.booleans())
    place = {"url": "pix.example.com/" + draw(st.text(ALNUM, max_size=61))} if dynamic else {"key": draw(KEYS)}
    return BRCode(
        **place,
        info=None if dynamic else draw(st.none() | st.text(PRINTABLE, min_size=1, max_size=20)),
        name=draw(st.text(PRINTABLE, min_size=1, max_size=25)),
        city=draw(st.text(PRINTABLE, min_size=1, max_size=15)),
        amount=draw(st.none() | st.integers(1, 10**12 - 1)),
        txid=draw(st.none() | st.text(ALNUM, min_size=1, max_size=35 if dynamic else 25)),
        once=draw(st.booleans()),
        mcc=draw(st.text(st.sampled_from("0123456789"), min_size=4, max_size=4)),
        postcode=draw(st.none() | st.text(PRINTABLE, min_size=1, max_size=10)),
    )


@settings(max_examples=300, deadline=None)
@given(code=codes())
def test_what_is_written_is_read_back(code: BRCode) -> None:
    assert pix.parse_brcode(pix.write_brcode(code)) == code


@settings(max_examples=500, deadline=None)
@given(code=codes(), at=st.integers(0, 300), other=st.characters(max_codepoint=0x2FF))
def test_any_one_flipped_character_is_refused(code: BRCode, at: int, other: str) -> None:
    text = pix.write_brcode(code)
    at %= len(text)
    assume(text[at] != other)
    with pytest.raises(BadPix):
        pix.parse_brcode(text[:at] + other + text[at + 1 :])


@settings(max_examples=300, deadline=None)
@given(body=st.text(PRINTABLE, max_size=80) | st.text(st.sampled_from("0123456789"), max_size=80))
def test_random_text_is_refused_and_nothing_else_happens(body: str) -> None:
    with pytest.raises(BadPix):
        pix.parse_brcode(sealed(body))


# Amounts.


@given(amount=st.integers(-(10**12) + 1, 10**12 - 1))
def test_minor_units_and_decimals_are_the_same_number(amount: int) -> None:
    text = pix.decimal(amount)
    assert pix.minor_units(text, signed=True) == amount
    assert text.replace(".", "").lstrip("-").lstrip("0") == str(abs(amount)).lstrip("0")


@pytest.mark.parametrize(
    "text", ["", "10", "10.5", "10.500", "10,50", ".50", "1e2.00", "-1.00", "+1.00", " 1.00", "1.00\n", "٣.00", "12345678901.00"]
)
def test_what_is_not_a_decimal_of_the_api_is_refused(text: str) -> None:
    with pytest.raises(BadPix, match="point and two digits"):
        pix.minor_units(text)


@pytest.mark.parametrize("amount", [10**12, -(10**12), True, 1.0])
def test_what_no_decimal_can_hold_is_refused(amount: int) -> None:
    with pytest.raises(BadPix, match="ten digits"):
        pix.decimal(amount)


# Keys.


@pytest.mark.parametrize(
    ("spelling", "kind", "normal"),
    [
        ("123.456.789-09", Kind.CPF, "12345678909"),
        (" 12345678909 ", Kind.CPF, "12345678909"),
        ("00.000.000/0001-91", Kind.CNPJ, "00000000000191"),
        ("12.abc.345/01de-35", Kind.CNPJ, "12ABC34501DE35"),
        ("Maria+Pix@Example.COM", Kind.EMAIL, "maria+pix@example.com"),
        ("+55 (11) 98765-4321", Kind.PHONE, "+5511987654321"),
        ("123E4567-E12B-12D1-A456-426655440000", Kind.EVP, "123e4567-e12b-12d1-a456-426655440000"),
        ("123e4567e12b12d1a456426655440000", Kind.EVP, "123e4567-e12b-12d1-a456-426655440000"),
    ],
)
def test_a_key_has_one_normal_form(spelling: str, kind: Kind, normal: str) -> None:
    assert pix.key(spelling) == pix.Key(kind, normal)
    assert pix.key(normal).text == normal


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 to 77"),
        ("x" * 78, "1 to 77"),
        ("maría@example.com", "ASCII"),
        ("maria@", "e-mail"),
        ("maria@@example.com", "e-mail"),
        ("maria@exa mple.com", "e-mail"),
        ("+0511987654321", "E.164"),
        ("+55 11 9876 five", "E.164"),
        ("+5511987654321000", "E.164"),
        ("12345678900", "CPF is not one"),
        ("11987654321", "CPF is not one"),
        ("12ABC34501DE36", "CNPJ is not one"),
        ("00000000000192", "CNPJ is not one"),
        ("123e4567-e12b-12d1-a456-42665544000", "random key"),
        ("maria", "random key"),
        ("123.456.789/0-9\n1", "ASCII"),
    ],
)
def test_what_is_no_key_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadPix, match=says):
        pix.key(text)


@given(text=st.text(max_size=80) | st.from_regex(r"[+0-9A-Za-z@./ ()-]{1,40}", fullmatch=True))
def test_the_normal_form_of_a_normal_form_is_itself(text: str) -> None:
    try:
        normal = pix.key(text)
    except BadPix:
        return
    assert pix.key(normal.text) == normal


# Identifiers.


def test_an_identifier_tells_its_minute() -> None:
    assert pix.moment("E99999004202601021504abcDEF12345", "E") == datetime(2026, 1, 2, 15, 4, tzinfo=UTC)
    assert pix.moment("D99999004202402291504abcDEF12345", "D") == datetime(2024, 2, 29, 15, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "D99999004202601021504abcDEF12345",
        "E9999900420260102150400abcDEF1234",
        "E99999004202601021504abcDEF1234",
        "E99999004202601021504abcDEF1234-",
        "E99999004202602301504abcDEF12345",
        "E99999004202601022504abcDEF12345",
        "e99999004202601021504abcDEF12345",
        "E99999004202601021504abcDEF12345\n",
    ],
)
def test_what_is_no_end_to_end_id_is_refused(text: str) -> None:
    with pytest.raises(BadPix, match="identifier"):
        pix.moment(text, "E")


def test_a_txid_has_its_length() -> None:
    assert pix.txid("a" * 26) == "a" * 26
    assert pix.txid("Z9", static=True) == "Z9"
    for wrong, static in (("a" * 25, False), ("a" * 36, False), ("a" * 26, True), ("", True), ("a-b", True), ("a" * 26 + "\n", False)):
        with pytest.raises(BadPix, match="a txid of a"):
            pix.txid(wrong, static=static)
