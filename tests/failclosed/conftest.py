"""An engine of these tests' own, with a proxy before everything that its processes depend on."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from codespar.launcher import testing
from codespar.launcher.processes import Spec
from codespar.launcher.stack import Stack, StackInfo
from tests.support import world as worlds
from tests.support.proxy import Proxy
from tests.support.world import World

# Short deadlines, so that a rail that hangs does not make the tests wait: they are settings, and their defaults are checked apart.
SETTINGS = {"CODESPAR_REQUESTS_PER_MINUTE": "100000", "CODESPAR_WAIT_SECONDS": "3", "CODESPAR_RAIL_SECONDS": "2"}


@dataclass
class Doubtful:
    """The engine, and the proxies: `database` and `queue` of the web processes, `books` and `rail` of the dispatcher."""

    info: StackInfo
    stack: "Between"
    database: Proxy
    queue: Proxy
    books: Proxy
    rail: Proxy


class Between(Stack):
    """The engine's processes with addresses that lead through proxies."""

    proxies: dict[str, Proxy]

    def specs(self) -> list[Spec]:
        return [dataclasses.replace(one, env={**one.env, **self._through(one)}) for one in super().specs()]

    def _through(self, one: Spec) -> dict[str, str]:
        if one.name == "provider":
            return {}
        web = one.name in ("api", "console")
        changed = {"CODESPAR_DATABASE_URL": "database" if web else "books", "CODESPAR_REDIS_URL": "queue", "CODESPAR_RAIL_URLS": "rail"}
        return {name: through(one.env[name], self.proxies[proxy]) for name, proxy in changed.items()}


def through(url: str, proxy: Proxy) -> str:
    """The same address, by way of the proxy."""
    return url.replace(f":{proxy.target[1]}", f":{proxy.port}")


def proxy_of(url: str) -> Proxy:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    return Proxy(parts.hostname, parts.port)


@pytest.fixture(scope="package")
def doubtful(worker_id: str) -> Iterator[Doubtful]:
    """The engine behind proxies, without beat: the sweeper alone drives what is due."""
    copy = testing.copy(f"failclosed_{worker_id}")
    made: Any = Between(
        copy.cluster, database=copy.name, redis_db=copy.redis_db, names=("provider", "api", "console", "dispatcher"), extra_env=SETTINGS
    )
    env = made.info.env("agent")
    with ExitStack() as open_:
        urls = {name: env[f"CODESPAR_{url}_URL"] for name, url in (("database", "DATABASE"), ("queue", "REDIS"), ("books", "DATABASE"))}
        urls["rail"] = made.info.sandbox_url
        made.proxies = {name: open_.enter_context(proxy_of(url)) for name, url in urls.items()}
        with made:
            yield Doubtful(made.info, made, **made.proxies)


@pytest.fixture(scope="module")
def payer(doubtful: Doubtful) -> World:
    """An organisation on the doubtful engine, ready to pay."""
    return worlds.make(doubtful.info)
