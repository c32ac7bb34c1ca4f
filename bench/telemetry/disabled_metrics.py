"""A process without metrics, as the baseline for telemetry's cost. No stack can be configured so."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from serving.inference.exchange import Exchange
from serving.telemetry import metrics


class _NullSeries:
    """A series that ignores every event."""

    def inc(self, *_: Any) -> None: ...
    def dec(self, *_: Any) -> None: ...
    def set(self, *_: Any) -> None: ...
    def observe(self, *_: Any) -> None: ...


def disable_metrics() -> None:
    """Disables metrics in this process: nothing is counted or looked up, and requests are not accounted for.

    The times of a request's stages are still taken, since captures contain them.
    """
    nothing = _NullSeries()
    for kind, verbs in (
        (Counter, ("inc",)),
        (Gauge, ("inc", "dec", "set")),
        (Histogram, ("observe",)),
    ):
        for verb in verbs:
            setattr(kind, verb, getattr(_NullSeries, verb))
    metrics.child = lambda *_: nothing  # type: ignore[assignment]
    Exchange.account = lambda self: None  # type: ignore[method-assign]
