"""Answers the gateway: a small HTTP/1.1 server, whose connections each carry one request."""

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
"""Bytes of a request."""

BEAT_S = 15
"""A run that says nothing for so long says that it is still there."""

Runner = Callable[[Run], Awaitable[None]]


class RunServer:
    """Answers runs by `runner`, at most `runs` at once; others wait. Requests must bring `key`."""

    def __init__(self, runner: Runner, key: str, runs: int, timeout_s: float) -> None:
        self._runner = runner
        self._key = key.encode()
        self._places = Places(runs)
        self._timeout_s = timeout_s

    async def start(self, host: str) -> tuple[asyncio.Server, int]:
        """Listens on a free port of `host`, and returns it."""
        asyncio.get_running_loop().set_default_executor(self._places.threads())
        server = await asyncio.start_server(self._connected, host, 0, limit=MAX_HEAD)
        return server, server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass  # the gateway hung up, or it is none
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
                await _write(writer, 503, _error("threads of runs that have ended hold all places"))
            else:
                await _write(writer, 200, b"")
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(shown.encode(), self._key):
            await _write(writer, 401, _error("the app is asked by its gateway alone"))
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
            await _write(writer, 400, _error("An app answers chat completions and responses alone."))

    async def _run(
        self, document: dict[str, Any], traceparent: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Runs the app, and ends the run where the gateway hangs up."""
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
        # What was emitted before is put into the queue by the loop too, and comes first.
        run.emit(last)
        asyncio.get_running_loop().call_soon(events.put_nowait, None)


def _failure(e: Exception, platform: str) -> dict[str, Any]:
    """Returns what the gateway is told: of an error of the platform's its code, of others their class alone.

    Other providers' errors look the same, and can have parts of the app's own keys in their messages.
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
    """Returns where the request of a client's error went, as HTTPX has it; None where it does not say."""
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
