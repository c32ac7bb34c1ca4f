"""The gateway's HTTP client for engines."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import AsyncIterator
from typing import Any, Protocol

import aiohttp
import orjson

from serving.engines import required_calls
from serving.engines.cached_tokens import without_cached
from serving.engines.endpoint import Endpoint
from serving.engines.measures import failures
from serving.protocol.errors import ApiError, EngineLost, EngineRefused, busy, invalid, timed_out, upstream
from serving.telemetry import tracing

GENERATING = frozenset(("/chat/completions", "/completions"))
"""Paths of requests for which the engine caches the prompt, so that each must name the cache's owner."""

MAX_ANSWER = 64_000_000
"""Maximum size of a complete (not streamed) answer, in bytes."""


class Content(Protocol):
    """The body of an engine's response."""

    async def readany(self) -> bytes:
        """Returns the bytes received since the last call; empty at the end."""
        ...


class EngineResponse(Protocol):
    """The parts of an engine's response that readers of its stream need."""

    @property
    def content(self) -> Content:
        """Its body."""
        ...


class EngineClient:
    """One HTTP client for all engines, with keep-alive. It belongs to the event loop of its first request."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self.windows: dict[tuple[str, str], tuple[float, int]] = {}  # cached for `TokenCounter`

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = _session()
        return self._session

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def post(self, endpoint: Endpoint, path: str, document: dict[str, Any]) -> AsyncIterator[EngineResponse]:
        """Sends a request and yields the response once its status is 200.

        Retries only before the first byte of an answer: when nothing listens, or the engine answers 502, 503 or 504.
        Raises `ApiError`, which is an `EngineLost` if no byte arrived. Leaving the context early closes the connection,
        which stops the engine.
        """
        with tracing.engine(endpoint.url, path, document):
            beside = endpoint.beside if path in GENERATING else {}
            required = required_calls.needed(endpoint, path, document)
            if required:
                sent = required_calls.as_schema_request(document)
            else:
                sent = required_calls.as_strict_request(endpoint, path, document)
            with failures.counted(endpoint):
                response = await self._send(endpoint, path, {**sent, **beside})
                try:
                    if response.status != 200:
                        raise failures.refused(endpoint, response.status, await _refusal(response))
                    if required:
                        yield required_calls.CallResponse(response.content, bool(document.get("stream")))
                    else:
                        yield response
                finally:
                    response.close()

    async def _send(self, endpoint: Endpoint, path: str, document: dict[str, Any]) -> aiohttp.ClientResponse:
        body = orjson.dumps(document)
        headers = {"Content-Type": "application/json", **endpoint.headers, **tracing.headers()}
        timeout = _timeout(endpoint.connect_timeout_s, endpoint.idle_timeout_s)
        for attempt in range(endpoint.retries + 1):
            last = attempt == endpoint.retries
            try:
                async with asyncio.timeout(endpoint.first_byte_timeout_s):
                    response = await self._connections().post(
                        endpoint.url + path, data=body, headers=headers, timeout=timeout, allow_redirects=False
                    )
            except aiohttp.ClientConnectorError:
                if last:
                    raise EngineLost("The model's endpoint cannot be reached.", asked=False) from None
            except TimeoutError:
                raise timed_out() from None
            except aiohttp.ClientError:
                if last:
                    raise EngineLost(
                        "The model's endpoint closed the connection before it answered.", asked=True
                    ) from None
            else:
                if response.status not in (502, 503, 504) or last:
                    return response
                response.close()
            await asyncio.sleep(0.1 * 2**attempt * (0.5 + random.random()))  # noqa: S311
        raise AssertionError("unreachable")


def _session() -> aiohttp.ClientSession:
    # Admission limits the requests; a second limit here would only hide where they wait.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        auto_decompress=True,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        trust_env=False,
    )


@functools.cache  # a pair of timeouts per model
def _timeout(connect_s: float, idle_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, sock_connect=connect_s, sock_read=idle_s)


async def first_piece(response: EngineResponse) -> bytes:
    """Returns the first bytes of an answer. Raises `EngineLost` if there are none, or `engine_timeout`."""
    try:
        piece = await response.content.readany()
    except TimeoutError:
        raise timed_out() from None
    except aiohttp.ClientError:
        piece = b""
    if not piece:
        raise EngineLost("The model's endpoint closed the connection before it answered.", asked=True)
    return piece


async def read_answer(response: EngineResponse, endpoint: Endpoint) -> dict[str, Any]:
    """Returns the JSON object of a complete answer from `endpoint`; raises `engine_error`, or what `first_piece`
    raises.
    """
    body = rest = await first_piece(response)
    try:
        while rest and len(body) < MAX_ANSWER:
            rest = await response.content.readany()
            body += rest
        document = orjson.loads(body)
    except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
        raise upstream("The model's answer was cut off or is not JSON.") from None
    if not isinstance(document, dict):
        raise upstream("The model's answer is not a JSON object.")
    tracing.answered(document.get("choices"), document.get("usage"))
    if not endpoint.counted:
        without_cached(document)
    return document


async def _refusal(response: aiohttp.ClientResponse) -> ApiError:
    """Converts an engine's error to one of Headrace's: caller errors stay the caller's, all others are the stack's."""
    message = ""
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError, LookupError, TypeError):
        message = str(orjson.loads(await response.content.read(65536))["error"]["message"])[:500]
    status = response.status
    if status == 429:
        return busy("The model's endpoint is at its limit", 2)
    if status in (401, 403):
        return EngineRefused("The model's endpoint rejected the stack's credentials.")
    if "context" in message and "exceed" in message:
        return invalid(message, "messages", "context_length_exceeded")
    if 400 <= status < 500:
        return invalid(message or "The model's endpoint rejected the request.")
    if status == 503:  # the status shows that the engine did nothing
        return EngineRefused("The model's endpoint failed.")
    return upstream("The model's endpoint failed.")
