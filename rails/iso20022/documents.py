"""XML that is safe to read and valid against its schema.

Only UTF-8 of a bounded size is read. A document type is refused before anything is parsed, so there are no entities, and nothing
outside the document is ever opened. What is read, and all that we write, is valid against the schema beside this file.
"""

from __future__ import annotations

import pathlib
import threading
from typing import Any, TypeAlias

from lxml import etree

from rails.iso20022.words import BadMessage

LARGEST = 64 * 1024
SCHEMAS = pathlib.Path(__file__).parent
NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:"
TRANSFER, STATUS = "pain.001.001.09", "pain.002.001.10"
RECALL, RESOLUTION = "camt.056.001.08", "camt.029.001.09"
STATEMENT, NOTIFICATION = "camt.053.001.08", "camt.054.001.08"
# An element: its name, what is in it, and its currency if it is an amount. None in the place of an element leaves it out.
Node: TypeAlias = tuple[str, Any] | tuple[str, str, str] | None
_local = threading.local()


def parse(body: bytes, name: str) -> etree._Element:
    """The message inside a valid document of the type `name`; raises `BadMessage`."""
    root = _root(body)
    if root.tag != f"{{{NAMESPACE}{name}}}Document":
        raise BadMessage(f"this is no {name}")
    _validate(root, name)
    return root[0]


def kind(body: bytes) -> str:
    """The type of a document, such as pain.002.001.10; raises `BadMessage` for what is no XML."""
    return str(etree.QName(_root(body)).namespace or "").removeprefix(NAMESPACE)


def render(name: str, message: Node) -> bytes:
    """The document of the type `name` around this message. Raises `BadMessage` when the schema does not allow it."""
    root = etree.Element(f"{{{NAMESPACE}{name}}}Document", nsmap={None: NAMESPACE + name})  # type: ignore[dict-item]  # the stubs know no default namespace
    try:
        _append(root, message, NAMESPACE + name)
    except ValueError:
        raise BadMessage("a text has characters that XML cannot hold") from None
    _validate(root, name)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def text(node: etree._Element, path: str) -> str | None:
    """The text at `path` (names with slashes between), None when there is no such element."""
    return node.findtext("/".join(f"{{*}}{name}" for name in path.split("/")))


def needed(node: etree._Element, path: str) -> str:
    found = text(node, path)
    if not found:
        raise BadMessage(f"{path} is missing")
    return found


def every(node: etree._Element, path: str) -> list[etree._Element]:
    return node.findall("/".join(f"{{*}}{name}" for name in path.split("/")))


def one(node: etree._Element, path: str) -> etree._Element:
    """The only element at `path`; raises `BadMessage` when there is none, or more than one."""
    found = every(node, path)
    if len(found) != 1:
        raise BadMessage(f"there is not one {path}")
    return found[0]


def _root(body: bytes) -> etree._Element:
    if len(body) > LARGEST:
        raise BadMessage(f"the document is longer than {LARGEST} bytes")
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadMessage("the document is not UTF-8") from None
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise BadMessage("a document type is not allowed")
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(body, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise BadMessage("the document is not well-formed XML") from None


def _validate(root: etree._Element, name: str) -> None:
    """A schema belongs to a thread: libxml2 keeps its errors in it."""
    known = _local.__dict__.setdefault("schemas", {})
    if name not in known:
        known[name] = etree.XMLSchema(etree.parse(str(SCHEMAS / f"{name}.xsd")))
    if not known[name].validate(root):
        error = known[name].error_log[0]
        raise BadMessage(f"the document is not valid against {name}: line {error.line}, {error.type_name}")


def _append(parent: etree._Element, node: Node, namespace: str) -> None:
    if node is None:
        return
    name, inside = node[0], node[1]
    made = etree.SubElement(parent, f"{{{namespace}}}{name}")
    if len(node) == 3:
        made.set("Ccy", node[2])
    if isinstance(inside, str):
        made.text = inside
        return
    for child in inside:
        _append(made, child, namespace)
