"""What is told outside: a closed list. `events_of` (SQL) says which records tell which event, and what of it."""

# Each type, and what has happened.
TYPES: dict[str, str] = {
    "reconciliation.flagged": "the provider's records and ours do not agree: discrepancies were opened",
    "reconciliation.lagging": "the statement of a rail account was not read in full for too long",
    "reconciliation.caught_up": "it was read again",
    "rail.breaker_changed": "a circuit breaker of a rail opened, half-opened or closed",
    "rail_account.not_ready": "a rail account failed its checks: it carries nothing",
    "rail_account.ready": "a rail account passed its checks",
    "scope.stopped": "somebody stopped an agent, a mandate, a counterparty, a project, a rail or the organisation",
    "scope.lifted": "somebody ended a stop",
    "scope.revoked": "somebody revoked everything of an agent, a project or the organisation",
    "mandate.revoked": "somebody revoked a mandate",
    "payment.requires_approval": "a payment waits for a person to approve it",
    "payment.needs_human": "nobody but people can say how a payment ended",
    "payment.denied": "a payment was refused",
    "payment.settled": "a payment has arrived",
    "payment.failed": "a payment did not move, and that is proven",
    "payment.canceled": "a payment was canceled",
    "payment.expired": "a payment was not made in its time",
    "payment.reversed": "a payment came back whole",
    "payment.written_off": "two people gave a payment up",
    "refund.settled": "a refund has arrived",
    "refund.failed": "a refund did not move, and that is proven",
    "refund.needs_human": "nobody but people can say how a refund ended",
    "webhook_endpoint.disabled": "an endpoint answered that it is gone (410): nothing is sent there any more",
}
# Sent to the endpoint alone for which a person asked for it.
TEST = "webhook_endpoint.tested"
# What an endpoint is told that names no types: everything that needs a person.
USUAL = (
    "reconciliation.flagged",
    "reconciliation.lagging",
    "reconciliation.caught_up",
    "rail.breaker_changed",
    "rail_account.not_ready",
    "rail_account.ready",
    "scope.stopped",
    "scope.lifted",
    "scope.revoked",
    "mandate.revoked",
    "payment.requires_approval",
    "payment.needs_human",
    "refund.needs_human",
    "webhook_endpoint.disabled",
)


def table() -> str:
    """The types as a Markdown table."""
    rows = [f"| `{name}` | {meaning} | {'yes' if name in USUAL else ''} |" for name, meaning in TYPES.items()]
    return "| type | what happened | without `types` |\n|---|---|---|\n" + "\n".join(rows) + "\n"
