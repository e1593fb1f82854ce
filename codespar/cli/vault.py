"""The sealed secrets."""

from codespar.cli import running


def rewrap() -> None:
    """Put sealed secrets under the current master key. Run it as control and as rail; then the old key's line can go."""
    with running.django_for("control", "rail") as config:
        from codespar.vault import actions

        done = actions.rewrap(role=config.role)
    running.out.print(f"{done.done} secrets were put under the current master key; {done.current} were under it already.")
