"""Metrics of usage: tokens and cost, by model and by tenant."""

from __future__ import annotations

from typing import Any

from serving.engines.reported_usage import MAX_TOKENS
from serving.metering.cost import Cost
from serving.telemetry import metrics


def count_cost(model: str, tenant: str, cost: Cost) -> None:
    """Records the cost of an answer."""
    metrics.child(metrics.cost, model, cost.currency).inc(float(cost.amount))
    metrics.child(metrics.tenant_cost, tenant, model, cost.currency).inc(float(cost.amount))


def count_tokens(model: str, tenant: str, usage: dict[str, Any]) -> None:
    """Records the tokens that an engine reported."""
    for metric, field in ((metrics.prompt_tokens, "prompt_tokens"), (metrics.completion_tokens, "completion_tokens")):
        value = usage.get(field)
        if isinstance(value, int) and 0 < value <= MAX_TOKENS:
            metrics.child(metric, model, tenant).inc(value)
