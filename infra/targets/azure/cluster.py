"""The arguments of an AKS cluster, and its kubeconfig."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import yaml
from pulumi import Input
from pulumi_azure_native import containerservice

from infra.cloud_config import Cluster
from infra.resources.provisioned_cluster import kubeconfig
from infra.targets.azure import limits
from infra.targets.azure.nodes import system_pool

ENTRA_SERVER = "6dae42f8-4368-4678-94ff-3960e28e3630"
"""Id of the Entra ID application for which all AKS clusters accept tokens."""


def managed_cluster(
    cluster: Cluster,
    name: str,
    group: Input[str],
    identity: Input[str],
    subnet: Input[str],
    outbound: Sequence[Input[str]],
    tags: Mapping[str, str],
) -> containerservice.ManagedClusterArgs:
    """Returns the arguments of the cluster `name` in the resource group `group`.

    `outbound` are the ranges of its nodes' connections to the internet.
    """
    return containerservice.ManagedClusterArgs(
        resource_group_name=group,
        resource_name=name,
        kubernetes_version=cluster.kubernetes_version,
        sku=containerservice.ManagedClusterSKUArgs(name="Base", tier="Standard"),
        dns_prefix=name,
        node_resource_group=f"{name}-nodes",
        node_resource_group_profile=containerservice.ManagedClusterNodeResourceGroupProfileArgs(
            restriction_level="ReadOnly"
        ),
        identity=containerservice.ManagedClusterIdentityArgs(
            type=containerservice.ResourceIdentityType.USER_ASSIGNED, user_assigned_identities=[identity]
        ),
        enable_rbac=True,
        disable_local_accounts=True,
        aad_profile=containerservice.ManagedClusterAADProfileArgs(managed=True, enable_azure_rbac=True),
        api_server_access_profile=_endpoint(cluster, outbound),
        network_profile=_network_profile(),
        oidc_issuer_profile=containerservice.ManagedClusterOIDCIssuerProfileArgs(enabled=True),
        security_profile=containerservice.ManagedClusterSecurityProfileArgs(
            workload_identity=containerservice.ManagedClusterSecurityProfileWorkloadIdentityArgs(enabled=True)
        ),
        auto_upgrade_profile=containerservice.ManagedClusterAutoUpgradeProfileArgs(
            upgrade_channel="patch", node_os_upgrade_channel="NodeImage"
        ),
        agent_pool_profiles=[system_pool(cluster, subnet, tags)],
        tags=tags,
    )


def _endpoint(
    cluster: Cluster, outbound: Sequence[Input[str]]
) -> containerservice.ManagedClusterAPIServerAccessProfileArgs:
    if cluster.endpoint == "private":
        return containerservice.ManagedClusterAPIServerAccessProfileArgs(
            enable_private_cluster=True,
            enable_private_cluster_public_fqdn=False,
            private_dns_zone="system",
            disable_run_command=True,
        )
    # Nodes reach a public API server through the NAT gateway, whose address must be authorized too.
    return containerservice.ManagedClusterAPIServerAccessProfileArgs(
        authorized_ip_ranges=[*map(str, cluster.authorized_ranges), *outbound],
        disable_run_command=True,
    )


def _network_profile() -> containerservice.ContainerServiceNetworkProfileArgs:
    """Returns the network profile, with Cilium to enforce network policies."""
    return containerservice.ContainerServiceNetworkProfileArgs(
        network_plugin="azure",
        network_plugin_mode="overlay",
        network_dataplane="cilium",
        network_policy="cilium",
        outbound_type="userAssignedNATGateway",
        load_balancer_sku="standard",
        pod_cidr=str(limits.PODS),
        service_cidr=str(limits.SERVICES),
        dns_service_ip=str(limits.SERVICES[10]),
    )


def entra_kubeconfig(name: str, credentials: str) -> str:
    """Converts Azure's base64 kubeconfig to one whose user signs in by `az login`."""
    cluster_entry = yaml.safe_load(base64.b64decode(credentials))["clusters"][0]["cluster"]
    sign_in = {
        "command": "kubelogin",
        "args": [
            "get-token",
            *("--login", "azurecli"),
            *("--server-id", ENTRA_SERVER),
            *("--environment", "AzurePublicCloud"),
        ],
        "installHint": "install kubelogin: `az aks install-cli`",
        "interactiveMode": "Never",
        "provideClusterInfo": False,
    }
    return kubeconfig(name, cluster_entry, sign_in)
