"""Plans a stack's cluster from its configuration. Only stacks in this cloud import the SDK."""

from __future__ import annotations

from infra.config import StackConfig
from infra.targets.aws.eks import provision_eks
from infra.targets.provisioned_cluster import ProvisionedCluster


def provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    """Plans the cluster with its node pools."""
    return provision_eks(
        config.aws, config.cluster, config.node_pools, stack, config.kubernetes.namespace, config.ingress
    )
