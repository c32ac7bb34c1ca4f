"""vLLM's metrics when vLLM runs in Ray and reports through it (`vllm/v1/metrics/ray_wrappers.py`)."""

from __future__ import annotations

from dataclasses import replace

from monitoring.external import vllm
from monitoring.external.ray import RAY

SERIES = tuple(
    replace(one, name=one.name.replace("vllm:", "ray_vllm_"), labels=(*one.labels, "ReplicaId", *RAY))
    for one in vllm.SERIES
)
