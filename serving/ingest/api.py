"""Ingestion's requests to the HTTP API, and the handling of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx


class IngestError(Exception):
    """The API rejected a request, or failed; the message has the reason."""


class Unavailable(IngestError):
    """The API is not available now, or not completely: another attempt may succeed."""


def connect(url: str, key: str) -> httpx.Client:
    """Returns a client of the API at `url`; close it."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False)


def send(client: httpx.Client, method: str, url: str, **options: Any) -> httpx.Response:
    """Returns the API's response, with any status. Raises `Unavailable` if there is none."""
    try:
        return client.request(method, url, **options)
    except httpx.HTTPError as e:
        raise Unavailable(f"{method} {url}: {e or type(e).__name__}") from e


def error_message(response: httpx.Response) -> str:
    """Returns the message of an error; its status if it has none."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"


def read_json(response: httpx.Response) -> dict[str, Any]:
    """Returns the JSON object of a response. Raises `IngestError` for an error."""
    if response.is_error:
        request = response.request
        message = f"{request.method} {request.url.path} answered {response.status_code}: {error_message(response)}"
        # Gateways read the key when they start: during a roll-out an old one does not know a new key.
        later = response.is_server_error or response.status_code in (401, 404, 408, 429)
        raise (Unavailable if later else IngestError)(message)
    try:
        return dict(response.json())
    except ValueError:
        raise Unavailable(f"{response.request.url} did not answer with JSON") from None


def pages(client: httpx.Client, url: str, **query: str) -> Iterator[dict[str, Any]]:
    """Yields the objects of a list of any length. Raises `IngestError`."""
    params: dict[str, str | int] = {"limit": 100, **query}
    while True:
        page = read_json(send(client, "GET", url, params=params))
        yield from page["data"]
        if not page.get("has_more") or not page["data"]:
            return
        params["after"] = page["data"][-1]["id"]


def own_user(client: httpx.Client) -> str:
    """Returns the key's user."""
    return str(read_json(send(client, "GET", "/v1/me"))["id"])


def headrace_fields(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the fields of an answer that OpenAI's API lacks."""
    return answer.get("headrace") or {}


def owner_of(answer: Mapping[str, Any]) -> str | None:
    """Returns the user who owns an object; None for one from a version without owners."""
    return headrace_fields(answer).get("owner")
