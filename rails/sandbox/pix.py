"""The bank's Pix API, under `/pix-api`: in the shapes of Bacen's API Pix (https://github.com/bacen/pix-api, version 2), on the same book.

What Bacen describes is as it is there: charges (`cob`), received Pix, devoluções, problems (RFC 7807), webhooks `{"pix": [...]}`, OAuth 2
with client credentials. What it leaves to each bank is this bank's own: sending a Pix (`PUT /v2/pix/{idEnvio}`), looking a key up in the
DICT (`/v2/dict/{chave}`) and the statement (`/v2/extrato`). Three things differ. Bacen asks for mutual TLS; here a webhook is authentic by
the headers of Standard Webhooks, and the API listens on loopback. The bank is the payee's bank too, so it returns a Pix that this account
has *sent* when it is asked for a devolução. Every request that moves money carries its key in the header Idempotency-Key as well.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import secrets
import sqlite3
import time
import urllib.parse
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rails.sandbox import entries, pix_problems, pix_shapes, requests, tables
from rails.sandbox import pix_reading as reading
from rails.sandbox.book import Ask, Order, Refusal, digest
from rails.sandbox.pix_problems import named, refuse
from rails.sandbox.requests import Answer, Handler, Manners, Request, Route

if TYPE_CHECKING:
    from rails.sandbox.api import Bank

PREFIX = "/pix-api"
TOKEN_SECONDS = 3600
RETURN_DAYS = 90
LINES = 100
SCOPES = ("cob.write", "cob.read", "pix.write", "pix.read", "pix.send", "dict.read", "extrato.read")
_E2E, _SENT, _RETURN, _TXID = "(E[0-9]{20}[A-Za-z0-9]{11})", f"({requests.KEY})", "([a-zA-Z0-9]{1,35})", "([a-zA-Z0-9]{26,35})"


# Tokens.


def authenticate(bank: Bank, request: Request) -> Request:
    """By client id and secret where tokens are given out, by a token everywhere else."""
    if request.path == f"{PREFIX}/oauth/token":
        return dataclasses.replace(request, account=_client(bank, request.basic))
    query = "SELECT * FROM access_tokens WHERE digest = ? AND expires > ?"
    row = bank.book.read(lambda db: db.execute(query, (digest(request.bearer), time.time())).fetchone())
    if row is None:
        raise refuse("NaoAutorizado", "send Authorization: Bearer <a token of /oauth/token that has not expired>")
    return dataclasses.replace(request, account=row["account"], scopes=frozenset(row["scopes"].split()))


def _client(bank: Bank, basic: str) -> str:
    try:
        # Both are form-encoded (RFC 6749, 2.3.1), so that a colon is the one between them.
        account, _, secret = map(urllib.parse.unquote_plus, base64.b64decode(basic, validate=True).decode("ascii").partition(":"))
    except (binascii.Error, UnicodeDecodeError):
        account = secret = ""
    if not account or bank.owner(secret) != account:
        raise refuse("invalid_client", "send Authorization: Basic <account:api key>, each of them form-encoded")
    return account


def post_token(bank: Bank, request: Request) -> Answer:
    form = dict(urllib.parse.parse_qsl(request.raw.decode(errors="replace")))
    if form.get("grant_type") != "client_credentials":
        raise refuse("unsupported_grant_type", "grant_type must be client_credentials, in a form")
    scopes = form.get("scope", " ".join(SCOPES)).split()
    if not set(scopes) <= set(SCOPES):
        raise refuse("invalid_scope", f"the scopes are {' '.join(SCOPES)}")
    token, lives = secrets.token_urlsafe(32), bank.book.read(_token_seconds)
    row = (digest(token), request.account, " ".join(scopes), time.time() + lives)

    def work(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM access_tokens WHERE expires < ?", (time.time(),))
        db.execute("INSERT INTO access_tokens VALUES (?, ?, ?, ?)", row)

    bank.book.write(work)
    return 200, {"access_token": token, "token_type": "Bearer", "expires_in": lives, "scope": " ".join(scopes)}


def _token_seconds(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM settings WHERE name = 'token_seconds'").fetchone()
    return int(row["value"]) if row else TOKEN_SECONDS


def _with(scope: str, handler: Handler) -> Handler:
    def asked(bank: Bank, request: Request, *keys: str) -> Answer:
        if scope not in request.scopes:
            raise refuse("AcessoNegado", f"the token does not have the scope {scope}")
        return handler(bank, request, *keys)

    return asked


# Pix that the account sends.


def put_pix(bank: Bank, request: Request, key: str) -> Answer:
    body = reading.members(request, {"valor", "pagador", "favorecido"}, {"infoPagador", "txid"})
    _same_key(request, key)
    _is_own(bank, request.account, reading.one_of(body, "pagador", ("conta", "chave")))
    payee = reading.child(body, "favorecido", {"chave"}, {"nome"})
    order = Order(
        reading.valor(body, "valor"),
        "BRL",
        reading.chave(payee, "favorecido.chave"),
        reading.text(payee, "nome", 140) if "nome" in payee else None,
        reading.text(body, "infoPagador", 140) if "infoPagador" in body else "",
        reading.txid(body),
    )
    no = None if _holder(bank, order.payee) else "payee_unknown"
    with named("PagamentoConflitante", conflict="idEnvio"):
        bank.book.pay(request.account, key, order, no)
    return 201, pix_shapes.sent(_sent(bank, request.account, key))


def _same_key(request: Request, key: str) -> None:
    if request.idempotency_key != key:
        raise refuse("RequisicaoInvalida", "the Idempotency-Key header must equal the key in the path", "Idempotency-Key")


def _is_own(bank: Bank, account: str, pagador: tuple[str, str]) -> None:
    name, value = pagador
    found = bank.book.read(lambda db: db.execute("SELECT account FROM pix_keys WHERE key = ?", (value,)).fetchone())
    if account != (value if name == "conta" else found and found["account"]):
        raise refuse("AcessoNegado", "pagador is another account than the token's", f"pagador.{name}")


def _sent(bank: Bank, account: str, key: str) -> sqlite3.Row:
    row = bank.book.read(lambda db: entries.payment(db, account, key))
    if row is None:
        raise refuse("PagamentoNaoEncontrado", "this account has sent no Pix with this idEnvio")
    return row


def get_sent(bank: Bank, request: Request, key: str) -> Answer:
    if bank.faults.take("lookup", [key]):
        raise refuse("PagamentoNaoEncontrado", "this account has sent no Pix with this idEnvio")
    return 200, pix_shapes.sent(_sent(bank, request.account, key))


def delete_sent(bank: Bank, request: Request, key: str) -> Answer:
    with named("PagamentoNaoEncontrado", not_found=""):
        bank.book.cancel(request.account, key)
    return 200, pix_shapes.sent(_sent(bank, request.account, key))


def put_return(bank: Bank, request: Request, e2e: str, key: str) -> Answer:
    body = reading.members(request, {"valor"}, {"descricao", "natureza"}, "PixDevolucaoInvalida")
    _same_key(request, key)
    if body.get("natureza", "ORIGINAL") != "ORIGINAL":
        raise refuse("PixDevolucaoInvalida", "natureza must be ORIGINAL: this bank gives no change", "devolucao.natureza")
    amount = reading.valor(body, "valor", "PixDevolucaoInvalida", "devolucao.valor")
    note = reading.text(body, "descricao", 140) if "descricao" in body else None
    since = (datetime.now(UTC) - timedelta(days=RETURN_DAYS)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    payment = _idenvio(bank, request.account, e2e)
    with named("PixDevolucaoInvalida", payment_not_settled="devolucao", too_late="devolucao", conflict="id"):
        bank.book.refund(request.account, payment, key, Ask(amount, note, waits=True, since=since))
    return 201, pix_shapes.returned(_returned(bank, request.account, payment, key), e2e)


def _idenvio(bank: Bank, account: str, e2e: str, problem: str = "PixNaoEncontrado") -> str:
    query = "SELECT key FROM payments WHERE account = ? AND id = ?"
    row = bank.book.read(lambda db: db.execute(query, (account, e2e)).fetchone())
    if row is None:
        raise refuse(problem, "this account has sent no Pix with this endToEndId")
    return str(row["key"])


def _returned(bank: Bank, account: str, payment: str, key: str) -> sqlite3.Row:
    row = bank.book.read(lambda db: entries.refund(db, account, payment, key))
    if row is None:
        raise refuse("PixDevolucaoNaoEncontrada", "this Pix has no devolução with this id")
    return row


def get_return(bank: Bank, request: Request, e2e: str, key: str) -> Answer:
    if bank.faults.take("lookup", [key]):
        raise refuse("PixDevolucaoNaoEncontrada", "this Pix has no devolução with this id")
    payment = _idenvio(bank, request.account, e2e, "PixDevolucaoNaoEncontrada")
    return 200, pix_shapes.returned(_returned(bank, request.account, payment, key), e2e)


# The DICT: which keys there are, and whose they are.


def get_key(bank: Bank, request: Request, key: str) -> Answer:
    asked = urllib.parse.unquote(key)
    found = _holder(bank, reading.chave({"chave": asked}, "chave"))
    if found is None:
        raise refuse("ChaveNaoEncontrada", "the DICT does not have this key")
    return 200, {"chave": asked, "tipoConta": found["kind"], "nome": found["name"] or "TITULAR DA CHAVE"}


def _holder(bank: Bank, key: str) -> dict[str, Any] | None:
    """Whose key it is, None when it is nobody's. A key that was not spoken of exists."""
    row = bank.book.read(lambda db: db.execute("SELECT * FROM pix_keys WHERE key = ?", (key,)).fetchone())
    if row is None:
        return {"name": None, "kind": "CACC", "account": None}
    return dict(row) if row["present"] else None


# Charges, received Pix, and the statement.


def put_charge(bank: Bank, request: Request, txid: str) -> Answer:
    invalid = "CobOperacaoInvalida"
    body = reading.members(request, {"valor", "chave"}, {"calendario", "solicitacaoPagador"}, invalid)
    amount = reading.valor(reading.child(body, "valor", {"original"}), "original", invalid, "cob.valor.original")
    key = reading.chave(body, "chave", invalid)
    holder = _holder(bank, key)
    if holder is None or holder["account"] not in (None, request.account):
        raise refuse(invalid, "chave is not a key of this account", "cob.chave")
    seconds = reading.child(body, "calendario", {"expiracao"})["expiracao"] if "calendario" in body else 86_400
    if type(seconds) is not int or not 1 <= seconds <= 2**31 - 1:
        raise refuse(invalid, "calendario.expiracao is a number of seconds", "cob.calendario.expiracao")
    note = reading.text(body, "solicitacaoPagador", 140) if "solicitacaoPagador" in body else None
    asked = (request.account, txid, amount, key, note, seconds)

    def work(db: sqlite3.Connection) -> None:
        row = _charge(db, request.account, txid)
        if row is None:
            db.execute("INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?, ?)", (*asked, tables.timestamp()))
        elif tuple(row)[:-1] != asked:
            raise refuse(invalid, "this txid is another charge's", "cob.txid")

    bank.book.write(work)
    return 201, _shown_charge(bank, request.account, txid)


def get_charge(bank: Bank, request: Request, txid: str) -> Answer:
    return 200, _shown_charge(bank, request.account, txid)


def _charge(db: sqlite3.Connection, account: str, txid: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = db.execute("SELECT * FROM charges WHERE account = ? AND txid = ?", (account, txid)).fetchone()
    return row


def _shown_charge(bank: Bank, account: str, txid: str) -> dict[str, Any]:
    row = bank.book.read(lambda db: _charge(db, account, txid))
    if row is None:
        raise refuse("CobNaoEncontrado", "this account has no charge with this txid")
    query = f"{pix_shapes.RECEIVED} AND txid = ? ORDER BY deposits.rowid"
    return pix_shapes.charge(row, bank.book.read(lambda db: db.execute(query, (account, txid)).fetchall()))


def get_received(bank: Bank, request: Request, e2e: str) -> Answer:
    query = f"{pix_shapes.RECEIVED} AND deposits.id = ?"
    row = bank.book.read(lambda db: db.execute(query, (request.account, e2e)).fetchone())
    if row is None:
        raise refuse("PixNaoEncontrado", "this account has received no Pix with this endToEndId")
    return 200, pix_shapes.received(row)


def list_received(bank: Bank, request: Request) -> Answer:
    first, last = reading.period(request, "PixConsultaInvalida")
    page, size = reading.page(request, "PixConsultaInvalida")
    query = f"{pix_shapes.RECEIVED} AND deposits.created_at BETWEEN ? AND ? ORDER BY deposits.rowid"
    rows = bank.book.read(lambda db: db.execute(query, (request.account, first, last)).fetchall())
    pages = {
        "paginaAtual": page,
        "itensPorPagina": size,
        "quantidadeDePaginas": -(-len(rows) // size),
        "quantidadeTotalDeItens": len(rows),
    }
    shown = [pix_shapes.received(row) for row in rows[page * size : (page + 1) * size]]
    return 200, {"parametros": {"inicio": first, "fim": last, "paginacao": pages}, "pix": shown}


def get_statement(bank: Bank, request: Request) -> Answer:
    after = reading.number(request, "cursor", 0, 0, requests.MOST)
    found = bank.book.statement(request.account, after, LINES)
    refunds = [row["id"] for row in found["lines"] if row["kind"] == "refund"]
    query = (
        "SELECT refunds.id, note AS descricao, payments.id AS endToEndId FROM refunds JOIN payments ON payments.account = refunds.account"
        f" AND payments.key = payment WHERE refunds.id IN ({', '.join('?' * len(refunds))})"
    )
    back = {row["id"]: dict(row) for row in bank.book.read(lambda db: db.execute(query, refunds).fetchall())}
    lines = [pix_shapes.line(row, back.get(row["id"], {})) for row in found["lines"]]
    return 200, {
        "conta": request.account,
        "saldoInicial": pix_shapes.valor(found["opening"]),
        "lancamentos": lines,
        "saldoFinal": pix_shapes.valor(found["closing"]),
        "cursor": lines[-1]["lancamento"] if lines else str(after),
        "completo": found["complete"],
    }


ROUTES: list[Route] = [
    ("POST", rf"{PREFIX}/oauth/token", post_token),
    ("PUT", rf"{PREFIX}/v2/pix/{_SENT}", _with("pix.send", put_pix)),
    ("GET", rf"{PREFIX}/v2/pix/enviados/{_SENT}", _with("pix.read", get_sent)),
    ("DELETE", rf"{PREFIX}/v2/pix/enviados/{_SENT}", _with("pix.send", delete_sent)),
    ("PUT", rf"{PREFIX}/v2/pix/{_E2E}/devolucao/{_RETURN}", _with("pix.write", put_return)),
    ("GET", rf"{PREFIX}/v2/pix/{_E2E}/devolucao/{_RETURN}", _with("pix.read", get_return)),
    ("GET", rf"{PREFIX}/v2/dict/([^/]{{1,231}})", _with("dict.read", get_key)),
    ("PUT", rf"{PREFIX}/v2/cob/{_TXID}", _with("cob.write", put_charge)),
    ("GET", rf"{PREFIX}/v2/cob/{_TXID}", _with("cob.read", get_charge)),
    ("GET", rf"{PREFIX}/v2/pix/{_E2E}", _with("pix.read", get_received)),
    ("GET", rf"{PREFIX}/v2/pix", _with("pix.read", list_received)),
    ("GET", rf"{PREFIX}/v2/extrato", _with("extrato.read", get_statement)),
]


def lie(fault: str, body: dict[str, Any]) -> dict[str, Any]:
    if fault == "wrong_amount" and "valor" in body:
        return {"valor": body["valor"][:-1] + ("8" if body["valor"][-1] == "9" else "9")}
    if fault == "wrong_payee" and "favorecido" in body:
        return {"favorecido": {"chave": "somebody-else@example.com"}}
    if fault == "wrong_id" and "idEnvio" in body:
        return {"idEnvio": "0" * 63 + "x", "e2eId": body["e2eId"][:-11] + "Wrong000000"}
    if fault == "wrong_id" and "rtrId" in body:
        return {"id": "0" * 34 + "x", "rtrId": body["rtrId"][:-11] + "Wrong000000"}
    return {}


MANNERS = Manners(authenticate, pix_problems.shown, "application/problem+json", lie)


# The control plane.


def set_key(bank: Bank, request: Request) -> Answer:
    """Says whether a key exists, who holds it, and which account of this bank it belongs to."""
    body = requests.members(request, {"key"}, {"exists", "name", "kind", "account"})
    key, exists, kind = requests.text(body, "key", 77), body.get("exists", True), body.get("kind", "CACC")
    if type(exists) is not bool or kind not in ("CACC", "SVGS", "TRAN", "SLRY"):
        raise Refusal(400, "invalid_request", "exists is true or false; kind is CACC, SVGS, TRAN or SLRY")
    name, account = (requests.text(body, n, 100) if body.get(n) is not None else None for n in ("name", "account"))
    bank.book.write(lambda db: db.execute("REPLACE INTO pix_keys VALUES (?, ?, ?, ?, ?)", (key, exists, name, kind, account)) and None)
    return 201, {"key": key, "exists": exists, "name": name, "kind": kind, "account": account}


def set_token_life(bank: Bank, request: Request) -> Answer:
    """How many seconds the tokens live that are given out from now on."""
    seconds = requests.members(request, {"expires_in"})["expires_in"]
    if type(seconds) is not int or not 1 <= seconds <= 86_400:
        raise Refusal(400, "invalid_request", "expires_in is a number of seconds from 1 to 86400")
    bank.book.write(lambda db: db.execute("REPLACE INTO settings VALUES ('token_seconds', ?)", (str(seconds),)) and None)
    return 200, {"expires_in": seconds}


def forget_tokens(bank: Bank, request: Request) -> Answer:
    return 200, {"forgotten": bank.book.write(lambda db: db.execute("DELETE FROM access_tokens").rowcount)}


OPERATIONS: dict[tuple[str, str], Callable[[Bank, Request], Answer]] = {
    ("POST", "/_control/dict"): set_key,
    ("POST", "/_control/tokens"): set_token_life,
    ("DELETE", "/_control/tokens"): forget_tokens,
}
