"""Where a delivery may go: what a name leads to is looked at in the moment of the call, and nothing inside is called."""

import json
import socket
import time
from typing import Any

import pytest

from codespar.config import Config
from codespar.launcher.stack import StackInfo
from tests.support.receiver import receiver

Resolved = list[tuple[Any, ...]]
INSIDE = {
    "this machine": ["127.0.0.1"],
    "this machine by IPv6": ["::1"],
    "nowhere, which is this machine": ["0.0.0.0"],
    "a cloud's metadata": ["169.254.169.254"],
    "a private network": ["10.0.0.7"],
    "another private network": ["192.168.1.1"],
    "a shared one": ["100.64.0.1"],
    "an unique local one": ["fd00::1"],
    "IPv4 in IPv6": ["::ffff:127.0.0.1"],
    "metadata in IPv6": ["::ffff:169.254.169.254"],
    "behind a translator": ["64:ff9b::7f00:1"],
    "a public one and this machine": ["93.184.215.14", "127.0.0.1"],
}


@pytest.fixture
def strict(stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The sender of a deployment with a rail elsewhere, and a resolver that says what a test wants."""
    from codespar.alerts import sending
    from rails.adapters.exchange import Reach

    monkeypatch.setattr(sending, "reach", lambda: Reach.PUBLIC)
    return sending


def _resolver(monkeypatch: pytest.MonkeyPatch, addresses: list[str], port: int) -> list[str]:
    asked: list[str] = []

    def resolved(host: str, *_: Any, **__: Any) -> Resolved:
        asked.append(host)
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return asked


@pytest.mark.parametrize("where", INSIDE)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_leads_inside_is_not_called(strict: Any, monkeypatch: pytest.MonkeyPatch, where: str, scheme: str) -> None:
    with receiver() as found:
        port = found.server.server_address[1]
        asked = _resolver(monkeypatch, INSIDE[where], port)
        answer = strict.post(
            f"{scheme}://{where.replace(' ', '-').replace(',', '').replace(chr(39), '')}.example:{port}/in", "evt_1", b"{}", []
        )
        assert len(asked) == 1 and asked[0].endswith(".example")
        assert (answer.failure, answer.sent, answer.status) == ("address_refused", False, None)
        assert found.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"])
def test_a_number_that_is_this_machine_is_not_called_in_any_spelling(strict: Any, host: str) -> None:
    with receiver() as found:
        answer = strict.post(f"http://{host}:{found.server.server_address[1]}/in", "evt_1", b"{}", [])
        assert (answer.failure, answer.sent, answer.status) == ("address_refused", False, None)
        assert found.calls == []


def test_a_name_is_looked_at_again_for_each_delivery(strict: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was public once may lead inside now."""
    for addresses in (["203.0.113.7"], ["127.0.0.1"]):
        asked = _resolver(monkeypatch, addresses, 9)
        assert strict.post("https://rebinding.example:9/in", "evt_1", b"{}", []).failure == "address_refused"
        assert asked == ["rebinding.example"]


def test_only_a_deployment_that_says_that_all_of_it_is_here_calls_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rails are must be said, for a process that was not told knows nothing."""
    monkeypatch.delenv("CODESPAR_RAIL_URLS", raising=False)
    monkeypatch.delenv("CODESPAR_CONSOLE_URL", raising=False)
    base = {"role": "auditor", "database_url": "postgresql://a:p@h/codespar", "deployment": "pay.example"}
    here = {"sandbox": "http://127.0.0.1:8002", "pix": "http://localhost:8002/pix-api"}
    for changes, expected in (
        ({"rail_urls": here}, True),
        ({}, False),
        ({"rail_urls": here | {"card": "https://bank.example"}}, False),
        ({"rail_urls": here | {"wire": "file:///srv/drop"}}, False),
        ({"rail_urls": here, "console_url": "https://console.example"}, False),
    ):
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in changes.items()}
        assert Config(**(base | values)).on_this_machine is expected, changes


def test_a_delivery_ends_by_its_deadline_however_slowly_its_receiver_is(stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    from codespar.alerts import sending

    monkeypatch.setattr(settings.CONFIG, "webhook_seconds", 0.5)
    with receiver() as found:
        found.always, found.secret = None, "whsec_c2VjcmV0"
        began = time.monotonic()
        answer = sending.post(found.url, "evt_1", b"{}", ["whsec_c2VjcmV0"])
        assert (answer.failure, answer.status) == ("timeout", None)
        assert time.monotonic() - began < 2
