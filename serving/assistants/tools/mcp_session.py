"""One session with an MCP server, by the official SDK, over Streamable HTTP.

Importing it takes seconds, so only processes that connect to a server do. Source:
https://modelcontextprotocol.io/specification.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

import httpx2
import mcp_types
from mcp import Client, MCPError
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from serving.assistants.tools.mcp_failure import McpFailure
from serving.assistants.tools.mcp_transport import NOT_SENT, REFUSED, SESSION_GONE, McpTransport, Resolve

# They quote what servers send, with tracebacks; relevant errors are reported to the caller.
logging.getLogger("mcp").setLevel(logging.CRITICAL)
logging.getLogger("httpx2").setLevel(logging.WARNING)

MAX_PAGES = 16
"""Maximum number of pages of a list of tools."""

CLOSE_S = 2.0
"""Timeout in seconds of closing a session."""

_QUIET_S = 300.0
"""Seconds without data after which a stream counts as broken, unless a call may take longer."""

_TLS = ssl.create_default_context()
"""Created at import time: loading all certificate authorities takes long on an event loop."""

T = TypeVar("T")


class McpSession:
    """A session, usable after `open`.

    Its connections and the SDK's tasks belong to a task of its own, and so does each request, since callers may be
    cancelled at any time. `changed` is called when the server notifies of changed tools.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str],
        resolve: Resolve,
        seconds: float,
        max_bytes: int,
        connections: int,
        changed: Callable[[], None],
    ) -> None:
        limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
        inner = httpx2.AsyncHTTPTransport(verify=_TLS, trust_env=False, limits=limits)
        transport = McpTransport(inner, resolve, max_bytes)
        self._http = httpx2.AsyncClient(
            transport=transport,
            headers={**headers, "accept-encoding": "identity"},
            timeout=httpx2.Timeout(seconds, read=max(_QUIET_S, seconds)),
            trust_env=False,
        )
        self._client = Client(
            streamable_http_client(url, http_client=self._http, max_sse_event_size=max_bytes),
            read_timeout_seconds=seconds,
            message_handler=self._notice,
            client_info=mcp_types.Implementation(name="headrace", version="1"),
            cache=None,
        )
        self._seconds = seconds
        self._changed = changed
        self._asked: set[asyncio.Task[Any]] = set()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._end = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects and negotiates a version; raises `McpFailure`, after `seconds` at the latest."""
        self._task = asyncio.create_task(self._hold())
        self._task.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(self._seconds):
                await self._opened
        except TimeoutError:
            raise McpFailure(f"it did not answer within {self._seconds:g} s", sent=False) from None
        finally:
            if not self.usable:
                self._task.cancel()

    async def _hold(self) -> None:
        async with self._http, self._client:
            listening = asyncio.create_task(self._listen())
            listening.add_done_callback(_forget)
            try:
                if not self._opened.done():
                    self._opened.set_result(None)
                await self._end.wait()
            finally:
                listening.cancel()
                self._end.set()  # closing takes time, during which the session is not usable

    def _ended(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if not self._opened.done():
            self._opened.set_exception(_failure(failure))

    @property
    def usable(self) -> bool:
        """Returns whether requests can be sent."""
        return (
            self._opened.done()
            and not self._opened.cancelled()
            and self._opened.exception() is None
            and (self._task is not None and not self._task.done() and not self._end.is_set())
        )

    async def _notice(self, message: object) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._changed()

    async def _listen(self) -> None:
        """Listens for changes, if the server's version of the protocol needs that."""
        if self._client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            async with self._client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._changed()

    async def tools(self) -> list[mcp_types.Tool]:
        """Returns the tools on the first `MAX_PAGES` pages; raises `McpFailure`."""

        async def ask(session: ClientSession) -> list[mcp_types.Tool]:
            found: list[mcp_types.Tool] = []
            cursor = None
            for _ in range(MAX_PAGES):
                page = await session.list_tools(
                    params=mcp_types.PaginatedRequestParams(cursor=cursor) if cursor else None
                )
                found += page.tools
                cursor = page.next_cursor
                if not cursor:
                    break
            return found

        return await self._ask(ask)

    async def call(self, name: str, arguments: dict[str, Any]) -> CallToolResult:
        """Returns a tool's result; raises `McpFailure`."""
        request = mcp_types.CallToolRequest(params=mcp_types.CallToolRequestParams(name=name, arguments=arguments))
        # Not `call_tool`: it validates the result with the server's own schema, which can take for ever.
        return await self._ask(lambda session: session.send_request(request, CallToolResult))

    async def _ask(self, question: Callable[[ClientSession], Coroutine[Any, Any, T]]) -> T:
        try:
            session = self._client.session
        except RuntimeError:  # it has just broken, and is being closed
            raise McpFailure("the session ended", sent=False) from None
        task = asyncio.create_task(question(session))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        task.add_done_callback(_forget)
        try:
            await asyncio.wait({task}, timeout=self._seconds)
            if not task.done():
                raise McpFailure(f"it did not answer within {self._seconds:g} s")
            if task.cancelled():
                raise McpFailure("the session ended")
            failure = task.exception()
            if failure is not None:
                raise _failure(failure) from None
            return task.result()
        finally:
            task.cancel()

    async def close(self, *, at_once: bool = False) -> None:
        """Closes the session, after the requests in progress unless `at_once`."""
        if self._asked and not at_once:
            await asyncio.wait(set(self._asked))
        self._end.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_S)
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=CLOSE_S)


def _failure(found: BaseException | None) -> McpFailure:
    """Converts an exception of the SDK."""
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if isinstance(found, MCPError):
        return McpFailure(found.message, sent=found.code not in (NOT_SENT, SESSION_GONE, REFUSED))
    if isinstance(found, ValidationError):
        return McpFailure("its answer does not follow MCP")
    return McpFailure(type(found).__name__)


def _forget(task: asyncio.Task[Any]) -> None:
    """Retrieves a task's exception, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()
