"""`codespar`: what an operator or an auditor does by hand. Every failure is one sentence, and an exit status that says whose turn it is."""

import json
import logging
import os
import secrets
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from codespar.audit.verify import Report

VERIFIED, TAMPERED, NO_ANSWER = 0, 1, 2
PASSWORD_BYTES = 18

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
org_app = typer.Typer(help="Organisations: the tenants of this deployment.", no_args_is_help=True)
app.add_typer(org_app, name="org")
member_app = typer.Typer(help="Members: the people of an organisation.", no_args_is_help=True)
app.add_typer(member_app, name="member")
_out, _err = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def verify(
    org: Annotated[str | None, typer.Option(help="Only this organisation (org_…); all of them otherwise.")] = None,
    pin: Annotated[list[str] | None, typer.Option(help="org_…=sha256:…, the fingerprint of its first ledger key. Repeatable.")] = None,
    pins: Annotated[Path | None, typer.Option(help="A JSON file {org_…: sha256:…}.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Where checkpoints are kept outside the database.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """Verify chains, checkpoints and books. Exit status: 0 verified, 1 tampered, 2 untrusted, unavailable or misused."""
    with _django("auditor") as config:
        # Only now: these modules need the settings.
        from codespar.audit import verify as verification

        trusted = _pins(pin or [], pins)
        folder = checkpoints or config.checkpoint_dir
        if checkpoints is not None and not checkpoints.is_dir():
            _fail(f"There is no folder {checkpoints}.")
        wanted = [_org(org)] if org else verification.organisations(pins=trusted, checkpoint_dir=folder)
        reports = []
        with _progress(quiet=as_json) as progress:
            task = progress.add_task("verifying", total=None)
            for one in wanted:
                tick = lambda count: progress.advance(task, count)  # noqa: E731
                reports.append(verification.verify_org(one, pins=trusted, checkpoint_dir=folder, tick=tick))
        if not reports:
            _fail("There is no organisation in this database.")
    status = _worst([report.status for report in reports])
    if as_json:
        print(json.dumps({"status": status, "organisations": [report.as_dict() for report in reports]}, indent=2))
    else:
        for report in reports:
            _print_report(report)
    raise typer.Exit({"verified": VERIFIED, "tampered": TAMPERED}.get(status, NO_ANSWER))


@app.command()
def invariants() -> None:
    """The live rules of the database, each beside the promise that it keeps. Exit status 1 when a promised rule is gone or off."""
    with _django("auditor", "owner", "control", "rail", "agent"):
        from codespar.audit import catalog

        rules, grants = catalog.live(), catalog.grants()
    for table in sorted({rule.table for rule in rules} | {name for name in grants if "()" not in name}):
        _out.print(f"[bold]{table}[/bold]")
        for rule in rules:
            if rule.table == table:
                off = "" if rule.enforced else " [red](switched off)[/red]"
                _out.print(f"  {rule.kind:<12} {rule.name:<36}{off} {escape(rule.promise or rule.definition)}")
        for line in grants.get(table, []):
            _out.print(f"  {'grant':<12} {escape(line)}")
    _out.print("[bold]functions[/bold]")
    for name in sorted(name for name in grants if "()" in name):
        _out.print(f"  {name:<36} {escape('; '.join(line.removesuffix(': EXECUTE') for line in grants[name]))}")
    gone = catalog.broken(rules)
    for name, lost in gone:
        _err.print(f"[red]{name}[/red] on {lost.table} is gone or switched off. It promised: {escape(lost.promise)}")
    raise typer.Exit(1 if gone else 0)


@app.command()
def rewrap() -> None:
    """Put sealed secrets under the current master key. Run it as control and as rail; then the old key's line can go."""
    with _django("control", "rail") as config:
        from codespar.vault import actions

        done = actions.rewrap(role=config.role)
    _out.print(f"{done.done} secrets were put under the current master key; {done.current} were under it already.")


@org_app.command("create")
def org_create(
    name: Annotated[str, typer.Option(help="The organisation's name.")],
    timezone: Annotated[str, typer.Option(help="An IANA time zone such as America/Sao_Paulo: where its days begin.")],
    email: Annotated[str, typer.Option(help="The first owner's e-mail address.")],
    owner_name: Annotated[str, typer.Option(help="The first owner's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Create an organisation, its keys, its chain and its first owner. The tokens are shown once, here."""
    with _django("control"):
        from codespar.audit import chain
        from codespar.identity import actions
        from codespar.lib import clock, ids
        from codespar.vault import keys

        request = f"req_{uuid.uuid4().hex}"
        made = actions.create_organisation(
            name=name, timezone=timezone, email=email, owner_name=owner_name, request_id=request, now=clock.now()
        )
        jwk = next(key["jwk"] for key in keys.public_keys(made.id) if key["kid"] == made.ledger_kid)
        shown = {
            "organisation": ids.wire("org", made.id),
            "owner": ids.wire("mem", made.owner),
            "test_token": made.test_token,
            "live_token": made.live_token,
            "pin": f"{ids.wire('org', made.id)}={chain.fingerprint(chain.public_key(jwk))}",
        }
    _show(shown, as_json=as_json)
    if not as_json:
        _err.print("The tokens are not shown again. Keep the pin apart from this database: `codespar verify --pin` trusts nothing else.")


@member_app.command("login")
def member_login(
    token_file: Annotated[Path, typer.Option(help="The file with an owner's access token, and nothing else; /dev/stdin reads a pipe.")],
    member: Annotated[str | None, typer.Option(help="Whose log-in (mem_…); the token's own member otherwise.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Give a member a new console log-in; the one before ends. Password and authenticator are shown once, here."""
    with _django("control"):
        from codespar.identity import actions, principals, totp
        from codespar.identity.models import Member
        from codespar.lib import clock, db, ids

        bearer = token_file.read_text(encoding="utf-8", errors="replace").strip()
        owner = principals.authenticate(bearer, request_id=ids.wire("req", ids.new()))
        wanted = ids.parse(member, "mem") if member else owner.member
        with db.tenant(owner.org):
            found = Member.objects.for_org(owner.org).filter(id=wanted, closed_at=None).first()
        if found is None:
            _fail("There is no such open member in the token's organisation: name one with --member mem_….")
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        secret = actions.set_login(owner, member=found.id, password=password, now=clock.now())
        shown = {
            "member": ids.wire("mem", found.id),
            "e-mail": found.email,
            "password": password,
            "otpauth": totp.uri(secret, email=found.email),
        }
    _show(shown, as_json=as_json)
    if not as_json:
        _err.print("Password and authenticator are not shown again. An authenticator takes the otpauth line as a QR code.")


def main() -> None:
    """The entry point. A refusal of Django's settings or of a command ends in one sentence, not in a traceback."""
    app()


@contextmanager
def _django(*roles: str) -> Iterator[Any]:
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
        _fail(f"This command runs with CODESPAR_ROLE={' or '.join(roles)}; this is {config.role}.")
    from django.db import DatabaseError, connection

    from codespar.audit import invariants
    from codespar.lib.db import Refused
    from codespar.lib.errors import CodesparError

    try:
        yield config
    except Refused as error:
        # The database's own words never leave: the promise that its rule keeps says it better.
        promise = next((rule.promise for (_, name), rule in invariants.RULES.items() if name == error.rule), "")
        _fail(f"The database refused this (rule {error.rule}). {promise}".strip())
    except CodesparError as error:
        _fail(error.detail)
    except (OSError, DatabaseError) as error:
        _fail(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
    finally:
        connection.close()
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def _show(found: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for label, value in found.items():
        print(f"{label.replace('_', ' '):<14}{value}")


def _fail(sentence: str) -> NoReturn:
    _err.print(f"[red]codespar:[/red] {escape(sentence)}")
    raise typer.Exit(NO_ANSWER)


def _org(text: str) -> uuid.UUID:
    from codespar.lib import ids
    from codespar.lib.errors import Invalid

    try:
        return ids.parse(text, "org")
    except Invalid:
        _fail(f"{text!r} is not an organisation's id: it looks like org_ and 32 lowercase hex digits.")


def _pins(listed: list[str], file: Path | None) -> dict[uuid.UUID, str]:
    """Pins of the command line and of the file. One organisation with two different pins is an error."""
    found: list[tuple[str, str]] = []
    if file is not None:
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            found += [(org, str(pin)) for org, pin in read.items()]
        except (OSError, ValueError, AttributeError):
            _fail(f"{file} is not a JSON file of the form {{org_…: sha256:…}}.")
    for text in listed:
        org, _, pin = text.partition("=")
        found.append((org, pin))
    pins: dict[uuid.UUID, str] = {}
    for org, pin in found:
        digits = pin.removeprefix("sha256:")
        if digits == pin or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
            _fail(f"The pin of {org} is not sha256: and 64 lowercase hex digits.")
        if pins.setdefault(_org(org), pin) != pin:
            _fail(f"{org} is pinned to two different keys.")
    return pins


def _worst(statuses: list[str]) -> str:
    return next(status for status in ("tampered", "unavailable", "untrusted", "verified") if status in statuses)


def _print_report(report: "Report") -> None:
    from codespar.lib import ids

    colour = {"verified": "green", "tampered": "red"}.get(report.status, "yellow")
    _out.print(f"[bold]{ids.wire('org', report.org)}[/bold] [{colour}]{report.status}[/{colour}]")
    head = report.chain.head
    _out.print(f"  entries      {report.chain.count}")
    _out.print(f"  head         {'none' if head is None else f'{head.seq} {head.hash}'}")
    seals = report.seals
    covers = f"{seals.outside} outside the database, the largest of {seals.outside_size} entries"
    _out.print(f"  checkpoints  {covers if seals.outside else 'none outside the database yet'}; {seals.inside} in the database")
    _out.print(f"  books        {'checked' if report.books_checked else 'not checked: the chain comes first'}")
    if report.status == "untrusted" and not report.problems:
        _out.print("  Nothing is wrong, but nothing says whose chain this is: give the pin of the organisation's first key (--pin).")
    if report.first_bad is not None:
        _out.print(f"  first bad    {report.first_bad}")
    for problem in report.problems:
        _out.print(f"  [{colour}]{'-' if problem.seq is None else problem.seq:>10}[/{colour}]  {problem.code}: {escape(problem.detail)}")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} entries/s")


def _progress(*, quiet: bool) -> Progress:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), _Rate())
    return Progress(*columns, console=_err, transient=True, disable=quiet or not sys.stderr.isatty())
