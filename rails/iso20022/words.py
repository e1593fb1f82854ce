"""What stands inside the messages: ids made of our key, exact amounts, texts in SWIFT's characters, accounts and banks.

Our key is a SHA-256 digest in base 62: 43 letters and digits, one to one. An id has 35 characters at most, so one id cannot hold it. The
first 35 are the MsgId and the EndToEndId, the last 35 the InstrId, and the UETR is a UUID made of all of them. Whoever repeats ours repeats
all of them, and an answer counts only when all are ours: two keys that share an id are a conflict and never each other's answer.

Texts are written in SWIFT's character set x. Letters with accents, and a few signs, have a spelling in it (`spell`: é is e, _ is -); what
has none is refused, so nobody is paid under a name with holes in it.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import uuid

import schwifty

from codespar.lib.money import ISO_4217, major

KEY_LENGTH = 43
ID_LENGTH = 35
MOST_DIGITS = 18
_KEY = re.compile("[0-9A-Za-z]{43}")
_X = re.compile(r"[A-Za-z0-9/\-?:().,'+ ]+")
# Signs that have no accent to lose, and how banks write them (EPC217-08).
_SPELT = str.maketrans(
    {"_": "-", "&": "+", '"': "'", "’": "'", "–": "-", "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
    | {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ı": "i", "@": "(at)"}
)


class BadMessage(ValueError):
    """This cannot be written, or is not what the schema and we allow; the message says why and repeats nothing that was in it."""


def message_id(key: str) -> str:
    """The MsgId and EndToEndId of a key. Raises `BadMessage` for what is none."""
    if not _KEY.fullmatch(key):
        raise BadMessage(f"a key of this rail has {KEY_LENGTH} letters and digits")
    return key[:ID_LENGTH]


def instruction_id(key: str) -> str:
    return message_id(key) and key[-ID_LENGTH:]


def uetr(key: str) -> str:
    """The UETR of a key: always the same version 4 UUID."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"uetr:{message_id(key)}{key}".encode()).digest()[:16], version=4))


def key_of(first: str | None, last: str | None) -> str | None:
    """The key whose MsgId and InstrId these are; None when they are not of one key."""
    whole = f"{first}{(last or '')[2 * ID_LENGTH - KEY_LENGTH :]}"
    return whole if _KEY.fullmatch(whole) and whole[-ID_LENGTH:] == last and len(first or "") == ID_LENGTH else None


def decimal(amount: int, currency: str) -> str:
    """Minor units as the schema writes them: (1050, "EUR") is 10.50, (1050, "JPY") is 1050, (1050, "BHD") is 1.050."""
    if currency not in ISO_4217:
        raise BadMessage("the currency is not one of ISO 4217 with minor units")
    if amount < 0 or len(str(amount)) > MOST_DIGITS:
        raise BadMessage(f"an amount has at most {MOST_DIGITS} digits and no sign")
    return major(amount, currency)


def minor_units(text: str, currency: str) -> int:
    """The exact minor units of a decimal; raises `BadMessage` when there are none."""
    if currency not in ISO_4217 or not re.fullmatch(r"[0-9]{1,18}([.][0-9]{1,5})?", text):
        raise BadMessage("an amount is not a plain decimal in a currency of ISO 4217")
    whole, _, fraction = text.partition(".")
    digits = ISO_4217[currency]
    if fraction[digits:].strip("0"):
        raise BadMessage("an amount is finer than the currency's minor unit")
    return int(whole + fraction[:digits].ljust(digits, "0"))


def spell(text: str, longest: int, what: str) -> str:
    """The text in SWIFT's characters; raises `BadMessage`, which names `what` it was, for one that has no spelling or is too long."""
    plain = unicodedata.normalize("NFKD", text.translate(_SPELT))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    if not _X.fullmatch(plain):
        raise BadMessage(
            f"{what} has characters that banks cannot write: letters of the Latin alphabet, digits and / - ? : ( ) . , ' + can be"
        )
    if plain != plain.strip() or plain.startswith("/") or plain.endswith("/") or "//" in plain:
        raise BadMessage(f"{what} begins or ends with a space or a slash, or has two slashes: banks would read them as a sign of their own")
    if len(plain) > longest:
        raise BadMessage(f"{what} is longer than {longest} characters")
    return plain


def account(value: str) -> tuple[str, str | None]:
    """(IBAN, BIC or None) of `IBAN` or `IBAN/BIC`, both without spaces and in capitals. Raises `BadMessage`."""
    iban, slash, bic = value.partition("/")
    try:
        if schwifty.IBAN(iban).compact != iban:
            raise BadMessage("an account is written IBAN or IBAN/BIC, in capitals and without spaces")
    except schwifty.exceptions.SchwiftyException as error:
        raise BadMessage(f"the IBAN is none: {_sentence(error)}") from None
    try:
        if slash and schwifty.BIC(bic).compact != bic:
            raise BadMessage("an account is written IBAN or IBAN/BIC, in capitals and without spaces")
    except schwifty.exceptions.SchwiftyException as error:
        raise BadMessage(f"the BIC is none: {_sentence(error)}") from None
    return iban, bic if slash else None


def _sentence(error: Exception) -> str:
    """What schwifty says, without what it was given."""
    return re.sub(r"(Invalid characters in IBAN|Unknown country-code|Invalid country code) ?.*", r"\1", str(error)).lower()[:80]


def joined(iban: str, bic: str | None) -> str:
    """An account as the registry writes it."""
    return f"{iban}/{bic}" if bic else iban


def in_sepa(iban: str) -> bool:
    return bool(schwifty.IBAN(iban).in_sepa_zone)
