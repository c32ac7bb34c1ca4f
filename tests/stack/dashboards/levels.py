"""How much the made-up programs of `history.py` do: numbers that a small stack could have."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.series import Series

SWING = 0.35
"""How far most curves go from their level, as a share of it."""
STILL = (
    "up",
    "healthy",
    "expected",
    "slots",
    "price",
    "missing",
    "mem_total",
    "size",
    "status",
    "replicas",
    "servers",
    "nodes",
)
STILL += (
    "deployed_hash",
    "mismatch",
    "readonly",
    "info",
    "cpu_count",
    "process_count",
    "load_seconds",
    "REMAP",
    "XID",
    "ALERTS",
)
"""Parts of the names of gauges that stay as they are."""
GAUGES: Mapping[str, float] = {
    "adapter_missing": 0,
    "engine_up": 2,
    "engine_expected": 2,
    "engine_slots": 8,
    "engine_load_seconds": 38,
    "engine_price": 2.4,
    "requests_waiting": 1,
    "deferred": 0,
    "quota_used": 0.6,
    "kv_cache": 0.45,
    "job_oldest": 40,
    "index_age": 900,
    "backup_age": 20_000,
    "disk_size": 2e11,
    "disk_free": 9e10,
    "capacity_bytes": 2e11,
    "available_bytes": 9e10,
    "filesystem_size": 2e11,
    "filesystem_avail": 9e10,
    "mem_total": 1.28e11,
    "buffer_bytes": 4e6,
    "gpu_power_milliwatts": 4.1e5,
    "replicas_unavailable": 0,
    "failed": 0,
    "application_status": 6,
    "deployment_status": 6,
    "proxy_status": 2,
    "XID": 0,
    "REMAP": 0,
    "readonly": 0,
}
"""By part of the name, before `UNITS`."""
UNITS: Mapping[str, float] = {
    "seconds": 40,
    "bytes": 6e9,
    "megabytes": 4e4,
    "ratio": 0.55,
    "percent": 55,
    "celsius": 61,
    "watts": 410,
    "megahertz": 1700,
}
RATES: Mapping[str, float] = {
    "busy_seconds": 1.4,
    "available_seconds": 4,
    "cached": 12,
    "cache_hits": 25,
    "tokens": 60,
    "cache_queries": 70,
    "feedback_total": 0.12,
    "cost": 2e-4,
    "ENERGY": 4.1e5,
    "chunks": 3,
    "bytes": 2e5,
    "seconds": 0.4,
}
"""Of counters, per second."""
RARE = (
    "error",
    "restart",
    "preempt",
    "refused",
    "warning",
    "replaced",
    "fail",
    "evict",
    "drop",
    "empty",
    "unsupported",
)
RARE += ("guardrail", "resumes", "PCIE", "REMAP", "starts")
SELDOM = 0.004
"""Of what is rare, as a share."""
TYPICAL: Mapping[str, float] = {
    "first_token": 0.35,
    "inter_token": 0.03,
    "output_token": 0.03,
    "overhead": 0.004,
    "stage": 0.6,
    "retrieval_duration": 0.05,
    "feedback": 0.012,
    "database": 0.003,
    "queue": 0.2,
    "score": 0.4,
    "latency_ms": 900,
    "request": 2.5,
}
"""What most values of a histogram are near."""


def _by_part(table: Mapping[str, float], name: str, otherwise: float) -> float:
    return next((value for part, value in table.items() if part in name), otherwise)


def gauge(series: Series, metric: str) -> tuple[float, float]:
    """Its level and how far it swings."""
    still = any(part in metric for part in STILL) or series.source in ("kubernetes", "cert-manager")
    level = _by_part(GAUGES, metric, UNITS.get(series.unit, 1 if still else 4))
    return level, 0 if still else SWING


def rate(metric: str, rare: bool) -> float:
    """What a counter gains in a second."""
    return _by_part(RATES, metric, 1.0) * (SELDOM if rare or any(part in metric for part in RARE) else 1)


def typical(metric: str) -> float:
    """In the unit of the metric."""
    return _by_part(TYPICAL, metric, 0.5)
