"""What Google Cloud says beforehand of quotas and zones: those of the region, and the machine types in its zones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from infra.config import StackConfig
from infra.mistakes import Mistake
from infra.targets.capacity_check import Ask, fewest, machines_of, not_offered, too_small

METRICS = {
    "a100-40gb": "NVIDIA_A100_GPUS",
    "a100-80gb": "NVIDIA_A100_80GB_GPUS",
    "l4": "NVIDIA_L4_GPUS",
    "t4": "NVIDIA_T4_GPUS",
    "v100-16gb": "NVIDIA_V100_GPUS",
}
"""Quotas of a region by accelerator; those of newer GPUs are not among the ones that `gcloud compute` prints.

https://docs.cloud.google.com/compute/resource-usage#gpu_quota
"""

ALL = "GPUS_ALL_REGIONS"
FIX = "request more under IAM & Admin, Quotas (docs/how-to/gcp.md#what-you-need), or use fewer GPUs"


def mistakes(config: StackConfig, ask: Ask) -> Iterator[Mistake]:
    """Reports quotas of fewer GPUs than the pools start with, and zones without their machine type."""
    project = ("--project", config.gcp.project, "--format", "json")
    known = machines_of(config)
    limits: dict[str, float] = {}
    if any(pool.gpus for _, pool, _ in known):
        limits |= _limits(ask(["gcloud", "compute", "project-info", "describe", *project]), (ALL,))
        limits |= _limits(ask(["gcloud", "compute", "regions", "describe", config.gcp.region, *project]))
    needed: Counter[str] = Counter()
    offers: dict[str, list[str] | None] = {}
    for i, pool, machine in known:
        for quota in _quotas(pool.accelerator, pool.capacity):
            needed[quota] += fewest(pool) * pool.gpus
            if quota in limits and needed[quota] > limits[quota]:
                yield too_small(i, quota, limits[quota], needed[quota], "GPUs", FIX)
        if machine.name not in offers:
            asked = f"name={machine.name} AND zone~^{config.gcp.region}-"
            offers[machine.name] = _zones(
                ask(["gcloud", "compute", "machine-types", "list", "--filter", asked, *project])
            )
        offered = offers[machine.name]
        if offered is not None and (not offered or set(pool.zones) - set(offered)):
            missing = [zone for zone in pool.zones if zone not in offered]
            yield not_offered(i, machine.name, missing, offered, config.gcp.region)


def _quotas(accelerator: str, capacity: str) -> list[str]:
    """Returns the quotas that nodes with a GPU count against; reserved ones have theirs already."""
    if not accelerator or capacity == "reserved":
        return []
    metric = METRICS.get(accelerator)
    if capacity in ("spot", "queued"):
        return [f"PREEMPTIBLE_{metric}"] if metric else []
    return [ALL, *([metric] if metric else [])]


def _limits(answer: Any, only: tuple[str, ...] = ()) -> dict[str, float]:
    quotas = answer.get("quotas", ()) if isinstance(answer, dict) else ()
    return {each["metric"]: float(each["limit"]) for each in quotas if not only or each["metric"] in only}


def _zones(answer: object) -> list[str] | None:
    return sorted(each["zone"].rpartition("/")[2] for each in answer) if isinstance(answer, list) else None
