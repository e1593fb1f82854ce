"""Canonical JSON: how deep it goes is bounded by us, and not by the stack of whoever reads."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from codespar.lib import canonical
from codespar.lib.errors import Invalid
from rails.adapters.reading import Malformed, parse_object


@pytest.fixture(params=[1_000, 1_000_000], ids=["an interpreter as it comes", "a library raised its limit"], autouse=True)
def _limit(request: pytest.FixtureRequest) -> Iterator[None]:
    before = sys.getrecursionlimit()
    # pytest's own stack is part of what the limit counts.
    sys.setrecursionlimit(max(request.param, before if request.param == 1_000 else 0))
    yield
    sys.setrecursionlimit(before)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [canonical.MAX_DEPTH + 1, 5_000])
def test_what_is_nested_too_deeply_is_refused_and_no_crash(depth: int) -> None:
    with pytest.raises(Invalid, match="nested"):
        canonical.dumps(nested(depth))
    for text in ("[" * depth, "[" * depth + "]" * depth, '{"a":' * depth, '[["[", ' * depth):
        with pytest.raises(Invalid, match="nested"):
            canonical.loads(text)
        with pytest.raises(Invalid, match="nested"):
            canonical.loads(text.encode())
        with pytest.raises(Malformed, match="nested"):
            parse_object(b'{"a":' + text.encode())


def test_a_million_open_brackets_end_no_process() -> None:
    with pytest.raises(Invalid, match="nested"):
        canonical.loads("[" * 1_000_000)


@pytest.mark.parametrize(
    "value",
    [
        nested(canonical.MAX_DEPTH),
        [[] for _ in range(5_000)],
        ["[" * 5_000, '"' + "{" * 5_000, "\\" + "[" * 5_000],
        {"[" * 300: [{}] * 300},
    ],
    ids=["as deep as it may be", "wide", "brackets in texts", "brackets in names"],
)
def test_what_is_wide_or_only_looks_deep_is_read(value: Any) -> None:
    assert canonical.loads(canonical.dumps(value)) == value
