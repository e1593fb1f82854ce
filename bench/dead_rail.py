"""One rail is dead, and is asked for all the same: payments over another rail keep their rate.

The dead rail is a real adapter at an address where nobody listens, or where connections are taken and nothing is ever answered. An
organisation is asked for some payments over it each second while its clients pay over the rail that settles at once, as fast as they can.
The turns with the dead rail and those without it alternate, and each ratio is made of two turns of one round.
"""

import contextlib
import itertools
import secrets
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from bench import load, machine, payments, scene
from bench.load import Sample
from bench.machine import Machine
from bench.report import Goal, Table
from bench.scene import Payer
from codespar.demo.client import Api
from codespar.launcher import ports
from codespar.launcher.cluster import Cluster
from codespar.launcher.progress import Progress

DATABASE = "bench_dead_rail"
RAIL = "pix"
ALONE, REFUSED, SILENT = "alone", "beside a rail where nobody listens", "beside a rail that never answers"
# Seconds from one payment that is asked for over the dead rail to the next.
EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds, seconds of each turn and of the time before it in which the rail is found out, and connections."""

    rounds: int
    seconds: float
    before: float
    connections: int


FULL = Plan(rounds=5, seconds=8.0, before=10.0, connections=16)
QUICK = Plan(rounds=2, seconds=4.0, before=6.0, connections=16)
SMOKE = Plan(rounds=1, seconds=0.5, before=1.0, connections=2)

Samples = dict[str, list[Sample]]


def measure(servers: Cluster, plan: Plan, progress: Progress) -> list[Table]:
    """Make the organisation, take the turns, compare."""
    port = ports.free()
    try:
        with progress.step("Making an organisation with an account at a dead rail"):
            machine.make(servers, DATABASE)
        with Machine(servers, DATABASE, 3, rails={"sandbox": "http://127.0.0.1:1", RAIL: f"http://127.0.0.1:{port}"}) as here:
            [payer] = scene.payers(here, 1)
            body = _dead_body(here, payer)
            with progress.step(f"Paying beside it, {plan.rounds} rounds"):
                samples = _rounds(here, payer, body, port, plan)
        return [_table(samples), _goals(samples)]
    finally:
        servers.roles.drop_database(DATABASE)


def _dead_body(here: Machine, payer: Payer) -> dict[str, Any]:
    """What is asked for over the dead rail: the same payment, under a mandate for that rail."""
    owner = Api(here.info.console_url, payer.owner)
    secret = "whsec_" + "A" * 32
    owner.post("/v1/rail-accounts", {"rail": RAIL, "account": f"dead-{secrets.token_hex(6)}", "api_key": "k", "webhook_secret": secret})
    with here.connect() as connection:
        # It died after it had passed its checks, and will not be checked again while this lasts.
        connection.execute(
            "UPDATE rail_accounts SET ready = true, failed = NULL, checked_at = now(), check_at = now() + interval '1 day' WHERE rail = %s",
            [RAIL],
        )
    later = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    terms = {"agent": payer.ids["agent"], "currency": "BRL", "max_amount": 10_000_00, "expires_at": later, "rails": [RAIL]}
    return payer.body | {"mandate": owner.post("/v1/mandates", terms)["id"], "rail": RAIL}


def _rounds(here: Machine, payer: Payer, body: dict[str, Any], port: int, plan: Plan) -> Samples:
    turns = (ALONE, REFUSED, SILENT)
    samples: Samples = {name: [] for name in turns}
    for number in range(plan.rounds):
        for name in turns[number % 3 :] + turns[: number % 3]:
            samples[name].append(_turn(here, payer, body, port, name, plan))
    return samples


def _turn(here: Machine, payer: Payer, body: dict[str, Any], port: int, name: str, plan: Plan) -> Sample:
    here.tidy()
    clients = [payments.client(here, itertools.repeat(payer)) for _ in range(plan.connections)]
    with contextlib.ExitStack() as open_:
        if name == SILENT:
            open_.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", port), backlog=4096)))
        if name != ALONE:
            open_.enter_context(_asked_for(here, payer, body))
        load.run(clients, plan.before)
        return load.run(clients, plan.seconds)


@contextlib.contextmanager
def _asked_for(here: Machine, payer: Payer, body: dict[str, Any]) -> Iterator[None]:
    """Somebody asks for payments over the dead rail, and takes back at the end what still waits for it."""
    agent, over, asked = Api(here.info.base_url, payer.token), threading.Event(), list[str]()

    def ask() -> None:
        while not over.is_set():
            headers = {"Authorization": f"Bearer {payer.token}", "Idempotency-Key": secrets.token_hex(16), "Prefer": "respond-async"}
            asked.append(httpx2.post(f"{here.info.base_url}/v1/payments", json=body, headers=headers, timeout=30.0).json()["id"])
            over.wait(EVERY)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        for payment in asked:
            agent.send(f"/v1/payments/{payment}/cancel", {})
        _wait_for_the_rest(here)


def _wait_for_the_rest(here: Machine) -> None:
    """What was on its way over the dead rail is over, or its next question is far: the turn that follows is not burdened with it."""
    busy = "SELECT count(*) FROM payments WHERE rail = %s AND (status = 'authorized' OR due_at < clock_timestamp() + interval '5 seconds')"
    until = time.monotonic() + 90
    with here.connect() as connection:
        while True:
            row = connection.execute(busy, [RAIL]).fetchone()
            if row is None or not row[0] or time.monotonic() > until:
                return
            time.sleep(0.5)


def _table(samples: Samples) -> Table:
    rows = []
    for name, seen in samples.items():
        ratio = statistics.median(a.rate / b.rate for a, b in zip(seen, samples[ALONE], strict=True))
        every = sum(seen, Sample())
        rows.append((name, statistics.median(one.rate for one in seen), every.percentile(50) * 1000, every.percentile(99) * 1000, ratio))
    return Table("Payments over one rail, with another one dead", ("what", "a second", "p50 ms", "p99 ms", "of alone"), rows)


def _goals(samples: Samples) -> Table:
    goals = []
    for name in (REFUSED, SILENT):
        ratio = statistics.median(a.rate / b.rate for a, b in zip(samples[name], samples[ALONE], strict=True))
        goals.append(Goal(f"payments {name} / alone", ratio, at_least=0.9))
    return Table("Goals", ("what", "measured", "goal", ""), [goal.row() for goal in goals])
