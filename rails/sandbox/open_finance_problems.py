"""How the Open Finance API says no: a list of errors, each with a code of the ecosystem's, a title and a sentence."""

from __future__ import annotations

from typing import Any

from rails.sandbox import open_finance_shapes
from rails.sandbox.book import Refusal
from rails.sandbox.tables import timestamp

# What is said with which status. The codes of 422 are those that the payment and consent APIs publish.
STATUS = {
    "PARAMETRO_INVALIDO": 422,
    "PARAMETRO_NAO_INFORMADO": 422,
    "CONSENTIMENTO_INVALIDO": 422,
    "CONSENTIMENTO_NAO_ENCONTRADO": 404,
    "CONSENTIMENTO_PENDENTE_AUTORIZACAO": 422,
    "DATA_EXPIRACAO_INVALIDA": 422,
    "COMBINACAO_PERMISSOES_INCORRETA": 422,
    "LIMITE_VALOR_TRANSACAO_CONSENTIMENTO_EXCEDIDO": 422,
    "LIMITE_VALOR_TOTAL_CONSENTIMENTO_EXCEDIDO": 422,
    "ERRO_IDEMPOTENCIA": 422,
    "PAGAMENTO_NAO_ENCONTRADO": 404,
    "RECURSO_NAO_ENCONTRADO": 404,
    "REQUISICAO_INVALIDA": 400,
    "NAO_AUTORIZADO": 401,
    "CONSENTIMENTO_NAO_AUTORIZADO": 401,
    "PERMISSAO_NEGADA": 403,
}
# What the whole bank says, in the words of this API.
WORDS = {
    "no_such_route": "RECURSO_NAO_ENCONTRADO",
    "not_found": "RECURSO_NAO_ENCONTRADO",
    "invalid_request": "REQUISICAO_INVALIDA",
    "unavailable": "SERVICO_INDISPONIVEL",
    "internal": "ERRO_INTERNO",
}


def refuse(code: str, detail: str) -> Refusal:
    return Refusal(STATUS[code], code, detail)


def shown(refusal: Refusal) -> dict[str, Any]:
    """The body of a refusal."""
    code = WORDS.get(refusal.code, refusal.code)
    error = {"code": code, "title": code.replace("_", " ").capitalize(), "detail": refusal.detail}
    return {"errors": [error], "meta": {"requestDateTime": open_finance_shapes.moment(timestamp())}}
