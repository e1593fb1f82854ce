"""Roles and scopes: the one matrix. `docs/access.md` and the table `role_scopes` say the same, and a test compares them."""

from collections.abc import Iterable

AGENT = "agent"

# What each scope lets its holder do.
SCOPES: dict[str, str] = {
    "payments:write": "ask for a payment, try one out (dry run)",
    "payments:cancel": "cancel a payment that has not left",
    "payments:read": "read payments",
    "payments:approve": "approve or deny a payment that waits for a person",
    "payments:refund": "refund a settled payment",
    "payments:rule": "say how a payment that needs a human ended, and confirm what somebody else said",
    "mandates:read": "read mandates",
    "mandates:write": "issue a mandate, resume a paused one",
    "mandates:pause": "pause a mandate",
    "mandates:revoke": "revoke for ever: a mandate, or all of an agent, a project, the organisation",
    "stops:read": "read stops and revocations, with their receipts",
    "stops:write": "stop an agent, a mandate, a counterparty, a project, a rail, the organisation",
    "stops:lift": "lift a stop that somebody else set",
    "counterparties:read": "read counterparties",
    "counterparties:propose": "propose a counterparty",
    "counterparties:write": "create, change, confirm and retire counterparties",
    "policies:read": "read policies",
    "policies:write": "write a policy version, activate or retire one",
    "wallets:read": "read wallets and statements",
    "wallets:write": "open a wallet for an agent",
    "wallets:fund": "move money from the main account to a wallet and back",
    "rails:read": "read what rails can do and how they are",
    "reconciliations:read": "read reconciliations",
    "discrepancies:read": "read what the provider's records and ours do not agree on",
    "discrepancies:resolve": "close a discrepancy",
    "rails:write": "connect an account at a provider, and replace its credential",
    "consents:read": "read consents of the holders of accounts",
    "consents:write": "register a consent",
    "consents:revoke": "revoke a consent, for ever",
    "consents:use": "read accounts, balances and transactions at a bank, under a consent",
    "events:read": "read events: what needs a person, and how payments end",
    "webhooks:read": "read webhook endpoints and their deliveries",
    "webhooks:write": "say where events are sent, rotate secrets, send again",
    "projects:read": "read projects",
    "projects:write": "create projects",
    "agents:read": "read agents",
    "agents:write": "create agents, and tokens for them",
    "members:read": "read members",
    "members:write": "add members, change their roles, close them, and give them tokens",
    "tokens:read": "read access tokens (never their secrets)",
    "tokens:write": "create, rotate and revoke access tokens",
    "ledger:read": "read the ledger",
    "ledger:export": "take a signed copy of the ledger, with the texts that its records commit to",
}

_READ = {scope for scope in SCOPES if scope.endswith(":read")}

ROLES: dict[str, frozenset[str]] = {
    AGENT: frozenset(
        [
            "payments:write",
            "payments:cancel",
            "payments:read",
            "rails:read",
            "consents:read",
            "consents:use",
            "mandates:read",
            "counterparties:read",
            "counterparties:propose",
            "wallets:read",
        ]
    ),
    "owner": frozenset(SCOPES) - {"payments:write", "counterparties:propose"},
    "finance": frozenset(
        _READ
        | {
            "payments:approve",
            "payments:refund",
            "payments:rule",
            "discrepancies:resolve",
            "consents:write",
            "consents:revoke",
            "consents:use",
            "counterparties:write",
            "policies:write",
            "wallets:write",
            "wallets:fund",
            "mandates:write",
            "mandates:pause",
            "mandates:revoke",
            "stops:write",
            "stops:lift",
            "tokens:write",
            "ledger:export",
        }
    ),
    "operator": frozenset(
        _READ
        | {
            "payments:cancel",
            "consents:revoke",
            "mandates:write",
            "mandates:pause",
            "mandates:revoke",
            "stops:write",
            "stops:lift",
            "wallets:write",
            "rails:write",
            "webhooks:write",
            "projects:write",
            "agents:write",
            "tokens:write",
        }
    ),
    "oncall": frozenset(_READ | {"payments:cancel", "consents:revoke", "mandates:pause", "mandates:revoke", "stops:write", "tokens:write"}),
    "auditor": frozenset(_READ | {"tokens:write", "ledger:export"}),
}
MEMBER_ROLES = tuple(role for role in ROLES if role != AGENT)


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Every scope that one of `roles` has."""
    return frozenset().union(*(ROLES[role] for role in roles))


def matrix() -> str:
    """The matrix as a Markdown table, one row a scope."""
    roles = list(ROLES)
    lines = ["| scope | lets its holder | " + " | ".join(roles) + " |", "|---|---|" + "---|" * len(roles)]
    for scope, meaning in SCOPES.items():
        marks = ["yes" if scope in ROLES[role] else "" for role in roles]
        lines.append(f"| `{scope}` | {meaning} | " + " | ".join(marks) + " |")
    return "\n".join(lines) + "\n"
