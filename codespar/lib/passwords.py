"""Members that are named like a person's credential: a password, a PIN, a one-time code, the answer to a security question.

Nobody here acts in a person's name with that person's own credential. At a bank the holder of an account consents, and the consent is what
is used. So whoever sends a member with such a name has it refused whatever stands in it, for what stands in it may be the credential.

A name is read as its words: small and capital letters, accents, separators and invisible characters make no difference, `userPassword`,
`USER-PASSWORD` and `user_password` are one name, and so is `userpassword` for words that are nothing else in any language we know. Short
words (`pin`, `otp`, `cvv`) count as whole words only, with digits behind them or without: `shipping` and `desenhar` are none.

What machines are given to act for an organisation is taken where the API says so, and is on no list here: `api_key`, `webhook_secret`,
`private_key` and what else a rail declares in `secrets`. A provider made it for this engine, it opens one account for one use, it is
sealed at once, and it is replaced without anybody having to learn something new by heart. A `token` or a `secret` alone is such a thing,
or a card's at its provider.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from codespar.lib import cards, pointers

# Nothing else has these letters in it: they count anywhere in a name, also where no separator stands.
_ANYWHERE = (
    *("password", "passwd", "passphrase", "passcode", "passwort", "kennwort", "wachtwoord", "contrasena", "motdepasse", "palavrapasse"),
    *("minhasenha", "suasenha", "novasenha", "pincode", "pinnumber", "cardpin", "userpin", "atmpin"),
    *("cardcvv", "cvvcode", "otpcode", "smsotp", "onetimecode", "securitycode", "securityanswer", "secretanswer"),
    *("codigodeseguranca", "codigoseguranca", "mothersmaidenname"),
)
# These are a credential as a word of their own.
_WORDS = frozenset(
    [
        *("pass", "pwd", "pwds", "psw", "senha", "senhas", "pin", "pins", "otp", "totp", "hotp", "tan", "mtan"),
        *("cvv", "cvc", "cvn", "csc"),
    ]
)
# These are one as words that follow each other.
_PHRASES = frozenset(
    tuple(phrase.split())
    for phrase in (
        *("security answer", "security question", "security code", "secret answer", "secret question"),
        *("one time code", "verification code", "auth code", "sms code", "mfa code", "2fa code", "two factor code"),
        *("login code", "access code", "recovery code", "recovery phrase", "seed phrase"),
        *("codigo seguranca", "codigo de seguranca", "resposta secreta", "clave secreta", "palavra passe"),
        *("mother s maiden name", "mothers maiden name"),
    )
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BREAK = re.compile(r"[^a-z0-9]+")
_DIGITS = re.compile(r"[0-9]+$")


def find(value: Any) -> list[str]:
    """JSON pointers (RFC 6901) to every member of a parsed JSON value whose name is that of a person's credential; in its order."""
    found: list[str] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        at, part = waiting.pop()
        inside: list[tuple[str, Any]] = []
        if isinstance(part, dict):
            for name, inner in part.items():
                where = at + pointers.step(cards.mask(str(name)))
                inside.append((where, inner))
                if is_credential(str(name)):
                    found.append(where)
        elif isinstance(part, list):
            inside = [(at + pointers.step(str(index)), inner) for index, inner in enumerate(part)]
        waiting += reversed(inside)
    return found


def is_credential(name: str) -> bool:
    """Whether a member of this name holds a person's credential."""
    # What is remembered is short: nobody fills this process's memory with names.
    return _remembered(name) if len(name) <= 100 else _judged(name)


@lru_cache(maxsize=4096)
def _remembered(name: str) -> bool:
    return _judged(name)


def _judged(name: str) -> bool:
    words = _words(name)
    joined = "".join(words)
    if any(letters in joined for letters in _ANYWHERE):
        return True
    if any(word in _WORDS or _DIGITS.sub("", word) in _WORDS for word in (*words, joined)):
        return True
    return any(words[at : at + len(phrase)] == phrase for phrase in _PHRASES for at in range(len(words)))


def _words(name: str) -> tuple[str, ...]:
    """The words of a name, in small ASCII letters and digits."""
    # Full-width letters become plain ones, accents come apart and go, and so does what nobody sees.
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", name) if unicodedata.category(letter) not in ("Mn", "Me", "Cf"))
    apart = _CAMEL.sub(" ", plain).casefold()
    return tuple(word for word in _BREAK.split(apart) if word)
