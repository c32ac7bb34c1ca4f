"""Plans the cluster of a stack. Only stacks in this cloud import the SDK."""

from __future__ import annotations

from infra.resources.cloud_stack import CloudStack
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets.azure.aks import provision_aks
from infra.targets.azure.settings import Azure


def provision(stack: CloudStack[Azure]) -> ProvisionedCluster:
    """Plans the cluster with its node pools."""
    return provision_aks(
        stack.settings, stack.cluster, stack.pools, stack.name, stack.namespace, stack.ingress, stack.weights
    )
