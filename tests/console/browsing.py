"""People before the console: a browser, a log-in, and what they send from a page."""

import re
import secrets
import time
from dataclasses import dataclass
from typing import Protocol

import httpx2
from django_otp.oath import TOTP

from codespar.launcher.stack import StackInfo
from codespar.lib import clock, ids
from tests.support.world import World, later, raw_id

PASSWORD = "a long and quiet password"


class Who(Protocol):
    """Somebody with a log-in."""

    @property
    def email(self) -> str: ...
    @property
    def secret(self) -> bytes: ...


def browser(stack: StackInfo) -> httpx2.Client:
    return httpx2.Client(base_url=stack.console_url, timeout=30)


def code(who: Who, *, step: int = 0) -> str:
    """The authenticator's six digits, now or `step` times 30 seconds away."""
    totp = TOTP(who.secret, 30)
    totp.time = time.time() + 30 * step
    return f"{totp.token():06d}"


def log_in(client: httpx2.Client, who: Who, **changes: str) -> httpx2.Response:
    page = client.get("/admin/login/")
    values = {"username": who.email, "password": PASSWORD, "otp": code(who), "next": "/admin/"} | changes
    values["csrfmiddlewaretoken"] = token(page)
    return client.post("/admin/login/", data=values, headers={"Referer": str(page.url)})


def token(page: httpx2.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class Person:
    """A member with a browser that is logged in, and a test token of their own."""

    id: str
    email: str
    secret: bytes
    token: str
    client: httpx2.Client

    def page(self, link: str) -> str:
        """A page's text."""
        answer = self.client.get(link)
        assert answer.status_code == 200, (link, answer.status_code)
        return answer.text

    def send(self, page: str, act: str, **values: str) -> httpx2.Response:
        """Send the form for `act` on this page with everything that the page filled in, and with these values."""
        found = re.search(rf'<form method="post" action="([^"]+/{act}/)".*?</form>', self.page(page), re.DOTALL)
        assert found is not None, f"there is no form to {act} on {page}"
        hidden = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', found[0]))
        return self.post(found[1], **{**hidden, "access_token": self.token, **values})

    def post(self, link: str, **values: str) -> httpx2.Response:
        """A POST from one of the console's own pages."""
        values.setdefault("csrfmiddlewaretoken", token(self.client.get("/admin/")))
        return self.client.post(link, data=values, headers={"Referer": f"{self.client.base_url}/admin/"})


def person(world: World, role: str) -> Person:
    """A new member of that role."""
    from codespar.identity import actions, principals

    email = f"{secrets.token_hex(6)}@x.example"
    member = world.people().post("/v1/members", {"email": email, "name": f"{role} <i>{email}</i>", "roles": [role]})["id"]
    made = world.people().post("/v1/tokens", {"holder": member, "name": "acts", "expires_at": later(days=1)})
    owner = principals.authenticate(world.tokens["owner"], request_id=ids.wire("req", ids.new()))
    secret = actions.set_login(owner, member=raw_id(member), password=PASSWORD, now=clock.now())
    found = Person(member, email, secret, made["token"], browser(world.info))
    assert log_in(found.client, found).status_code == 302
    return found


def words(page: str) -> str:
    """What a page says, without its marks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
