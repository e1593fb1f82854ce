"""Who is told outside, and whether it was heard, as people see it."""

import re
from urllib.parse import urlsplit

import pytest

from codespar.launcher.stack import StackInfo
from tests.console.browsing import Person, person, words
from tests.support import world as worlds
from tests.support.receiver import delivered, due, enlist, receiver
from tests.support.world import World, raw_id

PAGE = "/admin/alerts/webhookendpoint/"


@pytest.fixture(scope="module")
def world(stack: StackInfo) -> World:
    return worlds.make(stack)


@pytest.fixture(scope="module")
def oncall(world: World) -> Person:
    return person(world, "oncall")


def row(page: str, host: str) -> str:
    """What the list says of the endpoint at that address."""
    found = next(found for found in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if host in found)
    return words(found)


def test_an_endpoint_shows_what_it_heard_what_waits_and_what_was_given_up(world: World, oncall: Person) -> None:
    assert "Endpoints that did not hear 0" in words(oncall.page("/admin/?mode=test"))
    with receiver() as found:
        enlist(world, found, "scope.stopped")
        test = f"/v1/webhook-endpoints/{found.endpoint}/test"
        world.people().post(test)
        heard = delivered(world, found, "delivered")
        page = oncall.page(PAGE)
        assert "enabled" in row(page, urlsplit(found.url).netloc) and "0 0 204" in row(page, urlsplit(found.url).netloc)
        found.always = (503, None)
        world.people().post(test)
        delivered(world, found, "pending")
        assert "1 0 503" in row(oncall.page(PAGE), urlsplit(found.url).netloc)
        with world.db("super") as connection:
            connection.execute("UPDATE webhook_deliveries SET attempts = 8 WHERE org_id = %s", [raw_id(world.org)])
        due(world)
        delivered(world, found, "failed")
    assert "0 1 503" in row(oncall.page(PAGE), urlsplit(found.url).netloc)
    assert "Endpoints that did not hear 1" in words(oncall.page("/admin/?mode=test"))
    details = oncall.page(f"{PAGE}{found.endpoint}/change/")
    assert heard["id"][-6:] in details
    shown = words(details)
    assert "Last deliveries" in shown and "delivered" in shown and "failed" in shown
    assert found.secret.removeprefix("whsec_") not in details
