"""Redis: hints between processes and shared counts. Nothing that must be true is kept there."""

from functools import cache

import redis
from django.conf import settings

from codespar.lib.errors import Unavailable


@cache
def client() -> "redis.Redis":
    """This process's Redis, with short deadlines: a slow hint is worth less than none."""
    return redis.Redis.from_url(
        settings.CONFIG.redis_url, socket_connect_timeout=1.0, socket_timeout=3.0, max_connections=256, health_check_interval=15
    )


def require() -> None:
    """Raises `Unavailable` when Redis does not answer: new payments wait for it, everything that ends a payment does not."""
    try:
        client().ping()
    except redis.RedisError as error:
        raise Unavailable("The queue is not reachable, so new payments are refused. Nothing was decided; try again shortly.") from error
