"""Azure Kubernetes Service: network, cluster, nodes and storage."""

from __future__ import annotations

from infra.config import StackConfig
from infra.targets.provisioned_cluster import ProvisionedCluster

SDK = "pulumi_azure_native"


def provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    """Plans the cluster with its node pools. Only stacks on Azure import the SDK."""
    from infra.targets.azure.aks import provision_aks

    return provision_aks(
        config.azure, config.cluster, config.node_pools, stack, config.kubernetes.namespace, config.ingress
    )
