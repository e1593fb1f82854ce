"""What somebody holds who took over one process: its database connection, a token's digest, and a pen for records. No ledger key."""

import secrets
from dataclasses import dataclass, field
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.types.json import Jsonb

from codespar.lib import canonical, clock, db, ids
from ledger import records
from rails import workers
from tests.support import books
from tests.support.world import BRL, World, later, raw_id

Json = dict[str, Any]
DENIED = "permission denied"


@dataclass
class Forger:
    """Makes records of any content, signed with a key of its own, and calls the engine's functions with them as any role."""

    world: World
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    account: str = ""
    kid: str = ""
    known_head: Json | None = None

    def __post_init__(self) -> None:
        # Both are public: the registry is read by every role, the key's name stands in every record.
        self.account = self.world.people().get(f"/v1/counterparties/{self.world.counterparty}")["accounts"][0]["id"]
        self.kid = self.world.rows("SELECT kid FROM ledger_entries WHERE seq = 1")[0]["kid"]

    @property
    def org(self) -> str:
        return str(raw_id(self.world.org))

    def digest(self, who: str = "agent") -> bytes:
        """What the database is asked with for one of the world's tokens."""
        return canonical.sha256(self.world.tokens[who].encode())

    def head(self) -> Json:
        """The head that records come after: the chain's, or the one that was set."""
        return self.known_head or self.now()

    def now(self) -> Json:
        """The chain's head, as every role may read it."""
        return self.world.rows("SELECT seq, encode(hash, 'hex') AS hash FROM ledger_heads")[0]

    def record(
        self,
        kind: str,
        data: Json,
        parts: list[Json] | None = None,
        *,
        openings: list[Json] | None = None,
        changes: Json | None = None,
    ) -> Json:
        """The arguments of a function that takes a record: {content, sig, openings}. `changes` replace whole members."""
        draft = records.Draft(
            kind=kind,
            livemode=False,
            org=raw_id(self.world.org),
            actor=self.world.agent,
            subject=self.world.agent,
            request_id=ids.wire("req", ids.new()),
            data=data,
            project=self.world.project,
            parts=parts or [],
        )
        signer = records.Signer(self.kid, self.key.sign)
        made = records.sign(draft, deployment="test.localhost", after=self.head(), at=clock.now(), signer=signer)
        content = canonical.dumps(canonical.loads(made.content) | (changes or {}))
        return {"content": content, "sig": self.key.sign(records.message(content)), "openings": openings}

    def payment(self, amount: Any = 1000, **changes: Any) -> Json:
        """The payment of a record: allowed by everything, with changes."""
        return {
            "id": ids.wire("pay", ids.new()),
            "mandate": self.world.mandate,
            "wallet": self.world.wallet,
            "counterparty": self.world.counterparty,
            "counterparty_version": 1,
            "account": self.account,
            "amount": amount,
            "currency": BRL,
            "purpose": "hosting",
            "rail": "sandbox",
            "submit_by": later(seconds=50),
        } | changes

    def payment_record(
        self,
        payment: Json | None = None,
        *,
        kind: str = "payment.authorized",
        outcome: str = "allow",
        openings: list[Json] | None = None,
        **changes: Any,
    ) -> Json:
        """A record that claims a decision about `payment`, with whole members of it changed."""
        paid = payment or self.payment()
        code = None if outcome == "allow" else "made_up"
        decision: Json = {"part": "decision", "id": ids.wire("dec", ids.new()), "outcome": outcome, "layer": None, "code": code}
        parts = [decision | {"reasons": [], "policies": [], "shadows": []}, {"part": "hold", "id": ids.wire("hld", ids.new())}]
        parts.append({"part": "approval_request", "id": ids.wire("apr", ids.new())})
        idempotency = {"key": secrets.token_hex(32), "fingerprint": secrets.token_hex(32)}
        return self.record(kind, {"payment": paid, "idempotency": idempotency}, parts, openings=openings, changes=changes)

    def authorise(self, payment: Json | None = None, *, who: str = "agent", **changes: Any) -> str:
        """Call `authorise` by hand over the agents' connection: what came of it, as `outcome` says it."""
        record = self.payment_record(payment, **changes)
        return self.outcome("agent", "authorise", self.org, self.digest(who), *record.values())

    def outcome(self, role: str, function: str, *arguments: Any) -> str:
        """`done`, `twin`, `moved: <what>`, the name of the rule that refused, an SQL state, or DENIED."""
        with self.world.db(role) as connection:
            return call(connection, function, *arguments)

    def leased(self, payment: Json | None = None) -> Json:
        """A payment that the database authorised and holds, and that no dispatcher takes for an hour."""
        made = payment or self.payment()
        record = self.payment_record(made)
        with books.superuser(self.world) as connection, connection.transaction():
            said = call(connection, "authorise", self.org, self.digest(), *record.values())
            assert said == "done", said
            lease(connection, "payments", made["id"])
        return made


def lease(connection: psycopg.Connection[Any], table: str, wire: str) -> None:
    """Keep the dispatchers off this row: this very process, which lives, holds it."""
    query = f"UPDATE {table} SET lease_owner = %s, lease_until = now() + interval '1 hour' WHERE id = %s"
    connection.execute(query, [workers.identity(), raw_id(wire)])


def call(connection: psycopg.Connection[Any], function: str, *arguments: Any) -> str:
    """One function call by hand, and what came of it."""
    bound = [Jsonb(a) if isinstance(a, list | dict) else a for a in arguments]
    marks = ", ".join(["%s"] * len(bound))
    try:
        row = connection.execute(f"SELECT {function}({marks}) AS answer", bound).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return DENIED
    except psycopg.Error as error:
        return db.rule_name(error)
    answer = row["answer"] if isinstance(row, dict) else row and row[0]
    if isinstance(answer, dict) and "moved" in answer:
        return f"moved: {_moved(answer['moved'])}"
    return "twin" if isinstance(answer, dict) and answer.get("twin") else "done"


def _moved(what: Any) -> str:
    if isinstance(what, list):
        return ",".join(sorted({item["reason"] if isinstance(item, dict) else "state" for item in what}))
    return str(what)
