"""Organisations for the console's tests: made through the actions, with one row or more in every table that has a page."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql
from psycopg.types.json import Jsonb

from codespar.launcher.stack import StackInfo
from codespar.lib import clock, ids, sdjwt
from tests.console.browsing import PASSWORD

# Stands for every sealed secret: no page may show these bytes, in no encoding.
SEALED = b"\x5a\xea\x1e\xd0" * 12


@dataclass(frozen=True)
class Tenant:
    """One organisation: its owner's log-in, and the ids of its rows by the prefix of their wire ids (or a short name)."""

    name: str
    email: str
    org: UUID
    owner: UUID
    secret: bytes
    rows: dict[str, UUID]


def make(stack: StackInfo) -> Tenant:
    """A new organisation with a project, an agent, a log-in for its owner, and rows everywhere."""
    from codespar.identity import actions, principals

    name = f"Organisation {secrets.token_hex(4)}"
    email, request = f"owner@{name[13:]}.example", ids.wire("req", ids.new())
    new = actions.create_organisation(
        name=name, timezone="America/Sao_Paulo", email=email, owner_name=f"Owner of {name}", request_id=request, now=clock.now()
    )
    owner = principals.authenticate(new.test_token, request_id=request)
    live = principals.authenticate(new.live_token, request_id=request)
    secret = actions.set_login(live, member=new.owner, password=PASSWORD, now=clock.now())
    project = actions.create_project(owner, name=f"Project of {name}", now=clock.now())
    jwk = sdjwt.public_jwk(ec.generate_private_key(ec.SECP256R1()))
    agent = actions.create_agent(owner, project=project, name=f"Buyer of {name}", public_jwk=jwk, now=clock.now())
    with stack.cluster.postgres.connect(stack.database) as admin:
        rows = fill(admin, org=new.id, owner=new.owner, project=project, agent=agent, name=name)
    return Tenant(name, email, new.id, new.owner, secret, {**rows, "org": new.id, "mem": new.owner, "prj": project, "agt": agent})


def fill(admin: psycopg.Connection[Any], *, org: UUID, owner: UUID, project: UUID, agent: UUID, name: str) -> dict[str, UUID]:
    """One row in every business table, as they stand after a payment that settled. Returns their ids."""
    made = {
        key: ids.new()
        for key in [
            "mnd",
            "ctp",
            "pol",
            "dec",
            "wal",
            "main",
            "clear",
            "tr",
            "hld",
            "crd",
            "pay",
            "ref",
            "apr",
            "att",
            "evt",
            "web",
            "rev",
            "stp",
            "key",
            "brk",
            "rcn",
            "dsc",
            "open",
            "rul",
            "cns",
            "whe",
            "told",
        ]
    }
    with admin.transaction(), admin.cursor() as cursor:
        # The superuser goes around triggers and foreign keys: the pages are on trial here, not the rules.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("SET LOCAL search_path = codespar")
        cursor.execute("SELECT id FROM ledger_entries WHERE org_id = %s ORDER BY seq DESC LIMIT 1", [org])
        found = cursor.fetchone()
        assert found is not None
        base = {"org_id": org, "entry_id": found[0]}
        _money(cursor, base, made, project, agent)
        _authority(cursor, base, made, project, agent, owner, name)
        _payments(cursor, base, made, project, agent, owner)
        cursor.execute("SELECT count(*) FROM ledger_entries WHERE org_id = %s", [org])
        size = cursor.fetchone()
        assert size is not None
        cursor.execute(
            # The sealer may have been here already.
            "INSERT INTO ledger_checkpoints (org_id, size, root, frontier, note, generation)"
            " VALUES (%s, %s, %s, '{aa}', %s, 0) ON CONFLICT DO NOTHING",
            [org, size[0], b"r" * 32, "codespar/log\n3\nroot\n"],
        )
        values = {
            **base,
            "id": made["key"],
            "credential_entry": base["entry_id"],
            "rail": "sandbox",
            "livemode": False,
            "provider_account": f"account of {name}",
        }
        # It is checked by nobody meanwhile: what its check said would be one record more.
        insert(cursor, "rail_accounts", **values, sealed=SEALED, check_at="2099-01-31T12:00:00Z")
        allowed = {"scopes": ["accounts.read"], "status": "authorised", "address": "https://bank.example/yes"}
        until = {"expires_at": datetime.now(UTC) + timedelta(days=1), "due_at": "infinity", "requested_by": ids.wire("mem", owner)}
        told = {"id": made["cns"], "rail": "sandbox", "livemode": False, "provider_consent": f"consent of {name}"}
        insert(cursor, "consents", **base, **told, **allowed, **until)
        _reconciled(cursor, base, made, owner)
        _told(cursor, base, made)
        cursor.execute("UPDATE private_keys SET sealed = %s WHERE org_id = %s AND purpose = 'mandate'", [SEALED, org])
        cursor.execute("SELECT id FROM access_tokens WHERE org_id = %s LIMIT 1", [org])
        token = cursor.fetchone()
        assert token is not None
        made |= {"ent": found[0], "tok": token[0]}
    return made


def insert(cursor: psycopg.Cursor[Any], table: str, **values: Any) -> None:
    """One row, written around every rule."""
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join(sql.Placeholder() * len(values)),
    )
    cursor.execute(
        query,
        [Jsonb(v) if isinstance(v, dict) or (isinstance(v, list) and v and not isinstance(v[0], str)) else v for v in values.values()],
    )


def _money(cursor: psycopg.Cursor[Any], base: dict[str, Any], made: dict[str, UUID], project: UUID, agent: UUID) -> None:
    mode = {**base, "livemode": False, "currency": "BRL"}
    held = {"available": 873_450, "held": 12_550}
    insert(cursor, "accounts", **mode, id=made["wal"], kind="wallet", project_id=project, agent_id=agent, **held)
    insert(cursor, "accounts", **mode, id=made["main"], kind="main", available=12_000_000, held=0)
    insert(cursor, "accounts", **mode, id=made["clear"], kind="clearing", rail="sandbox")
    legs = {"debit_id": made["wal"], "debit_kind": "wallet", "credit_id": made["clear"], "credit_kind": "clearing"}
    insert(
        cursor,
        "transfers",
        **mode,
        id=made["tr"],
        kind="capture",
        from_held=True,
        **legs,
        agent_id=agent,
        amount=1050,
        mandate_id=made["mnd"],
        payment_id=made["pay"],
    )
    hold = {"wallet_id": made["wal"], "agent_id": agent, "mandate_id": made["mnd"], "payment_id": made["pay"]}
    insert(cursor, "holds", **mode, id=made["hld"], **hold, amount=1050, counters={})
    insert(cursor, "hold_resolutions", **base, hold_id=made["hld"], amount=1050, captured=1050, released=0)
    credit = {"rail": "sandbox", "provider_account": "acct_1", "reference": "dep_1", "status": "confirmed", "amount": 12_000_000}
    insert(cursor, "credits", **mode, id=made["crd"], **credit)


def _authority(
    cursor: psycopg.Cursor[Any], base: dict[str, Any], made: dict[str, UUID], project: UUID, agent: UUID, owner: UUID, name: str
) -> None:
    author, org = ids.wire("mem", owner), base["org_id"]
    epochs = {"platform": 0, "org": 0, "project": 0, "agent": 0}
    terms = {"profile": "extended", "currency": "BRL", "max_amount": 50_000, "budget": 500_000, "counterparties": [made["ctp"]]}
    mandate = {"project_id": project, "agent_id": agent, "livemode": False, "credential": "eyJhbGciOiJFUzI1NiJ9." + "A" * 400, "kid": "k1"}
    cursor.execute(
        "INSERT INTO mandates (org_id, entry_id, id, project_id, agent_id, livemode, credential, kid, profile, currency, max_amount,"
        " budget, counterparties, countries, epochs, expires_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '{BR}', %s,"
        " now() + interval '90 days')",
        [org, base["entry_id"], made["mnd"], *mandate.values(), *terms.values(), Jsonb(epochs)],
    )
    insert(cursor, "mandate_usages", org_id=org, mandate_id=made["mnd"], budget=500_000, spent=1050, uses=1)
    party = {"name": f"Payee of {name}", "country": "BR", "category": "books"}
    insert(cursor, "counterparties", **base, id=made["ctp"], livemode=False, status="confirmed", version=1, **party)
    document = {**party, "accounts": [{"id": ids.wire("acc", ids.new()), "rail": "sandbox"}]}
    insert(cursor, "counterparty_versions", **base, counterparty_id=made["ctp"], version=1, document=document, author=author)
    insert(cursor, "policies", **base, id=made["pol"], livemode=False, name=f"Rules of {name}", scope="org", scope_id=org)
    rules = {
        "rules": [
            {"id": "all", "effect": "allow"},
            {"id": "day", "effect": "limit", "window": "day", "currency": "BRL", "max_amount": 100_000},
        ]
    }
    insert(cursor, "policy_versions", **base, policy_id=made["pol"], version=1, document=rules, author=author)
    insert(cursor, "policy_activations", **base, policy_id=made["pol"], epoch=1, version=1, state="active", author=author)
    window = {"selector": f"org={org};test", "currency": "BRL", "window_kind": "day", "window_start": "2026-01-31"}
    insert(cursor, "counters", org_id=org, **window, amount=1050, uses=1)
    target = {"livemode": False, "scope": "mandate", "scope_id": made["mnd"], "target": ids.wire("mnd", made["mnd"])}
    said = {"reason_commit": "00" * 32, "at": "2026-01-31T12:00:00Z"}
    signed = {"initiator": author, "receipt": "eyJ" + "B" * 200} | said
    insert(cursor, "revocations", **base, id=made["rev"], **target, **signed)
    insert(cursor, "stops", **base, id=made["stp"], **target, **signed)
    insert(cursor, "stop_lifts", **base, stop_id=made["stp"], initiator=author, lifted_by=ids.wire("mem", ids.new()), **said)


def _payments(cursor: psycopg.Cursor[Any], base: dict[str, Any], made: dict[str, UUID], project: UUID, agent: UUID, owner: UUID) -> None:
    pay(cursor, base, made, project, agent, id=made["pay"], status="settled", captured=1050, decision_id=made["dec"], hold_id=made["hld"])
    cursor.execute(
        "INSERT INTO decisions (org_id, entry_id, id, payment_id, outcome, reasons, policies, shadows, facts)"
        " SELECT org_id, entry_id, %s, id, 'allow', '[]', '[]', '[]', ROW(org_id, livemode, project_id, agent_id, mandate_id, counterparty_id,"
        " 'BR', 'books', purpose, rail, amount, currency)::payment_facts FROM payments WHERE org_id = %s AND id = %s",
        [made["dec"], base["org_id"], made["pay"]],
    )
    insert(cursor, "payment_transitions", **base, payment_id=made["pay"], from_state="new", to_state="authorized")
    insert(cursor, "approvals", **base, id=made["apr"], payment_id=made["pay"], expires_at="2026-02-01T12:00:00Z")
    insert(cursor, "approval_votes", **base, approval_id=made["apr"], member_id=owner, verdict="approved")
    refund = {"rail": "sandbox", "amount": 500, "status": "settled", "requested_by": ids.wire("mem", owner)}
    insert(cursor, "refunds", **base, id=made["ref"], payment_id=made["pay"], rail_key=_key(made["ref"]), **refund)
    attempt = {"operation": "pay", "rail": "sandbox", "rail_key": _key(made["pay"]), "worker": "dispatcher-1"}
    cursor.execute(
        "INSERT INTO attempts (org_id, id, payment_id, operation, rail, rail_key, worker, send_by, submit_by, intent_entry_id)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, now(), now(), %s)",
        [base["org_id"], made["att"], made["pay"], *attempt.values(), base["entry_id"]],
    )
    result = {"source": "answer", "result": "settled", "code": "ok", "provider_id": "prov_1"}
    insert(cursor, "attempt_results", **base, id=made["evt"], attempt_id=made["att"], **result)
    message = {
        "rail": "sandbox",
        "livemode": False,
        "message_id": "msg_1",
        "headers": {"webhook-id": "msg_1"},
        "body": b'{"type": "payment"}',
    }
    insert(cursor, "webhook_messages", org_id=base["org_id"], id=made["web"], **message)


def _reconciled(cursor: psycopg.Cursor[Any], base: dict[str, Any], made: dict[str, UUID], owner: UUID) -> None:
    rail = {"rail": "sandbox", "livemode": False}
    change = {"operation": "pay", "reason": "failing", "from_state": "closed", "to_state": "open", "code": "timeout"}
    insert(cursor, "breaker_changes", **base, id=made["brk"], **rail, **change)
    account = {"org_id": base["org_id"], "rail_account_id": made["key"], **rail}
    insert(cursor, "reconciliation_states", **account, runs=1)
    cursor.execute(
        "INSERT INTO reconciliations (org_id, rail_account_id, rail, livemode, id, status, lines, matched, opened, cases, finished_at)"
        " VALUES (%s, %s, %s, %s, %s, 'done', 3, 1, 2, 1, clock_timestamp())",
        [*account.values(), made["rcn"]],
    )
    case = {**account, "entry_id": base["entry_id"], "kind": "amount", "payment_id": made["pay"], "run_id": made["rcn"]}
    said = {
        "ours": {"status": "settled", "amount": -1050, "currency": "BRL"},
        "theirs": {"lines": 1, "amount": -1051, "currency": "BRL", "provider_id": "prov_1"},
    }
    insert(cursor, "discrepancies", **case, id=made["dsc"], subject="line 1", **said)
    insert(cursor, "discrepancies", **case, id=made["open"], subject="line 2", **said)
    closed = {"member_id": owner, "verdict": "ours", "reason_commit": "00" * 32}
    insert(cursor, "discrepancy_resolutions", **base, discrepancy_id=made["dsc"], **closed)
    ruled = {"outcome": "settled", "reason_commit": "00" * 32, "evidence_commit": "00" * 32}
    insert(cursor, "payment_rulings", **base, id=made["rul"], payment_id=made["pay"], proposed_by=owner, **ruled)


def _told(cursor: psycopg.Cursor[Any], base: dict[str, Any], made: dict[str, UUID]) -> None:
    cursor.execute(
        "INSERT INTO webhook_endpoints (org_id, entry_id, id, livemode, url, types, status, cursor)"
        " VALUES (%s, %s, %s, false, 'https://hooks.example/in', '{reconciliation.flagged,scope.stopped}', 'gone', 1)",
        [*base.values(), made["whe"]],
    )
    insert(cursor, "webhook_secrets", org_id=base["org_id"], id=ids.new(), endpoint_id=made["whe"], sealed=SEALED)
    delivery = {"org_id": base["org_id"], "endpoint_id": made["whe"], "seq": 1, "type": "scope.stopped", "attempts": 9}
    last = {"answer": 410, "tried_at": "2026-01-31T12:00:00Z", "next_at": None}
    insert(cursor, "webhook_deliveries", **delivery, id=made["told"], n=0, status="failed", **last)


def pay(cursor: psycopg.Cursor[Any], base: dict[str, Any], made: dict[str, UUID], project: UUID, agent: UUID, **values: Any) -> None:
    """One payment; `values` are what is special about it."""
    usual: dict[str, Any] = {"id": ids.new(), "decision_id": ids.new(), "status": "authorized", "amount": 1050, "currency": "BRL"}
    row = usual | values
    parties = {"mandate_id": made["mnd"], "wallet_id": made["wal"], "counterparty_id": made["ctp"], "counterparty_version": 1}
    fixed = {"project_id": project, "agent_id": agent, "livemode": False, "purpose": "books", "rail": "sandbox", "account_id": "acc_1"}
    insert(
        cursor, "payments", **base, created_entry_id=base["entry_id"], **parties, **fixed, **row,
        rail_key=_key(row["id"]), submit_by="2099-01-31T12:00:00Z", due_at="2099-01-31T12:00:00Z",
    )  # fmt: skip


def _key(value: UUID) -> bytes:
    return hashlib.sha256(value.bytes).digest()
