"""The trace span of a request, with a span for each stage of its timeline."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Scope

from serving.api.http_exchange import HttpExchange
from serving.telemetry import tracing
from serving.telemetry.tracing import Span, Tracer, Value


@contextmanager
def traced(tracer: Tracer | None, x: HttpExchange, scope: Scope) -> Iterator[None]:
    """Traces the block, which ends with the request's accounting."""
    if tracer is None:
        yield
        return
    method = scope["method"]
    begun = {"http.request.method": method, "headrace.request_id": x.request_id}
    span = tracer.begin(method, scope["headers"], begun, x.timeline.start)
    if span.is_recording:
        x.timeline.marks = []
    try:
        with tracing.within(span):
            yield
    finally:
        if span.is_recording:
            _end(span, x)


def _end(span: Span, x: HttpExchange) -> None:
    for stage, begin, end in x.timeline.marks or ():
        span.child(stage, {}, begin=begin).end(at=end)
    ended: dict[str, Value] = {
        "http.route": x.route,
        "http.response.status_code": x.status,
        "gen_ai.request.model": x.model,
    }
    if x.principal is not None:
        ended |= {"headrace.tenant": x.principal.tenant, "headrace.key_id": x.principal.key_id}
    span.set(ended)
    span.rename(f"{x.method} {x.route}")
    failed = x.status >= 500 or x.failed
    span.end(error=x.code if failed else None)
