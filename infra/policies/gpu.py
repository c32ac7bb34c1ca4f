"""Rules about GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from infra.policies.manifest import PlannedResource
from infra.policies.pods import Pod, pods
from infra.policies.rule import resource_rule, stack_rule
from infra.policies.values import UNKNOWN, any_member, known_fields, known_members, lookup, satisfies

GPU = "nvidia.com/gpu"
OPERATOR = "gpu-operator"
ADVERTISERS = ("nvidia-device-plugin", "nvidia-dra-driver-gpu", "k8s-device-plugin", "k8s-dra-driver-gpu")
DRIVERS = ("nvidia-driver", "nvidia-gpu-driver")


@resource_rule(
    "gpu-pods",
    "Pods on GPU nodes request GPUs, and pods that request GPUs tolerate the taint of GPU nodes.",
    f"Set the limit `{GPU}` in the container that uses the GPU, and a toleration with the key `{GPU}`.",
)
def _gpu_pods(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        takes = any(_gpu_limit(c.spec) is not UNKNOWN and _requests_gpus(c.spec) for c in pod.containers)
        may_take = any(_requests_gpus(c.spec) for c in pod.containers) or any_member(
            lookup(pod.spec, "containers"), _requests_gpus
        )
        if takes and not any_member(lookup(pod.spec, "tolerations"), _tolerates):
            yield f"{pod.path} requests GPUs but does not tolerate the taint {GPU}"
        # A device plugin runs on GPU nodes without requesting GPUs.
        if resource.kind != "DaemonSet" and not may_take and _targets_gpu_nodes(pod):
            yield f"{pod.path} targets GPU nodes but has no limit {GPU}"
        for container in pod.containers:
            requested, limit = (lookup(container.spec, "resources", part, GPU) for part in ("requests", "limits"))
            if UNKNOWN not in (requested, limit) and requested is not None and str(requested) != str(limit):
                yield f"{container.name} requests {requested} {GPU} but has the limit {limit}: they must be equal"


def _gpu_limit(container: Any) -> Any:
    return lookup(container, "resources", "limits", GPU)


def _requests_gpus(container: Any) -> bool:
    return satisfies(_gpu_limit(container), lambda limit: limit not in (None, 0, "0"))


def _tolerates(toleration: Any) -> bool:
    key, operator = lookup(toleration, "key"), lookup(toleration, "operator")
    return key in (GPU, UNKNOWN) or (key in (None, "") and operator in ("Exists", UNKNOWN))


def _targets_gpu_nodes(pod: Pod) -> bool:
    tolerated = any(lookup(t, "key") == GPU for t in known_members(lookup(pod.spec, "tolerations")))
    selected = any(k.startswith("nvidia.com/") for k, _ in known_fields(lookup(pod.spec, "nodeSelector")))
    return tolerated or selected or lookup(pod.spec, "runtimeClassName") == "nvidia"


@stack_rule(
    "one-gpu-owner",
    "Only one installation owns the GPU driver, and only one advertises the GPUs.",
    "Install the GPU operator or the device plugin; with both, set `devicePlugin.enabled: false` or "
    "`driver.enabled: false` in the operator's values.",
)
def _one_owner(resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    for what, finder in (("advertise GPUs", _advertises), ("own the driver", _owns_driver)):
        found = [r for r in resources if finder(r)]
        for other in found[1:]:
            yield other, f"this and {found[0].label} both {what}"


def _advertises(resource: PlannedResource) -> bool:
    chart = _chart_name(resource)
    if chart == OPERATOR:
        return _is_enabled(resource, "devicePlugin")
    return chart in ADVERTISERS or _runs_image(resource, ADVERTISERS)


def _owns_driver(resource: PlannedResource) -> bool:
    chart = _chart_name(resource)
    return _is_enabled(resource, "driver") if chart == OPERATOR else chart in DRIVERS or _runs_image(resource, DRIVERS)


def _chart_name(resource: PlannedResource) -> str:
    """Returns the name of the chart that a Release installs, without repository and version."""
    chart = lookup(resource.props, "chart") if resource.group == "helm.sh" else None
    return chart.rstrip("/").rpartition("/")[2] if isinstance(chart, str) else ""


def _is_enabled(resource: PlannedResource, part: str) -> bool:
    return lookup(resource.props, "values", part, "enabled") in (None, True)


def _runs_image(resource: PlannedResource, names: Sequence[str]) -> bool:
    if resource.kind != "DaemonSet":
        return False
    images = [lookup(c.spec, "image") for p in pods(resource) for c in p.containers]
    return any(isinstance(i, str) and _image_name(i) in names for i in images)


def _image_name(image: str) -> str:
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
