"""One HTTP request and its response in progress."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from starlette.types import Message, Receive, Send

from serving.api.response_headers import Header, completed, dropped_params
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError


class HttpExchange(Exchange):
    """An exchange over ASGI. Routes in the shape of another API set how its errors look, and headers of their own."""

    __slots__ = ("_receive", "_send", "error_body", "method", "own_headers", "status", "tls")

    def __init__(
        self,
        request_id: str,
        receive: Receive,
        send: Send,
        *,
        method: str = "GET",
        tls: bool = False,
    ) -> None:
        super().__init__(request_id)
        self.error_body: Callable[[ApiError], bytes] = ApiError.body
        self.own_headers: Sequence[Header] = ()
        self.method = method
        self.tls = tls
        self.status = 0  # until it is sent
        self._receive = receive
        self._send = send

    async def send(self, message: Message) -> None:
        """Passes an ASGI message on."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            further = self.charge.headers() if self.charge is not None else ()
            headers = (*message.get("headers", ()), *further, *dropped_params(self.dropped), *self.own_headers)
            message = {**message, "headers": completed(headers, tls=self.tls)}
        await self._send(message)

    async def start_stream(self) -> None:
        """Sends the head of an event stream."""
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        self.streamed = True

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Sends a part of the body."""
        if data or last:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    def overhear(self, listen: Callable[[bytes], None]) -> None:
        """Calls `listen` with every part of the body before it is sent."""
        send = self._send

        async def send_and_listen(message: Message) -> None:
            listen(message.get("body", b""))
            await send(message)

        self._send = send_and_listen

    @contextlib.asynccontextmanager
    async def cancelled_by_hang_up(self) -> AsyncIterator[None]:
        """Cancels the block when the caller disconnects. The body must have been read."""
        task = asyncio.current_task()

        async def watch() -> None:
            while (message := await self._receive())["type"] != "http.disconnect":
                pass
            self.disconnected, self.stopped = True, message.get("stopped", False)
            if task is not None:
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
