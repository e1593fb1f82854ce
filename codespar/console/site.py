"""The console's admin site: a log-in with a code, a start page, pages that read, and addresses that act, which take POST alone."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, reverse
from django.views.decorators.http import require_POST, require_safe
from unfold.dataclasses import SearchResult
from unfold.sites import UnfoldAdminSite

from codespar.console import overview
from codespar.console.forms import LoginForm
from codespar.lib.errors import Invalid

View = Callable[..., HttpResponse]

# Addresses of Django's admin that would write, or that answer with what no page here needs.
_LEFT_OUT = frozenset({"password_change", "password_change_done", "autocomplete", "view_on_site"})


class ConsoleSite(UnfoldAdminSite):
    """Registered models are readable by every member of their organisation, and writable by nobody: who acts does it through an action.

    `figures` are what apps add to the start page: each takes the organisation and the mode.
    """

    login_form = LoginForm
    login_template = "console/login.html"
    index_template = "console/index.html"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.figures: list[Callable[[UUID, bool], overview.Figure]] = []

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [url for url in super().get_urls() if getattr(url, "name", None) not in _LEFT_OUT]

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Everything is asked for with GET or HEAD, but leaving and what `acts`, which only a POST does."""
        if getattr(view, "acts", False):
            view = require_POST(view)
        elif view != self.logout:
            view = require_safe(view)
        wrapped: View = super().admin_view(view, cacheable)
        return wrapped

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        member: Any = request.user
        found = overview.read(member.org_id, mode=request.GET.get("mode"))
        figures = [figure(member.org_id, found.mode == "live") for figure in self.figures]
        context = {**(extra_context or {}), "title": "Overview", "overview": found, "figures": figures}
        page: TemplateResponse = super().index(request, context)
        return page


site = ConsoleSite()


def find(request: HttpRequest, term: str) -> list[SearchResult]:
    """What the search box finds: the one object that has this wire id."""
    results = []
    for model, page in site._registry.items():
        try:
            key = page.key(term)
        except Invalid:
            continue
        if key is not None and page.get_queryset(request).filter(pk=key).exists():
            link = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[term])
            results.append(
                SearchResult(title=term, description=str(model._meta.verbose_name).capitalize(), link=link, icon="arrow_forward")
            )
    return results
