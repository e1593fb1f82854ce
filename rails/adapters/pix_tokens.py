"""Access tokens of the Pix API (OAuth 2.0, RFC 6749, client credentials): one for each account in a process, fetched when it is needed."""

from __future__ import annotations

import base64
import os
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from functools import lru_cache

from rails.adapters import reading
from rails.adapters.exchange import Exchange, exchange

# What this adapter does, and no more.
SCOPES = ("pix.send", "pix.read", "pix.write", "dict.read", "extrato.read")
# A token is not used in the last part of its life: a request that has one may be on its way for a while.
SPARED_SECONDS, SPARED_PART = 60, 5


@dataclass(frozen=True, slots=True)
class Token:
    """A token and what it opens; from `stale_at` (`time.monotonic()`) on another one is fetched."""

    text: str = field(repr=False)
    scopes: frozenset[str]
    stale_at: float


class NoToken(Exception):
    """There is no token now. `done` tells why, as an exchange in which nothing was sent: the request waits for its token."""

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(detail)
        self.done = Exchange(status=None, body=b"", sent=False, failure=failure, detail=detail, request=b"")


class Tokens:
    """The token of one account. Thread-safe: one thread fetches, the others wait for it, each until its own deadline."""

    def __init__(self, base_url: str, account: str, api_key: str) -> None:
        # Both are form-encoded before they are joined (RFC 6749, 2.3.1).
        joined = ":".join(urllib.parse.quote_plus(text) for text in (account, api_key))
        self._credentials = {"Authorization": f"Basic {base64.b64encode(joined.encode()).decode()}"}
        self._url = f"{base_url}/oauth/token"
        self._lock = threading.Lock()
        self._token: Token | None = None

    def get(self, deadline: float) -> Token:
        """A token that will live for a while; raises `NoToken`."""
        if found := self._fresh():
            return found
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise NoToken("timeout", "another call was still fetching the access token")
        try:
            found = self._fresh() or self._fetch(deadline)
            self._token = found
            return found
        finally:
            self._lock.release()

    def drop(self, token: Token) -> None:
        """The bank does not take this token any more: the next call fetches another one."""
        with self._lock:
            if self._token is token:
                self._token = None

    def _fresh(self) -> Token | None:
        found = self._token
        return found if found and time.monotonic() < found.stale_at else None

    def _fetch(self, deadline: float) -> Token:
        asked_at = time.monotonic()
        done = exchange(
            "POST",
            self._url,
            credentials=self._credentials,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urllib.parse.urlencode({"grant_type": "client_credentials", "scope": " ".join(SCOPES)}).encode(),
            deadline=deadline,
        )
        _check(done)
        try:
            return _read(done.body, asked_at)
        except ValueError as error:
            raise NoToken("invalid_response", f"the bank's answer is no access token: {error}") from None


def _check(done: Exchange) -> None:
    if done.status is None:
        raise NoToken(done.failure, f"no access token: {done.detail}")
    if done.status in (400, 401, 403):
        raise NoToken("unauthorized", "the bank gives no access token for our account and API key")
    if done.status == 429:
        raise NoToken("rate_limited", "the bank asks us to slow down")
    if done.status != 200:
        raise NoToken("unavailable", f"the bank answered {done.status} when it was asked for an access token")


def _read(body: bytes, asked_at: float) -> Token:
    answer = reading.parse_object(body)
    text = reading.match(answer, "access_token", "[A-Za-z0-9._~+/=-]{1,4096}")
    lives = reading.positive(answer, "expires_in")
    if reading.text(answer, "token_type").lower() != "bearer":
        raise reading.Malformed("token_type is not Bearer")
    # Without a scope in the answer it is the one that was asked for.
    scopes = frozenset((reading.text(answer, "scope") if "scope" in answer else " ".join(SCOPES)).split())
    return Token(text, scopes, asked_at + lives - min(SPARED_SECONDS, lives / SPARED_PART))


@lru_cache(maxsize=1024)
def of(base_url: str, account: str, api_key: str) -> Tokens:
    """The process's tokens of this account. Who has another API key has other tokens."""
    return Tokens(base_url, account, api_key)


# After a fork nobody in the child lets go of a lock that a thread of the parent held.
os.register_at_fork(after_in_child=of.cache_clear)
