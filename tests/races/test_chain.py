"""Sixty-four writers on one organisation's chain: one line, without a gap, a fork or a wrong hash."""

import os
import time

from codespar.lib import canonical
from ledger import merkle, records
from tests.support import forge
from tests.support.forge import Forger
from tests.support.parallel import together
from tests.support.world import World, raw_id

WRITERS = 64
# 64 x 150 records take well under a minute on two cores. CODESPAR_TEST_CHAIN_RECORDS=1000 is the full run of 64,000.
RECORDS = int(os.environ.get("CODESPAR_TEST_CHAIN_RECORDS", "150"))


def writer(pen: Forger, head: forge.Json) -> dict[str, int]:
    """RECORDS denied payments over one raw connection; how each call ended."""
    said: dict[str, int] = {}
    denied = pen.payment(account=None, counterparty_version=None)
    with pen.world.db("agent") as connection:
        connection.execute("SET statement_timeout = '60s'")
        connection.execute("SET lock_timeout = '60s'")
        for number in range(RECORDS):
            if number % 25 == 24:
                head = connection.execute("SELECT head_read(%s) AS head", [pen.org]).fetchone()["head"]  # type: ignore[index]
            payment = denied | {"id": f"pay_{os.urandom(16).hex()}"}
            record = pen.payment_record(payment, kind="payment.denied", outcome="deny", after=head)
            ended = forge.call(connection, "authorise", pen.org, pen.digest(), *record.values())
            said[ended] = said.get(ended, 0) + 1
    return said


def test_many_writers_leave_one_unbroken_chain(world: World) -> None:
    """WRITERS x RECORDS records through the engine's own function; then every leaf and hash is computed again from the rows."""
    pen = Forger(world)
    start = pen.head()
    pen.known_head = start
    began = time.monotonic()
    said = together([lambda: writer(pen, start)] * WRITERS)
    seconds = time.monotonic() - began
    assert said == [{"done": RECORDS}] * WRITERS
    print(f"{WRITERS * RECORDS} records by {WRITERS} writers in {seconds:.1f} s: {WRITERS * RECORDS / seconds:.0f}/s")
    assert recomputed(world) == pen.now()["hash"]
    assert pen.now()["seq"] == start["seq"] + WRITERS * RECORDS


def recomputed(world: World) -> str:
    """The head, from the rows alone: order, links, leaves and hashes."""
    org = raw_id(world.org)
    prev, seq, seen = records.genesis(org), 0, set()
    for row in world.rows("SELECT * FROM ledger_entries ORDER BY seq"):
        seq += 1
        assert (row["seq"], bytes(row["prev"])) == (seq, prev)
        content = bytes(row["content"])
        leaf = records.leaf(content=content, kid=row["kid"], org=org, prev=prev, seq=seq, sig=bytes(row["sig"]))
        assert leaf == bytes(row["leaf"])
        prev = merkle.leaf_hash(leaf)
        assert prev == bytes(row["hash"])
        said = canonical.loads(content)
        assert (said["id"], said["kind"]) == (f"ent_{row['id'].hex}", row["kind"])
        seen.add(row["id"])
    assert len(seen) == seq
    return prev.hex()


def test_the_chains_of_two_organisations_do_not_touch(world: World, shared_world: World) -> None:
    """Traffic of one does not move the other's head."""
    before = Forger(shared_world).now()
    pen = Forger(world)
    together([lambda: [pen.authorise(pen.payment(), kind="payment.denied", outcome="deny") for _ in range(5)]] * 8)
    assert Forger(shared_world).now() == before
    recomputed(world)
