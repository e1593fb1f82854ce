"""Short names that rules are written with: purposes, categories, rails, countries. Pure."""

import re

import pycountry

from codespar.lib.errors import Invalid

_SLUG = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
_COUNTRIES = frozenset(country.alpha_2 for country in pycountry.countries)


def slug(value: object, pointer: str) -> str:
    """A purpose, category or rail: lowercase letters, digits, `_ . -`, at most 64. Raises `Invalid`."""
    if not isinstance(value, str) or not _SLUG.match(value):
        raise Invalid(
            "This must be 1 to 64 lowercase letters, digits, dots, dashes or underscores, such as cloud-hosting.", pointer=pointer
        )
    return value


def country(value: object, pointer: str) -> str:
    """An ISO 3166-1 alpha-2 country. Raises `Invalid`."""
    if not isinstance(value, str) or value not in _COUNTRIES:
        raise Invalid("This must be an ISO 3166-1 country code of two capitals, such as BR.", pointer=pointer)
    return value
