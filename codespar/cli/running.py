"""What every command shares: settings and models for its role, the ways to print, and the one way to give up."""

import json
import logging
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

# The exit status when something was away, or the command was misused.
NO_ANSWER = 2

out, err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def django_for(*roles: str) -> Iterator[Any]:
    """Settings and models for one command, for the roles that may run it; what goes wrong inside becomes one sentence and status 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")
    try:
        import django
        from django.conf import settings

        django.setup()
        config = settings.CONFIG
        # A database that is away is one sentence below, not a line of the pool's for each try.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    except SystemExit:
        # The configuration has said what is wrong already.
        raise typer.Exit(NO_ANSWER) from None
    if config.role not in roles:
        fail(f"This command runs with CODESPAR_ROLE={' or '.join(roles)}; this is {config.role}.")
    from django.db import DatabaseError, connection

    from codespar.audit import invariants
    from codespar.lib.db import Refused
    from codespar.lib.errors import CodesparError

    try:
        yield config
    except Refused as error:
        # The database's own words never leave: the promise that its rule keeps says it better.
        promise = next((rule.promise for (_, name), rule in invariants.RULES.items() if name == error.rule), "")
        fail(f"The database refused this (rule {error.rule}). {promise}".strip())
    except CodesparError as error:
        fail(error.detail)
    except (OSError, DatabaseError) as error:
        fail(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    finally:
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def show(found: dict[str, str], *, as_json: bool) -> None:
    """Labels and values, one a line, or JSON."""
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for label, value in found.items():
        print(f"{label.replace('_', ' '):<14}{value}")


def fail(sentence: str) -> NoReturn:
    """One sentence, and status 2."""
    err.print(f"[red]codespar:[/red] {escape(sentence)}")
    raise typer.Exit(NO_ANSWER)


def org(text: str) -> uuid.UUID:
    """The id of an organisation as it is written on the wire."""
    from codespar.lib import ids
    from codespar.lib.errors import Invalid

    try:
        return ids.parse(text, "org")
    except Invalid:
        fail(f"{text!r} is not an organisation's id: it looks like org_ and 32 lowercase hex digits.")


def progress(*, quiet: bool) -> Progress:
    """Entries done, and how fast; nothing where nobody looks."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), _Rate())
    return Progress(*columns, console=err, transient=True, disable=quiet or not sys.stderr.isatty())


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} entries/s")
