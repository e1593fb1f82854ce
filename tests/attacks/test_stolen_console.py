"""Somebody has the console's database connection, and tokens that are not for this: whom people are told at does not move."""

from typing import Any
from uuid import uuid4

import pytest

from codespar.lib import canonical, clock, ids
from tests.support import books
from tests.support.forge import DENIED, Forger, call
from tests.support.parallel import together
from tests.support.world import World, raw_id

Json = dict[str, Any]
URL = "https://eve.example/in"


@pytest.fixture(scope="module")
def pen(shared_world: World) -> Forger:
    return Forger(shared_world)


@pytest.fixture(scope="module")
def endpoint(shared_world: World) -> str:
    made = shared_world.people().post("/v1/webhook-endpoints", {"url": "https://hooks.invalid/in", "types": ["scope.lifted"]})
    return str(made["id"])


def member(pen: Forger, role: str) -> str:
    """The id of the member of that role, whom records of theirs name."""
    pen.world.people(role)
    return str(next(row["id"] for row in pen.world.people().get("/v1/members")["data"] if role in row["roles"]))


def opening(text: str) -> Json:
    salt, commit = canonical.commit(text.encode())
    return {"commit": commit.hex(), "salt": salt.hex(), "value": text}


def asked(pen: Forger, function: str, kind: str, data: Json, *sealed: bytes, role: str = "owner", **changes: Any) -> str:
    """What came of the function, called over the console's connection with a token of that role."""
    url = opening(URL)
    said = data | ({"url_commit": url["commit"]} if "types" in data else {})
    record = pen.record(
        f"webhook_endpoint.{kind}", said, openings=[url] if "types" in data else [], changes={"actor": member(pen, role), **changes}
    )
    return pen.outcome("control", function, pen.org, pen.digest(role), *record.values(), *sealed)


def rows(pen: Forger) -> list[Json]:
    query = "SELECT id, url, types, status, cursor > 0 AS begun FROM webhook_endpoints WHERE org_id = %s ORDER BY id"
    return books.look(pen.world, query, raw_id(pen.world.org))


@pytest.mark.parametrize("role", ["finance", "oncall", "auditor"])
def test_who_may_only_read_them_neither_makes_nor_turns_an_endpoint(pen: Forger, endpoint: str, role: str) -> None:
    before = rows(pen)
    new = {"id": ids.wire("whe", ids.new()), "types": ["scope.stopped"], "secret": ids.wire("key", ids.new())}
    assert asked(pen, "webhook_endpoint_create", "created", new, b"x", role=role) == "access_tokens_scope"
    turned = {"id": endpoint, "types": ["scope.stopped"], "disabled": False}
    assert asked(pen, "webhook_endpoint_change", "updated", turned, role=role) == "access_tokens_scope"
    secret = {"id": endpoint, "secret": ids.wire("key", ids.new()), "overlap_until": clock.stamp(clock.now())}
    assert asked(pen, "webhook_endpoint_rotate", "rotated", secret, b"x", role=role) == "access_tokens_scope"
    assert rows(pen) == before


def test_a_record_does_what_its_kind_says_and_for_its_actor_alone(pen: Forger, endpoint: str) -> None:
    turned = {"id": endpoint, "types": ["scope.stopped"], "disabled": False}
    assert asked(pen, "webhook_endpoint_change", "updated", turned) == "webhook_endpoints_moved"
    read = books.look(pen.world, "SELECT entry_id FROM webhook_endpoints WHERE id = %s", raw_id(endpoint))[0]["entry_id"]
    turned |= {"from_entry": ids.wire("ent", read)}
    assert asked(pen, "webhook_endpoint_change", "rotated", turned) == "record_kind"
    assert asked(pen, "webhook_endpoint_change", "updated", turned, actor=member(pen, "oncall")) == "record_actor"
    # Without the text that it commits to, an address is nowhere.
    record = pen.record(
        "webhook_endpoint.updated", turned | {"url_commit": "00" * 32}, openings=[], changes={"actor": member(pen, "owner")}
    )
    assert pen.outcome("control", "webhook_endpoint_change", pen.org, pen.digest("owner"), *record.values()) == "23502"


def test_another_modes_endpoint_is_nobodys(pen: Forger, endpoint: str) -> None:
    live = {"changes": {"actor": member(pen, "owner"), "livemode": True}}
    for kind, data in (("deleted", {"id": endpoint}), ("tested", {"id": endpoint}), ("replayed", {"id": endpoint, "after_seq": 0})):
        record = pen.record(f"webhook_endpoint.{kind}", data, openings=[], **live)
        said = pen.outcome("control", "webhook_endpoint_change", pen.org, pen.digest("owner_live"), *record.values())
        assert said == "webhook_endpoints_known", kind
    assert asked(pen, "webhook_endpoint_change", "deleted", {"id": ids.wire("whe", uuid4())}) == "webhook_endpoints_known"


def test_a_replay_begins_within_the_chain(pen: Forger, endpoint: str) -> None:
    head = pen.now()["seq"]
    for after in (-1, head + 10):
        data = {"id": endpoint, "after_seq": after}
        assert asked(pen, "webhook_endpoint_change", "replayed", data) == "webhook_endpoints_replay"


def test_the_secret_is_read_by_the_sender_alone(pen: Forger, endpoint: str) -> None:
    for role in ("agent", "control", "auditor"):
        with pen.world.db(role) as connection, pytest.raises(Exception, match=DENIED):
            connection.execute("SELECT sealed FROM webhook_secrets")
    assert pen.world.rows("SELECT sealed FROM webhook_secrets", role="rail")


def test_an_account_lags_once_however_many_notice(pen: Forger) -> None:
    """Of many that write it at once one does; and nobody says it of an account whose state is another one."""
    world = pen.world
    account = books.look(world, "SELECT rail_account_id AS id FROM reconciliation_states WHERE org_id = %s", raw_id(world.org))[0]["id"]
    with books.superuser(world) as connection:
        behind = "done_at = clock_timestamp() - interval '1 minute', next_at = clock_timestamp() + interval '1 hour'"
        connection.execute(f"UPDATE reconciliation_states SET {behind} WHERE org_id = %s", [raw_id(world.org)])
    [row] = books.look(world, "SELECT done_at FROM reconciliation_states WHERE org_id = %s", raw_id(world.org))
    data = {"id": ids.wire("key", account), "rail": "sandbox", "since": clock.stamp(row["done_at"])}

    def said(kind: str, **changes: Any) -> str:
        record = pen.record(f"reconciliation.{kind}", data | changes, changes={"actor": "system:dispatcher@stolen:1"})
        with world.db("rail") as connection:
            return call(connection, "reconciliation_lag", pen.org, record["content"], record["sig"])

    assert said("lagging", since=clock.stamp(clock.now())) == "moved: state"
    assert said("caught_up") == "moved: state"
    assert sorted(together([lambda: said("lagging")] * 12)) == ["done"] + ["moved: state"] * 11
    assert sorted(together([lambda: said("caught_up")] * 12)) == ["done"] + ["moved: state"] * 11
    kinds = [entry["kind"] for entry in world.entries() if entry["kind"].startswith("reconciliation.")]
    assert kinds == ["reconciliation.lagging", "reconciliation.caught_up"]
