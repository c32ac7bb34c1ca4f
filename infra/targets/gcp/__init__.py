"""Google Kubernetes Engine: cluster, nodes and bucket."""

from __future__ import annotations

from infra.config import StackConfig
from infra.targets.provisioned_cluster import ProvisionedCluster

SDK = "pulumi_gcp"


def provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    """Plans the cluster with its node pools. Only stacks on Google Cloud import the SDK."""
    from infra.targets.gcp.gke import provision_gke

    return provision_gke(config.gcp, config.cluster, config.node_pools, stack, config.kubernetes.namespace)
