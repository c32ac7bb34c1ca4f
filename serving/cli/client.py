"""The API client of the commands: every failure is reported in one line."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any

import click
import httpx

TIMEOUT_S = 30
PAGE = 100
"""Page size of lists: the maximum of the API."""

Query = Mapping[str, str | int | None]


class Stack:
    """A running stack. No request is sent before a command needs it; only then `key` returns the API key."""

    def __init__(self, url: str | None, key: Callable[[], str]) -> None:
        self._url = url
        self._key = key
        self._client: httpx.Client | None = None

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """Returns the answer to a `GET`."""
        return self._ask("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any], **query: str | None) -> dict[str, Any]:
        """Returns the answer to a `POST`; None in the body is omitted."""
        return self._ask("POST", path, query, body)

    def put(self, path: str, body: Mapping[str, Any], **query: str | None) -> dict[str, Any]:
        """Like `post`, with `PUT`."""
        return self._ask("PUT", path, query, body)

    def delete(self, path: str, **query: str | None) -> dict[str, Any]:
        """Returns the answer to a `DELETE`."""
        return self._ask("DELETE", path, query)

    def list(self, path: str, limit: int, **query: str | None) -> dict[str, Any]:
        """Returns a list object with at most `limit` items, from as many pages as necessary."""
        data: list[Any] = []
        after: str | None = None
        while True:
            page = self.get(path, **query, limit=min(PAGE, limit - len(data)), after=after)
            members = page.get("data")
            if not isinstance(members, builtins.list) or not all(isinstance(member, dict) for member in members):
                raise click.ClickException(f"{self._url} did not return a list: is it a stack?")
            data += members
            more = bool(page.get("has_more"))
            after = page.get("last_id")
            if not more or not members or len(data) >= limit:
                return {"object": "list", "data": data, "has_more": more}

    def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()

    def _ask(self, method: str, path: str, query: Query, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        client = self._connected()
        params = {name: value for name, value in query.items() if value is not None}
        said = {name: value for name, value in body.items() if value is not None} if body is not None else None
        try:
            response = client.request(method, f"/v1{path}", params=params, json=said)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise click.ClickException(f"{self._url} cannot be reached: {_line(str(e)) or type(e).__name__}") from None
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise click.ClickException(f"{self._url} answered {response.status_code} without JSON: is it a stack?")
        if not response.is_success:
            raise click.ClickException(_refusal(response.status_code, answer, path))
        return answer

    def _connected(self) -> httpx.Client:
        if self._client is None:
            if not self._url:
                raise click.UsageError("No stack: set HEADRACE_URL, or give --url.")
            self._url = _base(self._url)
            headers = {"Authorization": f"Bearer {self._key()}"}
            self._client = httpx.Client(base_url=self._url, headers=headers, timeout=TIMEOUT_S)
        return self._client


def _base(url: str) -> str:
    """Returns the URL of the API without its `/v1`. Raises a `UsageError`, which does not repeat possible secrets."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise click.UsageError("The URL of the stack must have the form http://127.0.0.1:8080 or https://host.")
    return url.rstrip("/").removesuffix("/v1")


def _refusal(status: int, answer: Mapping[str, Any], path: str) -> str:
    error = answer.get("error")
    message = _line(str(error.get("message", ""))) if isinstance(error, dict) else ""
    if status == 404 and message == "There is no such route.":
        return f"This stack has no /v1{path}: its version is an older one."
    param = error.get("param") if isinstance(error, dict) else None
    return f"{message or 'The stack refused'} ({status}{f', {_line(str(param))}' if param else ''})"


def _line(text: str) -> str:
    """Returns at most 500 characters of `text`, on one line and without terminal control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()
