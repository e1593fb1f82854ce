"""What the bank's Pix API writes: decimals, rows as Bacen shows them, events, BR Codes. It shares no code with those who read them."""

from __future__ import annotations

import binascii
import hashlib
import re
import sqlite3
from typing import Any

from rails.sandbox import entries

STATUS = {"accepted": "EM_PROCESSAMENTO", "settled": "REALIZADO", "rejected": "NAO_REALIZADO", "canceled": "CANCELADO"}
RETURNED = {"accepted": "EM_PROCESSAMENTO", "settled": "DEVOLVIDO", "rejected": "NAO_REALIZADO"}
KINDS = {"payment": "PIX_ENVIADO", "refund": "DEVOLUCAO_RECEBIDA", "deposit": "PIX_RECEBIDO"}


def valor(amount: int) -> str:
    """1050 minor units are "10.50"."""
    sign, digits = "-" if amount < 0 else "", f"{abs(amount):03d}"
    return f"{sign}{digits[:-2]}.{digits[-2:]}"


def sent(row: sqlite3.Row) -> dict[str, Any]:
    """A Pix that this account has sent."""
    shown = {
        "idEnvio": row["key"],
        "e2eId": row["id"],
        "valor": valor(row["amount"]),
        "valorLiquidado": valor(row["moved"]),
        "horario": _times(row),
        "status": STATUS[row["status"]],
        "pagador": {"conta": row["account"]},
        "favorecido": {"chave": row["payee"]},
        "infoPagador": row["reference"],
    }
    return shown | _given(txid=row["txid"], motivo=row["reason"])


def returned(row: sqlite3.Row, e2e: str) -> dict[str, Any]:
    """A devolução of a Pix that this account has sent."""
    shown = {
        "id": row["key"],
        "rtrId": row["id"],
        "endToEndId": e2e,
        "valor": valor(row["amount"]),
        "natureza": "ORIGINAL",
        "horario": _times(row),
        "status": RETURNED[row["status"]],
    }
    return shown | _given(descricao=row["note"], motivo=row["reason"])


def _times(row: sqlite3.Row) -> dict[str, str]:
    return {"solicitacao": row["created_at"]} | _given(liquidacao=row["settled_at"])


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def received(row: sqlite3.Row) -> dict[str, Any]:
    """A Pix that this account has received: a row of `RECEIVED`, with the charge that it pays, if it does."""
    shown = {
        "endToEndId": row["id"],
        "valor": valor(row["amount"]),
        "horario": row["created_at"],
        "infoPagador": row["reference"],
        "pagador": {"chave": row["payer"]},
        "recebedor": {"conta": row["account"]},
        "devolucoes": [],
    }
    return shown | _given(txid=row["txid"], chave=row["charge_key"])


RECEIVED = (
    "SELECT deposits.*, txid, charges.key AS charge_key FROM deposits LEFT JOIN charges"
    " ON charges.account = deposits.account AND txid = reference AND charges.amount = deposits.amount WHERE deposits.account = ?"
)


def event(db: sqlite3.Connection, account: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """A message with one event: a Pix received, a Pix sent (it has `idEnvio` and `status`), or a devolução inside the Pix it belongs to."""
    if kind == "deposit.received":
        row = db.execute(f"{RECEIVED} AND deposits.id = ?", (account, data["id"])).fetchone()
        return {"pix": [received(row)]}
    paid = entries.must(entries.payment(db, account, data["payment" if kind == "refund.settled" else "key"]))
    shown = sent(paid)
    shown["endToEndId"], shown["horario"] = shown.pop("e2eId"), paid["settled_at"] or paid["created_at"]
    back = [entries.must(entries.refund(db, account, paid["key"], data["key"]))] if kind == "refund.settled" else []
    return {"pix": [shown | {"devolucoes": [returned(row, paid["id"]) for row in back]}]}


def line(row: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    """A line of the extrato; `row` as the book's statement has it, `of` the devolução behind it, if it is one's."""
    e2e = {"endToEndId": of.get("endToEndId"), "rtrId": row["id"]} if row["kind"] == "refund" else {"endToEndId": row["id"]}
    own = {"id": row["key"], "descricao": of.get("descricao")} if row["kind"] == "refund" else {"idEnvio": row["key"]}
    shown = {
        "lancamento": str(row["line"]),
        "tipo": KINDS[row["kind"]],
        "valor": valor(row["amount"]),
        "moeda": row["currency"],
        "horario": row["at"],
        "chave": row["payer" if row["kind"] == "deposit" else "payee"]["key"],
    }
    return shown | _given(**e2e, **own)


def charge(row: sqlite3.Row, paid: list[sqlite3.Row]) -> dict[str, Any]:
    """An immediate charge; `paid` are the Pix received for it."""
    location = f"pix.example.com/qr/v2/{hashlib.sha256((row['account'] + '/' + row['txid']).encode()).hexdigest()[:32]}"
    shown: dict[str, Any] = {
        "calendario": {"criacao": row["created_at"], "expiracao": row["seconds"]},
        "txid": row["txid"],
        "revisao": 0,
        "location": location,
        "status": "CONCLUIDA" if paid else "ATIVA",
        "valor": {"original": valor(row["amount"])},
        "chave": row["key"],
        "pixCopiaECola": br_code(location, row["amount"], row["account"]),
    }
    return shown | _given(solicitacaoPagador=row["note"]) | ({"pix": [received(one) for one in paid]} if paid else {})


def br_code(location: str, amount: int, name: str) -> str:
    """A dynamic BR Code for one payment: EMV's ids, lengths and values, with the CRC last."""

    def tlv(tag: str, value: str) -> str:
        return f"{tag}{len(value):02d}{value}"

    holder = re.sub("[^A-Za-z0-9 ]", "", name)[:25].strip() or "RECEBEDOR"
    place = tlv("26", tlv("00", "br.gov.bcb.pix") + tlv("25", location))
    body = tlv("00", "01") + tlv("01", "12") + place + tlv("52", "0000") + tlv("53", "986") + tlv("54", valor(amount))
    body += tlv("58", "BR") + tlv("59", holder) + tlv("60", "BRASILIA") + tlv("62", tlv("05", "***")) + "6304"
    return f"{body}{binascii.crc_hqx(body.encode(), 0xFFFF):04X}"
