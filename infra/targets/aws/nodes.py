"""Converts node pools to EKS: managed node groups with launch templates, or Karpenter NodePools in Auto Mode."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi_aws as aws
from pulumi import Input

from infra.nodes.pools import EFFECTS, LEAST_IOPS, LEAST_THROUGHPUT, NodePool
from infra.targets.aws.limits import BOTTLEROCKET_GPUS, is_capacity_block, reservation_id
from infra.targets.aws.settings import Aws

LIFETIME = {"expireAfter": "456h", "terminationGracePeriod": "24h"}
"""How long a node of Auto Mode lives, and how long its pods may take to end then: 20 days.

Without them, a node is replaced after 14 days: https://docs.aws.amazon.com/eks/latest/userguide/create-node-pool.html.
It never outlives 21 days: https://docs.aws.amazon.com/eks/latest/userguide/automode.html.
"""

AMI_TYPES = {
    ("al2023", False): "AL2023_x86_64_STANDARD",
    ("al2023", True): "AL2023_x86_64_NVIDIA",
    ("bottlerocket", False): "BOTTLEROCKET_x86_64",
    ("bottlerocket", True): "BOTTLEROCKET_x86_64_NVIDIA",
}
"""AMI types by image, and by whether the nodes have GPUs."""


RAID0 = """\
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="headrace"

--headrace
Content-Type: application/node.eks.aws

apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  instance:
    localStorage:
      strategy: RAID0

--headrace--
"""
"""User data with which nodeadm makes one disk of the local SSDs, for images and for what pods write.

EKS adds its own part: https://docs.aws.amazon.com/eks/latest/userguide/launch-templates.html;
https://awslabs.github.io/amazon-eks-ami/nodeadm/doc/api/.
"""

BOTTLEROCKET_SSDS = """\
[settings.bootstrap-commands.local-ssds]
commands = [
    ["apiclient", "ephemeral-storage", "init"],
    ["apiclient", "ephemeral-storage", "bind", "--dirs", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods"],
]
essential = true
mode = "always"
"""
"""The same for Bottlerocket: https://bottlerocket.dev/en/os/latest/concepts/bootstrap-commands/."""


def launch_template(settings: Aws, pool: NodePool, tags: Mapping[str, str]) -> aws.ec2.LaunchTemplateArgs:
    """Returns the launch template with disks, tags, metadata options and reservations, which EKS does not set."""
    data = user_data(settings, pool)
    return aws.ec2.LaunchTemplateArgs(
        block_device_mappings=_disks(settings, pool),
        # With one hop, only the node itself reaches the metadata service, so that pods cannot use its role.
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
        ),
        # EC2 does not apply the provider's default tags to resources created from a template.
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
    """Returns the managed node group of a pool; `version` is that of Kubernetes."""
    return aws.eks.NodeGroupArgs(
        cluster_name=cluster,
        version=version,
        node_role_arn=role,
        subnet_ids=subnets,
        ami_type=AMI_TYPES[settings.image, bool(pool.gpus)],
        capacity_type=_capacity_type(pool),
        # For a Capacity Block, EKS requires the instance type in the template only.
        instance_types=None if is_capacity_block(pool) else [_machine_type(pool)],
        launch_template=aws.eks.NodeGroupLaunchTemplateArgs(id=template, version=template_version),
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(
            min_size=pool.min_nodes, max_size=pool.max_nodes, desired_size=pool.min_nodes
        ),
        update_config=aws.eks.NodeGroupUpdateConfigArgs(
            max_unavailable=1,
            # MINIMAL removes an old node first.
            update_strategy="DEFAULT" if pool.upgrade_surge else "MINIMAL",
        ),
        labels=pool.node_labels,
        taints=[
            aws.eks.NodeGroupTaintArgs(key=t.key, value=t.value or None, effect=EFFECTS[t.effect])
            for t in pool.node_taints
        ],
    )


def user_data(settings: Aws, pool: NodePool) -> str:
    """Returns what a node sets up at its start: local SSDs, and GPU sharing with Bottlerocket; empty if nothing."""
    machine = pool.machine("aws")
    local = machine is not None and machine.local_ssds > 0
    if settings.image != "bottlerocket":
        return RAID0 if local else ""
    return "\n".join(part for part in (BOTTLEROCKET_SSDS if local else "", _device_plugin(pool)) if part)


def _device_plugin(pool: NodePool) -> str:
    """Returns the settings of Bottlerocket's device plugin for GPU sharing, in TOML; empty if there are none.

    https://bottlerocket.dev/en/os/latest/api/settings/kubelet-device-plugins/
    """
    plugin, sharing = "settings.kubelet-device-plugins.nvidia", pool.sharing
    match sharing.kind:
        case "time_slicing" | "mps":
            strategy = sharing.kind.replace("_", "-")
            return (
                f'[{plugin}]\ndevice-sharing-strategy = "{strategy}"\n\n'
                # Ray's pods request nvidia.com/gpu, so it must not be renamed to nvidia.com/gpu.shared.
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
    """Returns the `spec` of a pool's NodeClass in Auto Mode."""
    return {
        "role": role,
        "subnetSelectorTerms": [{"id": subnet} for subnet in subnets],
        "securityGroupSelectorTerms": [{"id": security_group}],
        "networkPolicy": "DefaultAllow",
        # Smaller than the local SSDs of a machine, which Auto Mode then uses as one RAID 0 instead:
        # https://docs.aws.amazon.com/eks/latest/userguide/automode-learn-instances.html
        "ephemeralStorage": {"size": f"{pool.root_disk_gib}Gi", **_performance(pool)},
    }


def node_pool(pool: NodePool) -> dict[str, Any]:
    """Returns the `spec` of a pool's NodePool in Auto Mode: with fixed `replicas`, or scaled from 0.

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
            **LIFETIME,
        },
    }
    if not pool.autoscaled:
        # One more node while a node is being replaced.
        return {"replicas": pool.max_nodes, "limits": {"nodes": pool.max_nodes + 1}, "template": template}
    machine = pool.machine("aws")
    return {
        "template": template,
        "limits": {"cpu": str(pool.max_nodes * (machine.vcpus if machine else 0))},
        # Do not move running replicas to save a fraction of a node.
        "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "10m"},
    }


def _machine_type(pool: NodePool) -> str:
    machine = pool.machine("aws")
    if machine is None:
        raise ValueError(f"node pool '{pool.name}' has no machine type: its settings were not checked")
    return machine.name


def _capacity_type(pool: NodePool) -> str:
    if is_capacity_block(pool):
        return "CAPACITY_BLOCK"
    return "SPOT" if pool.capacity == "spot" else "ON_DEMAND"


def _disks(settings: Aws, pool: NodePool) -> list[aws.ec2.LaunchTemplateBlockDeviceMappingArgs]:
    """Returns the disks. Bottlerocket has its system on a first disk of fixed size, and images and pods on a second."""
    sizes: dict[str, int | None] = {"/dev/xvda": pool.root_disk_gib}
    if settings.image == "bottlerocket":
        sizes = {"/dev/xvda": None, "/dev/xvdb": pool.root_disk_gib}
    return [
        aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
            device_name=device,
            ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                volume_type="gp3",
                volume_size=size,
                encrypted="true",
                delete_on_termination="true",
                **(_performance(pool) if size else {}),
            ),
        )
        for device, size in sizes.items()
    ]


def _performance(pool: NodePool) -> dict[str, int]:
    """Returns throughput (MiB/s) and operations per second of a disk, where they exceed what each gp3 disk has."""
    wanted = {"throughput": (pool.disk_throughput, LEAST_THROUGHPUT), "iops": (pool.disk_iops, LEAST_IOPS)}
    return {name: value for name, (value, least) in wanted.items() if value and value > least}


def _reservation(pool: NodePool) -> aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs | None:
    if pool.capacity != "reserved":
        return None
    return aws.ec2.LaunchTemplateCapacityReservationSpecificationArgs(
        capacity_reservation_target=aws.ec2.LaunchTemplateCapacityReservationSpecificationCapacityReservationTargetArgs(
            capacity_reservation_id=reservation_id(pool)
        )
    )


def _market_options(pool: NodePool) -> aws.ec2.LaunchTemplateInstanceMarketOptionsArgs | None:
    """Returns the market options of Capacity Blocks. Spot is set in the node group, as EKS rejects it here."""
    return (
        aws.ec2.LaunchTemplateInstanceMarketOptionsArgs(market_type="capacity-block")
        if is_capacity_block(pool)
        else None
    )
