"""`codespar`: what an operator or an auditor does by hand. Every failure is one sentence, and an exit status that says whose turn it is."""

import typer

from codespar.cli import audit, export, identity, stops, vault

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
org_app = typer.Typer(help="Organisations: the tenants of this deployment.", no_args_is_help=True)
member_app = typer.Typer(help="Members: the people of an organisation.", no_args_is_help=True)
app.add_typer(org_app, name="org")
app.add_typer(member_app, name="member")

app.command()(audit.verify)
app.command()(audit.invariants)
app.command()(export.export)
app.command()(vault.rewrap)
app.command()(stops.stop)
app.command("revoke-all")(stops.revoke_all)
app.command()(stops.lift)
app.command()(stops.platform)
app.command()(stops.reanchor)
org_app.command("create")(identity.org_create)
member_app.command("login")(identity.member_login)


def main() -> None:
    """The entry point. A refusal of Django's settings or of a command ends in one sentence, not in a traceback."""
    app()
