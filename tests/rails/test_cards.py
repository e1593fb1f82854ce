"""Card numbers in any disguise are found and masked, and nothing that the engine or its payees use is taken for one."""

from __future__ import annotations

import datetime
import json
import random
import string
import time
import uuid
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from codespar.lib import cards, ids
from rails.sandbox.book import new_id

# The test numbers that networks and providers publish.
PUBLISHED = {
    "visa": ["4111111111111111", "4242424242424242", "4222222222222", "4012888888881881"],
    "mastercard": ["5555555555554444", "5105105105105100", "2223003122003222"],
    "amex": ["378282246310005", "371449635398431", "343434343434343"],
    "diners": ["30569309025904", "38520000023237", "36227206271667"],
    "discover": ["6011111111111117", "6011000990139424", "6500000000000002"],
    "jcb": ["3530111333300000", "3566002020360505"],
    "unionpay": ["6200000000000005", "6205500000000000004"],
    "maestro": ["6304000000000000", "6759649826438453"],
    "elo": ["5066991111111118", "6362970000457013"],
    "rupay": ["6062826786276634"],
    "mir": ["2200000000000004"],
}
# Digits of other scripts, beginning with their zero.
ZEROS = ["0", "\uff10", "\u0660", "\u06f0", "\u0966", "\U0001d7ce", "\U0001d7f6"]
GAPS = ["", " ", "-", ".", "\u00a0", "\u2009", "\u2010", "\u2013", "\u2212", "\u00b7", "\u200b", "\u00ad", "_", " - ", "\t", "\ufe0f\u20e3"]
BEFORE = ["", "pay ", "card:", "(", "卡号", "é ", "a\n", "%B", "PAN=", "x/", "№", "12 ", "7. ", "10.50 "]
AFTER = ["", " now", ")", "请", "\nb", "^DOE/JANE", ";", ", 12/27", "|123", " 12", ".", "!"]


def with_luhn(start: str) -> str:
    return next(start + digit for digit in string.digits if cards.luhn(start + digit))


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """A number that a network could have issued."""
    _, lengths, ranges = draw(st.sampled_from(cards.NETWORKS))
    low, high = draw(st.sampled_from(ranges))
    start, length = str(draw(st.integers(low, high))), draw(st.sampled_from(lengths))
    rest = length - len(start) - 1
    return with_luhn(start + draw(st.text(string.digits, min_size=rest, max_size=rest)))


@st.composite
def disguised(draw: st.DrawFn) -> tuple[str, str]:
    """(number, how it is written): its digits in a script, with anything that may stand between two of them."""
    number = draw(numbers())
    zero = ord(draw(st.sampled_from(ZEROS)))
    gap = draw(st.sampled_from(GAPS))
    gaps = draw(st.lists(st.sampled_from(["", gap]), min_size=len(number) - 1, max_size=len(number) - 1))
    return number, "".join(chr(zero + int(digit)) + gap for digit, gap in zip(number, [*gaps, ""], strict=True))


def in_fours(number: str, gap: str) -> str:
    return gap.join(number[at : at + 4] for at in range(0, len(number), 4))


@pytest.mark.parametrize(("network", "number"), [(name, number) for name, all_ in PUBLISHED.items() for number in all_])
def test_each_networks_published_numbers_are_known(network: str, number: str) -> None:
    assert (cards.network(number), cards.luhn(number)) == (network, True)
    assert cards.find([number, int(number)]) == ["/0", "/1"]
    assert cards.mask(f"to {number}!") == f"to ****{number[-4:]}!"


@settings(max_examples=600, deadline=None)
@given(disguised(), st.sampled_from([b for b in BEFORE if not any(map(str.isdigit, b))]), st.sampled_from([a for a in AFTER if a != " 12"]))
def test_a_number_is_found_and_masked_in_any_disguise(made: tuple[str, str], before: str, after: str) -> None:
    number, written = made
    assume(not (len(number) == 14 and cards._is_cnpj(number)))
    text = before + written + after
    masked = cards.mask(text)
    assert cards.find(text) == [""]
    assert masked == before + "****" + number[-4:] + after
    assert (cards.find(masked), cards.mask(masked)) == ([], masked)


@settings(max_examples=400, deadline=None)
@given(numbers(), st.sampled_from(BEFORE), st.sampled_from(AFTER), st.sampled_from([" ", "-", ".", "\u00a0"]), st.booleans())
def test_a_number_is_found_beside_other_numbers(number: str, before: str, after: str, gap: str, grouped: bool) -> None:
    assume(not cards._is_cnpj(number))
    masked = cards.mask(before + (in_fours(number, gap) if grouped else number) + after)
    assert "****" in masked
    assert sum(map(str.isdigit, masked)) <= 4 + sum(map(str.isdigit, before + after))
    assert cards.find(masked) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers() | st.text(string.digits + " .-_a*", max_size=12), max_size=8), st.sampled_from(["", " ", "-", "."]))
def test_what_is_masked_has_nothing_left_to_mask(parts: list[str], gap: str) -> None:
    masked = cards.mask(gap.join(parts))
    assert (cards.mask(masked), cards.find(masked)) == (masked, [])


@settings(max_examples=200, deadline=None)
@given(
    numbers(),
    st.recursive(
        st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)
def test_a_number_anywhere_in_json_is_found_by_its_pointer(number: str, other: Any) -> None:
    assume(not cards._is_cnpj(number))
    exact = len(number) <= 15  # more digits than a float keeps are another number
    made = {"a/b": [other, {"~": int(number)}], "c": {number: other}, "d": [[f"x {number}"]], "e": float(number) if exact else None}
    wanted = ["/a~1b/1/~0", f"/c/****{number[-4:]}", "/d/0/0"] + ["/e"] * exact
    assert cards.find(json.loads(json.dumps(made))) == wanted


def test_a_name_and_its_value_are_one_pointer_and_it_repeats_no_number() -> None:
    found = cards.find({"4111111111111111": {"4242 4242 4242 4242": "378282246310005"}, "ok": True})
    assert found == ["/****1111", "/****1111/****4242"]


@pytest.mark.parametrize("value", [None, True, False, 0, 1.5, float("nan"), float("inf"), "", [], {}, {"a": None}, 0.4111111111111111, -1])
def test_what_holds_no_number_has_no_pointer(value: object) -> None:
    assert cards.find(value) == []


def test_a_deep_value_is_read_to_its_end() -> None:
    value: Any = "4111111111111111"
    for _ in range(50_000):
        value = [value]
    assert len(cards.find(value)) == 1


# What is not a card number. Half of the hexadecimal digits are drawn from the decimal ones, so that ids without letters are tried, too.

HEX = st.text("0123456789", min_size=32, max_size=32) | st.text("0123456789abcdef", min_size=32, max_size=32)


def as_uuid(text: str) -> str:
    return str(uuid.UUID(hex=text[:12] + "7" + text[13:16] + "89ab"[int(text[16], 16) % 4] + text[17:]))


@settings(max_examples=500, deadline=None)
@given(HEX, st.sampled_from(sorted(ids.PREFIXES)), st.sampled_from([("", ""), ("a ", " b"), ("- ", " -"), ("/", "/")]))
@example("41111111111178881111111111111111", "pay", ("", ""))
def test_no_id_of_ours_is_a_card_number(text: str, prefix: str, around: tuple[str, str]) -> None:
    written = [f"{prefix}_{text}", text, as_uuid(text), as_uuid(text).upper(), uuid.UUID(as_uuid(text)).urn, text * 2]
    for one in written:
        assert cards.mask(one.join(around)) == one.join(around)
    assert cards.find({f"{prefix}_{text}": written}) == []


def test_the_ids_that_are_really_made_are_no_card_numbers() -> None:
    made = [ids.wire("pay", ids.new()) for _ in range(2000)] + [str(ids.new()) for _ in range(2000)]
    made += [new_id(letter) for letter in "ED" for _ in range(2000)]
    assert cards.find(made) == []


@settings(max_examples=300, deadline=None)
@given(st.text(string.digits, min_size=11, max_size=11), st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2100, 1, 1)))
def test_an_end_to_end_id_and_a_time_are_no_card_numbers(tail: str, moment: datetime.datetime) -> None:
    stamp = moment.isoformat()
    written = [
        f"E99999004{moment:%Y%m%d%H%M}{tail}",
        f"{stamp}Z",
        stamp.replace("T", " "),
        f"{moment:%Y%m%d%H%M%S}",
        f"{moment:%Y.%m.%d %H.%M.%S.%f}",
    ]
    assert cards.find(written) == []


@settings(max_examples=300, deadline=None)
@given(st.integers(946_684_800, 2_000_000_000), st.integers(0, 999_999_999))
def test_a_time_since_1970_is_no_card_number(seconds: int, nanoseconds: int) -> None:
    whole = seconds * 10**9 + nanoseconds
    # Before 2001-09-09 a time in seconds had nine digits: in its parts it begins with a 9.
    assume(seconds >= 1_000_000_000)
    assert cards.find([whole, whole // 10**3, whole // 10**6, seconds, str(whole), f"{seconds}.{nanoseconds:09}"]) == []


def digit(number: str, weights: tuple[int, ...]) -> str:
    rest = sum(int(one) * weight for one, weight in zip(number, weights, strict=True)) % 11
    return str(0 if rest < 2 else 11 - rest)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 99_999_999), st.integers(1, 999))
@example(36_000_009, 1)
def test_a_companys_number_is_no_card_number(company: int, branch: int) -> None:
    cnpj = f"{company:08}{branch:04}"
    for weights in ((5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)):
        cnpj += digit(cnpj, weights)
    written = f"{cnpj[:2]}.{cnpj[2:5]}.{cnpj[5:8]}/{cnpj[8:12]}-{cnpj[12:]}"
    assert cards.find([cnpj, written, f"to {cnpj} now", int(cnpj) if company >= 10_000_000 else 0]) == []


@settings(max_examples=300, deadline=None)
@given(
    st.text(string.digits, min_size=11, max_size=11),
    st.sampled_from(["+55 {} {}-{}", "+55{}{}{}", "+49 {} {} {}", "+4{}{}-{}1", "{}.{}.{}"]),
)
def test_a_persons_number_and_a_telephone_are_no_card_numbers(text: str, form: str) -> None:
    assert cards.find([text, int(text), form.format(text[:2], text[2:7], text[7:])]) == []


COUNTRIES = [("LU", 16), ("AT", 16), ("DE", 18), ("ES", 20), ("FR", 23), ("BE", 12), ("CH", 17), ("DK", 14), ("PL", 24)]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(COUNTRIES), st.text(string.digits, min_size=24, max_size=24), st.sampled_from(["", " from me", " 12", ", please"]))
@example(("AT", 16), "4111111111111111" + "0" * 8, "")
def test_an_iban_is_no_card_number(country: tuple[str, int], text: str, after: str) -> None:
    code, length = country
    bban = text[:length]
    value = int(bban + "".join(str(int(letter, 36)) for letter in code) + "00")
    iban = f"{code}{98 - value % 97:02}{bban}"
    assert cards.find([iban + after, in_fours(iban, " ") + after]) == []


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 10**12 - 1))
def test_an_amount_below_ten_thousand_million_is_no_card_number(amount: int) -> None:
    assert cards.find([amount, -amount, f"{amount:,}", f"{amount:,}".replace(",", "."), f"{amount / 100:.2f}", f"0.{amount:013}"]) == []


def test_a_code_of_a_boleto_or_a_tax_invoice_is_no_card_number() -> None:
    random.seed(7)
    for _ in range(500):
        boleto = "".join(random.choices(string.digits, k=47))
        assert cards.find([boleto, "".join(random.choices(string.digits, k=44))]) == []


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",
        "1234567890123452",
        "0000000000000000",
        "411111111111",
        "41111111111111111111",
        "a4111111111111111",
        "4111111111111111z",
        "4111 1111 1111\n1111",
        "4111,1111,1111,1111",
        "+4915123456783",
        "4111 1111 1111 111a",
        "0.4111111111111111",
        "****4222 2222 2222 2",
    ],
)
def test_what_only_looks_like_one_is_left(text: str) -> None:
    assert (cards.find(text), cards.mask(text)) == ([], text)


def test_a_plus_before_more_digits_than_a_telephone_has_hides_nothing() -> None:
    assert cards.mask("+4111 1111 1111 1111, +55 11 91234-5678 4111 1111 1111 1111") == "+****1111, +55 11 91234-5678 ****1111"


def test_several_in_a_row_are_masked_one_by_one() -> None:
    row = "4111111111111111 12 5555-5555-5555-4444.378282246310005 3782 822463 10005 30 6200000 000000000003"
    assert cards.mask(row) == "****1111 12 ****4444.****0005 ****0005 30 6200000 000000000003"
    assert cards.mask("620550 0000000000004 12") == "****0004 12"


def test_what_is_left_beside_one_is_judged_alone() -> None:
    apart = " ".join("4111111111111111")
    assert cards.mask(f"{apart} 4242424242424242 {apart}") == "****1111 ****4242 ****1111"


def test_a_long_text_takes_no_long_time() -> None:
    started = time.monotonic()
    for text in ("4111111111111111 " * 3800, "4 " * 32_000, "1" * 65_000, "AT61 1904 " * 6400, "4111 - " * 9000, "0." * 32_000):
        cards.mask(text)
    assert time.monotonic() - started < 10
