"""What must be true once everything has gone quiet, whatever was killed: the bank's book, ours, the chain, and what clients were told."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from rails.states import TRANSITIONS
from tests.crash import banks
from tests.crash.banks import Account, Writing
from tests.crash.load import Asked
from tests.support import books, verifying
from tests.support.world import World, raw_id

Row = dict[str, Any]
_OPEN_PAYMENTS = (
    "SELECT status, count(*) AS n FROM payments WHERE status IN ('authorized', 'submitted', 'uncertain', 'reversing') GROUP BY 1"
)
_OPEN_REFUNDS = "SELECT status, count(*) AS n FROM refunds WHERE status IN ('authorized', 'submitted', 'uncertain') GROUP BY 1"
# The bank had taken them, and its answer did not arrive or was not booked.
_FOUND = """
SELECT count(*) AS n FROM payments p JOIN attempts a ON a.payment_id = p.id AND a.operation = 'pay' WHERE p.captured > 0 AND NOT EXISTS (
    SELECT FROM attempt_results r WHERE r.attempt_id = a.id AND r.source = 'answer' AND r.result IN ('settled', 'accepted', 'reserved'))
"""
# A refund has no table of its own in Python: what may follow what is in the functions that write it.
_REFUND_STEPS = {"authorized": {"submitted", "uncertain", "settled", "failed"}, "submitted": {"uncertain", "settled", "failed"}}
_REFUND_STEPS["uncertain"] = {"settled", "failed"}


@dataclass(frozen=True)
class Verdict:
    """`states` counts payments and refunds as they ended; of the rest, everything that is not nothing is a fault of the engine."""

    states: Counter[str]
    open: list[str]
    lost: list[str]
    doubled: list[str]
    orphans: list[str]
    books: list[str]
    ledger: list[str]

    @property
    def complaints(self) -> dict[str, list[str]]:
        named = {name: getattr(self, name) for name in ("open", "lost", "doubled", "orphans", "books", "ledger")}
        return {name: found for name, found in named.items() if found}

    def table(self) -> str:
        lines = [f"{state:<28}{count:>7}" for state, count in sorted(self.states.items())]
        lines += [f"{name:<28}{len(getattr(self, name)):>7}" for name in ("open", "lost", "doubled", "orphans", "books", "ledger")]
        return "\n".join(lines)


def quiet(world: World, seconds: float = 180) -> list[str]:
    """Wait until nothing is on its way. What still is after `seconds`."""
    until = time.monotonic() + seconds
    while found := world.rows(_OPEN_PAYMENTS) + world.rows(_OPEN_REFUNDS):
        if time.monotonic() > until:
            return [f"{row['n']} are still {row['status']}" for row in found]
        time.sleep(0.5)
    return []


def judge(world: World, asked: list[Asked], account: Account | None = None, *, seconds: float = 180, chain: bool = True) -> Verdict:
    """Wait until nothing is open any more, then compare everything with everything. `account` is the one that paid: the usual one.

    Not `chain`: without the chain, which takes longest.
    """
    still = quiet(world, seconds)
    account = account or banks.usual(world)
    bank = account.book(world)
    ours = {f"pay_{row['id'].hex}": row for row in world.rows("SELECT * FROM payments")}
    refunds = {f"ref_{row['id'].hex}": row for row in world.rows("SELECT * FROM refunds")}
    booked, given = bank.payments, bank.refunds
    states = Counter([f"payments {row['status']}" for row in ours.values()] + [f"refunds {row['status']}" for row in refunds.values()])
    states["payments found by asking"] = world.rows(_FOUND)[0]["n"]
    states.update([f"bank's payments {row['status']}" for row in booked] + [f"bank's refunds {row['status']}" for row in given])
    return Verdict(
        states,
        still
        + [f"{name} needs a human" for name, row in {**ours, **refunds}.items() if row["status"] == "needs_human"]
        + _kept(booked, given),
        _lost(world, asked, ours, refunds),
        _doubled(asked, booked, given, ours),
        _orphans(booked, given, ours, refunds, account.writing),
        _unbalanced(world, booked, given, bank.more),
        _unsound(world) if chain else [],
    )


def _kept(booked: list[Row], given: list[Row]) -> list[str]:
    """What the bank still holds for us, or still means to move, though nothing of ours is open."""
    return [f"the bank has left open {row}" for row in booked + given if row["status"] in ("accepted", "reserved")]


def _lost(world: World, asked: list[Asked], ours: dict[str, Row], refunds: dict[str, Row]) -> list[str]:
    """What was acknowledged and is not there, or is not what a client was told, or something later."""
    steps = {name: set(after) for name, after in TRANSITIONS.items()}
    found = []
    for one in asked:
        rows, allowed = (refunds, _REFUND_STEPS) if one.refunds else (ours, steps)
        found += [f"{one.key}: {word}" for word in one.strange]
        for name, state in one.told:
            if name not in rows:
                found.append(f"{name} was acknowledged as {state} and is not there")
            elif rows[name]["status"] not in _after(state, allowed):
                found.append(f"{name} was acknowledged as {state} and is {rows[name]['status']}")
    return found


def _after(state: str, steps: dict[str, set[str]]) -> set[str]:
    """The state, and all that it may become."""
    found, new = {state}, {state}
    while new:
        new = {after for one in new for after in steps.get(one, ())} - found
        found |= new
    return found


def _doubled(asked: list[Asked], booked: list[Row], given: list[Row], ours: dict[str, Row]) -> list[str]:
    """Two payments for one key of a client, two bookings for one payment, two for one refund."""
    found = [f"{one.key} has become {sorted(names)}" for one in asked if len(names := {name for name, _ in one.told}) > 1]
    keys = len({one.key for one in asked if one.refunds is None})
    found += [f"{len(ours)} payments under {keys} keys"] if len(ours) > keys else []
    for name, count in Counter(row["reference"] or row["key"] for row in booked if row["status"] == "settled").items():
        found += [f"{name} is charged {count} times"] if count > 1 else []
    for name, count in Counter(row["key"] for row in given if row["status"] == "settled").items():
        found += [f"refund {name} is given {count} times"] if count > 1 else []
    return found


def _orphans(booked: list[Row], given: list[Row], ours: dict[str, Row], refunds: dict[str, Row], writing: Writing) -> list[str]:
    """What the bank has moved and we have not booked, or the other way round, or otherwise."""
    of = {name: writing.payment(bytes(row["rail_key"])) for name, row in ours.items()}
    at_bank = {(row["reference"], row["key"], row["id"], row["amount"]) for row in booked if row["status"] == "settled"}
    with_us = {
        (writing.reference(name), of[name], row["provider_id"], row["amount"])
        for name, row in ours.items()
        if row["status"] in ("settled", "reversing", "reversed")
    }
    back_at_bank = {(row["key"], row["payment"], row["id"], row["amount"]) for row in given if row["status"] == "settled"}
    back_with_us = {
        (writing.refund(bytes(row["rail_key"])), of[f"pay_{row['payment_id'].hex}"], row["provider_id"], row["amount"])
        for row in refunds.values()
        if row["status"] == "settled"
    }
    found = [f"only the bank has {row}" for row in sorted(at_bank - with_us, key=str) + sorted(back_at_bank - back_with_us, key=str)]
    return found + [
        f"the bank does not have {row}" for row in sorted(with_us - at_bank, key=str) + sorted(back_with_us - back_at_bank, key=str)
    ]


def _unbalanced(world: World, booked: list[Row], given: list[Row], at_bank: int) -> list[str]:
    """Balances that are not the sum of what moved, on our side or against the bank's."""
    found = books.faults(world) + books.miscounted(world)
    sums = {row["kind"]: row for row in books.look(world, _SUMS, raw_id(world.org))}
    if any(row["held"] for row in sums.values()):
        found.append(f"something is still held: {sums}")
    own = sums["main"]["available"] + sums["wallet"]["available"]
    if own != at_bank:
        found.append(f"we have {own}, and the bank has {at_bank} for us")
    moved = _sum(booked) - _sum(given)
    if (cleared := sums["clearing"]["moved"] if "clearing" in sums else 0) != moved:
        found.append(f"{cleared} went through clearing, and {moved} through the bank")
    return found


def _sum(rows: list[Row]) -> int:
    return sum(row["amount"] for row in rows if row["status"] == "settled")


_SUMS = """
SELECT a.kind, coalesce(sum(a.available), 0)::bigint AS available, coalesce(sum(a.held), 0)::bigint AS held,
       sum((SELECT coalesce(sum(CASE t.credit_id WHEN a.id THEN t.amount ELSE -t.amount END), 0) FROM transfers t
            WHERE t.org_id = a.org_id AND a.id IN (t.credit_id, t.debit_id)))::bigint AS moved
FROM accounts a WHERE a.org_id = %s GROUP BY 1
"""


def _unsound(world: World) -> list[str]:
    """The chain: without a gap, every step recorded, and verified by the command that an auditor uses."""
    found = books.unrecorded(world) + verifying.unverified(world)
    entries = world.rows("SELECT count(*) AS n, max(seq) AS last, (SELECT seq FROM ledger_heads) AS head FROM ledger_entries")[0]
    if not entries["n"] == entries["last"] == entries["head"]:
        found.append(f"the chain has a gap: {entries}")
    return found
