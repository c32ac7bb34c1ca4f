"""Label values of the metrics of a node with many tenants and models."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from serving.hub.canary import GUARDS_OF
from serving.telemetry import catalogue as c
from serving.telemetry.failure_causes import FAILURE_CAUSES

ASKING = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings")
"""Routes that name a model."""
THOROUGH = ("/v1/chat/completions", "/v1/responses")
"""Routes whose requests pass all stages."""
SHORT = ("identify", "receive", "store", "respond")
"""Stages of requests to other routes."""
ERRORS = (
    ("invalid_value", "refused"),
    ("rate_limit_exceeded", "refused"),
    ("unavailable", "error"),
    ("internal_error", "error"),
)
"""Codes, each with its outcome: a code is either the caller's or the stack's."""
FEW = 10
"""Number of assistants, of collections, of tools and of adapters."""
VALUES: Mapping[str, Sequence[str]] = {
    "alias": [f"alias-{n:02}" for n in range(FEW)],
    "assistant": [f"assistant-{n:02}" for n in range(FEW)],
    "collection": [f"collection-{n:02}" for n in range(FEW)],
    "tool": [*(f"tool-{n:02}" for n in range(FEW)), c.OTHER],
    "adapter": [f"adapter-{n:02}" for n in range(FEW)],
    "outcome": c.OUTCOMES,
    "reason": sorted({reason for _, reason in c.RELEASE_ENDS}),
    "guard": sorted({guard for guards in GUARDS_OF.values() for guard in guards}),
    "stage": c.STAGES,
    "ending": ["completed", "length", "content_filter", "tool_calls"],
    "cause": FAILURE_CAUSES,
    "replica": [f"replica-{n}" for n in range(2)],
    "currency": ["USD"],
    "measure": ["requests", "tokens", "money"],
    "window": ["minute", "day", "month"],
    "mode": ["hybrid"],
    "kind": ["ingest", "export", "erase", *c.RATED],
    "rating": c.RATINGS,
    "operation": ["read", "write"],
    "check": ["injection", "secrets", "pii", "links"],
    "on": ["input", "output", "context"],
    "action": ["block", "redact", "flag"],
    "strategy": ["cot", "self_consistency", "pal", "react"],
    "deployment": ["Gateway", "Retrieval"],
    "objective": c.JUDGED,
    "length": list(c.LENGTHS),
    "met": ["yes", "no"],
    "part": ["code", "configuration"],
}


@dataclass(frozen=True, slots=True)
class NodeLabels:
    """The label values of a node; `routes` are those of the gateway."""

    routes: Sequence[str]
    tenants: int = 200
    models: int = 20

    def series(self, metric: c.Metric) -> Iterator[tuple[str, ...]]:
        """Yields the label values of each series of a metric; a histogram's buckets count as one series."""
        if metric is c.REQUEST_SECONDS:
            yield from itertools.product(ASKING, self._models, c.OUTCOMES)
            yield from itertools.product(self._others(ASKING), ["none"], ["ok", "refused"])
        elif metric is c.STAGE_SECONDS:
            yield from itertools.product(THOROUGH, c.STAGES)
            yield from itertools.product(self._others(THOROUGH), SHORT)
        elif metric is c.ERRORS:
            yield from ((route, code, outcome) for route in self.routes for code, outcome in ERRORS)
        else:
            yield from itertools.product(*(self._values(label) for label in metric.labels))

    @property
    def _models(self) -> list[str]:
        return [f"some-model-{n:02}" for n in range(self.models)]

    def _others(self, routes: Sequence[str]) -> list[str]:
        return [route for route in self.routes if route not in routes]

    def _values(self, label: str) -> Sequence[str]:
        if label == "tenant":
            return [f"tenant-{n:03}" for n in range(self.tenants)]
        return {"route": self.routes, "model": self._models}.get(label) or VALUES[label]
