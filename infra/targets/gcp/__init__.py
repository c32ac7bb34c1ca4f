"""Google Kubernetes Engine: cluster, nodes and bucket."""

from __future__ import annotations

from infra.addons import ADDONS
from infra.config import StackConfig
from infra.targets.provisioned_cluster import ProvisionedCluster

SDK = "pulumi_gcp"

OPEN_PORTS = frozenset({443, 10250})
"""Ports of nodes that GKE opens to a control plane (/kubernetes-engine/docs/how-to/private-clusters)."""


def provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    """Plans the cluster with its node pools. Only stacks on Google Cloud import the SDK."""
    from infra.targets.gcp.gke import provision_gke

    called = {port for addon in ADDONS if addon.choice(config) == "install" for port in addon.webhooks}
    return provision_gke(
        config.gcp,
        config.cluster,
        config.node_pools,
        stack,
        config.kubernetes.namespace,
        sorted(called - OPEN_PORTS),
        config.ingress,
    )
