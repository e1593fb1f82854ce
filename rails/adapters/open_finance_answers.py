"""What answers of an Open Finance API prove. All of it is pure; `settled` only when every field equals the instruction.

Amounts are decimals there and minor units here. Our key stands behind our reference in what is written for the payee, which the bank
keeps and repeats: of a payment in `remittanceInformation`, of a line in `transactionName`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from codespar.lib import pix
from codespar.lib.pix import BadPix
from rails.adapters import judging, reading
from rails.adapters.base import Consent, ConsentStatus, Instruction, Reading, Result, StatementLine
from rails.adapters.judging import Verdict

CONSENT = r"urn:[a-zA-Z0-9][a-zA-Z0-9-]{0,31}:[a-zA-Z0-9()+,.:=@;$_!*'%/?#-]{1,200}"
E2E, RTR = "E[0-9]{20}[A-Za-z0-9]{11}", "D[0-9]{20}[A-Za-z0-9]{11}"
KEY = "[0-9A-Za-z]{43}"
# Of a payment: what the bank has done with it. What it schedules or cuts in parts is nothing that was asked for.
STATUS = {
    "RCVD": Result.ACCEPTED,
    "PATC": Result.ACCEPTED,
    "ACCP": Result.ACCEPTED,
    "ACPD": Result.ACCEPTED,
    "PDNG": Result.ACCEPTED,
    "ACSC": Result.SETTLED,
    "RJCT": Result.REJECTED,
    "CANC": Result.CANCELED,
}
CONSENTS = {
    "AWAITING_AUTHORISATION": ConsentStatus.AWAITING,
    "PARTIALLY_ACCEPTED": ConsentStatus.AWAITING,
    "AUTHORISED": ConsentStatus.AUTHORISED,
    "REJECTED": ConsentStatus.REJECTED,
    "REVOKED": ConsentStatus.REVOKED,
    "CONSUMED": ConsentStatus.REVOKED,
}
# What a refusal (422) says about this very payment; all others prove nothing.
OF_PAYMENT: Mapping[str, tuple[Result, str]] = {
    "CONSENTIMENTO_INVALIDO": (Result.REJECTED, "consent_refused"),
    "CONSENTIMENTO_PENDENTE_AUTORIZACAO": (Result.REJECTED, "consent_refused"),
    "LIMITE_VALOR_TRANSACAO_CONSENTIMENTO_EXCEDIDO": (Result.REJECTED, "consent_limit"),
    "LIMITE_VALOR_TOTAL_CONSENTIMENTO_EXCEDIDO": (Result.REJECTED, "consent_limit"),
    "PAGAMENTO_DIVERGENTE_CONSENTIMENTO": (Result.REJECTED, "consent_refused"),
    "SALDO_INSUFICIENTE": (Result.REJECTED, "declined"),
    "VALOR_INVALIDO": (Result.REJECTED, "refused"),
    "PARAMETRO_INVALIDO": (Result.REJECTED, "refused"),
    "PARAMETRO_NAO_INFORMADO": (Result.REJECTED, "refused"),
    "ERRO_IDEMPOTENCIA": (Result.CONFLICTED, "conflict"),
}


def written(reference: str, key: str) -> str:
    """What is written for the payee: our reference and our key."""
    return f"{reference} {key}"


# Payments.


def judge_payment(status: int, body: bytes, expected: Instruction) -> Verdict:
    """What the answer to the request for this payment proves."""
    return _judged(status, body, lambda answer: _payment(_data(answer), expected))


def judge_list(status: int, body: bytes, expected: Instruction, page: int) -> tuple[Verdict, bool]:
    """What a page of the consent's payments proves of this one, and whether more pages follow."""
    more = False

    def of(answer: dict[str, Any]) -> Verdict:
        nonlocal more
        rows = _rows(answer)
        more = _more(answer, page)
        ours = [row for row in rows if _key(str(row.get("remittanceInformation"))) == expected.key]
        if len(ours) > 1:
            return Verdict(Result.CONFLICTED, "duplicate", "the bank has several payments under our key")
        return _payment(ours[0], expected) if ours else Verdict(Result.NOT_FOUND, "not_found", "the bank has no payment under our key")

    return _judged(status, body, of), more


def _judged(status: int, body: bytes, of: Callable[[dict[str, Any]], Verdict]) -> Verdict:
    if status >= 500:
        return judging.outage(status)
    try:
        answer = reading.parse_object(body)
        return of(answer) if status in (200, 201) else refusal(status, answer)
    except ValueError as error:
        return judging.invalid(status, error)


def _payment(found: dict[str, Any], expected: Instruction) -> Verdict:
    e2e, money = _e2e(found), _child(found, "payment")
    told = {
        "key": _key(reading.text(found, "remittanceInformation")),
        "amount": _valor(money, "amount"),
        "currency": reading.text(money, "currency"),
        "payee": reading.text(found, "proxy"),
        "reference": reading.text(found, "remittanceInformation"),
        "consent": reading.text(found, "recurringConsentId"),
        "id": e2e,
    }
    wanted = {
        "key": expected.key,
        "amount": expected.amount,
        "currency": expected.currency,
        "payee": normal(expected.payee_account),
        "reference": written(expected.reference, expected.key),
        "consent": expected.consent,
        "id": expected.provider_id or e2e,
    }
    status = reading.text(found, "status")
    if status not in STATUS:
        raise reading.Malformed("status is not one that was agreed")
    for name, value in wanted.items():
        if told[name] != value:
            return judging.mismatch(name, e2e)
    result = STATUS[status]
    if result is Result.REJECTED:
        why = reading.match(_child(found, "rejectionReason"), "code", "[A-Z_]{1,60}")
        return Verdict(result, "declined", f"the bank declined: {why}", e2e)
    return Verdict(result, str(result), f"the bank says {status}", e2e, 0 if result is Result.CANCELED else None)


def refusal(status: int, answer: dict[str, Any]) -> Verdict:
    """What a list of errors proves; raises ValueError for one that nobody agreed on."""
    if status in (401, 403):
        return Verdict(Result.UNKNOWN, "unauthorized", "the bank does not accept our credentials, or not for this")
    if status == 429:
        return Verdict(Result.UNKNOWN, "rate_limited", "the bank asks us to slow down")
    code = error_code(answer)
    if status == 404:
        return Verdict(Result.UNKNOWN, "not_known", f"the bank says {code}")
    if (status, code) == (400, "REQUISICAO_INVALIDA"):
        return Verdict(Result.REJECTED, "refused", f"the bank says {code}")
    if status != 422 or code not in OF_PAYMENT:
        raise reading.Malformed("an unknown error")
    result, word = OF_PAYMENT[code]
    return Verdict(result, word, f"the bank says {code}")


def error_code(answer: dict[str, Any]) -> str:
    """The first error's code."""
    errors = answer.get("errors")
    if not isinstance(errors, list) or not errors or not isinstance(errors[0], dict):
        raise reading.Malformed("errors is not a list of objects")
    return reading.match(errors[0], "code", "[A-Z_]{1,80}")


def normal(account: str) -> str:
    """A Pix key in its normal form; what is none stays as it is, and equals nothing."""
    try:
        return pix.key(account).text
    except BadPix:
        return account


# Consents.


def consent(answer: dict[str, Any], name: str, base_url: str) -> Consent:
    """A consent; `name` is what its id is called."""
    data = _data(answer)
    found, status = reading.match(data, name, CONSENT), reading.text(data, "status")
    if status not in CONSENTS:
        raise reading.Malformed("status is not one of a consent's")
    expires = reading.time(data, "expirationDateTime")
    return Consent(id=found, status=CONSENTS[status], address=f"{base_url}/authorise/{found}", expires_at=expires)


# Reads.


def accounts(answer: dict[str, Any], page: int) -> Reading:
    """The accounts that a consent reaches."""
    return Reading(rows=tuple(_account(row) for row in _rows(answer)), more=_more(answer, page))


def _account(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": account_id(row),
        "type": reading.match(row, "type", "[A-Z_]{1,60}"),
        "bank": reading.match(row, "compeCode", "[0-9]{3}"),
        "branch": reading.match(row, "branchCode", "[0-9]{4}") if "branchCode" in row else None,
        "number": reading.match(row, "number", "[0-9]{8,20}") + "-" + reading.match(row, "checkDigit", "[0-9A-Za-z]"),
    }


def account_id(row: dict[str, Any]) -> str:
    return reading.match(row, "accountId", "[a-zA-Z0-9][a-zA-Z0-9-]{0,99}")


def balances(answer: dict[str, Any], account: str) -> Reading:
    """One account's balances, as of a moment of the bank's."""
    data = _data(answer)
    row = {
        "account": account,
        "available": _money(data, "availableAmount"),
        "blocked": _money(data, "blockedAmount"),
        "invested": _money(data, "automaticallyInvestedAmount"),
        "at": reading.match(data, "updateDateTime", reading.TIMESTAMP),
    }
    return Reading(rows=(row,), more=False)


def transactions(answer: dict[str, Any], account: str, page: int) -> Reading:
    """A page of an account's transactions: `direction` is in or out, amounts are positive."""
    return Reading(rows=tuple(_transaction(row, account) for row in _rows(answer)), more=_more(answer, page))


def _transaction(row: dict[str, Any], account: str) -> dict[str, Any]:
    return {
        "id": _transaction_id(row),
        "account": account,
        "direction": "out" if _debit(row) else "in",
        "amount": _money(row, "transactionAmount"),
        "at": reading.match(row, "transactionDateTime", reading.TIMESTAMP),
        "description": reading.text(row, "transactionName")[:200],
        "party": reading.text(row, "proxy")[:100] if "proxy" in row else None,
    }


def lines(answer: dict[str, Any], page: int) -> tuple[tuple[StatementLine, ...], bool]:
    """A page of transactions as lines of a statement, and whether more pages follow. What is no Pix is `other`."""
    return tuple(_line(row) for row in _rows(answer) if _booked(row)), _more(answer, page)


def _booked(row: dict[str, Any]) -> bool:
    """What has moved: what is to come, or is being worked on, is no line yet."""
    kind = reading.text(row, "completedAuthorisedPaymentType")
    if kind not in ("TRANSACAO_EFETIVADA", "LANCAMENTO_FUTURO", "TRANSACAO_PROCESSANDO"):
        raise reading.Malformed("completedAuthorisedPaymentType")
    return kind == "TRANSACAO_EFETIVADA"


def _line(row: dict[str, Any]) -> StatementLine:
    money = _child(row, "transactionAmount")
    amount = _valor(money, "amount")
    booked = reading.text(row, "endToEndId") if "endToEndId" in row else ""
    debit = _debit(row)
    kind = "other"
    if re.fullmatch(E2E, booked):
        kind = "payment" if debit else "deposit"
    elif re.fullmatch(RTR, booked) and not debit:
        kind = "refund"
    return StatementLine(
        id=_transaction_id(row),
        kind=kind,
        provider_id=booked or _transaction_id(row),
        key=_key(reading.text(row, "transactionName")) if kind == "payment" else None,
        amount=-amount if debit else amount,
        currency=reading.match(money, "currency", "[A-Z]{3}"),
        at=reading.time(row, "transactionDateTime"),
        party=reading.text(row, "proxy") if "proxy" in row else "",
    )


def moment_of(e2e: str) -> datetime:
    """When a Pix was made, as its id says."""
    return pix.moment(e2e, "E")


def _key(text: str) -> str | None:
    """Our key in what is written beside a payment: its last word. None of one that we did not write."""
    last = text.rpartition(" ")[2]
    return last if re.fullmatch(KEY, last) else None


def _transaction_id(row: dict[str, Any]) -> str:
    return reading.match(row, "transactionId", "[a-zA-Z0-9][a-zA-Z0-9-]{0,99}")


def _debit(row: dict[str, Any]) -> bool:
    return reading.match(row, "creditDebitType", "DEBITO|CREDITO") == "DEBITO"


def _e2e(found: dict[str, Any]) -> str:
    text = reading.text(found, "endToEndId")
    pix.moment(text, "E")
    return text


def _money(row: dict[str, Any], name: str) -> dict[str, Any]:
    found = _child(row, name)
    return {"amount": pix.minor_units(reading.text(found, "amount")), "currency": reading.match(found, "currency", "[A-Z]{3}")}


def _valor(row: dict[str, Any], name: str) -> int:
    found = pix.minor_units(reading.text(row, name))
    if not found:
        raise reading.Malformed(f"{name} is zero")
    return found


def _data(answer: dict[str, Any]) -> dict[str, Any]:
    return _child(answer, "data")


def _rows(answer: dict[str, Any]) -> list[dict[str, Any]]:
    rows = answer.get("data")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise reading.Malformed("data is not a list of objects")
    return rows


def _more(answer: dict[str, Any], page: int) -> bool:
    """Whether pages follow this one."""
    return page < reading.positive(_child(answer, "meta"), "totalPages")


def _child(answer: dict[str, Any], name: str) -> dict[str, Any]:
    found = answer.get(name)
    if not isinstance(found, dict):
        raise reading.Malformed(f"{name} is not an object")
    return found
