"""What people see of rails and reconciliation, on the running console."""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from codespar.launcher.stack import StackInfo
from tests.console.browsing import Person, person, words
from tests.support import processes
from tests.support import world as worlds
from tests.support.reconciling import extra, reconciled
from tests.support.world import World, raw_id

RAILS, RUNS = "/admin/rails/breakerchange/?mode=test", "/admin/rails/reconciliation/?mode=test"
CASES = "/admin/rails/discrepancy/"


@pytest.fixture(scope="module")
def world(stack: StackInfo) -> World:
    return worlds.make(stack)


@pytest.fixture(scope="module")
def oncall(world: World) -> Person:
    return person(world, "oncall")


@pytest.fixture
def breaker(world: World) -> Iterator[Any]:
    """Reports a call of the sandbox's `refund`, as a dispatcher does. Afterwards the rails are well."""
    from rails import breakers

    row = {"rail": "sandbox", "org_id": raw_id(world.org), "livemode": False}
    yield lambda **seen: breakers.report(row, "refund", code="timeout", **seen)
    worlds._close_breakers(world.info)
    breakers._changes.clear()


def rail(page: str, name: str) -> str:
    """What the page says of one rail."""
    found = re.search(rf'<section[^>]*aria-labelledby="rail-{name}".*?</section>', page, re.DOTALL)
    assert found is not None, name
    return words(found[0])


def number(page: str, title: str) -> int:
    """A figure of the start page."""
    return int(words(page).partition(f"{title} ")[2].split()[0])


def test_each_rail_says_what_it_can_and_how_it_is_now(world: World, oncall: Person, breaker: Any) -> None:
    page = oncall.page(RAILS)
    named = re.findall(r'aria-labelledby="rail-([^"]+)"', page)
    assert sorted(named) == [each["id"] for each in world.people().get("/v1/rails")["data"]]
    assert named[0] == "sandbox"
    assert f"Account {world.account}" in rail(page, "sandbox")
    assert "No account in test mode" in rail(page, "pix")
    assert "Settles within 1 d" in rail(page, "wire")
    assert ("refund closed" in rail(page, "sandbox"), "open" in rail(page, "sandbox")) == (True, False)
    assert number(oncall.page("/admin/?mode=test"), "Rails with an open breaker") == 0
    for _ in range(5):
        breaker(failing=True)
    page = oncall.page(RAILS)
    assert re.search(r"refund open since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", rail(page, "sandbox"))
    assert "pay closed" in rail(page, "sandbox")
    assert number(oncall.page("/admin/?mode=test"), "Rails with an open breaker") == 1
    # In live mode this organisation has no account there.
    assert number(oncall.page("/admin/?mode=live"), "Rails with an open breaker") == 0


def test_without_redis_breakers_count_as_open_and_the_pages_answer(world: World, oncall: Person) -> None:
    session = dict(oncall.client.cookies)
    with (
        processes.extra(world.info, "console", CODESPAR_REDIS_URL="redis://127.0.0.1:1/0") as cut_off,
        httpx2.Client(base_url=cut_off.console_url, timeout=30, cookies=session) as client,
    ):
        page, start = client.get(RAILS).text, client.get("/admin/?mode=test").text
    assert rail(page, "sandbox").count("open Redis does not answer: counts as open") == 5
    assert number(start, "Rails with an open breaker") == 1


def test_runs_and_their_chart_say_what_the_api_says(world: World, oncall: Person) -> None:
    before = number(oncall.page("/admin/?mode=test"), "Open discrepancies")
    world.settled(world.pay(1000).json()["id"])
    case = extra(world)
    run = reconciled(world)
    page = oncall.page(RUNS)
    runs = world.people().get("/v1/reconciliations?limit=100")["data"]
    matched = sum(each["matched"] for each in runs)
    assert matched > 0
    assert f"{matched} matched, {run['open']} open now" in words(page)
    assert number(oncall.page("/admin/?mode=test"), "Open discrepancies") == before + 1 == run["open"]
    drawing = re.search(r'<svg class="console-chart".*?</svg>', page, re.DOTALL)
    assert drawing is not None
    assert drawing[0].count('class="console-hour"') == 24
    assert ('class="console-matched"' in drawing[0], 'class="console-open"' in drawing[0]) == (True, True)
    hours = re.findall(r'<td class="console-number text-right">(\d+)</td><td class="console-number text-right">(\d+)</td>', page)
    assert (len(hours), sum(int(hour[0]) for hour in hours), int(hours[-1][1])) == (24, matched, run["open"])
    shown = {column: str(run[column]) for column in ("lines", "matched", "pending", "opened", "open")}
    row = re.search(rf"<tr[^>]*>(?:(?!</tr>).)*{run['id']}.*?</tr>", page, re.DOTALL)
    assert row is not None
    assert f"done test {' '.join(shown.values())}" in words(row[0])
    assert case in oncall.page(f"/admin/rails/reconciliation/{opened_by(runs)}/change/")


def opened_by(runs: list[dict[str, Any]]) -> str:
    """The last run that opened something."""
    return str(next(run["id"] for run in runs if run["opened"]))


def test_an_account_without_a_finished_run_for_three_minutes_is_late(world: World, oncall: Person) -> None:
    reconciled(world)
    assert ("late" in accounts(oncall), world.account in accounts(oncall)) == (False, True)
    with world.db("super") as connection:
        connection.execute(
            "UPDATE reconciliations SET started_at = started_at - interval '181 s', finished_at = finished_at - interval '181 s' WHERE org_id = %s",
            [raw_id(world.org)],
        )
    assert re.search(r"3 min( \d+ s)? ago: late", accounts(oncall))


def accounts(who: Person) -> str:
    """The part of the page that says how old the last run of each account is."""
    found = re.search(r'<ul class="console-accounts">.*?</ul>', who.page(RUNS), re.DOTALL)
    assert found is not None
    return words(found[0])


def test_open_discrepancies_come_first_and_are_filtered(world: World, oncall: Person) -> None:
    closed, later = extra(world), extra(world)
    older = extra(world)
    world.people("finance").post(f"/v1/discrepancies/{older}/resolve", {"verdict": "ours", "reason": "looked at"})
    listed = order(oncall, "")
    assert listed.index(older) > max(listed.index(closed), listed.index(later))
    assert set(order(oncall, "?status=resolved")) & {closed, later, older} == {older}
    assert set(order(oncall, "?status=open&rail=sandbox&kind=extra&mode=test")) >= {closed, later}
    for nothing in ("?kind=missing", "?rail=pix", "?mode=live"):
        assert order(oncall, nothing) == []


def order(who: Person, query: str) -> list[str]:
    """The discrepancies on the list, from the first one on."""
    return list(dict.fromkeys(re.findall(r"/admin/rails/discrepancy/(dsc_[0-9a-f]{32})/change/", who.page(CASES + query))))
