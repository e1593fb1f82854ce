"""One attempt for each rule of the endpoints that people are told at, and of what they are told."""

from uuid import UUID, uuid4

from tests.attacks.cases_books import Case
from tests.support.scene import Cursor

_TYPES = ["scope.stopped"]


def _endpoint(c: Cursor, **changes: object) -> UUID:
    made = uuid4()
    row = {"id": made, "livemode": False, "url": "https://hooks.example/in", "types": _TYPES, "cursor": 1, "entry_id": uuid4()}
    c.insert("webhook_endpoints", **row | changes)
    return made


def endpoint(**changes: object) -> Case:
    return lambda c: _endpoint(c, **changes) and None


def _delivery(c: Cursor, **changes: object) -> None:
    row = {"endpoint_id": _endpoint(c), "id": uuid4(), "seq": 1, "n": 0, "type": "scope.stopped"}
    c.insert("webhook_deliveries", **row | changes)


def delivery(**changes: object) -> Case:
    return lambda c: _delivery(c, **changes)


def _secrets(c: Cursor) -> None:
    named = _endpoint(c)
    for _ in range(2):
        c.insert("webhook_secrets", id=uuid4(), endpoint_id=named, sealed=b"x")


CASES: dict[str, list[Case]] = {
    "webhook_endpoints_url": [
        endpoint(url=url)
        for url in (
            "http://hooks.example/in",
            "http://localhost.evil.example/",
            "http://127.0.0.1.nip.io/",
            "file:///etc/passwd",
            "https://a b",
            "",
        )
    ]
    + [endpoint(url="https://hooks.example/" + "x" * 2000)],
    "webhook_endpoints_status": [endpoint(status="asleep")],
    "webhook_endpoints_types": [endpoint(types=["payment.eaten"]), endpoint(types=[])],
    "webhook_secrets_current": [_secrets],
    "webhook_secrets_of": [lambda c: c.insert("webhook_secrets", id=uuid4(), endpoint_id=uuid4(), sealed=b"x")],
    "webhook_deliveries_of": [delivery(endpoint_id=uuid4())],
    "webhook_deliveries_entry": [delivery(seq=10**9)],
    "webhook_deliveries_status": [delivery(status="lost", next_at=None)],
    "webhook_deliveries_next": [delivery(next_at=None), delivery(status="failed")],
    "webhook_deliveries_heard": [delivery(status="delivered", next_at=None, answer=500)],
}
