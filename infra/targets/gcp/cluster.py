"""Converts the settings to the arguments of a GKE cluster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, get_args

from pulumi import Input
from pulumi_gcp import container

from infra.cloud_config import Cluster, Day
from infra.targets.gcp.nodes import METADATA, SCOPES
from infra.targets.gcp.settings import Gcp, GcpMaintenance

PODS = "pods"
SERVICES = "services"
"""Names of the subnet's secondary ranges, which an existing subnet must have too."""


def workload_pool(settings: Gcp) -> str:
    """Returns the workload identity pool, which all clusters of the project share."""
    return f"{settings.project}.svc.id.goog"


ANCHOR = date(2026, 1, 5)
"""The Monday of the week in which windows begin."""

SCOPES_OF_EXCLUSIONS = {
    "all": "NO_UPGRADES",
    "minor_and_nodes": "NO_MINOR_OR_NODE_UPGRADES",
    "minor": "NO_MINOR_UPGRADES",
}


def maintenance_policy(wanted: GcpMaintenance) -> container.ClusterMaintenancePolicyArgs:
    """Returns the window in which GKE may upgrade, and when it may not."""
    days = [day for day in get_args(Day) if day in wanted.days]
    hour, minute = map(int, wanted.start.split(":"))
    start = datetime.combine(ANCHOR + timedelta(get_args(Day).index(days[0])), time(hour, minute))
    return container.ClusterMaintenancePolicyArgs(
        recurring_window=container.ClusterMaintenancePolicyRecurringWindowArgs(
            start_time=f"{start.isoformat()}Z",
            end_time=f"{(start + timedelta(hours=wanted.hours)).isoformat()}Z",
            recurrence=f"FREQ=WEEKLY;BYDAY={','.join(day[:2].upper() for day in days)}",
        ),
        maintenance_exclusions=[
            container.ClusterMaintenancePolicyMaintenanceExclusionArgs(
                exclusion_name=each.name,
                start_time=f"{each.start}T00:00:00Z",
                end_time=f"{each.end}T00:00:00Z",
                exclusion_options=container.ClusterMaintenancePolicyMaintenanceExclusionExclusionOptionsArgs(
                    scope=SCOPES_OF_EXCLUSIONS[each.scope]
                ),
            )
            for each in wanted.exclusions
        ],
    )


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
    """Returns a regional cluster; its nodes use the account `account` (e-mail), and `key` (id) encrypts secrets."""
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
        maintenance_policy=maintenance_policy(settings.maintenance),
        deletion_protection=wanted.deletion_protection,
        resource_labels=dict(labels),
        **(_autopilot(account) if settings.autopilot else _standard(settings, account)),
    )


def _standard(settings: Gcp, account: Input[str]) -> dict[str, Any]:
    return {
        # Without it GKE does not enforce network policies.
        "datapath_provider": "ADVANCED_DATAPATH",
        "enable_shielded_nodes": True,
        "workload_identity_config": container.ClusterWorkloadIdentityConfigArgs(workload_pool=workload_pool(settings)),
        "remove_default_node_pool": True,
        "initial_node_count": 1,
        # Without it the initial pool would use the project's default account, which may be deleted.
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
            # The chart's network policies allow DNS requests to kube-dns, but not to GKE's cache (default since 1.33).
            dns_cache_config=container.ClusterAddonsConfigDnsCacheConfigArgs(enabled=False),
        ),
        "monitoring_config": container.ClusterMonitoringConfigArgs(
            enable_components=["SYSTEM_COMPONENTS"],
            # The stack has its own Prometheus.
            managed_prometheus=container.ClusterMonitoringConfigManagedPrometheusArgs(enabled=False),
        ),
    }


def _autopilot(account: Input[str]) -> dict[str, Any]:
    """Returns the arguments of Autopilot, which rejects those for features that it always has."""
    return {
        "enable_autopilot": True,
        "cluster_autoscaling": container.ClusterClusterAutoscalingArgs(
            auto_provisioning_defaults=container.ClusterClusterAutoscalingAutoProvisioningDefaultsArgs(
                service_account=account, oauth_scopes=list(SCOPES)
            )
        ),
    }
