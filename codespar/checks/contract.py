"""The REST contract only grows: what a released document promised, the next one still promises."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from codespar.checks.documents import ROOT

Json = Mapping[str, Any]
# What a request may hold: a smaller most, or a larger least, refuses what was accepted.
_MOST = ("maximum", "maxLength", "maxItems")
_LEAST = ("minimum", "minLength", "minItems")


def breaks() -> list[str]:
    """What the committed contract of the last release promised and today's does not. Without a release there is nothing to break."""
    faults: list[str] = []
    for service in ("api", "console"):
        released = ROOT / "docs" / "released" / f"openapi.{service}.json"
        current = ROOT / "docs" / f"openapi.{service}.json"
        if released.exists() and current.exists():
            faults += compare(json.loads(released.read_text()), json.loads(current.read_text()))
    return faults


def compare(old: Json, new: Json) -> list[str]:
    """Operations, answers and members that are gone, and requests that were accepted and would be refused."""
    faults: list[str] = []
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            found = new["paths"].get(path, {}).get(method)
            name = f"{method.upper()} {path}"
            faults += [f"{name} is gone from the contract."] if found is None else _operation(name, operation, found)
    for name, schema in old["components"]["schemas"].items():
        found = new["components"]["schemas"].get(name)
        if found is None:
            faults.append(f"{name} is gone from the contract.")
        else:
            faults += _asked(name, schema, found) if name.endswith("Request") else _answered(name, schema, found)
    return faults


def _operation(name: str, old: Json, new: Json) -> Iterator[str]:
    for status in sorted(set(old["responses"]) - set(new["responses"])):
        yield f"{name} no longer answers {status}."
    for status in sorted(set(old["responses"]) & set(new["responses"])):
        before, after = old["responses"][status].get("content", {}), new["responses"][status].get("content", {})
        for kind, content in before.items():
            if kind not in after:
                yield f"{name} no longer answers {status} as {kind}."
            else:
                yield from _answered(f"{name} {status}", content.get("schema", {}), after[kind].get("schema", {}))
    yield from _body(name, old.get("requestBody", {}), new.get("requestBody", {}))
    known, now = _parameters(old), _parameters(new)
    for place in sorted(set(known) - set(now)):
        yield f"{name} no longer takes the {place}."
    for place, parameter in sorted(now.items()):
        if parameter.get("required") and not known.get(place, {}).get("required"):
            yield f"{name} needs the {place}, and did not."
        if place in known:
            yield from _asked(f"{name} {place}", known[place].get("schema", {}), parameter.get("schema", {}))


def _parameters(operation: Json) -> dict[str, Json]:
    return {f"{found['in']} parameter {found['name']}": found for found in operation.get("parameters", [])}


def _body(name: str, old: Json, new: Json) -> Iterator[str]:
    if new.get("required") and not old.get("required"):
        yield f"{name} needs a body, and did not."
    for kind, content in old.get("content", {}).items():
        if kind not in new.get("content", {}):
            yield f"{name} no longer takes {kind}."
        else:
            yield from _asked(f"{name} body", content.get("schema", {}), new["content"][kind].get("schema", {}))


def _asked(name: str, old: Json, new: Json) -> Iterator[str]:
    """What was accepted is accepted still: the new schema may only be wider."""
    yield from _another(name, old, new, wider=new, narrower=old)
    if "enum" in new and "enum" not in old:
        yield f"{name} takes some values only, and took any."
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield f"{name} refuses members that it does not know, and did not."
    for member in sorted(set(new.get("required", [])) - set(old.get("required", []))):
        yield f"{name}.{member} became mandatory."
    for member in sorted(set(old.get("properties", {})) - set(new.get("properties", {}))):
        yield f"{name}.{member} is gone from requests."
    for bound in (*_MOST, *_LEAST):
        if bound in new and _narrowed(bound, old.get(bound), new[bound]):
            yield f"{name} has another {bound}, and refuses what it accepted."
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{name} has another pattern, and may refuse what it accepted."
    for member, before, after in _inside(old, new):
        yield from _asked(f"{name}.{member}", before, after)


def _answered(name: str, old: Json, new: Json) -> Iterator[str]:
    """What a reader could count on is there still: the new schema may have more members, and no other types or values."""
    yield from _another(name, old, new, wider=old, narrower=new)
    for member in sorted(set(old.get("properties", {})) - set(new.get("properties", {}))):
        yield f"{name}.{member} is gone from answers."
    for member in sorted((set(old.get("required", [])) - set(new.get("required", []))) & set(new.get("properties", {}))):
        yield f"{name}.{member} may be missing from answers."
    for member, before, after in _inside(old, new):
        yield from _answered(f"{name}.{member}", before, after)


def _another(name: str, old: Json, new: Json, *, wider: Json, narrower: Json) -> Iterator[str]:
    """Everything that `narrower` allows must be in `wider`: types, alternatives and what is referred to. No known value goes."""
    if old.get("$ref") != new.get("$ref"):
        yield f"{name} is another object."
    for what, found in (("type", _types), ("choice", _choices)):
        allowed, said = found(wider), found(narrower)
        if allowed is not None and (said is None or not said <= allowed):
            yield f"{name} has another {what}."
    if "enum" in old and "enum" in new:
        for value in old["enum"]:
            if value not in new["enum"]:
                yield f"{name} no longer knows {value!r}."


def _types(schema: Json) -> set[str] | None:
    kind = schema.get("type")
    if kind is None:
        return None
    kinds = {kind} if isinstance(kind, str) else set(kind)
    # Every integer is a number.
    return kinds | {"integer"} if "number" in kinds else kinds


def _choices(schema: Json) -> set[str] | None:
    return {json.dumps(choice, sort_keys=True) for choice in schema["oneOf"]} if "oneOf" in schema else None


def _narrowed(bound: str, old: Any, new: Any) -> bool:
    return old is None or (new < old if bound in _MOST else new > old)


def _inside(old: Json, new: Json) -> Iterator[tuple[str, Json, Json]]:
    """The members, and the items of a list, that both schemas have."""
    for member, schema in old.get("properties", {}).items():
        if member in new.get("properties", {}):
            yield member, schema, new["properties"][member]
    if isinstance(old.get("items"), Mapping) and isinstance(new.get("items"), Mapping):
        yield "[]", old["items"], new["items"]
