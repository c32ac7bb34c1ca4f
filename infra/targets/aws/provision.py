"""Plans the cluster of a stack. Only stacks in this cloud import the SDK."""

from __future__ import annotations

from infra.resources.cloud_stack import CloudStack
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets.aws.eks import provision_eks
from infra.targets.aws.settings import Aws


def provision(stack: CloudStack[Aws]) -> ProvisionedCluster:
    """Plans the cluster with its node pools."""
    return provision_eks(
        stack.settings, stack.cluster, stack.pools, stack.name, stack.namespace, stack.ingress, stack.weights
    )
