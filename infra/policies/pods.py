"""Finds all pods that an object describes at any depth, in a Deployment or a RayService's worker group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from infra.policies.manifest import PlannedResource
from infra.policies.values import UNKNOWN, lookup, members, unwrap_secret

# The containers in kinds of the second set are patches for pods that an operator creates.
NOT_PODS = frozenset({"CustomResourceDefinition", "ConfigMap", "Secret", "Release", "Chart"}) | frozenset(
    {"Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler"}
)
RUNTIMES = frozenset({"ServingRuntime", "ClusterServingRuntime"})
FINITE = frozenset({"Job", "CronJob"})


@dataclass(frozen=True)
class Container:
    """One container of a pod."""

    path: str
    spec: Mapping[str, Any]
    init: bool = False
    complete: bool = True
    """False if another object completes it, as a ServingRuntime completes an InferenceService's model."""
    ray: bool = False
    """Whether the container runs Ray: KubeRay uses the first one."""

    @property
    def name(self) -> str:
        name = lookup(self.spec, "name")
        return f"{self.path} ({name})" if isinstance(name, str) else self.path

    @property
    def long_running(self) -> bool:
        """Whether it runs as long as its pod; a sidecar is an init container that is always restarted."""
        return not self.init or lookup(self.spec, "restartPolicy") in ("Always", UNKNOWN)


@dataclass(frozen=True)
class Pod:
    """A pod that an object describes."""

    owner: PlannedResource
    path: str
    spec: Mapping[str, Any]
    template_holder: Mapping[str, Any]
    """The object with the pod template, which sets the number of replicas."""

    @property
    def labels(self) -> Any:
        """Labels of the pod template, or of a bare pod."""
        return (
            lookup(self.template_holder, "template", "metadata", "labels")
            if "template" in self.template_holder
            else self.owner.labels
        )

    @property
    def replicas(self) -> Any:
        """Number of pods; 1 if it is not set."""
        # A group of an autoscaled Ray cluster has at least `minReplicas`.
        numbers = [lookup(self.template_holder, key) for key in ("replicas", "minReplicas")]
        if UNKNOWN in numbers:
            return UNKNOWN
        return max((n for n in numbers if isinstance(n, int)), default=1)

    @property
    def ray(self) -> str:
        """`head`, `worker`, or empty for pods without Ray."""
        if "headGroupSpec" in self.path:
            return "head"
        return "worker" if "workerGroupSpecs" in self.path else ""

    @property
    def sets_identity(self) -> bool:
        """Whether the object sets its pods' ServiceAccount; a ServingRuntime leaves that to InferenceServices."""
        return self.owner.kind not in RUNTIMES

    @property
    def finite(self) -> bool:
        """Whether the pod ends by itself."""
        return self.owner.kind in FINITE or lookup(self.spec, "restartPolicy") in ("Never", "OnFailure")

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """All containers, init containers last."""
        found = [
            Container(f"{self.path}.{key}[{i}]", c, init=key == "initContainers", ray=self._is_ray(key, i))
            for key in ("containers", "initContainers")
            for i, c in enumerate(members(lookup(self.spec, key)))
            if isinstance(c, Mapping)
        ]
        if isinstance(model := lookup(self.spec, "model"), Mapping):
            found.append(Container(f"{self.path}.model", model, complete=False))
        return tuple(found)

    def _is_ray(self, key: str, index: int) -> bool:
        return bool(self.ray) and key == "containers" and index == 0


@cache
def pods(resource: PlannedResource) -> tuple[Pod, ...]:
    """Returns all pods that the resource describes."""
    if not resource.kind or resource.kind in NOT_PODS:
        return ()
    inner = {k: v for k, v in resource.props.items() if k not in ("metadata", "status")}
    return tuple(_find_pods(resource, inner, "", {}, {}))


def _find_pods(
    owner: PlannedResource, node: Any, path: str, parent: Mapping[str, Any], holder: Mapping[str, Any]
) -> Iterator[Pod]:
    node = unwrap_secret(node)
    if isinstance(node, Mapping):
        if _is_pod(node, path):
            yield Pod(owner, path, node, holder if path.endswith("template.spec") else parent)
            return
        for key, value in node.items():
            yield from _find_pods(owner, value, f"{path}.{key}".lstrip("."), node, parent)
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from _find_pods(owner, value, f"{path}[{i}]", parent, holder)


def _is_pod(node: Mapping[str, Any], path: str) -> bool:
    if isinstance(unwrap_secret(node.get("containers")), list):
        return True
    return path.endswith("predictor") and isinstance(unwrap_secret(node.get("model")), Mapping)
