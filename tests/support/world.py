"""One organisation of a test's own, made through the real API, and everything that the tests do to it."""

import base64
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import psycopg
import redis
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg.rows import dict_row

from codespar.demo.client import Api
from codespar.launcher.stack import StackInfo
from codespar.lib import canonical, clock, ids, sdjwt

BRL = "BRL"
# No limit that a test does not set: tests that are about limits write their own policy.
OPEN_POLICY = {
    "rules": [
        {"id": "all", "effect": "allow"},
        {"id": "cap", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 10**12},
    ]
}


def later(**delta: float) -> str:
    """A time from now on, as the API takes it."""
    return (datetime.now(UTC) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def key() -> str:
    """A fresh idempotency key."""
    return f"test-{secrets.token_hex(12)}"


def raw_id(wire: str) -> UUID:
    """The UUID inside a wire id."""
    return UUID(hex=wire.rpartition("_")[2])


@dataclass
class World:
    """An organisation with owner, project, agent, provider account, money, counterparty, open policy, mandate."""

    info: StackInfo
    org: str
    tokens: dict[str, str]
    pin: str = ""
    project: str = ""
    agent: str = ""
    agent_key: Any = None
    wallet: str = ""
    counterparty: str = ""
    policy: str = ""
    mandate: str = ""
    account: str = ""
    webhook_secret: str = ""
    api_key: str = ""
    clients: dict[str, Api] = field(default_factory=dict)

    # Callers

    def people(self, role: str = "owner") -> Api:
        """The console, as a member of that role (owner, operator, finance, oncall, auditor)."""
        if role not in self.tokens:
            member = self.people().post("/v1/members", {"email": f"{role}@x.example", "name": role, "roles": [role]})["id"]
            made = self.people().post("/v1/tokens", {"holder": member, "name": role, "expires_at": later(days=1)})
            self.tokens[role] = made["token"]
        return self.clients.setdefault(role, Api(self.info.console_url, self.tokens[role]))

    @property
    def api(self) -> Api:
        """The agents' service, as the agent."""
        return self.clients.setdefault("agent", Api(self.info.base_url, self.tokens["agent"]))

    # The payment path

    def body(self, amount: int = 1000, **changes: Any) -> dict[str, Any]:
        """The body of a payment that is allowed, with changes."""
        money = {"amount": amount, "currency": BRL}
        return {"mandate": self.mandate, "amount": money, "counterparty": self.counterparty, "purpose": "hosting"} | changes

    def pay(self, amount: int = 1000, idempotency_key: str | None = None, **changes: Any) -> httpx2.Response:
        """Ask for a payment and take whatever comes."""
        return self.api.send("/v1/payments", self.body(amount, **changes), idempotency_key)

    def payment(self, payment: str) -> dict[str, Any]:
        return self.api.get(f"/v1/payments/{payment}")

    def settled(
        self, payment: str, seconds: float = 30, among: tuple[str, ...] = ("authorized", "submitted", "uncertain")
    ) -> dict[str, Any]:
        """The payment once it has left the states in `among`."""
        until = time.monotonic() + seconds
        while (found := self.payment(payment))["status"] in among:
            assert time.monotonic() < until, f"still {found['status']} after {seconds} s"
            time.sleep(0.1)
        return found

    # What people do

    def new_mandate(self, **changes: Any) -> str:
        """A mandate that allows what `body` asks for, with changes; None takes a member away."""
        asked = {"agent": self.agent, "currency": BRL, "max_amount": 10**9, "expires_at": later(days=1)} | changes
        made = self.people().post("/v1/mandates", {name: value for name, value in asked.items() if value is not None})
        return str(made["id"])

    def stop(self, scope: str, id: str | None = None, role: str = "oncall", reason: str = "a test") -> dict[str, Any]:
        """Stop something, as somebody of that role."""
        return self.people(role).post("/v1/stops", {"scope": scope, "reason": reason} | ({"id": id} if id else {}))

    def lift(self, stop: dict[str, Any], role: str = "operator") -> dict[str, Any]:
        """End a stop, as somebody else."""
        return self.people(role).delete(f"/v1/stops/{stop['id']}", reason="a test is over")

    def new_counterparty(self, **changes: Any) -> str:
        asked = {
            "name": f"Payee {secrets.token_hex(3)}",
            "country": "BR",
            "category": "hosting",
            "accounts": [{"type": "pix_key", "value": f"{secrets.token_hex(4)}@payee.example"}],
        } | changes
        return str(self.people().post("/v1/counterparties", {k: v for k, v in asked.items() if v is not None})["id"])

    def connect(self, rail: str) -> str:
        """An account of another protocol of the bank's, with money, connected: the provider's name for it."""
        secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        opened = {"account": f"{rail}-{self.account}", "api_key": secrets.token_urlsafe(24), "webhook_secret": secret}
        shape = {"balance": 100_000, "api": rail, "webhook_url": f"{self.info.console_url}/webhooks/{rail}/test/{self.org}"}
        httpx2.post(f"{self.info.sandbox_url}/_control/accounts", json=opened | shape, timeout=10).raise_for_status()
        self.people().post("/v1/rail-accounts", {"rail": rail, **opened})
        return str(opened["account"])

    def set_policy(self, *rules: dict[str, Any], **extra: Any) -> None:
        """Put a new version of the organisation's policy into force."""
        made = self.people().post(f"/v1/policies/{self.policy}/versions", {"document": {"rules": list(rules), **extra}})
        self.people().post(f"/v1/policies/{self.policy}/activate", {"version": len(made["versions"])})

    def new_agent(self) -> tuple[str, str, Api]:
        """Another agent of the project with a wallet of nothing: (agent, wallet, client)."""
        jwk = sdjwt.public_jwk(ec.generate_private_key(ec.SECP256R1()))
        agent = self.people().post("/v1/agents", {"project": self.project, "name": secrets.token_hex(4), "public_jwk": jwk})["id"]
        token = self.people().post("/v1/tokens", {"holder": agent, "name": "agent", "expires_at": later(days=1)})["token"]
        wallet = self.people().post("/v1/wallets", {"agent": agent, "currency": BRL})["id"]
        return agent, wallet, Api(self.info.base_url, token)

    def fund(self, amount: int, wallet: str | None = None) -> None:
        self.people().post(f"/v1/wallets/{wallet or self.wallet}/fund", {"amount": {"amount": amount, "currency": BRL}})

    def balance(self, wallet: str | None = None) -> tuple[int, int]:
        """(available, held)."""
        found = self.people().get(f"/v1/wallets/{wallet or self.wallet}")
        return found["available"]["amount"], found["held"]["amount"]

    def main_balance(self) -> int:
        accounts = self.people().get("/v1/wallets?limit=100")["data"]
        return int(next((a["available"]["amount"] for a in accounts if a["kind"] == "main"), 0))

    def mandate_key(self) -> tuple[str, ec.EllipticCurvePrivateKey]:
        """The organisation's own mandate key, as only the engine can open it."""
        from codespar.vault import keys

        return keys.mandate_key(raw_id(self.org))

    # The provider

    def fault(self, fault: str, count: int = 1, **extra: Any) -> None:
        """Make the provider misbehave. Faults are the whole provider's: tests that use them do not share it in parallel."""
        answer = httpx2.post(f"{self.info.sandbox_url}/_control", json={"fault": fault, "count": count, **extra}, timeout=10)
        answer.raise_for_status()

    def provider_payments(self) -> list[dict[str, Any]]:
        """What the provider has booked for this organisation's account."""
        booked = httpx2.get(f"{self.info.sandbox_url}/_ledger", timeout=10).json()["payments"]
        return [payment for payment in booked if payment["account"] == self.account]

    def deposit(self, amount: int) -> None:
        """Money arrives at the provider; returns once it stands on the main account."""
        before = self.main_balance()
        body = {"account": self.account, "amount": amount, "currency": BRL, "payer": "someone", "reference": secrets.token_hex(6)}
        httpx2.post(f"{self.info.sandbox_url}/_control/deposits", json=body, timeout=10).raise_for_status()
        until = time.monotonic() + 40
        while self.main_balance() < before + amount:
            assert time.monotonic() < until, "the deposit was not confirmed"
            time.sleep(0.1)

    # The database

    @contextmanager
    def db(self, role: str = "auditor", *, tenant: bool = True) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """A raw autocommit connection as a role (agent, control, rail, auditor, owner, super) that sees this organisation."""
        with self._connect(role) as connection:
            if tenant:
                connection.execute("SELECT set_config('codespar.org', %s, false)", [str(raw_id(self.org))])
            yield connection

    def _connect(self, role: str) -> psycopg.Connection[dict[str, Any]]:
        if role == "super":
            connection = self.info.cluster.postgres.connect(self.info.database, row_factory=dict_row)
            connection.execute("SET search_path = codespar, public")
            return connection
        return psycopg.connect(self.info.dsn(role), autocommit=True, row_factory=dict_row)

    def rows(self, query: str, *parameters: Any, role: str = "auditor") -> list[dict[str, Any]]:
        with self.db(role) as connection:
            return connection.execute(query, parameters or None).fetchall()

    def entries(self) -> list[dict[str, Any]]:
        """The whole chain, read over the API."""
        found: list[dict[str, Any]] = []
        path: str | None = "/v1/ledger/entries?limit=100"
        while path:
            page = self.people().get(path)
            found += page["data"]
            path = page["next_page_url"]
        return found


def make(info: StackInfo, *, money: int = 1_000_000, wallet: int = 500_000) -> World:
    """A new organisation, ready to pay: `money` minor units on main, of which `wallet` go to the agent's wallet."""
    _close_breakers(info)
    org, test_token, live_token = _organisation(info)
    world = World(info, org, {"owner": test_token, "owner_live": live_token})
    owner = world.people()
    world.project = owner.post("/v1/projects", {"name": "test"})["id"]
    world.agent_key = ec.generate_private_key(ec.SECP256R1())
    jwk = sdjwt.public_jwk(world.agent_key)
    world.agent = owner.post("/v1/agents", {"project": world.project, "name": "agent", "public_jwk": jwk})["id"]
    world.tokens["agent"] = owner.post("/v1/tokens", {"holder": world.agent, "name": "agent", "expires_at": later(days=1)})["token"]
    _open_account(world)
    world.wallet = owner.post("/v1/wallets", {"agent": world.agent, "currency": BRL})["id"]
    if money:
        world.deposit(money)
        world.fund(wallet)
    world.counterparty = world.new_counterparty()
    world.policy = owner.post("/v1/policies", {"name": "org", "scope": "org", "document": OPEN_POLICY})["id"]
    owner.post(f"/v1/policies/{world.policy}/activate", {"version": 1})
    world.mandate = world.new_mandate()
    world.pin = _pin(world)
    return world


def _organisation(info: StackInfo) -> tuple[str, str, str]:
    """(org, test token, live token), made by this process on its own stack, and by the command line on any other."""
    if os.environ.get("CODESPAR_DATABASE_URL") != info.env("control")["CODESPAR_DATABASE_URL"]:
        person = ["--name", "Test", "--timezone", "America/Sao_Paulo", "--email", "owner@x.example", "--owner-name", "Owner", "--json"]
        command = [sys.executable, "-m", "codespar", "org", "create", *person]
        found = json.loads(subprocess.run(command, env=info.env("control"), capture_output=True, check=True).stdout)
        return found["organisation"], found["test_token"], found["live_token"]
    from codespar.identity import actions

    made = actions.create_organisation(
        name="Test",
        timezone="America/Sao_Paulo",
        email="owner@x.example",
        owner_name="Owner",
        request_id=ids.wire("req", ids.new()),
        now=clock.now(),
    )
    return ids.wire("org", made.id), made.test_token, made.live_token


def _close_breakers(info: StackInfo) -> None:
    """Whatever lies were told to others before: the rails are well."""
    with redis.Redis.from_url(info.env("rail")["CODESPAR_REDIS_URL"], protocol=2) as queue:
        for name in map(bytes.decode, queue.scan_iter("codespar:breaker:*", count=1000)):
            if name.endswith(":state"):
                # A state that is not there would count as open.
                queue.set(name, "closed")
            else:
                queue.delete(name)


def _open_account(world: World) -> None:
    world.account, world.api_key = f"acct-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    world.webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    opened = {
        "account": world.account,
        "api_key": world.api_key,
        "balance": 0,
        "webhook_url": f"{world.info.console_url}/webhooks/sandbox/test/{world.org}",
        "webhook_secret": world.webhook_secret,
    }
    httpx2.post(f"{world.info.sandbox_url}/_control/accounts", json=opened, timeout=10).raise_for_status()
    body = {"rail": "sandbox", "account": world.account, "api_key": world.api_key, "webhook_secret": world.webhook_secret}
    world.people().post("/v1/rail-accounts", body)


def _pin(world: World) -> str:
    keys = httpx2.get(f"{world.info.base_url}/.well-known/jwks.json?org={world.org}", timeout=10).json()["keys"]
    first = next(found for found in keys if found["kty"] == "OKP")
    return "sha256:" + canonical.sha256(sdjwt.decode(first["x"])).hex()
