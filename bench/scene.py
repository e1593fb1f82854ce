"""Organisations that are ready to pay: made through the people's API as any customer's are, but for the money, which SQL puts there."""

import base64
import json
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec

from bench.machine import Machine
from codespar.demo.client import Api
from codespar.launcher.cluster import PROJECT
from codespar.lib import sdjwt

# More than any run can pay.
MONEY = 10**15
POLICY = {
    "rules": [
        {"id": "pay-registered", "effect": "allow"},
        {"id": "no-embargoed-countries", "effect": "deny", "when": {"countries": ["KP", "IR"]}},
        {"id": "one-payment", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 5_000_00},
        {"id": "a-day", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": MONEY, "per": ["agent"]},
        {"id": "large", "effect": "approval", "when": {"amount_over": {"amount": 2_000_00, "currency": "BRL"}}},
    ]
}


@dataclass(frozen=True, slots=True)
class Payer:
    """An organisation with one agent that pays one counterparty under one mandate."""

    org: str
    token: str
    body: dict[str, Any]
    # Its owner's token, and the ids of its agent and project.
    owner: str
    ids: dict[str, str]

    @property
    def id(self) -> UUID:
        return UUID(hex=self.org.rpartition("_")[2])


def payers(machine: Machine, count: int) -> list[Payer]:
    """So many fresh organisations, each of which has settled its first payment: the one that the floor copies."""
    owners = _organisations(machine, count)
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(lambda owner: _payer(machine, *owner), owners))
    with machine.connect() as connection:
        connection.execute("UPDATE accounts SET available = %s WHERE kind = 'wallet'", [MONEY])
        for payer in found:
            made = Api(machine.info.base_url, payer.token).post("/v1/payments", payer.body)
            if made["status"] != "settled":
                raise RuntimeError(f"The first payment of {payer.org} is {made['status']}, not settled.")
            connection.execute("SELECT bench.learn(%s, %s)", [payer.id, UUID(hex=made["id"].rpartition("_")[2])])
    return found


def _organisations(machine: Machine, count: int) -> list[tuple[str, str]]:
    """(organisation, its owner's token) of each."""
    command = [sys.executable, "-m", "bench.organisations", str(count)]
    made = subprocess.run(command, env=os.environ | machine.info.env("control"), cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    return [(org, token) for org, token in json.loads(made.stdout)]


def _payer(machine: Machine, org: str, token: str) -> Payer:
    owner = Api(machine.info.console_url, token)
    later = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    project = owner.post("/v1/projects", {"name": "bench"})["id"]
    jwk = sdjwt.public_jwk(ec.generate_private_key(ec.SECP256R1()))
    agent = owner.post("/v1/agents", {"project": project, "name": "agent", "public_jwk": jwk})["id"]
    secret = owner.post("/v1/tokens", {"holder": agent, "name": "agent", "expires_at": later})["token"]
    webhook = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    account = {"account": f"acct-{secrets.token_hex(6)}", "api_key": secrets.token_urlsafe(24), "webhook_secret": webhook}
    owner.post("/v1/rail-accounts", {"rail": "sandbox", **account})
    owner.post("/v1/wallets", {"agent": agent, "currency": "BRL"})
    payee = {"name": "Payee", "country": "BR", "category": "hosting", "accounts": [{"type": "pix_key", "value": "pay@payee.example"}]}
    counterparty = owner.post("/v1/counterparties", payee)["id"]
    policy = owner.post("/v1/policies", {"name": "Everybody", "scope": "org", "document": POLICY})["id"]
    owner.post(f"/v1/policies/{policy}/activate", {"version": 1})
    terms = {"agent": agent, "profile": "extended", "currency": "BRL", "max_amount": 10_000_00, "budget": MONEY, "expires_at": later}
    lists = {"purposes": ["hosting"], "counterparties": [counterparty], "countries": ["BR"], "rails": ["sandbox"]}
    mandate = owner.post("/v1/mandates", terms | lists)["id"]
    amount = {"amount": 1234, "currency": "BRL"}
    body = {"mandate": mandate, "counterparty": counterparty, "amount": amount, "purpose": "hosting"}
    return Payer(org, secret, body, token, {"agent": agent, "project": project})
