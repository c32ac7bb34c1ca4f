"""What `up` knows of resources in Google Cloud: which of them hold data or machines, and what errors mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.resources.holding import Holding, Remedy

STACK = "the name of the stack"
PLACE = "headrace:gcp.region"
PROJECT = "headrace:gcp.project"
POOL = "headrace:node_pools[{pool}]"

HOLDINGS: Mapping[str, Holding] = {
    "gcp:container/cluster:Cluster": Holding(
        "cluster",
        "everything that runs in it, and its volumes",
        "headrace:target",
        {
            "name": STACK,
            "location": PLACE,
            "project": PROJECT,
            "enableAutopilot": "headrace:gcp.autopilot",
            "network": "headrace:cluster.network",
            "subnetwork": "headrace:cluster.network",
            "ipAllocationPolicy": "headrace:cluster.network",
            "privateClusterConfig": "headrace:cluster.endpoint",
        },
    ),
    "gcp:container/nodePool:NodePool": Holding(
        "node pool",
        "its nodes, and the GPUs that Google Cloud may not be able to provide again",
        "headrace:node_pools",
        {
            "name": f"{POOL}.name",
            "cluster": "the cluster",
            "location": PLACE,
            "project": PROJECT,
            "nodeConfig": POOL,
            "nodeConfig.diskSizeGb": f"{POOL}.disk_gib",
            "nodeConfig.guestAccelerators": f"{POOL}.accelerator, gpus, sharing or driver",
            "nodeConfig.imageType": f"{POOL}.driver",
            "nodeConfig.machineType": f"{POOL}.machine_type, accelerator or gpus",
            "nodeConfig.reservationAffinity": f"{POOL}.reservation",
            "nodeConfig.spot": f"{POOL}.capacity",
            "nodeConfig.flexStart": f"{POOL}.capacity",
        },
    ),
    "gcp:storage/bucket:Bucket": Holding(
        "bucket",
        "the files and collections in it",
        "headrace:target",
        {"name": f"{PROJECT}, or {STACK}", "location": PLACE, "project": PROJECT},
    ),
}

AGAIN = (
    "then run `make up` again, which continues; if the failed node pool is still there, delete it first"
    " (`gcloud container node-pools delete`)"
)

REMEDIES: Sequence[Remedy] = (
    Remedy(
        r"GCE_STOCKOUT|ZONE_RESOURCE_POOL_EXHAUSTED|does not have enough resources available",
        "Google Cloud has no such machine left in this zone at present",
        "name other zones of the region in headrace:node_pools[].zones, another accelerator, a reservation or"
        f" `capacity: queued`; or wait; {AGAIN}",
    ),
    Remedy(
        r"""(?:Quota '|resource \W*")(?P<quota>[A-Z0-9_]+).{,5}(?:exceeded|request requires)|GCE_QUOTA_EXCEEDED""",
        "the project's quota {quota} has no room for these machines",
        "request more of it under IAM & Admin, Quotas (docs/how-to/gcp.md#what-you-need), or make headrace:node_pools"
        f" smaller; {AGAIN}",
    ),
    Remedy(
        r"cryptoKeyVersions\.useToEncrypt|Service account \S+ does not exist|has not been used in project",
        "Google Cloud has not yet made a new role, account or API known everywhere, which takes up to seven minutes",
        "run `make up` again after that, which continues; if it happens again, the user lacks a role of"
        " docs/how-to/gcp.md#what-you-need",
    ),
)
