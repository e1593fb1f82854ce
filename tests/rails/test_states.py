"""What stands twice says the same: states, kinds and scopes in Python and in the database."""

import random
from uuid import uuid4

import psycopg
import pytest

from codespar.identity import access
from ledger.kinds import KINDS, PARTS
from rails.states import TRANSITIONS
from tests.support.world import World, raw_id

PAIRS = {(state, successor) for state, successors in TRANSITIONS.items() for successor in successors}


def test_the_transition_tables_are_one(shared_world: World) -> None:
    rows = shared_world.rows("SELECT from_state, to_state FROM payment_transition_rules")
    assert {(row["from_state"], row["to_state"]) for row in rows} == PAIRS


def test_every_state_can_be_reached_and_has_an_end() -> None:
    reached, open_states = {"new"}, ["new"]
    while open_states:
        for successor in TRANSITIONS[open_states.pop()]:
            if successor not in reached:
                reached.add(successor)
                open_states.append(successor)
    assert reached == set(TRANSITIONS)


def test_the_kinds_are_one(shared_world: World) -> None:
    assert {row["kind"] for row in shared_world.rows("SELECT kind FROM ledger_kinds")} == set(KINDS)
    assert {part for kind in KINDS.values() for part in kind.parts} == PARTS


def test_the_scopes_are_one(shared_world: World) -> None:
    rows = {(row["role"], row["scope"]) for row in shared_world.rows("SELECT role, scope FROM role_scopes")}
    assert rows == {(role, scope) for role, scopes in access.ROLES.items() for scope in scopes}


def test_no_random_walk_leaves_the_table(world: World) -> None:
    payment = raw_id(world.pay(10).json()["id"])
    # What was not made for a time to come is never scheduled: a rule of its own.
    states = sorted(set(TRANSITIONS) - {"new", "scheduled"})
    choose, refused = random.Random(7), 0
    with world.db("super") as connection:
        for _ in range(150):
            row = connection.execute("SELECT status FROM payments WHERE id = %s", [payment]).fetchone()
            assert row is not None
            to = choose.choice(states)
            if to == row["status"]:
                continue
            update = "UPDATE payments SET status = %s, entry_id = %s, due_at = now() WHERE id = %s"
            if (row["status"], to) in PAIRS:
                connection.execute(update, [to, uuid4(), payment])
            else:
                with pytest.raises(psycopg.errors.ForeignKeyViolation) as error:
                    connection.execute(update, [to, uuid4(), payment])
                assert error.value.diag.constraint_name == "payment_transitions_allowed"
                refused += 1
    assert refused > 50
