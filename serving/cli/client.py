"""The API client of the commands: every failure is reported in one line."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import httpx

TIMEOUT_S = 30
UPLOAD_S = 900
"""How long an upload may take, with the checks of its content."""
PAGE = 100
"""Page size of lists: the maximum of the API."""

Query = Mapping[str, str | int | None]


class StackRefused(click.ClickException):
    """The stack refused, with this HTTP status; `param` is the field that is wrong, if it names one."""

    def __init__(self, message: str, status: int, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


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

    def upload(self, path: str, fields: Mapping[str, str | None], files: Mapping[str, Path]) -> dict[str, Any]:
        """Returns the answer to a `POST` of a form with files; None among the fields is omitted."""
        with ExitStack() as opened:
            parts = {name: (file.name, opened.enter_context(file.open("rb"))) for name, file in files.items()}
            said = {name: value for name, value in fields.items() if value is not None}
            return self._answer(
                path, lambda client: client.post(f"/v1{path}", data=said, files=parts, timeout=UPLOAD_S)
            )

    def download(self, path: str, out: Path) -> None:
        """Writes the content of a path to a new file."""
        client = self._connected()
        try:
            with client.stream("GET", f"/v1{path}") as response:
                if not response.is_success:
                    response.read()
                    self._checked(response, path)
                with out.open("xb") as file:
                    try:
                        for chunk in response.iter_bytes():
                            file.write(chunk)
                    except BaseException:
                        out.unlink()  # a part of it looks like the whole
                        raise
        except httpx.HTTPError as e:
            raise self._unreachable(e) from None
        except OSError as e:
            raise click.ClickException(f"{out} cannot be written: {e.strerror}") from None

    def async_client(self) -> httpx.AsyncClient:
        """Returns a client of the stack for concurrent requests, which the caller closes."""
        connected = self._connected()
        return httpx.AsyncClient(base_url=connected.base_url, headers=connected.headers, timeout=TIMEOUT_S)

    def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()

    def _ask(self, method: str, path: str, query: Query, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        params = {name: value for name, value in query.items() if value is not None}
        said = {name: value for name, value in body.items() if value is not None} if body is not None else None
        return self._answer(path, lambda client: client.request(method, f"/v1{path}", params=params, json=said))

    def _answer(self, path: str, send: Callable[[httpx.Client], httpx.Response]) -> dict[str, Any]:
        client = self._connected()
        try:
            return self._checked(send(client), path)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise self._unreachable(e) from None

    def _unreachable(self, e: Exception) -> click.ClickException:
        return click.ClickException(f"{self._url} cannot be reached: {_line(str(e)) or type(e).__name__}")

    def _checked(self, response: httpx.Response, path: str) -> dict[str, Any]:
        """Returns the JSON of an answer; raises the refusal in it."""
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise click.ClickException(f"{self._url} answered {response.status_code} without JSON: is it a stack?")
        if not response.is_success:
            message, param = _refusal(response.status_code, answer, path)
            raise StackRefused(message, response.status_code, param)
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


def _refusal(status: int, answer: Mapping[str, Any], path: str) -> tuple[str, str | None]:
    """Returns the message, and the field that it is about."""
    error = answer.get("error")
    message = _line(str(error.get("message", ""))) if isinstance(error, dict) else ""
    if status == 404 and message == "There is no such route.":
        return f"This stack has no /v1{path}: its version is an older one.", None
    named = error.get("param") if isinstance(error, dict) else None
    param = _line(str(named)) if named else None
    return f"{message or 'The stack refused'} ({status}{f', {param}' if param else ''})", param


def _line(text: str) -> str:
    """Returns at most 500 characters of `text`, on one line and without terminal control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:500]).strip()
