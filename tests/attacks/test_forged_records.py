"""Records made by hand: of somebody else, of another time or place, with something missing, under a token that opens nothing."""

import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from codespar.launcher.stack import StackInfo
from codespar.lib import canonical, clock, ids
from tests.support import books
from tests.support import world as worlds
from tests.support.forge import Forger
from tests.support.world import World, later, raw_id

Json = dict[str, Any]

Forged = Callable[[Forger], Json]


def at(**delta: float) -> str:
    return clock.stamp(clock.now() + timedelta(**delta))


def other_opening(pen: Forger) -> Json:
    return {"openings": [{"commit": secrets.token_hex(32), "salt": secrets.token_hex(32), "value": "x"}]}


def wrong_opening(pen: Forger) -> Json:
    commit = secrets.token_hex(32)
    payment = pen.payment(memo_commit=commit)
    return {"payment": payment, "openings": [{"commit": commit, "salt": secrets.token_hex(32), "value": "not what it commits to"}]}


def aged(pen: Forger) -> Json:
    with books.superuser(pen.world) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE ledger_entries SET appended_at = appended_at - interval '61 s' WHERE org_id = %s AND seq <= 3", [pen.org]
        )
    return {"after": pen.world.rows("SELECT seq, encode(hash, 'hex') AS hash FROM ledger_entries WHERE seq = 2")[0]}


FORGED: dict[str, tuple[str, Forged]] = {
    "of another organisation": ("record_elsewhere", lambda pen: {"org": ids.wire("org", ids.new())}),
    "of another deployment": ("record_elsewhere", lambda pen: {"deployment": "elsewhere.example"}),
    "of another version": ("record_shape", lambda pen: {"v": 2}),
    "of the other mode": ("record_actor", lambda pen: {"livemode": True}),
    "of no mode": ("record_actor record_shape", lambda pen: {"livemode": None}),
    "of another project": ("record_actor", lambda pen: {"project": ids.wire("prj", ids.new())}),
    "of no project": ("record_actor", lambda pen: {"project": None}),
    "by another agent": ("record_actor", lambda pen: {"actor": ids.wire("agt", ids.new())}),
    "by a process": ("record_actor", lambda pen: {"actor": "system:dispatcher@host:1"}),
    "by nobody": ("record_actor record_shape", lambda pen: {"actor": None}),
    "after a made-up head": ("record_after", lambda pen: {"after": {"seq": pen.head()["seq"], "hash": "00" * 32}}),
    "after the future": ("record_after", lambda pen: {"after": {"seq": pen.head()["seq"] + 1, "hash": pen.head()["hash"]}}),
    "after an old head": ("record_after", aged),
    "two minutes old": ("record_time", lambda pen: {"at": at(minutes=-2)}),
    "two minutes ahead": ("record_time", lambda pen: {"at": at(minutes=2)}),
    "with an opening of nothing": ("ledger_openings_named", other_opening),
    "with a wrong opening": ("ledger_openings_commit", wrong_opening),
    "of another decision": ("record_shape", lambda pen: {"outcome": "deny"}),
    "without a key": ("idempotency_key_required", lambda pen: {"data": {"payment": pen.payment()}}),
    "past its mandate": ("payments_submit_by", lambda pen: {"payment": pen.payment(submit_by=later(days=2))}),
    "later than a minute": ("payments_submit_by", lambda pen: {"payment": pen.payment(submit_by=later(seconds=70))}),
    "past all time": ("payments_submit_by", lambda pen: {"payment": pen.payment(submit_by="infinity")}),
    "with another's id": ("record_shape", lambda pen: {"payment": pen.payment(id=ids.wire("ref", ids.new()))}),
    "as a member": ("access_tokens_scope", lambda pen: {"who": "owner"}),
    "as another agent": ("record_actor", lambda pen: {"who": "rival"}),
}
KINDS = ["payment.approved", "payment.canceled", "wallet.funded", "mandate.issued", "policy.activated", "payments.resulted", "made.up"]


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_record_is_refused_by_its_rule(forger: Forger, rival: Json, name: str) -> None:
    rules, changes = FORGED[name]
    made = changes(forger)
    before = books.state(forger.world)
    assert forger.authorise(**made) in rules.split()
    assert books.state(forger.world) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_another_kind_does_not_authorise(forger: Forger, kind: str) -> None:
    before = books.state(forger.world)
    assert forger.authorise(kind=kind) == "record_kind"
    assert books.state(forger.world) == before


@pytest.mark.parametrize("member", ["v", "id", "deployment", "org", "kind", "at", "actor", "kid", "after", "parts", "data", "livemode"])
def test_a_record_with_a_null_in_a_members_place_is_refused(forger: Forger, member: str) -> None:
    """SQL's unknown is neither yes nor no: a rule that forgets that lets a null through."""
    before = books.state(forger.world)
    nothing: Any = {member: None}
    said = forger.authorise(**nothing)
    assert said not in ("done", "twin")
    assert books.state(forger.world) == before


@pytest.mark.parametrize("member", ["seq", "hash"])
def test_a_record_after_half_a_head_is_refused(forger: Forger, member: str) -> None:
    before = books.state(forger.world)
    assert forger.authorise(after=forger.head() | {member: None}) == "record_after"
    assert books.state(forger.world) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 100])
def test_bytes_that_are_no_record_are_refused(forger: Forger, content: bytes) -> None:
    before = books.state(forger.world)
    assert forger.outcome("agent", "authorise", forger.org, forger.digest(), content, b"x" * 64, None) not in ("done", "twin")
    assert books.state(forger.world) == before


# Tokens


def test_a_digest_that_is_nobodys_opens_nothing(forger: Forger, stack: StackInfo) -> None:
    record = list(forger.payment_record().values())
    stored = canonical.sha256(forger.digest())
    other = worlds.make(stack, money=0)
    before, others = books.state(forger.world), books.state(other)
    for digest in (secrets.token_bytes(32), stored, b"", None, canonical.sha256(other.tokens["agent"].encode())):
        assert forger.outcome("agent", "authorise", forger.org, digest, *record) == "access_tokens_valid"
    there = forger.payment_record(org=other.org).values()
    assert forger.outcome("agent", "authorise", str(raw_id(other.org)), forger.digest(), *there) == "access_tokens_valid"
    assert (books.state(forger.world), books.state(other)) == (before, others)


def test_a_revoked_token_opens_nothing(world: World) -> None:
    pen = Forger(world)
    listed = world.people().get("/v1/tokens?limit=100")["data"]
    mine = next(row["id"] for row in listed if row["holder"] == world.agent)
    caller = {"Authorization": f"Bearer {world.tokens['owner']}"}
    httpx2.delete(f"{world.info.console_url}/v1/tokens/{mine}", headers=caller, timeout=10).raise_for_status()
    before = books.state(world)
    assert pen.authorise() == "access_tokens_valid"
    assert books.state(world) == before
