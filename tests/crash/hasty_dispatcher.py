"""The engine's dispatcher, `celery -A tests.crash.hasty_dispatcher`, on rails that take nothing later than `SECONDS` after `send_by`.

The proxy keeps that promise: its longest delay is shorter. So what the rail never got is over soon, in a test that is to be short.
"""

import dataclasses

from codespar.celery import app
from rails.adapters import ADAPTERS, x402

SECONDS = 8

for adapter in ADAPTERS.values():
    adapter.capabilities = dataclasses.replace(adapter.capabilities, acceptance_window_seconds=SECONDS)
# Nor is an authorization good for longer.
x402.LONGEST_SECONDS = SECONDS

__all__ = ["app"]
