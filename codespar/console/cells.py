"""How one value is written on a page: ids as on the wire and linked, money in major units, times in UTC, bytes in hex."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.urls import reverse
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from codespar.lib import ids, money

# A wire id's prefix -> the page that shows the object. (`key_` names several kinds of things, so it leads nowhere.)
PAGES = {
    "org": "identity_organisation",
    "prj": "identity_project",
    "agt": "identity_agent",
    "mem": "identity_member",
    "tok": "identity_accesstoken",
    "mnd": "mandates_mandate",
    "ctp": "mandates_counterparty",
    "pol": "mandates_policy",
    "dec": "mandates_decision",
    "rev": "mandates_revocation",
    "wal": "wallets_account",
    "tr": "wallets_transfer",
    "hld": "wallets_hold",
    "crd": "wallets_credit",
    "pay": "rails_payment",
    "ref": "rails_refund",
    "apr": "rails_approval",
    "att": "rails_attempt",
    "ent": "ledger_entry",
    "rcn": "rails_reconciliation",
    "dsc": "rails_discrepancy",
    "brk": "rails_breakerchange",
    "whe": "alerts_webhookendpoint",
}
# A column that names another row -> the prefix of that row's id.
REFERENCES = {
    "org_id": "org",
    "project_id": "prj",
    "agent_id": "agt",
    "member_id": "mem",
    "rotated_from": "tok",
    "mandate_id": "mnd",
    "counterparty_id": "ctp",
    "counterparties": "ctp",
    "policy_id": "pol",
    "decision_id": "dec",
    "wallet_id": "wal",
    "debit_id": "wal",
    "credit_id": "wal",
    "hold_id": "hld",
    "payment_id": "pay",
    "refund_id": "ref",
    "approval_id": "apr",
    "attempt_id": "att",
    "entry_id": "ent",
    "created_entry_id": "ent",
    "intent_entry_id": "ent",
    "rail_account_id": "key",
    "run_id": "rcn",
    "discrepancy_id": "dsc",
    "proposed_by": "mem",
    "confirmed_by": "mem",
}
SCOPES = {"org": "org", "project": "prj", "agent": "agt", "mandate": "mnd", "counterparty": "ctp", "policy": "pol"}
# Never on a page, and as a column never fetched: of no use to people, and not every role may read such a column.
SECRET = frozenset({"sealed", "password", "digest"})
MONEY = frozenset(["amount", "available", "held", "captured", "released", "refunding", "refunded", "max_amount", "budget", "spent"])
STATES = frozenset(
    [
        "status",
        "state",
        "outcome",
        "verdict",
        "result",
        "from_state",
        "to_state",
        "source",
        "proof",
        "kind",
        "layer",
        "purpose",
        "profile",
        "scope",
    ]
)
COLOURS = {
    "green": "settled confirmed active live allow approved verified closed done resolved enabled delivered",
    "red": "denied deny failed refused rejected revoked needs_human stopped conflicted written_off open incomplete gone",
    "orange": "uncertain requires_approval proposed paused approval pending expired reversing shadow unknown not_found half-open disabled",
    "blue": "authorized submitted accepted received running",
}
_COLOUR = {word: colour for colour, words in COLOURS.items() for word in words.split()}
_CLASSES = {
    "green": "bg-green-100 text-green-700 dark:bg-green-500/20 dark:text-green-400",
    "red": "bg-red-100 text-red-700 dark:bg-red-500/20 dark:text-red-400",
    "orange": "bg-orange-100 text-orange-700 dark:bg-orange-500/20 dark:text-orange-400",
    "blue": "bg-blue-100 text-blue-700 dark:bg-blue-500/20 dark:text-blue-400",
    "": "bg-base-500/8 text-base-700 dark:bg-base-500/20 dark:text-base-200",
}
# The same colours for a bar, which is drawn in the colour of its text.
TEXT = {
    "green": "text-green-700 dark:text-green-400",
    "red": "text-red-700 dark:text-red-400",
    "orange": "text-orange-700 dark:text-orange-400",
    "blue": "text-blue-700 dark:text-blue-400",
    "": "text-base-500 dark:text-base-400",
}
EMPTY = mark_safe('<span class="text-subtle">–</span>')
_WIRE = re.compile(r"\b([a-z]{2,3})_([0-9a-f]{32})\b")
_LONG = 120


@dataclass(frozen=True, slots=True)
class Cell:
    """A value ready for a page. `wide` ones want a row of their own."""

    html: SafeString
    wide: bool = False


def show(row: Any, name: str, *, short: bool = False) -> Cell:
    """`row`'s column `name`. `short` is for tables: ids lose their middle, long texts their end."""
    value = getattr(row, name)
    if value is None or value == "" or value == []:
        return Cell(EMPTY)
    prefix = SCOPES.get(row.scope) if name == "scope_id" else REFERENCES.get(name)
    if prefix:
        values = value if isinstance(value, list) else [value]
        label = getattr(row, f"{name.removesuffix('_id')}_name", None)
        return Cell(format_html_join(" ", "{}", [(reference(ids.wire(prefix, each), short=short, label=label),) for each in values]))
    if name in MONEY and getattr(row, "currency", None):
        return Cell(format_html('<span class="console-number whitespace-nowrap">{}</span>', str(money.Money(value, row.currency))))
    if name == "livemode":
        return Cell(label_of("live", "green") if value else label_of("test"))
    if name in STATES:
        return Cell(label_of(value))
    return _plain(value, short)


def _plain(value: Any, short: bool) -> Cell:
    match value:
        case bool():
            return Cell(SafeString("yes" if value else "no"))
        case datetime():
            return Cell(moment(value))
        case timedelta():
            return Cell(SafeString(span(value)))
        case date() | int() | UUID():
            return Cell(escape(str(value)))
        case bytes() | memoryview():
            return Cell(format_html('<code class="console-mono">{}</code>', bytes(value).hex()[: 12 if short else None]))
        case list() if all(isinstance(item, str) for item in value):
            return Cell(
                format_html(
                    '<span class="flex flex-wrap gap-1">{}</span>', format_html_join("", "{}", [(label_of(item),) for item in value])
                )
            )
        case list() | dict():
            return document(value)
    return _text(str(value), short)


def _text(text: str, short: bool) -> Cell:
    if _WIRE.fullmatch(text):
        return Cell(reference(text, short=short))
    if short and len(text) > _LONG:
        return Cell(format_html("{}…", text[:_LONG]))
    return block(text) if len(text) > _LONG or "\n" in text else Cell(escape(text))


def reference(wire: str, *, short: bool = False, label: str | None = None) -> SafeString:
    """A wire id, as a link when its object has a page. With a `label` (the object's name) the name is what people read."""
    shown = identifier(wire, short=short)
    if label:
        shown = (
            format_html('<span class="console-name" title="{} {}">{}</span>', label, wire, label)
            if short
            else format_html("{}<br>{}", label, shown)
        )
    if wire.partition("_")[0] not in PAGES:
        return shown
    return format_html('<a class="text-link" href="{}">{}</a>', address(wire), shown)


def identifier(wire: str, *, short: bool = False) -> SafeString:
    """A wire id; the short form leaves out its middle, which is time and tells nothing apart."""
    text = f"{wire[:-26]}…{wire[-6:]}" if short and _WIRE.fullmatch(wire) else wire
    return format_html('<span class="console-mono {}" title="{}">{}</span>', "whitespace-nowrap" if short else "", wire, text)


def address(wire: str) -> str:
    """The page of the object with this wire id."""
    return reverse(f"admin:{PAGES[wire.partition('_')[0]]}_change", args=[wire])


def label_of(text: str, colour: str | None = None) -> SafeString:
    """A word in a coloured box: states, kinds, modes."""
    classes = _CLASSES[colour_of(text) if colour is None else colour]
    return format_html(
        '<span class="inline-block font-semibold h-6 leading-6 px-2 rounded-default text-xs whitespace-nowrap {}">{}</span>',
        classes,
        text.replace("_", " "),
    )


def colour_of(word: str) -> str:
    """`green`, `red`, `orange`, `blue`, or nothing for a word that is neither good nor bad news."""
    return _COLOUR.get(word, "")


def moment(value: datetime) -> SafeString:
    """2026-01-31 12:00:00 UTC"""
    at = value.astimezone(UTC)
    return format_html('<time class="whitespace-nowrap" datetime="{}">{} UTC</time>', at.isoformat(), at.strftime("%Y-%m-%d %H:%M:%S"))


def span(value: timedelta) -> str:
    """A length of time in its largest units: 42 s, 3 min 5 s, 2 h 10 min, 4 d 1 h."""
    days, seconds = value.days, value.seconds
    parts = [(days, "d"), (seconds // 3600, "h"), (seconds % 3600 // 60, "min"), (seconds % 60, "s")]
    first = next((at for at, (number, _) in enumerate(parts) if number), 3)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"


def document(value: Any) -> Cell:
    """JSON, indented, with every wire id in it leading to its object. Bytes are read as JSON first."""
    if isinstance(value, bytes | memoryview):
        text = bytes(value).decode(errors="replace")
        try:
            value = json.loads(text)
        except ValueError:
            return block(text)
    escaped = escape(json.dumps(_public(value), indent=2, ensure_ascii=False))
    return _pre(mark_safe(_WIRE.sub(lambda found: _linked(found[0]), escaped)))


def _public(value: Any) -> Any:
    """The document without secrets: a token's record carries the digest that its row keeps."""
    if isinstance(value, dict):
        return {key: "(not shown)" if key in SECRET else _public(item) for key, item in value.items()}
    return [_public(item) for item in value] if isinstance(value, list) else value


def _linked(wire: str) -> str:
    if wire.partition("_")[0] not in PAGES:
        return wire
    return format_html('<a class="text-link" href="{}">{}</a>', address(wire), wire)


def block(text: str) -> Cell:
    """A long text as it is, credentials and signed notes for example."""
    return _pre(escape(text))


def _pre(html: SafeString) -> Cell:
    classes = "bg-base-50 border border-base-200 console-pre p-3 rounded-default dark:bg-base-800 dark:border-base-700"
    return Cell(format_html('<pre class="{}">{}</pre>', classes, html), wide=True)
