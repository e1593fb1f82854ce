"""What comes in by no request: a card number, in any field of it, and a person's credential, under any name of one.

A card is a token of its provider, and what a person allows at a bank is a consent. Nobody sees the number again, and nobody ever sees what
stood under such a name.
"""

from typing import Any

from rest_framework.request import Request

from codespar.lib import cards, passwords
from codespar.lib.errors import Invalid


class CardNumber(Invalid):
    """Somewhere in the request stands a card number. The message says where, and never what."""

    code = "card_number_refused"


class PersonsCredential(Invalid):
    """A member of the request has the name of a person's credential. The message says where, and never what stands in it."""

    code = "credential_refused"


def check_body(body: Any) -> None:
    """Raises `CardNumber` for a parsed JSON body with a card number in a name or a value, `PersonsCredential` for a member of that name."""
    found = cards.find(body)
    if found:
        raise CardNumber(_DETAIL, pointer=found[0])
    named = passwords.find(body)
    if named:
        raise PersonsCredential(_CREDENTIAL, pointer=named[0])


def check_rest(request: Request) -> None:
    """The same of everything that is not the body: the address, its parameters, and card numbers in the headers."""
    params = {name: request.query_params.getlist(name) for name in request.query_params}
    if cards.find([request.path, params, dict(request.headers)]):
        raise CardNumber(_DETAIL)
    if passwords.find(params):
        raise PersonsCredential(_CREDENTIAL)


_DETAIL = "This is a card number. Send the token that its provider gave for it: card numbers are taken nowhere here, and not kept."
_CREDENTIAL = (
    "This is named like a person's own credential. Passwords, PINs and one-time codes are taken nowhere here, and not kept: "
    "the holder of an account says yes at the bank, and POST /v1/consents registers that."
)
