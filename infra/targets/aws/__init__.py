"""Amazon EKS: network, cluster, nodes, bucket and roles."""

from __future__ import annotations

from infra.config import StackConfig
from infra.targets.provisioned_cluster import ProvisionedCluster

SDK = "pulumi_aws"


def provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    """Plans the cluster with its node pools. Only stacks on AWS import the SDK."""
    from infra.targets.aws.eks import provision_eks

    return provision_eks(
        config.aws, config.cluster, config.node_pools, stack, config.kubernetes.namespace, config.ingress
    )
