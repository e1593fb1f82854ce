"""Card numbers where none should be: found in text and in JSON, and masked.

Card data never passes through the engine: a card is a token of its provider. Whoever sends a number all the same has it refused
(`find`) and nobody sees it again (`mask`).

A number is 13 to 19 digits of any script, with up to three spaces, dots, hyphens, underscores or invisible characters between two of them.
It counts when its first digits are a card network's, its length is one of that network's, and its Luhn digit (ISO/IEC 7812-1) is right.
It must stand alone: ASCII letters or digits that touch it make it part of another word, such as an id or an IBAN without spaces.

Where a number has other numbers beside it, it is found as one word, in fours, or as cards print it (4-6-5, 4-6-4, 6-13); alone it is found
in any grouping. What is known to be something else is left: UUIDs, IBANs that are right, numbers behind a `+` as telephones are written,
fractions, and the CNPJs of a company's first 999 branches. Any other number that begins like a card's is taken for one in one of ten cases.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from codespar.lib import pointers

MASK = "****"
LEAST, MOST = 13, 19
_LONG = range(16, 20)

# The networks' issuer identification numbers: name, lengths, and the first digits from one number to another. Sources: ISO/IEC 7812, the
# networks' public BIN ranges. Airline cards (UATP, from 1) are not in it: no shop takes them, and times in microseconds begin with 1.
NETWORKS: tuple[tuple[str, tuple[int, ...], tuple[tuple[int, int], ...]], ...] = (
    ("visa", (13, 16, 19), ((4, 4),)),
    ("mastercard", (16,), ((51, 55), (2221, 2720))),
    ("amex", (15,), ((34, 34), (37, 37))),
    ("diners", tuple(range(14, 20)), ((300, 305), (3095, 3095), (36, 36), (38, 39))),
    ("discover", tuple(_LONG), ((6011, 6011), (644, 649), (65, 65))),
    ("jcb", tuple(_LONG), ((3528, 3589),)),
    ("unionpay", tuple(_LONG), ((62, 62), (81, 81))),
    ("maestro", tuple(range(13, 20)), ((5018, 5018), (5020, 5020), (5038, 5038), (5893, 5893), (6304, 6304), (6759, 6763))),
    ("elo", (16,), ((504175, 504175), (506699, 506778), (509000, 509999), (627780, 627780), (636297, 636297), (636368, 636368))),
    ("rupay", (16,), ((60, 60), (82, 82), (508, 508), (353, 353), (356, 356))),
    ("mir", tuple(_LONG), ((2200, 2204),)),
    ("verve", (16, 18, 19), ((506099, 506198), (507865, 507964))),
    ("cabal", (16,), ((589657, 589657),)),
    ("naranja", (16,), ((589562, 589562),)),
    ("dankort", (16,), ((5019, 5019),)),
    ("troy", (16,), ((9792, 9792),)),
    ("napas", (16, 19), ((9704, 9704),)),
    ("uzcard", (16,), ((8600, 8600), (9860, 9860))),
)

# What is certainly something else, or a mask of ours. Each character of it counts as a letter.
_NOT_CARDS = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[1-8][0-9A-Fa-f]{3}-[89ABab][0-9A-Fa-f]{3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
    r"|(?<![0-9A-Za-z.])0\.[0-9]+(?![0-9A-Za-z])"
    r"|\*{4}[0-9]{1,4}(?![0-9A-Za-z])"
)
_IBAN = re.compile(r"(?<![0-9A-Za-z])[A-Za-z]{2}[0-9]{2}(?: [0-9A-Za-z]{4}){2,7}(?: [0-9A-Za-z]{1,3})?(?![0-9A-Za-z])")
# The first track of a magnetic stripe: the one form in which a letter touches the number.
_TRACK = re.compile(r"%B(?=[0-9])")
_WORD = re.compile(r"[0-9A-Za-z]+")
_BETWEEN = re.compile(r" {1,3}")
_PRINTED = ((4, 6, 5), (4, 6, 4), (6, 13))
_DOTS = ".\u00b7\u2022\u2024_\u2212\t"
Span = tuple[int, int]


def find(value: Any) -> list[str]:
    """JSON pointers (RFC 6901) to every member of a parsed JSON value that has a card number, in its name or as its value; in its order.

    A name with a number in it is masked in the pointer: whoever repeats the pointer repeats no number.
    """
    found: list[str] = []
    waiting: list[tuple[str, str, Any]] = [("", "", value)]
    while waiting:
        at, name, part = waiting.pop()
        if _has(name) or _has(_written(part)):
            found.append(at)
        members = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        named = [(str(inner), value) for inner, value in members]
        waiting += [(at + pointers.step(mask(inner)), inner, value) for inner, value in reversed(named)]
    return list(dict.fromkeys(found))


def mask(text: str) -> str:
    """The text with each card number replaced by `****` and its last four digits. Masking what is masked changes nothing."""
    pieces, end = [], 0
    for start, stop, number in _numbers(text):
        pieces += [text[end:start], MASK, number[-4:]]
        end = stop
    return "".join(pieces) + text[end:] if pieces else text


def _has(text: str) -> bool:
    return next(_numbers(text), None) is not None


def _written(part: object) -> str:
    """A number as its digits: a whole one has no fraction, however it was written."""
    if isinstance(part, str):
        return part
    if isinstance(part, bool) or not isinstance(part, int | float) or part != part or part in (float("inf"), float("-inf")):
        return ""
    return str(abs(int(part))) if part == int(part) else ""


def _numbers(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, digits) of each card number in the text, from left to right."""
    if sum(map(str.isdigit, text)) < LEAST:
        return
    plain = _without_others("".join(map(_digit, text)))
    words = "".join(map(_kind, plain))
    for chain in _chains(words):
        if plain[chain[0][0] - 1 : chain[0][0]] == "+" and sum(stop - start for start, stop in chain) < 16:
            continue
        for first, last in _cards(words, chain):
            start, stop = chain[first][0], chain[last - 1][1]
            yield start, stop, words[start:stop].replace(" ", "")


def _chains(words: str) -> Iterator[list[Span]]:
    """Numbers in a row, with nothing but separators between them. A word with a letter in it ends a row."""
    chain: list[Span] = []
    end = 0
    for word in _WORD.finditer(words):
        if chain and not (_BETWEEN.fullmatch(words, end, word.start()) and word[0].isdigit()):
            yield chain
            chain = []
        if word[0].isdigit():
            chain.append(word.span())
        end = word.end()
    if chain:
        yield chain


def _cards(words: str, chain: list[Span]) -> Iterator[Span]:
    """Which groups of the chain (from, to) are card numbers. What is left beside one is judged as if it stood alone."""
    first = 0
    while first < len(chain):
        start, stop = _next_card(words, chain, first)
        if first < start and _is_card(words, chain[first:start]):
            yield first, start
        if start < stop:
            yield start, stop
        first = stop


def _next_card(words: str, chain: list[Span], first: int) -> Span:
    """The first card from `first` on: all that is left, or what looks like one; without one, an empty span at the end."""
    if _is_card(words, chain[first : first + MOST + 1]) and len(chain) - first <= MOST:
        return first, len(chain)
    sizes = [stop - start for start, stop in chain]
    for at in range(first, len(chain)):
        for size in _groupings(sizes, at):
            if _is_card(words, chain[at : at + size]):
                return at, at + size
    return len(chain), len(chain)


def _groupings(sizes: list[int], at: int) -> Iterator[int]:
    """How many groups from `at` on look like one card, the longest first."""
    fours = 0
    while fours < 4 and sizes[at + fours : at + fours + 1] == [4]:
        fours += 1
    if fours >= 3 and sizes[at + fours : at + fours + 1] and sizes[at + fours] < 4:
        yield fours + 1
    if fours == 4:
        yield 4
    for printed in _PRINTED:
        if tuple(sizes[at : at + len(printed)]) == printed:
            yield len(printed)
    yield 1


def _is_card(words: str, groups: list[Span]) -> bool:
    if len(groups) > MOST or not LEAST <= sum(stop - start for start, stop in groups) <= MOST:
        return False
    number = "".join(words[start:stop] for start, stop in groups)
    return network(number) is not None and luhn(number) and not (len(groups) == 1 and _is_cnpj(number))


def network(number: str) -> str | None:
    """The card network that issues numbers of this beginning and length; ASCII digits only."""
    for name, lengths, ranges in NETWORKS:
        if len(number) in lengths and any(low <= int(number[: len(str(low))]) <= high for low, high in ranges):
            return name
    return None


def luhn(number: str) -> bool:
    """Whether the last digit is the right one (ISO/IEC 7812-1, annex B); ASCII digits only."""
    twice = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
    return sum(twice[int(digit)] if at % 2 else int(digit) for at, digit in enumerate(reversed(number))) % 10 == 0


def _is_cnpj(number: str) -> bool:
    """A Brazilian company's number: 8 digits of the company, 4 of the branch, 2 that check. One Diners number in 1,000 looks so, too."""
    if len(number) != 14 or not 0 < int(number[8:12]) < 1000:
        return False
    weights = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    for length in (12, 13):
        rest = sum(int(digit) * weight for digit, weight in zip(number[:length], weights[13 - length :], strict=True)) % 11
        if int(number[length]) != (0 if rest < 2 else 11 - rest):
            return False
    return True


def _without_others(text: str) -> str:
    text = _TRACK.sub("%|", text)
    text = _NOT_CARDS.sub(lambda other: "x" * len(other[0]), text)
    return _IBAN.sub(lambda other: "x" * (size := _iban(other[0])) + other[0][size:], text)


def _iban(text: str) -> int:
    """How many characters of the text are an IBAN (ISO 13616, its two digits by ISO 7064): what follows may look like more of it."""
    end = len(text)
    while end >= 14:
        code = text[:end].replace(" ", "").upper()
        if int("".join(str(int(letter, 36)) for letter in code[4:] + code[:4])) % 97 == 1:
            return end
        end = text.rfind(" ", 0, end)
    return 0


@lru_cache(maxsize=4096)
def _digit(letter: str) -> str:
    """A digit of any script as an ASCII one, anything else as it is."""
    value = unicodedata.digit(letter, None)
    return letter if value is None else str(value)


@lru_cache(maxsize=4096)
def _kind(letter: str) -> str:
    """A space for what may stand between two digits, a bar for what ends a number."""
    if letter.isascii() and letter.isalnum():
        return letter
    return " " if letter in _DOTS or unicodedata.category(letter) in ("Zs", "Pd", "Cf", "Mn", "Me") else "|"
