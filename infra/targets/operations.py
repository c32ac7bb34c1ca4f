"""What `up` knows of the resources of a stack in a cluster: which of them hold data or machines, and what errors mean.

A cloud has the same for its own resources, in `infra/targets/<cloud>/operations.py`, which needs no SDK.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from types import ModuleType

from infra.nodes.machines import CLOUDS
from infra.resources.holding import Holding, Remedy

ADDON = "headrace:kubernetes:Addon"


NAMESPACE = "headrace:kubernetes.namespace"

HOLDINGS: Mapping[str, Holding] = {
    "kubernetes:core/v1:Namespace": Holding(
        "namespace", "everything in it, its volumes too", "headrace:target", {"metadata.name": NAMESPACE}
    ),
    "kubernetes:postgresql.cnpg.io/v1:Cluster": Holding(
        "database",
        "its volumes: users, keys, conversations and all other rows",
        "headrace:database.kind",
        {"metadata.namespace": NAMESPACE, "spec.storage": "headrace:database.storage_class"},
    ),
    "kubernetes:core/v1:PersistentVolumeClaim": Holding(
        "volume",
        "the files and collections on it",
        f"headrace:data, or {NAMESPACE}",
        {
            "metadata.namespace": NAMESPACE,
            "spec.storageClassName": "headrace:data.storage_class, or headrace:kubernetes.storage_class",
            "spec.resources": "headrace:data.storage",
        },
        only=r"data$",
    ),
    ADDON: Holding(
        "add-on", "the kinds of objects that it defines, and every such object in the cluster", "headrace:addons"
    ),
    "headrace:index:KubernetesCluster": Holding(
        "cluster",
        "everything that runs in it",
        "headrace:target",
        {"endpoint": "headrace:onprem.virtual_ip", "stack": "the name of the stack"},
    ),
    "headrace:index:KubernetesNode": Holding(
        "host",
        "what runs on it, and the data of volumes on it",
        "headrace:onprem.hosts",
        {
            "address": "headrace:onprem.hosts",
            "name": "headrace:onprem.hosts",
            "role": "headrace:onprem.hosts",
            "stack": "the name of the stack",
        },
    ),
}
"""By the type tokens of Pulumi, which are for ever."""


REMEDIES: Sequence[Remedy] = (
    Remedy(
        r"currently marked for protection|because it is protected",
        "this resource is protected from deletion",
        "undo the change that replaces or deletes it, or set deletion_protection: false in headrace:cluster and run"
        " `make up` with that change alone before",
    ),
    Remedy(
        r"Kubernetes cluster is unreachable|unable to load schema information from the API server",
        "this host does not reach the API server of the cluster, or is not signed in",
        "in a cloud, add its address to headrace:cluster.authorized_ranges, or run `make up` inside the network, and"
        " sign in again",
    ),
)


def remedies() -> list[Remedy]:
    """Returns what is known of errors, of clusters and of all clouds."""
    return [*(each for module in _modules() for each in getattr(module, "REMEDIES", ())), *REMEDIES]


def holdings() -> dict[str, Holding]:
    """Returns the types that hold something, of clusters and of all clouds."""
    return dict(HOLDINGS) | {type: each for module in _modules() for type, each in module.HOLDINGS.items()}


def foreign() -> dict[str, Sequence[str]]:
    """Returns the properties that also list what others manage, by type."""
    return {type: names for module in _modules() for type, names in getattr(module, "FOREIGN", {}).items()}


def _modules() -> list[ModuleType]:
    names = [f"infra.targets.{cloud}.operations" for cloud in CLOUDS]
    return [importlib.import_module(name) for name in names if importlib.util.find_spec(name) is not None]
