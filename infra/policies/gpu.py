"""Rules about GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from infra.policies.manifest import Resource
from infra.policies.pods import Pod, pods
from infra.policies.rule import resource_rule, stack_rule
from infra.policies.values import UNKNOWN, at, each, fields, holds, some

GPU = "nvidia.com/gpu"
OPERATOR = "gpu-operator"
ADVERTISERS = ("nvidia-device-plugin", "nvidia-dra-driver-gpu", "k8s-device-plugin", "k8s-dra-driver-gpu")
DRIVERS = ("nvidia-driver", "nvidia-gpu-driver")


@resource_rule(
    "gpu-pods",
    "A pod on a GPU node takes GPUs, and a pod that takes GPUs may run there.",
    f"Set the limit `{GPU}` in the container that uses the GPU, and a toleration with the key `{GPU}`.",
)
def _gpu_pods(resource: Resource) -> Iterator[str]:
    for pod in pods(resource):
        takes = any(_limit(c.spec) is not UNKNOWN and _takes(c.spec) for c in pod.containers)
        may_take = any(_takes(c.spec) for c in pod.containers) or some(at(pod.spec, "containers"), _takes)
        if takes and not some(at(pod.spec, "tolerations"), _tolerates):
            yield f"{pod.path} takes GPUs and does not tolerate the taint {GPU}"
        # A device plugin runs on GPU nodes and takes none.
        if resource.kind != "DaemonSet" and not may_take and _wants(pod):
            yield f"{pod.path} is meant for a GPU node and limits no {GPU}"
        for container in pod.containers:
            asked, limit = (at(container.spec, "resources", part, GPU) for part in ("requests", "limits"))
            if UNKNOWN not in (asked, limit) and asked is not None and str(asked) != str(limit):
                yield f"{container.name} requests {asked} of {GPU} and limits {limit}: they must be equal"


def _limit(container: Any) -> Any:
    return at(container, "resources", "limits", GPU)


def _takes(container: Any) -> bool:
    return holds(_limit(container), lambda limit: limit not in (None, 0, "0"))


def _tolerates(toleration: Any) -> bool:
    key, operator = at(toleration, "key"), at(toleration, "operator")
    return key in (GPU, UNKNOWN) or (key in (None, "") and operator in ("Exists", UNKNOWN))


def _wants(pod: Pod) -> bool:
    tolerated = any(at(t, "key") == GPU for t in each(at(pod.spec, "tolerations")))
    selected = any(k.startswith("nvidia.com/") for k, _ in fields(at(pod.spec, "nodeSelector")))
    return tolerated or selected or at(pod.spec, "runtimeClassName") == "nvidia"


@stack_rule(
    "one-gpu-owner",
    "One installation owns the GPUs' driver, and one advertises them.",
    "Choose the GPU operator or the device plugin; with both, set `devicePlugin.enabled: false` or "
    "`driver.enabled: false` in the operator's values.",
)
def _one_owner(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    for what, finder in (("advertise GPUs", _advertises), ("own the driver", _drives)):
        found = [r for r in resources if finder(r)]
        for other in found[1:]:
            yield other, f"this and {found[0].label} both {what}"


def _advertises(resource: Resource) -> bool:
    chart = _chart(resource)
    if chart == OPERATOR:
        return _enabled(resource, "devicePlugin")
    return chart in ADVERTISERS or _runs(resource, ADVERTISERS)


def _drives(resource: Resource) -> bool:
    chart = _chart(resource)
    return _enabled(resource, "driver") if chart == OPERATOR else chart in DRIVERS or _runs(resource, DRIVERS)


def _chart(resource: Resource) -> str:
    """Name of the chart that a Release installs, without repository and version."""
    chart = at(resource.props, "chart") if resource.group == "helm.sh" else None
    return chart.rstrip("/").rpartition("/")[2] if isinstance(chart, str) else ""


def _enabled(resource: Resource, part: str) -> bool:
    return at(resource.props, "values", part, "enabled") in (None, True)


def _runs(resource: Resource, names: Sequence[str]) -> bool:
    if resource.kind != "DaemonSet":
        return False
    images = [at(c.spec, "image") for p in pods(resource) for c in p.containers]
    return any(isinstance(i, str) and _repository(i) in names for i in images)


def _repository(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
