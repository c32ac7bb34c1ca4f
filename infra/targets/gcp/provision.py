"""Plans the cluster of a stack. Only stacks in this cloud import the SDK."""

from __future__ import annotations

from infra.resources.cloud_stack import CloudStack
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets.gcp import limits
from infra.targets.gcp.gke import provision_gke
from infra.targets.gcp.settings import Gcp


def provision(stack: CloudStack[Gcp]) -> ProvisionedCluster:
    """Plans the cluster with its node pools."""
    return provision_gke(
        stack.settings,
        stack.cluster,
        stack.pools,
        stack.name,
        stack.namespace,
        sorted(stack.webhooks - limits.OPEN_PORTS),
        stack.ingress,
        stack.weights,
    )
