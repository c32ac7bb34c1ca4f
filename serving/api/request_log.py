"""The log line of a request, which contains its outcome but none of its content."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from serving.api.http_exchange import HttpExchange
from serving.engines.reported_usage import MAX_TOKENS
from serving.telemetry import tracing
from serving.telemetry.catalogue import NO_MODEL

log = logging.getLogger("headrace.requests")

_TOKENS = ("prompt_tokens", "completion_tokens")


class _Line(logging.LogRecord):
    """A log record of a request. Records created by a logger are expensive, since it looks up its caller."""

    _SAME: Mapping[str, Any] = vars(log.makeRecord(log.name, logging.INFO, __file__, 0, "request", (), None))

    def __init__(self, fields: dict[str, Any]) -> None:
        created = time.time()
        self.__dict__ |= self._SAME
        self.__dict__ |= {"created": created, "msecs": created % 1 * 1000, "fields": fields}


def write(x: HttpExchange) -> None:
    """Writes the line of a request after its accounting."""
    if log.isEnabledFor(logging.INFO):
        log.handle(_Line(fields(x)))


def fields(x: HttpExchange) -> dict[str, Any]:
    """Returns the line's fields. Times are in seconds; missing values are null."""
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
        "key": x.principal.key_id if x.principal is not None else None,
        "model": x.model if x.model != NO_MODEL else None,
        "assistant": x.assistant,
        "served": x.served if x.served != NO_MODEL else None,
        "engine_replica": x.engine_replica,
        "retries": x.retries,
        "answer_id": x.answer_id,
        "stream": x.streamed,
        "finish_reason": x.finish_reason,
        "seconds": _to_microseconds(x.timeline.total),
        "overhead_seconds": _to_microseconds(x.timeline.overhead),
        "stages": {stage: _to_microseconds(seconds) for stage, seconds in x.timeline.stages.items()},
        # An engine may report anything: only plausible numbers are logged.
        **{name: n if type(n) is int and 0 <= n <= MAX_TOKENS else None for name, n in counts.items()},
        "cost": x.cost.document if x.cost is not None else None,
        "trace_id": span.trace_id if span is not None else None,
    }


def _to_microseconds(seconds: float) -> float:
    """Returns `seconds` truncated to microseconds; `round` takes twice as long."""
    return int(seconds * 1e6) / 1e6
