"""The rails the engine can pay over: one adapter each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rails.adapters import x402
from rails.adapters.base import Adapter, Connection
from rails.adapters.card import CardAdapter
from rails.adapters.open_finance import OpenFinanceAdapter
from rails.adapters.pix import PixAdapter
from rails.adapters.sandbox import SandboxAdapter
from rails.adapters.wire import WireAdapter
from rails.adapters.x402 import X402Adapter

ADAPTERS: dict[str, type[Adapter]] = {
    "card": CardAdapter,
    "open_finance": OpenFinanceAdapter,
    "pix": PixAdapter,
    "sandbox": SandboxAdapter,
    "wire": WireAdapter,
    "x402": X402Adapter,
}

# What was bought, in the answer of a rail that sells things: its media type and its bytes, None when none came.
BOUGHT: Mapping[str, Callable[[bytes], tuple[str, bytes] | None]] = {"x402": x402.bought}


def adapter_for(rail: str, connection: Connection) -> Adapter:
    """The adapter of this account at this rail; raises LookupError for a rail that there is not.

    An adapter is cheap: connections are pooled for the process, not for the adapter.
    """
    try:
        found = ADAPTERS[rail]
    except KeyError:
        raise LookupError(f"no adapter for rail {rail!r}; there is one for {', '.join(sorted(ADAPTERS))}") from None
    return found.connect(connection)
