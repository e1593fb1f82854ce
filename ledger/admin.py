"""What happened: the chain's entries and the checkpoints."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString

from codespar.console import cells
from codespar.console.admin import ReadOnlyAdmin, Related
from codespar.console.site import site
from codespar.lib import ids
from codespar.lib.errors import Invalid
from ledger.models import Checkpoint, Entry, Opening


def _openings(entry: Entry) -> QuerySet[Any]:
    rows: QuerySet[Any] = Opening.objects.for_org(entry.org_id)
    return rows.filter(entry_id=entry.id).defer("salt").order_by("commit")


@admin.register(Entry, site=site)
class EntryAdmin(ReadOnlyAdmin):
    prefix = "ent"
    plural = "ledger entries"
    columns = ("seq", "kind", "at", "hash")
    list_filter = ("kind",)
    ordering = ("-seq",)
    documents = ("content", "leaf")
    related = (Related("Openings", ("commit", "value"), _openings),)

    def summary(self, row: Any) -> list[SafeString]:
        return [format_html("<strong>#{}</strong>", row.seq), cells.show(row, "kind").html]

    def cell(self, row: Any, name: str, *, short: bool = False) -> cells.Cell:
        """`prev` leads to the entry before, whose hash it is."""
        shown = super().cell(row, name, short=short)
        if name != "prev" or row.seq == 1:
            return shown
        before = Entry.objects.for_org(row.org_id).filter(hash=bytes(row.prev)).values_list("id", flat=True).first()
        link = cells.reference(ids.wire("ent", before)) if before else "the entry before is missing"
        return cells.Cell(format_html("{}<br>{}", shown.html, link))


@admin.register(Checkpoint, site=site)
class CheckpointAdmin(ReadOnlyAdmin):
    """A checkpoint has no id of its own: the size of its tree names it."""

    columns = ("root", "made_at")
    ordering = ("-size",)
    search_fields = ()

    def key(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise Invalid("A checkpoint is named by the size of its tree, such as 42.")
        return int(text)

    def wire(self, row: Any) -> str:
        return str(row.size)
