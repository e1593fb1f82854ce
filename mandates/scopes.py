"""What can be stopped or revoked: a scope and the name of one thing in it."""

from dataclasses import dataclass

from codespar.lib import ids, names
from codespar.lib.errors import Invalid

PLATFORM = "platform"
PREFIXES = {"mandate": "mnd", "agent": "agt", "project": "prj", "org": "org", "counterparty": "ctp"}
STOPPABLE = (*PREFIXES, "rail", PLATFORM)
REVOCABLE = ("mandate", "agent", "project", "org", PLATFORM)


@dataclass(frozen=True, slots=True)
class Target:
    """`name` is a wire id, a rail, or `platform`."""

    scope: str
    name: str


def target(scope: str, name: str | None, *, org: str) -> Target:
    """The one that a caller of `org` (a wire id) means; its own organisation, and the platform, need no name. Raises `Invalid`."""
    if scope in ("org", PLATFORM):
        only = org if scope == "org" else PLATFORM
        if name not in (None, only):
            raise Invalid(f"The id of the scope {scope} is {only}, or left out.", pointer="/id")
        return Target(scope, only)
    if name is None:
        raise Invalid(f"The scope {scope} needs an id: which one?", pointer="/id")
    if scope == "rail":
        return Target(scope, names.slug(name, "/id"))
    try:
        ids.parse(name, PREFIXES[scope])
    except Invalid as error:
        raise Invalid(error.detail, pointer="/id") from error
    return Target(scope, name)
