"""Reading what a client's wires ask: XML in UTF-8 without a document type, valid against its schema, one transfer or recall."""

from __future__ import annotations

import pathlib
import re
import threading
from typing import Any

import schwifty
from lxml import etree

from rails.sandbox.book import Refusal
from rails.sandbox.requests import MOST
from rails.sandbox.wire_shapes import DIGITS, NAMESPACE

SCHEMAS = pathlib.Path(__file__).parents[1] / "iso20022"
KINDS = {"pain.001.001.09": "transfer", "camt.056.001.08": "recall"}
_local = threading.local()


def read(raw: bytes, account: str) -> dict[str, Any]:
    """`{kind, id, ...}` of a message of this account; raises `Refusal`."""
    name, message = _message(raw)
    return _transfer(message, account) if KINDS[name] == "transfer" else _recall(message, account)


def invalid(detail: str) -> Refusal:
    return Refusal(400, "invalid_message", detail)


def _message(raw: bytes) -> tuple[str, etree._Element]:
    try:
        typed = "<!DOCTYPE" in raw.decode("utf-8")
        parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
        root = None if typed else etree.fromstring(raw, parser)
    except (UnicodeDecodeError, etree.XMLSyntaxError, ValueError):
        raise invalid("the message is not well-formed XML in UTF-8") from None
    name = "" if root is None else str(etree.QName(root).namespace or "").removeprefix(NAMESPACE)
    if root is None or name not in KINDS:
        raise invalid(f"this bank takes {' and '.join(KINDS)}, without a document type")
    known = _local.__dict__.setdefault("schemas", {})
    if name not in known:
        known[name] = etree.XMLSchema(etree.parse(str(SCHEMAS / f"{name}.xsd")))
    if not known[name].validate(root):
        raise invalid(f"the message is not valid against {name}: {known[name].error_log[0].message[:200]}")
    return name, root[0]


def _transfer(message: etree._Element, account: str) -> dict[str, Any]:
    payment = _only(message, "PmtInf")
    found = _only(payment, "CdtTrfTxInf")
    amount = _only(found, "Amt/InstdAmt")
    minor = _minor(amount)
    totals = {_text(message, "GrpHdr/CtrlSum"), _text(payment, "CtrlSum")} - {None}
    counts = {_text(message, "GrpHdr/NbOfTxs"), _text(payment, "NbOfTxs")} - {None}
    if counts != {"1"} or not totals <= {amount.text}:
        raise invalid("NbOfTxs and CtrlSum do not count the one transfer")
    if _text(payment, "PmtMtd") != "TRF":
        raise invalid("PmtMtd must be TRF")
    _owns(account, _text(payment, "DbtrAcct/Id/IBAN") or _text(payment, "DbtrAcct/Id/Othr/Id"))
    bic = _text(found, "CdtrAgt/FinInstnId/BICFI")
    iban = _text(found, "CdtrAcct/Id/IBAN")
    if iban is None:
        raise invalid("CdtrAcct must have an IBAN")
    return {
        "kind": "transfer",
        "id": _text(message, "GrpHdr/MsgId"),
        "payment_information": _text(payment, "PmtInfId"),
        "instruction": _text(found, "PmtId/InstrId"),
        "end_to_end": _text(found, "PmtId/EndToEndId"),
        "uetr": _text(found, "PmtId/UETR"),
        "amount": minor,
        "currency": str(amount.get("Ccy")),
        "iban": iban,
        "bic": bic,
        "name": _text(found, "Cdtr/Nm"),
        "remittance": _text(found, "RmtInf/Ustrd") or "",
        "no": _wrong(iban, bic),
    }


def _recall(message: etree._Element, account: str) -> dict[str, Any]:
    found = _only(message, "Undrlyg/TxInf")
    amount = _only(found, "OrgnlIntrBkSttlmAmt")
    _owns(account, _text(message, "Assgnmt/Assgnr/Pty/Nm"))
    return {
        "kind": "recall",
        "id": _text(message, "Assgnmt/Id"),
        "case": _text(message, "Case/Id"),
        "of": _text(found, "OrgnlGrpInf/OrgnlMsgId"),
        "instruction": _text(found, "OrgnlInstrId"),
        "end_to_end": _text(found, "OrgnlEndToEndId"),
        "uetr": _text(found, "OrgnlUETR"),
        "amount": _minor(amount),
        "currency": str(amount.get("Ccy")),
        "stop_only": _text(found, "CxlRsnInf/AddtlInf") == "ONLY IF NOT SETTLED",
    }


def _owns(account: str, named: str | None) -> None:
    if named != account:
        raise Refusal(403, "wrong_account", "the message is for another account than the API key's or the folder's")


def _wrong(iban: str, bic: str | None) -> str | None:
    """The reason code of an account or a bank that there cannot be."""
    if not schwifty.IBAN(iban, allow_invalid=True).is_valid:
        return "AC01"
    return "RC01" if bic and not schwifty.BIC(bic, allow_invalid=True).is_valid else None


def _minor(node: etree._Element) -> int:
    text, digits = node.text or "", DIGITS.get(str(node.get("Ccy")))
    if digits is None or not re.fullmatch(rf"[0-9]+[.][0-9]{{{digits}}}" if digits else "[0-9]+", text):
        raise invalid("the amount is not written to the currency's minor unit")
    minor = int(text.replace(".", ""))
    if not 1 <= minor <= MOST:
        raise invalid("the amount is zero or too large")
    return minor


def _text(node: etree._Element, path: str) -> str | None:
    return node.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))


def _only(node: etree._Element, path: str) -> etree._Element:
    found = node.findall("/".join(f"{{*}}{name}" for name in path.split("/")))
    if len(found) != 1:
        raise invalid(f"a message has exactly one {path}")
    return found[0]
