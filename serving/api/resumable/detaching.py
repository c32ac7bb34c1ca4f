"""Requests whose stream outlives their connection: they run in their own task, which the connection follows."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.resumable.buffer import Buffers, Stream
from serving.protocol.errors import ApiError

HEADER = b"headrace-resumable"
"""Request header: `true` for a resumable stream."""

ID_HEADER = b"headrace-stream"
"""Response header with the stream's id."""


def wants_resumable(scope: Scope) -> bool | None:
    """Returns whether a request asks for a resumable stream; None for a value other than `true` or `false`."""
    if scope["method"] != "POST":
        return False
    for name, value in scope["headers"]:
        if name == HEADER:
            return {b"true": True, b"false": False}.get(value.lower())
    return False


class Detaching:
    """Runs requests, and tracks those in progress."""

    def __init__(self, buffers: Buffers) -> None:
        self._buffers = buffers
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, new_id: Callable[[], str]) -> None:
        """Answers one request with `app`.

        Until an event stream begins, a disconnect cancels the request as usual. From then on the stream continues by
        itself. `new_id` creates the stream's id when it begins.
        """
        request = _Request(self._buffers, receive, send, new_id)
        # Its own context: when a connection ends, Serve cancels the calls that started in the connection's context.
        work = asyncio.create_task(request.work(app, scope), context=contextvars.Context())
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)
        await request.answer(work)

    async def drain(self) -> None:
        """Waits until all requests in progress have ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Cancels the requests that are still in progress."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Request:
    def __init__(self, buffers: Buffers, receive: Receive, send: Send, new_id: Callable[[], str]) -> None:
        self._buffers = buffers
        self._receive = receive
        self._send = send
        self._new_id = new_id
        self._stop = asyncio.Event()
        self._received = asyncio.Event()  # the body has been read; the connection then only reports a disconnect
        self._settled = asyncio.Event()  # a stream has begun, or the request has ended
        self._stream: Stream | None = None
        self._head: Message = {}
        self._following = ExitStack()
        self._pieces: AsyncIterator[bytes] | None = None

    async def work(self, app: ASGIApp, scope: Scope) -> None:
        """Runs the request to its end."""
        try:
            await app(scope, self._take, self._give)
        finally:
            self._settled.set()
            if self._stream is not None:
                self._buffers.end(self._stream)

    async def answer(self, work: asyncio.Task[None]) -> None:
        """Relays the answer until it ends or the caller disconnects."""
        passing = asyncio.create_task(self._pass_on(work))
        hang_up = asyncio.create_task(self._hang_up())
        try:
            await asyncio.wait({passing, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if self._stream is None:
                self._stop.set()
                await asyncio.wait({work})
            if passing.done():
                passing.result()
        finally:
            if self._stream is None:
                self._stop.set()
            passing.cancel()
            hang_up.cancel()
            self._following.close()
            await asyncio.gather(passing, hang_up, return_exceptions=True)

    async def _take(self) -> Message:
        if self._received.is_set():
            await self._stop.wait()
            return {"type": "http.disconnect", "stopped": self._stream is not None and self._stream.stopped}
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._received.set()
        return message

    async def _give(self, message: Message) -> None:
        if self._stream is not None:
            await self._stream.add(message.get("body", b""))
        elif message["type"] == "http.response.start" and _is_stream(message):
            stream = self._buffers.begin(self._new_id())
            stream.stop = self._stop
            headers = [h for h in message["headers"] if h[0] != b"content-length"]  # frames get longer by their numbers
            self._head = {**message, "headers": [*headers, (ID_HEADER, stream.id.encode())]}
            self._stream = stream
            if not self._stop.is_set():  # a reader from the first frame on, so that this connection misses none
                self._pieces = self._following.enter_context(stream.reader(0))
            self._settled.set()
        else:
            await self._send(message)

    async def _pass_on(self, work: asyncio.Task[None]) -> None:
        await self._settled.wait()
        if self._pieces is None:
            await asyncio.wait({work})
            work.result()
            return
        await self._send(self._head)
        last = b""
        try:
            async for piece in self._pieces:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except ApiError as e:  # the caller was slow, and newer readers took precedence
            last = e.frame()
        await self._send({"type": "http.response.body", "body": last, "more_body": False})

    async def _hang_up(self) -> None:
        await self._received.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


def _is_stream(message: Message) -> bool:
    return message["status"] == 200 and any(
        name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"]
    )
