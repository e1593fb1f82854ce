"""Redis: hints between processes and shared counts. Nothing that must be true is kept there."""

from functools import cache
from typing import Any

import redis
from django.conf import settings

from codespar.lib.errors import Unavailable

# Short deadlines: a slow hint is worth less than none. RESP2, because redis-py's handshake of RESP3 breaks in its own way (AttributeError)
# when the server goes away in the middle of it.
OPTIONS: dict[str, Any] = {"protocol": 2, "socket_connect_timeout": 1.0, "socket_timeout": 3.0}
# What says that Redis is away, or that the client could not cope with how it went.
AWAY = (redis.RedisError, OSError, AttributeError)


@cache
def client() -> "redis.Redis":
    """This process's Redis."""
    return redis.Redis.from_url(settings.CONFIG.redis_url, **OPTIONS, max_connections=256, health_check_interval=15)


def require() -> None:
    """Raises `Unavailable` when Redis does not answer: new payments wait for it, everything that ends a payment does not."""
    try:
        client().ping()
    except AWAY as error:
        raise Unavailable("The queue is not reachable, so new payments are refused. Nothing was decided; try again shortly.") from error
