"""Node pools as EKS has them: managed node groups with launch templates, or NodePools of Auto Mode's Karpenter."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi_aws as aws
from pulumi import Input

from infra.cloud_config import Aws
from infra.gpu.aws import BOTTLEROCKET_GPUS, is_capacity_block, reservation_id
from infra.gpu.pools import EFFECTS, NodePool

AMI_TYPES = {
    ("al2023", False): "AL2023_x86_64_STANDARD",
    ("al2023", True): "AL2023_x86_64_NVIDIA",
    ("bottlerocket", False): "BOTTLEROCKET_x86_64",
    ("bottlerocket", True): "BOTTLEROCKET_x86_64_NVIDIA",
}
"""By image, and whether the nodes have GPUs."""


def launch_template(settings: Aws, pool: NodePool, tags: Mapping[str, str]) -> aws.ec2.LaunchTemplateArgs:
    """What EKS does not set itself: disks, tags, the way to the metadata service, reserved capacity."""
    data = user_data(settings, pool)
    return aws.ec2.LaunchTemplateArgs(
        block_device_mappings=_disks(settings, pool),
        # One hop ends on the node: pods in a network of their own cannot take on the node's role.
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
        ),
        # A provider's default tags do not reach what EC2 makes from a template.
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags)
            for kind in ("instance", "volume", "network-interface")
        ],
        user_data=base64.b64encode(data.encode()).decode() if data else None,
        capacity_reservation_specification=_reservation(pool),
        instance_market_options=_market_options(pool),
        instance_type=_machine_type(pool) if is_capacity_block(pool) else None,
    )


def node_group(
    settings: Aws,
    pool: NodePool,
    *,
    cluster: Input[str],
    version: str,
    role: Input[str],
    subnets: Input[Sequence[Input[str]]],
    template: Input[str],
    template_version: Input[str],
) -> aws.eks.NodeGroupArgs:
    """The managed node group of a pool; `version` is Kubernetes'."""
    return aws.eks.NodeGroupArgs(
        cluster_name=cluster,
        version=version,
        node_role_arn=role,
        subnet_ids=subnets,
        ami_type=AMI_TYPES[settings.image, bool(pool.gpus)],
        capacity_type=_capacity_type(pool),
        # With a Capacity Block EKS wants it in the template, and nowhere twice.
        instance_types=None if is_capacity_block(pool) else [_machine_type(pool)],
        launch_template=aws.eks.NodeGroupLaunchTemplateArgs(id=template, version=template_version),
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(
            min_size=pool.min_nodes, max_size=pool.max_nodes, desired_size=pool.min_nodes
        ),
        update_config=aws.eks.NodeGroupUpdateConfigArgs(
            max_unavailable=1,
            # Another node with GPUs may not be had: the old one goes first.
            update_strategy="MINIMAL" if pool.gpus else "DEFAULT",
        ),
        labels=pool.node_labels,
        taints=[
            aws.eks.NodeGroupTaintArgs(key=t.key, value=t.value or None, effect=EFFECTS[t.effect])
            for t in pool.node_taints
        ],
    )


def user_data(settings: Aws, pool: NodePool) -> str:
    """How Bottlerocket's own device plugin shares GPUs, in TOML; empty: it has nothing to be told.

    https://bottlerocket.dev/en/os/latest/api/settings/kubelet-device-plugins/
    """
    if settings.image != "bottlerocket":
        return ""
    plugin, sharing = "settings.kubelet-device-plugins.nvidia", pool.sharing
    match sharing.kind:
        case "time_slicing" | "mps":
            strategy = sharing.kind.replace("_", "-")
            return (
                f'[{plugin}]\ndevice-sharing-strategy = "{strategy}"\n\n'
                # Renamed to nvidia.com/gpu.shared, no pod of Ray would find them.
                f"[{plugin}.{strategy}]\nreplicas = {sharing.replicas}\nrename-by-default = false\n"
            )
        case "mig":
            return (
                f'[{plugin}]\ndevice-partitioning-strategy = "mig"\n\n'
                f'[{plugin}.mig.profile]\n"{BOTTLEROCKET_GPUS[pool.accelerator]}" = "{sharing.profile}"\n'
            )
    return ""


def node_class(
    pool: NodePool, *, role: Input[str], subnets: Sequence[Input[str]], security_group: Input[str]
) -> dict[str, Any]:
    """`spec` of Auto Mode's NodeClass of a pool."""
    return {
        "role": role,
        "subnetSelectorTerms": [{"id": subnet} for subnet in subnets],
        "securityGroupSelectorTerms": [{"id": security_group}],
        "networkPolicy": "DefaultAllow",
        "ephemeralStorage": {"size": f"{pool.disk_gib}Gi"},
    }


def node_pool(pool: NodePool) -> dict[str, Any]:
    """`spec` of Auto Mode's NodePool: of one size by `replicas`, else scaled from no nodes.

    https://docs.aws.amazon.com/eks/latest/userguide/auto-static-capacity.html
    """
    requirements = {
        "node.kubernetes.io/instance-type": [_machine_type(pool)],
        "karpenter.sh/capacity-type": ["spot" if pool.capacity == "spot" else "on-demand"],
        "kubernetes.io/arch": ["amd64"],
    }
    if pool.zones:
        requirements["topology.kubernetes.io/zone"] = list(pool.zones)
    template = {
        "metadata": {"labels": pool.node_labels},
        "spec": {
            "nodeClassRef": {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": pool.name},
            "requirements": [{"key": k, "operator": "In", "values": v} for k, v in requirements.items()],
            "taints": [t.model_dump(exclude_defaults=True) | {"effect": t.effect} for t in pool.node_taints],
        },
    }
    if not pool.autoscaled:
        # One more for the moment in which a node is replaced.
        return {"replicas": pool.max_nodes, "limits": {"nodes": pool.max_nodes + 1}, "template": template}
    machine = pool.machine("aws")
    return {
        "template": template,
        "limits": {"cpu": str(pool.max_nodes * (machine.vcpus if machine else 0))},
        # A replica that answers is not moved to save a part of a node.
        "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "10m"},
    }


def _machine_type(pool: NodePool) -> str:
    machine = pool.machine("aws")
    if machine is None:
        raise ValueError(f"node pool '{pool.name}' has no machine type: its mistakes were not looked at")
    return machine.name


def _capacity_type(pool: NodePool) -> str:
    if is_capacity_block(pool):
        return "CAPACITY_BLOCK"
    return "SPOT" if pool.capacity == "spot" else "ON_DEMAND"


def _disks(settings: Aws, pool: NodePool) -> list[aws.ec2.LaunchTemplateBlockDeviceMappingArgs]:
    """Bottlerocket keeps its system on the first disk, which keeps its size, and images and pods on the second."""
    sizes: dict[str, int | None] = {"/dev/xvda": pool.disk_gib}
    if settings.image == "bottlerocket":
        sizes = {"/dev/xvda": None, "/dev/xvdb": pool.disk_gib}
    return [
        aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
            device_name=device,
            ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                volume_type="gp3", volume_size=size, encrypted="true", delete_on_termination="true"
            ),
        )
        for device, size in sizes.items()
    ]


def _reservation(pool: NodePool) -> aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs | None:
    if pool.capacity != "reserved":
        return None
    return aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs(
        capacity_reservation_target=aws.ec2.LaunchTemplateCapacityReservationSpecificationCapacityReservationTargetArgs(
            capacity_reservation_id=reservation_id(pool)
        )
    )


def _market_options(pool: NodePool) -> aws.ec2.LaunchTemplateInstanceMarketOptionsArgs | None:
    """Spot is asked for in the node group: EKS refuses it here."""
    return (
        aws.ec2.LaunchTemplateInstanceMarketOptionsArgs(market_type="capacity-block")
        if is_capacity_block(pool)
        else None
    )
