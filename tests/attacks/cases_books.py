"""One attempt for each rule of the ledger and the books, as somebody past all grants would write it."""

import hashlib
import os
from collections.abc import Callable
from uuid import uuid4

from tests.support.scene import Cursor

Case = Callable[[Cursor], None]


def account(column: str, value: str, where: str = "kind = 'wallet'") -> Case:
    return lambda c: _do(c, f"UPDATE accounts SET {column} = {value} WHERE org_id = %s AND {where}", c.scene.org)


def entry(**changes: object) -> Case:
    new = {"id": uuid4(), "seq": 10**6, "prev": os.urandom(32)}
    return lambda c: c.copy("ledger_entries", f"org_id = '{c.scene.org}'", **new | changes)


def head(change: str) -> Case:
    return lambda c: _do(c, f"UPDATE ledger_heads SET {change} WHERE org_id = %s", c.scene.org)


def key(change: str) -> Case:
    return lambda c: _do(c, f"UPDATE idempotency_keys SET {change} WHERE org_id = %s", c.scene.org)


def new_key(**values: object) -> Case:
    row = {"principal": "x", "operation": "x", "key_hash": os.urandom(32), "fingerprint": os.urandom(32), "subject": "x"}
    return lambda c: c.insert("idempotency_keys", **row | values)


def credit(change: str) -> Case:
    return lambda c: _do(c, f"UPDATE credits SET {change} WHERE org_id = %s", c.scene.org)


def without(rule: str, table: str, case: Case) -> Case:
    """The attempt where another rule, which would also have refused it, is gone: each must hold alone."""

    def run(c: Cursor) -> None:
        c.run(f"ALTER TABLE {table} DROP CONSTRAINT {rule}")
        case(c)

    return run


def _do(c: Cursor, query: str, *parameters: object) -> None:
    c.run(query, *parameters)


def _main_as_clearing(c: Cursor) -> None:
    c.transfer("refund", "clearing", "wallet", debit_id=c.account("main"))


def _same_account(c: Cursor) -> None:
    c.transfer("fund", "main", "wallet", credit_id=c.account("main"))


def _other_currency_wallet(c: Cursor) -> None:
    wallet = uuid4()
    c.copy("accounts", f"org_id = '{c.scene.org}' AND id = '{c.scene.wallet}'", id=wallet, currency="USD")
    c.run("UPDATE accounts SET available = 1000 WHERE id = %s", wallet)
    c.hold(wallet_id=wallet, currency="USD")


def _resolved_twice(c: Cursor) -> None:
    payment = c.held()
    c.resolve(payment, 0, payment["amount"])
    c.resolve(payment, 0, payment["amount"])


def _captured_without_transfer(c: Cursor) -> None:
    payment = c.held()
    c.resolve(payment, payment["amount"], 0)


def _captured_by_another_records_transfer(c: Cursor) -> None:
    payment = c.held()
    c.transfer("capture", "wallet", "clearing", payment["amount"], payment_id=payment["id"], from_held=True)
    c.resolve(payment, payment["amount"], 0)


def _resolve(captured: int, released: int, **changes: int) -> Case:
    return lambda c: c.resolve(c.held(), captured, released, **changes)


def _platform_again(c: Cursor) -> None:
    """Somebody else becomes the one whose people stop the platform."""
    _do(c, "UPDATE deployment SET platform_org = coalesce(platform_org, %s)", c.scene.org)
    _do(c, "UPDATE deployment SET platform_org = gen_random_uuid()")


CASES: dict[str, list[Case]] = {
    "accounts_available": [
        account("available", "-1"),
        account("available", "-1", "kind = 'main'"),
        lambda c: c.hold(amount=10**9),
        lambda c: c.transfer("return_to_main", "wallet", "main", 10**9),
        lambda c: c.transfer("fund", "main", "wallet", 10**12),
    ],
    "accounts_held": [account("held", "-1"), lambda c: c.transfer("capture", "wallet", "clearing", 10**6, from_held=True)],
    "accounts_main_held": [account("held", "1", "kind = 'main'")],
    "accounts_balance_kinds": [account("available", "NULL"), account("(available, held)", "(0, 0)", "kind = 'clearing'")],
    "accounts_wallet_agent": [account("(agent_id, project_id)", "(NULL, NULL)")],
    "accounts_kind": [account("kind", "'mine'", "kind = 'external'")],
    "accounts_currency": [account("currency", "'brl'", "kind = 'external'")],
    "accounts_one_each": [lambda c: c.copy("accounts", f"org_id = '{c.scene.org}' AND kind = 'main'", id=uuid4())],
    "transfers_mandate": [
        lambda c: c.transfer("capture", "wallet", "clearing", mandate_id=None),
        lambda c: c.transfer("settled_late", "wallet", "clearing", mandate_id=None),
    ],
    "transfers_kind": [
        lambda c: c.transfer("capture", "main", "clearing"),
        lambda c: c.transfer("settled_late", "main", "clearing"),
        lambda c: c.transfer("gift", "external", "wallet"),
        lambda c: c.transfer("deposit", "external", "wallet"),
        lambda c: c.transfer("return_to_main", "wallet", "clearing"),
    ],
    "transfers_main_stays_home": [without("transfers_kind", "transfers", lambda c: c.transfer("capture", "main", "clearing"))],
    "transfers_amount": [lambda c: c.transfer("fund", "main", "wallet", 0), lambda c: c.transfer("fund", "main", "wallet", -5)],
    "transfers_two_accounts": [_same_account],
    "transfers_held": [
        lambda c: c.transfer("fund", "main", "wallet", from_held=True),
        lambda c: c.transfer("capture", "wallet", "clearing", from_held=False),
    ],
    "transfers_debit": [
        _main_as_clearing,
        lambda c: c.transfer("fund", "main", "wallet", currency="USD"),
        lambda c: c.transfer("fund", "main", "wallet", livemode=True),
        lambda c: c.transfer("refund", "clearing", "wallet", debit_id=uuid4()),
    ],
    "transfers_credit": [lambda c: c.transfer("fund", "main", "wallet", credit_id=c.account("clearing"))],
    "transfers_mandate_known": [lambda c: c.transfer("capture", "wallet", "clearing", mandate_id=uuid4())],
    "holds_wallet": [
        lambda c: c.hold(wallet_id=c.scene.rival_wallet),
        lambda c: c.hold(wallet_id=c.account("main")),
        lambda c: c.hold(currency="USD"),
        lambda c: c.hold(livemode=True),
        lambda c: c.hold(agent_id=c.scene.rival, mandate_id=c.scene.rival_mandate),
    ],
    "holds_mandate": [lambda c: c.hold(mandate_id=c.scene.rival_mandate), lambda c: c.hold(mandate_id=uuid4()), _other_currency_wallet],
    "holds_amount": [lambda c: c.hold(amount=0), lambda c: c.hold(amount=-1)],
    "holds_payment": [lambda c: c.hold(payment_id=c.scene.paid)],
    "hold_resolutions_sum": [_resolve(600, 300), _resolve(2000, -1000), _resolve(-1, 1001)],
    "hold_resolutions_hold": [_resolve(0, 500, amount=500), _resolve(0, 5000, amount=5000)],
    "hold_resolutions_pkey": [_resolved_twice],
    "hold_resolutions_transfer": [_captured_without_transfer, _captured_by_another_records_transfer],
    "credits_once": [lambda c: c.copy("credits", f"org_id = '{c.scene.org}'", id=uuid4())],
    "credits_confirmed": [credit("amount = 0"), credit("currency = NULL"), credit("entry_id = NULL")],
    "credits_direction": [credit("direction = 'out'")],
    "credits_status": [credit("status = 'good'")],
    "idempotency_keys_frozen_once": [key("body = 'x'"), key("status = 200"), key("frozen_at = NULL, body = NULL, status = NULL")],
    "idempotency_keys_frozen": [new_key(body=b"x")],
    "idempotency_keys_status": [new_key(status=500, body=b"x", frozen_at="2030-01-01T00:00:00Z")],
    "idempotency_keys_sizes": [new_key(key_hash=b"x"), new_key(fingerprint=b"x")],
    "ledger_entries_leaf": [entry(hash=os.urandom(32)), entry(leaf=b"{}"), entry(content=b"{}", leaf=b"{}")],
    "ledger_entries_seq": [entry(seq=1)],
    "ledger_entries_prev": [lambda c: c.copy("ledger_entries", f"org_id = '{c.scene.org}' AND seq = 2", id=uuid4(), seq=10**6)],
    "ledger_entries_pkey": [lambda c: c.copy("ledger_entries", f"org_id = '{c.scene.org}'", seq=10**6, prev=os.urandom(32))],
    "ledger_entries_kind": [entry(kind="made.up")],
    "ledger_entries_positive": [entry(seq=0)],
    "ledger_entries_sizes": [entry(sig=b"x"), entry(prev=b""), entry(content=b"x" * 262_145)],
    "ledger_heads_grow": [
        head("seq = seq + 2"),
        head("seq = seq - 1"),
        head("hash = sha256('')"),
        head(f"org_id = '{uuid4()}', seq = seq + 1"),
        lambda c: _do(c, "DELETE FROM ledger_heads WHERE org_id = %s", c.scene.org),
    ],
    "deployment_name": [lambda c: _do(c, "INSERT INTO deployment (name) VALUES ('Not a host')")],
    "deployment_named_once": [lambda c: _do(c, "UPDATE deployment SET name = 'elsewhere.example'"), _platform_again],
    "deployment_one": [lambda c: _do(c, "INSERT INTO deployment (one, name) VALUES (false, 'second')")],
    "ledger_heads_sizes": [head("seq = seq + 1, hash = ''")],
    "ledger_openings_salt": [
        lambda c: c.insert("ledger_openings", commit=hashlib.sha256(b"xy").digest(), entry_id=uuid4(), salt=b"x", value=b"y")
    ],
    "ledger_openings_commit": [
        lambda c: c.insert("ledger_openings", commit=os.urandom(32), entry_id=uuid4(), salt=os.urandom(32), value=b"x")
    ],
    "ledger_rewinds_behind": [
        lambda c: c.insert("ledger_rewinds", generation=1, sealed=5, size=5),
        lambda c: c.insert("ledger_rewinds", generation=0, sealed=5, size=6),
    ],
    "ledger_checkpoints_size": [lambda c: c.insert("ledger_checkpoints", size=0, root=b"x", frontier=[], note="x", generation=0)],
}
