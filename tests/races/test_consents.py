"""A consent that ends while payments under it are asked for: each hold stands before its end in the chain, or is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.support import consenting, verifying
from tests.support.consenting import RAIL, bank_payments
from tests.support.world import World

PAYERS = 8


def test_no_hold_follows_a_revocation_that_was_acknowledged(world: World) -> None:
    consent, payee = consenting.paying(world, most=100, total=1_000_000)
    over = threading.Event()
    late: list[int] = []

    def pay() -> list[int]:
        said = []
        while True:
            # Asked for after the answer to the revocation.
            after = over.is_set()
            said.append(world.pay(10, counterparty=payee, rail=RAIL).status_code)
            if after:
                late.append(said[-1])
                return said

    with ThreadPoolExecutor(PAYERS) as pool:
        payers = [pool.submit(pay) for _ in range(PAYERS)]
        time.sleep(2)
        world.people("oncall").delete(f"/v1/consents/{consent}", reason="a race")
        over.set()
        answers = [status for payer in payers for status in payer.result()]
    assert late == [403] * PAYERS
    assert 201 in answers
    for row in world.rows("SELECT id FROM payments WHERE status IN ('authorized', 'submitted', 'uncertain')"):
        world.settled(f"pay_{row['id'].hex}")
    settled = world.rows("SELECT count(*) AS n FROM payments WHERE status = 'settled'")[0]["n"]
    assert settled == len([row for row in bank_payments(world) if row["status"] == "settled"]) > 0
    # Among what is verified: after the record of a consent's end nothing was held under it.
    assert verifying.complaints(world) == []
