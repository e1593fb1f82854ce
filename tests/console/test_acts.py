"""People act from the console's pages: through the API's own actions, under their own name, and nobody else does."""

import secrets
from typing import Any

import httpx2
import pytest

from codespar.launcher.stack import StackInfo
from tests.console.browsing import Person, person, token, words
from tests.support import verifying
from tests.support import world as worlds
from tests.support.reconciling import edit, reconciled
from tests.support.world import World, later

EVIL = "<script>alert(1)</script>"
SAID = {"verdict": "theirs", "reason": f"asked the bank: {EVIL}\nit is so"}
RULED = {"outcome": "settled", "reason": "asked the bank", "evidence": "letter 4711"}


@pytest.fixture(scope="module")
def world(stack: StackInfo) -> World:
    return worlds.make(stack)


@pytest.fixture(scope="module")
def finance(world: World) -> Person:
    return person(world, "finance")


@pytest.fixture(scope="module")
def auditor(world: World) -> Person:
    return person(world, "auditor")


@pytest.fixture(autouse=True)
def _no_faults_left(stack: StackInfo) -> Any:
    yield
    httpx2.delete(f"{stack.sandbox_url}/_control", timeout=10)


def case(world: World) -> dict[str, Any]:
    """An open discrepancy: the bank paid somebody whom nobody asked it to pay, with a script for a name."""
    key = f"extra{secrets.token_hex(6)}"
    edit(world, key, "add", amount=-7, currency="BRL", payee=EVIL, at="2026-11-01T00:00:00Z")
    reconciled(world)
    return next(found for found in cases(world) if found["about"] == key)


def cases(world: World) -> list[dict[str, Any]]:
    return list(world.people().get("/v1/discrepancies?limit=100")["data"])


def at(case: dict[str, Any]) -> str:
    return f"/admin/rails/discrepancy/{case['id']}/change/"


def now(world: World, case: dict[str, Any]) -> dict[str, Any]:
    return dict(world.people().get(f"/v1/discrepancies/{case['id']}"))


def entries(world: World, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in world.entries() if entry["kind"] == kind]


def conflicted(world: World) -> str:
    """A payment that needs a human, with BRL 7.00 held."""
    world.fault("wrong_amount")
    payment = world.settled(world.pay(700).json()["id"])
    assert payment["status"] == "needs_human", payment
    return str(payment["id"])


def payment_page(payment: str) -> str:
    return f"/admin/rails/payment/{payment}/change/"


def test_a_person_resolves_a_discrepancy_and_it_says_who_and_why(world: World, finance: Person) -> None:
    found = case(world)
    page = finance.page(at(found))
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "BRL -0.07" in words(page)
    before = int(words(finance.page("/admin/?mode=test")).partition("Open discrepancies ")[2].split()[0])
    answer = finance.send(at(found), "resolve", **SAID)
    assert (answer.status_code, answer.headers["Location"]) == (302, at(found)), words(answer.text)
    shown = now(world, found)
    assert shown["status"] == "resolved"
    assert {name: shown["resolution"][name] for name in ("verdict", "reason", "by")} == {**SAID, "by": finance.id}
    assert [(entry["actor"], entry["subject"]) for entry in entries(world, "discrepancy.resolved")][-1] == (finance.id, found["id"])
    page = finance.page(at(found))
    assert EVIL not in page
    assert finance.id in page
    assert "resolve/" not in page
    assert "theirs" in words(page).partition("Whose records were right")[2].split("Reason")[0]
    after = int(words(finance.page("/admin/?mode=test")).partition("Open discrepancies ")[2].split()[0])
    assert after == before - 1
    assert verifying.complaints(world) == []


def test_a_form_that_was_sent_twice_resolves_once(world: World, finance: Person) -> None:
    found, before = case(world), len(entries(world, "discrepancy.resolved"))
    link = at(found).replace("change/", "resolve/")
    first, second = (finance.post(link, access_token=finance.token, **SAID) for _ in range(2))
    assert (first.status_code, second.status_code) == (302, 302)
    other = finance.post(link, access_token=finance.token, **SAID | {"verdict": "ours"})
    assert "Somebody has closed this discrepancy already" in words(other.text)
    assert len(entries(world, "discrepancy.resolved")) == before + 1
    assert now(world, found)["resolution"]["verdict"] == "theirs"


def test_the_form_says_beside_each_field_what_is_wrong_with_it(world: World, finance: Person) -> None:
    found = case(world)
    answer = finance.send(at(found), "resolve", verdict="nobody", reason=" ", access_token="cs_test_x")
    assert answer.status_code == 200
    for said in ("nobody is not one of the available choices", "This field is required", "unknown, expired or revoked"):
        assert said in words(answer.text), said
    assert "cs_test_x" not in answer.text
    assert now(world, found)["status"] == "open"


@pytest.mark.parametrize("wrong", ["somebody else's", "of the other mode", "without the scope", "none"])
def test_who_acts_shows_a_token_of_their_own_that_may(world: World, finance: Person, wrong: str) -> None:
    found = case(world)
    holder = {"holder": finance.id, "name": "narrow", "expires_at": later(days=1), "scopes": ["discrepancies:read"]}
    shown = {
        "somebody else's": lambda: (world.tokens["owner"], "not yours"),
        "of the other mode": lambda: (live(world, finance), "it needs a test token"),
        "without the scope": lambda: (world.people().post("/v1/tokens", holder)["token"], "which the token does not have"),
        "none": lambda: ("", "This field is required"),
    }
    text, said = shown[wrong]()
    answer = finance.send(at(found), "resolve", **SAID | {"access_token": text})
    assert (answer.status_code, said in words(answer.text)) == (200, True), words(answer.text)
    assert now(world, found)["status"] == "open"


def live(world: World, who: Person) -> str:
    owner = worlds.Api(world.info.console_url, world.tokens["owner_live"])
    return str(owner.post("/v1/tokens", {"holder": who.id, "name": "live", "expires_at": later(days=1)})["token"])


def test_whose_roles_lack_the_scope_sees_no_form_and_does_nothing(world: World, auditor: Person) -> None:
    found = case(world)
    page = auditor.page(at(found))
    assert ("resolve/" in page, "discrepancies:resolve" in page) == (False, True)
    answer = auditor.post(at(found).replace("change/", "resolve/"), access_token=auditor.token, **SAID)
    assert answer.status_code == 403
    payment = conflicted(world)
    page = auditor.page(payment_page(payment))
    assert ("propose/" in page, "payments:rule" in page) == (False, True)
    for act in ("propose", "confirm"):
        link = payment_page(payment).replace("change", act)
        assert auditor.post(link, access_token=auditor.token, ruling="rul_" + "0" * 32, **RULED).status_code == 403
    assert (now(world, found)["status"], world.payment(payment)["status"]) == ("open", "needs_human")


@pytest.mark.parametrize("way", ["GET", "HEAD", "PUT", "DELETE", "no csrf", "wrong csrf", "logged out", "another organisation"])
def test_nothing_happens_any_other_way(stack: StackInfo, world: World, finance: Person, way: str) -> None:
    found = case(world)
    link, values = at(found).replace("change/", "resolve/"), {"access_token": finance.token, **SAID}
    headers = {"Referer": f"{stack.console_url}/admin/", "X-CSRFToken": token(finance.client.get("/admin/"))}
    if way in ("no csrf", "wrong csrf"):
        csrf = {} if way == "no csrf" else {"csrfmiddlewaretoken": "x" * 64}
        assert finance.client.post(link, data=values | csrf, headers={"Referer": headers["Referer"]}).status_code == 403
    elif way == "logged out":
        with httpx2.Client(base_url=stack.console_url, timeout=30) as stranger:
            csrf = {"csrfmiddlewaretoken": token(stranger.get("/admin/login/"))}
            assert stranger.post(link, data=values | csrf, headers={"Referer": headers["Referer"]}).status_code == 302
    elif way == "another organisation":
        elsewhere = person(worlds.make(stack, money=0), "finance")
        assert elsewhere.client.get(at(found)).status_code == 404
        assert elsewhere.post(link, access_token=elsewhere.token, **SAID).status_code == 404
    else:
        assert finance.client.request(way, link, params=values, headers=headers).status_code == 405
    assert now(world, found)["status"] == "open"


def test_one_person_proposes_and_another_confirms(world: World, finance: Person) -> None:
    payment, before = conflicted(world), len(entries(world, "payment.ruled"))
    link = payment_page(payment)
    form = finance.page(link)
    assert "BRL 7.00 of the wallet are held" in words(form)
    ruling = form.partition('name="ruling" value="')[2].partition('"')[0]
    assert finance.send(link, "propose", **RULED, ruling=ruling).headers.get("Location") == link
    page = finance.page(link)
    assert "You proposed this, so another person confirms it." in words(page)
    assert ("confirm/" in page, world.payment(payment)["status"]) == (False, "needs_human")
    # The page as it was before, sent again: the same proposal, once.
    again = finance.post(link.replace("change", "propose"), access_token=finance.token, ruling=ruling, **RULED)
    assert again.status_code == 302
    changed = finance.post(link.replace("change", "propose"), access_token=finance.token, ruling=ruling, **RULED | {"outcome": "failed"})
    assert "has been sent already" in words(changed.text)
    assert len(entries(world, "payment.ruled")) == before + 1
    alone = finance.post(link.replace("change", "confirm"), access_token=finance.token, ruling=ruling)
    assert "Another person than the one who proposed it" in words(alone.text)
    assert world.payment(payment)["status"] == "needs_human"
    other = person(world, "finance")
    assert "letter 4711" in words(other.page(link))
    assert other.send(link, "confirm").headers.get("Location") == link
    assert world.payment(payment)["status"] == "settled"
    assert other.post(link.replace("change", "confirm"), access_token=other.token, ruling=ruling).status_code == 302
    page = other.page(link)
    assert ("propose/" in page, "confirm/" in page, other.id in page, finance.id in page) == (False, False, True, True)
    assert verifying.complaints(world) == []


def test_a_payment_that_needs_nobody_has_no_form(world: World, finance: Person) -> None:
    payment = world.settled(world.pay(100).json()["id"])["id"]
    assert "propose/" not in finance.page(payment_page(payment))
    link, ruling = payment_page(payment).replace("change", "propose"), "rul_" + "1" * 32
    answer = finance.post(link, access_token=finance.token, ruling=ruling, **RULED)
    assert answer.status_code == 200
    assert world.rows("SELECT count(*) AS n FROM payment_rulings WHERE payment_id = %s", worlds.raw_id(payment))[0]["n"] == 0


def test_what_has_moved_is_not_offered_as_failed(world: World, finance: Person) -> None:
    world.fault("decline")
    payment = world.settled(world.pay(900).json()["id"])["id"]
    [booked] = [one for one in world.provider_payments() if one["reference"] == payment]
    edit(world, booked["key"], "add", amount=-900, currency="BRL", payee=booked["payee"]["key"], at="2026-11-01T00:00:00Z")
    reconciled(world)
    page = finance.page(payment_page(payment))
    assert "BRL 9.00 have moved" in words(page)
    assert ('value="settled"' in page, 'value="failed"' in page) == (True, False)
    shown = next(found for found in cases(world) if found["payment"] == payment)
    assert (shown["id"] in page, payment in finance.page(at(shown))) == (True, True)
