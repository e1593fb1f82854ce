"""The states of a payment, named by whose turn it is, and every step between them. SQL's table says the same; a test compares."""

TRANSITIONS: dict[str, frozenset[str]] = {
    "new": frozenset({"authorized", "denied", "requires_approval", "scheduled"}),
    # Nobody's turn before its time: nothing is held, and it is decided again then.
    "scheduled": frozenset({"authorized", "denied", "requires_approval", "canceled", "expired"}),
    # A person's turn: nothing is held while it waits, and it is decided again when the person has spoken.
    "requires_approval": frozenset({"authorized", "denied", "canceled", "expired"}),
    # Ours: the money is held, nothing has left.
    "authorized": frozenset({"submitted", "canceled", "expired"}),
    # The rail's: a durable attempt exists.
    "submitted": frozenset({"settled", "failed", "canceled", "uncertain", "needs_human"}),
    # The rail's, by query only: never sent again.
    "uncertain": frozenset({"settled", "failed", "canceled", "needs_human"}),
    "settled": frozenset({"reversing", "needs_human"}),
    "reversing": frozenset({"reversed", "settled", "needs_human"}),
    "needs_human": frozenset({"settled", "failed", "written_off"}),
    # A settlement that arrives after the release is a case for a person.
    "failed": frozenset({"needs_human"}),
    "canceled": frozenset({"needs_human"}),
    "expired": frozenset({"needs_human"}),
    "denied": frozenset(),
    "reversed": frozenset(),
    "written_off": frozenset(),
}


def diagram() -> str:
    """The machine as a Mermaid diagram, for the documents."""
    lines = ["stateDiagram-v2"]
    for state, successors in TRANSITIONS.items():
        lines += [f"    {'[*]' if state == 'new' else state} --> {successor}" for successor in sorted(successors)]
    return "\n".join(lines) + "\n"
