"""Plans a stack's cluster from its configuration. Only stacks in this cloud import the SDK."""

from __future__ import annotations

from infra.addons import ADDONS
from infra.config import StackConfig
from infra.targets.gcp import limits
from infra.targets.gcp.gke import provision_gke
from infra.targets.provisioned_cluster import ProvisionedCluster


def provision(config: StackConfig, stack: str) -> ProvisionedCluster:
    """Plans the cluster with its node pools."""
    called = {port for addon in ADDONS if addon.choice(config) == "install" for port in addon.webhooks}
    return provision_gke(
        config.gcp,
        config.cluster,
        config.node_pools,
        stack,
        config.kubernetes.namespace,
        sorted(called - limits.OPEN_PORTS),
        config.ingress,
    )
