"""Somebody has the rail's database connection. It may say what a rail said of what was sent, once, with proof; nothing else."""

from typing import Any
from uuid import uuid4

import psycopg
import pytest

from codespar.launcher.stack import StackInfo
from codespar.lib import ids
from tests.support import books, forge
from tests.support import world as worlds
from tests.support.forge import DENIED, Forger
from tests.support.world import BRL, World, later, raw_id

Json = dict[str, Any]
PROCESS = "system:dispatcher@stolen:1"


class Rail:
    """The rail's connection, and payments whose lease somebody else holds, so that nobody else moves them."""

    def __init__(self, world: World) -> None:
        self.world, self.pen = world, Forger(world)

    def authorized(self, amount: int = 1000) -> Json:
        """A payment that is authorised and held, and that no dispatcher takes for an hour."""
        return self.pen.leased(self.pen.payment(amount))

    def row(self, payment: str) -> Json:
        return books.look(self.world, "SELECT * FROM payments WHERE id = %s", raw_id(payment))[0]

    def submitted(self, amount: int = 1000) -> Json:
        """The same, with an attempt whose `send_by` is nearly a minute away: {payment, attempt}."""
        payment = self.authorized(amount)["id"]
        attempt = ids.wire("att", ids.new())
        assert self.submit(payment, attempt) == "done"
        return {"payment": payment, "attempt": attempt}

    def submit(self, payment: str, attempt: str, **changes: Any) -> str:
        key = bytes(self.row(payment)["rail_key"]).hex()
        item = {"payment": payment, "attempt": attempt, "rail_key": key, "worker": "me", "send_by": later(seconds=40)} | changes
        record = self.pen.record("payments.submitted", {"items": [item]}, changes={"actor": PROCESS})
        return self.pen.outcome("rail", "payments_submit", self.pen.org, record["content"], record["sig"])

    def result(self, *items: Json, to: str | None = None, **changes: Any) -> str:
        record = self.pen.record("payments.resulted", {"items": list(items)}, changes={"actor": PROCESS} | changes)
        return self.pen.outcome("rail", "payments_result", to or self.pen.org, *record.values())

    def refund_result(self, item: Json, *parts: Json) -> str:
        record = self.pen.record("refund.resulted", {"refund": item}, list(parts), changes={"actor": PROCESS})
        return self.pen.outcome("rail", "refund_result", self.pen.org, *record.values())


def item(sent: Json, **changes: Any) -> Json:
    """What the rail said of one payment: settled, unless changed."""
    return {
        **sent,
        "id": ids.wire("evt", ids.new()),
        "source": "answer",
        "result": "settled",
        "code": "x",
        "proof": None,
        "provider_id": ids.new().hex,
        "from": "submitted",
        "to": "settled",
        "transfer": ids.wire("tr", ids.new()),
    } | changes


@pytest.fixture(scope="module")
def rail(shared_world: World) -> Rail:
    return Rail(shared_world)


def unchanged(rail: Rail, call: Any) -> str:
    """What came of an attack that must leave no trace, not even a record."""
    before = books.state(rail.world)
    said = call()
    changed = books.state(rail.world)
    assert [name for name in before if before[name] != changed[name]] == [], f"it said {said}"
    return str(said)


# What was never sent


def test_what_was_never_submitted_does_not_settle_or_fail(rail: Rail) -> None:
    payment = rail.authorized()["id"]
    made_up = {"payment": payment, "attempt": ids.wire("att", ids.new())}
    for changes in ({"from": "authorized"}, {"from": "submitted"}, {"from": "authorized", "to": "failed", "proof": "unsent"}):
        assert unchanged(rail, lambda changes=changes: rail.result(item(made_up, **changes))) == "moved: state"


def test_an_attempt_of_one_payment_says_nothing_about_another(rail: Rail) -> None:
    one, other = rail.submitted(), rail.submitted()
    crossed = {"payment": one["payment"], "attempt": other["attempt"]}
    assert unchanged(rail, lambda: rail.result(item(crossed))) == "moved: state"


def test_another_organisations_payment_is_not_reached(rail: Rail, stack: StackInfo) -> None:
    sent = rail.submitted()
    other = worlds.make(stack, money=0)
    before = books.state(other)
    there = str(raw_id(other.org))
    assert unchanged(rail, lambda: rail.result(item(sent), to=there)) == "record_elsewhere"
    after = other.rows("SELECT seq, encode(hash, 'hex') AS hash FROM ledger_heads")[0]
    assert unchanged(rail, lambda: rail.result(item(sent), to=there, org=other.org, after=after)) == "moved: state"
    assert books.state(other) == before


# Proof

CLAIMS: dict[str, Json] = {
    "settled because unknown": {"result": "unknown"},
    "settled because accepted": {"result": "accepted"},
    "settled because rejected": {"result": "rejected"},
    "failed without proof": {"to": "failed", "result": "rejected"},
    "not found before send_by": {"to": "failed", "result": "not_found", "source": "query", "proof": "not_found_after_window"},
    "not found by an answer": {"to": "failed", "result": "not_found", "source": "answer", "proof": "not_found_after_window"},
    "not found by a timeout": {"to": "failed", "result": "unknown", "source": "query", "proof": "not_found_after_window"},
    "rejected by a timeout": {"to": "failed", "result": "unknown", "proof": "rejected"},
    "rejected though settled": {"to": "failed", "result": "settled", "proof": "rejected"},
    "unsent though settled": {"to": "failed", "result": "settled", "proof": "unsent"},
    "unsent by a query": {"to": "failed", "result": "unknown", "source": "query", "proof": "unsent"},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_without_its_proof_is_refused(rail: Rail, name: str) -> None:
    sent = rail.submitted()
    assert unchanged(rail, lambda: rail.result(item(sent, **CLAIMS[name]))) == "payments_proof"


def test_unsent_is_no_proof_once_the_rail_has_answered(rail: Rail) -> None:
    """Only the attempt's own holder knows that nothing left, and it says so first or never."""
    sent = rail.submitted()
    assert rail.result(item(sent, to=None, result="accepted")) == "done"
    late = item(sent, to="failed", result="unknown", proof="unsent")
    assert unchanged(rail, lambda: rail.result(late)) == "payments_proof"


def test_a_proof_of_nothing_known_is_refused(rail: Rail) -> None:
    sent = rail.submitted()
    wild = item(sent, to="failed", result="rejected", proof="because")
    assert unchanged(rail, lambda: rail.result(wild)) in ("payments_proof", "attempt_results_proof")


# States


@pytest.mark.parametrize("state", ["canceled", "expired", "denied", "authorized", "reversed", "reversing", "written_off", "new", "made_up"])
def test_a_submitted_payment_goes_nowhere_else(rail: Rail, state: str) -> None:
    sent = rail.submitted()
    assert unchanged(rail, lambda: rail.result(item(sent, to=state))) not in ("done", "twin")


@pytest.mark.parametrize("state", ["settled", "failed", "written_off"])
def test_what_is_a_persons_is_not_ended_by_the_rail(rail: Rail, state: str) -> None:
    """Out of needs_human lead evidence and two people."""
    sent = rail.submitted()
    assert rail.result(item(sent, to="needs_human", result="conflicted")) == "done"
    claim = item(sent, **{"from": "needs_human", "to": state, "source": "query", "result": "settled"})
    if state == "failed":
        claim |= {"result": "rejected", "proof": "rejected"}
    assert unchanged(rail, lambda: rail.result(claim)) not in ("done", "twin")


@pytest.mark.parametrize("state", ["reversing", "reversed", "failed", "needs_human"])
def test_a_settled_payment_is_not_undone_by_a_result(rail: Rail, state: str) -> None:
    """Only a refund gives money back, and only its rows say so."""
    sent = rail.submitted()
    assert rail.result(item(sent)) == "done"
    undo = item(sent, **{"from": "settled", "to": state, "result": "rejected", "proof": "rejected"})
    assert unchanged(rail, lambda: rail.result(undo)) not in ("done", "twin")


def test_nothing_settles_twice(rail: Rail) -> None:
    sent = rail.submitted()
    assert unchanged(rail, lambda: rail.result(item(sent), item(sent))) in ("hold_resolutions_pkey", "accounts_held")
    assert rail.result(item(sent)) == "done"
    assert unchanged(rail, lambda: rail.result(item(sent))) == "moved: state"
    assert unchanged(rail, lambda: rail.result(item(sent, **{"from": "settled"}))) not in ("done", "twin")


def test_one_provider_id_settles_one_payment(rail: Rail) -> None:
    one, other = rail.submitted(), rail.submitted()
    assert rail.result(item(one, provider_id="E2E-1")) == "done"
    assert unchanged(rail, lambda: rail.result(item(other, provider_id="E2E-1"))) == "payments_provider"


# Submitting


def test_what_is_not_authorised_is_not_submitted(rail: Rail) -> None:
    sent = rail.submitted()
    assert unchanged(rail, lambda: rail.submit(sent["payment"], ids.wire("att", ids.new()))) == "moved: state"
    payment = rail.authorized()["id"]
    for changes, said in (
        ({"rail_key": "00" * 32}, "moved: state"),
        ({"rail_key": None}, "moved: state"),
        ({"send_by": later(seconds=120)}, "attempts_send_by"),
        ({"send_by": later(seconds=58)}, "attempts_submit_by"),
        ({"send_by": None}, "23502"),
    ):
        assert unchanged(rail, lambda changes=changes: rail.submit(payment, ids.wire("att", ids.new()), **changes)) == said


def test_what_a_revoked_mandate_allowed_is_not_submitted(world: World) -> None:
    rail = Rail(world)
    payment = rail.authorized()["id"]
    world.people().post(f"/v1/mandates/{world.mandate}/revoke", {"reason": "lost"})
    assert unchanged(rail, lambda: rail.submit(payment, ids.wire("att", ids.new()))) == "moved: mandate_revoked"


@pytest.mark.parametrize(
    ("where", "body", "reason"),
    [
        ("/v1/mandates/{mandate}/pause", None, "mandate_paused"),
        ("/v1/counterparties/{counterparty}/retire", {"from_version": 1}, "counterparty_retired"),
    ],
)
def test_what_was_paused_or_retired_meanwhile_is_not_submitted(world: World, where: str, body: Json | None, reason: str) -> None:
    rail = Rail(world)
    payment = rail.authorized()["id"]
    world.people().post(where.format(mandate=world.mandate, counterparty=world.counterparty), body)
    assert unchanged(rail, lambda: rail.submit(payment, ids.wire("att", ids.new()))) == f"moved: {reason}"


def test_what_was_paused_after_it_was_submitted_is_not_sent(world: World) -> None:
    rail = Rail(world)
    sent = rail.submitted()
    attempt = [raw_id(sent["attempt"])]
    look = "SELECT count(*) AS n FROM may_send(%s, %s)"
    with world.db("rail") as connection:
        assert connection.execute(look, [rail.pen.org, attempt]).fetchone()["n"] == 1
        world.people().post(f"/v1/mandates/{world.mandate}/pause")
        assert connection.execute(look, [rail.pen.org, attempt]).fetchone()["n"] == 0


def test_a_process_writes_under_its_own_name(rail: Rail) -> None:
    sent = rail.submitted()
    for actor in (rail.world.agent, "system", "system:dispatcher@", None):
        assert unchanged(rail, lambda actor=actor: rail.result(item(sent), actor=actor)) in ("record_actor", "record_shape")


def test_a_record_of_the_other_mode_moves_nothing(rail: Rail) -> None:
    sent = rail.submitted()
    for mode in (True, None):
        assert unchanged(rail, lambda mode=mode: rail.result(item(sent), livemode=mode)) in ("moved: state", "record_shape")


# Refunds


@pytest.fixture(scope="module")
def refunds(rail: Rail) -> Json:
    """A settled payment of 1000 with one refund of 100 that is done, and one of 100 that nobody takes."""
    world = rail.world
    paid = world.pay(1000).json()
    asked = world.people().post(f"/v1/payments/{paid['id']}/refund", {"amount": {"amount": 100, "currency": BRL}})
    for _ in range(100):
        if world.payment(paid["id"])["refunded"]["amount"] == 100:
            break
        world.settled(paid["id"], among=())
    query = "SELECT id FROM attempts WHERE refund_id = %s"
    attempt = world.rows(query, raw_id(asked["id"]))[0]["id"]
    return {"payment": paid["id"], "done": asked["id"], "attempt": ids.wire("att", attempt), "open": waiting(rail, paid["id"])}


def waiting(rail: Rail, payment: str) -> str:
    """A refund that was asked for, under a lease."""
    pen, refund = rail.pen, ids.wire("ref", ids.new())
    with rail.world.db("control") as connection:
        owner = connection.execute("SELECT authenticate(%s, %s) AS p", [pen.org, pen.digest("owner")]).fetchone()
    assert owner is not None
    key = {"key": ids.new().hex * 2, "fingerprint": "00" * 32}
    data = {"refund": {"id": refund, "payment": payment, "amount": 100, "currency": BRL}, "idempotency": key}
    record = pen.record("refund.requested", data, changes={"actor": owner["p"]["actor"]})
    with books.superuser(rail.world) as connection, connection.transaction():
        assert forge.call(connection, "refund_create", pen.org, pen.digest("owner"), *record.values()) == "done"
        forge.lease(connection, "refunds", refund)
    return refund


def refund_item(refunds: Json, refund: str, attempt: str, **changes: Any) -> Json:
    sent = {"payment": refunds["payment"], "attempt": attempt}
    return item(sent) | {"id": refund, "event": ids.wire("evt", ids.new()), "amount": 100, "currency": BRL, "provider_id": None} | changes


def test_a_refund_that_was_never_sent_does_not_settle(rail: Rail, refunds: Json) -> None:
    for attempt in (refunds["attempt"], ids.wire("att", ids.new())):
        claim = refund_item(refunds, refunds["open"], attempt, **{"from": "authorized"})
        assert unchanged(rail, lambda claim=claim: rail.refund_result(claim)) == "moved: state"


@pytest.mark.parametrize("after", ["settled", "failed", "submitted", "uncertain", "needs_human"])
def test_a_refund_that_is_done_is_done(rail: Rail, refunds: Json, after: str) -> None:
    """Also while another refund of the payment is on its way."""
    claim = refund_item(refunds, refunds["done"], refunds["attempt"], **{"from": "settled", "to": after, "proof": "rejected"})
    assert unchanged(rail, lambda: rail.refund_result(claim)) not in ("done", "twin")


def test_a_refund_fails_and_settles_on_proof_only(rail: Rail, refunds: Json) -> None:
    refund, attempt = waiting(rail, refunds["payment"]), ids.wire("att", ids.new())
    key = bytes(books.look(rail.world, "SELECT rail_key FROM refunds WHERE id = %s", raw_id(refund))[0]["rail_key"]).hex()
    sent = {"id": refund, "attempt": attempt, "rail_key": key, "worker": "me", "send_by": later(seconds=55)}
    record = rail.pen.record("refund.submitted", {"refund": sent}, changes={"actor": PROCESS})
    assert rail.pen.outcome("rail", "refund_submit", rail.pen.org, record["content"], record["sig"]) == "done"
    for name, claim in CLAIMS.items():
        said = unchanged(rail, lambda claim=claim: rail.refund_result(refund_item(refunds, refund, attempt, **claim)))
        assert (name, said) == (name, "payments_proof")


# The rest of the connection


def test_a_credit_that_nobody_noticed_is_not_booked(rail: Rail) -> None:
    data = {"id": ids.wire("crd", ids.new()), "transfer": ids.wire("tr", ids.new()), "amount": 10**6, "currency": BRL}
    record = rail.pen.record("credit.confirmed", data, changes={"actor": PROCESS})
    call = lambda: rail.pen.outcome("rail", "credit_resolve", rail.pen.org, record["content"], record["sig"])
    assert unchanged(rail, call) == "moved: credit"


def test_a_credit_is_booked_once(rail: Rail) -> None:
    booked = rail.world.rows("SELECT id FROM credits WHERE status = 'confirmed'")[0]["id"]
    data = {"id": ids.wire("crd", booked), "transfer": ids.wire("tr", ids.new()), "amount": 10**6, "currency": BRL}
    record = rail.pen.record("credit.confirmed", data, changes={"actor": PROCESS})
    call = lambda: rail.pen.outcome("rail", "credit_resolve", rail.pen.org, record["content"], record["sig"])
    assert unchanged(rail, call) == "moved: credit"


@pytest.mark.parametrize(
    "function", ["authorise", "payment_vote", "payment_cancel", "wallet_move", "refund_create", "revoke", "policy_write"]
)
def test_a_rails_connection_asks_for_nothing(rail: Rail, function: str) -> None:
    record = rail.pen.payment_record()
    assert rail.pen.outcome("rail", function, rail.pen.org, rail.pen.digest("owner"), *record.values()) in (DENIED, "42883")


def test_a_payment_is_not_called_expired_before_its_time(rail: Rail) -> None:
    payment = rail.authorized()["id"]
    data = {"items": [{"payment": payment, "from": "authorized", "to": "expired", "code": "x"}]}
    record = rail.pen.record("payment.expired", data, changes={"actor": PROCESS})
    call = lambda: rail.pen.outcome("rail", "payments_end_unsent", rail.pen.org, record["content"], record["sig"])
    assert unchanged(rail, call) == "moved: state"


def test_the_books_still_add_up(rail: Rail) -> None:
    assert books.faults(rail.world) == []


def test_a_run_that_is_over_stores_and_opens_nothing(rail: Any, shared_world: World) -> None:
    """Whoever was paused while another process took its place writes nothing more."""
    over = [row["id"] for row in shared_world.rows("SELECT id FROM reconciliations WHERE status <> 'running' LIMIT 1")]
    with shared_world.db("rail") as connection:
        if not over:
            [account] = connection.execute("SELECT rail_account_id FROM reconciliation_states").fetchall()
            for run in (over := [uuid4(), uuid4()]):
                connection.execute("SELECT reconciliation_begin(%s, %s, %s)", [raw_id(shared_world.org), account["rail_account_id"], run])
        for query in (
            "SELECT statement_store(%s, %s, false, '[]')",
            "SELECT statement_agree(%s, %s, 60, '', 10)",
            "SELECT statement_match(%s, %s, 60, 5, 10)",
            "SELECT statement_missing(%s, %s, 5, NULL, 10)",
        ):
            with pytest.raises(psycopg.Error, match="reconciliations_running"):
                connection.execute(query, [raw_id(shared_world.org), over[0]])
    record = rail.pen.record(
        "reconciliation.flagged", {"run": ids.wire("rcn", over[0]), "rail": "sandbox", "items": []}, changes={"actor": PROCESS}
    )
    assert rail.pen.outcome("rail", "discrepancies_open", rail.pen.org, *record.values()) == "moved: state"


def test_an_account_is_called_ready_only_by_checks_that_passed(rail: Any, shared_world: World) -> None:
    [account] = [one["id"] for one in shared_world.people().get("/v1/rail-accounts")["data"]]

    [row] = books.look(shared_world, "SELECT credential_entry FROM rail_accounts WHERE id = %s", raw_id(account))
    current = ids.wire("ent", row["credential_entry"])

    def told(ready: bool, *passed: bool, named: str = account, credential: str = current) -> str:
        checks = [{"name": "account", "ok": ok, "detail": "a test"} for ok in passed]
        data = {"id": named, "rail": "sandbox", "credential": credential, "ready": ready, "checks": checks}
        record = rail.pen.record("rail_account.checked", data, changes={"actor": PROCESS})
        return str(rail.pen.outcome("rail", "rail_account_checked", rail.pen.org, record["content"], record["sig"]))

    assert told(True, True, False) == told(False, True) == "record_shape"
    assert told(True, True, named=ids.wire("key", ids.new())) == "rail_accounts_known"
    assert told(True, True, credential=ids.wire("ent", ids.new())) == "rail_accounts_known"
    assert shared_world.pay(1).status_code == 201
    assert told(False, True, False) == "done"
    denied = shared_world.pay(1)
    assert (denied.status_code, denied.json()["code"]) == (403, "rail_not_ready")
    assert rail.pen.authorise(rail.pen.payment(1)) == "moved: rail"
    assert told(True, True) == "done"


def test_nobody_by_another_organisations_name_closes_a_case(rail: Any, shared_world: World) -> None:
    owner = next(row["id"] for row in shared_world.people().get("/v1/members")["data"] if row["roles"] == ["owner"])
    data = {"id": ids.wire("dsc", ids.new()), "verdict": "ours", "reason_commit": "0" * 64}
    record = rail.pen.record("discrepancy.resolved", data, changes={"actor": owner})
    said = rail.pen.outcome("control", "discrepancy_resolve", rail.pen.org, rail.pen.digest("owner"), *record.values())
    assert said == "discrepancies_known"
