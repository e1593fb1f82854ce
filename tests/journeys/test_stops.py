"""Stopped at once by one person, lifted by another; revoked for ever; and what was on its way rolled back."""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from codespar.demo.client import Api
from codespar.launcher import binaries
from tests.support import processes
from tests.support import world as worlds
from tests.support.receipts import claims, stopped
from tests.support.world import World, raw_id


@pytest.fixture
def neighbours(world: World) -> dict[str, Any]:
    """A second agent with a mandate, a second counterparty, and one that is paid over Pix: what a stop of the first ones must leave alone."""
    agent, wallet, api = world.new_agent()
    world.fund(50_000, wallet)
    world.connect("pix")
    pix = world.new_counterparty(accounts=[{"type": "pix_key", "value": f"{secrets.token_hex(4)}@payee.example", "rails": ["pix"]}])
    return {"api": api, "mandate": world.new_mandate(agent=agent), "counterparty": world.new_counterparty(), "pix": pix}


def names(world: World) -> dict[str, str | None]:
    return {
        "mandate": world.mandate,
        "agent": world.agent,
        "project": world.project,
        "org": None,
        "counterparty": world.counterparty,
        "rail": "sandbox",
    }


NEIGHBOURS = {
    "mandate": ("other mandate", "other agent", "other counterparty", "other rail"),
    "agent": ("other agent",),
    "project": (),
    "org": (),
    "counterparty": ("other counterparty", "other rail"),
    "rail": ("other rail",),
}


@pytest.mark.parametrize("scope", NEIGHBOURS)
def test_a_stop_stops_exactly_its_scope_until_another_person_lifts_it(world: World, neighbours: dict[str, Any], scope: str) -> None:
    own, here = world.new_mandate(), {"rail": "sandbox"}
    ways = {
        "other mandate": lambda: world.pay(10, mandate=own, **here),
        "other agent": lambda: neighbours["api"].send("/v1/payments", world.body(10, mandate=neighbours["mandate"], **here)),
        "other counterparty": lambda: world.pay(10, mandate=own, counterparty=neighbours["counterparty"], **here),
        "other rail": lambda: world.pay(10, mandate=own, counterparty=neighbours["pix"]),
    }
    stop = world.stop(scope, names(world)[scope])
    body = stopped(world.pay(10, **here))
    said = claims(world, body["stop_receipt"])
    assert (said["typ"], said["jti"], said["scope"], said["sub"]) == ("codespar-stop+jwt", stop["id"], scope, stop["target"])
    assert (said["initiator"], said["roles"], said["reason"], said["livemode"]) == (stop["initiator"], ["oncall"], "a test", False)
    assert {way for way, pay in ways.items() if pay().status_code == 201} == set(NEIGHBOURS[scope])
    assert world.people("oncall").send(f"/v1/stops/{stop['id']}").status_code == 405
    lifted = world.lift(stop)
    assert (lifted["status"], lifted["lifted"]["reason"]) == ("lifted", "a test is over")
    assert world.pay(10).status_code == 201
    assert {way for way, pay in ways.items() if pay().status_code == 201} == set(ways)


def test_who_stopped_does_not_lift_and_two_stops_take_two_lifts(world: World) -> None:
    first, second = world.stop("agent", world.agent, "operator"), world.stop("agent", world.agent, "finance")
    answer = world.people("operator")._http.delete(f"/v1/stops/{first['id']}", params={"reason": "never mind"})
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert "another person" in answer.json()["detail"]
    world.lift(second)
    stopped(world.pay(10))
    world.lift(first, "finance")
    assert world.pay(10).status_code == 201
    again = world.people("finance")._http.delete(f"/v1/stops/{first['id']}", params={"reason": "twice"})
    assert again.status_code == 409
    without = world.people("finance")._http.delete(f"/v1/stops/{first['id']}")
    assert (without.status_code, without.json()["code"]) == (400, "invalid_request")


def test_a_stop_names_its_scope_and_who_may_not_stop_is_told_so(world: World) -> None:
    oncall = world.people("oncall")
    for body, pointer in (
        ({"scope": "agent", "reason": "x"}, "/id"),
        ({"scope": "agent", "id": world.mandate, "reason": "x"}, "/id"),
        ({"scope": "org", "id": "org_" + "0" * 32, "reason": "x"}, "/id"),
        ({"scope": "galaxy", "reason": "x"}, "/scope"),
        ({"scope": "org"}, "/reason"),
        ({"scope": "org", "reason": " "}, "/reason"),
    ):
        answer = oncall.send("/v1/stops", body)
        assert (answer.status_code, [e["pointer"] for e in answer.json()["errors"]]) == (400, [pointer]), answer.text
    assert oncall.send("/v1/stops", {"scope": "agent", "id": "agt_" + "0" * 32, "reason": "x"}).status_code == 404
    for scope in ("platform",):
        answer = oncall.send("/v1/stops", {"scope": scope, "reason": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "platform_only"), answer.text
    assert world.people("auditor").send("/v1/stops", {"scope": "org", "reason": "x"}).json()["code"] == "scope_missing"
    stop = world.stop("org")
    assert oncall._http.delete(f"/v1/stops/{stop['id']}", params={"reason": "x"}).json()["code"] == "scope_missing"
    world.lift(stop)
    assert [row["id"] for row in oncall.get("/v1/stops")["data"]] == [stop["id"]]
    assert oncall.get(f"/v1/stops/{stop['id']}")["status"] == "lifted"


def test_a_stop_in_test_leaves_live_alone_and_the_other_way_round(world: World) -> None:
    world.stop("org", None, "owner_live")
    assert world.pay(10).status_code == 201
    world.stop("org", None, "operator")
    stopped(world.pay(10))


@pytest.mark.parametrize("scope", ["agent", "project", "org"])
def test_a_revocation_ends_every_mandate_signed_so_far_and_none_that_is_signed_later(world: World, scope: str) -> None:
    before = [world.mandate, world.new_mandate(), world.new_mandate()]
    body = {"scope": scope, "reason": "leaked"} | ({} if scope == "org" else {"id": names(world)[scope]})
    made = world.people("oncall").post("/v1/revocations", body)
    for mandate in before:
        answer = world.pay(10, mandate=mandate)
        assert (answer.status_code, answer.json()["code"]) == (403, "mandate_revoked"), answer.text
        said = claims(world, answer.json()["revocation_receipt"])
        assert (said["jti"], said["scope"], said["sub"], said["reason"]) == (made["id"], scope, made["target"], "leaked")
        shown = world.people().get(f"/v1/mandates/{mandate}")
        assert (shown["status"], shown["revocation"]["id"]) == ("revoked", made["id"])
    after = world.new_mandate()
    assert world.pay(10, mandate=after).status_code == 201
    assert world.people().get(f"/v1/mandates/{after}")["revocation"] is None
    assert world.people("auditor").get(f"/v1/revocations/{made['id']}")["receipt"] == made["receipt"]
    assert [e["kind"] for e in world.entries() if e["subject"] == made["target"]][-1] == "scope.revoked"


def test_ten_thousand_revocations_later_the_first_one_still_holds(world: World) -> None:
    first = world.new_mandate()
    world.people().post("/v1/revocations", {"scope": "mandate", "id": first, "reason": "the first"})
    with world.db("super") as connection:
        connection.execute(
            "INSERT INTO scope_states (org_id, livemode, scope, scope_id, epoch)"
            " SELECT %s, false, 'mandate', gen_random_uuid(), 1 FROM generate_series(1, 10000)",
            [raw_id(world.org)],
        )
    world.people().post("/v1/revocations", {"scope": "mandate", "id": world.new_mandate(), "reason": "the last"})
    assert world.pay(10, mandate=first).json()["code"] == "mandate_revoked"
    assert world.pay(10).status_code == 201


def sent(world: World, **changes: Any) -> str:
    """A payment that has left for a rail that takes its time."""
    world.fault("slow", count=1, seconds=3)
    headers = {"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
    payment = str(world.api._http.post("/v1/payments", json=world.body(700, **changes), headers=headers).json()["id"])
    assert world.settled(payment, among=("authorized",))["status"] == "submitted"
    return payment


def test_what_was_on_its_way_when_its_mandate_was_revoked_is_rolled_back(world: World) -> None:
    before = world.balance()
    payment = sent(world)
    world.people().post("/v1/revocations", {"scope": "mandate", "id": world.mandate, "reason": "in flight"})
    over = world.settled(payment, seconds=60, among=("submitted", "uncertain", "settled", "reversing"))
    assert (over["status"], over["refunded"]["amount"]) == ("reversed", 700)
    assert world.balance() == before
    kinds = [entry["kind"] for entry in world.entries()]
    assert kinds.index("mandate.revoked") < kinds.index("refund.initiated")
    booked = [p for p in world.provider_payments() if p["reference"] == payment]
    assert len(booked) == 1


def test_what_was_on_its_way_when_its_agent_was_stopped_goes_home_to_the_main_account(world: World) -> None:
    main, (available, _) = world.main_balance(), world.balance()
    payment = sent(world)
    stop = world.stop("agent", world.agent)
    over = world.settled(payment, seconds=60, among=("submitted", "uncertain", "settled", "reversing"))
    assert over["status"] == "reversed"
    assert (world.main_balance(), world.balance()) == (main + 700, (available - 700, 0))
    world.lift(stop)
    fine = world.pay(10).json()
    assert (fine["status"], fine["refunds"]) == ("settled", [])


def test_what_waits_for_a_person_when_it_is_stopped_is_refused_when_the_person_says_yes(world: World) -> None:
    proposed = world.api.post("/v1/counterparties", {"name": "New", "accounts": [{"type": "pix_key", "value": "n@payee.example"}]})["id"]
    waiting = world.pay(500, counterparty=proposed).json()
    assert waiting["status"] == "requires_approval"
    world.stop("counterparty", proposed)
    answer = world.people("finance").send(f"/v1/payments/{waiting['id']}/approve")
    assert (answer.status_code, answer.json()["code"]) == (403, "stopped"), answer.text
    assert world.balance()[1] == 0


# The command line, the database's own way, and a key store that is away


def command(world: World, tmp_path: Path, *argv: str, role: str = "oncall") -> dict[str, Any]:
    world.people(role)
    file = tmp_path / role
    file.write_text(world.tokens[role] + "\n")
    env = os.environ | world.info.env("control") | {"CODESPAR_TOKEN_FILE": str(file)}
    done = subprocess.run(
        [sys.executable, "-m", "codespar", *argv, "--json"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_one_command_stops_everything_and_another_persons_command_lifts_it(world: World, tmp_path: Path) -> None:
    shown = command(world, tmp_path, "stop", "org", "--reason", "three in the morning")
    stopped(world.pay(10))
    assert claims(world, shown["receipt"])["reason"] == "three in the morning"
    command(world, tmp_path, "lift", shown["stop"], "--reason", "false alarm", role="operator")
    assert world.pay(10).status_code == 201


def test_revoke_all_stops_and_revokes_and_a_lift_brings_no_mandate_back(world: World, tmp_path: Path) -> None:
    shown = command(world, tmp_path, "revoke-all", "agent", world.agent, "--reason", "compromised")
    stopped(world.pay(10))
    assert claims(world, shown["revocation_receipt"])["sub"] == world.agent
    command(world, tmp_path, "lift", shown["stop"], "--reason", "a new key", role="operator")
    assert world.pay(10).json()["code"] == "mandate_revoked"
    assert world.pay(10, mandate=world.new_mandate()).status_code == 201


def test_the_command_says_what_is_missing(world: World, tmp_path: Path) -> None:
    env = os.environ | world.info.env("control")
    env.pop("CODESPAR_TOKEN_FILE", None)
    for argv, words in (
        (["stop", "org", "--reason", "x"], "--token-file"),
        (["stop", "galaxy", "--reason", "x"], "--token-file"),
    ):
        done = subprocess.run([sys.executable, "-m", "codespar", *argv], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    file = tmp_path / "token"
    file.write_text(world.tokens["owner"])
    for argv, words in (
        (["stop", "galaxy", "--reason", "x"], "not one of"),
        (["stop", "agent", "--reason", "x"], "needs an id"),
        (["stop", "platform", "--reason", "x"], "platform's own organisation"),
        (["stop", "org", "--reason", ""], "1 to 2000"),
    ):
        run = [sys.executable, "-m", "codespar", *argv, "--token-file", str(file)]
        done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    assert world.pay(10).status_code == 201


def test_one_line_of_sql_stops_with_nothing_else_and_its_record_follows(world: World) -> None:
    line = [str(binaries.postgres().folder / "psql"), world.info.dsn("owner"), "-c", f"CALL codespar.stop('org', '{world.org}')"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "nothing is held under it" in done.stderr) == (0, True), done.stderr
    answer = stopped(world.pay(10))
    assert "stop_receipt" not in answer
    until = time.monotonic() + 20
    while not (rows := world.people().get("/v1/stops")["data"]):
        assert time.monotonic() < until, "nobody wrote down that it was stopped"
        time.sleep(0.2)
    assert (rows[0]["scope"], rows[0]["target"], rows[0]["receipt"]) == ("org", world.org, None)
    assert rows[0]["initiator"].startswith("system:")
    world.lift(rows[0])
    assert world.pay(10).status_code == 201


@pytest.mark.parametrize("scope", ["agent", "mandate", "counterparty", "rail"])
def test_the_line_of_sql_takes_every_scope(world: World, scope: str) -> None:
    with world.db("owner", tenant=False) as connection:
        connection.execute("CALL codespar.stop(%s, %s, %s)", [scope, names(world)[scope], world.org])
        with pytest.raises(psycopg.Error, match="nothing of that name"):
            connection.execute("CALL codespar.stop('rail', 'none', %s)", [world.org])
    stopped(world.pay(10))


def test_a_stop_waits_for_no_key_store(world: World, tmp_path: Path) -> None:
    """Nothing can be signed here: the flag is set all the same, and whoever can sign writes it down."""
    world.people("oncall")
    with processes.extra(world.info, "console", CODESPAR_MASTER_KEY_FILE=str(tmp_path / "away")) as info:
        answer = Api(info.console_url, world.tokens["oncall"]).send("/v1/stops", {"scope": "agent", "id": world.agent, "reason": "now"})
    assert (answer.status_code, answer.json()["status"], answer.json()["id"]) == (202, "unrecorded", None), answer.text
    stopped(world.pay(10))


def test_everything_that_was_stopped_and_revoked_here_is_verified(world: World) -> None:
    stop = world.stop("agent", world.agent)
    stopped(world.pay(10))
    world.lift(stop)
    world.pay(10)
    world.people().post("/v1/revocations", {"scope": "agent", "id": world.agent, "reason": "over"})
    env = world.info.env("auditor")
    argv = [sys.executable, "-m", "codespar", "verify", "--org", world.org, "--pin", f"{world.org}={world.pin}", "--json"]
    done = subprocess.run(argv, env=os.environ | env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
