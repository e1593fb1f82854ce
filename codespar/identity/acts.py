"""How people act from a page of the console: through the very actions that the API calls, and as the holder of an access token.

A log-in opens pages and nothing more. Who acts is authenticated by the database, inside the function that writes, by an access token's
digest: a session, or a connection of the console, that somebody stole changes nothing. So each form asks for a token of the member's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from rest_framework import serializers
from unfold.widgets import UnfoldAdminPasswordWidget

from codespar.console.admin import Panel, ReadOnlyAdmin
from codespar.identity import access, principals
from codespar.identity.principals import Principal
from codespar.identity.tokens import Unauthenticated
from codespar.lib import db
from codespar.lib.errors import CodesparError, Unavailable


class ActForm(forms.Form):
    """What an act needs to be told, checked by the API's own serializer `body`, and who tells it: `caller`, once the form is valid."""

    body: ClassVar[type[serializers.Serializer[Any]]]
    caller: Principal

    access_token = forms.CharField(
        label="Your access token",
        max_length=200,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, data: Any, *, request: HttpRequest, livemode: bool, scope: str, **options: Any) -> None:
        super().__init__(data, **options)
        self.request, self.livemode, self.scope = request, livemode, scope
        self.order_fields([name for name in self.fields if name != "access_token"])
        self.fields["access_token"].help_text = f"A {self.mode} token of yours with the scope {scope}. It is used once and not kept."

    @property
    def mode(self) -> str:
        return "live" if self.livemode else "test"

    def clean(self) -> dict[str, Any]:
        """Both what is asked and who asks, so that all that is wrong is said at once."""
        given: dict[str, Any] = self.cleaned_data
        token = given.pop("access_token", None)
        if token:
            self._authenticate(token.strip())
        # A browser ends lines as HTTP does.
        asked = {name: value.replace("\r\n", "\n") for name, value in given.items()}
        checked = self.body(data=asked)
        if not checked.is_valid():
            for name in set(checked.errors) & set(given):
                self.add_error(name, [str(error) for error in checked.errors[name]])
        return asked

    def _authenticate(self, token: str) -> None:
        member: Any = self.request.user
        try:
            found = principals.authenticate(token, request_id=getattr(self.request, "request_id", ""))
        except Unauthenticated:
            self.add_error("access_token", "This access token is unknown, expired or revoked.")
            return
        if (found.org, found.member) != (member.org_id, member.id):
            self.add_error("access_token", "This token is not yours: who acts here acts under the name that is logged in.")
        elif found.livemode != self.livemode:
            self.add_error("access_token", f"This is in {self.mode} mode: it needs a {self.mode} token.")
        elif self.scope not in found.scopes:
            self.add_error("access_token", f"This needs the scope {self.scope}, which the token does not have.")
        self.caller = found


@dataclass(frozen=True, slots=True)
class Act:
    """Something to do with an object, at `<object>/<name>/`.

    `run` calls the action and returns what to say of it. `done` tells whether this member has done exactly this before: then a form
    that was sent twice is answered like the first time.
    """

    name: str
    scope: str
    form: type[ActForm]
    run: Callable[[Principal, Any, Mapping[str, Any]], str]
    done: Callable[[Principal, Any, Mapping[str, Any]], bool]
    again: str


class ActingAdmin(ReadOnlyAdmin):
    """Pages on which people act. What they see of each act is a panel's work."""

    acts: ClassVar[Sequence[Act]] = ()

    def get_urls(self) -> list[URLPattern]:
        return [*super().get_urls(), *(self._url(act) for act in self.acts)]

    def panels(self, request: HttpRequest, row: Any, sent: ActForm | None = None) -> list[Panel]:
        """`sent` is a form that came back with errors."""
        return []

    def may(self, request: HttpRequest, act: Act) -> bool:
        """Whether one of the member's roles has the scope."""
        member: Any = request.user
        return act.scope in access.scopes_of(member.roles)

    def act_form(self, request: HttpRequest, row: Any, act: Act, data: Any = None, **options: Any) -> ActForm:
        return act.form(data, request=request, livemode=row.livemode, scope=act.scope, auto_id=f"{act.name}_%s", **options)

    def act_address(self, row: Any, act: Act) -> str:
        """Where the act's form is posted to."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{act.name}", args=[self.wire(row)])

    def _url(self, act: Act) -> URLPattern:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            return self._act(request, object_id, act)

        view.acts = True  # type: ignore[attr-defined]
        name = f"{self.opts.app_label}_{self.opts.model_name}_{act.name}"
        return path(f"<path:object_id>/{act.name}/", self.admin_site.admin_view(view), name=name)

    def _act(self, request: HttpRequest, object_id: str, act: Act) -> HttpResponse:
        member: Any = request.user
        with db.tenant(member.org_id):
            row = self.get_object(request, object_id)
        if not self.may(request, act):
            raise PermissionDenied(f"This needs the scope {act.scope}.")
        form = self.act_form(request, row, act, request.POST)
        if form.is_valid() and self._done(request, form, row, act):
            return HttpResponseRedirect(self.address(row))
        with db.tenant(member.org_id):
            return self.change_view(request, object_id, extra_context={"sent": form}).render()

    def _done(self, request: HttpRequest, form: ActForm, row: Any, act: Act) -> bool:
        try:
            said = act.run(form.caller, row, form.cleaned_data)
        except (Unavailable, db.Refused):
            # Not this page's to explain: later, or never with the database's own words.
            raise
        except CodesparError as error:
            with db.tenant(row.org_id):
                twice = act.done(form.caller, row, form.cleaned_data)
            if not twice:
                # Above the page: what has changed meanwhile may have taken the form away.
                messages.error(request, error.detail)
                return False
            said = act.again
        messages.success(request, said)
        return True
