"""Many payments asked for at once: each is decided, recorded and answered by itself, and sees the ones before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codespar.identity import acting, principals
from codespar.identity.principals import Principal
from codespar.lib import cache, clock, db, idempotency, ids
from codespar.lib.errors import CodesparError
from codespar.lib.idempotency import Key
from rails.actions import payments
from rails.actions.payments import Made, Order, Paid

MOST = 128
# So many are looked at, decided and written together: what was seen is seconds old at most, and nobody waits long for the chain's head.
TOGETHER = 32


@dataclass(slots=True)
class _Used:
    """What the allowed payments of a batch will have used, as the snapshots of the ones after them do not know it yet."""

    wallets: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    mandates: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    counters: dict[tuple[str, str, str], tuple[int, int, str]] = field(default_factory=dict)

    def add(self, made: Made) -> None:
        """Count this payment, if it holds money."""
        if made.state != "authorized":
            return
        amount, snapshot = made.order.ask.amount, made.snapshot
        self.wallets[snapshot["wallet"]["id"]] += amount
        self.mandates[snapshot["mandate"]["id"]][0] += amount
        self.mandates[snapshot["mandate"]["id"]][1] += 1
        for counter in next(route["counters"] for route in snapshot["routes"] if route["rail"] == made.verdict.rail):
            before = self.counters.get(_named(counter), (0, 0, ""))
            self.counters[_named(counter)] = (before[0] + amount, before[1] + 1, snapshot["at"])

    def seen_by(self, snapshot: dict[str, Any]) -> dict[str, Any]:
        """The snapshot as it will be once those payments are made."""
        wallet, mandate = snapshot["wallet"], snapshot["mandate"]
        if wallet is not None:
            snapshot["wallet"] = wallet | {"available": wallet["available"] - self.wallets[wallet["id"]]}
        if mandate is not None:
            spent, uses = self.mandates[mandate["id"]]
            snapshot["mandate"] = mandate | {"spent": mandate["spent"] + spent, "uses": mandate["uses"] + uses}
        snapshot["routes"] = [route | {"counters": [self._counter(c) for c in route["counters"]]} for route in snapshot["routes"]]
        return snapshot

    def _counter(self, counter: dict[str, Any]) -> dict[str, Any]:
        if _named(counter) not in self.counters:
            return counter
        amount, uses, last = self.counters[_named(counter)]
        return counter | {"amount": counter["amount"] + amount, "uses": counter["uses"] + uses, "last_at": last}


def _named(counter: Mapping[str, Any]) -> tuple[str, str, str]:
    return counter["selector"], counter["window"], counter["start"]


def receive(principal: Principal, *, list_sha256: str, count: int, key: Key) -> str:
    """Write down which list came, under one hash, before anything in it is decided. Returns the batch's wire id, the same for a repetition.

    Raises `KeyConflict`, `KeyExpired`. A crash leaves the list received or not; its payments have keys of their own.
    """
    principals.require(principal, "payments:write")
    kept = _kept(principal, key)
    if kept is None:
        wire = ids.wire("bat", ids.new())
        data = {"id": wire, "list_sha256": list_sha256, "count": count, "idempotency": key.data}
        record = acting.draft(principal, kind="payments.batch_received", subject=wire, data=data)
        if "twin" not in acting.write(principal, "batch_receive", record, now=clock.now()):
            return wire
        kept = _kept(principal, key)
        assert kept is not None
    idempotency.check(key, kept["fingerprint"], kept["expired"])
    return str(kept["subject"])


def _kept(principal: Principal, key: Key) -> dict[str, Any] | None:
    found = db.call("idempotency_read", principal.org, principal.digest, key.operation, key.key_hash)
    return dict(found) if found else None


def pay(principal: Principal, orders: Sequence[Order]) -> list[Paid | CodesparError]:
    """Decide on all of them, in their order. For each what `payments.pay` would return, or the error that it would raise.

    Raises only what concerns all: a token that died, a queue or a database that is away. A crash leaves the first payments made, whole, and
    the rest not asked for.
    """
    principals.require(principal, "payments:write")
    cache.require()
    answers: dict[int, Paid | CodesparError] = {}
    tries = payments.TRIES
    while tries and len(answers) < len(orders):
        before = len(answers)
        left = [place for place in range(len(orders)) if place not in answers][:TOGETHER]
        _round(principal, {place: orders[place] for place in left}, answers)
        tries = payments.TRIES if len(answers) > before else tries - 1
    return [answers.get(place) or payments.contended() for place in range(len(orders))]


def _round(principal: Principal, left: Mapping[int, Order], answers: dict[int, Paid | CodesparError]) -> None:
    """Decide on what is left and write it together. What is not answered then is decided again: what it depended on has moved."""
    made: dict[int, Made] = {}
    used, keys = _Used(), set[bytes]()
    snapshots = _look(principal, list(left.values()))
    now = clock.now()
    for (place, order), snapshot in zip(left.items(), snapshots, strict=True):
        if snapshot["idempotency"] is not None:
            answers[place] = _caught(lambda row=snapshot["idempotency"], key=order.idempotency: payments.earlier(row, key))
        elif order.idempotency.key_hash not in keys:
            keys.add(order.idempotency.key_hash)
            made[place] = payments.decided(principal, order, used.seen_by(snapshot), now)
            used.add(made[place])
    for (place, one), done in zip(made.items(), _authorise(principal, list(made.values())), strict=True):
        found = _caught(lambda one=one, done=done: payments.outcome(principal, one, done))
        if found is not None:
            answers[place] = found


def _look(principal: Principal, orders: Sequence[Order]) -> list[dict[str, Any]]:
    questions = [payments.question(order.ask, order.idempotency) for order in orders]
    found = db.call("snapshots", principal.org, principal.digest, questions)
    return [payments.seen(snapshot, order.ask) for snapshot, order in zip(found, orders, strict=True)]


def _authorise(principal: Principal, made: Sequence[Made]) -> list[dict[str, Any]]:
    if not made:
        return []
    contents, sigs, openings = (list(column) for column in zip(*(one.record for one in made), strict=True))
    done = db.call("authorise_batch", principal.org, principal.digest, contents, sigs, openings, refusals=acting.COMMON)
    return list(done)


def _caught(act: Any) -> Any:
    try:
        return act()
    except CodesparError as error:
        return error
