"""What the demo shows while it works: a spinner on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console


class Progress:
    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Show what is being done, then how long it took (seconds)."""
        start = time.monotonic()
        shown = self.console.status(f"{doing} …") if self.console.is_terminal else contextlib.nullcontext()
        with shown:
            yield
        self.line(f"{doing} ({time.monotonic() - start:.1f} s)")

    def line(self, text: str = "") -> None:
        self.console.print(text, markup=False)
