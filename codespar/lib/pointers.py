"""JSON pointers (RFC 6901): where in a document something is wrong."""


def step(name: object) -> str:
    """`/name`, with what has a meaning in a pointer escaped."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


def names(pointer: str) -> list[str]:
    """The names that a pointer goes through; none for the whole document."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
