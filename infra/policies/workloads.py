"""Rules about how a workload is sized, watched, named and spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from infra.policies.manifest import Resource
from infra.policies.pods import Pod, pods
from infra.policies.rule import resource_rule, stack_rule
from infra.policies.selection import selects
from infra.policies.values import at, holds, some

LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of")


@resource_rule(
    "resources-stated",
    "Every container states what it needs and what it may take.",
    "Set `resources.requests` and `resources.limits`, each with `cpu` and `memory`.",
)
def _resources(resource: Resource) -> Iterator[str]:
    for pod in pods(resource):
        for container in pod.containers:
            lacking = [
                f"{part}.{what}"
                for part in ("requests", "limits")
                for what in ("cpu", "memory")
                if at(container.spec, "resources", part, what) is None
            ]
            if lacking:
                yield f"{container.name} states no {', '.join(lacking)}"


@resource_rule(
    "probes",
    "Every container that stays has a readiness and a liveness probe.",
    "Set `readinessProbe` and `livenessProbe`. KubeRay gives them to Ray's own container where it has none.",
)
def _probes(resource: Resource) -> Iterator[str]:
    for pod in pods(resource):
        if pod.finite:
            continue
        for container in pod.containers:
            if not container.stays or container.ray or not container.given:
                continue
            lacking = [p for p in ("readinessProbe", "livenessProbe") if at(container.spec, p) is None]
            if lacking:
                yield f"{container.name} has no {' and no '.join(lacking)}"


@resource_rule(
    "job-limits",
    "Every job ends, and is removed.",
    "Set `backoffLimit`, `activeDeadlineSeconds` and `ttlSecondsAfterFinished` in the job's `spec`.",
)
def _jobs(resource: Resource) -> Iterator[str]:
    if resource.is_a("batch", "Job"):
        spec = at(resource.props, "spec")
    elif resource.is_a("batch", "CronJob"):
        spec = at(resource.props, "spec", "jobTemplate", "spec")
    else:
        return
    for key in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if at(spec, key) is None:
            yield f"the job states no {key}"


@resource_rule(
    "recommended-labels",
    "What runs, and what leads to it, has the recommended labels.",
    f"Set the labels {', '.join(f'`{label}`' for label in LABELS)} on the object and on its pods.",
    level="advisory",
)
def _labels(resource: Resource) -> Iterator[str]:
    found = pods(resource)
    if (found or resource.is_a("", "Service")) and (missing := _missing(resource.labels)):
        yield f"the object has no {missing}"
    for pod in found:
        if resource.kind != "Pod" and (missing := _missing(pod.labels)):
            yield f"the pods of {pod.path} have no {missing}"


def _missing(labels: Any) -> str:
    return ", ".join(label for label in LABELS if at(labels, label) is None)


@resource_rule(
    "topology-spread",
    "Pods that are there more than once are spread over nodes.",
    "Set `topologySpreadConstraints` (or a `podAntiAffinity`) with `topologyKey: kubernetes.io/hostname`.",
)
def _spread(resource: Resource) -> Iterator[str]:
    for pod in _replicated(resource):
        constraints = at(pod.spec, "topologySpreadConstraints")
        apart = at(pod.spec, "affinity", "podAntiAffinity")
        if not (some(constraints, lambda _: True) or holds(apart, bool)):
            yield f"{pod.path} has {pod.replicas} replicas that may all share one node"


@stack_rule(
    "disruption-budget",
    "Pods that are there more than once have a PodDisruptionBudget.",
    "Add a PodDisruptionBudget in the namespace whose selector matches the labels of the pods.",
)
def _budget(resources: Sequence[Resource]) -> Iterator[tuple[Resource, str]]:
    budgets = [r for r in resources if r.is_a("policy", "PodDisruptionBudget")]
    for resource in resources:
        for pod in _replicated(resource):
            if not any(selects(b, at(b.props, "spec", "selector"), pod) for b in budgets):
                yield resource, f"{pod.path} has {pod.replicas} replicas and no PodDisruptionBudget"


def _replicated(resource: Resource) -> Iterator[Pod]:
    yield from (p for p in pods(resource) if isinstance(p.replicas, int) and p.replicas > 1)
