"""Tools of MCP servers: one session per server and process, opened on first use."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import math
import re
import socket
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from serving.assistants.tools.address import may_connect
from serving.assistants.tools.json_schema import MAX_TEXT, UnusableSchema, clean, restrict
from serving.assistants.tools.masking import masked
from serving.assistants.tools.mcp_content import result_text
from serving.assistants.tools.mcp_failure import McpFailure
from serving.assistants.tools.tool import Tool, ToolError
from serving.config import McpTool

if TYPE_CHECKING:
    import mcp_types

    from serving.assistants.tools.mcp_session import McpSession

T = TypeVar("T")

log = logging.getLogger("headrace.tools")

MAX_TOOLS = 64
"""Maximum number of tools of one server."""

MAX_CHARACTERS = 48_000
"""Maximum number of characters of all tool descriptions of one server."""

MAX_IN_FLIGHT = 64
"""Maximum number of concurrent requests to one server."""

LIFETIME_S = 300.0
"""Seconds after which a server's tools are listed again, even without a notification of changes."""

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Seconds before an unreachable server is tried again; doubled after each failure."""

_SDK = "serving.assistants.tools.mcp_session"
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class McpServers:
    """The servers of a catalogue. One that is used with several tenants' secrets is a separate server for each."""

    def __init__(self) -> None:
        self._servers: dict[str, McpServer] = {}
        self._named: set[str] | None = None
        # Removed from the catalogue; turns in progress can still call their tools.
        self._left: weakref.WeakSet[McpServer] = weakref.WeakSet()
        self._tasks: set[asyncio.Task[Any]] = set()

    def configure(self, settings: Iterable[McpTool]) -> None:
        """Closes the sessions of removed servers, after the calls in progress."""
        self._named = {variant.model_dump_json() for each in settings for variant in each.variants}
        for key in [key for key in self._servers if key not in self._named]:
            self._leave(self._servers.pop(key))
        if self._named:
            # The SDK takes seconds to import: it is imported now, so that nobody waits for it later.
            self._do(asyncio.to_thread(importlib.import_module, _SDK))

    async def tools(self, settings: McpTool) -> list[Tool]:
        """Returns the tools of a server; if it does not answer, the last known ones, or one that says so."""
        key = settings.model_dump_json()
        server = self._servers.get(key)
        if server is None:
            server = McpServer(settings)
            if self._named is None or key in self._named:
                self._servers[key] = server
            else:  # a turn that began with an earlier catalogue
                self._leave(server)
        return await server.tools()

    def _leave(self, server: McpServer) -> None:
        self._left.add(server)
        self._do(server.close())

    def _do(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Closes all sessions."""
        closing = [server.close(at_once=True) for server in (*self._servers.values(), *self._left)]
        await asyncio.gather(*closing, *self._tasks, return_exceptions=True)


class McpServer:
    """One server: its session, and its list of tools."""

    def __init__(self, settings: McpTool, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._session: McpSession | None = None
        self._opening: asyncio.Task[McpSession] | None = None
        self._listing: asyncio.Task[list[Tool]] | None = None
        self._ending: dict[asyncio.Task[None], McpSession] = {}
        self._failure = ""
        self._wait = FIRST_WAIT_S
        self._again_at = -math.inf
        self._tools: list[Tool] | None = None
        self._stale_at = -math.inf
        self._in_flight = 0
        self._secrets: dict[str, str] = {}  # by header, as sent by the newest session
        self._closed = self._shut = False

    async def tools(self) -> list[Tool]:
        """Returns its tools; if it does not answer, the last known ones, or one that says so."""
        if self._tools is not None and self._clock() < self._stale_at:
            return self._tools
        if self._listing is None:
            self._listing = asyncio.create_task(self._list())
        try:
            # A caller that disconnects meanwhile must not cancel it for the others.
            return await asyncio.shield(self._listing)
        except ToolError as e:
            return self._tools if self._tools is not None else [self._apology(str(e))]

    def _forget_tools(self) -> None:
        """Has the tools listed again on the next use."""
        self._stale_at = -math.inf

    def _apology(self, why: str) -> Tool:
        async def call(_: Any) -> str:
            raise ToolError(why)

        nothing: dict[str, Any] = {"type": "object", "properties": {}}
        return Tool(
            self._settings.name,
            f"{self._settings.description} (cannot be used now)".strip(),
            nothing,
            call,
            untrusted=True,
        )

    async def _list(self) -> list[Tool]:
        try:
            # Set before the answer: changes during the request must not be lost.
            self._stale_at = self._clock() + LIFETIME_S
            listed = await self._ask(lambda session: session.tools())
            # In a thread: the amount of work depends on the server.
            self._tools = await asyncio.to_thread(self._make_tools, listed)
        except (_Unreachable, _Busy):
            self._forget_tools()
            raise
        except ToolError as e:
            self._forget_tools()
            raise self._failed(str(e)) from None
        except Exception as e:
            self._forget_tools()
            log.error("MCP server %s: its tools cannot be read: %s", self._settings.name, type(e).__name__)
            raise self._failed(f"the tools of {self._settings.name} cannot be read") from None
        finally:
            self._listing = None
        return self._tools

    def _make_tools(self, listed: list[mcp_types.Tool]) -> list[Tool]:
        settings = self._settings
        made: dict[str, Tool] = {}
        room = MAX_CHARACTERS
        wanted = [each for each in listed if settings.tools is None or each.name in settings.tools]
        if len(wanted) > MAX_TOOLS:
            log.warning("MCP server %s: only the first %d of its tools are used", settings.name, MAX_TOOLS)
        for each in wanted[:MAX_TOOLS]:
            try:
                tool = self._tool(each)
                if tool.name in made:
                    raise _LeftOut("another tool has its name")
                characters = len(json.dumps(tool.schema))
                if characters > room:
                    raise _LeftOut(f"with it the descriptions exceed {MAX_CHARACTERS} characters")
            except _LeftOut as e:
                log.warning("MCP server %s: its tool %.100r is not used: %s", settings.name, each.name, e)
                continue
            made[tool.name] = tool
            room -= characters
        for name in sorted(set(settings.tools or ()) - {each.name for each in listed}):
            log.warning("MCP server %s: it has no tool %r", settings.name, name)
        log.info("MCP server %s: %d tools", settings.name, len(made))
        return list(made.values())

    def _tool(self, listed: mcp_types.Tool) -> Tool:
        settings = self._settings
        name = f"{settings.name}_{re.sub(r'[^a-zA-Z0-9_-]', '_', listed.name[:100])}"
        if not _NAME.fullmatch(name):
            raise _LeftOut("its name is too long")
        try:
            parameters = restrict(listed.input_schema)
        except UnusableSchema as e:
            raise _LeftOut(f"its schema cannot be used: {e}") from None

        async def call(arguments: dict[str, Any]) -> str:
            failed, text = result_text(await self._ask(lambda session: session.call(listed.name, arguments)))
            text = masked(text, self._secrets.values())
            if failed:
                raise ToolError(text or "it failed")
            return text

        return Tool(
            name,
            self._masked_text(listed.description or listed.title or "", MAX_TEXT) or "(no description)",
            parameters,
            call,
            # Annotations of a server are ignored: they must not weaken guardrails.
            effects=listed.name not in settings.read_only,
            untrusted=True,
            approval=settings.approval,
            configured=settings.name,
        )

    async def _ask(self, question: Callable[[McpSession], Awaitable[T]]) -> T:
        """Sends a request to the server; raises `ToolError`."""
        name = self._settings.name
        if self._in_flight >= MAX_IN_FLIGHT:
            raise _Busy(f"{name} is busy: {MAX_IN_FLIGHT} calls are under way")
        self._in_flight += 1
        try:
            return await self._answer(question)
        finally:
            self._in_flight -= 1
            self._leave()

    async def _answer(self, question: Callable[[McpSession], Awaitable[T]]) -> T:
        for again in (True, False):
            session = await self._opened()
            try:
                answer = await question(session)
            except McpFailure as e:
                # A new session is cheap, and helps if the server forgot the old one.
                self._retire(session)
                if e.sent or not again:
                    raise ToolError(f"{self._settings.name} failed: {self._masked_text(str(e))}") from None
            except asyncio.CancelledError:
                self._retire(session)
                raise
            else:
                self._wait = FIRST_WAIT_S
                return answer
        raise AssertionError("unreachable: the second attempt raises or returns")

    async def _opened(self) -> McpSession:
        if self._shut:
            raise _Unreachable(f"{self._settings.name} is no longer used")
        session = self._session
        if session is not None and session.usable:
            if not await self._rotated():
                return session
            self._retire(session)
        if self._opening is None:
            if self._clock() < self._again_at:
                raise _Unreachable(self._failure)
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _rotated(self) -> bool:
        """Returns whether the secrets in its headers have changed since the session was opened."""
        try:
            return bool(self._settings.secrets) and await self._headers() != self._secrets
        except LookupError:  # being written: the known ones are used
            return False

    async def _headers(self) -> dict[str, str]:
        refs = self._settings.secrets
        return await asyncio.to_thread(lambda: {name: ref.read() for name, ref in refs.items()})

    async def _open(self) -> McpSession:
        settings = self._settings
        try:
            sdk = await asyncio.to_thread(importlib.import_module, _SDK)
            headers = await self._headers()
            self._secrets = headers
            session: McpSession = sdk.McpSession(
                settings.url,
                headers=headers,
                resolve=partial(_resolve, private=settings.private),
                seconds=settings.timeout_s,
                max_bytes=settings.max_bytes,
                connections=MAX_IN_FLIGHT + 2,
                changed=self._forget_tools,
            )
            await session.open()
        except LookupError as e:
            log.error("MCP server %s: %s", settings.name, e)
            raise self._failed(f"{settings.name} is not set up") from None
        except McpFailure as e:
            why = self._masked_text(str(e))
            log.warning("MCP server %s: no session: %s", settings.name, why)
            raise self._failed(f"{settings.name} cannot be reached: {why}") from None
        except Exception as e:
            log.error("MCP server %s: no session: %s", settings.name, type(e).__name__)  # its text could hold a header
            raise self._failed(f"{settings.name} cannot be reached") from None
        finally:
            self._opening = None
        self._session = session
        self._leave()  # the caller can have disconnected
        return session

    def _masked_text(self, text: str, limit: int = 200) -> str:
        """Returns the part of a server's text that may be shown."""
        return clean(masked(text, self._secrets.values()), limit)

    def _failed(self, message: str) -> _Unreachable:
        """Delays the next attempt to connect to the server."""
        self._failure = message
        self._again_at = self._clock() + self._wait
        self._wait = min(2 * self._wait, LONGEST_WAIT_S)
        return _Unreachable(message)

    def _retire(self, session: McpSession) -> None:
        """Closes a session after its requests in progress; the next request opens another."""
        if self._session is not session:
            return
        self._session = None
        self._forget_tools()
        task = asyncio.create_task(session.close())
        self._ending[task] = session
        task.add_done_callback(self._ending.pop)

    def _leave(self) -> None:
        """Closes the session of a removed server, unless requests wait for an answer."""
        if self._closed and not self._in_flight and self._session is not None:
            self._retire(self._session)

    async def close(self, *, at_once: bool = False) -> None:
        """Closes the session; unless `at_once`, after the requests in progress, and later ones open their own."""
        self._closed = True
        if at_once:
            self._shut = True
            begun: list[asyncio.Task[Any] | None] = [self._opening, self._listing]
            under_way = [task for task in begun if task is not None]
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
            if self._session is not None:
                self._retire(self._session)
            await asyncio.gather(*(session.close(at_once=True) for session in self._ending.values()))
        self._leave()
        await asyncio.gather(*self._ending)


async def _resolve(host: str, port: int, *, private: bool) -> list[str]:
    """Returns the addresses of a host; raises `OSError` when none may be connected to."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = dict.fromkeys(str(where[0]) for *_, where in found)
    allowed = [address for address in addresses if may_connect(address, private=private)]
    if not allowed:
        raise OSError("its address is not one that this tool may connect to")
    return allowed


class _Unreachable(ToolError):
    """There is no session with a server, and no attempt to open one yet."""


class _Busy(ToolError):
    """A server has too many requests; it has not failed."""


class _LeftOut(Exception):
    """A tool is not offered to models. The message has the reason."""
