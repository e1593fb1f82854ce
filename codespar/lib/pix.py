"""Pix in its own forms: keys, identifiers, amounts and the BR Code, read strictly and written back. No network, no database.

Sources: Bacen's Manual de Padrões para Iniciação do Pix, Manual do BR Code, API DICT and API Pix (https://github.com/bacen/pix-api), and
EMVCo's QR Code Specification for Payment Systems, Merchant-Presented Mode. Whatever is not in its form raises `BadPix`.
"""

import binascii
import enum
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from stdnum.br import cnpj, cpf
from stdnum.exceptions import ValidationError

from codespar.lib import money

CURRENCY = "BRL"
GUI = "br.gov.bcb.pix"
NO_TXID = "***"
LONGEST_KEY = 77
DEVOLUCAO_ID = "[a-zA-Z0-9]{1,35}"
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_EMAIL = re.compile(rf"[a-z0-9.!#$&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
_PHONE = re.compile(r"\+[1-9][0-9]{1,14}")
_EVP = re.compile("([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})")
_IDENTIFIER = re.compile("[ED][0-9]{8}([0-9]{12})[A-Za-z0-9]{11}")
_URL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?/[!-~]*")


class BadPix(ValueError):
    """Something is not in Pix's form; the message says what is wrong and what would be right."""


# Amounts: reais with a point and two digits, `\d{1,10}\.\d{2}` in the API Pix; minor units here.


def decimal(amount: int) -> str:
    """Minor units (centavos) as the API Pix writes them: 1050 is "10.50"."""
    if type(amount) is not int or abs(amount) >= 10**12:
        raise BadPix("an amount is an integer of minor units with at most ten digits of reais")
    return money.major(amount, CURRENCY)


def minor_units(text: str, *, signed: bool = False) -> int:
    """The minor units of "10.50", exactly; `signed` also reads "-10.50"."""
    if not re.fullmatch(("-?" if signed else "") + r"[0-9]{1,10}\.[0-9]{2}", text):
        raise BadPix('an amount is written with a point and two digits, such as "10.50"')
    return int(text.replace(".", ""))


# Keys.


class Kind(enum.StrEnum):
    """What a Pix key is."""

    CPF = "cpf"
    CNPJ = "cnpj"
    EMAIL = "email"
    PHONE = "phone"
    EVP = "evp"


@dataclass(frozen=True, slots=True)
class Key:
    """A Pix key: `text` is its normal form, the one that the DICT knows."""

    kind: Kind
    text: str


def key(text: str) -> Key:
    """The key in `text`, in whatever spelling: `123.456.789-09`, `12.ABC.345/01DE-35`, `+55 (11) 98765-4321`, `Maria@Example.com`."""
    given = text.strip()
    if not given.isascii() or not given.isprintable() or not 1 <= len(given) <= LONGEST_KEY:
        raise BadPix(f"a Pix key has 1 to {LONGEST_KEY} printable ASCII characters")
    if "@" in given:
        return _matched(Kind.EMAIL, _EMAIL, given.lower(), "an e-mail key is an address such as maria@example.com")
    if given.startswith("+"):
        digits = re.sub(r"[ ().-]", "", given)
        return _matched(Kind.PHONE, _PHONE, digits, "a phone key is in E.164, such as +5511987654321")
    if parts := _EVP.fullmatch(given.lower()):
        return Key(Kind.EVP, "-".join(parts.groups()))
    return _document(given)


def _matched(kind: Kind, form: re.Pattern[str], text: str, right: str) -> Key:
    if not form.fullmatch(text):
        raise BadPix(right)
    return Key(kind, text)


def _document(given: str) -> Key:
    size = len(re.sub("[ ./-]", "", given))
    validators: dict[int, tuple[Kind, Callable[[str], str]]] = {11: (Kind.CPF, cpf.validate), 14: (Kind.CNPJ, cnpj.validate)}
    if size not in validators:
        raise BadPix("a Pix key is a CPF (11 digits), a CNPJ (14), an e-mail, a phone that starts with + or a random key (a UUID)")
    kind, validate = validators[size]
    try:
        return Key(kind, validate(given))
    except ValidationError:
        raise BadPix(f"the {kind.upper()} is not one: its digits and its check digits do not agree") from None


# Identifiers.


def moment(identifier: str, letter: str) -> datetime:
    """The minute (UTC) inside an endToEndId (`letter` E) or the rtrId of a devolução (D): letter, ISPB, yyyyMMddHHmm, 11 alphanumerics."""
    found = _IDENTIFIER.fullmatch(identifier)
    if not found or identifier[0] != letter:
        raise BadPix(f"the identifier is {letter}, an ISPB of eight digits, yyyyMMddHHmm and eleven letters or digits")
    try:
        return datetime.strptime(found[1], "%Y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise BadPix("the identifier's yyyyMMddHHmm is not a time") from None


def txid(text: str, *, static: bool = False) -> str:
    """The txid as it is: 26 to 35 letters and digits for a charge, 1 to 25 in a static BR Code."""
    least, most = (1, 25) if static else (26, 35)
    if not re.fullmatch(f"[a-zA-Z0-9]{{{least},{most}}}", text):
        raise BadPix(f"a txid of a {'static BR Code' if static else 'charge'} has {least} to {most} letters and digits")
    return text


# The BR Code: ids of two digits, lengths of two digits, values; some values are such lists themselves.


@dataclass(frozen=True, slots=True, kw_only=True)
class BRCode:
    """A BR Code. A static one has a `key` in its normal form, and perhaps `info`; a dynamic one has the `url` of its document, without https://.

    `amount` is in minor units, None when the code does not name it. `txid` is None where the code says `***`. `once`: it is for one
    payment only. Raises `BadPix` when it could not be written.
    """

    name: str
    city: str
    key: str | None = None
    info: str | None = None
    url: str | None = None
    amount: int | None = None
    txid: str | None = None
    once: bool = False
    mcc: str = "0000"
    postcode: str | None = None

    def __post_init__(self) -> None:
        self._check_place()
        _check_texts(self)
        if self.amount is not None and not 1 <= self.amount < 10**12:
            raise BadPix("54: the amount is at least 0.01 and has at most ten digits of reais; leave it out when the payer chooses it")
        if self.txid is not None:
            _check_txid(self.txid, static=self.url is None)

    def _check_place(self) -> None:
        if (self.key is None) == (self.url is None):
            raise BadPix("26: a static BR Code has a key (01), a dynamic one a URL (25): exactly one of them")
        if self.key is not None and key(self.key).text != self.key:
            raise BadPix("26-01: the key is not in its normal form")
        if self.url is not None and (self.info is not None or len(self.url) > 77 or not _URL.fullmatch(self.url)):
            raise BadPix("26-25: the URL is host/path of at most 77 characters without https://, and has no info (02) beside it")


def _check_texts(code: BRCode) -> None:
    for tag, text, most in (("59", code.name, 25), ("60", code.city, 15), ("26-02", code.info, 72), ("61", code.postcode, 10)):
        if text is not None and not (1 <= len(text) <= most and text.isascii() and text.isprintable()):
            raise BadPix(f"{tag}: has 1 to {most} printable ASCII characters, without accents")
    if not re.fullmatch("[0-9]{4}", code.mcc):
        raise BadPix("52: the merchant category code has four digits; 0000 when there is none")


def _check_txid(text: str, *, static: bool) -> None:
    if not re.fullmatch("[a-zA-Z0-9]{1,25}" if static else "[a-zA-Z0-9]{1,35}", text):
        raise BadPix(f"62-05: the txid has 1 to {25 if static else 35} letters and digits, or is ***")


def crc(text: str) -> str:
    """CRC-16/CCITT-FALSE of the text, as the four capital hexadecimal digits that end a BR Code."""
    return f"{binascii.crc_hqx(text.encode(), 0xFFFF):04X}"


def write_brcode(code: BRCode) -> str:
    """The code's text ("Pix copia e cola"), in the order of its ids."""
    account = _tlv("00", GUI) + _some("01", code.key) + _some("02", code.info) + _some("25", code.url)
    body = _tlv("00", "01") + _some("01", "12" if code.once else None) + _tlv("26", account) + _tlv("52", code.mcc) + _tlv("53", "986")
    body += _some("54", None if code.amount is None else decimal(code.amount)) + _tlv("58", "BR") + _tlv("59", code.name)
    body += _tlv("60", code.city) + _some("61", code.postcode) + _tlv("62", _tlv("05", code.txid or NO_TXID)) + "6304"
    return body + crc(body)


def _tlv(tag: str, value: str) -> str:
    if len(value) > 99:
        raise BadPix(f"{tag}: has {len(value)} characters, and no more than 99 fit")
    return f"{tag}{len(value):02d}{value}"


def _some(tag: str, value: str | None) -> str:
    return "" if value is None else _tlv(tag, value)


def parse_brcode(text: str) -> BRCode:
    """The code in `text`. Ids that are not Pix's (other schemes' accounts, languages, 80 to 99) are read over, but for tips and fees."""
    if not text.isascii() or not text.isprintable():
        raise BadPix("a BR Code has printable ASCII characters only")
    _check_crc(text)
    tags = _tags(text, "")
    if next(iter(tags)) != "00" or next(reversed(tags)) != "63":
        raise BadPix("a BR Code begins with 000201 and ends with its CRC, 6304 and four digits: 63 is the last id")
    for tag, value in (("00", "01"), ("53", "986"), ("58", "BR")):
        if _needed(tags, tag) != value:
            raise BadPix(f"{tag}: is {value} in a BR Code")
    if fees := {"55", "56", "57"} & set(tags):
        raise BadPix(f"{min(fees)}: Pix knows no tips and fees; the amount (54) is all that is paid")
    account, more = _pix_account(tags), _tags(_needed(tags, "62"), "62-")
    label = _needed(more, "05", "62-")
    return BRCode(
        name=_needed(tags, "59"),
        city=_needed(tags, "60"),
        key=key(account["01"]).text if "01" in account else None,
        info=account.get("02"),
        url=account.get("25"),
        amount=_amount(tags["54"]) if "54" in tags else None,
        txid=None if label == NO_TXID else label,
        once=_once(tags.get("01", "11")),
        mcc=_needed(tags, "52"),
        postcode=tags.get("61"),
    )


def _check_crc(text: str) -> None:
    if text[-8:-4] != "6304":
        raise BadPix("a BR Code ends with its CRC: 6304 and four hexadecimal digits")
    if text[-4:] != crc(text[:-4]):
        raise BadPix(f"63: the CRC is {text[-4:]} and should be {crc(text[:-4])}: a character was lost or changed")


def _tags(text: str, inside: str) -> dict[str, str]:
    """Ids and values in their order."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        tag, length = text[at : at + 2], text[at + 2 : at + 4]
        if not re.fullmatch("[0-9]{4}", tag + length):
            raise BadPix(f"{inside or 'code'} at character {at + 1}: an id of two digits and a length of two digits stand here")
        if tag in found:
            raise BadPix(f"{inside}{tag}: is there twice; each id stands once")
        end = at + 4 + int(length)
        if not at + 4 < end <= len(text):
            raise BadPix(
                f"{inside}{tag}: its length is {length}; it is 01 to 99 and not more than the {len(text) - at - 4} characters left"
            )
        found[tag], at = text[at + 4 : end], end
    return found


def _needed(tags: dict[str, str], tag: str, inside: str = "") -> str:
    if tag not in tags:
        raise BadPix(f"{inside}{tag}: is missing")
    return tags[tag]


def _pix_account(tags: dict[str, str]) -> dict[str, str]:
    inside = {tag: _tags(tags[tag], f"{tag}-") for tag in map(str, range(26, 52)) if tag in tags}
    ours = [parts for parts in inside.values() if parts.get("00", "").lower() == GUI]
    if len(ours) != 1:
        raise BadPix(f"26 to 51: one of them, and only one, is Pix's account, with {GUI} under its id 00")
    return ours[0]


def _amount(text: str) -> int:
    """EMV lets the second digit, or the point and both, be left out."""
    whole, point, cents = text.partition(".")
    if not re.fullmatch("[0-9]{1,10}", whole) or (point and not re.fullmatch("[0-9]{1,2}", cents)):
        raise BadPix('54: the amount is written with a point and two digits, such as "10.50"')
    return int(whole) * 100 + int(cents.ljust(2, "0"))


def _once(text: str) -> bool:
    if text not in ("11", "12"):
        raise BadPix("01: is 11 for a code that is used again and 12 for one payment")
    return text == "12"
