"""Every refusal is a problem document (RFC 9457): what all of them have, and what none of them may show."""

from typing import Any

import httpx2

from codespar.rest import problem

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable", "errors", "reasons"}
WORDS = ("Traceback", "psycopg", "django", 'File "', "SELECT", "codespar_agent", "constraint", "127.0.0.1", "/site-packages/")


def is_problem(answer: httpx2.Response, status: int, code: str | None = None) -> dict[str, Any]:
    """The answer is a problem document (RFC 9457) of the one table, with the request's id and nothing of the inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) >= MEMBERS and body["status"] == status
    assert problem.PROBLEMS[body["code"]] == (status, body["title"])
    assert body["type"] == f"urn:codespar:problem:{body['code']}"
    assert body["code"] == code or code is None, body
    assert body["request_id"] == answer.headers["request-id"]
    assert body["instance"] == answer.request.url.path
    assert body["detail"].strip() and not [word for word in WORDS if word in answer.text]
    assert all(set(error) == {"code", "detail", "pointer"} for error in body["errors"])
    assert body["retryable"] == (status in (409, 429, 503))
    return body
