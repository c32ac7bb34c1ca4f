"""The HTTP/1.1 server for the gateway; each connection carries one request."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import sys
import traceback
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from .run import PlatformError, Run, enter
from .threads import Places

MAX_HEAD, MAX_BODY = 65_536, 64_000_000
"""Maximum size of a request, in bytes."""

BEAT_S = 15
"""Interval of keepalive events of a run without output."""

Runner = Callable[[Run], Awaitable[None]]


class RunServer:
    """Serves runs by `runner`, at most `runs` at once; others wait. Requests must have the `key`."""

    def __init__(self, runner: Runner, key: str, runs: int, timeout_s: float) -> None:
        self._runner = runner
        self._key = key.encode()
        self._places = Places(runs)
        self._timeout_s = timeout_s

    async def start(self, host: str) -> tuple[asyncio.Server, int]:
        """Listens on a free port of `host`, and returns the port."""
        asyncio.get_running_loop().set_default_executor(self._places.threads())
        server = await asyncio.start_server(self._connected, host, 0, limit=MAX_HEAD)
        return server, server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass  # the gateway disconnected, or the client is not a gateway
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        if (method, path) == ("GET", "/health"):
            if self._places.stuck:
                await _write(writer, 503, _error("threads of ended runs occupy all slots"))
            else:
                await _write(writer, 200, b"")
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(shown.encode(), self._key):
            await _write(writer, 401, _error("only the gateway may call the app"))
        elif (method, path) == ("GET", "/metrics"):
            await _write(writer, 200, b"")
        elif (method, path) == ("POST", "/v1/run"):
            length = int(headers.get("content-length", "0"))
            if length > MAX_BODY:
                await _write(writer, 413, _error("the request is too large"))
                return
            document = json.loads(await reader.readexactly(length))
            await self._run(document, headers.get("traceparent", ""), reader, writer)
        else:
            await _write(writer, 400, _error("An app supports only chat completions and responses."))

    async def _run(
        self, document: dict[str, Any], traceparent: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Runs the app, and cancels the run when the gateway disconnects."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n")
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(event: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        run = Run(
            **{name: document[name] for name in ("url", "token", "messages", "new", "thread", "kept", "settings")},
            emit=emit,
            traceparent=traceparent,
        )
        working = asyncio.create_task(self._work(run, events))
        hung_up = asyncio.create_task(reader.read(1))
        hung_up.add_done_callback(lambda _: working.cancel())
        try:
            while True:
                try:
                    async with asyncio.timeout(BEAT_S):
                        event = await events.get()
                except TimeoutError:
                    writer.write(b"\n")
                    await writer.drain()
                    continue
                if event is None:
                    break
                writer.write(json.dumps(event).encode() + b"\n")
                await writer.drain()
        finally:
            hung_up.cancel()
            working.cancel()
            await asyncio.gather(working, hung_up, return_exceptions=True)

    async def _work(self, run: Run, events: asyncio.Queue[dict[str, Any] | None]) -> None:
        enter(run)
        deadline = asyncio.timeout(self._timeout_s)
        last: dict[str, Any] = {"end": True}
        try:
            async with self._places.place_of(run), deadline:
                await self._runner(run)
        except Exception as e:
            if deadline.expired():
                last = {"error": {"code": "timeout", "message": f"the app took longer than {self._timeout_s:g} s"}}
            else:
                traceback.print_exc(file=sys.stderr)
                last = {"error": _failure(e, run.url)}
        # The loop also queues earlier events, so that they come first.
        run.emit(last)
        asyncio.get_running_loop().call_soon(events.put_nowait, None)


def _failure(e: Exception, platform: str) -> dict[str, Any]:
    """Returns the error for the gateway: the code of a platform's error, or only the class of any other error.

    Errors of other providers look similar, and their messages can contain parts of the app's own keys.
    """
    if not isinstance(e, PlatformError) and _request_origin(e) != _origin(platform):
        return {"code": "failed", "message": type(e).__name__}
    status, body = getattr(e, "status_code", None), getattr(e, "body", None)
    code = body.get("code") if isinstance(body, dict) else getattr(e, "code", None)
    if isinstance(status, int) and isinstance(code, str):
        message = body.get("message") if isinstance(body, dict) else str(e)
        return {"status": status, "code": code, "message": str(message)}
    return {"code": "failed", "message": type(e).__name__}


def _request_origin(e: Exception) -> tuple[str, str | None, int | None] | None:
    """Returns the origin that a client error's request was sent to, in HTTPX's notation; None if unknown."""
    try:
        return _origin(str(e.response.request.url))  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError, ValueError):
        return None


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message}}).encode()


async def _write(writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
    head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
    await writer.drain()
