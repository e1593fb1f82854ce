"""What the bank's Open Finance API writes: decimals, consents, payments and account data. It shares no code with those who read them."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

from rails.sandbox.tables import timestamp

TZ = "Z"
# The states of a payment, as the ecosystem calls them.
STATUS = {"accepted": "PDNG", "settled": "ACSC", "rejected": "RJCT", "canceled": "CANC"}
# Why the bank says no, in the ecosystem's words.
REASONS = {
    "insufficient_funds": "SALDO_INSUFICIENTE",
    "declined": "NAO_INFORMADO",
    "payee_unknown": "CONTA_NAO_PERMITE_PAGAMENTO",
    "currency_mismatch": "PARAMETRO_INVALIDO",
}
KINDS = {"payment": "PIX ENVIADO", "refund": "PIX DEVOLVIDO", "deposit": "PIX RECEBIDO"}


def valor(amount: int) -> str:
    """1050 minor units are "10.50"."""
    digits = f"{abs(amount):03d}"
    return f"{digits[:-2]}.{digits[-2:]}"


def money(amount: int, currency: str) -> dict[str, str]:
    return {"amount": valor(amount), "currency": currency}


def moment(text: str) -> str:
    """A time of the book as the ecosystem writes most of them: to the second."""
    return text.partition(".")[0] + TZ


def answer(data: Any, path: str, records: int | None = None, pages: int = 1) -> dict[str, Any]:
    """The envelope of every answer."""
    meta: dict[str, Any] = {"requestDateTime": moment(timestamp())}
    if records is not None:
        meta |= {"totalRecords": records, "totalPages": pages}
    return {"data": data, "links": {"self": path}, "meta": meta}


def consent(row: sqlite3.Row) -> dict[str, Any]:
    """A consent to read, or to pay again and again."""
    name = "consentId" if row["kind"] == "data" else "recurringConsentId"
    shown: dict[str, Any] = {
        name: row["id"],
        "creationDateTime": moment(row["created_at"]),
        "statusUpdateDateTime": moment(row["changed_at"]),
        "status": row["status"],
        "expirationDateTime": row["expires_at"],
    }
    if row["kind"] == "data":
        shown["permissions"] = row["permissions"].split()
    else:
        limits = {"transactionLimit": valor(row["most"]), "globalLimits": {"transactionLimit": valor(row["total"])}}
        shown["recurringConfiguration"] = {"vrp": limits}
    if row["reason"]:
        shown["rejection" if row["status"] == "REJECTED" else "revocation"] = {"reason": {"code": row["reason"]}}
    return shown


def payment(row: sqlite3.Row, consent_id: str) -> dict[str, Any]:
    """A payment that was initiated under a consent."""
    shown: dict[str, Any] = {
        "recurringPaymentId": payment_id(row["id"]),
        "recurringConsentId": consent_id,
        "endToEndId": row["id"],
        "creationDateTime": moment(row["created_at"]),
        "statusUpdateDateTime": moment(row["settled_at"] or row["created_at"]),
        "date": row["created_at"][:10],
        "status": STATUS[row["status"]],
        "payment": money(row["amount"], row["currency"]),
        "localInstrument": "DICT",
        "proxy": row["payee"],
        "remittanceInformation": row["reference"],
    }
    if row["reason"]:
        shown["rejectionReason"] = {"code": REASONS.get(row["reason"], "NAO_INFORMADO"), "detail": row["reason"]}
    return shown


def payment_id(e2e: str) -> str:
    """The bank's own id of a payment: in the form of a UUID, as the ecosystem asks."""
    digits = hashlib.sha256(f"payment/{e2e}".encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def account_id(account: str) -> str:
    """The id under which an account is spoken of: nobody can guess the number from it, or the other way."""
    return hashlib.sha256(f"account/{account}".encode()).hexdigest()[:32]


def account(name: str) -> dict[str, str]:
    digits = str(int(account_id(name)[:12], 16)).zfill(15)
    return {
        "brandName": "Sandbox Bank",
        "companyCnpj": "99999004000100",
        "type": "CONTA_DEPOSITO_A_VISTA",
        "compeCode": "999",
        "branchCode": "0001",
        "number": digits[:8],
        "checkDigit": digits[8],
        "accountId": account_id(name),
    }


def balances(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "availableAmount": money(row["balance"] - row["reserved"], row["currency"]),
        "blockedAmount": money(row["reserved"], row["currency"]),
        "automaticallyInvestedAmount": money(0, row["currency"]),
        "updateDateTime": moment(timestamp()),
    }


def transaction(row: dict[str, Any], remittance: str) -> dict[str, Any]:
    """A line of the account; `row` as the book's statement has it, `remittance` what was written for the payee."""
    return {
        "transactionId": f"{row['id']}-{row['line']}",
        "completedAuthorisedPaymentType": "TRANSACAO_EFETIVADA",
        "creditDebitType": "DEBITO" if row["amount"] < 0 else "CREDITO",
        "transactionName": f"{KINDS[row['kind']]} {remittance}".strip()[:200],
        "type": "PIX",
        "transactionAmount": money(row["amount"], row["currency"]),
        "transactionDateTime": row["at"],
        "endToEndId": row["id"],
        "proxy": row["payer" if row["kind"] == "deposit" else "payee"]["key"],
    }
