"""Errors at the edge: whatever was raised becomes one problem document. The table of codes is `codespar.rest.problem`."""

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from codespar.lib import pointers
from codespar.lib.db import Refused
from codespar.lib.errors import CodesparError, Invalid
from codespar.rest import problem

log = structlog.get_logger(__name__)
RETRY_SECONDS = 2
_BROKE = "Something broke here, not in your request. Nothing more is known to you than this request id: quote it."


def handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's exception handler: whatever was raised becomes one problem document."""
    request = context["request"]._request
    return _response(_document(error, request), error)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's 404: an address that nothing answers."""
    return problem.render(problem.document("not_found", "There is nothing at this address.", request=request))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's 500: a request id, and nothing else."""
    return problem.render(problem.document("internal", _BROKE, request=request))


def _document(error: Exception, request: HttpRequest) -> dict[str, Any]:
    if isinstance(error, Refused) or not isinstance(
        error, CodesparError | exceptions.APIException | Http404 | PermissionDenied | RequestDataTooBig
    ):
        log.error("unexpected_error", error=type(error).__name__, rule=getattr(error, "rule", None), exc_info=error)
        return problem.document("internal", _BROKE, request=request)
    if isinstance(error, Invalid):
        errors = [{"code": error.code, "detail": error.detail, "pointer": error.pointer}] if error.pointer else []
        return problem.document(error.code, error.detail, request=request, errors=errors)
    if isinstance(error, CodesparError):
        return problem.document(error.code, error.detail, request=request, **error.extra)
    if isinstance(error, exceptions.ValidationError):
        errors = [{"code": "invalid_request", "detail": detail, "pointer": pointer} for pointer, detail in _flat(error.detail, "")]
        return problem.document(
            "invalid_request", errors[0]["detail"] if errors else "The request is malformed.", request=request, errors=errors
        )
    return problem.document(*_plain(error), request=request)


def _plain(error: Exception) -> tuple[str, str]:
    if isinstance(error, Http404 | exceptions.NotFound):
        return "not_found", "There is no such object."
    if isinstance(error, exceptions.Throttled):
        return "rate_limited", "This token has used up its quota for this minute."
    if isinstance(error, exceptions.MethodNotAllowed):
        return "method_not_allowed", str(error.detail)
    if isinstance(error, exceptions.UnsupportedMediaType):
        return "unsupported_media_type", "Send the body as application/json."
    if isinstance(error, exceptions.NotAcceptable):
        return "not_acceptable", "The answer is application/json."
    if isinstance(error, RequestDataTooBig):
        return "request_too_large", "The body may have at most 262144 bytes."
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return "scope_missing", "This is not allowed."
    return "invalid_request", "The request is malformed."


def _response(body: dict[str, Any], error: Exception) -> Response:
    response = Response(body, status=body["status"], content_type=problem.CONTENT_TYPE)
    if body["status"] == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="codespar"'
    if body["status"] in (429, 503) or body["code"] == "idempotency_in_flight":
        wait = getattr(error, "wait", None)
        response.headers["Retry-After"] = str(int(wait) + 1 if wait else RETRY_SECONDS)
    return response


def _flat(detail: Any, pointer: str) -> list[tuple[str, str]]:
    if isinstance(detail, dict):
        return [pair for name, value in detail.items() for pair in _flat(value, pointer if name == "" else pointer + pointers.step(name))]
    if isinstance(detail, list):
        nested = any(isinstance(value, dict | list) for value in detail)
        return [pair for index, value in enumerate(detail) for pair in _flat(value, f"{pointer}/{index}" if nested else pointer)]
    return [(pointer, str(detail))]
