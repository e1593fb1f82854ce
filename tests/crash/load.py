"""Callers that pay, ask again and take back, whatever breaks: each keeps its key until it has an answer, and notes what it was told."""

import math
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.support.world import BRL, World

Json = dict[str, Any]
# What is said of the moment and not of the request: ask again under the same key.
_AGAIN = (409, 429, 502, 503)
_PATIENCE = 120.0


@dataclass
class Asked:
    """One request under one key: a payment, or a refund of the payment `refunds`. `told` is each (id, state) that came back."""

    key: str
    amount: int
    refunds: str | None = None
    told: list[tuple[str, str]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


@dataclass
class Load:
    """`asked` is the journal: what a client may rely on. `asks` is what a payment of so much asks for beside its amount.

    `taken_back` is how often, of one, it is asked for something back; not `parts`: what comes back comes back whole.
    """

    world: World
    seed: int
    asks: Callable[[int], Json] = lambda amount: {}
    parts: bool = True
    taken_back: float = 0.12
    asked: list[Asked] = field(default_factory=list)
    _enough: threading.Event = field(default_factory=threading.Event)

    def answers(self) -> int:
        """How much clients were told until now."""
        return sum(len(one.told) for one in list(self.asked))

    @contextmanager
    def running(self, callers: int = 20) -> Iterator[None]:
        """Callers at work for the length of the block. At its end each of them still gets an answer to what it has asked."""
        with ThreadPoolExecutor(callers) as pool:
            work: list[Future[None]] = [pool.submit(self._call, random.Random(f"{self.seed}-{n}")) for n in range(callers)]
            try:
                yield
            finally:
                self._enough.set()
        for one in work:
            one.result()

    def _call(self, choose: random.Random) -> None:
        mine: list[Asked] = []
        token = {"Authorization": f"Bearer {self.world.tokens['agent']}"}
        with httpx2.Client(base_url=self.world.info.base_url, headers=token, timeout=20.0) as agent:
            while not self._enough.is_set():
                time.sleep(choose.uniform(0.05, 0.5))
                what = choose.random()
                settled = [one for one in mine if one.told[-1:] and one.told[-1][1] == "settled"]
                if what < self.taken_back and settled:
                    self._refund(choose.choice(settled), choose, mine)
                elif what < self.taken_back + 0.18 and mine:
                    self._look(agent, choose.choice(mine))
                else:
                    self._pay(agent, choose, mine)

    def _pay(self, agent: httpx2.Client, choose: random.Random, mine: list[Asked]) -> None:
        asked = self._new(Asked(secrets.token_hex(12), choose.randint(1, 60)))
        mine.append(asked)
        wait = {} if choose.random() < 0.3 else {"Prefer": "respond-async"}
        body = self.world.body(asked.amount) | self.asks(asked.amount)
        self._ask(asked, lambda: agent.post("/v1/payments", json=body, headers={"Idempotency-Key": asked.key, **wait}))
        if choose.random() < 0.1:
            # A client that lost the answer, or asks twice.
            self._ask(asked, lambda: agent.post("/v1/payments", json=body, headers={"Idempotency-Key": asked.key, **wait}))

    def _look(self, agent: httpx2.Client, asked: Asked) -> None:
        if asked.told:
            self._ask(asked, lambda: agent.get(f"/v1/payments/{asked.told[0][0]}"))

    def _refund(self, of: Asked, choose: random.Random, mine: list[Asked]) -> None:
        """Each payment at most once, a part of it or all."""
        mine.remove(of)
        amount = choose.randint(1, of.amount) if self.parts else of.amount
        asked = self._new(Asked(secrets.token_hex(12), amount, refunds=of.told[0][0]))
        body = {"amount": {"amount": asked.amount, "currency": BRL}}
        owner = {"Authorization": f"Bearer {self.world.tokens['owner']}", "Idempotency-Key": asked.key}
        url = f"{self.world.info.console_url}/v1/payments/{asked.refunds}/refund"
        self._ask(asked, lambda: httpx2.post(url, json=body, headers=owner, timeout=20.0))

    def _new(self, asked: Asked) -> Asked:
        self.asked.append(asked)
        return asked

    def _ask(self, asked: Asked, call: Callable[[], httpx2.Response]) -> None:
        answer = self._answer(call)
        if answer is None:
            asked.strange.append("never answered")
            return
        # A refusal that was decided is a payment, too: a process that was paused while it decided refuses, for its clock is late.
        shown: Json = answer.json()
        shown = shown.get("payment", shown) if answer.status_code == 403 else shown
        if "id" in shown:
            asked.told.append((shown["id"], shown["status"]))
        else:
            asked.strange.append(f"{answer.status_code} {answer.text[:300]}")

    def _answer(self, call: Callable[[], httpx2.Response]) -> httpx2.Response | None:
        """What is said of the request itself, however long that takes; once it is enough, no longer than `_PATIENCE`."""
        until = math.inf
        while time.monotonic() < until:
            if self._enough.is_set():
                until = min(until, time.monotonic() + _PATIENCE)
            try:
                answer = call()
                if answer.status_code not in _AGAIN:
                    return answer
            except httpx2.HTTPError:
                pass
            time.sleep(0.3)
        return None
