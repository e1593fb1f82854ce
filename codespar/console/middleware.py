"""One request, one organisation: whatever a member's page reads, it reads inside that member's tenant."""

from collections.abc import Callable
from typing import Any

import structlog
from django.contrib.auth import SESSION_KEY
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse

from codespar.lib import db
from codespar.lib.errors import Unavailable

PREFIX = "/admin/"
# The log-in writes (a code is used up) and shows no rows. What is posted elsewhere acts, in transactions of its own.
LOGIN = "/admin/login/"

log = structlog.get_logger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class MemberTenant:
    """A logged-in member's page runs in one read-only transaction that sees the member's organisation, and no other.

    What is posted does not: its view reads inside a tenant of its own, and writes through actions.

    Django renders a lazy template before the innermost middleware gets its answer, so the rendering is inside too.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith(PREFIX):
            return self.get_response(request)
        try:
            return self._answer(request)
        except Unavailable as error:
            return _unavailable(error)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """What goes wrong in a page is logged here; Django's own logger says nothing in this program."""
        if isinstance(exception, Unavailable):
            return _unavailable(exception)
        if not isinstance(exception, Http404 | PermissionDenied | SuspiciousOperation):
            log.error("unexpected_error", error=type(exception).__name__, exc_info=exception)
        return None

    def _answer(self, request: HttpRequest) -> HttpResponse:
        org = _organisation(request)
        if org is None or request.path == LOGIN or request.method == "POST":
            return self.get_response(request)
        with db.tenant(org):
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION READ ONLY")
            response = self.get_response(request)
        if response.streaming:
            raise TypeError("A page of the console is whole when it leaves its tenant: it is never streamed.")
        return response


def _organisation(request: HttpRequest) -> Any:
    """The member's organisation, or None. A session that names nobody who may be here any more ends with this."""
    user = request.user
    if user.is_authenticated:
        return user.org_id
    if SESSION_KEY in request.session:
        request.session.flush()
    return None


def _unavailable(error: Exception) -> HttpResponse:
    return HttpResponse(f"{error}\n", status=503, content_type="text/plain; charset=utf-8", headers={"Retry-After": "5"})
