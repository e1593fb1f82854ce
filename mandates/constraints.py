"""`Terms` as the `constraints` of an AP2 v0.2 open payment mandate, and back.

AP2's own types are used wherever AP2 can say it; what it lacks has a reverse-DNS type of ours, so that a foreign
verifier refuses rather than overlooks it. Reading is a closed list: a type, a member or a shape that is not in it
refuses.

    payment.amount_range            {currency, max}              max_amount, minor units
    payment.budget                  {currency, max}              budget, in MAJOR units: an exact decimal fraction
    payment.agent_recurrence        {frequency, max_occurrences} max_uses; the frequency is always ON_DEMAND
    payment.allowed_payees          {allowed: [{id, name}]}      counterparties
    payment.execution_date          {not_before, not_after}      not_before, expires_at; not_after must equal exp
    com.codespar.scope              {org, project, agent, livemode}
    com.codespar.purposes           {allowed: [text]}            also countries, categories, rails
    com.codespar.time_windows       {allowed: [{days, start, end, tz}]}
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from codespar.lib import clock, money
from codespar.lib.canonical import MAX_SAFE_INTEGER
from codespar.lib.errors import CodesparError
from codespar.lib.sdjwt import MandateInvalid, members
from mandates.terms import Payee, Terms, TimeWindow

OURS = "com.codespar."
_LISTS = ("purposes", "countries", "categories", "rails")


class ProfileCannotExpress(CodesparError):
    """A pure mandate was asked for something that AP2 has no constraint type for. `extra["member"]` names it."""

    code = "profile_cannot_express"


def check_profile(terms: Terms) -> None:
    """Raises `ProfileCannotExpress` for the first member that `terms.profile` cannot carry."""
    if terms.profile == "extended":
        return
    for name in (*_LISTS, "time_windows"):
        if getattr(terms, name) is not None:
            raise ProfileCannotExpress(
                f'AP2 has no constraint for {name}: leave it out, or issue the mandate with the profile "extended".',
                member=name,
            )
    if terms.max_uses is not None and terms.budget is None:
        # AP2's verifiers refuse payment.agent_recurrence without payment.budget.
        raise ProfileCannotExpress("In AP2 a number of uses needs a budget beside it: set one.", member="max_uses")


def write(terms: Terms) -> list[dict[str, Any]]:
    """The constraints of `terms`, always in the same order. Raises `ProfileCannotExpress`."""
    check_profile(terms)
    found = [*_standard(terms)]
    if terms.profile == "extended":
        found += [*_extended(terms)]
    return found


def read(constraints: object, *, exp: datetime) -> dict[str, Any]:
    """Keyword arguments of `Terms` out of `constraints`; `exp` is the credential's own end.

    With our scope constraint `org, project, agent, livemode` are among them. Raises `MandateInvalid`:
    `unknown_constraint` for a type that is not enforced here, `invalid_mandate` for everything else.
    """
    if not isinstance(constraints, list):
        raise MandateInvalid("constraints must be a JSON array.")
    entries: dict[str, dict[str, Any]] = {}
    for entry in constraints:
        kind = entry.get("type") if isinstance(entry, dict) else None
        if not isinstance(kind, str):
            raise MandateInvalid("A constraint must be an object with a type.")
        if kind not in _READERS:
            raise MandateInvalid(f"This constraint is not enforced here, so it refuses: {kind[:80]!r}.", code="unknown_constraint")
        if kind in entries:
            raise MandateInvalid(f"The constraint {kind} stands there twice.")
        entries[kind] = entry
    return _read_all(entries, exp)


def _read_all(entries: dict[str, dict[str, Any]], exp: datetime) -> dict[str, Any]:
    if "payment.amount_range" not in entries:
        raise MandateInvalid("A mandate without payment.amount_range bounds nothing, and is refused.")
    profile = "extended" if f"{OURS}scope" in entries else "pure"
    if profile == "pure" and any(kind.startswith(OURS) for kind in entries):
        raise MandateInvalid(f"A mandate with {OURS} constraints must have {OURS}scope among them.")
    found: dict[str, Any] = {"profile": profile}
    # The amount range is read first: the budget needs its currency.
    for kind in sorted(entries, key=lambda kind: kind != "payment.amount_range"):
        _READERS[kind](entries[kind], found, exp)
    return found


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with whole seconds: how a date stands inside a constraint."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _standard(terms: Terms) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"type": "payment.amount_range", "currency": terms.currency, "max": terms.max_amount}]
    if terms.budget is not None:
        major = Decimal(money.major(terms.budget, terms.currency))
        found.append({"type": "payment.budget", "currency": terms.currency, "max": major})
    if terms.max_uses is not None:
        found.append({"type": "payment.agent_recurrence", "frequency": "ON_DEMAND", "max_occurrences": terms.max_uses})
    if terms.counterparties is not None:
        allowed = [{"id": payee.id, "name": payee.name} for payee in terms.counterparties]
        found.append({"type": "payment.allowed_payees", "allowed": allowed})
    if terms.not_before is not None:
        dates = {"not_before": instant(terms.not_before), "not_after": instant(terms.expires_at)}
        found.append({"type": "payment.execution_date", **dates})
    return found


def _extended(terms: Terms) -> list[dict[str, Any]]:
    scope = {"org": terms.org, "project": terms.project, "agent": terms.agent, "livemode": terms.livemode}
    found: list[dict[str, Any]] = [{"type": f"{OURS}scope", **scope}]
    for name in _LISTS:
        if getattr(terms, name) is not None:
            found.append({"type": OURS + name, "allowed": list(getattr(terms, name))})
    if terms.time_windows is not None:
        windows = [{"days": list(w.days), "start": w.start, "end": w.end, "tz": w.tz} for w in terms.time_windows]
        found.append({"type": f"{OURS}time_windows", "allowed": windows})
    return found


def _amount_range(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    members(entry, "payment.amount_range", required={"type", "currency", "max"})
    found["currency"], found["max_amount"] = money.currency(entry["currency"]), money.amount(entry["max"])


def _budget(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    members(entry, "payment.budget", required={"type", "currency", "max"})
    if entry["currency"] != found["currency"]:
        raise MandateInvalid("The budget's currency must be the amount range's.")
    found["budget"] = money.amount(_minor(entry["max"], found["currency"]))


def _minor(value: object, currency: str) -> int:
    """Minor units of an exact JSON number of major units. 4.35 BRL is 435, never the 434 that a float makes of it."""
    major = Decimal(value) if type(value) is int and abs(value) <= MAX_SAFE_INTEGER else value
    # The bounds come first, so that 1e999999 costs nothing; 26 digits fit the context's 28 without rounding.
    if not isinstance(major, Decimal) or not -10 <= int(major.as_tuple().exponent) <= major.adjusted() <= 15:
        raise MandateInvalid("A budget must be a JSON number of major units, such as 4.35.")
    minor = major.scaleb(money.EXPONENTS[currency])
    if minor != minor.to_integral_value():
        raise MandateInvalid(f"A budget in {currency} has at most {money.EXPONENTS[currency]} decimals.")
    return int(minor)


def _agent_recurrence(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    members(entry, "payment.agent_recurrence", required={"type", "frequency", "max_occurrences"})
    if entry["frequency"] != "ON_DEMAND":
        raise MandateInvalid("Of the recurrences only ON_DEMAND is enforced here.", code="unknown_constraint")
    found["max_uses"] = money.amount(entry["max_occurrences"])


def _allowed_payees(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    payees = (members(item, "A payee", required={"id", "name"}) for item in _allowed(entry))
    found["counterparties"] = tuple(Payee(id=payee["id"], name=payee["name"]) for payee in payees)


def _execution_date(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    members(entry, "payment.execution_date", required={"type", "not_before"}, optional=frozenset({"not_after"}))
    found["not_before"] = clock.parse(entry["not_before"])
    if "not_after" in entry and clock.parse(entry["not_after"]) != exp:
        raise MandateInvalid("not_after must be the moment at which the mandate expires (exp).")


def _scope(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    scope = ("org", "project", "agent", "livemode")
    members(entry, f"{OURS}scope", required={"type", *scope})
    found.update((name, entry[name]) for name in scope)


def _list(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    values = _allowed(entry)
    if not all(isinstance(value, str) for value in values):
        raise MandateInvalid(f"The values of {entry['type']} must be text.")
    found[entry["type"].removeprefix(OURS)] = tuple(values)


def _time_windows(entry: dict[str, Any], found: dict[str, Any], exp: datetime) -> None:
    found["time_windows"] = tuple(_time_window(item) for item in _allowed(entry))


def _time_window(value: object) -> TimeWindow:
    window = members(value, "A time window", required={"days", "start", "end", "tz"})
    if not isinstance(window["days"], list):
        raise MandateInvalid("A time window's days must be an array.")
    return TimeWindow(days=tuple(window["days"]), start=window["start"], end=window["end"], tz=window["tz"])


def _allowed(entry: dict[str, Any]) -> list[Any]:
    members(entry, entry["type"], required={"type", "allowed"})
    if not isinstance(entry["allowed"], list) or not entry["allowed"]:
        raise MandateInvalid(f"{entry['type']} must list at least one value in allowed.")
    return entry["allowed"]


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any], datetime], None]] = {
    "payment.amount_range": _amount_range,
    "payment.budget": _budget,
    "payment.agent_recurrence": _agent_recurrence,
    "payment.allowed_payees": _allowed_payees,
    "payment.execution_date": _execution_date,
    f"{OURS}scope": _scope,
    f"{OURS}time_windows": _time_windows,
} | {OURS + name: _list for name in _LISTS}
