"""The story that `make demo` plays: payments that each show one wall or one way home, and a stop."""

import json
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import httpx2

from codespar.audit import offline
from codespar.demo import seed
from codespar.demo.client import Api
from codespar.lib import ids

Demo = dict[str, Any]


class Progress(Protocol):
    """Where the story is told."""

    def step(self, doing: str) -> AbstractContextManager[None]: ...

    def line(self, text: str = "") -> None: ...


class StoryInfo(seed.Info, Protocol):
    folder: Path


def play(info: StoryInfo, progress: Progress) -> Demo:
    """Seed the demo organisation, or find it again, and play the story. Returns what demo.json holds."""
    demo = _kept(info)
    if demo is None:
        with progress.step("Making the demo organisation: members, agent, mandate, policy, money"):
            demo = seed.everything(info)
        _keep(info, demo)
    else:
        progress.line("The demo organisation of last time is still here.")
        seed.open_account(info, demo["provider"], demo["org"])
    agent = Api(info.base_url, demo["tokens"]["agent"])
    for title, scene in SCENES:
        with progress.step(title):
            told = scene(agent, demo)
        progress.line(f"    {told}")
    with progress.step("A signed copy of the ledger, verified offline"):
        told = exported(info, demo)
    progress.line(f"    {told}")
    shown = {name: value for name, value in demo.items() if name != "provider"}
    return {**shown, "curl": _curl(demo)}


def settles(agent: Api, demo: Demo) -> str:
    answer = agent.send("/v1/payments", _payment(demo, 149_90))
    body = _expect(answer, 201)
    return f"{body['id']}: {body['status']}, R$ 149.90, provider reference {body['provider_id']}, ledger entry {body['receipt']['seq']}"


def refused_by_policy(agent: Api, demo: Demo) -> str:
    return _refusal(agent.send("/v1/payments", _payment(demo, 6_000_00)))


def refused_by_mandate(agent: Api, demo: Demo) -> str:
    return _refusal(agent.send("/v1/payments", {**_payment(demo, 10_00), "purpose": "gift-cards"}))


def lying_counterparty(agent: Api, demo: Demo) -> str:
    lie = {"id": demo["counterparty"], "account": "attacker@elsewhere.example"}
    return _refusal(agent.send("/v1/payments", {**_payment(demo, 10_00), "counterparty": lie}))


def replay(agent: Api, demo: Demo) -> str:
    key, body = f"demo-{secrets.token_hex(12)}", _payment(demo, 25_00)
    first, second = agent.send("/v1/payments", body, key), agent.send("/v1/payments", body, key)
    _expect(first, 201)
    if first.content != second.content or second.headers.get("Idempotent-Replayed") != "true":
        raise RuntimeError("the replay did not get the first answer's bytes")
    return f"asked twice, paid once: both answers are the same {len(first.content)} bytes"


def provider_time_out(agent: Api, demo: Demo) -> str:
    """The provider books the payment and never answers. Nothing is sent again: the engine asks until it knows."""
    httpx2.post(f"{demo['provider_url']}/_control", json={"fault": "timeout_after", "count": 1}, timeout=10).raise_for_status()
    body = _expect(agent.send("/v1/payments", _payment(demo, 42_00)), 201)
    first, until = body["status"], time.monotonic() + 90
    while body["status"] in ("submitted", "uncertain"):
        if time.monotonic() > until:
            raise RuntimeError(f"payment {body['id']} is still {body['status']}")
        time.sleep(0.5)
        body = agent.get(f"/v1/payments/{body['id']}")
    waited = "" if first == body["status"] else f"answered {first}, then "
    return f"{body['id']}: booked by the provider, which went silent; {waited}{body['status']} by asking, never sent twice"


def stopped_and_lifted(agent: Api, demo: Demo) -> str:
    """The engineer on call stops the agent; nobody but somebody else lets it pay again."""
    oncall, operator = (Api(demo["console_url"], demo["tokens"][role]) for role in ("oncall", "operator"))
    stop = oncall.post("/v1/stops", {"scope": "agent", "id": demo["agent"], "reason": "the demo's alarm bell"})
    body = _expect(agent.send("/v1/payments", _payment(demo, 25_00)), 403)
    if body["code"] != "stopped" or body["stop_receipt"] != stop["receipt"]:
        raise RuntimeError(f"expected the receipt of {stop['id']}, got {body}")
    operator.delete(f"/v1/stops/{stop['id']}", reason="the demo goes on")
    after = _expect(agent.send("/v1/payments", _payment(demo, 26_00)), 201)
    return f"{stop['id']} stopped it: 403 {body['code']} with the signed receipt; lifted by somebody else, {after['id']} {after['status']}"


def exported(info: StoryInfo, demo: Demo) -> str:
    """The auditor takes a copy. From then on the file and the pin are enough: no engine, no database."""
    file = info.folder / "ledger.zip"
    headers = {"Authorization": f"Bearer {demo['tokens']['auditor']}"}
    answer = httpx2.get(f"{info.console_url}/v1/ledger/export", headers=headers, timeout=60).raise_for_status()
    file.touch(mode=0o600)
    file.write_bytes(answer.content)
    report = offline.verify_file(file, pins={ids.parse(demo["org"], "org"): demo["pin"]})
    if report.chain is None or report.told is None or report.status != "verified":
        raise RuntimeError(f"the copy in {file} is {report.status}: {report.problems}")
    return f"{file}: {report.status}, {report.chain.count} entries; that it was taken is entry {report.told.entry['seq']}"


SCENES: tuple[tuple[str, Callable[[Api, Demo], str]], ...] = (
    ("A payment that settles", settles),
    ("A payment that the policy refuses", refused_by_policy),
    ("A payment that the mandate refuses", refused_by_mandate),
    ("A counterparty that lies about its account", lying_counterparty),
    ("The same request twice", replay),
    ("A provider that goes silent", provider_time_out),
    ("An agent that is stopped, and let go again", stopped_and_lifted),
)


def _payment(demo: Demo, amount: int) -> dict[str, Any]:
    return {
        "mandate": demo["mandate"],
        "amount": {"amount": amount, "currency": "BRL"},
        "counterparty": demo["counterparty"],
        "purpose": "cloud-hosting",
        "memo": "played by the demo",
    }


def _expect(answer: httpx2.Response, status: int) -> dict[str, Any]:
    if answer.status_code != status:
        raise RuntimeError(f"expected {status}, got {answer.status_code}: {answer.text}")
    body: dict[str, Any] = answer.json()
    return body


def _refusal(answer: httpx2.Response) -> str:
    body = _expect(answer, 403)
    return f"403 {body['code']}: {body['detail']} (recorded as {body['payment']['receipt']['entry']})"


def _curl(demo: Demo) -> str:
    body = json.dumps(_payment(demo, 12_34))
    return (
        f"curl -s {demo['base_url']}/v1/payments -H 'Authorization: Bearer {demo['tokens']['agent']}' "
        f"-H 'Idempotency-Key: '$(date +%s%N) -H 'Content-Type: application/json' -d '{body}'"
    )


def _kept(info: StoryInfo) -> Demo | None:
    """The demo of last time, if its database still knows it; ports may have moved."""
    try:
        found: Demo = json.loads((info.folder / "story.json").read_text())
    except (OSError, ValueError):
        return None
    found |= {"base_url": info.base_url, "console_url": info.console_url, "provider_url": info.sandbox_url}
    answer = httpx2.get(
        f"{info.base_url}/v1/wallets/{found['wallet']}", headers={"Authorization": f"Bearer {found['tokens']['agent']}"}, timeout=10
    )
    rich = answer.status_code == 200 and answer.json()["available"]["amount"] >= 1_000_00
    return found if rich else None


def _keep(info: StoryInfo, demo: Demo) -> None:
    from codespar.launcher.state import write_private

    write_private(info.folder / "story.json", json.dumps(demo, indent=2))
