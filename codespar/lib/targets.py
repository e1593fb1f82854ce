"""What a payment is for on the payee's side, where its rail needs more than the registered account: a BR Code, or a resource's URL.

A target says what is bought and never whom it pays or how much: where it names an account, an amount or a currency, they must be the
registry's and the request's, or nothing is paid.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from codespar.lib import pix
from codespar.lib.addresses import is_private

LONGEST = 2000


class BadTarget(Exception):
    """This target cannot be paid for like this: `code` is one word of ours, `detail` a sentence for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Paid:
    """What a target is held against: the payee's account in the registry, and the request's amount (minor units) and currency."""

    account: str
    amount: int
    currency: str


def check(rail: str, target: str | None, paid: Paid) -> None:
    """Raises `BadTarget` for one that the rail does not take, that is not in its form, or that asks for something else than `paid`."""
    if rail in _CHECKS:
        _CHECKS[rail](target, paid)
    elif target is not None:
        raise BadTarget("target_unsupported", f"The rail {rail} pays accounts only: leave target out.")


def told(rail: str, target: str | None) -> str | None:
    """What the rail is told of a target that was checked: the txid of a BR Code, a resource's URL, None for nothing."""
    return pix.parse_brcode(target).txid if rail == "pix" and target is not None else target


def is_resource(url: str) -> bool:
    """Whether it is the URL of something that can be bought: https, or http on this machine, without a fragment or anybody's name."""
    if not re.fullmatch(f"https?://[!-~]{{1,{LONGEST}}}", url) or "#" in url:
        return False
    try:
        return is_private(url) and urlsplit(url).port != 0
    except ValueError:
        return False


def _resource(target: str | None, _paid: Paid) -> None:
    if target is None:
        raise BadTarget("target_needed", "This rail pays for a resource: put its URL into target.")
    if not is_resource(target):
        raise BadTarget("target_malformed", "What is paid for is the URL of a resource: https, or http on this machine, without #.")


def _brcode(target: str | None, paid: Paid) -> None:
    if target is None:
        return
    try:
        code = pix.parse_brcode(target)
    except pix.BadPix as error:
        raise BadTarget("target_malformed", f"What is paid for over Pix is a BR Code: {error}.") from None
    if code.key is None:
        raise BadTarget("target_unsupported", "A dynamic BR Code names no key to hold against the registry: only static ones are paid.")
    if code.key != paid.account:
        raise BadTarget("target_mismatch", "The BR Code is for another Pix key than the counterparty's account in the registry.")
    if paid.currency != pix.CURRENCY:
        raise BadTarget("target_mismatch", f"A BR Code is paid in {pix.CURRENCY}, the payment is in {paid.currency}.")
    if code.amount not in (None, paid.amount):
        raise BadTarget("target_mismatch", f"The BR Code asks for {code.amount} minor units, the payment is {paid.amount}.")


_CHECKS: Mapping[str, Callable[[str | None, Paid], None]] = {"pix": _brcode, "x402": _resource}
