"""What `up` knows of resources in Azure: which of them hold data or machines, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.resources.holding import Holding, Remedy

STACK = "the name of the stack"
PLACE = "headrace:azure.location"
GROUP = f"headrace:azure.resource_group, or {STACK}"
POOL = "headrace:node_pools[{pool}]"

HOLDINGS: Mapping[str, Holding] = {
    "azure-native:resources:ResourceGroup": Holding(
        "resource group",
        "everything in it: the cluster and the bucket",
        "headrace:azure.resource_group",
        {"resourceGroupName": STACK, "location": PLACE},
    ),
    "azure-native:containerservice:ManagedCluster": Holding(
        "cluster",
        "everything that runs in it, and its volumes",
        "headrace:target",
        {"resourceName": STACK, "resourceGroupName": GROUP, "location": PLACE, "dnsPrefix": STACK},
        version="kubernetesVersion",
    ),
    "azure-native:containerservice:AgentPool": Holding(
        "node pool",
        "its nodes, and the GPUs that Azure may not be able to provide again",
        "headrace:node_pools",
        {
            "agentPoolName": f"{POOL}.name",
            "resourceName": "the cluster",
            "resourceGroupName": GROUP,
            "availabilityZones": f"{POOL}.zones",
            "capacityReservationGroupID": f"{POOL}.reservation",
            "gpuInstanceProfile": f"{POOL}.sharing",
            "gpuProfile": f"{POOL}.driver",
            "osDiskSizeGB": f"{POOL}.disk_gib",
            "scaleSetPriority": f"{POOL}.capacity",
            "vmSize": f"{POOL}.machine_type, accelerator or gpus",
            "vnetSubnetID": "headrace:cluster.network",
        },
        version="orchestratorVersion",
    ),
    "azure-native:storage:StorageAccount": Holding(
        "bucket",
        "the files and collections in it",
        "headrace:target",
        {
            "accountName": f"headrace:azure.subscription, or {STACK}",
            "resourceGroupName": GROUP,
            "location": PLACE,
        },
    ),
}

FOREIGN: Mapping[str, Sequence[str]] = {"azure-native:containerservice:ManagedCluster": ("agentPoolProfiles",)}
"""Properties that also list what other resources manage: a refresh takes it over, which is no drift."""

AGAIN = (
    "then run `make up` again, which continues; if the failed agent pool is still there, delete it first"
    " (`az aks nodepool delete`)"
)

REMEDIES: Sequence[Remedy] = (
    Remedy(
        r"InsufficientVCPUQuota|QuotaExceeded|exceeding approved",
        "the subscription's quota has no room for these machines",
        "request more vCPUs of the family that the error names, and of Total Regional vCPUs, under Quotas"
        f" (docs/how-to/azure.md#what-you-need), or make headrace:node_pools smaller; {AGAIN}",
    ),
    Remedy(
        r"AllocationFailed|Overconstrained\w*AllocationRequest|do not have sufficient capacity|SkuNotAvailable",
        "Azure has no such machine left in this zone or location at present",
        "name other zones in headrace:node_pools[].zones or none, another machine_type, or a reservation; or wait;"
        f" {AGAIN}",
    ),
    Remedy(
        r"AuthorizationFailed|PrincipalNotFound|does not have authorization to perform action",
        "Azure has not yet made a new role or identity known everywhere, which takes up to ten minutes",
        "run `make up` again after that, which continues; if it happens again, the user lacks the roles Contributor and"
        " User Access Administrator (docs/how-to/azure.md#what-you-need)",
    ),
)
