"""Money: an integer of minor units and a currency with its own exponent: ISO 4217's, or a stablecoin's. Never a float."""

from dataclasses import dataclass

from iso4217 import Currency

from codespar.lib.canonical import MAX_SAFE_INTEGER
from codespar.lib.errors import Invalid

ISO_4217: dict[str, int] = {c.code: c.exponent for c in Currency if c.exponent is not None}
# Which token a code stands for is said by the rail account, in CAIP-19: a ticker alone proves nothing.
STABLECOINS: dict[str, int] = {"USDC": 6}
EXPONENTS = ISO_4217 | STABLECOINS
PATTERN = f"^([A-Z]{{3}}|{'|'.join(STABLECOINS)})$"


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` minor units of `currency`: Money(1050, "BRL") is R$ 10.50, Money(1050, "JPY") is 1,050 yen."""

    amount: int
    currency: str

    def __str__(self) -> str:
        return f"{self.currency} {major(self.amount, self.currency)}"


def currency(text: object, pointer: str = "") -> str:
    """A currency that has minor units. Raises `Invalid`; gold and test codes have none."""
    if not isinstance(text, str) or text not in EXPONENTS:
        raise Invalid("This must be an ISO 4217 currency code such as BRL, in capitals, or USDC.", pointer=pointer)
    return text


def amount(value: object, pointer: str = "", *, least: int = 1) -> int:
    """Minor units between `least` and 2^53-1. Raises `Invalid` for text, fractions, NaN, booleans and what is outside."""
    if type(value) is not int:
        raise Invalid("An amount is an integer of minor units: 1050 for 10.50.", pointer=pointer)
    if not least <= value <= MAX_SAFE_INTEGER:
        raise Invalid(f"An amount lies between {least} and {MAX_SAFE_INTEGER} minor units.", pointer=pointer)
    return value


def major(value: int, code: str) -> str:
    """`value` minor units written in major units: (1050, "BRL") -> "10.50", (-5, "BHD") -> "-0.005"."""
    exponent = EXPONENTS[code]
    sign, digits = ("-" if value < 0 else ""), str(abs(value)).rjust(exponent + 1, "0")
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else f"{sign}{digits}"
