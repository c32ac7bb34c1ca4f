"""What stands in the labels of made-up rows, so that a person can read them."""

from __future__ import annotations

NAMES: dict[str, tuple[str, str]] = {
    "model": ("qwen3-8b", "smollm2"),
    "model_name": ("qwen3-8b", "smollm2"),
    "tenant": ("acme", "globex"),
    "assistant": ("docs", "support"),
    "collection": ("handbook", "tickets"),
    "route": ("/v1/chat/completions", "/v1/responses"),
    "outcome": ("ok", "ok"),
    "currency": ("EUR", "EUR"),
    "measure": ("tokens", "cost"),
    "window": ("day", "month"),
    "unit": ("prompt", "completion"),
    "stage": ("retrieve", "generate"),
    "strategy": ("direct", "react"),
    "rating": ("up", "down"),
    "tool": ("search", "calculator"),
    "check": ("pii", "injection"),
    "action": ("redact", "refuse"),
    "kind": ("ingest", "export"),
    "reason": ("full", "timeout"),
    "operation": ("search", "write"),
    "adapter": ("support-v2", "support-v3"),
    "application": ("gateway", "qwen3-8b"),
    "deployment": ("Gateway", "Engine"),
    "replica": ("gateway-a1", "engine-b2"),
    "proxy": ("gateway", "engine"),
    "namespace": ("headrace", "headrace"),
    "pod": ("headrace-head-0", "headrace-worker-1"),
    "node": ("node-a", "node-b"),
    "gpu": ("0", "1"),
    "Hostname": ("node-a", "node-b"),
    "modelName": ("NVIDIA H100", "NVIDIA H100"),
    "mode": ("hybrid", "vector"),
    "code": ("rate_limit_exceeded", "context_length_exceeded"),
    "device": ("nvidia0", "nvidia1"),
    "job_name": ("backup", "backup"),
    "alertname": ("EngineQueueGrows", "QuotaNear"),
    "severity": ("page", "ticket"),
    "alertstate": ("firing", "firing"),
    "owner": ("platform", "platform"),
}
"""The label's value in the first and in the second copy of a row."""

FITTED = {"engine_v": "engine_timeout"}
"""What stands for the value that was made to fit a selector's pattern."""
FAILED = ("outcome", "error")
"""Rows with any outcome are also there with this one."""


def name(label: str, copy: int) -> str:
    """The value of a label in a copy of a row, the first being 0."""
    return NAMES[label][copy] if label in NAMES else f"{label.lower()}-{copy + 1}"
