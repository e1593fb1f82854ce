"""The rails the engine can pay over: one adapter each, made from its settings."""

from __future__ import annotations

from collections.abc import Callable

from rails.adapters.base import Adapter
from rails.adapters.sandbox import SandboxAdapter

ADAPTERS: dict[str, Callable[[str, str, str], Adapter]] = {"sandbox": SandboxAdapter}


def adapter_for(rail: str, *, base_url: str, api_key: str, account: str) -> Adapter:
    """The adapter of this rail; raises LookupError for a rail that is not in `ADAPTERS`.

    An adapter is cheap: connections are pooled for the process, not for the adapter.
    """
    try:
        make = ADAPTERS[rail]
    except KeyError:
        raise LookupError(f"no adapter for rail {rail!r}; there is one for {', '.join(sorted(ADAPTERS))}") from None
    return make(base_url, api_key, account)
