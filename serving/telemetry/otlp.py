"""Traces by OpenTelemetry, exported by OTLP over HTTP.

An unavailable receiver does not affect requests: spans are dropped. Import this module only if traces are configured.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Sequence

import orjson
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import INVALID_SPAN_CONTEXT, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.config import Tracing
from serving.telemetry import metrics
from serving.telemetry.tracing import Attributes, Span, current

QUEUE = 2048
"""Maximum number of spans in the queue; more are dropped."""

SEND_S = 5.0
"""Timeout in seconds of one batch, including retries."""

MAX_CONTENT = 16_000
"""Maximum number of characters of one text in a span."""

LOGGERS = ("headrace.api", "headrace.guardrails", "headrace.memory", "headrace.security", "headrace.tools")
"""Loggers whose lines belong to a request."""

_PROPAGATOR = TraceContextTextMapPropagator()
_HEADERS = (b"traceparent", b"tracestate")


class OtlpTracer:
    """Creates spans and exports them in batches, from its own thread."""

    def __init__(self, settings: Tracing, service: str = "headrace-gateway") -> None:
        if settings.endpoint is None:
            raise ValueError("no endpoint is configured")
        self._content = settings.content
        self._ratio = settings.ratio
        self._allowance = _Allowance(settings.per_second)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # sampling has been decided before
            resource=Resource.create({SERVICE_NAME: service}),
            span_limits=SpanLimits(max_attributes=64, max_events=16, max_span_attribute_length=MAX_CONTENT),
            shutdown_on_exit=False,
        )
        exporter = CountingExporter(endpoint=settings.endpoint, timeout=SEND_S)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=1000)
        )
        self._tracer = self._provider.get_tracer("headrace")
        for name in LOGGERS:
            logging.getLogger(name).addFilter(_traced)

    def begin(self, name: str, headers: Iterable[tuple[bytes, bytes]], attributes: Attributes, at: float) -> Span:
        """Begins the span of a request; without a valid `traceparent` it begins a trace.

        An unsampled trace of OpenTelemetry's own takes a sixth of the time of a sampled one, so `Unkept` replaces it.
        """
        given = [header for header in headers if header[0] in _HEADERS]
        context = Context()
        if given:
            context = _PROPAGATOR.extract({k.decode("latin-1"): v.decode("latin-1") for k, v in given}, context)
        parent = get_current_span(context).get_span_context() if given else INVALID_SPAN_CONTEXT
        if parent.is_valid:
            if not parent.trace_flags.sampled:
                return Unkept(parent.trace_id, parent.trace_state.to_header())
        elif random.random() >= self._ratio or not self._allowance.take(at):  # noqa: S311
            return Unkept(random.getrandbits(128))
        zero = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(name, context, SpanKind.SERVER, attributes, start_time=zero + int(at * 1e9))
        return OtlpSpan(self._tracer, span, self._content, zero)

    def close(self) -> None:
        """Exports the remaining spans; takes no longer than one batch."""
        for name in LOGGERS:
            logging.getLogger(name).removeFilter(_traced)
        self._provider.shutdown()


class CountingExporter(OTLPSpanExporter):
    """Counts the spans that could not be delivered. The queue is emptied in time unless its receiver is gone."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        if result is not SpanExportResult.SUCCESS:
            metrics.spans_lost.inc(len(spans))
        return result


class OtlpSpan:
    """A span of OpenTelemetry.

    `zero` is the unix time in nanoseconds when `time.perf_counter` was 0: the same for all spans of a request, since
    reading both clocks again can take milliseconds, and a stage would begin before its request.
    """

    def __init__(self, tracer: trace.Tracer, span: trace.Span, content: bool, zero: int) -> None:
        self._zero = zero
        self._tracer = tracer
        self._span = span
        self._content = content
        self._context = trace.set_span_in_context(span, Context())

    @property
    def trace_id(self) -> str:
        """The trace's id: 32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    @property
    def is_recording(self) -> bool:
        """Always true."""
        return True

    def child(self, name: str, attributes: Attributes, *, begin: float | None = None, client: bool = False) -> OtlpSpan:
        """Returns a span within this one."""
        kind = SpanKind.CLIENT if client else SpanKind.INTERNAL
        span = self._tracer.start_span(name, self._context, kind, attributes, start_time=self._unix_ns(begin))
        return OtlpSpan(self._tracer, span, self._content, self._zero)

    def set(self, attributes: Attributes) -> None:
        """Adds attributes."""
        self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        """Changes its name once that is known."""
        self._span.update_name(name)

    def content(self, name: str, value: object) -> None:
        """Adds content of people or models, as text or JSON, if that is configured."""
        if self._content and self._span.is_recording():
            text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
            self._span.set_attribute(name, text)

    def end(self, *, at: float | None = None, error: str | None = None) -> None:
        """Ends it."""
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._unix_ns(at))

    def headers(self) -> dict[str, str]:
        """Returns `traceparent`, and `tracestate` if there is one."""
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier, self._context)
        return carrier

    def _unix_ns(self, at: float | None) -> int:
        """Returns unix time in nanoseconds for a value of `time.perf_counter`, by default now."""
        return self._zero + (time.perf_counter_ns() if at is None else int(at * 1e9))


class Unkept:
    """All spans of an unsampled trace: it has an id, and tells callees not to sample either."""

    is_recording = False

    def __init__(self, trace_id: int, state: str = "") -> None:
        self.trace_id = f"{trace_id:032x}"
        self._state = {"tracestate": state} if state else {}

    def child(self, name: str, attributes: Attributes, *, begin: float | None = None, client: bool = False) -> Unkept:
        """Returns itself."""
        return self

    def set(self, attributes: Attributes) -> None:
        """Does nothing, like the following methods."""

    def rename(self, name: str) -> None: ...
    def content(self, name: str, value: object) -> None: ...
    def end(self, *, at: float | None = None, error: str | None = None) -> None: ...

    def headers(self) -> dict[str, str]:
        """Returns a `traceparent` without the sampled flag, and the caller's `tracestate`."""
        return {"traceparent": f"00-{self.trace_id}-{random.getrandbits(64):016x}-00", **self._state}


class _Allowance:
    """A rate limit: a number per second, and as many at once; at least one at once. Times are those of one clock."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = self._left = max(per_second, 1.0)
        self._at = 0.0

    def take(self, at: float) -> bool:
        """Returns whether the limit allows one more at that time."""
        self._left = min(self._most, self._left + max(at - self._at, 0.0) * self._per_second)
        self._at = max(self._at, at)
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _traced(record: logging.LogRecord) -> bool:
    """Adds the trace id to a log record of a request."""
    if (span := current()) is not None:
        record.trace_id = span.trace_id
    return True
