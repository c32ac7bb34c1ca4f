"""Rules about resources, probes, labels and replicas of workloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from infra.policies.manifest import PlannedResource
from infra.policies.pods import Pod, pods
from infra.policies.rule import resource_rule, stack_rule
from infra.policies.selection import selects
from infra.policies.values import any_member, lookup, satisfies

LABELS = ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of")


@resource_rule(
    "resources-stated",
    "Every container sets resource requests and limits.",
    "Set `resources.requests` and `resources.limits`, each with `cpu` and `memory`.",
)
def _resources(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        for container in pod.containers:
            lacking = [
                f"{part}.{what}"
                for part in ("requests", "limits")
                for what in ("cpu", "memory")
                if lookup(container.spec, "resources", part, what) is None
            ]
            if lacking:
                yield f"{container.name} does not set {', '.join(lacking)}"


@resource_rule(
    "probes",
    "Every long-running container has a readiness and a liveness probe.",
    "Set `readinessProbe` and `livenessProbe`. KubeRay adds them to the Ray container if it has none.",
)
def _probes(resource: PlannedResource) -> Iterator[str]:
    for pod in pods(resource):
        if pod.finite:
            continue
        for container in pod.containers:
            if not container.long_running or container.ray or not container.complete:
                continue
            lacking = [p for p in ("readinessProbe", "livenessProbe") if lookup(container.spec, p) is None]
            if lacking:
                yield f"{container.name} has no {' and no '.join(lacking)}"


@resource_rule(
    "job-limits",
    "Every job ends and is then removed.",
    "Set `backoffLimit`, `activeDeadlineSeconds` and `ttlSecondsAfterFinished` in the job's `spec`.",
)
def _jobs(resource: PlannedResource) -> Iterator[str]:
    if resource.is_a("batch", "Job"):
        spec = lookup(resource.props, "spec")
    elif resource.is_a("batch", "CronJob"):
        spec = lookup(resource.props, "spec", "jobTemplate", "spec")
    else:
        return
    for key in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished"):
        if lookup(spec, key) is None:
            yield f"the job does not set {key}"


@resource_rule(
    "recommended-labels",
    "Workloads and Services have the recommended labels.",
    f"Set the labels {', '.join(f'`{label}`' for label in LABELS)} on the object and on its pods.",
    level="advisory",
)
def _labels(resource: PlannedResource) -> Iterator[str]:
    found = pods(resource)
    if (found or resource.is_a("", "Service")) and (missing := _missing_labels(resource.labels)):
        yield f"the object lacks {missing}"
    for pod in found:
        if resource.kind != "Pod" and (missing := _missing_labels(pod.labels)):
            yield f"the pods of {pod.path} lack {missing}"


def _missing_labels(labels: Any) -> str:
    return ", ".join(label for label in LABELS if lookup(labels, label) is None)


@resource_rule(
    "topology-spread",
    "Pods with several replicas are spread over nodes.",
    "Set `topologySpreadConstraints` (or a `podAntiAffinity`) with `topologyKey: kubernetes.io/hostname`.",
)
def _spread(resource: PlannedResource) -> Iterator[str]:
    for pod in _replicated_pods(resource):
        constraints = lookup(pod.spec, "topologySpreadConstraints")
        apart = lookup(pod.spec, "affinity", "podAntiAffinity")
        if not (any_member(constraints, lambda _: True) or satisfies(apart, bool)):
            yield f"{pod.path} has {pod.replicas} replicas, which may all run on one node"


@stack_rule(
    "disruption-budget",
    "Pods with several replicas have a PodDisruptionBudget.",
    "Add a PodDisruptionBudget in the namespace, with a selector that matches the labels of the pods.",
)
def _budget(resources: Sequence[PlannedResource]) -> Iterator[tuple[PlannedResource, str]]:
    budgets = [r for r in resources if r.is_a("policy", "PodDisruptionBudget")]
    for resource in resources:
        for pod in _replicated_pods(resource):
            if not any(selects(b, lookup(b.props, "spec", "selector"), pod) for b in budgets):
                yield resource, f"{pod.path} has {pod.replicas} replicas but no PodDisruptionBudget"


def _replicated_pods(resource: PlannedResource) -> Iterator[Pod]:
    yield from (p for p in pods(resource) if isinstance(p.replicas, int) and p.replicas > 1)
