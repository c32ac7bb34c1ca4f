"""One request and what became of it: identity, timings, and the response that is under way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from serving.core.principal import Principal
from serving.guardrails.checker import GuardrailChecker
from serving.inference.apps.runs import AppRun
from serving.inference.idempotency_hold import AnswerHold
from serving.metering.charge import Charge
from serving.protocol.errors import ApiError
from serving.telemetry import metrics
from serving.telemetry.catalogue import UNKNOWN
from serving.telemetry.timeline import Timeline


class Recording(Protocol):
    """The event of the audit log that a request writes."""

    async def write(self, target: str | None) -> None:
        """Writes the event, of what has the id `target`. Raises `StoreUnavailable`."""
        ...


class Exchange(ABC):
    """State of one request, from its first byte in to its last byte out."""

    __slots__ = (
        "assistant",
        "background",
        "charge",
        "code",
        "disconnected",
        "error_frame",
        "failed",
        "guard",
        "hold",
        "model",
        "paid",
        "principal",
        "recording",
        "request_id",
        "route",
        "run",
        "started",
        "streamed",
        "timeline",
        "usage",
    )

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.timeline = Timeline()
        self.principal: Principal | None = None
        self.route = UNKNOWN
        self.model = "none"
        self.assistant: str | None = None  # that is asked, by its configured name
        self.usage: Mapping[str, object] = {}  # the tokens that an engine reported
        self.code = ""
        self.failed = False
        self.started = False
        self.streamed = False
        self.disconnected = False
        self.background = False  # nobody waits for it: those whose caller waits go first
        self.run: AppRun | None = None  # of the app that asks it for its caller
        self.paid = False  # its request was charged before: what it uses is still to be
        self.error_frame: Callable[[ApiError], bytes] = ApiError.frame  # how its stream ends when it fails
        self.hold: AnswerHold | None = None  # keeps the answer beside what it did, by an idempotency key or in a batch
        self.charge: Charge | None = None  # to its caller's quotas
        self.guard: GuardrailChecker | None = None  # of the assistant that answers, if it has guardrails
        self.recording: Recording | None = None  # of what it does, where the audit log has events of it

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

    def fail(self, error: ApiError) -> None:
        """Notes the error that it ends with: a failure where it is ours or the answer had begun, else a refusal."""
        self.code = error.code
        self.failed = self.started or error.type == "server_error"

    @abstractmethod
    async def start_stream(self) -> None:
        """Sends the head of an event stream."""

    @abstractmethod
    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Sends a piece of the answer."""

    @abstractmethod
    def cancelled_by_hang_up(self) -> AbstractAsyncContextManager[None]:
        """Cancels the block when the caller hangs up. The request must have been read."""

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
            return "error" if self.failed else "refused"
        return "cancelled" if self.disconnected else "ok"
