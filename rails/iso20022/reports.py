"""What a bank says: of a transfer (pain.002.001.10), of a recall (camt.029.001.09), and of the account (camt.053, camt.054, .001.08)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from rails.iso20022 import words
from rails.iso20022.documents import NOTIFICATION, RESOLUTION, STATEMENT, STATUS, TRANSFER, every, needed, one, parse, text
from rails.iso20022.orders import moment
from rails.iso20022.words import BadMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """Which transfer an answer is about: our ids of it, all of them, as the bank repeats them."""

    message_id: str
    instruction_id: str | None
    end_to_end_id: str | None
    uetr: str | None

    def is_of(self, key: str) -> bool:
        first = words.message_id(key)
        ours = (first, words.instruction_id(key), first, words.uetr(key))
        return (self.message_id, self.instruction_id, self.end_to_end_id, self.uetr) == ours

    @property
    def key(self) -> str | None:
        """Our key, when all ids are of one."""
        found = words.key_of(self.end_to_end_id, self.instruction_id)
        return found if found is not None and self.is_of(found) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A payment status report of one transfer. `reference` is the bank's own id, `payee` an account as the registry writes it."""

    original: Original
    code: str
    reason: str | None
    reference: str | None
    amount: int
    currency: str
    payee: str
    remittance: str | None
    account: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What became of a recall: `confirmation` is CNCL, RJCR or PDCR. `returned_as` is the bank's id of the money that came back."""

    key: str | None
    original: Original
    confirmation: str
    reason: str | None
    amount: int
    currency: str
    returned_as: str | None
    returned: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One booking. `amount` is signed minor units; `back` says that it returns a transfer of ours, whose ids `original` has, and `recall`
    our key of the recall that brought it.
    """

    line: str
    reference: str
    amount: int
    currency: str
    at: datetime
    party: str
    remittance: str
    original: Original | None
    recall: str | None
    back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A part of an account's statement: what was booked, in order, and the balances before and after it."""

    account: str
    currency: str
    opening: int
    closing: int
    entries: tuple[Entry, ...]
    complete: bool


def read_status(body: bytes) -> Status:
    """Raises `BadMessage` for a report that is not about one whole transfer."""
    message = parse(body, STATUS)
    group = one(message, "OrgnlGrpInfAndSts")
    _about_a_transfer(group)
    found = one(one(message, "OrgnlPmtInfAndSts"), "TxInfAndSts")
    told = one(found, "OrgnlTxRef")
    amount, currency = _amount(one(told, "Amt/InstdAmt"))
    return Status(
        original=_original(needed(group, "OrgnlMsgId"), found),
        code=needed(found, "TxSts"),
        reason=_reason(found, "StsRsnInf/Rsn"),
        reference=text(found, "AcctSvcrRef"),
        amount=amount,
        currency=currency,
        payee=words.joined(needed(told, "CdtrAcct/Id/IBAN"), text(told, "CdtrAgt/FinInstnId/BICFI")),
        remittance=text(told, "RmtInf/Ustrd"),
        account=_account(one(told, "DbtrAcct")),
    )


def read_resolution(body: bytes) -> Resolution:
    """Raises `BadMessage` for a resolution that is not about one whole recall of one transfer."""
    message = parse(body, RESOLUTION)
    found = one(message, "CxlDtls/TxInfAndSts")
    group = one(found, "OrgnlGrpInf")
    _about_a_transfer(group)
    amount, currency = _amount(one(found, "OrgnlIntrBkSttlmAmt"))
    settled = every(found, "RsltnRltdInf")
    back, paid_in = _amount(one(settled[0], "IntrBkSttlmAmt")) if settled else (None, currency)
    if paid_in != currency:
        raise BadMessage("the money came back in another currency")
    return Resolution(
        key=words.key_of(text(found, "CxlStsId"), text(message, "RslvdCase/Id")),
        original=_original(needed(group, "OrgnlMsgId"), found),
        confirmation=needed(message, "Sts/Conf"),
        reason=_reason(found, "CxlStsRsnInf/Rsn"),
        amount=amount,
        currency=currency,
        returned_as=needed(settled[0], "TxId") if settled else None,
        returned=back,
    )


def read_statement(body: bytes) -> Account:
    """Raises `BadMessage` unless there is one statement, with its opening and closing balances in the account's currency."""
    found = one(parse(body, STATEMENT), "Stmt")
    currency = needed(found, "Acct/Ccy")
    last = text(found, "StmtPgntn/LastPgInd")
    return Account(
        account=_account(one(found, "Acct")),
        currency=currency,
        opening=_balance(found, "OPBD", currency),
        closing=_balance(found, "CLBD", currency),
        entries=tuple(_entry(entry) for entry in every(found, "Ntry")),
        complete=last in (None, "true", "1"),
    )


def read_notification(body: bytes) -> tuple[str, tuple[Entry, ...]]:
    """(account, its new bookings); raises `BadMessage`."""
    found = one(parse(body, NOTIFICATION), "Ntfctn")
    return _account(one(found, "Acct")), tuple(_entry(entry) for entry in every(found, "Ntry"))


def _entry(node: etree._Element) -> Entry:
    """Only what is booked is a booking; one of several transactions is none that we asked for."""
    if text(node, "Sts/Cd") != "BOOK":
        raise BadMessage("an entry is not booked")
    amount, currency = _amount(one(node, "Amt"))
    credit = needed(node, "CdtDbtInd") == "CRDT"
    details = every(node, "NtryDtls/TxDtls")
    told = details[0] if len(details) == 1 else None
    back = told is not None and bool(every(told, "RtrInf"))
    return Entry(
        line=needed(node, "NtryRef"),
        reference=needed(node, "AcctSvcrRef"),
        amount=amount if credit else -amount,
        currency=currency,
        at=moment(text(node, "BookgDt/DtTm") or needed(node, "BookgDt/Dt")),
        party="" if told is None else _party(told, "Dbtr" if credit and not back else "Cdtr"),
        remittance="" if told is None else text(told, "RmtInf/Ustrd") or "",
        original=None if told is None or not every(told, "Refs/InstrId") else _original(needed(told, "Refs/MsgId"), told, "Refs/"),
        recall=None if told is None else words.key_of(text(told, "Refs/AcctOwnrTxId"), _case(told)),
        back=back,
    )


def _case(told: etree._Element) -> str | None:
    return next((text(found, "Ref") for found in every(told, "Refs/Prtry") if text(found, "Tp") == "CASE"), None)


def _party(told: etree._Element, side: str) -> str:
    iban = text(told, f"RltdPties/{side}Acct/Id/IBAN")
    bic = text(told, f"RltdAgts/{side}Agt/FinInstnId/BICFI")
    return words.joined(iban, bic) if iban else text(told, f"RltdPties/{side}Acct/Id/Othr/Id") or ""


def _original(message_id: str, node: etree._Element, refs: str = "Orgnl") -> Original:
    return Original(
        message_id=message_id,
        instruction_id=text(node, f"{refs}InstrId"),
        end_to_end_id=text(node, f"{refs}EndToEndId"),
        uetr=text(node, f"{refs}UETR"),
    )


def _about_a_transfer(group: etree._Element) -> None:
    if needed(group, "OrgnlMsgNmId") != TRANSFER:
        raise BadMessage(f"this is not about a {TRANSFER}")


def _amount(node: etree._Element) -> tuple[int, str]:
    currency = str(node.get("Ccy"))
    return words.minor_units(node.text or "", currency), currency


def _account(node: etree._Element) -> str:
    return text(node, "Id/IBAN") or needed(node, "Id/Othr/Id")


def _reason(node: etree._Element, path: str) -> str | None:
    return text(node, f"{path}/Cd") or text(node, f"{path}/Prtry")


def _balance(node: etree._Element, code: str, currency: str) -> int:
    found = [each for each in every(node, "Bal") if text(each, "Tp/CdOrPrtry/Cd") == code]
    if len(found) != 1:
        raise BadMessage(f"there is not one balance {code}")
    amount, kept = _amount(one(found[0], "Amt"))
    if kept != currency:
        raise BadMessage(f"the balance {code} is in another currency than the account")
    return amount if needed(found[0], "CdtDbtInd") == "CRDT" else -amount
