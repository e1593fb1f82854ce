"""What answers and events of the Pix API prove. All of it is pure; `settled` only when every field equals the instruction.

Amounts are decimals in reais there and minor units here; the currency is always BRL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from codespar.lib import pix
from codespar.lib.pix import BadPix
from rails.adapters import judging, reading
from rails.adapters.base import KEY, Deposit, Instruction, Notice, RefundInstruction, Result, Statement, StatementLine
from rails.adapters.judging import Verdict

TYPES = "https://pix.bcb.gov.br/api/v2/error/"
E2E, RTR = "E[0-9]{20}[A-Za-z0-9]{11}", "D[0-9]{20}[A-Za-z0-9]{11}"
RETURN_ID = 35  # the most characters of a devolução's id
SENT = {
    "EM_PROCESSAMENTO": Result.ACCEPTED,
    "REALIZADO": Result.SETTLED,
    "CANCELADO": Result.CANCELED,
    "NAO_REALIZADO": Result.REJECTED,
}
RETURNED = {"EM_PROCESSAMENTO": Result.ACCEPTED, "DEVOLVIDO": Result.SETTLED, "NAO_REALIZADO": Result.REJECTED}
KINDS = {"PIX_ENVIADO": "payment", "DEVOLUCAO_RECEBIDA": "refund", "PIX_RECEBIDO": "deposit"}

# What a problem says about this very request; all others prove nothing.
OF_PAYMENT = {
    (400, "RequisicaoInvalida"): Result.REJECTED,
    (404, "PagamentoNaoEncontrado"): Result.NOT_FOUND,
    (409, "PagamentoConflitante"): Result.CONFLICTED,
}
OF_REFUND = {
    (400, "RequisicaoInvalida"): Result.REJECTED,
    (400, "PixDevolucaoInvalida"): Result.REJECTED,
    (404, "PixNaoEncontrado"): Result.REJECTED,
    (404, "PixDevolucaoNaoEncontrada"): Result.NOT_FOUND,
}
CODES = {Result.REJECTED: "refused", Result.CONFLICTED: "conflict", Result.NOT_FOUND: "not_found"}
Problems = dict[tuple[int, str], Result]


def normal(account: str) -> str:
    """A Pix key in its normal form; what is none stays as it is, and equals nothing."""
    try:
        return pix.key(account).text
    except BadPix:
        return account


def judge_payment(status: int, body: bytes, expected: Instruction) -> Verdict:
    """What the answer to a PUT, GET or DELETE of this payment proves."""
    return _judge(status, body, lambda answer: _sent(answer, expected), OF_PAYMENT)


def judge_refund(status: int, body: bytes, expected: RefundInstruction, e2e: str) -> Verdict:
    """What the answer to a PUT or GET of this devolução of the Pix `e2e` proves."""
    return _judge(status, body, lambda answer: _returned(answer, expected, e2e), OF_REFUND)


def judge_e2e(status: int, body: bytes, key: str) -> Verdict:
    """The endToEndId of the Pix that was sent under `key`, as the `provider_id` of an accepted."""

    def of(answer: dict[str, Any]) -> Verdict:
        found = _identifier(answer, "e2eId", "E")
        if reading.text(answer, "idEnvio") != key:
            return judging.mismatch("key", found)
        return Verdict(Result.ACCEPTED, "known", "the bank knows this payment", found)

    return _judge(status, body, of, OF_PAYMENT)


def refusal(status: int, answer: dict[str, Any], problems: Problems) -> Verdict:
    """What a problem (RFC 7807) proves; raises ValueError for one that nobody agreed on."""
    if status in (401, 403):
        return Verdict(Result.UNKNOWN, "unauthorized", "the bank does not accept our access token")
    if status == 429:
        return Verdict(Result.UNKNOWN, "rate_limited", "the bank asks us to slow down")
    name = reading.match(answer, "type", TYPES + "[A-Za-z]{1,60}").removeprefix(TYPES)
    result = problems.get((status, name))
    if result is None or answer.get("status", status) != status:
        raise reading.Malformed("an unknown problem")
    if name == "PixDevolucaoInvalida":
        result = _of_violations(answer)
    return Verdict(result, CODES[result], f"the bank says {name}")


def no_key(status: int, answer: dict[str, Any]) -> Verdict:
    return refusal(status, answer, {(404, "ChaveNaoEncontrada"): Result.NOT_FOUND})


def not_received(status: int, answer: dict[str, Any]) -> Verdict:
    return refusal(status, answer, {(404, "PixNaoEncontrado"): Result.NOT_FOUND})


def no_statement(status: int, answer: dict[str, Any]) -> Verdict:
    return refusal(status, answer, {})


def _of_violations(answer: dict[str, Any]) -> Result:
    """One name stands for a devolução that cannot be and for an id that has another one: only the violated member tells them apart."""
    found = answer.get("violacoes")
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        raise reading.Malformed("violacoes")
    return Result.CONFLICTED if any(reading.text(one, "propriedade") == "id" for one in found) else Result.REJECTED


def _judge(status: int, body: bytes, of: Callable[[dict[str, Any]], Verdict], problems: Problems) -> Verdict:
    if status >= 500:
        return judging.outage(status)
    try:
        answer = reading.parse_object(body)
        return of(answer) if status in (200, 201) else refusal(status, answer, problems)
    except ValueError as error:
        return judging.invalid(status, error)


def _sent(answer: dict[str, Any], expected: Instruction) -> Verdict:
    e2e = _identifier(answer, "e2eId", "E")
    found = {
        "key": reading.text(answer, "idEnvio"),
        "amount": _valor(answer, "valor"),
        "payee": reading.text(_child(answer, "favorecido"), "chave"),
        "reference": reading.text(answer, "infoPagador"),
        "target": reading.text(answer, "txid") if "txid" in answer else None,
        "currency": pix.CURRENCY,
        "id": e2e,
    }
    wanted = {
        "key": expected.key,
        "amount": expected.amount,
        "payee": normal(expected.payee_account),
        "reference": expected.reference,
        "target": expected.target,
        "currency": expected.currency,
        "id": expected.provider_id or e2e,
    }
    return _compared(answer, found, wanted, e2e, SENT, pix.minor_units(reading.text(answer, "valorLiquidado")))


def _returned(answer: dict[str, Any], expected: RefundInstruction, e2e: str) -> Verdict:
    rtr = _identifier(answer, "rtrId", "D")
    found = {
        "key": (reading.text(answer, "id"), reading.text(answer, "descricao")),
        "payment": reading.text(answer, "endToEndId"),
        "amount": _valor(answer, "valor"),
        "currency": pix.CURRENCY,
        "id": rtr,
    }
    wanted = {
        "key": (expected.key[:RETURN_ID], expected.key),
        "payment": e2e,
        "amount": expected.amount,
        "currency": expected.currency,
        "id": expected.provider_id or rtr,
    }
    return _compared(answer, found, wanted, rtr, RETURNED, None)


def _compared(
    answer: dict[str, Any],
    found: dict[str, Any],
    wanted: dict[str, Any],
    provider_id: str,
    statuses: dict[str, Result],
    moved: int | None,
) -> Verdict:
    status, times = reading.text(answer, "status"), _child(answer, "horario")
    if status not in statuses:
        raise reading.Malformed("status is not one of the API's")
    for name, value in wanted.items():
        if found[name] != value:
            return judging.mismatch(name, provider_id)
    result, amount = statuses[status], found["amount"]
    least, most = {Result.SETTLED: (amount, amount), Result.REJECTED: (0, 0)}.get(result, (0, amount))
    if moved is not None and not least <= moved <= most:
        raise reading.Malformed("valorLiquidado does not agree with status and valor")
    if result is Result.REJECTED:
        why = reading.match(answer, "motivo", "[a-z_]{1,60}")
        return Verdict(result, "declined", f"the bank declined: {why}", provider_id)
    if result is Result.SETTLED:
        reading.time(times, "liquidacao")
        moved = None
    return Verdict(result, str(result), f"the bank says {status}", provider_id, moved)


def _identifier(answer: dict[str, Any], name: str, letter: str) -> str:
    found = reading.text(answer, name)
    pix.moment(found, letter)
    return found


def _valor(answer: dict[str, Any], name: str) -> int:
    found = pix.minor_units(reading.text(answer, name))
    if not found:
        raise reading.Malformed(f"{name} is zero")
    return found


def _child(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise reading.Malformed(f"{name} is not an object")
    return found


def holder(answer: dict[str, Any], key: str) -> dict[str, str]:
    """Whose key it is, as the DICT says."""
    if answer.get("chave") != key:
        raise reading.Malformed("chave is not the one that was asked for")
    return {"nome": reading.text(answer, "nome")[:140], "tipoConta": reading.match(answer, "tipoConta", "[A-Z]{4}")}


def deposit(answer: dict[str, Any], e2e: str, account: str, raw: bytes) -> Deposit:
    """A Pix that `account` has received. What it pays for is its txid, or else what its payer wrote."""
    if (answer.get("endToEndId"), _child(answer, "recebedor").get("conta")) != (e2e, account):
        raise reading.Malformed("endToEndId or recebedor is not that of the Pix asked for")
    return Deposit(
        id=e2e,
        account=account,
        amount=_valor(answer, "valor"),
        currency=pix.CURRENCY,
        payer_key=reading.text(_child(answer, "pagador"), "chave"),
        reference=reading.text(answer, "txid" if "txid" in answer else "infoPagador"),
        at=reading.time(answer, "horario"),
        raw=raw,
    )


def statement(answer: dict[str, Any], account: str, after: int, raw: bytes) -> Statement:
    """A part of the extrato."""
    rows, complete = answer.get("lancamentos"), answer.get("completo")
    if answer.get("conta") != account or not isinstance(rows, list) or not isinstance(complete, bool):
        raise reading.Malformed("conta, lancamentos or completo")
    lines = tuple(_line(row) for row in rows)
    numbers = [after, *(int(line.id) for line in lines)]
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:], strict=False)):
        raise reading.Malformed("lancamentos are not in order")
    if reading.text(answer, "cursor") != str(numbers[-1]):
        raise reading.Malformed("cursor is not the last lancamento's")
    opening, closing = (pix.minor_units(reading.text(answer, name), signed=True) for name in ("saldoInicial", "saldoFinal"))
    return Statement(opening=opening, lines=lines, closing=closing, cursor=str(numbers[-1]), complete=complete, raw=raw)


def _line(row: object) -> StatementLine:
    """Lines that are no Pix, such as fees, are `other`: they count in the balance all the same."""
    if not isinstance(row, dict):
        raise reading.Malformed("a lancamento is not an object")
    kind = KINDS.get(reading.match(row, "tipo", "[A-Z_]{1,40}"), "other")
    number = reading.match(row, "lancamento", "[1-9][0-9]{0,15}")
    return StatementLine(
        id=number,
        kind=kind,
        provider_id=_booked(row, kind, number),
        key=_key(row, kind),
        amount=pix.minor_units(reading.text(row, "valor"), signed=True),
        currency=reading.match(row, "moeda", "[A-Z]{3,5}"),
        at=reading.time(row, "horario"),
        party=reading.text(row, "chave") if kind != "other" or "chave" in row else "",
    )


def _booked(row: dict[str, Any], kind: str, number: str) -> str:
    if kind == "other":
        return number
    return reading.match(row, "rtrId", RTR) if kind == "refund" else reading.match(row, "endToEndId", E2E)


def _key(row: dict[str, Any], kind: str) -> str | None:
    if kind == "payment":
        return reading.match(row, "idEnvio", KEY.pattern)
    return return_key(row) if kind == "refund" else None


def return_key(row: dict[str, Any]) -> str | None:
    """Our key of a devolução: its `descricao`, whose first characters are its id. None of one that we have not asked for."""
    key, whole = reading.match(row, "id", pix.DEVOLUCAO_ID), row.get("descricao")
    ours = isinstance(whole, str) and KEY.fullmatch(whole) and whole[:RETURN_ID] == key
    return whole if ours else None


def notices(message: dict[str, Any], account: str, message_id: str) -> tuple[Notice, ...]:
    """The events of a message `{"pix": [...]}` to `account`; raises ValueError when one of them is not readable or not the account's."""
    events = message.get("pix")
    if not isinstance(events, list) or not events:
        raise reading.Malformed("pix is not a list of events")
    found = [told for event in events for told in _told(event, account)]
    return tuple(Notice(id=f"{message_id}:{at}", kind=kind, provider_id=it, key=key) for at, (kind, it, key) in enumerate(found))


def _told(event: object, account: str) -> list[tuple[str, str, str | None]]:
    """(kind, provider_id, key): a Pix sent has `idEnvio`; its devoluções, where there are, are what is told."""
    if not isinstance(event, dict):
        raise reading.Malformed("an event is not an object")
    e2e, sent = reading.match(event, "endToEndId", E2E), "idEnvio" in event
    if _child(event, "pagador" if sent else "recebedor").get("conta") != account:
        raise reading.Malformed("an event of another account")
    back = event.get("devolucoes", [])
    if not isinstance(back, list) or not all(isinstance(one, dict) for one in back):
        raise reading.Malformed("devolucoes is not a list of objects")
    if not sent:
        return [("deposit", e2e, None)]
    if back:
        return [("refund", reading.match(one, "rtrId", RTR), return_key(one)) for one in back]
    return [("payment", e2e, reading.match(event, "idEnvio", KEY.pattern))]
