"""What the bank writes for its wires: status reports, resolutions, statements and notifications. It shares no code with readers.

Each is made in two steps: a plain dictionary (`status`, `resolution`, `statement`, `event`), which a fault may falsify, and `render`.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from iso4217 import Currency
from lxml import etree

from rails.sandbox import entries, tables

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:"
DIGITS = {found.code: found.exponent for found in Currency}
# Why the book says no, as ISO 20022's external code sets write it.
REASONS = {"insufficient_funds": "AM04", "currency_mismatch": "AM03", "declined": "MS03", "amount_exceeds_payment": "AM09"}
# (confirmation of the investigation, status of the cancellation) of what became of a recall.
RESOLVED = {"canceled": ("CNCL", "ACCR"), "returned": ("CNCL", "ACCR"), "refused": ("RJCR", "RJCR"), "pending": ("PDCR", "PDCR")}


def decimal(amount: int, currency: str) -> str:
    """1050 minor units are "10.50" of most currencies, "1050" yen and "1.050" dinars; it has no sign."""
    digits = DIGITS.get(currency) or 0
    text = str(abs(amount)).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def message(db: sqlite3.Connection, account: str, key: str) -> dict[str, Any]:
    """What the message with this id said, and what became of it; empty for one that there is not."""
    row = db.execute("SELECT * FROM wire_messages WHERE account = ? AND id = ?", (account, key)).fetchone()
    return {} if row is None else json.loads(row["told"]) | {name: row[name] for name in ("id", "kind", "outcome", "created_at")}


def status(db: sqlite3.Connection, account: str, key: str) -> dict[str, Any]:
    """The pain.002 of now of a transfer that the bank has."""
    told, row = message(db, account, key), entries.must(entries.payment(db, account, key))
    waits = "PDNG" if row["settle_due"] is None else "ACSP" if row["moved"] else "ACCP"
    found = {"accepted": waits, "settled": "ACSC", "canceled": "CANC", "rejected": "RJCT"}[row["status"]]
    reason = REASONS.get(row["reason"], row["reason"])
    return told | {"doc": "pain.002", "account": account, "status": found, "reason": reason, "reference": row["id"], "of": key}


def resolution(db: sqlite3.Connection, account: str, key: str) -> dict[str, Any]:
    """The camt.029 of now of a recall that the bank has."""
    told = message(db, account, key)
    found, _, reason = str(told["outcome"]).partition(":")
    back = entries.refund(db, account, told["of"], key) if found == "refund" else None
    if back is not None:
        found = {"accepted": "pending", "settled": "returned", "rejected": "refused"}[back["status"]]
        reason = REASONS.get(back["reason"], back["reason"] or "")
    shown = told | {"doc": "camt.029", "account": account, "resolved": found, "reason": reason or None}
    return shown | ({"reference": back["id"], "day": back["settled_at"][:10]} if back is not None and found == "returned" else {})


def entry(db: sqlite3.Connection, account: str, row: sqlite3.Row) -> dict[str, Any]:
    """A line of the book, with the ids of what it books."""
    shown = {name: row[name] for name in ("line", "kind", "id", "key", "amount", "currency", "at", "party")}
    if row["kind"] == "deposit":
        paid_in = db.execute("SELECT reference FROM deposits WHERE id = ?", (row["id"],)).fetchone()
        return shown | {"remittance": paid_in["reference"] if paid_in else ""}
    told = message(db, account, row["key"] or "")
    return shown | {"told": message(db, account, told.get("of", "")) if row["kind"] == "refund" else told, "case": told.get("case")}


def statement(db: sqlite3.Connection, account: str, found: dict[str, Any], after: int) -> dict[str, Any]:
    """The camt.053 of a part of the book's statement, `found`, which begins after the line `after`."""
    lines = [row["line"] for row in found["lines"]]
    query = "SELECT * FROM lines WHERE account = ? AND line BETWEEN ? AND ? ORDER BY line"
    rows = db.execute(query, (account, min(lines), max(lines))).fetchall() if lines else []
    return {
        "doc": "camt.053",
        "account": account,
        "currency": entries.holder(db, account)["currency"],
        "entries": [entry(db, account, row) for row in rows if row["line"] in lines],
        "opening": found["opening"],
        "closing": found["closing"],
        "complete": found["complete"],
        "id": str(after),
        "at": rows[-1]["at"] if rows else tables.timestamp(),
    }


def notification(db: sqlite3.Connection, account: str, reference: str) -> dict[str, Any]:
    """The camt.054 of the newest booking with this reference; without an entry when there is none."""
    row = db.execute("SELECT * FROM lines WHERE account = ? AND id = ? ORDER BY line DESC LIMIT 1", (account, reference)).fetchone()
    found = [] if row is None else [entry(db, account, row)]
    at = tables.timestamp() if row is None else row["at"]
    currency = entries.holder(db, account)["currency"]
    return {"doc": "camt.054", "account": account, "currency": currency, "entries": found, "id": reference, "at": at}


def event(db: sqlite3.Connection, account: str, kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """What is told: a booking as a camt.054, and a payment that will not be one as its pain.002."""
    if kind in ("payment.rejected", "payment.canceled"):
        return status(db, account, data["key"])
    return notification(db, account, data["id"])


# Writing.


def render(shape: dict[str, Any]) -> str:
    doc, root, build = {
        "pain.002": ("pain.002.001.10", "CstmrPmtStsRpt", _status),
        "camt.029": ("camt.029.001.09", "RsltnOfInvstgtn", _resolution),
        "camt.053": ("camt.053.001.08", "BkToCstmrStmt", _statement),
        "camt.054": ("camt.054.001.08", "BkToCstmrDbtCdtNtfctn", _notification),
    }[shape["doc"]]
    document = etree.Element("Document", xmlns=NAMESPACE + doc)
    document.append(_made(root, build(shape)))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(document, encoding="unicode")


def _made(name: str, inside: Any) -> etree._Element:
    """An element: text, an amount (minor units, currency), or [(name, inside), ...] without those that are None."""
    made = etree.Element(name)
    if isinstance(inside, tuple):
        made.text = decimal(*inside)
        made.set("Ccy", inside[1])
    elif isinstance(inside, list):
        made.extend([_made(*child) for child in inside if child[1] is not None])
    else:
        made.text = inside
    return made


def _status(shape: dict[str, Any]) -> list[Any]:
    told = [
        ("Amt", [("InstdAmt", (shape["amount"], shape["currency"]))]),
        ("RmtInf", [("Ustrd", shape["remittance"])] if shape["remittance"] else None),
        ("DbtrAcct", _account(shape["account"])),
        ("CdtrAgt", _agent(shape["bic"])),
        ("Cdtr", [("Pty", [("Nm", shape["name"])])] if shape["name"] else None),
        ("CdtrAcct", _account(shape["iban"])),
    ]
    found = [
        ("OrgnlInstrId", shape["instruction"]),
        ("OrgnlEndToEndId", shape["end_to_end"]),
        ("OrgnlUETR", shape["uetr"]),
        ("TxSts", shape["status"]),
        ("StsRsnInf", _reason(shape["reason"])),
        ("AcctSvcrRef", shape["reference"]),
        ("OrgnlTxRef", told),
    ]
    return [
        ("GrpHdr", [("MsgId", f"S{shape['of']}"[:35]), ("CreDtTm", tables.timestamp())]),
        ("OrgnlGrpInfAndSts", [("OrgnlMsgId", shape["of"]), ("OrgnlMsgNmId", "pain.001.001.09")]),
        ("OrgnlPmtInfAndSts", [("OrgnlPmtInfId", shape["payment_information"]), ("TxInfAndSts", found)]),
    ]


def _resolution(shape: dict[str, Any]) -> list[Any]:
    confirmation, cancellation = RESOLVED[shape["resolved"]]
    bank, client = ("Agt", [("FinInstnId", [("BICFI", "CDSPBRSPXXX")])]), ("Pty", [("Nm", shape["account"])])
    amount = (shape["amount"], shape["currency"])
    back = [("TxId", shape.get("reference")), ("IntrBkSttlmAmt", amount), ("IntrBkSttlmDt", shape.get("day"))]
    found = [
        ("CxlStsId", shape["id"]),
        ("OrgnlGrpInf", [("OrgnlMsgId", shape["of"]), ("OrgnlMsgNmId", "pain.001.001.09")]),
        ("OrgnlInstrId", shape["instruction"]),
        ("OrgnlEndToEndId", shape["end_to_end"]),
        ("OrgnlUETR", shape["uetr"]),
        ("TxCxlSts", cancellation),
        ("CxlStsRsnInf", _reason(shape["reason"])),
        ("RsltnRltdInf", back if shape["resolved"] == "returned" else None),
        ("OrgnlIntrBkSttlmAmt", amount),
    ]
    return [
        ("Assgnmt", [("Id", f"R{shape['id']}"[:35]), ("Assgnr", [bank]), ("Assgne", [client]), ("CreDtTm", tables.timestamp())]),
        ("RslvdCase", [("Id", shape["case"]), ("Cretr", [client])]),
        ("Sts", [("Conf", confirmation)]),
        ("CxlDtls", [("TxInfAndSts", found)]),
    ]


def _statement(shape: dict[str, Any]) -> list[Any]:
    found = [
        ("Id", f"ST{shape['id']}"),
        ("StmtPgntn", [("PgNb", "1"), ("LastPgInd", "true" if shape["complete"] else "false")]),
        ("CreDtTm", shape["at"]),
        ("Acct", [*_account(shape["account"]), ("Ccy", shape["currency"])]),
        ("Bal", _balance("OPBD", shape["opening"], shape)),
        ("Bal", _balance("CLBD", shape["closing"], shape)),
        *(("Ntry", _entry(row)) for row in shape["entries"]),
    ]
    return [("GrpHdr", [("MsgId", f"ST{shape['id']}"), ("CreDtTm", shape["at"])]), ("Stmt", found)]


def _notification(shape: dict[str, Any]) -> list[Any]:
    found = [
        ("Id", f"N{shape['id']}"),
        ("CreDtTm", shape["at"]),
        ("Acct", [*_account(shape["account"]), ("Ccy", shape["currency"])]),
        *(("Ntry", _entry(row)) for row in shape["entries"]),
    ]
    return [("GrpHdr", [("MsgId", f"N{shape['id']}"), ("CreDtTm", shape["at"])]), ("Ntfctn", found)]


def _balance(code: str, amount: int, shape: dict[str, Any]) -> list[Any]:
    kept, side = (amount, shape["currency"]), "DBIT" if amount < 0 else "CRDT"
    return [("Tp", [("CdOrPrtry", [("Cd", code)])]), ("Amt", kept), ("CdtDbtInd", side), ("Dt", [("DtTm", shape["at"])])]


def _entry(row: dict[str, Any]) -> list[Any]:
    family = {"payment": ("ICDT", "XBCT"), "refund": ("ICDT", "RRTN"), "deposit": ("RCDT", "XBCT")}[row["kind"]]
    code = [("Domn", [("Cd", "PMNT"), ("Fmly", [("Cd", family[0]), ("SubFmlyCd", family[1])])])]
    return [
        ("NtryRef", str(row["line"])),
        ("Amt", (row["amount"], row["currency"])),
        ("CdtDbtInd", "DBIT" if row["amount"] < 0 else "CRDT"),
        ("Sts", [("Cd", "BOOK")]),
        ("BookgDt", [("DtTm", row["at"])]),
        ("AcctSvcrRef", row["id"]),
        ("BkTxCd", code),
        ("NtryDtls", [("TxDtls", _details(row))]),
    ]


def _details(row: dict[str, Any]) -> list[Any]:
    told: dict[str, Any] = row.get("told") or {}
    iban, _, bic = str(row["party"]).partition("/")
    side = "Dbtr" if row["kind"] == "deposit" else "Cdtr"
    refs = [
        ("MsgId", told.get("id")),
        ("AcctSvcrRef", row["id"]),
        ("InstrId", told.get("instruction")),
        ("EndToEndId", told.get("end_to_end", row["key"])),
        ("UETR", told.get("uetr")),
        ("AcctOwnrTxId", row["key"] if row["kind"] == "refund" else None),
        ("Prtry", [("Tp", "CASE"), ("Ref", row["case"])] if row.get("case") else None),
    ]
    words = row.get("remittance") or told.get("remittance")
    return [
        ("Refs", refs),
        ("RltdPties", [(f"{side}Acct", _account(iban))]),
        ("RltdAgts", [(f"{side}Agt", _agent(bic))] if bic else None),
        ("RmtInf", [("Ustrd", words)] if words else None),
        ("RtrInf", [("Rsn", [("Cd", "FOCR")])] if row["kind"] == "refund" else None),
    ]


def _account(text: str) -> list[Any]:
    known = text[:2].isalpha() and text[:2].isupper() and text[2:4].isdigit() and text.isalnum()
    return [("Id", [("IBAN", text)] if known else [("Othr", [("Id", text[:34])])])]


def _agent(bic: str | None) -> list[Any] | None:
    return [("FinInstnId", [("BICFI", bic)])] if bic else None


def _reason(code: str | None) -> list[Any] | None:
    return [("Rsn", [("Cd", code)])] if code else None
