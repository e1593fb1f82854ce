"""Whatever was raised, as one problem document: the words of the edge. The table of codes is `codespar.rest.problem`."""

from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404, HttpRequest
from rest_framework import exceptions

from codespar.lib import pointers
from codespar.lib.db import Refused
from codespar.lib.errors import CodesparError, Invalid
from codespar.rest import problem

log = structlog.get_logger(__name__)
BROKE = "Something broke here, not in your request. Nothing more is known to you than this request id: quote it."


def document(error: Exception, request: HttpRequest) -> dict[str, Any]:
    """The problem document of an error; what nobody expected is logged and becomes `internal`."""
    if isinstance(error, Refused) or not isinstance(
        error, CodesparError | exceptions.APIException | Http404 | PermissionDenied | RequestDataTooBig
    ):
        log.error("unexpected_error", error=type(error).__name__, rule=getattr(error, "rule", None), exc_info=error)
        return problem.document("internal", BROKE, request=request)
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


def _flat(detail: Any, pointer: str) -> list[tuple[str, str]]:
    if isinstance(detail, dict):
        return [pair for name, value in detail.items() for pair in _flat(value, pointer if name == "" else pointer + pointers.step(name))]
    if isinstance(detail, list):
        nested = any(isinstance(value, dict | list) for value in detail)
        return [pair for index, value in enumerate(detail) for pair in _flat(value, f"{pointer}/{index}" if nested else pointer)]
    return [(pointer, str(detail))]
