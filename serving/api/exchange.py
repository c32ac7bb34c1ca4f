"""One request and what became of it: identity, timings, and the response that is under way."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING

from starlette.types import Message, Receive, Send

from serving.api.errors import ApiError
from serving.api.response_headers import completed
from serving.security.principal import Principal
from serving.telemetry import metrics
from serving.telemetry.catalogue import UNKNOWN
from serving.telemetry.timeline import Timeline

if TYPE_CHECKING:
    from serving.api.auditing import Recording
    from serving.api.charging import Charge
    from serving.api.guard import Guard
    from serving.api.idempotency import Hold


class Exchange:
    """State of one request, from its first byte in to its last byte out."""

    __slots__ = (
        "_receive",
        "_send",
        "assistant",
        "charge",
        "code",
        "disconnected",
        "error_frame",
        "guard",
        "hold",
        "method",
        "model",
        "principal",
        "recording",
        "request_id",
        "route",
        "started",
        "status",
        "streamed",
        "timeline",
        "tls",
        "usage",
    )

    def __init__(
        self, request_id: str, receive: Receive, send: Send, *, method: str = "GET", tls: bool = False
    ) -> None:
        self.request_id = request_id
        self.method = method
        self.tls = tls
        self.timeline = Timeline()
        self.principal: Principal | None = None
        self.route = UNKNOWN
        self.model = "none"
        self.assistant: str | None = None  # that is asked, by its configured name
        self.usage: Mapping[str, object] = {}  # the tokens that an engine reported
        self.status = 0
        self.code = ""
        self.started = False
        self.streamed = False
        self.disconnected = False
        self.error_frame: Callable[[ApiError], bytes] = ApiError.frame  # how its stream ends when it fails
        self.hold: Hold | None = None  # on the idempotency key that it came with
        self.charge: Charge | None = None  # to its caller's quotas
        self.guard: Guard | None = None  # of the assistant that answers, if it has guardrails
        self.recording: Recording | None = None  # of what it does, where the audit log has events of it
        self._receive = receive
        self._send = send

    @property
    def caller(self) -> Principal:
        """The verified caller of a route that needs one."""
        if self.principal is None:
            raise AssertionError("this route has no caller")
        return self.principal

    async def record(self, target: str | None) -> None:
        """Records what the request does, in the transaction around it. Raises `StoreUnavailable`."""
        if self.recording is None:
            raise AssertionError("the audit log has no events of this route")
        await self.recording.write(target)

    def begin(self, route: str) -> None:
        """Books that a request to a route began."""
        self.route = route
        metrics.child(metrics.requests_started, route).inc()

    def new_id(self, prefix: str) -> str:
        """Returns a fresh object id."""
        return f"{prefix}-{secrets.token_hex(12)}"

    async def send(self, message: Message) -> None:
        """Passes an ASGI message on."""
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            further = self.charge.headers() if self.charge is not None else ()
            headers = (*message.get("headers", ()), *further)
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
        """Sends a piece of the body."""
        if data or last:
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})

    def overhear(self, listen: Callable[[bytes], None]) -> None:
        """Lets `listen` have every piece of the body before it is sent."""
        send = self._send

        async def heard(message: Message) -> None:
            listen(message.get("body", b""))
            await send(message)

        self._send = heard

    @contextlib.asynccontextmanager
    async def cancelled_by_hang_up(self) -> AsyncIterator[None]:
        """Cancels the block when the caller hangs up. The body must have been read."""
        task = asyncio.current_task()

        async def watch() -> None:
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.disconnected = True
            if task is not None:
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()

    def account(self) -> None:
        """Books the request's metrics; called once, at its end."""
        self.timeline.cut()
        outcome = self.outcome
        if self.route == UNKNOWN:
            metrics.child(metrics.requests_started, UNKNOWN).inc()
        if self.code:
            metrics.child(metrics.errors, self.route, self.code).inc()
        if self.principal is not None:
            metrics.child(metrics.tenant_requests, self.principal.tenant, outcome).inc()
        if self.assistant is not None:
            metrics.child(metrics.assistant_requests, self.assistant, outcome).inc()
        if self.streamed:
            metrics.child(metrics.streams, self.model, outcome).inc()
        metrics.observe(
            [
                (metrics.child(metrics.request_seconds, self.route, self.model, outcome), self.timeline.total),
                (metrics.child(metrics.overhead_seconds, self.route), self.timeline.overhead),
                *(
                    (metrics.child(metrics.stage_seconds, self.route, stage), seconds)
                    for stage, seconds in self.timeline.stages.items()
                ),
            ]
        )

    @property
    def outcome(self) -> str:
        """How it ended: one of `OUTCOMES`."""
        if self.code:
            return "error" if self.status >= 500 or self.started_then_failed else "refused"
        return "cancelled" if self.disconnected else "ok"

    @property
    def started_then_failed(self) -> bool:
        """Whether an error came after a 200 was sent."""
        return bool(self.code) and self.status == 200
