"""A cluster of GKE as the SDK's own arguments: pure functions from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi import Input
from pulumi_gcp import container

from infra.cloud_config import Cluster, Gcp
from infra.targets.gcp.nodes import METADATA, SCOPES

PODS = "pods"
SERVICES = "services"
"""Names of the subnet's secondary ranges; an existing subnet must have them too."""


def workload_pool(settings: Gcp) -> str:
    """The pool of identities that the project's clusters share."""
    return f"{settings.project}.svc.id.goog"


def cluster_arguments(
    settings: Gcp,
    wanted: Cluster,
    *,
    name: str,
    labels: Mapping[str, str],
    network: Input[str],
    subnet: Input[str],
    account: Input[str],
    key: Input[str],
) -> container.ClusterArgs:
    """Arguments of a regional cluster whose nodes are `account` (e-mail) and whose secrets `key` (id) encrypts."""
    return container.ClusterArgs(
        name=name,
        location=settings.region,
        network=network,
        subnetwork=subnet,
        networking_mode="VPC_NATIVE",
        ip_allocation_policy=container.ClusterIpAllocationPolicyArgs(
            cluster_secondary_range_name=PODS, services_secondary_range_name=SERVICES
        ),
        private_cluster_config=container.ClusterPrivateClusterConfigArgs(
            enable_private_nodes=True, enable_private_endpoint=wanted.endpoint == "private"
        ),
        master_authorized_networks_config=container.ClusterMasterAuthorizedNetworksConfigArgs(
            cidr_blocks=[
                container.ClusterMasterAuthorizedNetworksConfigCidrBlockArgs(cidr_block=str(r))
                for r in wanted.authorized_ranges
            ],
            gcp_public_cidrs_access_enabled=False,
        ),
        release_channel=container.ClusterReleaseChannelArgs(channel="REGULAR"),
        min_master_version=wanted.kubernetes_version,
        database_encryption=container.ClusterDatabaseEncryptionArgs(state="ENCRYPTED", key_name=key),
        rbac_binding_config=container.ClusterRbacBindingConfigArgs(
            enable_insecure_binding_system_authenticated=False, enable_insecure_binding_system_unauthenticated=False
        ),
        logging_config=container.ClusterLoggingConfigArgs(
            enable_components=["SYSTEM_COMPONENTS", "WORKLOADS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER"]
        ),
        deletion_protection=wanted.deletion_protection,
        resource_labels=dict(labels),
        **(_autopilot(account) if settings.autopilot else _standard(settings, account)),
    )


def _standard(settings: Gcp, account: Input[str]) -> dict[str, Any]:
    return {
        # Without it GKE accepts network policies and does not enforce them.
        "datapath_provider": "ADVANCED_DATAPATH",
        "enable_shielded_nodes": True,
        "workload_identity_config": container.ClusterWorkloadIdentityConfigArgs(workload_pool=workload_pool(settings)),
        "remove_default_node_pool": True,
        "initial_node_count": 1,
        # Without an account of its own the first pool would need the project's default one, which many delete.
        "node_config": container.ClusterNodeConfigArgs(
            service_account=account,
            oauth_scopes=list(SCOPES),
            metadata=METADATA,
            shielded_instance_config=container.ClusterNodeConfigShieldedInstanceConfigArgs(
                enable_secure_boot=True, enable_integrity_monitoring=True
            ),
        ),
        "addons_config": container.ClusterAddonsConfigArgs(
            gce_persistent_disk_csi_driver_config=container.ClusterAddonsConfigGcePersistentDiskCsiDriverConfigArgs(
                enabled=True
            ),
            # The chart's network policies let names be asked of kube-dns; since 1.33 GKE puts a cache in between.
            dns_cache_config=container.ClusterAddonsConfigDnsCacheConfigArgs(enabled=False),
        ),
        "monitoring_config": container.ClusterMonitoringConfigArgs(
            enable_components=["SYSTEM_COMPONENTS"],
            # The stack brings a Prometheus.
            managed_prometheus=container.ClusterMonitoringConfigManagedPrometheusArgs(enabled=False),
        ),
    }


def _autopilot(account: Input[str]) -> dict[str, Any]:
    """Dataplane V2, workload identity, shielded nodes and metrics are always on there, and refused as arguments."""
    return {
        "enable_autopilot": True,
        "cluster_autoscaling": container.ClusterClusterAutoscalingArgs(
            auto_provisioning_defaults=container.ClusterClusterAutoscalingAutoProvisioningDefaultsArgs(
                service_account=account, oauth_scopes=list(SCOPES)
            )
        ),
    }
