"""The bank's Pix API over real HTTP: Bacen's shapes, tokens, the DICT, and the bank's faults on this API."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import pathlib
import re
import sqlite3
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from codespar.lib import pix
from rails.sandbox.launch import Provider
from tests.support.inbox import Inbox

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
TXID = "cobranca0123456789abcdefghij"
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


class Client:
    """One account at the bank, opened for one test, with a token of the Pix API."""

    def __init__(self, provider: Provider, account: str, **more: Any) -> None:
        self.provider, self.account, self.api_key = provider, account, f"key-{account}"
        provider.open_account(account, self.api_key, more.pop("balance", 10_000), api="pix", **more)
        self.bearer = self.token()[1]["access_token"]

    def token(self, secret: str | None = None, **form: str) -> tuple[int, Any]:
        quoted = [urllib.parse.quote_plus(text) for text in (self.account, secret or self.api_key)]
        basic = base64.b64encode(":".join(quoted).encode()).decode()
        body = urllib.parse.urlencode({"grant_type": "client_credentials", **form}).encode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        request = urllib.request.Request(f"{self.provider.url}/pix-api/oauth/token", body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            return refusal.code, json.loads(refusal.read())

    def call(self, method: str, path: str, body: object = None, timeout: float = 5.0, **headers: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.bearer}", **headers}
        return self.provider.call(method, f"/pix-api/v2{path}", body, headers, timeout)

    def pay(self, key: str, timeout: float = 5.0, **changes: Any) -> tuple[int, Any]:
        headers = {"Idempotency-Key": changes.pop("idempotency_key", key)}
        order = {"valor": "10.50", "pagador": {"conta": self.account}, "favorecido": {"chave": "maria@example.com"}, "infoPagador": "inv 7"}
        return self.call("PUT", f"/pix/{key}", order | changes, timeout, **headers)

    def sent(self, key: str) -> tuple[int, Any]:
        return self.call("GET", f"/pix/enviados/{key}")

    def give_back(self, e2e: str, key: str, valor: str, **more: Any) -> tuple[int, Any]:
        return self.call("PUT", f"/pix/{e2e}/devolucao/{key}", {"valor": valor, **more}, **{"Idempotency-Key": key})

    def deposit(self, amount: int, reference: str = "") -> dict[str, Any]:
        body = {"account": self.account, "amount": amount, "currency": "BRL", "payer": "joao@example.com"}
        status, made = self.provider.call("POST", "/_control/deposits", body | ({"reference": reference} if reference else {}))
        assert status == 201
        return dict(made)

    def balance(self) -> int:
        return int(self.provider.ledger()["balances"][self.account])

    def booked(self, kind: str = "payments") -> list[dict[str, Any]]:
        return [row for row in self.provider.ledger()[kind] if row["account"] == self.account]


@pytest.fixture
def client(running: Provider, request: pytest.FixtureRequest) -> Iterator[Client]:
    yield Client(running, re.sub("[^A-Za-z0-9]", "", request.node.name)[-90:])
    running.call("DELETE", "/_control")
    running.call("POST", "/_control/tokens", {"expires_in": 3600})


@pytest.fixture
def told(running: Provider, inbox: Inbox, request: pytest.FixtureRequest) -> Iterator[Client]:
    yield Client(running, re.sub("[^A-Za-z0-9]", "", request.node.name)[-90:], webhook_url=inbox.url, webhook_secret=SECRET)
    running.call("DELETE", "/_control")


def problem(answer: dict[str, Any], name: str, *violated: str) -> bool:
    """Whether this is Bacen's problem with this name, about these members."""
    properties = [one["propriedade"] for one in answer.get("violacoes", [])]
    return answer["type"] == f"https://pix.bcb.gov.br/api/v2/error/{name}" and properties == list(violated) and bool(answer["detail"])


# Tokens.


def test_a_token_is_given_for_client_credentials_and_tells_its_life(client: Client) -> None:
    status, token = client.token()
    assert (status, token["token_type"], token["expires_in"]) == (200, "Bearer", 3600)
    assert "pix.send" in token["scope"].split()


def test_a_token_is_not_given_to_a_stranger_or_for_another_grant(client: Client) -> None:
    status, refused = client.token(secret="wrong")
    assert (status, refused["error"], set(refused)) == (401, "invalid_client", {"error", "error_description"})
    assert client.token(grant_type="password")[1]["error"] == "unsupported_grant_type"
    assert client.token(scope="pix.send everything")[1]["error"] == "invalid_scope"
    other = Client(client.provider, f"{client.account}-b")
    assert client.token(secret=other.api_key)[0] == 401


def test_client_id_and_secret_are_form_encoded(client: Client) -> None:
    """RFC 6749, 2.3.1: a colon in an account's name does not end it."""
    assert Client(client.provider, "a:b ç%").call("GET", "/extrato")[1]["conta"] == "a:b ç%"


def test_an_api_key_is_no_token_and_a_token_no_api_key(client: Client) -> None:
    for bearer in (client.api_key, "", "x"):
        status, answer = client.call("GET", "/extrato", Authorization=f"Bearer {bearer}")
        assert status == 401
        assert problem(answer, "NaoAutorizado")
    assert client.provider.call("GET", "/v1/statement", headers={"Authorization": f"Bearer {client.bearer}"})[0] == 401


def test_a_token_opens_its_scopes_only(client: Client) -> None:
    client.bearer = client.token(scope="pix.read extrato.read")[1]["access_token"]
    status, answer = client.pay("k1")
    assert status == 403
    assert problem(answer, "AcessoNegado")
    assert client.booked() == []
    assert client.call("GET", "/extrato")[0] == 200


def test_a_token_expires_and_is_forgotten(client: Client) -> None:
    client.provider.call("POST", "/_control/tokens", {"expires_in": 1})
    _, token = client.token()
    client.bearer = token["access_token"]
    assert (token["expires_in"], client.call("GET", "/extrato")[0]) == (1, 200)
    time.sleep(1.1)
    assert client.call("GET", "/extrato")[0] == 401
    client.provider.call("POST", "/_control/tokens", {"expires_in": 60})
    client.bearer = client.token()[1]["access_token"]
    assert client.call("GET", "/extrato")[0] == 200
    assert client.provider.call("DELETE", "/_control/tokens")[1]["forgotten"] >= 1
    assert client.call("GET", "/extrato")[0] == 401


def test_a_token_lives_through_a_restart(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a")
    provider.kill()
    provider.start()
    assert client.call("GET", "/extrato")[0] == 200
    provider.stop()


@pytest.mark.parametrize("bad", [{"expires_in": 0}, {"expires_in": "1"}, {}])
def test_a_life_that_is_none_is_refused(client: Client, bad: dict[str, Any]) -> None:
    assert client.provider.call("POST", "/_control/tokens", bad)[0] == 400


# Pix that the account sends.


def test_a_pix_is_sent_and_told_in_bacens_shape(client: Client) -> None:
    payee = {"chave": "maria@example.com", "nome": "Maria"}
    status, paid = client.pay("k1", txid="abc123", favorecido=payee)
    assert status == 201
    assert client.pay("k1", txid="abc123", favorecido=payee) == (201, paid)
    times, e2e = paid.pop("horario"), paid.pop("e2eId")
    assert pix.moment(e2e, "E")
    assert re.fullmatch(TIME, times["solicitacao"])
    assert re.fullmatch(TIME, times["liquidacao"])
    assert paid == {
        "idEnvio": "k1",
        "valor": "10.50",
        "valorLiquidado": "10.50",
        "status": "REALIZADO",
        "pagador": {"conta": client.account},
        "favorecido": {"chave": "maria@example.com"},
        "infoPagador": "inv 7",
        "txid": "abc123",
    }
    assert client.sent("k1") == (200, paid | {"horario": times, "e2eId": e2e})
    assert (client.balance(), client.booked()[0]["key"]) == (8950, "k1")


def test_the_same_idenvio_and_body_answer_the_stored_pix(client: Client) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.pay("k1", timeout=20), range(32)))
    assert {status for status, _ in answers} == {201}
    assert len({answer["e2eId"] for _, answer in answers}) == 1
    assert (len(client.booked()), client.balance()) == (1, 8950)


@pytest.mark.parametrize(
    "change", [{"valor": "10.51"}, {"favorecido": {"chave": "b@example.com"}}, {"infoPagador": "inv 8"}, {"txid": "other"}]
)
def test_the_same_idenvio_with_another_body_is_a_conflict(client: Client, change: dict[str, Any]) -> None:
    client.pay("k1")
    status, answer = client.pay("k1", **change)
    assert status == 409
    assert problem(answer, "PagamentoConflitante", "idEnvio")
    assert len(client.booked()) == 1


@pytest.mark.parametrize(
    ("change", "violated"),
    [
        ({"valor": 10.5}, "valor"),
        ({"valor": "10.5"}, "valor"),
        ({"valor": "0.00"}, "valor"),
        ({"valor": "-1.00"}, "valor"),
        ({"valor": "12345678901.00"}, "valor"),
        ({"pagador": "me"}, "pagador"),
        ({"pagador": {}}, "pagador"),
        ({"pagador": {"conta": "a", "chave": "b"}}, "pagador"),
        ({"favorecido": {"nome": "Maria"}}, "favorecido.chave"),
        ({"favorecido": {"chave": "Maria@Example.com"}}, "favorecido.chave"),
        ({"favorecido": {"chave": "123.456.789-09"}}, "favorecido.chave"),
        ({"favorecido": {"chave": "maria@example.com", "cor": "azul"}}, "favorecido.cor"),
        ({"infoPagador": "x" * 141}, "infoPagador"),
        ({"infoPagador": "a\nb"}, "infoPagador"),
        ({"txid": "a-b"}, "txid"),
        ({"moeda": "USD"}, "moeda"),
        ({"idempotency_key": "other"}, "Idempotency-Key"),
    ],
)
def test_a_malformed_pix_is_refused_with_the_member_and_not_booked(client: Client, change: dict[str, Any], violated: str) -> None:
    status, answer = client.pay("k1", **change)
    assert (status, answer["status"]) == (400, 400)
    assert problem(answer, "RequisicaoInvalida", violated)
    assert client.booked() == []


def test_another_accounts_money_is_not_sent(client: Client) -> None:
    assert problem(client.pay("k1", pagador={"conta": "somebody"})[1], "AcessoNegado", "pagador.conta")
    assert client.pay("k1", pagador={"chave": "52998224725"})[0] == 403
    client.provider.call("POST", "/_control/dict", {"key": "52998224725", "account": client.account})
    assert client.pay("k1", pagador={"chave": "52998224725"})[1]["status"] == "REALIZADO"


@pytest.mark.parametrize(("change", "reason"), [({"valor": "100.01"}, "insufficient_funds"), ({}, "declined")])
def test_a_pix_that_cannot_be_made_is_nao_realizado(client: Client, change: dict[str, Any], reason: str) -> None:
    if not change:
        client.provider.fault("decline")
    status, answer = client.pay("k1", **change)
    assert (status, answer["status"], answer["motivo"]) == (201, "NAO_REALIZADO", reason)
    assert "liquidacao" not in answer["horario"]
    assert client.balance() == 10_000


def test_problems_are_problems_and_say_so(client: Client) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", client.provider.port, timeout=5)
    connection.request("GET", "/pix-api/v2/pix/enviados/k1", headers={"Authorization": f"Bearer {client.bearer}"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert problem(json.loads(answer.read()), "PagamentoNaoEncontrado")
    connection.close()
    assert problem(client.call("GET", "/nothing")[1], "NaoEncontrado")
    client.provider.fault("unavailable")
    assert problem(client.pay("k1")[1], "ServicoIndisponivel")


def test_what_is_not_settled_is_stopped(client: Client) -> None:
    client.provider.fault("accepted_then_settled", key="k1", seconds=60)
    assert client.pay("k1")[1]["status"] == "EM_PROCESSAMENTO"
    stopped = client.call("DELETE", "/pix/enviados/k1")[1]
    assert (stopped["status"], stopped["valorLiquidado"]) == ("CANCELADO", "0.00")
    client.pay("k2")
    assert client.call("DELETE", "/pix/enviados/k2")[1]["status"] == "REALIZADO"
    assert problem(client.call("DELETE", "/pix/enviados/k3")[1], "PagamentoNaoEncontrado")
    assert client.balance() == 8950


def test_legs_move_one_after_the_other(client: Client) -> None:
    client.provider.fault("in_two_legs", key="k1", seconds=0.3)
    first = client.pay("k1", valor="10.01")[1]
    assert (first["status"], first["valorLiquidado"]) == ("EM_PROCESSAMENTO", "5.00")
    time.sleep(0.8)
    last = client.sent("k1")[1]
    assert (last["status"], last["valorLiquidado"]) == ("REALIZADO", "10.01")


# Devoluções.


def test_devolucoes_are_partial_or_whole_and_never_more_than_the_pix(client: Client) -> None:
    e2e = client.pay("k1")[1]["e2eId"]
    status, first = client.give_back(e2e, "r1", "10.00", descricao="whole key")
    assert status == 201
    assert pix.moment(first["rtrId"], "D")
    assert {n: first[n] for n in ("id", "valor", "status", "natureza", "endToEndId", "descricao")} == {
        **{"id": "r1", "valor": "10.00", "status": "DEVOLVIDO", "natureza": "ORIGINAL"},
        **{"endToEndId": e2e, "descricao": "whole key"},
    }
    assert set(first["horario"]) == {"solicitacao", "liquidacao"}
    assert client.give_back(e2e, "r1", "10.00", descricao="whole key") == (201, first)
    for valor, more in (("9.99", {"descricao": "whole key"}), ("10.00", {"descricao": "another"})):
        status, answer = client.give_back(e2e, "r1", valor, **more)
        assert status == 400
        assert problem(answer, "PixDevolucaoInvalida", "id")
    assert client.give_back(e2e, "r2", "0.51")[1]["motivo"] == "amount_exceeds_payment"
    assert client.give_back(e2e, "r3", "0.50")[1]["status"] == "DEVOLVIDO"
    assert client.call("GET", f"/pix/{e2e}/devolucao/r1") == (200, first)
    assert client.balance() == 10_000


def test_parallel_devolucoes_never_exceed_the_pix(client: Client) -> None:
    e2e = client.pay("k1", valor="10.00")[1]["e2eId"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: client.give_back(e2e, f"r{n}", "3.00")[1]["status"], range(16)))
    assert (answers.count("DEVOLVIDO"), client.balance()) == (3, 9900)


def test_a_devolucao_that_waits_is_em_processamento_and_counts(client: Client) -> None:
    e2e = client.pay("k1", valor="10.00")[1]["e2eId"]
    client.provider.fault("accepted_then_settled", key="r1", seconds=0.4)
    first = client.give_back(e2e, "r1", "6.00")[1]
    assert (first["status"], set(first["horario"]), client.balance()) == ("EM_PROCESSAMENTO", {"solicitacao"}, 9000)
    assert client.give_back(e2e, "r2", "6.00")[1]["status"] == "NAO_REALIZADO"
    time.sleep(1.0)
    assert client.call("GET", f"/pix/{e2e}/devolucao/r1")[1]["status"] == "DEVOLVIDO"
    assert client.balance() == 9600


@pytest.mark.parametrize(
    ("body", "violated"),
    [
        ({"valor": "1"}, "devolucao.valor"),
        ({}, "valor"),
        ({"valor": "1.00", "natureza": "RETIRADA"}, "devolucao.natureza"),
    ],
)
def test_a_malformed_devolucao_is_refused(client: Client, body: dict[str, Any], violated: str) -> None:
    e2e = client.pay("k1")[1]["e2eId"]
    status, answer = client.call("PUT", f"/pix/{e2e}/devolucao/r1", body, **{"Idempotency-Key": "r1"})
    assert status == 400
    assert problem(answer, "PixDevolucaoInvalida", violated)
    assert client.booked("refunds") == []


def test_only_a_settled_pix_of_this_account_is_given_back(client: Client) -> None:
    nobody = "E99999004202601021504abcDEF12345"
    assert problem(client.give_back(nobody, "r1", "1.00")[1], "PixNaoEncontrado")
    assert problem(client.call("GET", f"/pix/{nobody}/devolucao/r1")[1], "PixDevolucaoNaoEncontrada")
    refused = client.pay("k1", valor="100.01")[1]["e2eId"]
    assert problem(client.give_back(refused, "r1", "1.00")[1], "PixDevolucaoInvalida", "devolucao")
    e2e = client.pay("k2")[1]["e2eId"]
    assert client.give_back(e2e, "x" * 36, "1.00")[0] == 404
    assert client.call("PUT", f"/pix/{e2e}/devolucao/r1", {"valor": "1.00"}, **{"Idempotency-Key": "r2"})[0] == 400
    other = Client(client.provider, f"{client.account}-b")
    assert problem(other.give_back(e2e, "r1", "1.00")[1], "PixNaoEncontrado")


def test_after_ninety_days_nothing_is_given_back(tmp_path: pathlib.Path) -> None:
    provider = Provider(tmp_path).start()
    client = Client(provider, "a")
    made = {key: client.pay(key)[1]["e2eId"] for key in ("old", "new")}
    assert client.give_back(made["old"], "r1", "1.00")[1]["status"] == "DEVOLVIDO"
    provider.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "book.sqlite3")) as db, db:
        for key, days in (("old", 91), ("new", 89)):
            db.execute("UPDATE payments SET settled_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', ?) WHERE key = ?", (f"-{days} days", key))
    provider.start()
    assert problem(client.give_back(made["old"], "r2", "1.00")[1], "PixDevolucaoInvalida", "devolucao")
    assert client.give_back(made["old"], "r1", "1.00")[1]["status"] == "DEVOLVIDO"
    assert client.give_back(made["new"], "r2", "1.00")[1]["status"] == "DEVOLVIDO"
    provider.stop()


# The DICT.


def test_every_well_formed_key_exists_until_it_is_said_otherwise(client: Client) -> None:
    assert client.call("GET", "/dict/%2B5511987654321")[1] == {"chave": "+5511987654321", "tipoConta": "CACC", "nome": "TITULAR DA CHAVE"}
    client.provider.call("POST", "/_control/dict", {"key": "ana@example.com", "name": "Ana Lima", "kind": "SVGS"})
    assert client.call("GET", "/dict/ana%40example.com")[1] == {"chave": "ana@example.com", "tipoConta": "SVGS", "nome": "Ana Lima"}
    client.provider.call("POST", "/_control/dict", {"key": "nobody@example.com", "exists": False})
    status, answer = client.call("GET", "/dict/nobody%40example.com")
    assert status == 404
    assert problem(answer, "ChaveNaoEncontrada")
    assert problem(client.call("GET", "/dict/Maria")[1], "RequisicaoInvalida", "chave")
    for bad in ({"key": "a", "exists": 1}, {"key": "a", "kind": "X"}, {"name": "a"}):
        assert client.provider.call("POST", "/_control/dict", bad)[0] == 400


def test_a_key_that_went_away_is_paid_no_more_but_what_was_paid_stays(client: Client) -> None:
    payee = {"favorecido": {"chave": "gone@example.com"}}
    first = client.pay("k1", **payee)[1]
    client.provider.call("POST", "/_control/dict", {"key": "gone@example.com", "exists": False})
    assert client.pay("k1", **payee)[1] == first
    second = client.pay("k2", **payee)[1]
    assert (second["status"], second["motivo"], client.balance()) == ("NAO_REALIZADO", "payee_unknown", 8950)


# Charges, received Pix, the statement.


def charge(**changes: Any) -> dict[str, Any]:
    return {
        "calendario": {"expiracao": 600},
        "valor": {"original": "37.00"},
        "chave": "12345678909",
        "solicitacaoPagador": "Funding",
    } | changes


def test_a_charge_is_a_br_code_and_is_concluded_by_its_pix(client: Client) -> None:
    status, made = client.call("PUT", f"/cob/{TXID}", charge())
    assert (status, made["status"], made["txid"], made["valor"], made["chave"]) == (
        201,
        "ATIVA",
        TXID,
        {"original": "37.00"},
        "12345678909",
    )
    assert (made["calendario"]["expiracao"], made["revisao"], made["solicitacaoPagador"]) == (600, 0, "Funding")
    code = pix.parse_brcode(made["pixCopiaECola"])
    assert (code.url, code.amount, code.once, code.txid, code.city) == (made["location"], 3700, True, None, "BRASILIA")
    client.deposit(3699, TXID)
    assert client.call("GET", f"/cob/{TXID}") == (200, made)
    paid = client.deposit(3700, TXID)
    done = client.call("GET", f"/cob/{TXID}")[1]
    assert (done["status"], [one["endToEndId"] for one in done["pix"]]) == ("CONCLUIDA", [paid["id"]])
    assert [row["txid"] for row in client.provider.ledger()["charges"] if row["account"] == client.account] == [TXID]


def test_a_txid_is_one_charge(client: Client) -> None:
    assert client.call("PUT", f"/cob/{TXID}", charge()) == client.call("PUT", f"/cob/{TXID}", charge())
    status, answer = client.call("PUT", f"/cob/{TXID}", charge(valor={"original": "37.01"}))
    assert status == 400
    assert problem(answer, "CobOperacaoInvalida", "cob.txid")
    assert problem(client.call("GET", "/cob/" + "z" * 26)[1], "CobNaoEncontrado")
    assert client.call("GET", "/cob/" + "z" * 25)[0] == 404


@pytest.mark.parametrize(
    ("change", "violated"),
    [
        ({"valor": {"original": "0.00"}}, "cob.valor.original"),
        ({"chave": "Maria"}, "chave"),
        ({"calendario": {"expiracao": 0}}, "cob.calendario.expiracao"),
        ({"cor": "azul"}, "cor"),
    ],
)
def test_a_malformed_charge_is_refused(client: Client, change: dict[str, Any], violated: str) -> None:
    assert problem(client.call("PUT", f"/cob/{TXID}", charge(**change))[1], "CobOperacaoInvalida", violated)


def test_a_charge_is_made_for_an_own_key_only(client: Client) -> None:
    client.provider.call("POST", "/_control/dict", {"key": "+5511900000000", "account": "somebody"})
    assert problem(client.call("PUT", f"/cob/{TXID}", charge(chave="+5511900000000"))[1], "CobOperacaoInvalida", "cob.chave")


def test_received_pix_are_read_one_by_one_and_in_pages(client: Client) -> None:
    client.call("PUT", f"/cob/{TXID}", charge())
    made = [client.deposit(3700, TXID)["id"], client.deposit(7, "thanks")["id"], client.deposit(8)["id"]]
    first = client.call("GET", f"/pix/{made[0]}")[1]
    assert re.fullmatch(TIME, first.pop("horario"))
    assert first == {
        **{"endToEndId": made[0], "txid": TXID, "valor": "37.00", "chave": "12345678909", "infoPagador": TXID, "devolucoes": []},
        **{"pagador": {"chave": "joao@example.com"}, "recebedor": {"conta": client.account}},
    }
    assert "txid" not in client.call("GET", f"/pix/{made[1]}")[1]
    assert problem(client.call("GET", "/pix/E99999004202601021504abcDEF12345")[1], "PixNaoEncontrado")
    query = "inicio=2026-01-01T00:00:00Z&fim=2999-01-01T00:00:00-03:00&paginacao.itensPorPagina=2"
    status, page = client.call("GET", f"/pix?{query}&paginacao.paginaAtual=1")
    assert status == 200
    assert page["parametros"]["paginacao"] == {"paginaAtual": 1, "itensPorPagina": 2, "quantidadeDePaginas": 2, "quantidadeTotalDeItens": 3}
    assert [one["endToEndId"] for one in page["pix"]] == [made[2]]
    assert client.call("GET", "/pix?inicio=2020-01-01T00:00:00Z&fim=2020-01-02T00:00:00Z")[1]["pix"] == []


@pytest.mark.parametrize(
    ("query", "violated"),
    [
        ("", "inicio"),
        ("inicio=2026-01-01T00:00:00&fim=2026-01-02T00:00:00Z", "inicio"),
        ("inicio=2026-01-02T00:00:00Z&fim=2026-01-01T00:00:00Z", "fim"),
        ("inicio=2026-01-01T00:00:00Z&fim=2026-01-02T00:00:00Z&paginacao.paginaAtual=-1", "paginacao.paginaAtual"),
    ],
)
def test_a_malformed_question_for_received_pix_is_refused(client: Client, query: str, violated: str) -> None:
    assert problem(client.call("GET", f"/pix?{query}")[1], "PixConsultaInvalida", violated)


def test_the_statement_adds_up_and_pages(client: Client) -> None:
    e2e = client.pay("k1")[1]["e2eId"]
    rtr = client.give_back(e2e, "r1", "0.50", descricao="whole")[1]["rtrId"]
    got = client.deposit(7)["id"]
    whole = client.call("GET", "/extrato")[1]
    assert (whole["conta"], whole["saldoInicial"], whole["saldoFinal"], whole["completo"]) == (client.account, "100.00", "90.07", True)
    for line in whole["lancamentos"]:
        assert re.fullmatch(TIME, line.pop("horario"))
    common = {"moeda": "BRL"}
    assert whole["lancamentos"] == [
        {"lancamento": "1", "tipo": "PIX_ENVIADO", "valor": "-10.50", "chave": "maria@example.com", "endToEndId": e2e, "idEnvio": "k1"}
        | common,
        {"lancamento": "2", "tipo": "DEVOLUCAO_RECEBIDA", "valor": "0.50", "chave": "maria@example.com", "endToEndId": e2e}
        | {"rtrId": rtr, "id": "r1", "descricao": "whole"}
        | common,
        {"lancamento": "3", "tipo": "PIX_RECEBIDO", "valor": "0.07", "chave": "joao@example.com", "endToEndId": got} | common,
    ]
    rest = client.call("GET", f"/extrato?cursor={2}")[1]
    assert (rest["saldoInicial"], rest["saldoFinal"], rest["cursor"], len(rest["lancamentos"])) == ("90.00", "90.07", "3", 1)
    assert problem(client.call("GET", "/extrato?cursor=x")[1], "RequisicaoInvalida", "cursor")


# Faults of the bank on this API.


@pytest.mark.parametrize(
    ("fault", "booked"),
    [("timeout_before", 0), ("disconnect_before", 0), ("timeout_after", 1), ("disconnect_after", 1), ("rubbish", 1)],
)
def test_hanging_and_hanging_up_book_before_or_not(client: Client, fault: str, booked: int) -> None:
    client.provider.fault(fault, seconds=0.2)
    with pytest.raises((OSError, http.client.HTTPException, ValueError)):
        client.pay("k1")
    assert len(client.booked()) == booked


@pytest.mark.parametrize(
    ("fault", "fields"), [("wrong_amount", {"valor"}), ("wrong_payee", {"favorecido"}), ("wrong_id", {"idEnvio", "e2eId"})]
)
def test_a_lie_is_in_the_answer_and_not_in_the_book(client: Client, fault: str, fields: set[str]) -> None:
    client.provider.fault(fault)
    answered, stored = client.pay("k1")[1], client.sent("k1")[1]
    assert {name for name in answered if answered[name] != stored[name]} == fields


def test_a_lie_about_a_devolucao(client: Client) -> None:
    e2e = client.pay("k1")[1]["e2eId"]
    client.provider.fault("wrong_id")
    answered, stored = client.give_back(e2e, "r1", "1.09")[1], client.call("GET", f"/pix/{e2e}/devolucao/r1")[1]
    assert {name for name in answered if answered[name] != stored[name]} == {"id", "rtrId"}
    client.provider.fault("wrong_amount")
    assert client.give_back(e2e, "r1", "1.09")[1]["valor"] == "1.08"


def test_not_found_once_denies_a_pix_and_a_devolucao_once(client: Client) -> None:
    e2e = client.pay("k1")[1]["e2eId"]
    client.give_back(e2e, "r1", "1.00")
    client.provider.fault("not_found_once", key="k1")
    client.provider.fault("not_found_once", key="r1")
    assert [client.sent("k1")[0] for _ in range(2)] == [404, 200]
    assert [client.call("GET", f"/pix/{e2e}/devolucao/r1")[0] for _ in range(2)] == [404, 200]


def test_faults_strike_tokens_only_when_asked_to(client: Client) -> None:
    client.provider.fault("unavailable")
    assert client.token()[0] == 200
    assert client.pay("k1")[0] == 503
    client.provider.fault("unavailable", on="token")
    assert (client.pay("k1")[0], client.token()[0], client.token()[0]) == (201, 503, 200)


def test_slow_and_a_gap_in_the_statement(client: Client) -> None:
    client.provider.fault("slow", seconds=0.3)
    started = time.monotonic()
    assert client.pay("k1")[0] == 201
    assert time.monotonic() - started >= 0.3
    client.provider.fault("statement_gap", key=client.account)
    assert [client.call("GET", "/extrato")[1]["saldoFinal"] for _ in range(2)] == ["89.51", "89.50"]


def test_the_request_log_tells_every_key(client: Client) -> None:
    e2e = client.pay("logged1")[1]["e2eId"]
    client.give_back(e2e, "logged2", "1.00")
    rows = [
        (row["method"], row["idempotency_key"], row["status"]) for row in client.provider.ledger()["requests"] if "logged" in row["path"]
    ]
    assert rows == [("PUT", "logged1", 201), ("PUT", "logged2", 201)]


# Webhooks.


def test_a_webhook_has_bacens_shape_and_standard_webhooks_headers(told: Client, inbox: Inbox) -> None:
    e2e = told.pay("k1")[1]["e2eId"]
    (message,) = inbox.wait(1)
    (event,) = message["pix"]
    assert list(message) == ["pix"]
    assert re.fullmatch(TIME, event.pop("horario"))
    assert event == {
        **{"endToEndId": e2e, "idEnvio": "k1", "valor": "10.50", "valorLiquidado": "10.50", "status": "REALIZADO"},
        **{"pagador": {"conta": told.account}, "favorecido": {"chave": "maria@example.com"}, "infoPagador": "inv 7", "devolucoes": []},
    }
    headers, body = inbox.events[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


def test_devolucoes_received_pix_and_refusals_are_told(told: Client, inbox: Inbox) -> None:
    e2e = told.pay("k1")[1]["e2eId"]
    inbox.wait(1)
    rtr = told.give_back(e2e, "r1", "0.50")[1]["rtrId"]
    inbox.wait(2)
    got = told.deposit(7)["id"]
    inbox.wait(3)
    told.pay("k2", valor="999.00")
    _, back, received, refused = [message["pix"][0] for message in inbox.wait(4)]
    assert (back["endToEndId"], [(one["id"], one["rtrId"], one["status"]) for one in back["devolucoes"]]) == (
        e2e,
        [("r1", rtr, "DEVOLVIDO")],
    )
    assert (received["endToEndId"], "idEnvio" in received, received["recebedor"]) == (got, False, {"conta": told.account})
    assert (refused["idEnvio"], refused["status"], refused["motivo"]) == ("k2", "NAO_REALIZADO", "insufficient_funds")


def test_webhook_together_tells_several_events_in_one_message(told: Client, inbox: Inbox) -> None:
    told.provider.fault("webhook_together", count=2)
    told.pay("k1")
    told.pay("k2")
    told.deposit(7)
    (message,) = inbox.wait(1)
    assert [event.get("idEnvio") for event in message["pix"]] == ["k1", "k2", None]
    time.sleep(0.3)
    assert len(inbox.events) == 1


def test_webhook_together_leaves_alone_when_nothing_follows(told: Client, inbox: Inbox) -> None:
    told.provider.fault("webhook_together", seconds=0.4)
    told.pay("k1")
    assert inbox.events == []
    assert [event["idEnvio"] for event in inbox.wait(1)[0]["pix"]] == ["k1"]
    told.pay("k2")
    assert [event["idEnvio"] for event in inbox.wait(2)[1]["pix"]] == ["k2"]


def test_webhook_together_does_nothing_where_messages_hold_one_event(running: Provider, inbox: Inbox) -> None:
    running.open_account("alone", "key-alone", 100, webhook_url=inbox.url, webhook_secret=SECRET)
    running.fault("webhook_together", seconds=60)
    deposit = {"account": "alone", "amount": 7, "currency": "BRL", "payer": "joao"}
    running.call("POST", "/_control/deposits", deposit)
    assert inbox.wait(1)[0]["type"] == "deposit.received"


def test_webhooks_twice_late_and_out_of_order(told: Client, inbox: Inbox) -> None:
    told.provider.fault("webhook_twice", key="k1")
    told.pay("k1")
    inbox.wait(2)
    assert len({headers["webhook-id"] for headers, _ in inbox.events}) == 1
    told.provider.fault("webhook_out_of_order", key="k2")
    told.provider.fault("webhook_late", key="k3", seconds=0.5)
    for key in ("k2", "k3"):
        told.pay(key)
    assert len(inbox.events) == 2
    assert [message["pix"][0]["idEnvio"] for message in inbox.wait(4)[2:]] == ["k3", "k2"]


def test_an_account_is_told_in_a_shape_that_there_is(running: Provider) -> None:
    status, answer = running.call("POST", "/_control/accounts", {"account": "odd", "api": "morse"})
    assert (status, "pix, v1" in answer["detail"]) == (400, True)
