"""The console over real HTTP: who gets in, what they see, and that they change nothing."""

import base64
import re
from html import unescape

import httpx2
import pytest

from codespar.config import Config
from codespar.launcher.stack import StackInfo
from codespar.lib import ids
from tests.console import rows
from tests.console.browsing import PASSWORD, browser, code, log_in, token
from tests.console.rows import Tenant
from tests.support import processes

APPS = ("identity", "vault", "ledger", "wallets", "mandates", "rails", "alerts")
# The list whose detail pages have each prefix; two lists have `key_` ids.
LISTS = {
    "org": "identity/organisation",
    "prj": "identity/project",
    "agt": "identity/agent",
    "mem": "identity/member",
    "tok": "identity/accesstoken",
    "key": "vault/railaccount",
    "ent": "ledger/entry",
    "wal": "wallets/account",
    "tr": "wallets/transfer",
    "hld": "wallets/hold",
    "crd": "wallets/credit",
    "mnd": "mandates/mandate",
    "ctp": "mandates/counterparty",
    "pol": "mandates/policy",
    "dec": "mandates/decision",
    "rev": "mandates/revocation",
    "stp": "mandates/stop",
    "pay": "rails/payment",
    "apr": "rails/approval",
    "ref": "rails/refund",
    "att": "rails/attempt",
    "brk": "rails/breakerchange",
    "rcn": "rails/reconciliation",
    "dsc": "rails/discrepancy",
    "cns": "rails/consent",
    "whe": "alerts/webhookendpoint",
}


def address(prefix: str, tenant: Tenant) -> str:
    return f"/admin/{LISTS[prefix]}/{ids.wire(prefix, tenant.rows[prefix])}/change/"


@pytest.fixture(scope="module")
def tenants(stack: StackInfo) -> tuple[Tenant, Tenant]:
    return rows.make(stack), rows.make(stack)


@pytest.fixture(scope="module")
def mine(stack: StackInfo, tenants: tuple[Tenant, Tenant]) -> httpx2.Client:
    """A browser that is logged in as the first tenant's owner."""
    client = browser(stack)
    answer = log_in(client, tenants[0])
    assert (answer.status_code, answer.headers.get("Location")) == (302, "/admin/"), answer.text
    return client


@pytest.fixture(scope="module")
def pages(mine: httpx2.Client) -> dict[str, httpx2.Response]:
    """Every page there is: the start page, every registered list, and the details of every row on them."""
    found = {"/admin/": mine.get("/admin/")}
    for app in APPS:
        found[f"/admin/{app}/"] = mine.get(f"/admin/{app}/")
    lists = {link for page in list(found.values()) for link in re.findall(r'href="(/admin/[a-z]+/[a-z]+/)"', page.text)}
    for link in sorted(lists):
        found[link] = mine.get(link)
        for detail in re.findall(rf'href="({link}[^"/]+/change/)["?]', found[link].text):
            found[detail] = mine.get(detail)
    return found


@pytest.mark.parametrize("wrong", [{"username": "nobody@x.example"}, {"password": "wrong"}, {"otp": "000000"}, {"otp": "12345x"}])
def test_a_wrong_part_is_refused_without_saying_which(stack: StackInfo, wrong: dict[str, str]) -> None:
    client = browser(stack)
    answer = log_in(client, rows.make(stack), **wrong)
    assert answer.status_code == 200
    assert "check e-mail, password and code" in answer.text
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("wrong", ["an address", "a password", "a code", "a member without a password"])
def test_a_refused_log_in_costs_one_hash_whatever_was_wrong(stack: StackInfo, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """So that the answer's time does not tell whose addresses are members'."""
    from django.contrib.auth import hashers

    from codespar.identity.login import MemberBackend

    tenant, hashed = rows.make(stack), []
    if wrong == "a member without a password":
        with stack.cluster.postgres.connect(stack.database) as admin:
            admin.execute("UPDATE codespar.members SET password = '!' WHERE id = %s", [tenant.owner])
    encode = type(hashers.get_hasher()).encode
    monkeypatch.setattr(
        type(hashers.get_hasher()), "encode", lambda self, *args, **more: hashed.append(args) or encode(self, *args, **more)
    )
    asked = {
        "username": "nobody@x.example" if wrong == "an address" else tenant.email,
        "password": "wrong" if wrong == "a password" else PASSWORD,
        "otp": "000000",
    }
    assert MemberBackend().authenticate(None, **asked) is None
    assert len(hashed) == 1


def test_a_missing_code_is_refused(stack: StackInfo) -> None:
    client = browser(stack)
    assert log_in(client, rows.make(stack), otp="").status_code == 200
    assert client.get("/admin/").status_code == 302


def test_a_code_works_once(stack: StackInfo) -> None:
    tenant = rows.make(stack)
    used = code(tenant)
    assert log_in(browser(stack), tenant, otp=used).status_code == 302
    assert log_in(browser(stack), tenant, otp=used).status_code == 200
    assert log_in(browser(stack), tenant, otp=code(tenant, step=1)).status_code == 302


def test_after_many_wrong_codes_a_right_one_has_to_wait(stack: StackInfo) -> None:
    tenant, wait = rows.make(stack), "UPDATE codespar.member_devices SET failures = 9, failed_at = {} WHERE member_id = %s"
    with stack.cluster.postgres.connect(stack.database) as admin:
        admin.execute(wait.format("now()"), [tenant.owner])
        assert log_in(browser(stack), tenant).status_code == 200
        admin.execute(wait.format("now() - interval '1 hour'"), [tenant.owner])
        assert log_in(browser(stack), tenant).status_code == 302


def test_behind_a_proxy_that_speaks_tls_the_console_lets_in_who_comes_from_its_address(stack: StackInfo) -> None:
    tenant = rows.make(stack)
    with processes.extra(stack, "console", CODESPAR_CONSOLE_URL="https://Console.example:443/") as behind, browser(behind) as client:
        page = client.get("/admin/login/")
        cookie = page.headers["Set-Cookie"]
        assert "Secure" in cookie
        # A proxy passes on over plain HTTP what came over TLS, cookies that are for TLS only among it.
        headers = {"Host": "console.example", "Cookie": cookie.partition(";")[0], "Referer": "https://console.example/admin/login/"}
        values = {"username": tenant.email, "password": PASSWORD, "otp": code(tenant), "next": "/admin/"}
        values["csrfmiddlewaretoken"] = token(page)
        elsewhere = client.post("/admin/login/", data=values, headers=headers | {"Origin": "https://elsewhere.example"})
        answer = client.post("/admin/login/", data=values, headers=headers | {"Origin": "https://console.example"})
    assert elsewhere.status_code == 403
    assert (answer.status_code, answer.headers.get("Location")) == (302, "/admin/"), answer.text


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://pay.example/console", "https://pay.example"),
        ("https://pay.example:8443", "https://pay.example:8443"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    made = Config(role="auditor", database_url="postgresql://a:p@h/codespar", deployment="pay.example", console_url=url)
    assert made.console_origin == origin


def test_no_page_is_seen_without_a_log_in(stack: StackInfo, pages: dict[str, httpx2.Response]) -> None:
    stranger = browser(stack)
    for link in pages:
        answer = stranger.get(link)
        assert answer.status_code == 302, link
        assert answer.headers["Location"].startswith("/admin/login/"), link


def test_every_list_and_every_detail_page_answers(pages: dict[str, httpx2.Response]) -> None:
    assert {link: page.status_code for link, page in pages.items() if page.status_code != 200} == {}
    lists = {link.strip("/").removeprefix("admin/") for link in pages if link.count("/") == 4}
    assert lists == {*LISTS.values(), "ledger/checkpoint", "rails/webhookmessage", "vault/privatekey"}


def test_every_filter_and_every_link_of_a_page_answers(mine: httpx2.Client, pages: dict[str, httpx2.Response]) -> None:
    asked = set(pages)
    for link, page in pages.items():
        queries = re.findall(r'href="(\?[^"]+)"', page.text)
        links = [f"{link}{query}" for query in queries if link.count("/") == 4] + re.findall(r'href="(/admin/[^"]*)"', page.text)
        for found in {unescape(each) for each in links} - asked:
            asked.add(found)
            answer = mine.get(found)
            # An id may lead to what was left out of these rows; a filter never breaks.
            assert answer.status_code == 200 or (answer.status_code == 404 and "/change/" in found), (link, found)


def test_every_row_of_mine_has_its_page(tenants: tuple[Tenant, Tenant], pages: dict[str, httpx2.Response]) -> None:
    for prefix in LISTS:
        link = address(prefix, tenants[0])
        assert link in pages, f"{link} is not on its list"
        assert ids.wire(prefix, tenants[0].rows[prefix]) in pages[link].text


def test_no_page_shows_a_row_of_another_tenant(tenants: tuple[Tenant, Tenant], pages: dict[str, httpx2.Response]) -> None:
    rival = tenants[1]
    foreign = [rival.name, rival.email, *(row.hex for row in rival.rows.values()), *(str(row) for row in rival.rows.values())]
    for link, page in pages.items():
        assert [word for word in foreign if word in page.text] == [], link


def test_another_tenants_id_is_not_found(tenants: tuple[Tenant, Tenant], mine: httpx2.Client) -> None:
    assert {prefix: mine.get(address(prefix, tenants[1])).status_code for prefix in LISTS} == dict.fromkeys(LISTS, 404)
    wire = ids.wire("pay", tenants[1].rows["pay"])
    assert "/change/" not in mine.get("/admin/search/", params={"s": wire, "extended": "1"}).text
    assert "/change/" not in mine.get("/admin/rails/payment/", params={"q": wire}).text


def test_a_wire_id_finds_its_row(tenants: tuple[Tenant, Tenant], mine: httpx2.Client) -> None:
    wire = ids.wire("pay", tenants[0].rows["pay"])
    assert address("pay", tenants[0]) in mine.get("/admin/search/", params={"s": wire, "extended": "1"}).text
    assert address("pay", tenants[0]) in mine.get("/admin/rails/payment/", params={"q": wire}).text
    assert "/change/" not in mine.get("/admin/rails/payment/", params={"q": wire[:-1]}).text


def test_no_page_shows_a_secret(stack: StackInfo, tenants: tuple[Tenant, Tenant], pages: dict[str, httpx2.Response]) -> None:
    with stack.cluster.postgres.connect(stack.database) as admin:
        query = "SELECT {} FROM codespar.{} WHERE org_id = %s"
        columns = (
            ("digest", "access_tokens"),
            ("sealed", "private_keys"),
            ("sealed", "rail_accounts"),
            ("sealed", "member_devices"),
            ("sealed", "webhook_secrets"),
        )
        secrets = [bytes(row[0]) for column in columns for row in admin.execute(query.format(*column), [tenants[0].org])]
        secrets += [row[0].encode() for row in admin.execute(query.format("password", "members"), [tenants[0].org])]
    assert rows.SEALED in secrets
    for link, page in pages.items():
        for secret in (*secrets, tenants[0].secret):
            shown = (secret.hex(), base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode(), repr(secret)[2:-1])
            assert not any(form in page.text for form in shown), link


@pytest.mark.parametrize("lookup", ["password__startswith", "password", "sealed__startswith", "agent_id__in"])
def test_a_secret_cannot_be_guessed_through_an_address(mine: httpx2.Client, lookup: str) -> None:
    page = "identity/member" if lookup.startswith("password") else "vault/privatekey"
    assert mine.get(f"/admin/{page}/", params={lookup: "p"}).status_code == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_is_written(tenants: tuple[Tenant, Tenant], mine: httpx2.Client, method: str) -> None:
    start = mine.get("/admin/")
    headers = {"Referer": str(start.url), "X-CSRFToken": token(start)}
    for link in ("/admin/", "/admin/rails/payment/", address("pay", tenants[0]), address("mem", tenants[0])):
        answer = mine.request(method, link, headers=headers, data={"status": "settled", "action": "delete_selected"})
        assert answer.status_code == 405, link


def test_there_are_no_addresses_for_writing(tenants: tuple[Tenant, Tenant], mine: httpx2.Client) -> None:
    detail = address("pay", tenants[0])
    written = [detail.replace("change", word) for word in ("delete", "history")]
    for link in ("/admin/rails/payment/add/", "/admin/password_change/", *written):
        assert mine.get(link).status_code == 404, link


def test_a_session_of_a_closed_member_ends(stack: StackInfo) -> None:
    tenant, client = rows.make(stack), browser(stack)
    assert log_in(client, tenant).status_code == 302
    assert client.get("/admin/").status_code == 200
    with stack.cluster.postgres.connect(stack.database) as admin:
        admin.execute("UPDATE codespar.members SET closed_at = now() WHERE id = %s", [tenant.owner])
        assert client.get("/admin/").status_code == 302
        admin.execute("UPDATE codespar.members SET closed_at = NULL WHERE id = %s", [tenant.owner])
    assert client.get("/admin/").status_code == 302


def test_a_session_ends_by_logging_out(stack: StackInfo) -> None:
    tenant, client = rows.make(stack), browser(stack)
    log_in(client, tenant)
    start = client.get("/admin/")
    answer = client.post("/admin/logout/", data={"csrfmiddlewaretoken": token(start)}, headers={"Referer": str(start.url)})
    assert answer.status_code == 200
    assert client.get("/admin/").status_code == 302


def test_the_start_page_sums_up(pages: dict[str, httpx2.Response]) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", pages["/admin/"].text)
    words = re.sub(r"\s+", " ", text)
    assert "Mandates live 1" in words
    assert "settled 1" in words
    assert "Main account 120000.00 Free in wallets 8734.50 Held in wallets 125.50" in words
    assert re.search(r"Head #4 [0-9a-f]{12}…", words)
    assert "4 entries" in words


def test_scripts_come_from_here_alone(pages: dict[str, httpx2.Response]) -> None:
    policy = pages["/admin/"].headers["Content-Security-Policy"]
    scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src")).split()
    assert "'unsafe-inline'" not in scripts
    for link, page in pages.items():
        assert re.findall(r"<script(?![^>]*\bsrc=)", page.text) == [], link
        assert re.findall(r"(?:src|href)=\"(?:https?:)?//", page.text) == [], link


def test_a_mandates_state_says_whether_it_would_be_honoured(stack: StackInfo) -> None:
    tenant, client = rows.make(stack), browser(stack)
    log_in(client, tenant)
    changes = {
        "live": "SELECT 1",
        "paused": "UPDATE mandate_usages SET paused = true WHERE org_id = %(org)s",
        "stopped": "INSERT INTO scope_states (org_id, livemode, scope, scope_id, stopped) VALUES (%(org)s, false, 'agent', %(agt)s, true)",
        "expired": "UPDATE mandates SET expires_at = now() - interval '1 s' WHERE org_id = %(org)s",
        "revoked": "UPDATE scope_states SET epoch = 1 WHERE org_id = %(org)s",
    }
    with stack.cluster.postgres.connect(stack.database) as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("SET search_path = codespar")
        for state, change in changes.items():
            admin.execute(change, tenant.rows)
            for asked in changes:
                listed = address("mnd", tenant) in client.get("/admin/mandates/mandate/", params={"state": asked}).text
                assert listed == (asked == state), (state, asked)


def test_a_stop_is_stopped_until_it_is_lifted(stack: StackInfo) -> None:
    tenant, client = rows.make(stack), browser(stack)
    log_in(client, tenant)
    with stack.cluster.postgres.connect(stack.database) as admin:
        admin.execute("SET session_replication_role = replica")
        for now in ("lifted", "stopped"):
            for asked in ("lifted", "stopped"):
                listed = address("stp", tenant) in client.get("/admin/mandates/stop/", params={"state": asked}).text
                assert listed == (asked == now), (now, asked)
            admin.execute("DELETE FROM codespar.stop_lifts WHERE org_id = %(org)s", tenant.rows)


def test_the_consoles_address_leads_to_its_pages(stack: StackInfo) -> None:
    answer = browser(stack).get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
