"""The base of every refusal. Concrete errors stand beside the function that raises them; HTTP is added at the edge only."""

from typing import Any


class CodesparError(Exception):
    """A refusal with a stable `code`.

    `detail` is one sentence for people: what was wrong, and what would be right. `extra` joins the problem document.
    The status of each code is in `codespar.problems`, and nowhere else.
    """

    code = "internal"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or type(self).code
        self.extra = extra


class Invalid(CodesparError):
    """The request is malformed. `pointer` is the JSON pointer (RFC 6901) of the member that is wrong."""

    code = "invalid_request"

    def __init__(self, detail: str, *, pointer: str = "", **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.pointer = pointer


class NotFound(CodesparError):
    """There is no such object for this caller: unknown and another tenant's look the same."""

    code = "not_found"


class Conflict(CodesparError):
    """The object is not in a state that allows this."""

    code = "state_conflict"


class Unavailable(CodesparError):
    """Something that the decision depends on is missing, slow or broken. The answer is no, and trying again later is right."""

    code = "unavailable"
