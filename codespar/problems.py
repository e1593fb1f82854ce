"""Errors at the edge: whatever was raised becomes one problem document. The table of codes is `codespar.rest.problem`."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from rest_framework.response import Response

from codespar.rest import failures, problem

RETRY_SECONDS = 2


def handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler: whatever was raised becomes one problem document."""
    request = context["request"]._request
    return _response(failures.document(error, request), error)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 404: an address that nothing answers."""
    return problem.render(problem.document("not_found", "There is nothing at this address.", request=request))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's 500: a request id, and nothing else."""
    return problem.render(problem.document("internal", failures.BROKE, request=request))


def _response(body: dict[str, Any], error: Exception) -> Response:
    response = Response(body, status=body["status"], content_type=problem.CONTENT_TYPE)
    if body["status"] == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="codespar"'
    if body["status"] in (429, 503) or body["code"] == "idempotency_in_flight":
        wait = getattr(error, "wait", None)
        response.headers["Retry-After"] = str(int(wait) + 1 if wait else RETRY_SECONDS)
    return response
