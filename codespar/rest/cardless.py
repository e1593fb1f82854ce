"""No card number comes in by a request, in no field of it: a card is a token of its provider. Nobody sees the number again."""

from typing import Any

from rest_framework.request import Request

from codespar.lib import cards
from codespar.lib.errors import Invalid


class CardNumber(Invalid):
    """Somewhere in the request stands a card number. The message says where, and never what."""

    code = "card_number_refused"


def check_body(body: Any) -> None:
    """Raises `CardNumber` for a parsed JSON body with a card number in a name or a value."""
    found = cards.find(body)
    if found:
        raise CardNumber(_DETAIL, pointer=found[0])


def check_rest(request: Request) -> None:
    """The same of everything that is not the body: the address, its parameters, and the headers."""
    params = {name: request.query_params.getlist(name) for name in request.query_params}
    if cards.find([request.path, params, dict(request.headers)]):
        raise CardNumber(_DETAIL)


_DETAIL = "This is a card number. Send the token that its provider gave for it: card numbers are taken nowhere here, and not kept."
