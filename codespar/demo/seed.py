"""A demo organisation: made by one action of the engine (its creation) and, from then on, through the people's API."""

import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from codespar.demo.client import Api
from codespar.lib import sdjwt

TIMEZONE = "America/Sao_Paulo"
MAIN = 100_000_00
WALLET = 50_000_00
ROLES = ("operator", "finance", "oncall", "auditor")
PASSWORD_BYTES = 12
EMAIL = "owner@demo.example"


class Info(Protocol):
    """What the launcher tells about a running stack."""

    base_url: str
    console_url: str
    sandbox_url: str

    def env(self, role: str, service: str = "api") -> dict[str, str]: ...


@dataclass(frozen=True, slots=True)
class Owner:
    """The first owner's way in."""

    org: str
    token: str
    login: dict[str, str]


def organisation(info: Info) -> Owner:
    """A fresh organisation with a console log-in for its owner."""
    os.environ.update(info.env("control"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codespar.settings")
    import django

    django.setup()
    from codespar.identity import actions, principals, totp
    from codespar.lib import clock, ids

    made = actions.create_organisation(
        name="Demo Organisation", timezone=TIMEZONE, email=EMAIL, owner_name="Demo Owner", request_id=_request(), now=clock.now()
    )
    owner = principals.authenticate(made.live_token, request_id=_request())
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    secret = actions.set_login(owner, member=made.owner, password=password, now=clock.now())
    login = {"e-mail": EMAIL, "password": password, "authenticator": totp.base32(secret), "otpauth": totp.uri(secret, email=EMAIL)}
    return Owner(ids.wire("org", made.id), made.test_token, login)


def everything(info: Info) -> dict[str, Any]:
    """Members, tokens, project, agent, provider account, money, counterparty, policy, mandate: what demo.json holds."""
    owner = organisation(info)
    console = Api(info.console_url, owner.token)
    tokens = {role: _member(console, role) for role in ROLES}
    operator, finance = Api(info.console_url, tokens["operator"]), Api(info.console_url, tokens["finance"])
    project = operator.post("/v1/projects", {"name": "demo"})["id"]
    key = ec.generate_private_key(ec.SECP256R1())
    agent = operator.post("/v1/agents", {"project": project, "name": "shopping-agent", "public_jwk": sdjwt.public_jwk(key)})["id"]
    tokens["agent"] = operator.post("/v1/tokens", {"holder": agent, "name": "demo agent", "expires_at": _in(timedelta(days=30))})["token"]
    opened = _provider_account(info, owner.org, operator)
    account = opened["account"]
    wallet = operator.post("/v1/wallets", {"agent": agent, "currency": "BRL"})["id"]
    _fund(info, finance, account, wallet)
    counterparty = finance.post("/v1/counterparties", COUNTERPARTY)["id"]
    policy = finance.post("/v1/policies", {"name": "Everybody", "scope": "org", "document": POLICY})["id"]
    finance.post(f"/v1/policies/{policy}/activate", {"version": 1})
    mandate = finance.post("/v1/mandates", _mandate(agent, counterparty))["id"]
    return {
        "base_url": info.base_url,
        "console_url": info.console_url,
        "provider_url": info.sandbox_url,
        "org": owner.org,
        "project": project,
        "agent": agent,
        "agent_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "wallet": wallet,
        "mandate": mandate,
        "counterparty": counterparty,
        "policy": policy,
        "provider_account": account,
        "provider": opened,
        "tokens": {**tokens, "owner": owner.token},
        "login": owner.login,
        "pin": _pin(info, owner.org),
    }


COUNTERPARTY = {
    "name": "Cloud Hosting Ltda",
    "country": "BR",
    "category": "cloud-hosting",
    "accounts": [{"type": "pix_key", "value": "billing@cloud-hosting.example"}],
}
POLICY = {
    "rules": [
        {"id": "pay-registered", "effect": "allow"},
        {"id": "no-embargoed-countries", "effect": "deny", "when": {"countries": ["KP", "IR"]}},
        {"id": "one-payment", "effect": "limit", "window": "payment", "currency": "BRL", "max_amount": 5_000_00},
        {"id": "a-day", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 20_000_00, "per": ["agent"]},
        {"id": "large", "effect": "approval", "when": {"amount_over": {"amount": 2_000_00, "currency": "BRL"}}},
    ]
}


def _mandate(agent: str, counterparty: str) -> dict[str, Any]:
    return {
        "agent": agent,
        "profile": "extended",
        "currency": "BRL",
        "max_amount": 10_000_00,
        "budget": 40_000_00,
        "purposes": ["cloud-hosting", "software"],
        "counterparties": [counterparty],
        "countries": ["BR"],
        "rails": ["sandbox"],
        "expires_at": _in(timedelta(days=30)),
    }


def _member(console: Api, role: str) -> str:
    member = console.post("/v1/members", {"email": f"{role}@demo.example", "name": f"Demo {role.title()}", "roles": [role]})["id"]
    token: str = console.post("/v1/tokens", {"holder": member, "name": f"demo {role}", "expires_at": _in(timedelta(days=30))})["token"]
    return token


def _provider_account(info: Info, org: str, operator: Api) -> dict[str, Any]:
    """An account at the provider, opened through its control plane, and registered with the engine."""
    account, api_key = f"acct-{secrets.token_hex(6)}", secrets.token_urlsafe(24)
    webhook_secret = "whsec_" + _base64(secrets.token_bytes(24))
    opened = {
        "account": account,
        "api_key": api_key,
        "balance": 0,
        "webhook_secret": webhook_secret,
    }
    open_account(info, opened, org)
    operator.post("/v1/rail-accounts", {"rail": "sandbox", "account": account, "api_key": api_key, "webhook_secret": webhook_secret})
    return opened


def open_account(info: Info, account: dict[str, Any], org: str) -> None:
    """Open an account at the provider, or tell it where its notices go now."""
    body = {**account, "webhook_url": f"{info.console_url}/webhooks/sandbox/test/{org}"}
    httpx2.post(f"{info.sandbox_url}/_control/accounts", json=body, timeout=10).raise_for_status()


def _fund(info: Info, finance: Api, account: str, wallet: str) -> None:
    """Money arrives at the provider, is confirmed by a query, lands on the main account, and goes to the wallet from there."""
    deposit = {"account": account, "amount": MAIN, "currency": "BRL", "payer": "Demo Owner", "reference": "first funding"}
    httpx2.post(f"{info.sandbox_url}/_control/deposits", json=deposit, timeout=10).raise_for_status()
    until = time.monotonic() + 60
    while not any(w["kind"] == "main" and w["available"]["amount"] >= MAIN for w in finance.get("/v1/wallets?limit=100")["data"]):
        if time.monotonic() > until:
            raise RuntimeError("the deposit was not confirmed within 60 s")
        time.sleep(0.2)
    finance.post(f"/v1/wallets/{wallet}/fund", {"amount": {"amount": WALLET, "currency": "BRL"}})


def _pin(info: Info, org: str) -> str:
    """The fingerprint of the organisation's first ledger key: what an auditor writes down on the first day."""
    from codespar.lib import canonical

    keys = httpx2.get(f"{info.base_url}/.well-known/jwks.json?org={org}", timeout=10).json()["keys"]
    first = next(key for key in keys if key["kty"] == "OKP")
    return "sha256:" + canonical.sha256(sdjwt.decode(first["x"])).hex()


def _in(life: timedelta) -> str:
    return (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ")


def _request() -> str:
    from codespar.lib import ids

    return ids.wire("req", ids.new())


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()
