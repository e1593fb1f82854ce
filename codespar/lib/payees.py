"""Where somebody can be paid: the kinds of accounts, and the one form in which each is written down, sent and compared."""

import re
from collections.abc import Callable, Mapping

from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException

from codespar.lib import evm, pix
from codespar.lib.errors import Invalid


def normal(kind: str, value: str, pointer: str = "") -> str:
    """The normal form of an account of that kind. Raises `Invalid`, which says what would be right."""
    if kind not in KINDS:
        raise Invalid(f"An account is one of {', '.join(KINDS)}.", pointer=pointer)
    try:
        return KINDS[kind](value)
    except ValueError as error:
        raise Invalid(str(error), pointer=pointer) from error


def _pix_key(value: str) -> str:
    return pix.key(value).text


def _card_merchant(value: str) -> str:
    if not re.fullmatch("acct_[A-Za-z0-9]{1,100}", value):
        raise ValueError("a merchant's account at a card provider is acct_ followed by letters and digits")
    return value


def _iban(value: str) -> str:
    """`IBAN` or `IBAN/BIC`, without spaces and in capitals."""
    iban, slash, bic = value.partition("/")
    try:
        found = str(IBAN(iban, validate_bban=True))
        return f"{found}/{BIC(bic)}" if slash else found
    except SchwiftyException as error:
        raise ValueError(f"an account is an IBAN, or IBAN/BIC, such as DE89370400440532013000/COBADEFFXXX: {error}") from None


def _evm(value: str) -> str:
    return evm.evm_account(value)


KINDS: Mapping[str, Callable[[str], str]] = {"pix_key": _pix_key, "card_merchant": _card_merchant, "iban": _iban, "evm": _evm}
# The rails that pay each kind, where nobody names others.
RAILS: Mapping[str, tuple[str, ...]] = {
    "pix_key": ("sandbox", "pix", "open_finance"),
    "card_merchant": ("card",),
    "iban": ("wire",),
    "evm": ("x402",),
}
