"""One attempt for each rule of payments, approvals, attempts, refunds and notices."""

import os
from typing import Any
from uuid import UUID, uuid4

from tests.attacks.cases_books import Case, _do
from tests.attacks.cases_mandates import change, copied
from tests.support.scene import Cursor

NOW = "2030-01-01T00:00:00Z"
RULING = uuid4()


def paid(change: str) -> Case:
    return lambda c: _do(c, f"UPDATE payments SET {change} WHERE org_id = %s AND id = %s", c.scene.org, c.scene.paid)


def another(**changes: object) -> Case:
    """A second payment like the settled one."""
    new = {"id": uuid4(), "rail_key": os.urandom(32), "rail_ref": None, "provider_id": None}
    return lambda c: c.copy("payments", f"org_id = '{c.scene.org}' AND id = '{c.scene.paid}'", **new | changes)


def _submitted_and_forgotten(c: Cursor) -> None:
    c.run("UPDATE payments SET status = 'submitted', due_at = NULL WHERE id = %s", c.held()["id"])


def _same_transaction(c: Cursor) -> None:
    c.run("UPDATE payments SET transaction_id = 'x' WHERE id = %s", c.scene.paid)
    another(transaction_id="x", status="authorized", due_at=NOW)(c)


def _same_presentation(c: Cursor) -> None:
    c.run("UPDATE payments SET presentation = 'x' WHERE id = %s", c.scene.paid)
    another(presentation="x", status="authorized", due_at=NOW)(c)


def _same_refund(c: Cursor) -> None:
    change("refunds", "provider_id = 'D1'")(c)
    copied("refunds", id=uuid4(), rail_key=os.urandom(32), rail_ref=None)(c)


def _refund_told_twice(c: Cursor) -> None:
    change("refunds", "rail_ref = 'r1'")(c)
    copied("refunds", id=uuid4(), rail_key=os.urandom(32), provider_id=None)(c)


def _incomplete(c: Cursor) -> None:
    changes = {"id": uuid4(), "rail_key": os.urandom(32), "rail_ref": None, "status": "requires_approval", "due_at": NOW}
    c.copy("payments", f"org_id = '{c.scene.org}' AND status = 'denied' AND account_id IS NULL", **changes)


def attempt(**changes: object) -> Case:
    new = {"id": uuid4(), "operation": "refund"}
    return lambda c: c.copy("attempts", f"org_id = '{c.scene.org}' AND operation = 'pay'", **new | changes)


def breaker(**changes: object) -> Case:
    row = {
        "id": uuid4(),
        "livemode": False,
        "rail": "sandbox",
        "operation": "pay",
        "reason": "failing",
        "code": "timeout",
        "entry_id": uuid4(),
    }
    return lambda c: c.insert("breaker_changes", **row | {"from_state": "closed", "to_state": "open"} | changes)


def run(c: Cursor) -> UUID:
    """A look at the provider's records that is under way."""
    made = uuid4()
    account = c.run("SELECT rail_account_id FROM reconciliation_states WHERE org_id = %s LIMIT 1", c.scene.org)[0]["rail_account_id"]
    c.insert("reconciliations", id=made, rail_account_id=account, rail="sandbox", livemode=False)
    return made


def _of_run(c: Cursor, made: UUID) -> dict[str, Any]:
    account = c.run("SELECT rail_account_id FROM reconciliations WHERE org_id = %s AND id = %s", c.scene.org, made)[0]["rail_account_id"]
    return {"rail_account_id": account}


def line(**changes: object) -> Case:
    def case(c: Cursor) -> None:
        made = run(c)
        row = {"line_id": "made", "kind": "payment", "provider_id": "E1", "amount": -5, "currency": "BRL", "party": "x", "at": NOW}
        c.insert("statement_lines", **_of_run(c, made), first_run=made, last_run=made, **row | changes)

    return case


def discrepancy(**changes: object) -> Case:
    def case(c: Cursor) -> None:
        made = run(c)
        row = {
            "id": uuid4(),
            "rail": "sandbox",
            "livemode": False,
            "kind": "extra",
            "subject": "k",
            "ours": "{}",
            "theirs": "{}",
            "entry_id": uuid4(),
        }
        c.insert("discrepancies", **_of_run(c, made), run_id=made, **row | changes)

    return case


def resolution(**changes: object) -> Case:
    def case(c: Cursor) -> None:
        found = uuid4()
        discrepancy(id=found)(c)
        member = c.run("SELECT id FROM members WHERE org_id = %s LIMIT 1", c.scene.org)[0]["id"]
        row = {"discrepancy_id": found, "member_id": member, "verdict": "ours", "reason_commit": "0" * 64, "entry_id": uuid4()}
        c.insert("discrepancy_resolutions", **row | changes)

    return case


def ruling(**changes: object) -> Case:
    def case(c: Cursor) -> None:
        member = c.run("SELECT id FROM members WHERE org_id = %s LIMIT 1", c.scene.org)[0]["id"]
        row = {"id": RULING, "payment_id": c.scene.paid, "outcome": "settled", "proposed_by": member, "entry_id": uuid4()}
        c.insert("payment_rulings", **row | {"reason_commit": "0" * 64, "evidence_commit": "0" * 64} | changes)

    return case


def confirmation(**changes: object) -> Case:
    """By whoever proposed it."""

    def case(c: Cursor) -> None:
        ruling()(c)
        member = c.run("SELECT proposed_by FROM payment_rulings WHERE org_id = %s AND id = %s", c.scene.org, RULING)[0]["proposed_by"]
        row = {"ruling_id": RULING, "payment_id": c.scene.paid, "proposed_by": member, "confirmed_by": member, "entry_id": uuid4()}
        c.insert("ruling_confirmations", **row | changes)

    return case


def confirmed(c: Cursor) -> None:
    """By somebody else, around every rule."""
    ruling()(c)
    c.run("SET LOCAL session_replication_role = replica")
    row = {"ruling_id": RULING, "payment_id": c.scene.paid, "proposed_by": uuid4(), "confirmed_by": uuid4(), "entry_id": uuid4()}
    c.insert("ruling_confirmations", **row)
    c.run("SET LOCAL session_replication_role = origin")


def twice(case: Case, again: Case) -> Case:
    """One after the other, in one transaction."""

    def both(c: Cursor) -> None:
        case(c)
        again(c)

    return both


def account(change: str) -> Case:
    """An account that passed its checks, changed."""
    return lambda c: _do(c, f"UPDATE rail_accounts SET ready = true, {change} WHERE org_id = %s", c.scene.org)


FIXED = {
    "amount": "amount + 1",
    "currency": "'USD'",
    "mandate_id": f"'{uuid4()}'",
    "wallet_id": f"'{uuid4()}'",
    "agent_id": f"'{uuid4()}'",
    "project_id": f"'{uuid4()}'",
    "counterparty_id": f"'{uuid4()}'",
    "account_id": "'acc_other'",
    "purpose": "'other'",
    "rail": "'other'",
    "target": "repeat('ab', 32)",
    "rail_key": "sha256('x')",
    "consent_id": f"'{uuid4()}'",
    "livemode": "true",
    "id": f"'{uuid4()}'",
    "org_id": f"'{uuid4()}'",
    "created_at": "now()",
    "created_entry_id": f"'{uuid4()}'",
}

CASES: dict[str, list[Case]] = {
    "payments_fixed": [paid(f"{column} = {value}") for column, value in FIXED.items()],
    "payments_kept": [lambda c: _do(c, "DELETE FROM payments WHERE id = %s", c.scene.paid)],
    "payments_amount": [another(amount=0), another(amount=-1)],
    "payments_mandated": [_incomplete, *(another(**{name: None}) for name in ("mandate_id", "wallet_id", "counterparty_id", "rail"))],
    "payments_scheduled": [paid("status = 'scheduled'")],
    "rail_accounts_ready": [account("failed = 'account'"), account("checked_at = NULL")],
    "payments_held": [another(hold_id=None), another(hold_id=None, status="authorized", due_at=NOW)],
    "payments_captured": [paid("captured = amount + 1"), paid("captured = -1, refunded = -2, refunding = 0")],
    "payments_refunds": [paid("refunded = captured + 1"), paid("refunding = captured + 1"), paid("refunding = -1")],
    "payments_stage": [paid("stage = 'lost'")],
    "payments_due": [_submitted_and_forgotten],
    "payments_rail_key": [lambda c: c.copy("payments", f"id = '{c.scene.paid}'", id=uuid4(), provider_id=None, rail_ref=None)],
    "payments_rail_ref": [lambda c: c.copy("payments", f"id = '{c.scene.paid}'", id=uuid4(), provider_id=None, rail_key=os.urandom(32))],
    "payments_provider": [lambda c: c.copy("payments", f"id = '{c.scene.paid}'", id=uuid4(), rail_ref=None, rail_key=os.urandom(32))],
    "payments_transaction": [_same_transaction],
    "payments_presentation": [_same_presentation],
    "payments_counterparty_version": [another(counterparty_version=999, status="authorized", due_at=NOW)],
    "payments_texts": [paid("reference = 'zz'"), paid("memo = 'a note to the payee'"), another(target="https://shop.example")],
    "payments_hold": [another(hold_id=uuid4(), status="authorized", due_at=NOW)],
    "payments_decision": [another(decision_id=uuid4(), status="authorized", due_at=NOW)],
    "payment_transitions_allowed": [
        another(),  # new -> settled
        paid("status = 'authorized', due_at = now()"),
        paid("status = 'submitted', due_at = now()"),
        paid("status = 'failed'"),
        paid("status = 'whatever'"),
        lambda c: _do(c, "UPDATE payments SET status = 'settled', entry_id = id WHERE id = %s", c.held()["id"]),
        lambda c: _do(c, "UPDATE payments SET status = 'denied', entry_id = id WHERE id = %s", c.held()["id"]),
    ],
    "approvals_life": [copied("approvals", id=uuid4(), expires_at=NOW)],
    "approvals_payment": [copied("approvals", id=uuid4())],
    "approval_votes_verdict": [copied("approval_votes", verdict="maybe")],
    "approval_votes_pkey": [copied("approval_votes")],
    "refunds_amount": [copied("refunds", id=uuid4(), rail_key=os.urandom(32), rail_ref=None, amount=0)],
    "refunds_status": [change("refunds", "status = 'done'")],
    "refunds_provider": [_same_refund],
    "refunds_rail_key": [copied("refunds", id=uuid4(), rail_ref=None)],
    "refunds_rail_ref": [_refund_told_twice],
    "attempts_once": [attempt(operation="pay")],
    "attempts_operation": [attempt(), attempt(operation="gift")],
    "attempts_send_by": [attempt(operation="pay", send_by=NOW, submit_by=NOW)],
    "attempts_submit_by": [attempt(operation="pay", submit_by=None), attempt(operation="pay", submit_by="2020-01-01T00:00:00Z")],
    "attempts_intent": [
        lambda c: c.copy(
            "attempts", f"org_id = '{c.scene.org}' AND operation = 'pay'", id=uuid4(), payment_id=c.held()["id"], intent_entry_id=uuid4()
        )
    ],
    "attempt_results_source": [copied("attempt_results", id=uuid4(), source="rumour")],
    "attempt_results_result": [copied("attempt_results", id=uuid4(), result="fine")],
    "attempt_results_moved": [
        copied("attempt_results", id=uuid4(), result="settled", moved=1),
        copied("attempt_results", id=uuid4(), result="canceled", moved=-1),
    ],
    "attempt_results_proof": [copied("attempt_results", id=uuid4(), proof="trust me")],
    "payment_rulings_outcome": [ruling(outcome="forgotten")],
    "ruling_confirmations_another_person": [confirmation()],
    "reconciliations_status": [lambda c: _do(c, "UPDATE reconciliations SET status = 'fine', finished_at = now() WHERE id = %s", run(c))],
    "reconciliations_finished": [lambda c: _do(c, "UPDATE reconciliations SET status = 'done' WHERE id = %s", run(c))],
    "statement_lines_kind": [line(kind="rumour")],
    "statement_lines_current": [twice(line(), line(version=2))],
    "statement_lines_fixed": [
        twice(line(), lambda c: _do(c, "UPDATE statement_lines SET amount = 1 WHERE org_id = %s", c.scene.org)),
        twice(line(), lambda c: _do(c, "DELETE FROM statement_lines WHERE org_id = %s", c.scene.org)),
    ],
    "discrepancies_kind": [discrepancy(kind="mood")],
    "discrepancies_once": [twice(discrepancy(), discrepancy())],
    "discrepancy_resolutions_verdict": [resolution(verdict="forget")],
    "discrepancy_resolutions_pkey": [twice(resolution(), lambda c: c.copy("discrepancy_resolutions", f"org_id = '{c.scene.org}'"))],
    "breaker_changes_reason": [breaker(reason="mood")],
    "breaker_changes_states": [breaker(to_state="closed"), breaker(from_state="ajar"), breaker(to_state="ajar")],
    "webhook_messages_status": [change("webhook_messages", "status = 'believed'")],
    "webhook_messages_size": [copied("webhook_messages", id=uuid4(), message_id="x", body=b"x" * 65_537)],
    "webhook_messages_once": [copied("webhook_messages", id=uuid4())],
}
