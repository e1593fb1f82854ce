"""Documents that are made from the code: written by `--write`, compared by `make check`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from codespar.alerts import events
from codespar.identity import access
from codespar.rest import problem
from rails import states
from rails.adapters import ADAPTERS
from rails.adapters.base import Capabilities

ROOT = Path(__file__).resolve().parents[2]


def access_page() -> str:
    return (
        "# Who may do what\n\n"
        "Made from `codespar/identity/access.py`. A member's token can do what its scopes and the member's roles both allow, at\n"
        "the moment of the call; an agent's token what its scopes and the column `agent` allow.\n\n" + access.matrix()
    )


def problems_page() -> str:
    rows = [f"| `{code}` | {status} | {title} |" for code, (status, title) in sorted(problem.PROBLEMS.items())]
    return (
        "# Problems\n\n"
        "Made from `codespar/rest/problem.py`. Every error is `application/problem+json` (RFC 9457) with `type title status detail\n"
        "instance` and `code request_id retryable errors[] reasons[]`. Act on `code`; `detail` is for people. A denial (403 with a\n"
        "`payment`) is a stored payment: its decision and its record are inside.\n\n"
        "| code | status | title |\n|---|--:|---|\n" + "\n".join(rows) + "\n"
    )


def states_page() -> str:
    return (
        "# The states of a payment\n\n"
        "Made from `rails/states.py`; the table `payment_transition_rules` says the same. Each step is a row of\n"
        "`payment_transitions` and a part of a ledger record.\n\n```mermaid\n" + states.diagram() + "```\n"
    )


def rails_page() -> str:
    return "# Rails\n\nMade from the adapters' own declarations (`rails/adapters`).\n" + "".join(
        _rail_section(name, adapter.capabilities) for name, adapter in sorted(ADAPTERS.items())
    )


def _rail_section(name: str, found: Capabilities) -> str:
    limits = {
        "pays to": ", ".join(f"`{kind}`" for kind in found.account_types),
        "currencies": "any" if found.currencies is None else ", ".join(found.currencies),
        "needs to connect": ", ".join(f"`{secret}`" for secret in found.secrets),
        **({"takes besides": ", ".join(f"`{secret}`" for secret in found.optional)} if found.optional else {}),
        "authorise and capture": found.captures,
        "void": found.can_void,
        "refund": found.can_refund,
        "partial refund": found.partial_refund,
        "query by our key": found.query_by_key,
        "repeats under our key": found.key_repeats,
        "key lifetime (s)": "for ever" if found.key_lifetime_seconds is None else found.key_lifetime_seconds,
        "acceptance window (s)": found.acceptance_window_seconds,
        "settlement (s)": found.settlement_seconds,
        "usual cost": f"{found.cost.fixed} minor units + {found.cost.basis_points / 100:.2f} %",
    }
    said = {True: "yes", False: "no"}
    plan = []
    for step in found.rollback:
        within, certain = "any time" if step.within_seconds is None else step.within_seconds, said[step.certain]
        plan.append(f"| {step.state} | {step.action} | {step.how} | {within} | {certain} |")
    return (
        f"\n## {name}\n\n| what | |\n|---|---|\n"
        + "\n".join(f"| {what} | {said.get(value, value) if isinstance(value, bool) else value} |" for what, value in limits.items())
        + "\n\nThe way back:\n\n| state | action | how | within (s) | certain |\n|---|---|---|---|---|\n"
        + "\n".join(plan)
        + "\n"
    )


def events_page() -> str:
    return (
        "# Events\n\n"
        "Made from `codespar/alerts/events.py`. What `GET /v1/events` lists and webhook endpoints are told of ([alerts.md](alerts.md)).\n"
        "One that names no `types` is told of those that need a person.\n\n" + events.table()
    )


def openapi(service: str) -> str:
    """The contract of one service. Which addresses there are is settled when Django starts, so each has a process of its own."""
    program = "import django, json; django.setup(); from codespar.public import document; print(json.dumps(document()))"
    env = os.environ | {"CODESPAR_SERVICE": service, "DJANGO_SETTINGS_MODULE": "codespar.checks.settings"}
    made = subprocess.run([sys.executable, "-c", program], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode or "Warning" in made.stderr or "Error" in made.stderr:
        raise SystemExit(f"The OpenAPI document of {service} has faults:\n{made.stderr}")
    return json.dumps(json.loads(made.stdout), indent=1, sort_keys=True) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "docs/access.md": access_page,
    "docs/problems.md": problems_page,
    "docs/states.md": states_page,
    "docs/rails.md": rails_page,
    "docs/events.md": events_page,
    "docs/openapi.api.json": lambda: openapi("api"),
    "docs/openapi.console.json": lambda: openapi("console"),
}


def write() -> None:
    """Write every page."""
    for name, make in PAGES.items():
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(make(), encoding="utf-8")


def drifted() -> list[str]:
    """Pages that no longer say what the code says."""
    return [name for name, make in PAGES.items() if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != make()]
