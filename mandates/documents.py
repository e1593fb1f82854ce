"""What may stand in a policy document, and what each member means. Pure.

    {"rules": [rule, …], "unknown_category": "deny" | "allow"}
    rule: {"id", "effect", "when"?, and for a limit "window", "currency", "max_amount"?, "max_count"?, "per"?, for a fingerprint "seconds"}

`when` restricts what a rule speaks of: counterparties, countries, categories, purposes, rails, currencies (lists), time (windows in the
organisation's zone), amount_over {amount, currency}. A rule without `when` speaks of every payment.
"""

from collections.abc import Callable
from typing import Any

from codespar.lib import ids, money, pointers, windows
from codespar.lib.errors import Invalid
from codespar.lib.names import country, slug

EFFECTS = ("allow", "deny", "approval", "limit", "fingerprint")
WINDOWS = ("payment", "day", "week", "month")
PER = ("project", "agent", "counterparty", "category", "purpose", "rail")
LONGEST_FINGERPRINT = 31 * 86_400
_MEMBERS = {
    "allow": {"when"},
    "deny": {"when"},
    "approval": {"when"},
    "limit": {"when", "window", "currency", "max_amount", "max_count", "per"},
    "fingerprint": {"seconds"},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "unknown_category": {"type": "string", "enum": ["deny", "allow"]},
        "rules": {
            "type": "array",
            "maxItems": 500,
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_.-]{0,63}$"},
                    "effect": {"type": "string", "enum": list(EFFECTS)},
                    "when": {"type": "object"},
                    "window": {"type": "string", "enum": list(WINDOWS)},
                    "currency": {"type": "string", "pattern": money.PATTERN},
                    "max_amount": {"type": "integer", "minimum": 0},
                    "max_count": {"type": "integer", "minimum": 1},
                    "per": {"type": "array", "items": {"type": "string", "enum": list(PER)}},
                    "seconds": {"type": "integer", "minimum": 1, "maximum": LONGEST_FINGERPRINT},
                },
                "required": ["id", "effect"],
            },
        },
    },
    "required": ["rules"],
}
# A limit that speaks of some values only must count those values apart, or its counter would count others too.
_COUNTED = {"counterparties": "counterparty", "categories": "category", "purposes": "purpose", "rails": "rail"}


def normalise(document: object, pointer: str = "/document") -> dict[str, Any]:
    """A policy document as it is stored and signed. Raises `Invalid` for whatever would not be enforced."""
    if not isinstance(document, dict) or set(document) - {"rules", "unknown_category"} or not isinstance(document.get("rules"), list):
        raise Invalid("A policy document has `rules` (a list) and, if wanted, `unknown_category`.", pointer=pointer)
    if document.get("unknown_category", "deny") not in ("deny", "allow"):
        raise Invalid('unknown_category is "deny" (the default) or "allow".', pointer=f"{pointer}/unknown_category")
    if len(document["rules"]) > 500:
        raise Invalid("A policy has at most 500 rules.", pointer=f"{pointer}/rules")
    rules = [_rule(rule, f"{pointer}/rules/{index}") for index, rule in enumerate(document["rules"])]
    if len({rule["id"] for rule in rules}) != len(rules):
        raise Invalid("Two rules have the same id.", pointer=f"{pointer}/rules")
    return {"rules": rules, "unknown_category": document.get("unknown_category", "deny")}


def render(document: dict[str, Any]) -> dict[str, Any]:
    """A stored document as people write it."""
    return {**document, "rules": [_rendered(rule) for rule in document["rules"]]}


def _rendered(rule: dict[str, Any]) -> dict[str, Any]:
    when = rule.get("when", {})
    return {**rule, "when": {**when, "time": windows.render(when["time"])}} if "time" in when else rule


def _rule(rule: object, pointer: str) -> dict[str, Any]:
    if not isinstance(rule, dict) or rule.get("effect") not in EFFECTS:
        raise Invalid(f"A rule has an id and an effect, one of {', '.join(EFFECTS)}.", pointer=f"{pointer}/effect")
    unknown = sorted(set(rule) - {"id", "effect"} - _MEMBERS[rule["effect"]])
    if unknown:
        raise Invalid(f"A rule of this effect has no member {unknown[0]!r}.", pointer=pointer + pointers.step(unknown[0]))
    checked: dict[str, Any] = {"id": slug(rule.get("id"), f"{pointer}/id"), "effect": rule["effect"]}
    if "when" in rule:
        checked["when"] = _when(rule["when"], f"{pointer}/when")
    if rule["effect"] == "limit":
        checked |= _limit(rule, checked.get("when", {}), pointer)
    if rule["effect"] == "fingerprint":
        checked["seconds"] = _count(rule.get("seconds"), f"{pointer}/seconds", LONGEST_FINGERPRINT)
    return checked


def _limit(rule: dict[str, Any], when: dict[str, Any], pointer: str) -> dict[str, Any]:
    if rule.get("window") not in WINDOWS:
        raise Invalid(f"A limit has a window, one of {', '.join(WINDOWS)}.", pointer=f"{pointer}/window")
    limit: dict[str, Any] = {"window": rule["window"], "currency": money.currency(rule.get("currency"), f"{pointer}/currency")}
    if "max_amount" in rule:
        limit["max_amount"] = money.amount(rule["max_amount"], f"{pointer}/max_amount", least=0)
    if "max_count" in rule and rule["window"] != "payment":
        limit["max_count"] = _count(rule["max_count"], f"{pointer}/max_count", 10**9)
    if not {"max_amount", "max_count"} & set(limit):
        raise Invalid("A limit has max_amount (minor units), and a limit over days, weeks or months may have max_count.", pointer=pointer)
    per = rule.get("per", [])
    if not isinstance(per, list) or any(name not in PER for name in per) or len(set(per)) != len(per):
        raise Invalid(f"`per` lists what is counted apart: {', '.join(PER)}.", pointer=f"{pointer}/per")
    for member, name in _COUNTED.items():
        if member in when and name not in per and rule["window"] != "payment":
            raise Invalid(f"A limit for some {member} counts them apart: add {name!r} to `per`.", pointer=f"{pointer}/per")
    if {"time", "amount_over"} & set(when):
        raise Invalid("A limit counts every payment of its window: `time` and `amount_over` do not belong here.", pointer=f"{pointer}/when")
    return {**limit, "per": sorted(per)}


def _when(value: object, pointer: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("`when` is an object.", pointer=pointer)
    checked: dict[str, Any] = {}
    for name, item in value.items():
        at = pointer + pointers.step(name)
        if name in _LISTS:
            if not isinstance(item, list) or not 1 <= len(item) <= 1000:
                raise Invalid("This must be a list of 1 to 1000 values: leave it out where nothing is restricted.", pointer=at)
            checked[name] = [_LISTS[name](entry, f"{at}/{index}") for index, entry in enumerate(item)]
        elif name == "time":
            checked[name] = windows.parse(item, at)
        elif name == "amount_over":
            checked[name] = _over(item, at)
        else:
            raise Invalid(f"`when` has no member {name!r}: it has {', '.join([*_LISTS, 'time', 'amount_over'])}.", pointer=at)
    return checked


def _over(item: object, pointer: str) -> dict[str, Any]:
    if not isinstance(item, dict) or set(item) != {"amount", "currency"}:
        raise Invalid('amount_over is an amount, such as {"amount": 50000, "currency": "BRL"}.', pointer=pointer)
    return {
        "amount": money.amount(item["amount"], f"{pointer}/amount", least=0),
        "currency": money.currency(item["currency"], f"{pointer}/currency"),
    }


def _count(value: object, pointer: str, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise Invalid(f"This must be a whole number from 1 to {most}.", pointer=pointer)
    return value


def _counterparty(value: object, pointer: str) -> str:
    ids.parse(value, "ctp", pointer)
    return str(value)


_LISTS: dict[str, Callable[[object, str], str]] = {
    "counterparties": _counterparty,
    "countries": country,
    "categories": slug,
    "purposes": slug,
    "rails": slug,
    "currencies": money.currency,
}
