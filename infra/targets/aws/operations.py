"""What `up` knows of resources in AWS: which of them hold data or machines, and what its errors mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.resources.holding import Holding, Remedy

STACK = "the name of the stack"
POOL = "headrace:node_pools[{pool}]"

HOLDINGS: Mapping[str, Holding] = {
    "aws:eks/cluster:Cluster": Holding(
        "cluster",
        "everything that runs in it, and its volumes",
        "headrace:target",
        {
            "name": STACK,
            "region": "headrace:aws.region",
            "vpcConfig": "headrace:aws.zones, or headrace:cluster.network",
            "kubernetesNetworkConfig": "headrace:aws.mode",
            "version": "headrace:cluster.kubernetes_version",
        },
        version="version",
    ),
    "aws:eks/nodeGroup:NodeGroup": Holding(
        "node pool",
        "its nodes, and the GPUs that AWS may not be able to provide again",
        "headrace:node_pools",
        {
            "amiType": "headrace:aws.image, or whether the pool has GPUs",
            "capacityType": f"{POOL}.capacity",
            "instanceTypes": f"{POOL}.machine_type, accelerator or gpus",
            "subnetIds": f"{POOL}.zones, or headrace:cluster.network",
            "clusterName": "the cluster",
        },
        version="version",
    ),
    # A pool in Auto Mode, which EKS' Karpenter fills.
    "kubernetes:karpenter.sh/v1:NodePool": Holding(
        "node pool",
        "its nodes, and the GPUs that AWS may not be able to provide again",
        "headrace:node_pools",
        {"metadata.name": f"{POOL}.name"},
    ),
    "aws:s3/bucket:Bucket": Holding(
        "bucket",
        "the files and collections in it",
        "headrace:target",
        {"bucket": f"headrace:aws.account, or {STACK}", "region": "headrace:aws.region"},
    ),
}

AGAIN = (
    "then run `make up` again, which continues; if the failed node group is still there, delete it first"
    " (`aws eks delete-nodegroup`)"
)

REMEDIES: Sequence[Remedy] = (
    Remedy(
        r"VcpuLimitExceeded|MaxSpotInstanceCountExceeded|reached your quota",
        "the account's quota has no room for these machines",
        "request more vCPUs in Service Quotas, as docs/how-to/aws.md#1-what-you-need shows, or make"
        f" headrace:node_pools smaller; {AGAIN}",
    ),
    Remedy(
        r"targeted availability zone.*does not currently have sufficient capacity.*?zones:? ?(?P<zones>[-a-z0-9, ]*)",
        "the control plane of EKS cannot run in one of its zones",
        "name two others in headrace:aws.zones ({zones}), and run `make up` again",
    ),
    Remedy(
        r"InsufficientInstanceCapacity|UnfulfillableCapacity|do not have sufficient \S+ capacity",
        "AWS has no such machine left in this zone at present",
        "name other zones in headrace:node_pools[].zones (the error may say which have some), another machine_type, or"
        f" a reservation; or wait; {AGAIN}",
    ),
    Remedy(
        r"Error in role params|Role provided in the request does not exist|annot be assumed|ould not assume",
        "AWS has not yet made the new role known everywhere, which takes up to a minute",
        "run `make up` again, which continues; if it happens again, the credentials lack iam:PassRole for the role",
    ),
)
