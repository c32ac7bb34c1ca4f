"""What Google Cloud says beforehand of quotas and zones: those of the region, and the machine types in its zones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.mistakes import Mistake
from infra.resources.capacity import (
    Run,
    asking,
    fewest,
    machines_of,
    not_offered,
    too_few_addresses,
    too_small,
)
from infra.resources.cloud_stack import CloudStack
from infra.resources.inquiry import Ask, Check
from infra.targets.gcp.limits import resource_name
from infra.targets.gcp.settings import Gcp

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

ALL, ADDRESSES = "GPUS_ALL_REGIONS", "STATIC_ADDRESSES"
PROJECT, REGION = "the quotas of the project", "the quotas of the region"
OWN = "the addresses that the stack has already"
FIX = "request more under IAM & Admin, Quotas (docs/how-to/gcp.md#what-you-need), or use fewer GPUs"
ADDRESS_FIX = "request more under IAM & Admin, Quotas, release some, or use an existing network"


def check(stack: CloudStack[Gcp], run: Run) -> Check:
    """Asks for quotas of GPUs and addresses, and for the zones that have the machine types."""
    project = ("--project", stack.settings.project, "--format", "json")
    known, region = machines_of("gcp", stack.pools), stack.settings.region
    gpus, addresses = any(pool.gpus for _, pool, _ in known), addresses_needed(stack)
    questions: dict[str, Ask] = {}
    if gpus:
        questions[PROJECT] = asking(run, ["gcloud", "compute", "project-info", "describe", *project], _limits)
    if gpus or addresses:
        command = ["gcloud", "compute", "regions", "describe", region, *project]
        questions[REGION] = asking(run, command, lambda answer: (_limits(answer), _usage(answer)))
    if addresses:
        command = ["gcloud", "compute", "addresses", "list", "--regions", region, *project]
        questions[OWN] = asking(run, command, lambda answer: _own(answer, stack.name))
    for name in sorted({machine.name for _, _, machine in known}):
        command = ["gcloud", "compute", "machine-types", "list", "--filter", f"name={name} AND zone~{region}-"]
        questions[_offers(name)] = asking(run, [*command, *project], _zones)
    return Check(questions, lambda answers: _mistakes(stack, answers), _unasked(stack))


def addresses_needed(stack: CloudStack[Gcp]) -> int:
    """Returns how many static addresses of the region the stack takes: Cloud NAT's first, and one of an entrance.

    https://docs.cloud.google.com/nat/docs/ports-and-addresses
    """
    return (not stack.cluster.network.existing) + bool(stack.ingress.zone)


def _mistakes(stack: CloudStack[Gcp], answers: Mapping[str, Any]) -> Iterator[Mistake]:
    """Reports quotas of fewer GPUs than the pools start with, and zones without their machine type."""
    in_region, used = answers.get(REGION, ({}, {}))
    limits = {name: limit for name, limit in answers.get(PROJECT, {}).items() if name == ALL} | in_region
    # Without the list of addresses, the stack's own ones may be among those in use.
    others = max(int(used.get(ADDRESSES, 0)) - answers[OWN], 0) if OWN in answers else 0
    addresses = addresses_needed(stack)
    if ADDRESSES in limits and others + addresses > limits[ADDRESSES]:
        yield too_few_addresses(ADDRESSES, limits[ADDRESSES], addresses, others, ADDRESS_FIX)
    needed: Counter[str] = Counter()
    for i, pool, machine in machines_of("gcp", stack.pools):
        for quota in _quotas(pool.accelerator, pool.capacity, limits):
            needed[quota] += fewest(pool) * pool.gpus
            if quota in limits and needed[quota] > limits[quota]:
                yield too_small(i, quota, limits[quota], needed[quota], "GPUs", FIX)
        offered = answers.get(_offers(machine.name))
        if offered is not None and (not offered or set(pool.zones) - set(offered)):
            missing = [zone for zone in pool.zones if zone not in offered]
            yield not_offered(i, machine.name, missing, offered, stack.settings.region)


def _unasked(stack: CloudStack[Gcp]) -> dict[str, str]:
    """Returns the GPUs whose own quota `gcloud compute` does not print."""
    pools = [pool for pool in stack.pools if pool.accelerator and pool.capacity != "reserved"]
    lost = sorted({pool.accelerator for pool in pools} - set(METRICS))
    return {f"the quota of {gpu} in the region": "`gcloud compute` does not print it" for gpu in lost}


def _offers(machine: str) -> str:
    return f"the zones that offer {machine}"


def _quotas(accelerator: str, capacity: str, limits: Mapping[str, float]) -> list[str]:
    """Returns the quotas that nodes with a GPU count in; reserved ones have theirs already.

    Spot and queued nodes count in the standard quota of a project to which no preemptible one was granted.
    https://docs.cloud.google.com/compute/resource-usage#preemptible_quotas
    """
    if not accelerator or capacity == "reserved":
        return []
    metric = METRICS.get(accelerator)
    if capacity in ("spot", "queued"):
        preemptible = f"PREEMPTIBLE_{metric}"
        return [preemptible if limits.get(preemptible) else metric] if metric else []
    return [ALL, *([metric] if metric else [])]


def _limits(answer: Any) -> dict[str, float]:
    return {each["metric"]: float(each["limit"]) for each in answer["quotas"]}


def _usage(answer: Any) -> dict[str, float]:
    return {each["metric"]: float(each["usage"]) for each in answer["quotas"]}


def _own(answer: Any, stack: str) -> int:
    """Returns how many of the addresses are the stack's: its entrance's, and those that its Cloud NAT took."""
    name, router = resource_name(stack, "entrance"), f"/routers/{resource_name(stack)}"
    users = [(each["name"], each.get("users") or ()) for each in answer]
    return sum(said == name or any(user.endswith(router) for user in by) for said, by in users)


def _zones(answer: Any) -> list[str]:
    return sorted(each["zone"].rpartition("/")[2] for each in answer)
