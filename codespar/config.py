"""What a process is told by its environment. A missing or odd value stops the start with one clear sentence.

No setting turns a rule off: there is no variable here that makes a decision more lenient.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from codespar.lib.addresses import is_here, is_private


def _deployment(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?", value):
        raise ValueError("a deployment is named like a host: lowercase letters, digits, dots and hyphens")
    return value


def _port(value: str) -> bool:
    """Whether the URL's port, if it has one, is a port."""
    try:
        return urlsplit(value).port != 0
    except ValueError:
        return False


def _address(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or not _port(value) or url.query or url.fragment:
        raise ValueError("an address is a URL such as https://pay.example or http://127.0.0.1:8000")
    return value.rstrip("/")


def _folder(value: str) -> None:
    """Folders that are shared with a bank: `file:///absolute/folder`, without a host and without a step upwards."""
    url = urlsplit(value)
    path = unquote(url.path)
    plain = value.startswith("file:///") and not (url.netloc or url.query or url.fragment or "?" in value or "#" in value)
    if not plain or "\0" in path or not path.strip("/") or ".." in path.split("/"):
        raise ValueError("folders that are shared with a rail are written file:///absolute/folder")


def _rails(value: str) -> dict[str, str]:
    """Where each rail is reached, over HTTP or through folders. Upstreams come from here, never from a request."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(url, str) for url in found.values()):
        raise ValueError('rails and their addresses are written as JSON: {"sandbox": "http://127.0.0.1:8002"}')
    for name, url in found.items():
        if not re.fullmatch("[a-z][a-z0-9_]{0,31}", name):
            raise ValueError("a rail is named in small letters, digits and underscores, such as pix")
        if urlsplit(url).scheme == "file":
            _folder(url)
            continue
        _address(url)
        if not is_private(url):
            raise ValueError("a rail is reached over https without a user in the URL, or over http on this machine: http://127.0.0.1:8002")
    return {name: url.rstrip("/") for name, url in found.items()}


# What the URL of the database may say about TLS, and the words that libpq knows for it; None where it is a file's name.
_TLS: dict[str, tuple[str, ...] | None] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslrootcert": None,
    "sslcert": None,
    "sslkey": None,
    "channel_binding": ("disable", "prefer", "require"),
}


def _database(value: str) -> str:
    url = urlsplit(value)
    named = url.hostname and url.path.strip("/") and url.username
    if url.scheme not in ("postgresql", "postgres") or not named or not _port(value) or url.fragment:
        raise ValueError("the database is a URL such as postgresql://codespar_agent:password@127.0.0.1:5432/codespar")
    _check_tls(url.query)
    return value


def _query(query: str) -> list[tuple[str, str]]:
    """Names and values as libpq reads them: a plus is a plus."""
    parts = [part.partition("=") for part in query.split("&")] if query else []
    return [(unquote(name), unquote(value)) for name, _, value in parts]


def _check_tls(query: str) -> None:
    given = _query(query)
    if len(dict(given)) != len(given) or not dict(given).keys() <= _TLS.keys():
        raise ValueError(f"the database's URL may end in ?sslmode=verify-full, with {', '.join(_TLS)}, each once and nothing else")
    for name, text in given:
        words = _TLS[name]
        if not text or (words and text not in words):
            raise ValueError(f"{name} in the database's URL is {'one of ' + ', '.join(words) if words else 'the name of a file'}")


def _redis(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("redis", "rediss") or not url.hostname or not _port(value) or not url.path.strip("/").isdigit():
        raise ValueError("Redis is a URL such as redis://:password@127.0.0.1:6379/0")
    return value


def _secret(value: str) -> str:
    if len(value) < 32:
        raise ValueError("the secret key has at least 32 characters, made at random")
    return value


def _but_for_the_auditor(check: Callable[[str], str]) -> AfterValidator:
    """Needed by every role but the auditor, who reads the database, and neither queues nor signs."""

    def checked(value: str, info: ValidationInfo) -> str:
        return value if not value and info.data.get("role") == "auditor" else check(value)

    return AfterValidator(checked)


Address = Annotated[str, AfterValidator(_address)]


class Config(BaseSettings):
    """The environment, read once. Every variable has the prefix `CODESPAR_`."""

    model_config = SettingsConfigDict(env_prefix="CODESPAR_", extra="ignore")

    role: Literal["agent", "control", "rail", "auditor", "owner"]
    service: Literal["api", "console"] = "api"
    database_url: Annotated[str, AfterValidator(_database)]
    redis_url: Annotated[str, _but_for_the_auditor(_redis), Field(validate_default=True)] = ""
    deployment: Annotated[str, AfterValidator(_deployment)]
    secret_key: Annotated[str, _but_for_the_auditor(_secret), Field(validate_default=True)] = ""
    master_key_file: Path | None = None
    master_key: str | None = None
    checkpoint_dir: Path = Path(".codespar/checkpoints")
    base_url: Address = "http://127.0.0.1:8000"
    console_url: Address = "http://127.0.0.1:8001"
    # JSON: {"rail": "address"}. A rail without one carries nothing.
    rail_urls: Annotated[dict[str, str], NoDecode, BeforeValidator(_rails), Field(validate_default=True)] = (
        '{"sandbox": "http://127.0.0.1:8002"}'  # type: ignore[assignment]  # read by _rails
    )
    # Seconds that a payment's request waits for the rail before it answers with what is known.
    wait_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    pool_size: Annotated[int, Field(ge=1, le=500)] = 16
    # Requests a minute that one access token may make.
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] = 6000
    # Seconds within which an attempt's first byte must leave, counted from its record.
    send_seconds: Annotated[float, Field(gt=0, le=30)] = 5.0
    # Seconds that a rail is left alone after it failed too often, before one call is let through.
    breaker_seconds: Annotated[float, Field(ge=1, le=600)] = 10.0
    # Seconds from one look at the provider's records to the next.
    reconcile_seconds: Annotated[int, Field(ge=1, le=60)] = 60
    # Seconds that one call to a rail may take from its first to its last byte.
    rail_seconds: Annotated[float, Field(gt=0, le=30)] = 8.0
    # Seconds without a finished look at a rail account's statement after which people are told.
    lag_seconds: Annotated[int, Field(ge=60, le=86400)] = 300
    # Seconds that one delivery to a webhook endpoint may take.
    webhook_seconds: Annotated[float, Field(gt=0, le=30)] = 10.0

    @property
    def on_this_machine(self) -> bool:
        """Whether the deployment says that its rails and its console are all on this machine: then no money is real."""
        urls = [self.console_url, *self.rail_urls.values()]
        return "rail_urls" in self.model_fields_set and all(is_here(urlsplit(url).hostname or "") for url in urls)

    @property
    def console_origin(self) -> str:
        """The console's address as browsers write it into `Origin`: in small letters, without a path and without its scheme's port."""
        url = urlsplit(self.console_url)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        usual = {"http": 80, "https": 443}[url.scheme]
        return f"{url.scheme}://{host}" + (f":{url.port}" if url.port not in (None, usual) else "")

    @property
    def database(self) -> dict[str, object]:
        """Django's DATABASES entry, with the role that the connection must turn out to have."""
        url = urlsplit(self.database_url)
        serves = self.role in ("agent", "control", "rail")
        pool = {} if self.role == "owner" else {"pool": {"min_size": 1, "max_size": self.pool_size, "timeout": 5.0}}
        return {
            "ENGINE": "codespar.lib.postgres",
            "HOST": url.hostname,
            "PORT": url.port or 5432,
            "NAME": url.path.strip("/"),
            "USER": unquote(url.username or ""),
            "PASSWORD": unquote(url.password or ""),
            "CONN_HEALTH_CHECKS": True,
            # Whoever answers people or rails must not wait for ever; a verifier or a migration may take its time.
            "WATCHED": serves,
            "EXPECTED_ROLE": None if self.role == "owner" else f"codespar_{self.role}",
            # An auditor brings the name and believes no database about it; the owner writes it down.
            "DEPLOYMENT": self.deployment if serves else None,
            "OPTIONS": {"connect_timeout": 3, "application_name": f"codespar-{self.role}", **dict(_query(url.query)), **pool},
        }


def load() -> Config:
    """The process's configuration, or the end of the process with one sentence for each thing that is wrong."""
    try:
        return Config()  # type: ignore[call-arg]  # the environment has them
    except ValidationError as error:
        for problem in error.errors():
            name = "CODESPAR_" + "_".join(str(part) for part in problem["loc"]).upper()
            sys.stderr.write(f"codespar cannot start: {name}: {problem['msg'].removeprefix('Value error, ')}.\n")
        raise SystemExit(78) from None
