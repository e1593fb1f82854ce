"""A caller of the API, as any agent or person would write one."""

import secrets
from typing import Any

import httpx2


class Api:
    """One service and one access token. Answers are (status, headers, body)."""

    def __init__(self, base_url: str, token: str) -> None:
        self._http = httpx2.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, timeout=30.0)

    def get(self, path: str) -> dict[str, Any]:
        """The body of a GET that must succeed."""
        return self._checked(self._http.get(path))

    def post(self, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> dict[str, Any]:
        """The body of a POST that must succeed."""
        return self._checked(self.send(path, body, key))

    def delete(self, path: str, **query: str) -> dict[str, Any]:
        """The body of a DELETE that must succeed."""
        return self._checked(self._http.delete(path, params=query))

    def send(self, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> httpx2.Response:
        """A POST, whatever comes of it, under `key` or a fresh one."""
        headers = {"Idempotency-Key": key or f"demo-{secrets.token_hex(12)}"}
        return self._http.post(path, json=body or {}, headers=headers)

    def _checked(self, answer: httpx2.Response) -> dict[str, Any]:
        if answer.status_code >= 400:
            raise RuntimeError(f"{answer.request.method} {answer.request.url} answered {answer.status_code}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found
