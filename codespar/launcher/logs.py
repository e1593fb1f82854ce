"""Log files of child processes: appended to, read back for a sentence, and kept from growing without end."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

LIMIT_BYTES = 20_000_000


class LogFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> BinaryIO:
        """For appending, at its end; a large file from earlier runs is moved to `<name>.1` first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > LIMIT_BYTES:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        file = self.path.open("ab")
        self.path.chmod(0o600)
        return file

    def since(self, offset: int) -> str:
        """What was written after byte `offset`."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def tail(self, offset: int = 0, lines: int = 15) -> str:
        """The last lines, for an error message."""
        return "\n".join(self.since(offset).rstrip().splitlines()[-lines:])
