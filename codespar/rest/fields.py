"""Request members, read strictly: no text where a number belongs, no unknown members, and a sentence that says what would be right."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from rest_framework import serializers
from rest_framework.request import Request

from codespar.lib import clock, ids, money, names, pointers, windows
from codespar.lib.errors import Invalid

# What no text may hold: control characters but tab and line feed, and marks that show it in another order than it has.
_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Strict(serializers.Serializer[Any]):
    """A serializer that refuses members which it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({"": "This must be an object."})
        unknown = sorted(str(name) for name in set(data) - set(self.fields))
        if unknown:
            known = ", ".join(self.fields)
            raise serializers.ValidationError(dict.fromkeys(unknown, f"There is no such member: the members are {known}."))
        return super().to_internal_value(data)


class _StrictSchema(OpenApiSerializerExtension):
    target_class = Strict
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        found: dict[str, Any] = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**found, "additionalProperties": False}


def read(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    """The request's body, checked. Raises DRF's ValidationError with a pointer for each member that is wrong."""
    found = serializer(data=request.data)
    found.is_valid(raise_exception=True)
    return dict(found.validated_data)


class _Checked(serializers.Field[Any, Any, Any, Any]):
    """A field whose value is read by one of the pure readers, whose `Invalid` becomes the field's error."""

    # What the OpenAPI document says of the field.
    schema: dict[str, Any] = {"type": "string"}
    default_error_messages = {"null": "This may not be null: leave it out instead.", "required": "This member is required."}

    def read(self, value: object) -> Any:
        raise TypeError(f"{type(self).__name__} reads nothing")

    def to_internal_value(self, data: Any) -> Any:
        try:
            return self.read(data)
        except Invalid as error:
            nested: Any = error.detail
            for name in reversed(pointers.names(error.pointer)):
                nested = {name: nested}
            raise serializers.ValidationError(nested) from error

    def to_representation(self, value: Any) -> Any:
        return value


class Text(_Checked):
    """Printable text of at most `longest` characters; with `lines` it may have line feeds and tabs."""

    schema = {"type": "string", "minLength": 1}

    def __init__(self, *, longest: int = 255, lines: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.longest, self.lines = longest, lines
        self.schema = {"type": "string", "minLength": 1, "maxLength": longest}

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= self.longest or not value.strip():
            raise Invalid(f"This must be text of 1 to {self.longest} characters.")
        if self.lines and _HIDDEN.search(value):
            raise Invalid("This must be text without control characters, but for line feeds and tabs, and without bidi overrides.")
        if not self.lines and not value.isprintable():
            raise Invalid("This must be printable text on one line: no control characters, line breaks, tabs or invisible characters.")
        return value


class Slug(_Checked):
    """A purpose, category or rail."""

    schema = {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,63}$"}

    def read(self, value: object) -> str:
        return names.slug(value, "")


class Country(_Checked):
    """ISO 3166-1 alpha-2."""

    schema = {"type": "string", "pattern": "^[A-Z]{2}$"}

    def read(self, value: object) -> str:
        return names.country(value, "")


class Currency(_Checked):
    """ISO 4217, or a stablecoin's."""

    schema = {"type": "string", "pattern": money.PATTERN}

    def read(self, value: object) -> str:
        return money.currency(value)


class Minor(_Checked):
    """A positive amount of minor units."""

    schema = {"type": "integer", "minimum": 1, "maximum": 9007199254740991}

    def read(self, value: object) -> int:
        return money.amount(value)


class Whole(_Checked):
    """A whole number within bounds."""

    def __init__(self, *, least: int, most: int, **options: Any) -> None:
        super().__init__(**options)
        self.least, self.most = least, most
        self.schema = {"type": "integer", "minimum": least, "maximum": most}

    def read(self, value: object) -> int:
        if type(value) is not int or not self.least <= value <= self.most:
            raise Invalid(f"This must be a whole number from {self.least} to {self.most}.")
        return value


class Moment(_Checked):
    """RFC 3339, UTC."""

    schema = {"type": "string", "format": "date-time"}

    def read(self, value: object) -> Any:
        return clock.parse(value)


class Id(_Checked):
    """A wire id of one type, as text."""

    def __init__(self, prefix: str, **options: Any) -> None:
        super().__init__(**options)
        self.prefix = prefix
        self.schema = {"type": "string", "pattern": f"^{prefix}_[0-9a-f]{{32}}$"}

    def read(self, value: object) -> str:
        ids.parse(value, self.prefix)
        return str(value)


class Several(_Checked):
    """A list of 1 to 200 different values, each read by `one`."""

    def __init__(self, one: _Checked, **options: Any) -> None:
        super().__init__(**options)
        self.one = one
        self.schema = {"type": "array", "items": one.schema, "minItems": 1, "maxItems": 200, "uniqueItems": True}

    def read(self, value: object) -> list[Any]:
        if not isinstance(value, list) or not 1 <= len(value) <= 200:
            raise Invalid("This must be a list of 1 to 200 values: leave it out where nothing is constrained.")
        found = []
        for index, item in enumerate(value):
            try:
                found.append(self.one.read(item))
            except Invalid as error:
                raise Invalid(error.detail, pointer=f"/{index}") from error
        if len({repr(item) for item in found}) != len(found):
            raise Invalid("Each value stands in the list once.")
        return found


class Windows(_Checked):
    """Time windows, as minutes."""

    schema = windows.SCHEMA

    def read(self, value: object) -> list[dict[str, Any]]:
        return windows.parse(value, "")


class Object(_Checked):
    """Any JSON object, kept and never trusted."""

    schema = {"type": "object", "additionalProperties": True}

    def read(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Invalid("This must be an object.")
        return value


class Texts(_Checked):
    """An object of names and printable texts of at most `longest` characters."""

    schema = {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}

    def __init__(self, *, longest: int = 255, **options: Any) -> None:
        super().__init__(**options)
        self._text = Text(longest=longest)

    def read(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            raise Invalid("This must be an object of names and texts.")
        return {name: self._text.read(text) for name, text in value.items()}


class Read(_Checked):
    """A member that one function reads."""

    def __init__(self, reader: Callable[[object], Any], *, schema: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.reader, self.schema = reader, schema

    def read(self, value: object) -> Any:
        return self.reader(value)


def one_of(*allowed: str, required: bool = True) -> Read:
    """One of these words."""

    def read(value: object) -> str:
        if value not in allowed:
            raise Invalid(f"This is one of {', '.join(allowed)}.")
        return str(value)

    return Read(read, schema={"type": "string", "enum": list(allowed)}, required=required)


class _CheckedSchema(OpenApiSerializerFieldExtension):
    target_class = _Checked
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.target.schema
        return found


class Money(Strict):
    """`{"amount": 1050, "currency": "BRL"}` is R$ 10.50: an integer of minor units."""

    amount = Minor()
    currency = Currency()
