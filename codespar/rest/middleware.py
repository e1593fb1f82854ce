"""Every request has an id: on its answer, in its errors, in the records that it makes. Every answer says what is left of the quota."""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from codespar.lib import ids


class RequestId:
    """Makes `request.request_id` and the `Request-Id` header; a W3C `traceparent` joins the log lines."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.request_id = ids.wire("req", ids.new())  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request.request_id)  # type: ignore[attr-defined]
        if trace := request.headers.get("traceparent"):
            structlog.contextvars.bind_contextvars(traceparent=trace[:64])
        response = self.get_response(request)
        response.headers["Request-Id"] = request.request_id  # type: ignore[attr-defined]
        # Set by whoever counted this request.
        for name, value in getattr(request, "rate_limit", {}).items():
            response.headers[name] = value
        if response.status_code == 413 or _unread(request):
            # The server drops a connection on which a body was left; said so, the client's next request takes another one.
            response.headers["Connection"] = "close"
        return response


def _unread(request: HttpRequest) -> bool:
    """Whether the request was answered before anybody read its body."""
    sent = request.META.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in request.META
    return sent and not hasattr(request, "_body") and not getattr(request, "_read_started", False)
