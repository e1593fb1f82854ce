"""What a mandate allows, as values that are valid by construction.

`Terms` and its parts refuse nonsense when they are made (`Invalid`, with a pointer), whoever makes them: a request, a
stored row, a credential that was just verified. None means *not constrained*; an empty list would mean *nothing is
allowed* to one reader and *anything* to another, and is refused.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

from codespar.lib import ids, money, sdjwt, windows
from codespar.lib.errors import Invalid

Profile = Literal["pure", "extended"]
T = TypeVar("T")

MINUTES_OF_A_DAY = 24 * 60
LONGEST_LIST = 200

# Files beside the zones whose meaning depends on where they are read.
_NOT_ZONES = frozenset({"localtime", "posixrules", "Factory"})
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Payee:
    """A counterparty that may be paid: `id` as the registry writes it, `name` for people. Only the id identifies."""

    id: str
    name: str

    def __post_init__(self) -> None:
        text(self.id, "/counterparties/id")
        text(self.name, "/counterparties/name")


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Hours in which a payment may happen, on a wall clock.

    `days`: ISO weekdays 1 (Monday) to 7, ascending. `start`, `end`: minutes of the day, 0 to 1440, `end` exclusive;
    `start` > `end` goes on over midnight, and the part after midnight belongs to the day on which the window began.
    `tz`: an IANA zone.
    """

    days: tuple[int, ...]
    start: int
    end: int
    tz: str

    def __post_init__(self) -> None:
        _check_days(self.days)
        _check_minutes(self.start, self.end)
        _zone(self.tz)

    def covers(self, moment: datetime) -> bool:
        """Whether `moment` (any zone) lies inside."""
        window = {"days": self.days, "start": self.start, "end": self.end}
        return windows.inside([window], moment.astimezone(_zone(self.tz)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one mandate allows. Amounts in minor units of `currency`, 1 to 2^53-1; times in UTC, whole seconds.

    `id, org, project, agent` are wire ids. `profile` "pure" can be written with AP2's own constraint types only.
    `max_amount` bounds one payment, `budget` their sum, `max_uses` their number. The mandate holds from `not_before`
    (None: at once) until just before `expires_at`. `agent_jwk` is the agent's P-256 public key, exactly `kty crv x
    y`.
    """

    id: str
    org: str
    project: str
    agent: str
    livemode: bool
    profile: Profile
    currency: str
    max_amount: int
    budget: int | None = None
    max_uses: int | None = None
    purposes: tuple[str, ...] | None = None
    countries: tuple[str, ...] | None = None
    categories: tuple[str, ...] | None = None
    rails: tuple[str, ...] | None = None
    counterparties: tuple[Payee, ...] | None = None
    not_before: datetime | None = None
    expires_at: datetime
    time_windows: tuple[TimeWindow, ...] | None = None
    agent_jwk: Mapping[str, str]

    def __post_init__(self) -> None:
        self._check_scope()
        self._check_numbers()
        self._check_times()
        self._check_lists()
        object.__setattr__(self, "agent_jwk", sdjwt.check_agent_jwk(self.agent_jwk))

    def _check_scope(self) -> None:
        for name, prefix in (("id", "mnd"), ("org", "org"), ("project", "prj"), ("agent", "agt")):
            ids.parse(getattr(self, name), prefix, f"/{name}")
        if type(self.livemode) is not bool:
            raise Invalid("livemode is true or false.", pointer="/livemode")
        if self.profile not in ("pure", "extended"):
            raise Invalid('The profile is "pure" or "extended".', pointer="/profile")

    def _check_numbers(self) -> None:
        money.currency(self.currency, "/currency")
        money.amount(self.max_amount, "/max_amount")
        if self.budget is not None:
            money.amount(self.budget, "/budget")
        if self.max_uses is not None:
            money.amount(self.max_uses, "/max_uses")

    def _check_times(self) -> None:
        _check_moment(self.expires_at, "/expires_at")
        if self.not_before is None:
            return
        _check_moment(self.not_before, "/not_before")
        if self.not_before >= self.expires_at:
            raise Invalid("The mandate must begin before it expires.", pointer="/not_before")

    def _check_lists(self) -> None:
        for name in ("purposes", "categories", "rails", "countries"):
            for value in _listed(getattr(self, name), str, f"/{name}"):
                text(value, f"/{name}")
        for country in self.countries or ():
            if len(country) != 2 or not (country.isascii() and country.isalpha() and country.isupper()):
                raise Invalid("A country is two capitals (ISO 3166-1 alpha-2), such as BR.", pointer="/countries")
        _listed(self.time_windows, TimeWindow, "/time_windows")
        payees = _listed(self.counterparties, Payee, "/counterparties")
        if len({payee.id for payee in payees}) != len(payees):
            raise Invalid("A counterparty stands in the list twice.", pointer="/counterparties")


def text(value: object, pointer: str, longest: int = 255) -> str:
    """`value` if it is 1 to `longest` printable characters without spaces at the ends. Raises `Invalid`."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest or value != value.strip():
        raise Invalid(f"This must be text of 1 to {longest} characters, without spaces at the ends.", pointer=pointer)
    if not value.isprintable() and any(map(_hides, value)):
        raise Invalid("This text has characters that cannot be printed.", pointer=pointer)
    return value


def _hides(character: str) -> bool:
    """Control characters, lone surrogates, line separators, and the marks that turn the direction of writing around."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _TURNS


def _listed(value: tuple[T, ...] | None, kind: type[T], pointer: str) -> tuple[T, ...]:
    if value is None:
        return ()
    if type(value) is not tuple or not 1 <= len(value) <= LONGEST_LIST:
        raise Invalid(f"This must be 1 to {LONGEST_LIST} values, or left out where nothing is constrained.", pointer=pointer)
    if not all(isinstance(item, kind) for item in value) or len(set(value)) != len(value):
        raise Invalid("The values must be of one type, and each must stand there once.", pointer=pointer)
    return value


def _check_days(days: object) -> None:
    good = type(days) is tuple and bool(days) and all(type(day) is int and 1 <= day <= 7 for day in days)
    if not good or list(days) != sorted(set(days)):  # type: ignore[call-overload]
        raise Invalid("days must be ISO weekdays, 1 (Monday) to 7, each once and ascending.", pointer="/time_windows/days")


def _check_minutes(start: object, end: object) -> None:
    if type(start) is not int or type(end) is not int or not (0 <= start < MINUTES_OF_A_DAY and 0 <= end <= MINUTES_OF_A_DAY):
        raise Invalid("start and end are minutes of the day: 540 is 09:00, 1440 the end of it.", pointer="/time_windows")
    if start == end:
        raise Invalid(
            "A window that ends when it begins is empty or a whole day: write 0 to 1440 for the day.",
            pointer="/time_windows",
        )


def _zone(name: object) -> ZoneInfo:
    if isinstance(name, str) and name not in _NOT_ZONES:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    raise Invalid("tz must be an IANA time zone such as America/Sao_Paulo.", pointer="/time_windows/tz")


def _check_moment(moment: object, pointer: str) -> None:
    if not isinstance(moment, datetime) or moment.utcoffset() != timedelta(0) or moment.microsecond:
        raise Invalid("This must be a time in UTC, in whole seconds.", pointer=pointer)
    if moment < datetime(1970, 1, 1, tzinfo=UTC):
        raise Invalid("This must be a time after 1970.", pointer=pointer)
