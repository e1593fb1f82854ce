"""What we ask a bank for: a transfer (pain.001.001.09) and a recall (camt.056.001.08), one of each in a message."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from rails.iso20022 import words
from rails.iso20022.documents import RECALL, TRANSFER, Node, needed, one, parse, render, text
from rails.iso20022.words import BadMessage

NAME, LINE = 140, 140
# What a recall says to the bank in words: no code of ISO 20022 says it.
STOP_ONLY = "ONLY IF NOT SETTLED"
_UNKNOWN_BANK: Node = ("FinInstnId", [("Othr", [("Id", "NOTPROVIDED")])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A credit transfer. `at` is a whole second in UTC, `account` ours, `amount` minor units; texts are in SWIFT's characters."""

    key: str
    at: datetime
    account: str
    amount: int
    currency: str
    iban: str
    bic: str | None
    name: str | None
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Asks for the whole transfer `payment_key` back: to stop it, or to have it returned. `stop_only`: not once it has settled."""

    key: str
    payment_key: str
    at: datetime
    account: str
    amount: int
    currency: str
    stop_only: bool = False


def write_transfer(order: Transfer) -> bytes:
    """The bytes of one order are always the same. Raises `BadMessage` for what cannot be written."""
    found, identifier = words.account(words.joined(order.iban, order.bic)), words.message_id(order.key)
    slev = order.currency == "EUR" and words.in_sepa(order.iban)
    amount = words.decimal(order.amount, order.currency)
    transfer: list[Node] = [
        ("PmtId", [("InstrId", words.instruction_id(order.key)), ("EndToEndId", identifier), ("UETR", words.uetr(order.key))]),
        ("Amt", [("InstdAmt", amount, order.currency)]),
        ("CdtrAgt", [("FinInstnId", [("BICFI", found[1])])]) if found[1] else None,
        ("Cdtr", [("Nm", words.spell(order.name, NAME, "the payee's name"))]) if order.name else None,
        ("CdtrAcct", [("Id", [("IBAN", found[0])])]),
        ("RmtInf", [("Ustrd", words.spell(order.reference, LINE, "the reference"))]),
    ]
    payment: list[Node] = [
        ("PmtInfId", identifier),
        ("PmtMtd", "TRF"),
        ("NbOfTxs", "1"),
        ("CtrlSum", amount),
        ("ReqdExctnDt", [("Dt", f"{order.at:%Y-%m-%d}")]),
        ("Dbtr", [("Nm", order.account)]),
        ("DbtrAcct", [("Id", [own_account(order.account)])]),
        ("DbtrAgt", [_UNKNOWN_BANK]),
        ("ChrgBr", "SLEV" if slev else "SHAR"),
        ("CdtTrfTxInf", transfer),
    ]
    header: list[Node] = [
        ("MsgId", identifier),
        ("CreDtTm", stamp(order.at)),
        ("NbOfTxs", "1"),
        ("CtrlSum", amount),
        ("InitgPty", [("Nm", order.account)]),
    ]
    return render(TRANSFER, ("CstmrCdtTrfInitn", [("GrpHdr", header), ("PmtInf", payment)]))


def read_transfer(body: bytes) -> Transfer:
    """The one transfer in a message of ours; raises `BadMessage` for a message that `write_transfer` would not write."""
    message = parse(body, TRANSFER)
    payment = one(message, "PmtInf")
    transfer = one(payment, "CdtTrfTxInf")
    key = words.key_of(text(transfer, "PmtId/EndToEndId"), text(transfer, "PmtId/InstrId"))
    amount = one(transfer, "Amt/InstdAmt")
    currency = str(amount.get("Ccy"))
    if key is None:
        raise BadMessage("the ids are not of one key")
    found = Transfer(
        key=key,
        at=moment(needed(message, "GrpHdr/CreDtTm")),
        account=text(payment, "DbtrAcct/Id/IBAN") or needed(payment, "DbtrAcct/Id/Othr/Id"),
        amount=words.minor_units(amount.text or "", currency),
        currency=currency,
        iban=needed(transfer, "CdtrAcct/Id/IBAN"),
        bic=text(transfer, "CdtrAgt/FinInstnId/BICFI"),
        name=text(transfer, "Cdtr/Nm"),
        reference=needed(transfer, "RmtInf/Ustrd"),
    )
    if write_transfer(found) != body:
        raise BadMessage("the message says more than its transfer")
    return found


def write_recall(recall: Recall) -> bytes:
    """The bytes of one recall are always the same. Raises `BadMessage` for what cannot be written."""
    identifier, original = words.message_id(recall.key), words.message_id(recall.payment_key)
    us: Node = ("Pty", [("Nm", recall.account)])
    back: list[Node] = [
        ("CxlId", identifier),
        ("OrgnlGrpInf", [("OrgnlMsgId", original), ("OrgnlMsgNmId", TRANSFER)]),
        ("OrgnlInstrId", words.instruction_id(recall.payment_key)),
        ("OrgnlEndToEndId", original),
        ("OrgnlUETR", words.uetr(recall.payment_key)),
        ("OrgnlIntrBkSttlmAmt", words.decimal(recall.amount, recall.currency), recall.currency),
        ("CxlRsnInf", [("Rsn", [("Cd", "CUST")]), ("AddtlInf", STOP_ONLY) if recall.stop_only else None]),
    ]
    request: list[Node] = [
        (
            "Assgnmt",
            [("Id", identifier), ("Assgnr", [us]), ("Assgne", [("Agt", [_UNKNOWN_BANK])]), ("CreDtTm", stamp(recall.at))],
        ),
        ("Case", [("Id", words.instruction_id(recall.key)), ("Cretr", [us])]),
        ("CtrlData", [("NbOfTxs", "1")]),
        ("Undrlyg", [("TxInf", back)]),
    ]
    return render(RECALL, ("FIToFIPmtCxlReq", request))


def read_recall(body: bytes) -> Recall:
    """The recall in a message of ours; raises `BadMessage` for a message that `write_recall` would not write."""
    message = parse(body, RECALL)
    back = one(message, "Undrlyg/TxInf")
    key = words.key_of(text(message, "Assgnmt/Id"), text(message, "Case/Id"))
    payment = words.key_of(text(back, "OrgnlEndToEndId"), text(back, "OrgnlInstrId"))
    amount = one(back, "OrgnlIntrBkSttlmAmt")
    currency = str(amount.get("Ccy"))
    if key is None or payment is None:
        raise BadMessage("the ids are not of one key")
    found = Recall(
        key=key,
        payment_key=payment,
        at=moment(needed(message, "Assgnmt/CreDtTm")),
        account=needed(message, "Assgnmt/Assgnr/Pty/Nm"),
        amount=words.minor_units(amount.text or "", currency),
        currency=currency,
        stop_only=text(back, "CxlRsnInf/AddtlInf") == STOP_ONLY,
    )
    if write_recall(found) != body:
        raise BadMessage("the message says more than its recall")
    return found


def own_account(account: str) -> Node:
    """Our account at the bank: an IBAN when it is one, else the bank's own number of at most 34 characters."""
    try:
        if words.account(account)[1] is None:
            return ("IBAN", account)
    except BadMessage:
        pass
    if not 1 <= len(account) <= 34:
        raise BadMessage("an account that is no IBAN has 1 to 34 characters")
    return ("Othr", [("Id", account)])


def stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(found: str) -> datetime:
    """A time of the schema; one without a zone is UTC."""
    try:
        at = datetime.fromisoformat(found)
    except ValueError:
        raise BadMessage("a time is none") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
