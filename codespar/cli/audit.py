"""What an auditor does: verify, and read the rules."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from codespar.cli import running

if TYPE_CHECKING:
    from codespar.audit.verify import Report

VERIFIED, TAMPERED, REANCHORED = 0, 1, 3


def verify(
    org: Annotated[str | None, typer.Option(help="Only this organisation (org_…); all of them otherwise.")] = None,
    pin: Annotated[list[str] | None, typer.Option(help="org_…=sha256:…, the fingerprint of its first ledger key. Repeatable.")] = None,
    pins: Annotated[Path | None, typer.Option(help="A JSON file {org_…: sha256:…}.")] = None,
    checkpoints: Annotated[Path | None, typer.Option(help="Where checkpoints are kept outside the database.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the reports as JSON.")] = False,
) -> None:
    """Verify chains, checkpoints and books. Exit status: 0 verified, 1 tampered, 2 untrusted, unavailable or misused, 3 set back once."""
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
    raise typer.Exit({"verified": VERIFIED, "tampered": TAMPERED, "reanchored": REANCHORED}.get(status, running.NO_ANSWER))


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
        org, _, pin = text.partition("=")
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

    colour = {"verified": "green", "tampered": "red"}.get(report.status, "yellow")
    running.out.print(f"[bold]{ids.wire('org', report.org)}[/bold] [{colour}]{report.status}[/{colour}]")
    head = report.chain.head
    running.out.print(f"  entries      {report.chain.count}")
    running.out.print(f"  head         {'none' if head is None else f'{head.seq} {head.hash}'}")
    seals = report.seals
    covers = f"{seals.outside} outside the database, the largest of {seals.outside_size} entries"
    running.out.print(f"  checkpoints  {covers if seals.outside else 'none outside the database yet'}; {seals.inside} in the database")
    running.out.print(f"  books        {'checked' if report.books_checked else 'not checked: the chain comes first'}")
    if report.status == "untrusted" and not report.problems:
        running.out.print("  Nothing is wrong, but nothing says whose chain this is: give the pin of the organisation's first key (--pin).")
    if report.first_bad is not None:
        running.out.print(f"  first bad    {report.first_bad}")
    for problem in report.problems:
        seq = "-" if problem.seq is None else problem.seq
        running.out.print(f"  [{colour}]{seq:>10}[/{colour}]  {problem.code}: {escape(problem.detail)}")
