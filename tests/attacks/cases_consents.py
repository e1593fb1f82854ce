"""One attempt for each rule of consents and of what is read under them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.attacks.cases_books import Case
from tests.support.scene import Cursor

LATER = datetime.now(UTC) + timedelta(days=1)


def _row(**changes: Any) -> dict[str, Any]:
    """A consent to read that holds. Any rail with an account will do here: which rails know consents is a function's to say."""
    return {
        "id": uuid4(),
        "livemode": False,
        "rail": "sandbox",
        "scopes": ["accounts.read"],
        "expires_at": LATER,
        "status": "authorised",
        "provider_consent": f"urn:bank:{uuid4().hex}",
        "address": "https://bank.example/1",
        "requested_by": "mem_1",
        "due_at": LATER,
        "entry_id": uuid4(),
    } | changes


def consent(**changes: Any) -> Case:
    return lambda c: c.insert("consents", **_row(**changes))


def changed(change: str, **made: Any) -> Case:
    """A consent that is there, changed."""

    def case(c: Cursor) -> None:
        row = _row(**made)
        c.insert("consents", **row)
        c.run(f"UPDATE consents SET {change} WHERE org_id = %s AND id = %s", c.scene.org, row["id"])

    return case


def _known_twice(c: Cursor) -> None:
    c.insert("consents", **_row(provider_consent="urn:bank:1"))
    c.insert("consents", **_row(provider_consent="urn:bank:1"))


def reading(**changes: Any) -> Case:
    def case(c: Cursor) -> None:
        row = _row()
        c.insert("consents", **row)
        usual = {"id": uuid4(), "consent_id": row["id"], "livemode": False, "rail": "sandbox", "resource": "accounts", "page": 1}
        c.insert("consent_reads", **usual | {"asked_by": "mem_1", "due_at": LATER, "entry_id": uuid4()} | changes)

    return case


def _another_rails(c: Cursor) -> None:
    """A payment is paid under a consent of its own rail and mode."""
    row = _row()
    c.insert("consents", **row)
    c.copy("payments", f"org_id = '{c.scene.org}' AND id = '{c.scene.paid}'", **_payment(row["id"], rail="pix"))


def _payment(consent: UUID, **changes: Any) -> dict[str, Any]:
    new = {"id": uuid4(), "rail_key": uuid4().bytes * 2, "rail_ref": None, "provider_id": None, "status": "authorized", "due_at": LATER}
    return new | {"consent_id": consent} | changes


OVER = {"status": "revoked", "revoked_at": LATER, "revoked_by": "mem_1"}
PAY: dict[str, Any] = {"scopes": ["payments.initiate"], "max_payment": 1, "max_total": 2, "currency": "BRL"}

CASES: dict[str, list[Case]] = {
    "consents_account": [consent(rail="pix"), consent(livemode=True)],
    "consents_status": [consent(status="assumed")],
    "consents_scopes": [
        consent(scopes=[]),
        consent(scopes=["everything"]),
        consent(**PAY | {"scopes": ["payments.initiate", "accounts.read"]}),
    ],
    "consents_limits": [
        consent(max_payment=1),
        *(
            consent(**PAY | change)
            for change in ({"max_payment": None}, {"max_total": None}, {"currency": None}, {"max_payment": 3}, {"max_payment": 0})
        ),
    ],
    "consents_expiry": [consent(expires_at=LATER + timedelta(days=366))],
    "consents_known": [consent(provider_consent=None), consent(status="awaiting_authorisation", address=None)],
    "consents_revoked": [consent(status="revoked"), consent(revoked_at=LATER), consent(told_at=LATER)],
    "consents_due": [consent(due_at=None), consent(**OVER | {"due_at": None})],
    "consents_provider": [_known_twice],
    "consents_fixed": [
        changed("scopes = '{accounts.read,transactions.read}'"),
        changed("expires_at = expires_at + interval '1 second'"),
        changed("max_total = max_total + 1", **PAY),
        changed("livemode = true"),
        changed("provider_consent = 'urn:bank:another'"),
    ],
    "consents_over": [
        changed("status = 'authorised', revoked_at = NULL", **OVER),
        changed("revoked_at = revoked_at + interval '1 second'", **OVER),
        changed("status = 'authorised'", status="rejected"),
    ],
    "payments_consent": [_another_rails],
    "consent_reads_of": [reading(consent_id=uuid4())],
    "consent_reads_resource": [reading(resource="passwords"), reading(page=0)],
    "consent_reads_status": [reading(status="done"), reading(due_at=None), reading(status="answered")],
    "consent_reads_answer": [reading(answer="[]"), reading(status="refused", due_at=None, answer="[]")],
}
