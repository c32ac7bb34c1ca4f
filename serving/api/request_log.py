"""The log line of a request: what became of it, and nothing of what was said."""

from __future__ import annotations

import logging
from typing import Any

from serving.api.cost import MAX_TOKENS
from serving.api.exchange import Exchange
from serving.telemetry import tracing

log = logging.getLogger("headrace.requests")

_TOKENS = ("prompt_tokens", "completion_tokens")


def write(x: Exchange) -> None:
    """Writes the line of a request that was accounted for."""
    if log.isEnabledFor(logging.INFO):
        log.info("request", extra={"fields": fields(x)})


def fields(x: Exchange) -> dict[str, Any]:
    """Returns the line's fields. Times are seconds; what a request does not have is null."""
    span = tracing.current()
    counts = {name: x.usage.get(name) for name in _TOKENS}
    return {
        "request_id": x.request_id,
        "method": x.method,
        "route": x.route,
        "status": x.status or None,
        "outcome": x.outcome,
        "code": x.code or None,
        "tenant": x.principal.tenant if x.principal is not None else None,
        "model": x.model if x.model != "none" else None,
        "assistant": x.assistant,
        "seconds": round(x.timeline.total, 6),
        "overhead_seconds": round(x.timeline.overhead, 6),
        "stages": {stage: round(seconds, 6) for stage, seconds in x.timeline.stages.items()},
        # An engine may report anything: only numbers that can be true are shown.
        **{name: n if type(n) is int and 0 <= n <= MAX_TOKENS else None for name, n in counts.items()},
        "trace_id": span.trace_id if span is not None else None,
    }
