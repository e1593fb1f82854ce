"""One organisation with everything in it that a rule could be broken on; its cases run as the superuser and are rolled back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from codespar.lib import db
from tests.support import books, forge
from tests.support.world import BRL, World, raw_id

Json = dict[str, Any]


@dataclass
class Scene:
    """`run` is a connection past all grants and walls, in a transaction that is rolled back."""

    world: World
    pen: forge.Forger
    paid: UUID
    rival: UUID
    rival_wallet: UUID
    rival_mandate: UUID

    @property
    def org(self) -> UUID:
        return raw_id(self.world.org)

    @property
    def agent(self) -> UUID:
        return raw_id(self.world.agent)

    @property
    def wallet(self) -> UUID:
        return raw_id(self.world.wallet)

    @property
    def mandate(self) -> UUID:
        return raw_id(self.world.mandate)

    @contextmanager
    def cursor(self) -> Iterator["Cursor"]:
        with books.superuser(self.world) as connection, connection.transaction(force_rollback=True):
            yield Cursor(self, connection)

    def refusal(self, case: Any) -> str | None:
        """The name of the rule that stops `case`, or None when nothing does."""
        try:
            with self.cursor() as cursor:
                case(cursor)
                # What a deferred rule would still say.
                cursor.run("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            return db.rule_name(error)
        return None


@dataclass
class Cursor:
    scene: Scene
    connection: psycopg.Connection[Json]

    def run(self, query: str, *parameters: Any) -> list[Json]:
        found = self.connection.execute(query, parameters or None)
        return list(found.fetchall()) if found.description else []

    def insert(self, table: str, **values: Any) -> None:
        """A row, with the organisation in it unless another one is named."""
        row = {"org_id": self.scene.org} | values
        marks = ", ".join(["%s"] * len(row))
        self.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    def copy(self, table: str, where: str, **changes: Any) -> None:
        """A copy of one row with some values changed."""
        names = [r["n"] for r in self.run("SELECT attname AS n FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", table)]
        values = ", ".join("%s" if name in changes else name for name in names)
        arguments = [changes[name] for name in names if name in changes]
        self.run(f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM {table} WHERE {where} LIMIT 1", *arguments)

    def account(self, kind: str) -> UUID:
        return self.run("SELECT id FROM accounts WHERE org_id = %s AND kind = %s AND currency = %s", self.scene.org, kind, BRL)[0]["id"]

    def held(self, amount: int = 1000) -> Json:
        """A payment with its hold, authorised in this transaction: the row of the payment."""
        payment = self.scene.pen.payment(amount)
        record = self.scene.pen.payment_record(payment)
        said = forge.call(self.connection, "authorise", self.scene.pen.org, self.scene.pen.digest(), *record.values())
        assert said == "done", said
        return self.run("SELECT * FROM payments WHERE org_id = %s AND id = %s", self.scene.org, raw_id(payment["id"]))[0]

    def transfer(self, kind: str, debit: str, credit: str, amount: int = 100, **changes: Any) -> None:
        """A transfer between two of this organisation's accounts, named by their kinds; `wallet` is the agent's."""
        found = {side: self.scene.wallet if side == "wallet" else self.account(side) for side in (debit, credit)}
        row = {
            "id": uuid4(),
            "kind": kind,
            "debit_id": found[debit],
            "debit_kind": debit,
            "credit_id": found[credit],
            "credit_kind": credit,
            "livemode": False,
            "currency": BRL,
            "amount": amount,
            "mandate_id": self.scene.mandate,
            "entry_id": uuid4(),
            "from_held": kind == "capture",
        }
        self.insert("transfers", **row | changes)

    def hold(self, **changes: Any) -> None:
        """A hold of the agent's wallet under its mandate."""
        row = {
            "id": uuid4(),
            "wallet_id": self.scene.wallet,
            "agent_id": self.scene.agent,
            "mandate_id": self.scene.mandate,
            "payment_id": uuid4(),
            "livemode": False,
            "currency": BRL,
            "amount": 100,
            "counters": "[]",
            "entry_id": uuid4(),
        }
        self.insert("holds", **row | changes)

    def resolve(self, payment: Json, captured: int, released: int, **changes: Any) -> None:
        amount = changes.pop("amount", payment["amount"])
        row = {"hold_id": payment["hold_id"], "amount": amount, "captured": captured, "released": released, "entry_id": uuid4()}
        self.insert("hold_resolutions", **row | changes)


def make(world: World) -> Scene:
    """A payment that settled, one that was denied, one that waits for a person, a refund, a second agent with
    its mandate, a stop that was lifted and one that was not."""
    answer = world.pay(1000)
    assert world.settled(answer.json()["id"])["status"] == "settled", answer.text
    assert world.pay(10**9 + 1).status_code == 403
    proposed = world.api.post("/v1/counterparties", {"name": "New", "accounts": [{"type": "pix_key", "value": "new@payee.example"}]})
    assert world.pay(500, counterparty=proposed["id"]).json()["status"] == "requires_approval"
    world.people().post(f"/v1/payments/{answer.json()['id']}/refund", {"amount": {"amount": 100, "currency": BRL}})
    rival, wallet, _ = world.new_agent()
    mandate = world.new_mandate(agent=rival)
    spare = world.new_mandate(budget=5000, max_uses=5)
    world.people().post(f"/v1/mandates/{spare}/revoke", {"reason": "a scene needs one"})
    world.lift(world.stop("mandate", spare))
    world.stop("mandate", spare)
    paid = raw_id(answer.json()["id"])
    return Scene(world, forge.Forger(world), paid, raw_id(rival), raw_id(wallet), raw_id(mandate))
