"""Taking a signed copy of the ledger, as a client of the console: no database, no key, only a member's access token."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import httpx2
import typer

from codespar.cli import running

if TYPE_CHECKING:
    from codespar.audit.manifest import Manifest

# Seconds without a byte. A long copy takes as long as it takes.
_SILENCE = 30.0


def export(
    file: Annotated[Path, typer.Argument(help="The file to make. It must not be there yet.")],
    token_file: Annotated[Path, typer.Option(help="The file with an access token that has ledger:export; /dev/stdin reads a pipe.")],
    url: Annotated[str, typer.Option(envvar="CODESPAR_CONSOLE_URL", help="Where the console is.")] = "http://127.0.0.1:8001",
    first_seq: Annotated[int, typer.Option(help="The first entry of the copy.")] = 1,
    last_seq: Annotated[int | None, typer.Option(help="The last entry; the head of this moment otherwise.")] = None,
    openings: Annotated[bool, typer.Option(help="With the texts that records commit to.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take a signed copy of the ledger. The ledger remembers who took which range; `codespar verify FILE` checks it offline."""
    from codespar.audit import archive, manifest
    from codespar.lib import addresses, ids
    from codespar.lib.errors import CodesparError

    if not addresses.is_private(url):
        running.fail(f"{url} would show the token to whoever is on the way: the console is reached over https, or on this machine.")
    asked = {"first_seq": first_seq, "openings": "true" if openings else "false"} | ({"last_seq": last_seq} if last_seq else {})
    try:
        token = token_file.read_text(encoding="utf-8", errors="replace").strip()
        with _made(file) as part:
            _fetch(f"{url.rstrip('/')}/v1/ledger/export", token, asked, part)
            told = manifest.parse(archive.Archive(part).member(archive.MANIFEST).read())
    except (OSError, httpx2.HTTPError, CodesparError) as error:
        running.fail(f"No copy was made: {getattr(error, 'detail', None) or f'{type(error).__name__}: {error}'}")
    running.show(_shown(file, told, ids.wire("org", told.org)), as_json=as_json)


def _fetch(url: str, token: str, asked: dict[str, str | int], part: Path) -> None:
    """The answer's bytes as they come."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.stream("GET", url, params=asked, headers=headers, timeout=_SILENCE) as answer, part.open("wb") as out:
        if answer.status_code != 200:
            running.fail(_refusal(answer))
        for chunk in answer.iter_raw():
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def _refusal(answer: httpx2.Response) -> str:
    answer.read()
    try:
        said = answer.json()
        return f"The console refused ({said['code']}): {said['detail']}"
    except (ValueError, KeyError, TypeError):
        return f"The console answered {answer.status_code}."


@contextmanager
def _made(file: Path) -> Iterator[Path]:
    """A file of this name once all of it is there, that nobody else can read; never one instead of another."""
    if file.exists():
        running.fail(f"{file} is there already, and a copy never replaces another.")
    part = file.with_name(f".{file.name}.part")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        yield part
        os.link(part, file)
    finally:
        part.unlink(missing_ok=True)


def _shown(file: Path, told: "Manifest", org: str) -> dict[str, str]:
    return {
        "file": str(file),
        "organisation": org,
        "entries": f"{told.first_seq} to {told.last_seq}",
        "head": told.head,
        "openings": f"{told.openings}, {told.counts['openings']}",
        "recorded_as": f"{told.entry['id']}, entry {told.entry['seq']}",
    }
