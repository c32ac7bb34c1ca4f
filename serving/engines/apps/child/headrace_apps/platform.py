"""The platform's models, documents, memory and tools, for use by an app on behalf of the current run's caller.

Objects can be created at import time; the run is determined when they are used. The functions block; those with the
prefix `a` are coroutines.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any
from urllib.parse import quote

from .run import PlatformError, Run, current

__all__ = [
    "PlatformError",
    "Run",
    "acall",
    "amemories",
    "asearch",
    "async_openai",
    "call",
    "current",
    "langchain_tools",
    "memories",
    "model",
    "openai",
    "search",
    "step",
    "tools",
]

_ANYWHERE = "http://platform.invalid/v1"
"""Placeholder for the address, which the run provides."""


def model(name: str, **settings: Any) -> Any:
    """Returns a model, an assistant or another app of the platform, as `langchain_openai.ChatOpenAI`."""
    from langchain_openai import ChatOpenAI

    given = {"stream_usage": True, **settings}
    return ChatOpenAI(
        model=name,
        base_url=_ANYWHERE,
        api_key="of-the-run",
        http_client=_clients()[0],
        http_async_client=_clients()[1],
        **given,
    )


def openai(**settings: Any) -> Any:
    """Returns an `openai.OpenAI` for the platform."""
    from openai import OpenAI

    return OpenAI(base_url=_ANYWHERE, api_key="of-the-run", http_client=_clients()[0], **settings)


def async_openai(**settings: Any) -> Any:
    """Returns an `openai.AsyncOpenAI` for the platform."""
    from openai import AsyncOpenAI

    return AsyncOpenAI(base_url=_ANYWHERE, api_key="of-the-run", http_client=_clients()[1], **settings)


@cache
def _clients() -> tuple[Any, Any]:
    """Returns HTTP clients that direct requests to the platform of the run that sends them."""
    import httpx

    def directed(request: httpx.Request) -> httpx.Request:
        run = current()
        place = httpx.URL(run.url)
        request.url = request.url.copy_with(scheme=place.scheme, host=place.host, port=place.port)
        request.headers["host"] = place.netloc.decode()
        request.headers.update(run.headers)
        return request

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return super().handle_request(directed(request))

    class AsyncTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            return await super().handle_async_request(directed(request))

    return (
        httpx.Client(transport=Transport(), timeout=600, trust_env=False),
        httpx.AsyncClient(transport=AsyncTransport(), timeout=600, trust_env=False),
    )


def search(query: str, store: str, **settings: Any) -> list[dict[str, Any]]:
    """Returns the results of a search in a vector store, best first, as `/v1/vector_stores/{id}/search` does.

    `store` is an id, or the name of a collection; `settings` are those of the route, such as `filters`.
    """
    run = current()
    if not store.startswith("vs_"):
        found = run.ask("GET", f"/v1/vector_stores?name={quote(store)}")["data"]
        if not found:
            raise LookupError(f"there is no collection '{store}' that the caller may read")
        store = found[0]["id"]
    hits: list[dict[str, Any]] = run.ask("POST", f"/v1/vector_stores/{store}/search", {"query": query, **settings})[
        "data"
    ]
    return hits


async def asearch(query: str, store: str, **settings: Any) -> list[dict[str, Any]]:
    """Like `search`."""
    return await asyncio.to_thread(search, query, store, **settings)


def memories(assistant: str | None = None) -> list[str]:
    """Returns the memories of the caller, of all assistants or of one."""
    query = f"&assistant={quote(assistant)}" if assistant is not None else ""
    return [each["text"] for each in current().ask("GET", f"/v1/memories?limit=100{query}")["data"]]


async def amemories(assistant: str | None = None) -> list[str]:
    """Like `memories`."""
    return await asyncio.to_thread(memories, assistant)


def tools() -> list[dict[str, Any]]:
    """Returns the tools that the app may call for this caller, in the format of OpenAI's API."""
    found: list[dict[str, Any]] = current().ask("GET", "/run/tools")["tools"]
    return found


def call(name: str, **arguments: Any) -> str:
    """Calls a tool of the platform and returns its output or error message."""
    said: str = current().ask("POST", "/run/tools", {"name": name, "arguments": json.dumps(arguments)})["text"]
    return said


async def acall(name: str, **arguments: Any) -> str:
    """Like `call`."""
    return await asyncio.to_thread(call, name, **arguments)


def langchain_tools() -> list[Any]:
    """Returns `tools()` as LangChain tools."""
    from langchain_core.tools import StructuredTool

    def structured_tool(schema: dict[str, Any]) -> Any:
        named = schema["function"]

        def use(**arguments: Any) -> str:
            return call(named["name"], **arguments)

        async def ause(**arguments: Any) -> str:
            return await acall(named["name"], **arguments)

        return StructuredTool.from_function(
            use, ause, name=named["name"], description=named["description"], args_schema=named["parameters"]
        )

    return [structured_tool(schema) for schema in tools()]


def step(text: str, *, name: str = "", kind: str = "thought") -> None:
    """Shows a step of the run to the caller; `kind` is one of the step kinds of strategies."""
    current().emit({"step": {"kind": kind, "name": name, "text": text}})
