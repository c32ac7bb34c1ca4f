"""Rules about storage and resource definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.policies.manifest import PlannedResource
from infra.policies.rule import resource_rule
from infra.policies.values import lookup, members


def _claims(resource: PlannedResource) -> Iterator[tuple[str, Any]]:
    if resource.is_a("", "PersistentVolumeClaim"):
        yield "spec", lookup(resource.props, "spec")
    else:
        for i, claim in enumerate(members(lookup(resource.props, "spec", "volumeClaimTemplates"))):
            yield f"spec.volumeClaimTemplates[{i}].spec", lookup(claim, "spec")


@resource_rule(
    "storage-size",
    "Every storage claim sets its size and access mode.",
    "Set `resources.requests.storage` and `accessModes`.",
)
def _storage_size(resource: PlannedResource) -> Iterator[str]:
    for path, spec in _claims(resource):
        if lookup(spec, "resources", "requests", "storage") is None:
            yield f"{path} sets no size"
        if not lookup(spec, "accessModes"):
            yield f"{path} sets no access mode"


@resource_rule(
    "storage-class",
    "Every storage claim sets its class.",
    "Set `storageClassName`; the cluster's default class can change, and may delete the volume with the claim.",
    level="advisory",
)
def _storage_class(resource: PlannedResource) -> Iterator[str]:
    for path, spec in _claims(resource):
        if lookup(spec, "storageClassName") is None:
            yield f"{path} uses the cluster's default class"


@resource_rule(
    "definitions-kept",
    "A CustomResourceDefinition is kept when its release is deleted.",
    "Annotate it with `helm.sh/resource-policy: keep`, which Helm and Pulumi respect: with a definition, Kubernetes "
    "deletes all objects of its kind.",
)
def _definitions(resource: PlannedResource) -> Iterator[str]:
    if resource.is_a("apiextensions.k8s.io", "CustomResourceDefinition"):
        annotations = lookup(resource.props, "metadata", "annotations")
        if lookup(annotations, "helm.sh/resource-policy") is None:
            yield "the definition is deleted with the stack, and with it all objects of its kind"
