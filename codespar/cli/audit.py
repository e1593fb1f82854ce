"""What an auditor does: verify, and read the rules."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.markup import escape

from codespar.cli import running

if TYPE_CHECKING:
    from codespar.audit.offline import Report as FileReport
    from codespar.audit.verify import Report

VERIFIED, TAMPERED, REANCHORED = 0, 1, 3
_OPENINGS = {"all": "of all records", "test": "of test records", "none": "left out"}


def verify(
    file: Annotated[Path | None, typer.Argument(help="An export's file: verified offline, with nothing but the pin.")] = None,
    org: Annotated[str | None, typer.Option(help="Only this organisation (org_…); all of them otherwise.")] = None,
    pin: Annotated[list[str] | None, typer.Option(help="org_…=sha256:…, the fingerprint of its first ledger key. Repeatable.")] = None,
    pins: Annotated[Path | None, typer.Option(help="A JSON file {org_…: sha256:…}.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Where checkpoints are kept outside the database; with a FILE your own.")] = None,
    deployment: Annotated[str | None, typer.Option(help="With a FILE: the deployment that it must be of.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """Verify a database's chains, checkpoints and books, or an export's FILE.

    Exit status: 0 verified, 1 tampered, 2 no answer, 3 verified but for what a confirmed setback of the database took.
    """
    if file is not None:
        _verify_file(file, _pins(pin or [], pins), deployment, checkpoints, as_json=as_json, misused=org is not None)
    if deployment is not None:
        running.fail("--deployment goes with a FILE: a database's is CODESPAR_DEPLOYMENT.")
    with running.django_for("auditor") as config:
        # Only now: these modules need the settings.
        from codespar.audit import verify as verification

        trusted = _pins(pin or [], pins)
        folder = checkpoints or config.checkpoint_dir
        if checkpoints is not None and not checkpoints.is_dir():
            running.fail(f"There is no folder {checkpoints}.")
        wanted = [running.org(org)] if org else verification.organisations(pins=trusted, checkpoint_dir=folder)
        reports = []
        with running.progress(quiet=as_json) as progress:
            task = progress.add_task("verifying", total=None)
            for one in wanted:
                tick = lambda count: progress.advance(task, count)  # noqa: E731
                reports.append(verification.verify_org(one, pins=trusted, checkpoint_dir=folder, tick=tick))
        if not reports:
            running.fail("There is no organisation in this database.")
    status = _worst([report.status for report in reports])
    if as_json:
        print(json.dumps({"status": status, "organisations": [report.as_dict() for report in reports]}, indent=2))
    else:
        for report in reports:
            _print_report(report)
    _end(status)


def invariants() -> None:
    """The live rules of the database, each beside the promise that it keeps. Exit status 1 when a promised rule is gone or off."""
    with running.django_for("auditor", "owner", "control", "rail", "agent"):
        from codespar.audit import catalog

        rules, grants = catalog.live(), catalog.grants()
    for table in sorted({rule.table for rule in rules} | {name for name in grants if "()" not in name}):
        running.out.print(f"[bold]{table}[/bold]")
        for rule in rules:
            if rule.table == table:
                off = "" if rule.enforced else " [red](switched off)[/red]"
                running.out.print(f"  {rule.kind:<12} {rule.name:<36}{off} {escape(rule.promise or rule.definition)}")
        for line in grants.get(table, []):
            running.out.print(f"  {'grant':<12} {escape(line)}")
    running.out.print("[bold]functions[/bold]")
    for name in sorted(name for name in grants if "()" in name):
        running.out.print(f"  {name:<36} {escape('; '.join(line.removesuffix(': EXECUTE') for line in grants[name]))}")
    gone = catalog.broken(rules)
    for name, lost in gone:
        running.err.print(f"[red]{name}[/red] on {lost.table} is gone or switched off. It promised: {escape(lost.promise)}")
    raise typer.Exit(1 if gone else 0)


def _verify_file(
    file: Path, pins: dict[uuid.UUID, str], deployment: str | None, folder: Path | None, *, as_json: bool, misused: bool
) -> NoReturn:
    """No settings and no database: this runs wherever the package is."""
    from codespar.audit import offline

    if misused:
        running.fail("--org goes with a database: a FILE is of one organisation.")
    if folder is not None and not folder.is_dir():
        running.fail(f"There is no folder {folder}.")
    try:
        with running.progress(quiet=as_json) as progress:
            task = progress.add_task("verifying", total=None)
            tick = lambda count: progress.advance(task, count)
            report = offline.verify_file(file, pins=pins, deployment=deployment, checkpoint_dir=folder, tick=tick)
    except OSError as error:
        running.fail(f"{type(error).__name__}: {error}")
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        _print_file(report)
    _end(report.status)


def _end(status: str) -> NoReturn:
    raise typer.Exit({"verified": VERIFIED, "tampered": TAMPERED, "reanchored": REANCHORED}.get(status, running.NO_ANSWER))


def _pins(listed: list[str], file: Path | None) -> dict[uuid.UUID, str]:
    """Pins of the command line and of the file. One organisation with two different pins is an error."""
    found: list[tuple[str, str]] = []
    if file is not None:
        try:
            read = json.loads(file.read_text(encoding="utf-8"))
            found += [(org, str(pin)) for org, pin in read.items()]
        except (OSError, ValueError, AttributeError):
            running.fail(f"{file} is not a JSON file of the form {{org_…: sha256:…}}.")
    for text in listed:
        org, equals, pin = text.partition("=")
        if not equals:
            running.fail(f"The pin {text} does not say whose it is: it is written org_…=sha256:….")
        found.append((org, pin))
    pins: dict[uuid.UUID, str] = {}
    for org, pin in found:
        digits = pin.removeprefix("sha256:")
        if digits == pin or len(digits) != 64 or set(digits) - set("0123456789abcdef"):
            running.fail(f"The pin of {org} is not sha256: and 64 lowercase hex digits.")
        if pins.setdefault(running.org(org), pin) != pin:
            running.fail(f"{org} is pinned to two different keys.")
    return pins


def _worst(statuses: list[str]) -> str:
    return next(status for status in ("tampered", "unavailable", "untrusted", "reanchored", "verified") if status in statuses)


def _print_report(report: "Report") -> None:
    from codespar.lib import ids

    _print_verdict(ids.wire("org", report.org), report.status)
    head = report.chain.head
    running.out.print(f"  entries      {report.chain.count}")
    running.out.print(f"  head         {'none' if head is None else f'{head.seq} {head.hash}'}")
    seals = report.seals
    covers = f"{seals.outside} outside the database, the largest of {seals.outside_size} entries"
    running.out.print(f"  checkpoints  {covers if seals.outside else 'none outside the database yet'}; {seals.inside} in the database")
    running.out.print(f"  books        {'checked' if report.books_checked else 'not checked: the chain comes first'}")
    _print_problems(report)


def _print_file(report: "FileReport") -> None:
    from codespar.lib import ids

    told, result = report.told, report.chain
    _print_verdict(ids.wire("org", told.org) if told else "This file", report.status)
    if told is not None and result is not None:
        running.out.print(f"  entries      {result.count}: {told.first_seq} to {told.last_seq}, of {escape(told.deployment)}")
        running.out.print(f"  head         {'none' if result.head is None else f'{result.head.seq} {result.head.hash}'}")
        running.out.print(
            f"  checkpoints  {report.inside} in the file, {report.kept} that you keep; entries up to {report.sealed} are sealed"
        )
        running.out.print(f"  openings     {told.counts['openings']}, {_OPENINGS[told.openings]}")
        running.out.print(f"  exported     {told.exported_at} by {escape(told.exported_by)}, recorded as entry {told.entry['seq']}")
        if told.first_seq > 1:
            running.out.print(f"  What stands before entry {told.first_seq} is not in the file: nothing is said about it.")
    _print_problems(report)


def _print_verdict(whose: str, status: str) -> None:
    running.out.print(f"[bold]{whose}[/bold] [{_colour(status)}]{status}[/{_colour(status)}]")


def _colour(status: str) -> str:
    return {"verified": "green", "tampered": "red"}.get(status, "yellow")


def _print_problems(report: "Report | FileReport") -> None:
    if report.status == "untrusted" and not report.problems:
        running.out.print("  Nothing is wrong, but nothing says whose chain this is: give the pin of the organisation's first key (--pin).")
    if report.first_bad is not None:
        running.out.print(f"  first bad    {report.first_bad}")
    for problem in report.problems:
        seq = "-" if problem.seq is None else problem.seq
        running.out.print(f"  [{_colour(report.status)}]{seq:>10}[/{_colour(report.status)}]  {problem.code}: {escape(problem.detail)}")
