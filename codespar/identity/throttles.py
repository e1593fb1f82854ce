"""Limits by access token, not by address: counted in Redis, so that all processes share one count."""

import functools
import math
import time
from typing import Any

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from codespar.identity.principals import Principal
from codespar.lib import cache

# draft-ietf-httpapi-ratelimit-headers: the quota of a window of 60 seconds; what remains of it, and the seconds until it begins anew.
POLICY, STATE = '"per-token";q={};w=60', '"per-token";r={};t={}'


class PerToken(BaseThrottle):
    """A quota a minute for each token. Without Redis nothing is counted: what must stop then stops elsewhere."""

    def __init__(self) -> None:
        self._wait = 60.0

    def allow_request(self, request: Request, view: Any) -> bool:
        caller: object = request.user
        if not isinstance(caller, Principal):
            return True
        quota = RateLimitItemPerMinute(settings.CONFIG.requests_per_minute)
        try:
            allowed = _limiter().hit(quota, caller.token.hex)
            window = _limiter().get_window_stats(quota, caller.token.hex)
        except cache.AWAY:
            return True
        self._wait = max(1.0, window.reset_time - time.time())
        state = STATE.format(window.remaining, math.ceil(self._wait))
        headers = {"RateLimit": state, "RateLimit-Policy": POLICY.format(quota.amount)}
        request._request.rate_limit = headers  # type: ignore[attr-defined]  # the middleware puts it on the answer
        return allowed

    def wait(self) -> float:
        return self._wait


@functools.cache
def _limiter() -> FixedWindowRateLimiter:
    return FixedWindowRateLimiter(RedisStorage(settings.CONFIG.redis_url, **cache.OPTIONS))
