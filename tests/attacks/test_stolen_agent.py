"""Somebody has the agents' database connection and one agent's token, and writes the calls by hand.

What goes through is what the mandates, policies and wallets allow anyway; what was made up around it is refused by the database, and
what only a signature could show is refused by the dispatcher before a byte leaves.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.types.json import Jsonb

from codespar.launcher.stack import StackInfo
from codespar.lib import canonical, clock, db, ids
from tests.support import books, forge
from tests.support import world as worlds
from tests.support.forge import DENIED, Forger
from tests.support.world import BRL, World, key, later, raw_id

Json = dict[str, Any]


@pytest.fixture(scope="module")
def terms(shared_world: World, rival: Json) -> dict[str, Json]:
    """By name: the payment that claims to be allowed, and is not."""
    new, payee = shared_world.new_mandate, shared_world.new_counterparty()
    ends, before = later(seconds=2), later(seconds=1)
    paused, revoked, soon = new(), new(), new(expires_at=ends)
    shared_world.people().post(f"/v1/mandates/{paused}/pause")
    shared_world.people().post(f"/v1/mandates/{revoked}/revoke", {"reason": "lost"})
    retired = shared_world.new_counterparty()
    shared_world.people().post(f"/v1/counterparties/{retired}/retire", {"from_version": 1})
    accounts = {
        one: shared_world.people().get(f"/v1/counterparties/{one}")["accounts"][0]["id"] for one in (payee, rival["proposed"], retired)
    }
    while rows_expired(shared_world, soon) == 0:
        time.sleep(0.1)
    return {
        "over max_amount": {"mandate": new(max_amount=999)},
        "over the budget": {"mandate": new(budget=999)},
        "wrong counterparty": {"mandate": new(counterparties=[payee])},
        "wrong purpose": {"mandate": new(purposes=["travel"])},
        "wrong country": {"mandate": new(countries=["PT"])},
        "wrong category": {"mandate": new(categories=["travel"])},
        "wrong rail": {"mandate": new(rails=["pix"])},
        "wrong time of day": {"mandate": new(time_windows=[closed_now()])},
        "not yet valid": {"mandate": new(not_before=later(hours=1))},
        "wrong currency": {"currency": "USD"},
        "expired": {"mandate": soon, "submit_by": before},
        "paused": {"mandate": paused},
        "revoked": {"mandate": revoked},
        "another agent's mandate": {"mandate": rival["mandate"]},
        "no mandate": {"mandate": None},
        "unknown mandate": {"mandate": ids.wire("mnd", ids.new())},
        "unconfirmed counterparty": {"counterparty": rival["proposed"], "account": accounts[rival["proposed"]]},
        "retired counterparty": {"counterparty": retired, "account": accounts[retired]},
        "unknown counterparty": {"counterparty": ids.wire("ctp", ids.new())},
        "no counterparty": {"counterparty": None},
        "account of another payee": {"account": accounts[payee]},
        "unknown account": {"account": "acc_" + "0" * 32},
        "no account": {"account": None},
        "old counterparty version": {"counterparty_version": 0},
        "unknown rail": {"rail": "nowhere"},
        "no rail": {"rail": None},
        "more than the wallet": {"amount": 10**8},
    }


def closed_now() -> Json:
    """A window of days that today is not one of, nor its neighbours."""
    day = (clock.now().isoweekday() + 2) % 7 + 1
    return {"days": [day], "from": "10:00", "to": "11:00"}


def rows_expired(world: World, mandate: str) -> int:
    query = "SELECT count(*) AS n FROM mandates WHERE id = %s AND expires_at < clock_timestamp()"
    return int(books.look(world, query, raw_id(mandate))[0]["n"])


SAID = {
    "over the budget": "moved: mandate_usage",
    "revoked": "moved: revoked",
    "unconfirmed counterparty": "moved: counterparty",
    "retired counterparty": "moved: counterparty",
    "unknown counterparty": "moved: counterparty",
    "no counterparty": "moved: counterparty",
    "account of another payee": "moved: counterparty",
    "unknown account": "moved: counterparty",
    "no account": "moved: counterparty",
    "old counterparty version": "moved: counterparty",
    "unknown rail": "moved: rail",
    "no rail": "moved: rail",
    "more than the wallet": "moved: wallet",
}
NAMES = [
    "over max_amount",
    "over the budget",
    "wrong counterparty",
    "wrong purpose",
    "wrong country",
    "wrong category",
    "wrong rail",
    "wrong time of day",
    "not yet valid",
    "wrong currency",
    "expired",
    "paused",
    "revoked",
    "another agent's mandate",
    "no mandate",
    "unknown mandate",
    "unconfirmed counterparty",
    "retired counterparty",
    "unknown counterparty",
    "no counterparty",
    "account of another payee",
    "unknown account",
    "no account",
    "old counterparty version",
    "unknown rail",
    "no rail",
    "more than the wallet",
]


def batch(forger: Forger, *payments: Json, openings: list[Any] | None = None) -> Any:
    """What `authorise_batch` says to these claims, called by hand; or the rule that refused."""
    made = [forger.payment_record(payment) for payment in payments]
    columns = [one["content"] for one in made], [one["sig"] for one in made], Jsonb([None for _ in made] if openings is None else openings)
    with forger.world.db("agent") as connection:
        try:
            row = connection.execute(
                "SELECT authorise_batch(%s, %s, %s, %s, %s) AS answer", [forger.org, forger.digest(), *columns]
            ).fetchone()
        except psycopg.Error as error:
            return db.rule_name(error)
    assert row is not None
    return [next(iter(one.items())) if "moved" in one else "done" for one in row["answer"]]


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_in_a_batch_is_checked_again_and_ends_it_there(forger: Forger, terms: dict[str, Json], name: str) -> None:
    """What comes after a claim that is false was decided on its word: it is not made either."""
    before = books.state(forger.world)
    payment = forger.payment(**{"amount": 1000} | terms[name])
    said = SAID.get(name, "moved: mandate").removeprefix("moved: ")
    assert batch(forger, payment, forger.payment(1)) == [("moved", said), ("moved", "before")]
    assert books.state(forger.world) == before


def test_a_batch_takes_no_more_than_the_wallet_has(world: World) -> None:
    pen, has = Forger(world), world.balance()[0]
    assert batch(pen, pen.payment(has - 1), pen.payment(1), pen.payment(1)) == ["done", "done", ("moved", "wallet")]
    assert world.rows("SELECT sum(amount) AS held FROM holds")[0]["held"] == has


def test_a_forged_schedule_is_for_a_time_to_come_and_never_paid(world: World) -> None:
    """The row is the queue's, and the record has no signature of the engine's: when its time comes it ends unpaid."""
    pen = Forger(world)
    for at in (later(minutes=-2), later(days=400), None):
        asked = pen.payment(rail="sandbox", execute_at=at)
        assert pen.authorise(asked, kind="payment.scheduled") == "payments_execute_at", at
    asked = pen.payment(execute_at=later(seconds=2), counterparty_version=None, submit_by=later(minutes=10))
    assert pen.authorise(asked, kind="payment.scheduled") == "done"
    found = world.settled(asked["id"], 60, among=("scheduled",))
    assert (found["status"], found["code"], world.provider_payments()) == ("canceled", "evidence_record_signature", [])


@pytest.mark.parametrize(("size", "openings"), [(0, 0), (129, 129), (2, 1), (1, 2)])
def test_a_batch_of_another_size_is_refused(forger: Forger, size: int, openings: int) -> None:
    assert batch(forger, *(forger.payment(1) for _ in range(size)), openings=[None] * openings) == "payments_batch_size"


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_to_be_allowed_is_checked_again(forger: Forger, terms: dict[str, Json], name: str) -> None:
    assert set(terms) == set(NAMES)
    before = books.state(forger.world)
    payment = forger.payment(**{"amount": 1000} | terms[name])
    assert forger.authorise(payment) == SAID.get(name, "moved: mandate")
    assert books.state(forger.world) == before


@pytest.mark.parametrize("amount", [0, -1, None, "9223372036854775807", "9223372036854775808", "1.5", "1e3", "NaN", [], {"amount": 1}])
def test_no_amount_but_a_whole_positive_one_is_held(forger: Forger, amount: object) -> None:
    before = books.state(forger.world)
    assert forger.authorise(forger.payment(amount)) in ("moved: mandate", "23502", "22003", "22P02")
    assert books.state(forger.world) == before


@pytest.mark.parametrize("missing", ["submit_by", "purpose", "currency", "id"])
def test_a_payment_that_lacks_a_member_is_not_held(forger: Forger, missing: str) -> None:
    before = books.state(forger.world)
    assert forger.authorise(forger.payment(**{missing: None})) not in ("done", "twin")
    assert books.state(forger.world) == before


# Policy

RULES: dict[str, tuple[list[Json], Json]] = {
    "over a payment's limit": ([{"id": "p", "effect": "limit", "window": "payment", "currency": BRL, "max_amount": 999}], {}),
    "over the day's limit": ([{"id": "d", "effect": "limit", "window": "day", "currency": BRL, "max_amount": 999}], {}),
    "over the week's limit": ([{"id": "w", "effect": "limit", "window": "week", "currency": BRL, "max_amount": 999}], {}),
    "over the month's limit": ([{"id": "m", "effect": "limit", "window": "month", "currency": BRL, "max_amount": 999}], {}),
    "denied country": ([{"id": "c", "effect": "deny", "when": {"countries": ["BR"]}}], {}),
    "denied category": ([{"id": "c", "effect": "deny", "when": {"categories": ["hosting"]}}], {}),
    "denied purpose": ([{"id": "c", "effect": "deny", "when": {"purposes": ["hosting"]}}], {}),
    "above the approval threshold": (
        [{"id": "a", "effect": "approval", "when": {"amount_over": {"amount": 999, "currency": BRL}}}],
        {},
    ),
}


def closing() -> datetime:
    """A whole minute, less than a minute away, and far enough that calls are made before it."""
    now = datetime.now(UTC)
    if now.second > 40:
        time.sleep(61 - now.second)
        now = datetime.now(UTC)
    return now.replace(second=0, microsecond=0) + timedelta(minutes=1)


def hours(begin: datetime, end: datetime) -> dict[str, str]:
    """From and to on the wall clock of the tests' organisations."""
    first, last = (moment.astimezone(ZoneInfo("America/Sao_Paulo")) for moment in (begin, end))
    return {"from": f"{first:%H:%M}", "to": f"{last:%H:%M}"}


@pytest.mark.parametrize("effect", ["deny", "approval"])
def test_a_payment_does_not_outlive_the_hours_that_allow_it(forger: Forger, effect: str) -> None:
    """Authorised a moment before the hours close, to be sent a moment after: neither by hand nor by the engine itself."""
    world, wide = forger.world, {"id": "cap", "effect": "limit", "window": "payment", "currency": BRL, "max_amount": 10**12}
    at = closing()
    when = {"time": [hours(at, at + timedelta(minutes=30))], "countries": ["BR"]}
    world.set_policy({"id": "all", "effect": "allow"}, wide, {"id": "h", "effect": effect, "when": when})
    try:
        before = books.state(world)
        assert forger.authorise(forger.payment(submit_by=clock.stamp(at + timedelta(seconds=1)))) == "moved: policy"
        assert books.state(world) == before
        paid = world.pay(100)
        assert paid.status_code == 201, paid.text
        assert paid.json()["submit_by"] == clock.stamp(at)
        left(forger, forger.payment(submit_by=clock.stamp(at)))
    finally:
        world.set_policy({"id": "all", "effect": "allow"}, wide)


def test_a_mandates_hours_close_too(forger: Forger) -> None:
    at = closing()
    mandate = forger.world.new_mandate(time_windows=[hours(at - timedelta(minutes=30), at)])
    claim = {"mandate": mandate, "submit_by": clock.stamp(at + timedelta(seconds=1))}
    assert forger.authorise(forger.payment(**claim)) == "moved: mandate"
    left(forger, forger.payment(**claim | {"submit_by": clock.stamp(at)}))


def left(forger: Forger, payment: Json) -> None:
    """It is allowed, and the sweeper, who finds it without a hint, is done with it before the next test looks at the books."""
    assert forger.authorise(payment) == "done"
    forger.world.settled(payment["id"])


@pytest.mark.parametrize("name", RULES)
def test_a_policy_is_not_talked_around(forger: Forger, name: str) -> None:
    wide = {"id": "cap", "effect": "limit", "window": "payment", "currency": BRL, "max_amount": 10**12}
    world = forger.world
    world.set_policy({"id": "all", "effect": "allow"}, wide, *RULES[name][0])
    try:
        before = books.state(world)
        assert forger.authorise() == "moved: policy"
        assert books.state(world) == before
    finally:
        world.set_policy({"id": "all", "effect": "allow"}, wide)


OPEN: list[Json] = worlds.OPEN_POLICY["rules"]  # type: ignore[assignment]


@pytest.mark.parametrize("rules", [[], [{"id": "all", "effect": "allow"}]])
def test_a_policy_without_an_allow_or_a_limit_denies(forger: Forger, rules: list[Json]) -> None:
    world = forger.world
    world.set_policy(*rules)
    try:
        before = books.state(world)
        assert forger.authorise() == "moved: policy"
        assert books.state(world) == before
    finally:
        world.set_policy(*OPEN)


# Everything else that this connection reaches


def test_another_agents_payment_is_not_canceled(forger: Forger, rival: Json) -> None:
    data = {"items": [{"payment": rival["waiting"], "from": "requires_approval", "to": "canceled", "code": "x"}]}
    before = books.state(forger.world)
    record = forger.record("payment.canceled", data)
    assert forger.outcome("agent", "payment_cancel", forger.org, forger.digest(), *record.values()) == "payments_known"
    assert books.state(forger.world) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mandates SET max_amount = 10^12",
        "UPDATE mandate_usages SET budget = NULL, spent = 0",
        "UPDATE accounts SET available = 10^12",
        "UPDATE access_tokens SET scopes = '{payments:approve}'",
        "INSERT INTO policy_activations SELECT * FROM policy_activations",
        "INSERT INTO policy_versions SELECT * FROM policy_versions",
        "INSERT INTO approval_votes SELECT * FROM approval_votes",
        "INSERT INTO payments SELECT * FROM payments",
        "UPDATE scope_states SET stopped = false, epoch = 0",
        "UPDATE platform_states SET stopped = false",
        "UPDATE counters SET amount = 0",
        "DELETE FROM revocations",
        "SELECT sealed FROM rail_accounts",
        "SELECT digest FROM access_tokens",
        "SELECT password FROM members",
        "SELECT record_append(NULL, NULL, NULL, NULL)",
        "SELECT hold_add(NULL, NULL, NULL, NULL, NULL, NULL)",
        "SELECT head_lock(NULL)",
        "SELECT enter(NULL)",
    ],
)
def test_what_gives_itself_more_is_refused(forger: Forger, statement: str) -> None:
    with forger.world.db("agent") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_no_private_key_but_the_sealed_ledger_key_is_seen(forger: Forger) -> None:
    for role in ("agent", "rail"):
        assert {row["purpose"] for row in forger.world.rows("SELECT purpose FROM private_keys", role=role)} == {"ledger"}


@pytest.mark.parametrize(
    "function", ["payment_vote", "policy_write", "policy_activate", "wallet_move", "counterparty_change", "token_create"]
)
def test_no_vote_policy_funding_or_token_comes_from_an_agents_connection(forger: Forger, function: str) -> None:
    record = forger.record("payment.approved", {}).values()
    for who in ("agent", "owner"):
        assert forger.outcome("agent", function, forger.org, forger.digest(who), *record) == DENIED


def test_a_stolen_console_connection_cannot_vote_without_the_scope(forger: Forger, rival: Json, stack: StackInfo) -> None:
    world = forger.world
    world.people("operator")
    other = worlds.make(stack, money=0)
    other.people("finance")
    record = forger.payment_record(forger.payment(id=rival["waiting"]), kind="payment.approved").values()
    before = books.state(world)
    assert forger.outcome("control", "payment_vote", forger.org, forger.digest("operator"), *record) == "access_tokens_scope"
    assert forger.outcome("control", "payment_vote", forger.org, forger.digest("agent"), *record) == "access_tokens_scope"
    elsewhere = canonical.sha256(other.tokens["finance"].encode())
    assert forger.outcome("control", "payment_vote", forger.org, elsewhere, *record) == "access_tokens_valid"
    assert forger.outcome("control", "payment_vote", str(raw_id(other.org)), forger.digest("owner"), *record) == "record_elsewhere"
    assert books.state(world) == before


def test_an_agent_does_not_confirm_the_counterparty_that_it_proposes(forger: Forger) -> None:
    document = canonical.dumps({"name": "Mine", "country": "BR", "category": None, "accounts": []}).decode()
    salt, commit = canonical.commit(document.encode())
    data = {"id": ids.wire("ctp", ids.new()), "commit": commit.hex()}
    opening = [{"commit": commit.hex(), "salt": salt.hex(), "value": document}]
    made = forger.record("counterparty.created", data, openings=opening).values()
    assert forger.outcome("agent", "counterparty_create", forger.org, forger.digest(), *made) == "access_tokens_scope"


# What a signature alone can show


def canceled(world: World, payment: str) -> Json:
    return world.settled(payment, seconds=20)


def test_a_payment_without_a_good_signature_is_held_and_never_sent(world: World) -> None:
    """Everything about it is allowed, so the database holds it; the dispatcher, another process and role, does not send it."""
    pen = Forger(world)
    rival_agent, rival_wallet, _ = world.new_agent()
    world.fund(5000, rival_wallet)
    before = world.balance()
    honest, dressed = pen.payment(1000), pen.payment(700, wallet=rival_wallet)
    assert [pen.authorise(honest), pen.authorise(dressed)] == ["done", "done"]
    held = world.rows("SELECT wallet_id, amount FROM holds")
    assert {row["wallet_id"] for row in held} == {raw_id(world.wallet)}, "a hold takes from the agent's own wallet, whatever was claimed"
    for payment in (honest, dressed):
        ended = canceled(world, payment["id"])
        assert (ended["status"], ended["code"]) == ("canceled", "evidence_record_signature")
    assert world.provider_payments() == []
    assert (world.balance(), world.balance(rival_wallet)) == (before, (5000, 0))
    assert books.faults(world) == []


def test_the_same_forged_record_counts_once(world: World) -> None:
    pen = Forger(world)
    record = pen.payment_record().values()
    said = [pen.outcome("agent", "authorise", pen.org, pen.digest(), *record) for _ in range(3)]
    assert said == ["done", "twin", "twin"]
    assert len(world.rows("SELECT 1 FROM holds")) == 1


def test_a_forged_vote_does_not_make_the_dispatcher_send(world: World) -> None:
    """Even a stolen console connection with a finance token has no ledger key."""
    pen = Forger(world)
    proposed = world.api.post("/v1/counterparties", {"name": "New", "accounts": [{"type": "pix_key", "value": "n@payee.example"}]})
    waiting = world.pay(400, key(), counterparty=proposed["id"]).json()
    world.people("finance")
    actor = authenticated(pen, "finance")
    account = proposed["accounts"][0]["id"]
    payment = pen.payment(400, id=waiting["id"], counterparty=proposed["id"], account=account)
    record = pen.payment_record(payment, kind="payment.approved", actor=actor).values()
    assert pen.outcome("control", "payment_vote", pen.org, pen.digest("finance"), *record) == "done"
    ended = canceled(world, waiting["id"])
    assert (ended["status"], ended["code"]) == ("canceled", "evidence_record_signature")
    assert world.provider_payments() == []


def authenticated(pen: Forger, who: str) -> str:
    with pen.world.db("control") as connection:
        row = connection.execute("SELECT authenticate(%s, %s) AS p", [pen.org, pen.digest(who)]).fetchone()
    assert row is not None
    return str(row["p"]["actor"])


def test_an_isolation_level_that_hides_others_is_refused(forger: Forger) -> None:
    record = forger.payment_record().values()
    for level in ("REPEATABLE READ", "SERIALIZABLE"):
        with forger.world.db("agent") as connection:
            connection.execute(f"SET default_transaction_isolation = '{level.lower()}'")
            assert forge.call(connection, "authorise", forger.org, forger.digest(), *record) == "isolation_level"
