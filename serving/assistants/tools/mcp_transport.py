"""HTTP to an MCP server: only to checked addresses, and with a limit on the size of answers.

Failures become error answers to the one request: an exception would end the session for all its calls.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx2

_CODES = -secrets.randbits(60)
"""Random prefix of request ids: a server that knew them could cause a call to be repeated."""

NOT_SENT = _CODES - 1
"""JSON-RPC code: the server did not get the request."""

SESSION_GONE = _CODES - 2
"""JSON-RPC code: the server does not know the session (any more), so it did nothing."""

NO_ANSWER = _CODES - 3
"""JSON-RPC code: the server may have got the request, and did not answer."""

REFUSED = _CODES - 4
"""JSON-RPC code: the server rejects the credentials."""

PAUSE_S = 1.0
"""Minimum time between two streams for listening, whatever the server asks for."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Resolves a host and a port to the addresses that may be connected to; raises `OSError` when there is none."""


class McpTransport(httpx2.AsyncBaseTransport):
    """Passes requests on to `inner`."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, resolve: Resolve, max_bytes: int) -> None:
        self._inner = inner
        self._resolve = resolve
        self._max_bytes = max_bytes
        self._listened = -PAUSE_S

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Returns the server's answer, or an error."""
        if request.method == "GET":
            await self._pause()
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(request.url.host, port)
        except OSError as e:
            return _error(503, NOT_SENT, str(e))
        failure: Exception | None = None
        for address in addresses:
            try:
                response = await self._inner.handle_async_request(_to(address, request))
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as e:
                failure = e
            except httpx2.TransportError as e:
                return _error(503, NO_ANSWER, type(e).__name__)
            else:
                return await self._checked(request, response)
        return _error(503, NOT_SENT, type(failure).__name__)

    async def _pause(self) -> None:
        clock = asyncio.get_running_loop().time
        wait = self._listened + PAUSE_S - clock()
        self._listened = max(self._listened + PAUSE_S, clock())
        if wait > 0:
            await asyncio.sleep(wait)

    async def _checked(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        error = None
        if response.status_code in (401, 403):
            error = _error(response.status_code, REFUSED, f"it answers {response.status_code}")
        elif response.status_code == 404 and "mcp-session-id" in request.headers:
            error = _error(404, SESSION_GONE, "the session is gone")
        elif response.headers.get("content-encoding", "identity") != "identity":
            error = _error(502, NO_ANSWER, "its answer is compressed, although compression was not requested")
        if error is not None:
            await response.aclose()
            return error
        stream = _Bounded(response, self._max_bytes)
        return httpx2.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A response's bytes. Every failure is a `StreamError`, which the SDK treats as the failure of one request."""

    def __init__(self, response: httpx2.Response, limit: int) -> None:
        self._response = response
        self._left = self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self._response.stream
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise httpx2.StreamError("nothing to read")
        try:
            async for part in stream:
                self._left -= len(part)
                if self._left < 0:
                    raise httpx2.StreamError(f"it has more than {self._limit} bytes")
                yield part
        except httpx2.TransportError as e:
            raise httpx2.StreamError(type(e).__name__) from e

    async def aclose(self) -> None:
        await self._response.aclose()


def _to(address: str, request: httpx2.Request) -> httpx2.Request:
    """Returns `request` directed to `address`: its Host header and TLS server name stay those of the URL."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.host},
    )


def _error(status: int, code: int, message: str) -> httpx2.Response:
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return httpx2.Response(status, json=body)
