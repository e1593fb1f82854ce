"""What a merchant asks for (x402 v2, HTTP): read strictly, and held against the instruction. The merchant's word decides nothing.

The amount is the instruction's, the payee is the registry's, the token is the rail account's: an offer that says otherwise in anything
is not one that is paid. https://github.com/x402-foundation/x402, specs/x402-specification-v2.md and specs/transports-v2/http.md.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from codespar.lib import canonical, evm
from codespar.lib.errors import Invalid
from rails.adapters.base import Instruction, NotSendable
from rails.adapters.x402_signing import Token

IDENTIFIER = "payment-identifier"
LONGEST_HEADER = 32 * 1024
LONGEST_TERMS = 8 * 1024
LONGEST_TIMEOUT = 86_400
_OFFER = {"scheme": str, "network": str, "amount": str, "asset": str, "payTo": str, "maxTimeoutSeconds": int}


class Unclear(Exception):
    """The header is not what x402 v2 writes there."""


def header(headers: Mapping[str, str], name: str) -> dict[str, Any]:
    """The object in one of x402's headers. Raises `Unclear`."""
    text = headers.get(name, "")
    if not text or len(text) > LONGEST_HEADER:
        raise Unclear(f"{name} is missing or too long")
    try:
        found = canonical.loads(base64.b64decode(text, validate=True))
    except (ValueError, Invalid) as error:
        raise Unclear(f"{name} is not JSON in base64") from error
    if not isinstance(found, dict):
        raise Unclear(f"{name} is not an object")
    return found


def encoded(value: object) -> str:
    """A header of x402's with that value."""
    return base64.b64encode(canonical.dumps(value)).decode()


def asked(headers: Mapping[str, str], instruction: Instruction, token: Token) -> str:
    """The one offer that is the instruction's, and what goes back to the merchant with it, as canonical JSON. Raises `NotSendable`."""
    try:
        required = header(headers, "payment-required")
        offers, resource = _offers(required), _resource(required, instruction)
        terms = {"accepted": _chosen(offers, token), "resource": resource, "extensions": _identifier(required)}
        text = canonical.dumps(terms).decode()
    except (Unclear, Invalid, AttributeError) as error:
        raise NotSendable("ghost_paywall", f"the merchant asks for payment without terms that can be read: {error}") from None
    if len(text) > LONGEST_TERMS:
        raise NotSendable("ghost_paywall", f"the merchant's terms are longer than {LONGEST_TERMS} bytes")
    held(text, instruction, token)
    return text


def held(text: str | None, instruction: Instruction, token: Token) -> dict[str, Any]:
    """The terms, when every one of them is the instruction's. Raises `NotSendable` with what is not."""
    try:
        terms: dict[str, Any] = canonical.loads(text or "{}")
        offer = _formed(terms["accepted"])
    except (Unclear, Invalid, KeyError, TypeError):
        raise NotSendable("no_terms", "the merchant was not asked for its terms") from None
    _same_token(offer, token)
    if offer["amount"] != str(instruction.amount):
        raise NotSendable("price_mismatch", f"the merchant asks {offer['amount']} minor units, the payment is {instruction.amount}")
    chain, payee = evm.account_parts(instruction.payee_account)
    if chain != token.asset.chain or _address(offer["payTo"]) != payee:
        raise NotSendable("payee_mismatch", "the merchant asks for payment to another account than the payee's in the registry")
    if not 1 <= offer["maxTimeoutSeconds"] <= LONGEST_TIMEOUT:
        raise NotSendable("timeout_out_of_bounds", f"maxTimeoutSeconds must lie between 1 and {LONGEST_TIMEOUT}")
    return terms


def _offers(required: dict[str, Any]) -> list[dict[str, Any]]:
    offers = required.get("accepts")
    if required.get("x402Version") != 2 or not isinstance(offers, list) or not offers:
        raise Unclear("x402Version is not 2, or there are no offers")
    return [_formed(offer) for offer in offers]


def _formed(offer: Any) -> dict[str, Any]:
    if not isinstance(offer, dict) or any(type(offer.get(name)) is not kind for name, kind in _OFFER.items()):
        raise Unclear("an offer is not in its form")
    if not re.fullmatch("0|[1-9][0-9]{0,77}", offer["amount"]) or not isinstance(offer.get("extra", {}), dict):
        raise Unclear("an amount is not a number of the token's smallest units, or extra is not an object")
    return offer


def _identifier(required: dict[str, Any]) -> dict[str, Any]:
    """The merchant's declaration of the extension, where it has one: only then is our key sent, as the extension wants it."""
    declared = (required.get("extensions") or {}).get(IDENTIFIER)
    return {IDENTIFIER: declared} if isinstance(declared, dict) and isinstance(declared.get("info"), dict) else {}


def _chosen(offers: list[dict[str, Any]], token: Token) -> dict[str, Any]:
    """The only offer in our token; else the first thing that none of them has."""
    exact = [offer for offer in offers if offer["scheme"] == "exact"]
    near = [offer for offer in exact if offer["network"] == token.asset.network]
    ours = [offer for offer in near if _address(offer["asset"]) == token.asset.contract]
    if not exact:
        raise NotSendable("scheme_unsupported", "the merchant does not take the scheme exact")
    if not near:
        raise NotSendable("network_mismatch", f"the merchant does not take payment on {token.asset.network}")
    if not ours:
        raise NotSendable("asset_mismatch", "the merchant does not take the token of this rail account")
    if len(ours) > 1:
        raise NotSendable("several_offers", "the merchant makes several offers in the same token: which one is meant is not known")
    return ours[0]


def _same_token(offer: dict[str, Any], token: Token) -> None:
    extra = offer.get("extra", {})
    if offer["scheme"] != "exact":
        raise NotSendable("scheme_unsupported", "the merchant does not take the scheme exact")
    if extra.get("assetTransferMethod", "eip3009") != "eip3009":
        raise NotSendable("transfer_method_unsupported", "the merchant wants another way of payment than EIP-3009")
    if offer["network"] != token.asset.network:
        raise NotSendable("network_mismatch", f"the merchant does not take payment on {token.asset.network}")
    if _address(offer["asset"]) != token.asset.contract or (extra.get("name"), extra.get("version")) != (token.name, token.version):
        raise NotSendable("asset_mismatch", "the merchant asks for another token than that of this rail account")


def _resource(required: dict[str, Any], instruction: Instruction) -> dict[str, Any]:
    """What is sold. Its URL may lack the query, but nothing else of what was asked for."""
    resource = required.get("resource")
    if not isinstance(resource, dict) or not isinstance(resource.get("url"), str):
        raise Unclear("resource has no url")
    if _place(resource["url"]) != _place(instruction.target or ""):
        raise NotSendable("resource_mismatch", "the merchant asks for payment for another resource than the one that is bought")
    return resource


def _place(url: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        raise Unclear("a URL cannot be read") from None
    return parts.scheme, parts.hostname or "", port, parts.path or "/"


def _address(text: str) -> str | None:
    """None for what is no address, or has a wrong checksum."""
    try:
        return evm.address(text)
    except ValueError:
        return None
