"""What needs a person is told outside, signed, until it is heard; and a receiver that is not there costs no payment anything."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from codespar.alerts import events, signing
from codespar.lib import clock
from tests.support import reconciling, verifying
from tests.support import world as worlds
from tests.support.forge import Forger
from tests.support.receiver import Call, Receiver, delivered, deliveries, due, enlist, receiver
from tests.support.world import World, later, raw_id

Json = dict[str, Any]
TEST = "webhook_endpoint.tested"


@pytest.fixture
def told(world: World) -> Iterator[Receiver]:
    """A receiver that is told of everything that needs a person."""
    with receiver() as found:
        yield enlist(world, found)


@pytest.fixture(autouse=True)
def _no_faults_left(world: World) -> Iterator[None]:
    yield
    httpx2.delete(f"{world.info.sandbox_url}/_control", timeout=10)


def tested(world: World, told: Receiver) -> None:
    world.people().post(f"/v1/webhook-endpoints/{told.endpoint}/test")


def process(world: World, name: str) -> int:
    """The pid of one of the engine's processes."""
    children = json.loads((world.info.folder / "processes.json").read_text())["children"]
    return next(int(child["pid"]) for child in children if child["name"] == name)


def listed(world: World, **query: Any) -> list[Json]:
    """Every event of `GET /v1/events`, page by page."""
    found: list[Json] = []
    path: str | None = "/v1/events?" + "&".join(f"{name}={value}" for name, value in query.items())
    while path:
        page = world.people().get(path)
        found += page["data"]
        path = page["next_page_url"]
    return found


def data(call: Call) -> Json:
    assert call.told is not None
    return dict(call.told["data"])


# What is told.


def test_a_discrepancy_is_told_within_a_minute_of_its_statement(world: World, told: Receiver) -> None:
    case = reconciling.extra(world)
    began = time.monotonic()
    [call] = told.wait("reconciliation.flagged", seconds=60)
    assert time.monotonic() - began < 60
    assert data(call)["discrepancies"] == [case]
    assert data(call)["rail"] == "sandbox"
    # Thin: ids and words of ours, and nothing of what the case says.
    assert "eve@example.com" not in call.body.decode()
    [event] = listed(world, type="reconciliation.flagged")
    assert (event["id"], event["timestamp"], event["data"]) == (call.id, call.told and call.told["timestamp"], data(call))
    assert world.people().get(f"/v1/ledger/entries/{event['entry']}")["kind"] == "reconciliation.flagged"


def test_a_payment_that_people_must_look_at_is_told(world: World, told: Receiver) -> None:
    world.fault("wrong_amount")
    payment = world.settled(world.pay(300).json()["id"])
    assert payment["status"] == "needs_human"
    [call] = told.wait("payment.needs_human")
    assert data(call) == {"payment": payment["id"]}
    waits = world.pay(500, counterparty=world.api.post("/v1/counterparties", {"name": "New", "accounts": [_account()]})["id"]).json()
    [call] = told.wait("payment.requires_approval")
    assert data(call) == {"payment": waits["id"]}


def _account() -> Json:
    return {"type": "pix_key", "value": f"{worlds.key()}@payee.example"}


def test_a_stop_its_end_and_an_account_that_failed_its_checks_are_told(world: World, told: Receiver) -> None:
    stop = world.stop("agent", world.agent)
    [call] = told.wait("scope.stopped")
    assert data(call) == {"stop": stop["id"], "scope": "agent", "target": world.agent}
    world.lift(stop)
    assert data(told.wait("scope.lifted")[0])["stop"] == stop["id"]
    account = {"rail": "pix", "account": f"nobody-{worlds.key()}", "api_key": "wrong", "webhook_secret": "whsec_c2VjcmV0"}
    made = world.people().post("/v1/rail-accounts", account)
    assert data(told.wait("rail_account.not_ready")[0]) == {"rail_account": made["id"], "rail": "pix"}


def test_a_breaker_that_opens_is_told(world: World, told: Receiver) -> None:
    world.fault("unavailable", count=6)
    headers = {"Idempotency-Key": worlds.key(), "Prefer": "respond-async"}
    world.api._http.post("/v1/payments", json=world.body(500), headers=headers).raise_for_status()
    call = told.wait("rail.breaker_changed", seconds=40)[0]
    assert {name: data(call)[name] for name in ("rail", "operation", "state")} == {"rail": "sandbox", "operation": "pay", "state": "open"}


def test_how_payments_end_is_told_to_whoever_wants_it(world: World) -> None:
    with receiver() as found:
        enlist(world, found, "payment.settled", "payment.denied", "refund.settled", "payment.reversed")
        paid = world.settled(world.pay(700).json()["id"])
        denied = world.pay(10**9 + 1).json()["payment"]
        world.people().post(f"/v1/payments/{paid['id']}/refund", {"amount": {"amount": 700, "currency": "BRL"}})
        assert data(found.wait("payment.settled")[0]) == {"payment": paid["id"]}
        assert data(found.wait("payment.denied")[0]) == {"payment": denied["id"]}
        assert data(found.wait("refund.settled")[0])["payment"] == paid["id"]
        assert data(found.wait("payment.reversed")[0]) == {"payment": paid["id"]}
        assert len(found.calls) == 4
    assert {event["type"] for event in listed(world)} >= {"payment.settled", "payment.denied", "refund.settled", "payment.reversed"}


def test_an_account_that_nobody_reads_is_told_once_and_its_return_once(world: World, told: Receiver) -> None:
    with world.db("super") as connection:
        behind = "done_at = clock_timestamp() - interval '10 minutes', next_at = clock_timestamp() + interval '1 hour'"
        connection.execute(f"UPDATE reconciliation_states SET {behind} WHERE org_id = %s", [raw_id(world.org)])
    lag = told.wait("reconciliation.lagging")[0]
    time.sleep(11)
    assert len(told.of("reconciliation.lagging")) == 1
    reconciling.reconciled(world)
    back = told.wait("reconciliation.caught_up")[0]
    assert data(lag) == data(back) == {"rail_account": data(lag)["rail_account"], "rail": "sandbox"}
    kinds = [event["type"] for event in listed(world) if event["type"].startswith("reconciliation.")]
    assert kinds == ["reconciliation.caught_up", "reconciliation.lagging"]
    assert verifying.complaints(world) == []


# Until it is heard.


def test_a_receiver_that_was_away_is_told_once_it_is_back_under_the_same_id(world: World) -> None:
    with receiver() as away:
        enlist(world, away)
        port = away.server.server_address[1]
    stop = world.stop("agent", world.agent)
    until = time.monotonic() + 20
    while not (waits := deliveries(world, away)) or not waits[0]["attempts"]:
        assert time.monotonic() < until, waits
        time.sleep(0.1)
    assert (waits[0]["status"], waits[0]["failure"], waits[0]["answer"]) == ("pending", "connect_failed", None)
    with receiver(port) as back:
        back.secret = away.secret
        due(world)
        [call] = back.wait("scope.stopped")
        assert (call.id, data(call)["stop"]) == (waits[0]["id"], stop["id"])
        assert delivered(world, away, "delivered")["answer"] == 204
        time.sleep(2.5)
        assert len(back.calls) == 1


def test_every_retry_has_the_id_and_the_body_and_its_own_time(world: World, told: Receiver) -> None:
    told.answers = [(500, None), (503, None)]
    tested(world, told)
    for number in (1, 2):
        told.wait(TEST, number)
        now = delivered(world, told, "pending")
        assert now["next_at"] > now["tried_at"]
        time.sleep(1.1)
        due(world)
    calls = told.wait(TEST, 3)
    assert len({(call.id, call.body) for call in calls}) == 1
    assert len({call.headers["webhook-timestamp"] for call in calls}) == len({call.headers["webhook-signature"] for call in calls}) == 3
    assert (done := delivered(world, told, "delivered"))["attempts"] == 3
    assert (done["next_at"], done["answer"]) == (None, 204)


def test_a_sender_that_dies_before_it_has_written_down_the_answer_tells_it_again(world: World, told: Receiver) -> None:
    """kill -9 between the request and the row: the next process sends the same event under the same id."""
    told.answers = [None]
    tested(world, told)
    [first] = told.wait(TEST)
    os.kill(process(world, "worker"), signal.SIGKILL)
    with world.db("super") as connection:
        # Nobody waits a minute and a half here for the dead process's lease.
        connection.execute("UPDATE webhook_endpoints SET lease_until = clock_timestamp() WHERE org_id = %s", [raw_id(world.org)])
    [_, second] = told.wait(TEST, 2, seconds=60)
    assert (second.id, second.body) == (first.id, first.body)
    assert delivered(world, told, "delivered")["attempts"] == 1


def test_what_nobody_hears_is_given_up_and_stays_to_be_seen(world: World, told: Receiver) -> None:
    told.always = (500, None)
    tested(world, told)
    told.wait(TEST)
    delivered(world, told, "pending")
    with world.db("super") as connection:
        # As after two days of attempts.
        connection.execute("UPDATE webhook_deliveries SET attempts = 8 WHERE org_id = %s", [raw_id(world.org)])
    due(world)
    told.wait(TEST, 2)
    failed = delivered(world, told, "failed")
    assert (failed["attempts"], failed["answer"], failed["next_at"]) == (9, 500, None)
    told.always = (204, None)
    world.people().post(f"/v1/webhook-endpoints/{told.endpoint}/replay", {"event": failed["id"]})
    assert told.wait(TEST, 3)[2].id == failed["id"]
    assert delivered(world, told, "delivered")["attempts"] == 1


def test_what_is_over_is_forgotten_after_a_month_and_a_replay_brings_it_back(world: World, told: Receiver) -> None:
    tested(world, told)
    [call] = told.wait(TEST)
    kept = delivered(world, told, "delivered")
    with world.db("super") as connection:
        # Two that are over a month old, by their ids too; one of them still waits.
        old = "overlay(id::text PLACING '0198' FROM 1 FOR 4)::uuid"
        for status, changes in (
            ("delivered", "n + 1, 'delivered', NULL, 204"),
            ("pending", "n + 2, 'pending', now() + interval '1 day', NULL"),
        ):
            columns = "org_id, endpoint_id, id, seq, n, status, next_at, answer, type, created_at"
            said = f"SELECT org_id, endpoint_id, {old.replace('0198', '0198' if status == 'pending' else '0197')}, seq, {changes}, type, now() - interval '31 days'"
            connection.execute(
                f"INSERT INTO webhook_deliveries ({columns}) {said} FROM webhook_deliveries WHERE id = %s", [raw_id(call.id)]
            )
    assert len(deliveries(world, told)) == 3
    tested(world, told)
    second = told.wait(TEST, 2)[1]
    delivered(world, told, "delivered")
    assert [(one["id"], one["status"]) for one in deliveries(world, told)][:2] == [(second.id, "delivered"), (kept["id"], "delivered")]
    assert [one["status"] for one in deliveries(world, told)][2:] == ["pending"]
    with world.db("super") as connection:
        connection.execute("DELETE FROM webhook_deliveries WHERE org_id = %s", [raw_id(world.org)])
    world.people().post(f"/v1/webhook-endpoints/{told.endpoint}/replay", {"event": call.id})
    assert {one.id for one in told.wait(TEST, 4)[2:]} == {call.id, second.id}


def test_whoever_says_gone_is_not_called_any_more_and_others_hear_of_it(world: World, told: Receiver) -> None:
    with receiver() as other:
        enlist(world, other)
        told.always = (410, None)
        tested(world, told)
        told.wait(TEST)
        assert data(other.wait("webhook_endpoint.disabled")[0]) == {"webhook_endpoint": told.endpoint}
        assert world.people().get(f"/v1/webhook-endpoints/{told.endpoint}")["status"] == "gone"
        stop = world.stop("agent", world.agent)
        other.wait("scope.stopped")
        time.sleep(2)
        assert len(told.calls) == 1
        # Nothing that happened meanwhile is lost to it.
        told.always = (204, None)
        world.people()._http.patch(f"/v1/webhook-endpoints/{told.endpoint}", json={"disabled": False}).raise_for_status()
        due(world)
        assert data(told.wait("scope.stopped")[0])["stop"] == stop["id"]


def test_a_replay_tells_again_from_an_event_or_a_time_on(world: World, told: Receiver) -> None:
    first, second = world.stop("agent", world.agent), world.stop("counterparty", world.counterparty)
    calls = told.wait("scope.stopped", 2)
    delivered(world, told, "delivered")
    path = f"/v1/webhook-endpoints/{told.endpoint}/replay"
    world.people().post(path, {"event": calls[1].id})
    again = told.wait("scope.stopped", 3)
    assert (again[2].id, data(again[2])["stop"]) == (calls[1].id, second["id"])
    world.people().post(path, {"since": later(minutes=-5)})
    again = told.wait("scope.stopped", 5)
    assert {call.id for call in again[3:]} == {call.id for call in calls}
    assert {data(call)["stop"] for call in again[3:]} == {first["id"], second["id"]}
    time.sleep(2)
    assert len(told.of("scope.stopped")) == 5
    for wrong in ({}, {"event": calls[0].id, "since": later()}, {"event": "evt_" + "0" * 32}, {"event": "x"}, {"since": "yesterday"}):
        assert world.people().send(path, wrong).status_code == 400, wrong


# What proves it.


def test_what_is_altered_old_or_signed_by_another_secret_is_refused(world: World, told: Receiver) -> None:
    tested(world, told)
    [call] = told.wait(TEST)
    verified = Webhook(told.secret)
    assert verified.verify(call.body, call.headers) == call.told
    for body, changed in (
        (call.body.replace(b"tested", b"testes"), {}),
        (call.body + b" ", {}),
        (call.body, {"webhook-id": "evt_" + "0" * 32}),
        (call.body, {"webhook-timestamp": str(int(call.headers["webhook-timestamp"]) + 1)}),
        (call.body, {"webhook-signature": "v1," + "A" * 43 + "="}),
    ):
        with pytest.raises(WebhookVerificationError):
            verified.verify(body, call.headers | changed)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(call.body, call.headers)


def test_what_was_sent_long_ago_is_refused_and_what_was_sent_before_is_known_by_its_id(world: World, told: Receiver) -> None:
    """A replay by somebody who kept a request: too old after five minutes, and until then under an id that the receiver has."""
    told.answers = [(500, None)]
    tested(world, told)
    told.wait(TEST)
    due(world)
    first, second = told.wait(TEST, 2)
    assert first.id == second.id
    for seconds in (-301, 301):
        kept = signing.headers(first.id, clock.now() + timedelta(seconds=seconds), first.body, [told.secret])
        with pytest.raises(WebhookVerificationError, match="too old|too new"):
            Webhook(told.secret).verify(first.body, kept)


def test_a_secret_gives_way_to_the_next_one_while_both_sign(world: World, told: Receiver) -> None:
    path = f"/v1/webhook-endpoints/{told.endpoint}/rotate"
    old, new = told.secret, world.people().post(path, {"overlap_seconds": 3600})["secret"]
    assert old != new
    tested(world, told)
    [both] = told.wait(TEST)
    assert len(both.headers["webhook-signature"].split()) == 2
    assert Webhook(old).verify(both.body, both.headers) == Webhook(new).verify(both.body, both.headers)
    last = world.people().post(path, {"overlap_seconds": 0})["secret"]
    tested(world, told)
    until = time.monotonic() + 20
    while len(told.calls) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    alone = told.calls[1]
    assert Webhook(last).verify(alone.body, alone.headers)
    for ended in (old, new):
        with pytest.raises(WebhookVerificationError):
            Webhook(ended).verify(alone.body, alone.headers)
    shown = world.people().get(f"/v1/webhook-endpoints/{told.endpoint}")
    assert [secret["ends_at"] is None for secret in shown["secrets"]] == [True, False, False]


def test_a_secret_is_shown_once_and_stands_nowhere_else(world: World, told: Receiver) -> None:
    tested(world, told)
    told.wait(TEST)
    delivered(world, told, "delivered")
    path = f"/v1/webhook-endpoints/{told.endpoint}"
    shown = [world.people().get(each) for each in (path, "/v1/webhook-endpoints", f"{path}/deliveries", "/v1/events")]
    rows = [
        world.rows(f"SELECT t::text AS row FROM {table} t", role="super")
        for table in ("webhook_endpoints", "webhook_secrets", "ledger_entries", "ledger_openings")
    ]
    logs = "".join(log.read_text(errors="replace") for log in (world.info.folder / "logs").glob("*.log"))
    bare = told.secret.removeprefix("whsec_")
    assert bare not in json.dumps(shown) and bare not in str(rows) and bare not in logs
    # Nor the address, which may hold a secret of the receiver's: the record commits to it.
    assert told.url not in json.dumps([entry["content"] for entry in world.entries()])


# Whom it costs.


def test_a_receiver_that_never_answers_costs_no_payment_and_no_other_receiver_anything(world: World, told: Receiver) -> None:
    told.always = None
    with receiver() as other:
        enlist(world, other, "scope.stopped")
        tested(world, told)
        told.wait(TEST)
        # The worker waits for it, and no process that moves money.
        [row] = world.rows("SELECT lease_owner FROM webhook_endpoints WHERE id = %s", raw_id(told.endpoint))
        assert row["lease_owner"].split("/")[3] == str(process(world, "worker"))
        # While the sender waits ten seconds for the one, the other is told.
        world.stop("counterparty", world.new_counterparty())
        other.wait("scope.stopped", seconds=7)
        for amount in (100, 200, 300):
            began = time.monotonic()
            assert world.pay(amount).json()["status"] == "settled"
            assert time.monotonic() - began < 5
        assert len(told.calls) == 1


def test_a_redirect_is_not_followed(world: World, told: Receiver) -> None:
    with receiver() as other:
        told.always = (307, other.url)
        tested(world, told)
        told.wait(TEST)
        assert delivered(world, told, "pending")["answer"] == 307
        assert other.calls == []


def test_another_organisations_events_and_another_modes_never_arrive(world: World, told: Receiver) -> None:
    other = worlds.make(world.info, money=0)
    with receiver() as theirs, receiver() as live:
        enlist(other, theirs, *events.TYPES)
        made = httpx2.post(
            f"{world.info.console_url}/v1/webhook-endpoints",
            json={"url": live.url, "types": list(events.TYPES)},
            headers={"Authorization": f"Bearer {world.tokens['owner_live']}"},
            timeout=10,
        )
        live.secret = made.raise_for_status().json()["secret"]
        mine, yours = world.stop("agent", world.agent), other.stop("agent", other.agent)
        assert [data(call)["stop"] for call in told.wait("scope.stopped")] == [mine["id"]]
        assert [data(call)["stop"] for call in theirs.wait("scope.stopped")] == [yours["id"]]
        time.sleep(2.5)
        assert {call.told and call.told["type"] for call in theirs.calls} <= {"scope.stopped", "rail_account.ready"}
        assert mine["id"] not in str(theirs.calls) and yours["id"] not in str(told.calls)
        assert live.calls == []
    assert [event["data"]["stop"] for event in listed(world, type="scope.stopped")] == [mine["id"]]
    assert world.people().send(f"/v1/webhook-endpoints/{theirs.endpoint}/test", {}).status_code in (400, 404)
    for path in ("", "/deliveries"):
        assert world.people()._http.get(f"/v1/webhook-endpoints/{theirs.endpoint}{path}").status_code == 404


# The truth.


def test_events_are_read_page_by_page_and_by_type(world: World) -> None:
    stops = [world.stop(scope, id) for scope, id in (("agent", world.agent), ("counterparty", world.counterparty))]
    world.pay(10**9 + 1)
    whole = listed(world, limit=100)
    assert [event["id"] for event in listed(world, limit=1)] == [event["id"] for event in whole]
    assert [event["seq"] for event in whole] == sorted((event["seq"] for event in whole), reverse=True)
    assert len({event["id"] for event in whole}) == len(whole)
    assert [event["data"]["stop"] for event in listed(world, type="scope.stopped")] == [stop["id"] for stop in reversed(stops)]
    entries = {entry["id"]: entry for entry in world.entries()}
    for event in whole:
        assert entries[event["entry"]]["seq"] == event["seq"]
        assert event["timestamp"] == entries[event["entry"]]["at"]
    for wrong in ("type=payment.eaten", "cursor=x", "cursor=1-2-3", "limit=0"):
        assert world.people()._http.get(f"/v1/events?{wrong}").status_code == 400, wrong


def test_of_a_record_of_many_payments_each_has_its_own_event(world: World) -> None:
    """And its own id, which is the same for everybody; a forged record whose parts are anything at all stops nothing."""
    pen = Forger(world)
    payments = [f"pay_{number:032x}" for number in range(1, 301)]
    parts: list[Any] = [{"part": "transition", "subject": pay, "from": "submitted", "to": "needs_human"} for pay in payments]
    strange: list[Any] = [7, None, "x", [], {}, {"part": "transition"}, {"part": "transition", "subject": "my name", "to": "settled"}]
    with world.db("super") as connection:
        record = _record(pen, "payments.resulted", strange + parts)
        connection.execute("SELECT record_append(%s, %s, %s, convert_from(%s, 'UTF8')::jsonb)", [pen.org, record[0], record[1], record[0]])
    found = listed(world, type="payment.needs_human", limit=50)
    assert [event["data"]["payment"] for event in found] == payments[::-1]
    assert len({event["id"] for event in found}) == 300
    assert [event for event in listed(world, limit=100) if "name" in str(event["data"])] == []


def _record(pen: Forger, kind: str, parts: list[Any]) -> list[Any]:
    return list(pen.record(kind, {"operation": "x", "target": "x", "items": []}, changes={"parts": parts}).values())


# What people set.


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/in",
        "ftp://hooks.example/in",
        "https://somebody@hooks.example/in",
        "https://somebody:secret@hooks.example/in",
        "https://hooks.example/in#there",
        "https://hooks.example:0/in",
        "https://hooks.example:99999/in",
        "https://hooks.example/ in",
        "https://hooks.exämple/in",
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.7/in",
        "https://[fd00::1]/in",
        "https://[::ffff:10.0.0.7]/in",
        "https://[64:ff9b::a00:7]/in",
        "https://0x0a000007/in",
        "https://10.7/in",
        "https://167772167/in",
        "https:///in",
        "hooks.example",
        "",
    ],
)
def test_an_endpoint_that_is_never_called_is_refused_when_it_is_named(world: World, url: str) -> None:
    answer = world.people().send("/v1/webhook-endpoints", {"url": url})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/url"), answer.text


def test_an_endpoint_is_made_changed_and_deleted_with_a_record_of_each_step(world: World, told: Receiver) -> None:
    path = f"/v1/webhook-endpoints/{told.endpoint}"
    changed = world.people()._http.patch(path, json={"url": "https://hooks.example/in", "types": ["scope.stopped"]}).json()
    assert (changed["url"], changed["types"], changed["status"]) == ("https://hooks.example/in", ["scope.stopped"], "enabled")
    off = world.people()._http.patch(path, json={"disabled": True}).json()
    assert (off["status"], off["types"]) == ("disabled", ["scope.stopped"])
    for wrong in ({"types": []}, {"types": ["all"]}, {"types": ["scope.stopped"] * 2}, {"disabled": "no"}, {"secret": "x"}):
        assert world.people()._http.patch(path, json=wrong).status_code == 400, wrong
    assert world.people().delete(path)["status"] == "deleted"
    assert world.people().get("/v1/webhook-endpoints")["data"] == []
    assert world.people()._http.patch(path, json={"disabled": False}).status_code == 404
    kinds = [entry["kind"] for entry in world.entries() if entry["subject"] == told.endpoint]
    assert kinds == ["webhook_endpoint.created", "webhook_endpoint.updated", "webhook_endpoint.updated", "webhook_endpoint.deleted"]
    assert verifying.complaints(world) == []


def test_sixteen_endpoints_are_enough(world: World) -> None:
    body = {"url": "https://hooks.invalid/in", "types": ["scope.stopped"]}
    for _ in range(16):
        made = world.people().post("/v1/webhook-endpoints", body)
    assert world.people().send("/v1/webhook-endpoints", body).status_code == 409
    world.people().delete(f"/v1/webhook-endpoints/{made['id']}")
    world.people().post("/v1/webhook-endpoints", body)
