"""One request and its processing: identity, timings, and the response in progress."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from serving.core.answer_lengths import length_of
from serving.core.principal import Principal
from serving.engines.router import DEFAULT_OBJECTIVES, Route
from serving.guardrails.checker import GuardrailChecker
from serving.inference.apps.runs import AppRun
from serving.inference.idempotency_hold import AnswerHold
from serving.inference.responses.prompt import NamedPrompt
from serving.metering.charge import Charge
from serving.metering.cost import Cost
from serving.protocol.errors import ApiError
from serving.store.audit import Detail
from serving.telemetry import metrics
from serving.telemetry.catalogue import GENERATION_ROUTES, NO_MODEL, UNASKED, UNKNOWN
from serving.telemetry.timeline import Timeline


class Recording(Protocol):
    """The audit event of a request."""

    async def write(self, target: str | None, *, subject: str | None = None, detail: Detail | None = None) -> None:
        """Writes the event, about the object with the id `target` and the user `subject`. Raises `StoreUnavailable`."""
        ...

    def skip(self) -> None:
        """Has no event written."""
        ...


class Exchange(ABC):
    """State of one request, from its first byte in to its last byte out."""

    __slots__ = (
        "answer_id",
        "assistant",
        "background",
        "charge",
        "code",
        "cost",
        "disconnected",
        "dropped",
        "engine_replica",
        "error_frame",
        "failed",
        "finish_reason",
        "guard",
        "hold",
        "model",
        "objectives",
        "paid",
        "principal",
        "prompt",
        "recording",
        "released",
        "request_id",
        "retries",
        "route",
        "run",
        "served",
        "started",
        "stopped",
        "streamed",
        "timeline",
        "usage",
        "written",
    )

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.timeline = Timeline()
        self.principal: Principal | None = None
        self.dropped: tuple[str, ...] = ()  # paths of the request's fields that were left out
        self.route = UNKNOWN
        self.model = NO_MODEL  # the requested one
        self.served = NO_MODEL  # the configured model that its engine belongs to: the label of metrics
        self.objectives = DEFAULT_OBJECTIVES  # of that model
        self.released: tuple[str, str] | None = None  # a managed alias, and the model or adapter that answers for it
        self.assistant: str | None = None  # the requested one, by its configured name
        self.engine_replica: str | None = None  # the last one that was asked, if the stack runs it
        self.retries = 0  # other replicas and targets that were asked, since one was gone
        self.answer_id: str | None = None
        self.finish_reason: str | None = None  # of a complete answer's first choice
        self.usage: Mapping[str, object] = {}  # the tokens that an engine reported
        self.written = 0  # the answer's tokens, counted where the engine reports none of a stream
        self.cost: Cost | None = None  # of the reported tokens
        self.code = ""
        self.failed = False
        self.started = False
        self.streamed = False
        self.disconnected = False
        self.stopped = False  # with `disconnected`: its caller stopped the stream, and reads what was said so far
        self.background = False  # in the background: requests with waiting callers take precedence
        self.run: AppRun | None = None  # the run of the app that sends the request for its caller
        self.paid = False  # its request was charged before; its tokens are not charged yet
        self.error_frame: Callable[[ApiError], bytes] = ApiError.frame  # how its stream ends when it fails
        self.hold: AnswerHold | None = None  # stores the answer with its effects, for an idempotency key or a batch
        self.charge: Charge | None = None  # of its caller's quotas
        self.guard: GuardrailChecker | None = None  # of the assistant that answers, if it has guardrails
        self.prompt: NamedPrompt | None = None  # the stored prompt that a response's request names
        self.recording: Recording | None = None  # of the request, if its route has audit events

    @property
    def caller(self) -> Principal:
        """The verified caller of a route that requires one."""
        if self.principal is None:
            raise AssertionError("this route has no verified caller")
        return self.principal

    async def record(self, target: str | None, detail: Detail | None = None, *, subject: str | None = None) -> None:
        """Records the request in the audit log, in the current transaction. Raises `StoreUnavailable`."""
        if self.recording is None:
            raise AssertionError("this route has no audit events")
        await self.recording.write(target, subject=subject, detail=detail)

    def unchanged(self) -> None:
        """Notes that the request changes nothing: it is not in the audit log, which repetitions could fill."""
        if self.recording is not None:
            self.recording.skip()

    def serve(self, route: Route) -> None:
        """Notes the model that answers, by whose objectives the answer is judged."""
        self.served = route.served
        self.objectives = route.objectives
        self.released = (route.alias, route.model) if route.managed else None

    def begin(self, route: str) -> None:
        """Counts the start of a request to a route."""
        self.route = route
        metrics.child(metrics.requests_started, route).inc()

    def fail(self, error: ApiError) -> None:
        """Records the error that it ends with: a failure if it is the stack's or the answer had begun, else a
        rejection.
        """
        self.code = error.code
        self.failed = self.started or error.type == "server_error"

    @abstractmethod
    async def start_stream(self) -> None:
        """Sends the head of an event stream."""

    @abstractmethod
    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Sends a part of the answer."""

    @abstractmethod
    def cancelled_by_hang_up(self) -> AbstractAsyncContextManager[None]:
        """Cancels the block when the caller disconnects. The request must have been read."""

    def account(self) -> None:
        """Records the request's metrics; called once, at its end."""
        self.timeline.cut()
        outcome = self.outcome
        if self.route == UNKNOWN:
            metrics.child(metrics.requests_started, UNKNOWN).inc()
        if self.code:
            metrics.child(metrics.errors, self.route, self.code, outcome).inc()
        if self.principal is not None:
            metrics.child(metrics.tenant_requests, self.principal.tenant, outcome).inc()
        if self.assistant is not None:
            metrics.child(metrics.assistant_requests, self.assistant, outcome).inc()
        if self.streamed:
            metrics.child(metrics.streams, self.served, outcome).inc()
        if outcome == "ok" and self.route in GENERATION_ROUTES and self.served not in (NO_MODEL, UNASKED):
            length = length_of(self.written)
            metrics.judge(
                "end_to_end", self.served, length, self.timeline.total, self.objectives.end_to_end_s_of(length)
            )
        metrics.observe(
            [
                (metrics.child(metrics.request_seconds, self.route, self.served, outcome), self.timeline.total),
                (metrics.child(metrics.overhead_seconds, self.route), self.timeline.overhead),
                *(
                    (metrics.child(metrics.stage_seconds, self.route, stage), seconds)
                    for stage, seconds in self.timeline.stages.items()
                ),
            ]
        )

    @property
    def outcome(self) -> str:
        """Its outcome, one of `OUTCOMES`."""
        if self.code:
            return "error" if self.failed else "refused"
        return "cancelled" if self.disconnected else "ok"
