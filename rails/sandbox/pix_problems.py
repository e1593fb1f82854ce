"""How the Pix API says no: problems after RFC 7807 with Bacen's types, and OAuth's errors (RFC 6749, 5.2) where tokens are given out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rails.sandbox.book import Refusal

TYPES = "https://pix.bcb.gov.br/api/v2/error/"
# Bacen's, and this bank's own for what Bacen leaves to each bank: NaoAutorizado, Pagamento..., Chave...
STATUS = {
    "RequisicaoInvalida": 400,
    "NaoAutorizado": 401,
    "AcessoNegado": 403,
    "NaoEncontrado": 404,
    "ErroInternoDoServidor": 500,
    "ServicoIndisponivel": 503,
    "PagamentoNaoEncontrado": 404,
    "PagamentoConflitante": 409,
    "PixNaoEncontrado": 404,
    "PixDevolucaoNaoEncontrada": 404,
    "PixDevolucaoInvalida": 400,
    "PixConsultaInvalida": 400,
    "CobNaoEncontrado": 404,
    "CobOperacaoInvalida": 400,
    "ChaveNaoEncontrada": 404,
}
OAUTH = {"invalid_client": 401, "unsupported_grant_type": 400, "invalid_scope": 400}
# What the whole bank says, in the words of this API.
WORDS = {
    "no_such_route": "NaoEncontrado",
    "not_found": "NaoEncontrado",
    "unavailable": "ServicoIndisponivel",
    "invalid_request": "RequisicaoInvalida",
    "internal": "ErroInternoDoServidor",
}


class Problem(Refusal):
    """A refusal that says which member of the request it is about."""

    def __init__(self, name: str, detail: str, *violated: str) -> None:
        super().__init__((STATUS | OAUTH)[name], name, detail)
        self.violated = violated


def refuse(name: str, detail: str, *violated: str) -> Problem:
    return Problem(name, detail, *violated)


@contextmanager
def named(problem: str, **about: str) -> Iterator[None]:
    """The book's refusals with these codes as this problem, each with the member that it is about."""
    try:
        yield
    except Refusal as refusal:
        if refusal.code not in about:
            raise
        raise Problem(problem, refusal.detail, *filter(None, [about[refusal.code]])) from None


def shown(refusal: Refusal) -> dict[str, Any]:
    """The body of a refusal."""
    if refusal.code in OAUTH:
        return {"error": refusal.code, "error_description": refusal.detail}
    name = WORDS.get(refusal.code, refusal.code)
    body: dict[str, Any] = {"type": TYPES + name, "title": name, "status": refusal.status, "detail": refusal.detail}
    violated = refusal.violated if isinstance(refusal, Problem) else ()
    return body | ({"violacoes": [{"razao": refusal.detail, "propriedade": one} for one in violated]} if violated else {})
