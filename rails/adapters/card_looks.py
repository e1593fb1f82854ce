"""What a card account's list of payments has told this process: each look reads only what is new since the one before.

Before a payment leaves, the provider's list is searched for an earlier one under its key. A list of three days is long, and must not be
read once for each payment.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from functools import lru_cache

from rails.adapters import card_lists, judging
from rails.adapters.card_lists import SINCE, Found, Get, Unread
from rails.adapters.card_notices import our_key
from rails.adapters.exchange import Exchange

# A payment may show in the list so long after the time that it says it was made at; it is the provider's clock that counts.
OVERLAP_SECONDS = 600
FEW = 10_000


@dataclass(frozen=True, slots=True)
class _Part:
    """A look at what was made at `start` or later, read down to the id `after`. `newest` is when the newest that it has seen was made."""

    start: int
    after: str | None
    newest: int


class Looks:
    """One account's payments that carry a key, as far as its list was read. Thread-safe, and nobody waits for another's look.

    The first look reads all since a time, each later one what was made `OVERLAP_SECONDS` before the newest that a whole look has seen, or
    later. A look that cannot finish is taken up where it ended, and then followed by another one for what is new.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The ids under each key, with the time of each.
        self._ids: dict[str, dict[str, int]] = {}
        # The newest that a whole look has seen.
        self._newest: int | None = None
        self._part: _Part | None = None
        self._many = FEW

    def find(self, get: Get, path: str, key: str, since: int) -> Found:
        """All under `key` that was made since then (seconds since 1970), or earlier and is remembered."""
        try:
            with self._lock:
                begun = self._part
            if begun:
                self._read(get, path, begun)
            with self._lock:
                start = since if self._newest is None else max(since, self._newest - OVERLAP_SECONDS)
                newest = self._newest or 0
            done = self._read(get, path, _Part(start, None, newest))
        except Unread as error:
            return Found((), error.done, error.verdict)
        with self._lock:
            self._forget(since)
            return Found(tuple(self._ids.get(key, ())), done, None)

    def _read(self, get: Get, path: str, part: _Part) -> Exchange:
        """Read to the end, keeping each page. Returns the last exchange."""
        query = {SINCE: str(part.start)} | ({"starting_after": part.after} if part.after else {})
        for page in card_lists.pages(get, path, query):
            rows, done = page
            try:
                made = [(row["id"], our_key(row), int(card_lists.seconds(row, "created").timestamp())) for row in rows]
            except ValueError as error:
                raise Unread(done, judging.invalid(200, error)) from None
            if made:
                part = replace(part, after=made[-1][0], newest=max(part.newest, *(at for _, _, at in made)))
            self._learn(made, part)
        with self._lock:
            self._newest, self._part = max(part.newest, self._newest or 0), None
        return done

    def _learn(self, made: list[tuple[str, str | None, int]], part: _Part) -> None:
        with self._lock:
            self._part = part
            for named, key, at in made:
                if key is not None:
                    self._ids.setdefault(key, {})[named] = at

    def _forget(self, since: int) -> None:
        """What is older than anybody asks for, now and then."""
        if len(self._ids) > self._many:
            kept = {key: {named: at for named, at in ids.items() if at >= since} for key, ids in self._ids.items()}
            self._ids = {key: ids for key, ids in kept.items() if ids}
            self._many = max(FEW, 2 * len(self._ids))


@lru_cache(maxsize=1024)
def of(base_url: str, account: str, api_key: str) -> Looks:
    """The process's looks at this account. Another API key may show another list."""
    return Looks()


# After a fork nobody in the child lets go of a lock that a thread of the parent held.
os.register_at_fork(after_in_child=of.cache_clear)
