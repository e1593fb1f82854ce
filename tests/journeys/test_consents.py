"""Nothing is read and nothing is paid over Open Finance without a consent of the account's holder that holds now and allows it."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from codespar.launcher.stack import StackInfo
from tests.support import books, consenting, forge, reconciling, verifying
from tests.support import world as worlds
from tests.support.consenting import RAIL, authorised, bank_consents, bank_payments, connect, holder, money, paying, to_pay, to_read
from tests.support.problems import is_problem
from tests.support.world import World, later, raw_id

LOOKS = ("accounts", "balances", "transactions")


def look(world: World, consent: str, what: str, **params: Any) -> httpx2.Response:
    """A read under a consent, as the agent; whatever comes."""
    return world.api._http.get(f"/v1/consents/{consent}/{what}", params=params)


def bank_requests(world: World, part: str) -> int:
    """How many requests whose address has `part` in it the bank has ever had."""
    time.sleep(0.5)
    booked = httpx2.get(f"{world.info.sandbox_url}/_ledger", timeout=10).json()["requests"]
    return len([one for one in booked if part in one["path"]])


def expire(world: World, consent: str) -> None:
    """As if the consent's time were over, at this moment."""
    with books.superuser(world) as connection:
        row = [raw_id(world.org), raw_id(consent)]
        connection.execute("UPDATE consents SET expires_at = clock_timestamp() WHERE org_id = %s AND id = %s", row)


def test_reads_need_the_holders_yes_and_show_what_the_bank_has(world: World) -> None:
    connect(world)
    consent = to_read(world)
    assert (consent["status"], consent["provider_knows"]) == ("awaiting_authorisation", False)
    asked = bank_requests(world, "/accounts/v2/")
    for what in LOOKS:
        is_problem(look(world, consent["id"], what), 403, "consent_pending")
    assert bank_requests(world, "/accounts/v2/") == asked
    authorised(world, consent)
    [account] = look(world, consent["id"], "accounts").json()["data"]
    [balance] = look(world, consent["id"], "balances").json()["data"]
    assert balance["account"] == account["id"]
    assert balance["available"] == {"amount": 100_000, "currency": "BRL"}
    assert look(world, consent["id"], "transactions").json()["data"] == []
    is_problem(look(world, consent["id"], "balances", account="nobodys"), 404, "not_found")
    read = [entry for entry in world.entries() if entry["kind"] == "consent.read"]
    assert [entry["actor"] for entry in read] == [world.agent] * 4
    assert verifying.complaints(world) == []


def test_without_a_consent_nothing_is_read(world: World) -> None:
    """There is none of that id, none of this organisation's, or none that the holder said yes to."""
    connect(world)
    for what in LOOKS:
        is_problem(look(world, f"cns_{'0' * 32}", what), 404, "not_found")
        is_problem(look(world, "cns_1", what), 404, "not_found")
    other = worlds.make(world.info, money=0)
    connect(other)
    theirs = authorised(other, to_read(other))
    for what in LOOKS:
        is_problem(look(world, theirs, what), 404, "not_found")
    refused = to_read(world)
    holder(refused, "reject")
    assert world.people().get(f"/v1/consents/{refused['id']}")["status"] == "rejected"
    is_problem(look(world, refused["id"], "accounts"), 403, "consent_refused")


def test_a_read_needs_the_scope_for_just_this(world: World) -> None:
    connect(world)
    consent = authorised(world, to_read(world, "accounts.read", "balances.read"))
    paying_one = authorised(world, to_pay(world))
    assert look(world, consent, "balances").status_code == 200
    is_problem(look(world, consent, "transactions"), 403, "consent_scope")
    for what in LOOKS:
        is_problem(look(world, paying_one, what), 403, "consent_scope")


def test_a_consent_that_expired_reads_and_pays_nothing(world: World) -> None:
    consent, payee = paying(world)
    reads = next(row["id"] for row in world.people().get("/v1/consents")["data"] if "accounts.read" in row["scopes"])
    expire(world, reads)
    expire(world, consent)
    asked = bank_requests(world, "/accounts/v2/accounts?")
    for what in LOOKS:
        is_problem(look(world, reads, what), 403, "consent_expired")
    assert bank_requests(world, "/accounts/v2/accounts?") - asked <= 1, "the preflight check alone may have asked"
    denied = is_problem(world.pay(100, counterparty=payee, rail=RAIL), 403, "consent_expired")
    assert (denied["payment"]["status"], bank_payments(world)) == ("denied", [])
    assert world.people().get(f"/v1/consents/{consent}")["status"] == "expired"


def test_a_revocation_holds_at_once_and_for_ever_and_says_why(world: World) -> None:
    consent, payee = paying(world)
    reads = next(row["id"] for row in world.people().get("/v1/consents")["data"] if "accounts.read" in row["scopes"])
    for one in (reads, consent):
        revoked = world.people("oncall").delete(f"/v1/consents/{one}", reason="the holder left")
        assert (revoked["status"], revoked["revoked_by"][:4]) == ("revoked", "mem_")
    for what in LOOKS:
        is_problem(look(world, reads, what), 403, "consent_revoked")
    is_problem(world.pay(100, counterparty=payee, rail=RAIL), 403, "consent_revoked")
    again = world.people()._http.delete(f"/v1/consents/{consent}", params={"reason": "again"})
    is_problem(again, 409, "state_conflict")
    until = time.monotonic() + 20
    while set(bank_consents(world, f"of-{world.account}").values()) != {"REJECTED", "REVOKED"}:
        assert time.monotonic() < until, "the bank was not told"
        time.sleep(0.2)
    assert world.people().get(f"/v1/consents/{consent}")["status"] == "revoked"
    assert [entry["kind"] for entry in world.entries()].count("consent.revoked") == 2
    assert bank_payments(world) == []
    assert verifying.complaints(world) == []


def test_a_revocation_needs_no_bank_and_the_bank_is_told_when_it_is_back(world: World) -> None:
    connect(world)
    consent = authorised(world, to_read(world))
    for fault in ("unavailable", "disconnect_before"):
        world.fault(fault, count=2, on="any")
    revoked = world.people().delete(f"/v1/consents/{consent}", reason="now")
    assert revoked["status"] == "revoked"
    is_problem(look(world, consent, "accounts"), 403, "consent_revoked")
    httpx2.delete(f"{world.info.sandbox_url}/_control", timeout=10)
    until = time.monotonic() + 40
    while not world.people().get(f"/v1/consents/{consent}")["provider_knows"]:
        assert time.monotonic() < until, "the bank was not told"
        time.sleep(0.2)
    assert set(bank_consents(world, f"of-{world.account}").values()) == {"REJECTED"}


def test_what_the_holder_takes_back_at_the_bank_ends_here_too(world: World) -> None:
    connect(world)
    made = to_read(world)
    consent = authorised(world, made)
    holder(made, "revoke")
    # The bank knows no such consent any more, whoever finds out first: this read, or the next look at the consent.
    is_problem(look(world, consent, "accounts"), 403, "consent_refused")
    with books.superuser(world) as connection:
        connection.execute(
            "UPDATE consents SET due_at = clock_timestamp() WHERE org_id = %s AND id = %s", [raw_id(world.org), raw_id(consent)]
        )
    until = time.monotonic() + 20
    while (found := world.people().get(f"/v1/consents/{consent}"))["status"] != "revoked":
        assert time.monotonic() < until, found
        time.sleep(0.2)
    assert (found["code"], found["provider_knows"]) == ("revoked_at_provider", True)
    assert verifying.complaints(world) == []


def test_a_payment_is_initiated_under_the_consent_and_found_in_the_account(world: World) -> None:
    consent, payee = paying(world)
    answer = world.pay(1050, counterparty=payee, rail=RAIL)
    assert (answer.status_code, answer.json()["status"]) == (201, "settled"), answer.text
    [booked] = bank_payments(world)
    assert (booked["amount"], booked["status"]) == (1050, "settled")
    [row] = world.rows("SELECT consent_id, provider_id FROM payments WHERE id = %s", raw_id(answer.json()["id"]))
    assert (row["consent_id"], row["provider_id"]) == (raw_id(consent), booked["id"])
    reads = next(row["id"] for row in world.people().get("/v1/consents")["data"] if "accounts.read" in row["scopes"])
    [line] = look(world, reads, "transactions").json()["data"]
    assert (line["direction"], line["amount"]) == ("out", {"amount": 1050, "currency": "BRL"})
    assert answer.json()["id"] in line["description"]
    assert verifying.complaints(world) == []


def test_the_statement_is_read_under_the_consent_and_agrees_with_the_books(world: World) -> None:
    _, payee = paying(world)
    reads = next(row["id"] for row in world.people().get("/v1/consents")["data"] if "accounts.read" in row["scopes"])
    paid = world.pay(1050, counterparty=payee, rail=RAIL).json()
    assert paid["status"] == "settled"
    before = world.main_balance()
    deposit = {"account": f"of-{world.account}", "amount": 777, "currency": "BRL", "payer": "joao@example.com", "reference": "thanks"}
    httpx2.post(f"{world.info.sandbox_url}/_control/deposits", json=deposit, timeout=10).raise_for_status()
    run = reconciling.reconciled(world, rail=RAIL)
    assert (run["status"], run["lines"], run["matched"], run["opened"]) == ("done", 2, 1, 0), run
    until = time.monotonic() + 40
    while world.main_balance() < before + 777:
        assert time.monotonic() < until, "the deposit was not confirmed"
        time.sleep(0.2)
    world.people().delete(f"/v1/consents/{reads}", reason="a test")
    run = reconciling.reconciled(world, rail=RAIL)
    assert (run["status"], run["code"]) == ("failed", "consent_missing"), run
    assert verifying.complaints(world) == []


def test_without_a_consent_a_payment_is_denied_and_stored(world: World) -> None:
    connect(world)
    payee = world.new_counterparty(accounts=[{"type": "pix_key", "value": "a@payee.example", "rails": [RAIL]}])
    before = world.balance()
    is_problem(world.pay(100, counterparty=payee, rail=RAIL), 403, "consent_missing")
    waiting = to_pay(world)
    denied = is_problem(world.pay(100, counterparty=payee, rail=RAIL), 403, "consent_pending")
    assert [reason["layer"] for reason in denied["reasons"]] == ["route"]
    assert world.payment(denied["payment"]["id"])["status"] == "denied"
    holder(waiting, "reject")
    world.people().get(f"/v1/consents/{waiting['id']}")
    is_problem(world.pay(100, counterparty=payee, rail=RAIL), 403, "consent_refused")
    authorised(world, to_read(world))
    is_problem(world.pay(100, counterparty=payee, rail=RAIL), 403, "consent_refused")
    assert (world.balance(), bank_payments(world)) == (before, [])


def test_what_a_consent_allows_is_the_most_that_is_paid(world: World) -> None:
    _, payee = paying(world, most=1_000, total=1_500)
    is_problem(world.pay(1_001, counterparty=payee, rail=RAIL), 403, "consent_limit")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: world.pay(400, counterparty=payee, rail=RAIL), range(8)))
    paid = [answer for answer in answers if answer.status_code == 201]
    assert len(paid) == 3, [answer.text for answer in answers]
    assert {answer.json()["code"] for answer in answers if answer.status_code != 201} == {"consent_limit"}
    until = time.monotonic() + 20
    while len(bank_payments(world)) < 3 and time.monotonic() < until:
        time.sleep(0.1)
    assert [row["amount"] for row in bank_payments(world)] == [400, 400, 400]
    assert world.pay(300, counterparty=payee, rail=RAIL).status_code == 201
    is_problem(world.pay(1, counterparty=payee, rail=RAIL), 403, "consent_limit")


def test_what_waits_for_a_person_is_paid_under_the_consent_of_that_moment(world: World) -> None:
    first, _ = paying(world)
    proposed = world.api.post(
        "/v1/counterparties", {"name": "New", "accounts": [{"type": "pix_key", "value": "b@payee.example", "rails": [RAIL]}]}
    )
    waiting = world.pay(100, counterparty=proposed["id"], rail=RAIL).json()
    assert waiting["status"] == "requires_approval"
    world.people().delete(f"/v1/consents/{first}", reason="another one")
    refused = world.people("finance").send(f"/v1/payments/{waiting['id']}/approve")
    assert is_problem(refused, 403, "consent_revoked")["payment"]["status"] == "denied"
    second = authorised(world, to_pay(world))
    consenting.ready(world)
    waiting = world.pay(100, counterparty=proposed["id"], rail=RAIL).json()
    world.people("finance").post(f"/v1/payments/{waiting['id']}/approve")
    assert world.settled(waiting["id"])["status"] == "settled"
    assert world.rows("SELECT consent_id FROM payments WHERE id = %s", raw_id(waiting["id"])) == [{"consent_id": raw_id(second)}]
    assert verifying.complaints(world) == []


def test_what_was_held_and_has_not_left_when_its_consent_ends_never_leaves(world: World) -> None:
    """The dispatcher's own look, right before it sends: in the database, after the hold."""
    consent, payee = paying(world)
    pen = forge.Forger(world)
    account = world.people().get(f"/v1/counterparties/{payee}")["accounts"][0]["id"]
    held = pen.leased(pen.payment(100, counterparty=payee, account=account, rail=RAIL, consent=consent))
    block = f"SELECT send_block(org_id, y) AS why FROM payments y WHERE id = '{raw_id(held['id'])}'"
    assert books.look(world, block) == [{"why": None}]
    world.people().delete(f"/v1/consents/{consent}", reason="now")
    assert books.look(world, block) == [{"why": "consent_revoked"}]


def test_a_stolen_connection_holds_nothing_without_the_consent_that_holds(world: World) -> None:
    consent, payee = paying(world, most=1_000, total=2_000)
    pen = forge.Forger(world)
    account = world.people().get(f"/v1/counterparties/{payee}")["accounts"][0]["id"]

    def claimed(amount: int = 100, **changes: Any) -> str:
        return pen.authorise(pen.payment(amount, **{"counterparty": payee, "account": account, "rail": RAIL, "consent": consent} | changes))

    reads = next(row["id"] for row in world.people().get("/v1/consents")["data"] if "accounts.read" in row["scopes"])
    assert claimed(consent=None) == "moved: consent"
    assert claimed(consent=reads) == "moved: consent"
    assert claimed(consent=f"cns_{'1' * 32}") == "moved: consent"
    assert claimed(1_001) == "moved: consent"
    assert pen.authorise(pen.payment(100, consent=consent)) == "moved: consent"
    world.people().delete(f"/v1/consents/{consent}", reason="now")
    # As soon as the account's next check is made, it is not ready either.
    assert claimed() in ("moved: consent", "moved: rail")
    assert world.balance()[1] == 0


def test_a_payment_leaves_before_its_consent_ends(world: World) -> None:
    """However long it could still wait: its time to leave is the consent's, where that ends first."""
    connect(world)
    authorised(world, to_read(world))
    consent = authorised(world, to_pay(world, expires_at=later(seconds=45)))
    consenting.ready(world)
    payee = world.new_counterparty(accounts=[{"type": "pix_key", "value": "c@payee.example", "rails": [RAIL]}])
    paid = world.pay(100, counterparty=payee, rail=RAIL).json()
    query = "SELECT y.submit_by, k.expires_at, a.send_by FROM payments y JOIN consents k ON k.id = y.consent_id JOIN attempts a ON a.payment_id = y.id"
    [row] = world.rows(f"{query} WHERE y.id = %s AND k.id = %s", raw_id(paid["id"]), raw_id(consent))
    assert row["submit_by"] <= row["expires_at"] and row["send_by"] <= row["expires_at"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"rail": "sandbox"}, "/rail"),
        ({"rail": "nothing"}, "/rail"),
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"scopes": ["balances.read"]}, "/scopes"),
        ({"scopes": ["payments.initiate", "accounts.read"], "max_payment": money(1), "max_total": money(1)}, "/scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2099-01-01T00:00:00Z"}, "/expires_at"),
        ({"max_payment": money(1)}, "/max_payment"),
        ({"scopes": ["payments.initiate"]}, "/max_payment"),
        ({"scopes": ["payments.initiate"], "max_payment": money(2), "max_total": money(1)}, "/max_payment"),
        ({"password": "hunter2"}, "/password"),
    ],
)
def test_what_no_consent_can_be_is_refused(shared_world: World, changes: dict[str, Any], pointer: str) -> None:
    asked = {"rail": RAIL, "scopes": ["accounts.read"], "expires_at": later(days=1)} | changes
    if not shared_world.rows("SELECT 1 FROM rail_accounts WHERE rail = %s", RAIL):
        connect(shared_world)
    answer = is_problem(shared_world.people().send("/v1/consents", asked), 400)
    assert [error["pointer"] for error in answer["errors"]] == [pointer]


def test_a_consent_is_of_an_account_of_the_organisation(world: World) -> None:
    asked = {"rail": RAIL, "scopes": ["accounts.read"], "expires_at": later(days=1)}
    is_problem(world.people().send("/v1/consents", asked), 409, "state_conflict")


def test_who_may_do_what_with_consents(world: World) -> None:
    connect(world)
    consent = authorised(world, to_read(world))
    asked = {"rail": RAIL, "scopes": ["accounts.read"], "expires_at": later(days=1)}
    for role, makes, ends, reads in (("auditor", False, False, False), ("operator", False, True, False), ("finance", True, True, True)):
        person = world.people(role)
        assert (person.send("/v1/consents", asked).status_code == 201) == makes
        assert (person._http.get(f"/v1/consents/{consent}/accounts").status_code == 200) == reads
        assert person.get(f"/v1/consents/{consent}")["status"] == "authorised"
        mine = to_read(world)["id"]
        assert (person._http.delete(f"/v1/consents/{mine}", params={"reason": "x"}).status_code == 200) == ends
    assert world.api._http.delete(f"/v1/consents/{consent}", params={"reason": "x"}).status_code == 405


def test_a_forged_record_makes_no_consent_and_no_read(world: World) -> None:
    """Whoever holds a stolen connection of a service gets what a token allows, and no more."""
    connect(world)
    pen, waiting = forge.Forger(world), to_read(world)
    owner = next(row["id"] for row in world.people().get("/v1/members")["data"] if "owner" in row["roles"])
    made = {"id": f"cns_{'1' * 32}", "rail": "sandbox", "scopes": ["accounts.read"], "expires_at": later(days=1)}
    made |= dict.fromkeys(("max_payment", "max_total", "currency"))

    def registered(who: str, **changes: Any) -> str:
        record = pen.record("consent.registered", made | changes, changes={"actor": owner, "project": None})
        return pen.outcome("control", "consent_register", pen.org, pen.digest(who), *record.values())

    assert registered("owner") == "consents_for_rail"
    assert registered("owner", rail=RAIL, expires_at="2020-01-01T00:00:00Z") == "consents_expires_later"
    assert registered("agent", rail=RAIL) == "access_tokens_scope"
    read = {"id": f"cnr_{'1' * 32}", "consent": waiting["id"], "resource": "accounts", "account": None, "page": 1}
    pen.outcome("agent", "consent_read_ask", pen.org, pen.digest(), *pen.record("consent.read", read).values())
    assert world.rows("SELECT count(*) AS n FROM consent_reads") == [{"n": 0}]
    # What the provider said is the rail's role's to say, and never makes one hold that is over.
    assert pen.outcome("agent", "consent_read_done", pen.org, raw_id(waiting["id"]), None, None) == forge.DENIED


def test_the_code_and_the_database_agree_on_which_rails_need_a_consent(shared_world: World) -> None:
    from rails.adapters import ADAPTERS

    rows = books.look(shared_world, "SELECT name, consent FROM platform_states WHERE scope = 'rail'")
    assert {row["name"]: row["consent"] for row in rows} == {rail: found.capabilities.consents for rail, found in ADAPTERS.items()}


FALSIFIED = {
    "a consent for longer": ("UPDATE consents SET expires_at = expires_at + interval '1 day' WHERE org_id = %s", "consent"),
    "a consent for more": ("UPDATE consents SET max_total = max_total + 1 WHERE org_id = %s AND max_total IS NOT NULL", "consent"),
    "a consent to something else": ("UPDATE consents SET scopes = '{accounts.read}' WHERE org_id = %s AND max_total IS NULL", "consent"),
    "a consent back": (
        "UPDATE consents SET status = 'authorised', revoked_at = NULL, told_at = NULL, due_at = 'infinity' WHERE org_id = %s AND status = 'revoked'",
        "consent_over",
    ),
    "another consent": ("UPDATE payments SET consent_id = NULL WHERE org_id = %s AND consent_id IS NOT NULL", "payment_consent"),
    "no consent": ("DELETE FROM consents WHERE org_id = %s", "row_missing"),
    "no read": ("DELETE FROM consent_reads WHERE org_id = %s", "row_missing"),
}


@pytest.fixture(scope="module")
def told(stack: StackInfo) -> World:
    """An organisation that has read, paid, and revoked."""
    world = worlds.make(stack)
    consent, payee = paying(world)
    assert world.pay(100, counterparty=payee, rail=RAIL).json()["status"] == "settled"
    reads = next(row["id"] for row in world.people().get("/v1/consents")["data"] if "accounts.read" in row["scopes"])
    assert look(world, reads, "accounts").status_code == 200
    world.people().delete(f"/v1/consents/{consent}", reason="a test")
    return world


@pytest.mark.parametrize("what", FALSIFIED)
def test_what_somebody_with_all_rights_changes_about_a_consent_is_found(told: World, what: str) -> None:
    statement, code = FALSIFIED[what]
    assert verifying.unverified(told) == []
    with consenting.falsified(told, statement):
        [complaint] = verifying.unverified(told)
    assert f'"{code}"' in complaint
