"""Every operation of the contract, one organisation with an object of every kind, and a body for every operation that takes one."""

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec

from codespar.launcher.stack import StackInfo
from codespar.lib import sdjwt
from tests.support import consenting, reconciling
from tests.support import world as worlds
from tests.support.world import BRL, World, key, later

Json = dict[str, Any]
ENDPOINT = {"url": "https://hooks.invalid/in", "types": ["scope.lifted"]}
DOCS = Path(__file__).resolve().parents[2] / "docs"
SERVICES = ("api", "console")
# Needs a rail that sells things: tests/rails/test_x402_engine.py holds its good answer to the contract.
SELLS = "payments_resource"
# The type of the id that each parameter of a path takes.
PREFIXES = {
    "account": "key",
    "agent": "agt",
    "consent": "cns",
    "counterparty": "ctp",
    "discrepancy": "dsc",
    "endpoint": "whe",
    "entry": "ent",
    "mandate": "mnd",
    "member": "mem",
    "payment": "pay",
    "policy": "pol",
    "project": "prj",
    "revocation": "rev",
    "ruling": "rul",
    "stop": "stp",
    "token": "tok",
    "wallet": "wal",
}


@dataclass(frozen=True)
class Operation:
    """One method on one address of one service, as the contract says it."""

    service: str
    method: str
    path: str
    id: str
    public: bool
    takes_body: bool
    lists: bool
    # Query parameters that it cannot do without.
    asked: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.service}:{self.id}"

    @property
    def parameter(self) -> str | None:
        found = re.search(r"{(\w+)}", self.path)
        return found[1] if found else None

    def at(self, ids: dict[str, str]) -> str:
        """Its address with these ids in it."""
        return re.sub(r"{(\w+)}", lambda found: ids[found[1]], self.path)

    def send(self, client: httpx2.Client, *, id: str = "", body: Json | None = None, **options: Any) -> httpx2.Response:
        """Call it with `id` in its path, under a fresh idempotency key."""
        path = re.sub(r"{\w+}", id, self.path)
        headers = {"Idempotency-Key": key()} | options.pop("headers", {})
        sent = body if self.takes_body else None
        query = dict.fromkeys(self.asked, "a test") | options.pop("params", {})
        return client.request(self.method, path, json=sent, headers=headers, params=query, **options)


def document(service: str) -> Json:
    """The committed contract of one service."""
    found: Json = json.loads((DOCS / f"openapi.{service}.json").read_text())
    return found


def operations(*services: str) -> list[Operation]:
    """Every operation of these services, of both when none is named."""
    return [
        Operation(
            service=service,
            method=method.upper(),
            path=path,
            id=said["operationId"],
            public="security" not in said,
            takes_body="requestBody" in said,
            lists=any(parameter["name"] == "limit" for parameter in said.get("parameters", [])),
            asked=tuple(p["name"] for p in said.get("parameters", []) if p["in"] == "query" and p.get("required")),
        )
        for service in services or SERVICES
        for path, methods in document(service)["paths"].items()
        for method, said in methods.items()
    ]


def client(info: StackInfo, service: str, token: str | None = None, **headers: str) -> httpx2.Client:
    """A plain HTTP client of one service, with or without a token."""
    base = {"api": info.base_url, "console": info.console_url}[service]
    said = ({"Authorization": f"Bearer {token}"} if token else {}) | headers
    return httpx2.Client(base_url=base, headers=said, timeout=30)


@dataclass
class Furnished:
    """An organisation with at least one object of every kind; `ids` names one by the parameter of the paths that take it."""

    world: World
    ids: dict[str, str]
    waiting: str
    all_ids: list[str] = field(default_factory=list)

    @property
    def members_token(self) -> str:
        """The token of one who may do everything that a person may."""
        return self.world.tokens["owner"]

    def token(self, service: str) -> str:
        return self.world.tokens["agent"] if service == "api" else self.members_token

    def target(self, operation: Operation) -> str:
        """The id of an object on which this operation succeeds, made where it would otherwise be used up."""
        world, people = self.world, self.world.people()
        if operation.id in ("payments_approve", "payments_deny", "payments_cancel"):
            return str(world.pay(500, counterparty=self.proposed()).json()["id"])
        if operation.id == "counterparties_confirm":
            return self.proposed()
        if operation.id in ("counterparties_retire", "counterparties_update"):
            return world.new_counterparty()
        if operation.id in ("mandates_pause", "mandates_resume", "mandates_revoke"):
            mandate = world.new_mandate()
            if operation.id == "mandates_resume":
                people.post(f"/v1/mandates/{mandate}/pause")
            return mandate
        if operation.id in ("members_change_roles", "members_close"):
            return str(people.post("/v1/members", {"email": f"{key()}@x.example", "name": "M", "roles": ["oncall"]})["id"])
        if operation.id in ("tokens_revoke", "tokens_rotate"):
            return str(people.post("/v1/tokens", {"holder": self.ids["agent"], "name": "t", "expires_at": later(days=1)})["id"])
        if operation.id == "payments_rule":
            return self.conflicted()
        if operation.id == "rulings_confirm":
            return self.ruling()
        if operation.id == "discrepancies_resolve":
            return reconciling.extra(world)
        if operation.id == "consents_revoke":
            return str(consenting.to_read(world)["id"])
        if operation.id == "webhook_endpoints_delete":
            return self.endpoint()
        if operation.id == "rail_accounts_rotate":
            return next(row["id"] for row in people.get("/v1/rail-accounts")["data"] if row["rail"] == "sandbox")
        if operation.id == "stops_lift":
            return str(world.stop("counterparty", self.ids["spare_counterparty"])["id"])
        return self.ids[operation.parameter or ""] if operation.parameter else ""

    def proposed(self) -> str:
        """A counterparty that an agent proposed and nobody has confirmed: whoever pays it waits for a person."""
        accounts = [{"type": "pix_key", "value": f"{key()}@payee.example"}]
        return str(self.world.api.post("/v1/counterparties", {"name": "New", "accounts": accounts})["id"])

    def conflicted(self) -> str:
        """A payment that needs a human: the bank has answered for it with another amount."""
        self.world.fault("wrong_amount")
        payment = self.world.settled(self.world.pay(300).json()["id"])
        assert payment["status"] == "needs_human", payment
        return str(payment["id"])

    def endpoint(self) -> str:
        """An endpoint that is told of nothing: it is disabled."""
        made = self.world.people().post("/v1/webhook-endpoints", ENDPOINT)["id"]
        self.world.people()._http.patch(f"/v1/webhook-endpoints/{made}", json={"disabled": True}).raise_for_status()
        return str(made)

    def told(self) -> str:
        """An endpoint that something was told and that did not hear it, disabled since, so that nothing moves there any more."""
        people = self.world.people()
        made = people.post("/v1/webhook-endpoints", ENDPOINT | {"url": "https://localhost:9/in"})["id"]
        people.post(f"/v1/webhook-endpoints/{made}/test")
        until = time.monotonic() + 20
        while not any(row["attempts"] for row in people.get(f"/v1/webhook-endpoints/{made}/deliveries")["data"]):
            assert time.monotonic() < until
            time.sleep(0.1)
        people._http.patch(f"/v1/webhook-endpoints/{made}", json={"disabled": True}).raise_for_status()
        return str(made)

    def ruling(self) -> str:
        """What a colleague proposed about such a payment."""
        body = {"outcome": "failed", "reason": "a test", "evidence": "a letter"}
        return str(self.world.people("finance").post(f"/v1/payments/{self.conflicted()}/rulings", body)["id"])

    def bodies(self) -> dict[str, Json]:
        """A body that is right for each operation that takes one; a new operation needs a line here."""
        money = {"amount": {"amount": 100, "currency": BRL}}
        accounts = [{"type": "pix_key", "value": "somebody@payee.example"}]
        payee = {"name": "Somebody", "accounts": accounts}
        rules = {"document": worlds.OPEN_POLICY}
        account = {"rail": "sandbox", "account": key(), "api_key": "k", "webhook_secret": "whsec_c2VjcmV0"}
        return {
            "agents_create": {"project": self.ids["project"], "name": key(), "public_jwk": jwk()},
            "consents_create": {"rail": consenting.RAIL, "scopes": ["accounts.read"], "expires_at": later(days=1)},
            "counterparties_confirm": {"from_version": 1},
            "counterparties_create": payee,
            "counterparties_retire": {"from_version": 1},
            "counterparties_update": payee | {"from_version": 1},
            "discrepancies_resolve": {"verdict": "ours", "reason": "a test"},
            "mandates_issue": {"agent": self.ids["agent"], "currency": BRL, "max_amount": 100, "expires_at": later(days=1)},
            "mandates_revoke": {"reason": "a test"},
            "members_change_roles": {"roles": ["auditor"]},
            "members_create": {"email": f"{key()}@x.example", "name": "Somebody", "roles": ["auditor"]},
            "payments_batch": {"payments": [{"idempotency_key": key(), **self.world.body(100)}]},
            "payments_create": self.world.body(100),
            "payments_deny": {"reason": "a test"},
            "payments_refund": money,
            "payments_rule": {"outcome": "failed", "reason": "a test", "evidence": "a letter"},
            "policies_activate": {"version": 1},
            "policies_create": {"name": key(), "scope": "agent", "scope_id": self.ids["agent"]} | rules,
            "policies_write_version": rules,
            "projects_create": {"name": key()},
            "rail_accounts_create": account,
            "rail_accounts_rotate": {"api_key": self.world.api_key, "webhook_secret": self.world.webhook_secret},
            "revocations_create": {"scope": "agent", "id": self.ids["spare_agent"], "reason": "a test"},
            "stops_create": {"scope": "counterparty", "id": self.ids["spare_counterparty"], "reason": "a test"},
            "tokens_create": {"holder": self.ids["agent"], "name": "t", "expires_at": later(days=1)},
            "tokens_rotate": {"overlap_seconds": 1},
            "wallets_create": {"agent": self.ids["agent"], "currency": "USD"},
            "wallets_fund": money,
            "wallets_return": money,
            "webhook_endpoints_create": ENDPOINT,
            "webhook_endpoints_replay": {"since": later(hours=-1)},
            "webhook_endpoints_rotate": {"overlap_seconds": 1},
            "webhook_endpoints_update": {"types": ["scope.stopped"]},
        }


def jwk() -> dict[str, str]:
    """A fresh agent key's public half."""
    return sdjwt.public_jwk(ec.generate_private_key(ec.SECP256R1()))


def furnish(world: World) -> Furnished:
    """Fill an organisation: a settled payment, one refunded, one that waits, one denied, and people with tokens."""
    settled = world.pay(1000).json()
    assert settled["status"] == "settled", settled
    refund = world.people().post(f"/v1/payments/{settled['id']}/refund", {"amount": {"amount": 100, "currency": BRL}})
    proposed = world.api.post("/v1/counterparties", {"name": "New", "accounts": [{"type": "pix_key", "value": "new@payee.example"}]})["id"]
    waiting = world.pay(500, counterparty=proposed).json()
    assert waiting["status"] == "requires_approval", waiting
    denied = world.pay(10**9 + 1).json()["payment"]
    world.people("auditor")
    people = world.people()
    member = next(m["id"] for m in people.get("/v1/members")["data"] if m["roles"] == ["auditor"])
    token = people.post("/v1/tokens", {"holder": member, "name": "spare", "expires_at": later(days=1)})["id"]
    spare, _, _ = world.new_agent()
    consenting.connect(world)
    # An account that does not pass its checks is checked again every few seconds, and its row would not stand still.
    consenting.authorised(world, consenting.to_pay(world))
    ids = {
        "account": people.get("/v1/rail-accounts")["data"][0]["id"],
        "spare_agent": spare,
        "spare_counterparty": world.new_counterparty(),
        "revocation": people.post("/v1/revocations", {"scope": "agent", "id": spare, "reason": "a test"})["id"],
        "agent": world.agent,
        "consent": consenting.authorised(world, consenting.to_read(world)),
        "counterparty": world.counterparty,
        "discrepancy": reconciling.extra(world),
        "entry": world.entries()[-1]["id"],
        "mandate": world.mandate,
        "member": member,
        "payment": settled["id"],
        "policy": world.policy,
        "project": world.project,
        "token": token,
        "wallet": world.wallet,
    }
    consenting.ready(world)
    made = Furnished(world, ids, waiting["id"])
    ids["endpoint"] = made.told()
    ids["stop"] = world.stop("counterparty", ids["spare_counterparty"])["id"]
    ids["ruling"] = made.ruling()
    made.all_ids = [*ids.values(), proposed, waiting["id"], denied["id"], refund["id"], world.org]
    return made
