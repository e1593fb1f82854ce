"""Stripe's amounts (https://docs.stripe.com/currencies): integers in its own minor units, which are not always those of ISO 4217.

Ours are ISO's. Most currencies are the same in both. Those with three decimals are sent in thousandths that end in 0. The króna has no
decimals in ISO and two at Stripe, always 00; the ariary has two in ISO and none at Stripe. The Ugandan shilling is left out: Stripe's page
lists it both as without decimals and as one that is sent with two, and a wrong guess is a hundredfold amount.
"""

from __future__ import annotations

from rails.adapters.base import NotSendable
from rails.adapters.reading import Malformed

_ZERO = "BIF CLP DJF GNF JPY KMF KRW PYG RWF VND VUV XAF XOF XPF"
_TWO = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY COP CRC CVE CZK DKK DOP
DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL
MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD
SCR SEK SGD SHP SLE SOS SRD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER ZAR ZMW
"""
_THREE = "BHD JOD KWD OMR TND"
THREE_DECIMALS = frozenset(_THREE.split())
CURRENCIES = tuple(sorted([*_ZERO.split(), *_TWO.split(), *_THREE.split(), "ISK", "MGA"]))


def to_stripe(amount: int, currency: str) -> int:
    """Stripe's amount for ours (ISO minor units). Raises `NotSendable` for what Stripe cannot express."""
    if currency not in CURRENCIES:
        raise NotSendable("currency", f"the card provider knows no {currency}")
    step = 10 if currency in THREE_DECIMALS else 100 if currency == "MGA" else 1
    if amount % step:
        raise NotSendable("amount", f"an amount in {currency} must be a multiple of {step} minor units here")
    return amount * 100 if currency == "ISK" else amount // 100 if currency == "MGA" else amount


def from_stripe(amount: int, currency: str) -> int:
    """Ours for Stripe's. Raises `Malformed` for what ours cannot express."""
    if currency not in CURRENCIES or (currency == "ISK" and amount % 100):
        raise Malformed("amount cannot be read in this currency")
    return amount // 100 if currency == "ISK" else amount * 100 if currency == "MGA" else amount
