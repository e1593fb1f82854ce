"""What every page of the console is made of: lists and details of one organisation's rows. `codespar.identity.acts` is how people act."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.admin import SimpleListFilter, display
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.views import ChangeList as UnfoldChangeList

from codespar.console import cells
from codespar.lib import ids
from codespar.lib.errors import Invalid

_ROWS = 50
_LABELS = {
    "livemode": "mode",
    "scope_id": "applies to",
    "sig": "signature",
    "prev": "previous hash",
    "cases": "open",
    "lag": "after the last",
    "ours_amount": "ours",
    "theirs_amount": "theirs",
    "url": "address",
    "unheard": "given up",
    "tried_at": "last attempt",
}


class ModeFilter(SimpleListFilter):
    """Test and live are two worlds."""

    title = "mode"
    parameter_name = "mode"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("live", "Live"), ("test", "Test")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any] | None:
        return queryset.filter(livemode=self.value() == "live") if self.value() in ("live", "test") else queryset


@dataclass(frozen=True, slots=True)
class Related:
    """A table under an object's details. `rows` takes the object; at most 50 rows are shown, `more` leads to all of them."""

    title: str
    columns: Sequence[str]
    rows: Callable[[Any], QuerySet[Any]]
    prefix: str = ""
    more: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """Something above an object's fields that is no field and no table: a template, which finds `context` as `panel.context`."""

    template: str
    context: Mapping[str, Any]


def rows_of(model: Any, column: str, order: str = "-id") -> Callable[[Any], QuerySet[Any]]:
    """The rows of `model` whose `column` is the object's id."""
    return lambda parent: model.objects.for_org(parent.org_id).filter(**{column: parent.pk}).order_by(order)


class _Page(UnfoldChangeList):
    """A list whose links carry wire ids."""

    def url_for_result(self, result: Model) -> str:
        return str(self.model_admin.address(result))


class ReadOnlyAdmin(ModelAdmin):
    """The pages of one tenant table: `prefix` is of its wire ids, `columns` stand in the list, all fields in the details.

    `names` maps a column to the model that it refers to, whose name people then read instead of the id; `documents` are
    columns of bytes that hold JSON; `searched` columns are searched for a part of their text; `plural` is the list's title.
    """

    prefix: ClassVar[str] = ""
    columns: ClassVar[Sequence[str]] = ()
    names: ClassVar[dict[str, Any]] = {}
    plural: ClassVar[str] = ""
    documents: ClassVar[Sequence[str]] = ()
    related: ClassVar[Sequence[Related]] = ()
    searched: ClassVar[Sequence[str]] = ()

    actions = None
    list_per_page = 50
    show_full_result_count = False
    # The search box shows when this is not empty; get_search_results below says what is searched.
    search_fields: Sequence[str] = ("pk",)

    def __init__(self, model: type[Model], admin_site: Any) -> None:
        super().__init__(model, admin_site)
        if self.plural:
            # What people read; the models know nothing of pages.
            self.opts.verbose_name_plural = self.plural
        self.list_display = tuple(self._column(name) for name in ("id", *self.columns))
        self.search_help_text = f"{self.prefix}_… (a whole id)" + "".join(f", or {name}" for name in self.searched) if self.prefix else None

    # What is seen: rows of the member's own organisation, without what is secret.

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        member: Any = request.user
        queryset = self.scoped(member.org_id).defer(*_secrets(self.model))
        for column, model in self.names.items():
            found = model.objects.for_org(OuterRef("org_id")).filter(id=OuterRef(column)).values("name")[:1]
            queryset = queryset.annotate(**{f"{column.removesuffix('_id')}_name": Subquery(found)})
        ordering = self.get_ordering(request)
        return queryset.order_by(*ordering) if ordering else queryset

    def scoped(self, org: UUID) -> QuerySet[Any]:
        """The rows of one organisation."""
        manager: Any = self.model._default_manager
        rows: QuerySet[Any] = manager.for_org(org)
        return rows

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The object with this wire id. Unknown and another tenant's are both Http404."""
        try:
            found = self.get_queryset(request).filter(pk=self.key(object_id)).first()
        except Invalid as error:
            raise Http404(str(error)) from None
        if found is None:
            raise Http404("There is no such object.")
        return found

    def key(self, text: str) -> Any:
        """The primary key in a wire id. Raises `Invalid`."""
        return ids.parse(text.strip(), self.prefix)

    def wire(self, row: Any) -> str:
        """The row's id as it is written outside."""
        return ids.wire(self.prefix, row.pk)

    def address(self, row: Any) -> str:
        """The row's page."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[self.wire(row)])

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        """A whole wire id, or a part of one of the `searched` columns."""
        if not search_term.strip():
            return queryset, False
        try:
            return queryset.filter(pk=self.key(search_term)), False
        except Invalid:
            found = queryset.none()
        for column in self.searched:
            found = found | queryset.filter(**{f"{column}__icontains": search_term.strip()})
        return found, False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Exact matches of what the list shows or refers to, so that no secret can be guessed through an address."""
        named = {item if isinstance(item, str) else item.parameter_name for item in self.list_filter}
        return lookup.removesuffix("__isnull") in named or lookup in cells.REFERENCES

    # What can be done: nothing.

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        """Two pages, list and details: no addresses for adding, deleting or a history."""
        return [url for url in super().get_urls() if url.name and url.name.endswith(("_changelist", "_change"))]

    # The pages.

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[UnfoldChangeList]:
        return _Page

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        context = {"title": str(self.opts.verbose_name_plural).capitalize(), **(extra_context or {})}
        page: TemplateResponse = super().changelist_view(request, context)
        return page

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> TemplateResponse:
        """All fields of one object, and the tables that belong to it. `extra_context` is what its panels are given."""
        row = self.get_object(request, object_id)
        shown = [(_label(field.name), self.cell(row, field.name)) for field in self.fields_of(row)]
        tables = [self._table(related, row) for related in self.related]
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": self.wire(row),
            "section": self.opts.verbose_name_plural,
            "section_url": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
            "summary": self.summary(row),
            "panels": self.panels(request, row, **(extra_context or {})),
            "narrow": [(label, cell.html) for label, cell in shown if not cell.wide],
            "wide": [(label, cell.html) for label, cell in shown if cell.wide],
            "related": [table for table in tables if table["rows"]],
            "empty": [table["title"] for table in tables if not table["rows"]],
        }
        return TemplateResponse(request, "console/detail.html", context)

    def fields_of(self, row: Any) -> list[Any]:
        """The fields that the details show."""
        hidden = {"id", "org_id", *cells.SECRET}
        return [field for field in self.opts.fields if field.name not in hidden]

    def summary(self, row: Any) -> list[SafeString]:
        """What stands beside the title: state, mode, amount."""
        names = [name for name in ("state", "status", "kind", "outcome", "livemode", "amount") if hasattr(row, name)]
        return [cells.show(row, name).html for name in names if getattr(row, name) is not None]

    def panels(self, request: HttpRequest, row: Any) -> list[Panel]:
        """What stands above the fields."""
        return []

    def cell(self, row: Any, name: str, *, short: bool = False) -> cells.Cell:
        """One value on a page."""
        if name == "id":
            # Looks like a link and is none: the list makes one of its first column.
            return cells.Cell(format_html('<span class="text-link">{}</span>', cells.identifier(self.wire(row), short=short)))
        return cells.document(getattr(row, name)) if name in self.documents else cells.show(row, name, short=short)

    def _column(self, name: str) -> Callable[[Any], SafeString]:
        field = name in {field.name for field in self.opts.fields}

        @display(description=_label(name), ordering=("pk" if name == "id" else name if field else None))
        def show(row: Any) -> SafeString:
            return self.cell(row, name, short=True).html

        show.__name__ = name
        return show

    def _table(self, related: Related, row: Any) -> dict[str, Any]:
        rows = related.rows(row)
        found = list(rows.defer(*_secrets(rows.model))[: _ROWS + 1])
        for each in found:
            # Some rows keep their amount in the currency of the row that they belong to.
            if not hasattr(each, "currency") and hasattr(row, "currency"):
                each.currency = row.currency
        more = len(found) > _ROWS
        return {
            "title": related.title,
            "headers": [_label(name) for name in related.columns],
            "rows": [[self._related(related, each, name) for name in related.columns] for each in found[:_ROWS]],
            "more": more,
            "all": self._all(related.more, row) if related.more and found else None,
        }

    def _related(self, related: Related, row: Any, name: str) -> SafeString:
        if name == "id":
            return cells.reference(ids.wire(related.prefix, row.pk), short=True)
        return cells.show(row, name, short=True).html

    def _all(self, more: tuple[str, str], row: Any) -> str:
        page, column = more
        return f"{reverse(f'admin:{page}_changelist')}?{urlencode({column: row.pk})}"


def _secrets(model: type[Model]) -> list[str]:
    return [field.name for field in model._meta.fields if field.name in cells.SECRET]


def _label(name: str) -> str:
    text = _LABELS.get(name) or (name.removesuffix("_id") if name in cells.REFERENCES else name)
    return text.replace("_", " ").capitalize()
