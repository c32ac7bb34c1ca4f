"""Node pools become what EKS calls them, field by field."""

from __future__ import annotations

import base64
import tomllib
from email import message_from_string
from typing import Any

import pytest
import yaml

from infra.nodes.pools import NodePool, Sharing
from infra.targets.aws import nodes
from infra.targets.aws.settings import Aws

AL2023 = Aws(account="123456789012", region="eu-central-1")
BOTTLEROCKET = AL2023.model_copy(update={"image": "bottlerocket"})
TAGS = {"Name": "headrace-prod-x", "team": "ai"}

CPU = NodePool(name="cpu", min_nodes=2, max_nodes=2, machine_type="m7i.xlarge", disk_gib=100)
SPOT = NodePool(name="spot", accelerator="l4", gpus=1, capacity="spot", min_nodes=0, max_nodes=4)
ODCR = NodePool(name="odcr", accelerator="l4", gpus=4, capacity="reserved", reservation="cr-01234567")
BLOCK = NodePool(
    name="block", accelerator="h100-80gb", gpus=8, capacity="reserved", reservation="capacity-block:cr-89abcdef"
)
POOLS = [CPU, SPOT, ODCR, BLOCK]


def group(pool: NodePool, settings: Aws = AL2023) -> Any:
    return nodes.node_group(
        settings,
        pool,
        cluster="headrace-prod",
        version="1.34",
        role="arn:role",
        subnets=["subnet-1"],
        template="lt-1",
        template_version="3",
    )


def template(pool: NodePool, settings: Aws = AL2023) -> Any:
    return nodes.launch_template(settings, pool, TAGS)


@pytest.mark.parametrize("pool", POOLS, ids=lambda p: p.name)
def test_node_groups_share_common_settings(pool: NodePool) -> None:
    made = group(pool)
    assert (made.cluster_name, made.version, made.node_role_arn) == ("headrace-prod", "1.34", "arn:role")
    assert made.subnet_ids == ["subnet-1"]
    assert (made.launch_template.id, made.launch_template.version) == ("lt-1", "3")
    assert made.disk_size is None, "the template's disks are encrypted"
    scaling = made.scaling_config
    assert (scaling.min_size, scaling.desired_size, scaling.max_size) == (
        pool.min_nodes,
        pool.min_nodes,
        pool.max_nodes,
    )
    assert made.labels == {"headrace.io/node-pool": pool.name}


@pytest.mark.parametrize(
    ("pool", "capacity", "types", "in_template"),
    [
        (CPU, "ON_DEMAND", ["m7i.xlarge"], None),
        (SPOT, "SPOT", ["g6.xlarge"], None),
        (ODCR, "ON_DEMAND", ["g6.12xlarge"], None),
        (BLOCK, "CAPACITY_BLOCK", None, "p5.48xlarge"),
    ],
    ids=lambda p: getattr(p, "name", ""),
)
def test_machines_stand_in_one_place(
    pool: NodePool, capacity: str, types: list[str] | None, in_template: str | None
) -> None:
    made = group(pool)
    assert (made.capacity_type, made.instance_types, template(pool).instance_type) == (capacity, types, in_template)


@pytest.mark.parametrize(
    ("pool", "reservation", "market"),
    [(CPU, None, None), (SPOT, None, None), (ODCR, "cr-01234567", None), (BLOCK, "cr-89abcdef", "capacity-block")],
    ids=lambda p: getattr(p, "name", ""),
)
def test_a_template_names_the_reserved_capacity(pool: NodePool, reservation: str | None, market: str | None) -> None:
    made = template(pool)
    asked = made.capacity_reservation_specification
    assert (asked.capacity_reservation_target.capacity_reservation_id if asked else None) == reservation
    assert (made.instance_market_options.market_type if made.instance_market_options else None) == market


@pytest.mark.parametrize(
    ("settings", "pool", "ami"),
    [
        (AL2023, CPU, "AL2023_x86_64_STANDARD"),
        (AL2023, SPOT, "AL2023_x86_64_NVIDIA"),
        (BOTTLEROCKET, CPU, "BOTTLEROCKET_x86_64"),
        (BOTTLEROCKET, SPOT, "BOTTLEROCKET_x86_64_NVIDIA"),
    ],
)
def test_pools_have_the_image_of_their_machine_and_settings(settings: Aws, pool: NodePool, ami: str) -> None:
    assert group(pool, settings).ami_type == ami


def test_taints_are_converted_for_eks() -> None:
    pool = NodePool(
        name="gpu",
        accelerator="l4",
        gpus=1,
        taints=({"key": "team", "value": "ai", "effect": "NoExecute"}, {"key": "soft", "effect": "PreferNoSchedule"}),
    )
    assert [(t.key, t.value, t.effect) for t in group(pool).taints] == [
        ("nvidia.com/gpu", "present", "NO_SCHEDULE"),
        ("team", "ai", "NO_EXECUTE"),
        ("soft", None, "PREFER_NO_SCHEDULE"),
    ]
    assert group(CPU).taints == []


def test_an_update_needs_no_second_gpu() -> None:
    assert group(SPOT).update_config.update_strategy == "MINIMAL"
    assert group(CPU).update_config.update_strategy == "DEFAULT"
    assert group(CPU).update_config.max_unavailable == 1


@pytest.mark.parametrize("pool", POOLS, ids=lambda p: p.name)
def test_pods_do_not_reach_the_metadata_service(pool: NodePool) -> None:
    options = template(pool).metadata_options
    assert (options.http_tokens, options.http_put_response_hop_limit) == ("required", 1)


@pytest.mark.parametrize(
    ("settings", "disks"),
    [(AL2023, [("/dev/xvda", 100)]), (BOTTLEROCKET, [("/dev/xvda", None), ("/dev/xvdb", 100)])],
    ids=["al2023", "bottlerocket"],
)
def test_disks_are_encrypted_and_go_with_the_node(settings: Aws, disks: list[tuple[str, int | None]]) -> None:
    made = template(CPU, settings).block_device_mappings
    assert [(d.device_name, d.ebs.volume_size) for d in made] == disks
    assert {(d.ebs.encrypted, d.ebs.volume_type, d.ebs.delete_on_termination) for d in made} == {
        ("true", "gp3", "true")
    }


def test_tags_reach_what_costs_money() -> None:
    made = template(CPU).tag_specifications
    assert {t.resource_type: t.tags for t in made} == {
        "instance": TAGS,
        "volume": TAGS,
        "network-interface": TAGS,
    }


def told(sharing: dict[str, Any], accelerator: str = "h100-80gb") -> dict[str, Any]:
    pool = NodePool(name="gpu", accelerator=accelerator, gpus=8, sharing=sharing)
    data = nodes.launch_template(BOTTLEROCKET, pool, TAGS).user_data
    text = base64.b64decode(str(data)).decode()
    plugin = tomllib.loads(text)["settings"]["kubelet-device-plugins"]["nvidia"]
    assert isinstance(plugin, dict)
    return plugin


@pytest.mark.parametrize(("kind", "strategy"), [("time_slicing", "time-slicing"), ("mps", "mps")])
def test_bottlerocket_shares_by_its_own_plugin(kind: str, strategy: str) -> None:
    assert told({"kind": kind, "replicas": 4}) == {
        "device-sharing-strategy": strategy,
        strategy: {"replicas": 4, "rename-by-default": False},
    }


def test_bottlerocket_is_told_the_profile_of_the_slices() -> None:
    assert told({"kind": "mig", "profile": "1g.10gb"}) == {
        "device-partitioning-strategy": "mig",
        "mig": {"profile": {"h100.80gb": "1g.10gb"}},
    }
    assert told({"kind": "mig", "profile": "1g.18gb"}, "h200")["mig"] == {"profile": {"h200.141gb": "1g.18gb"}}


def test_unshared_pools_have_no_sharing_settings() -> None:
    shared = SPOT.model_copy(update={"sharing": Sharing(kind="mps", replicas=2)})
    assert template(shared).user_data is None, "the stack's device plugin is told"
    assert template(SPOT, BOTTLEROCKET).user_data is None


def test_a_node_class_has_the_role_and_subnets() -> None:
    made = nodes.node_class(SPOT, role="nodes", subnets=["subnet-1", "subnet-2"], security_group="sg-1")
    assert made == {
        "role": "nodes",
        "subnetSelectorTerms": [{"id": "subnet-1"}, {"id": "subnet-2"}],
        "securityGroupSelectorTerms": [{"id": "sg-1"}],
        "networkPolicy": "DefaultAllow",
        "ephemeralStorage": {"size": "200Gi"},
    }


def requirements(spec: dict[str, Any]) -> dict[str, list[str]]:
    found = spec["template"]["spec"]["requirements"]
    assert {r["operator"] for r in found} == {"In"}
    return {r["key"]: r["values"] for r in found}


def test_a_scaled_node_pool_is_limited_by_the_cpus_of_its_machines() -> None:
    made = nodes.node_pool(SPOT.model_copy(update={"zones": ("eu-central-1a",)}))
    assert "replicas" not in made
    assert made["limits"] == {"cpu": "16"}, "four machines of four"
    assert made["disruption"]["consolidationPolicy"] == "WhenEmpty"
    assert requirements(made) == {
        "node.kubernetes.io/instance-type": ["g6.xlarge"],
        "karpenter.sh/capacity-type": ["spot"],
        "kubernetes.io/arch": ["amd64"],
        "topology.kubernetes.io/zone": ["eu-central-1a"],
    }
    assert made["template"]["metadata"]["labels"] == {"headrace.io/node-pool": "spot"}
    assert made["template"]["spec"]["nodeClassRef"] == {
        "group": "eks.amazonaws.com",
        "kind": "NodeClass",
        "name": "spot",
    }
    assert made["template"]["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]


def test_a_node_pool_of_one_size_has_room_to_replace_a_node() -> None:
    made = nodes.node_pool(CPU)
    assert (made["replicas"], made["limits"]) == (2, {"nodes": 3})
    assert "disruption" not in made
    # Auto Mode's own default is 14 days, and its limit for both together 21.
    assert (made["template"]["spec"]["expireAfter"], made["template"]["spec"]["terminationGracePeriod"]) == (
        "456h",
        "24h",
    )
    assert requirements(made)["karpenter.sh/capacity-type"] == ["on-demand"]
    assert "topology.kubernetes.io/zone" not in requirements(made)


def test_mistakes_must_be_looked_at_first() -> None:
    with pytest.raises(ValueError, match="no machine type"):
        group(NodePool(name="x", machine_type="m99.huge"))


def test_nodeadm_makes_one_disk_of_local_ssds() -> None:
    """The user data of a launch template without an AMI of its own is MIME, to which EKS adds its part."""
    [part] = message_from_string(base64.b64decode(template(BLOCK).user_data).decode()).get_payload()
    assert part.get_content_type() == "application/node.eks.aws"
    config = yaml.safe_load(part.get_payload())
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert config["spec"] == {"instance": {"localStorage": {"strategy": "RAID0"}}}
    assert template(CPU).user_data is None


def test_bottlerocket_binds_the_folders_of_pods_to_local_ssds() -> None:
    sliced = BLOCK.model_copy(update={"sharing": Sharing(kind="mig", profile="3g.40gb")})
    settings = tomllib.loads(base64.b64decode(template(sliced, BOTTLEROCKET).user_data).decode())["settings"]
    [bind] = [c for c in settings["bootstrap-commands"]["local-ssds"]["commands"] if "bind" in c]
    assert {"/var/lib/containerd", "/var/lib/kubelet"} <= set(bind)
    assert settings["kubelet-device-plugins"]["nvidia"]["device-partitioning-strategy"] == "mig"


@pytest.mark.parametrize("settings", [AL2023, BOTTLEROCKET], ids=["al2023", "bottlerocket"])
def test_the_disk_of_images_and_pods_has_its_throughput(settings: Aws) -> None:
    fast = SPOT.model_copy(update={"disk_gib": 250, "disk_throughput": 900, "disk_iops": 3600})
    disk = template(fast, settings).block_device_mappings[-1].ebs
    assert (disk.volume_type, disk.volume_size, disk.throughput, disk.iops) == ("gp3", 250, 900, 3600)


def test_what_every_gp3_disk_has_is_not_asked_for() -> None:
    """So that nodes whose weights are small are not replaced."""
    usual = SPOT.model_copy(update={"disk_throughput": 125, "disk_iops": 3000})
    assert template(usual).block_device_mappings == template(SPOT).block_device_mappings
    assert template(usual).block_device_mappings[0].ebs.throughput is None


def test_auto_mode_gets_the_throughput_too() -> None:
    fast = SPOT.model_copy(update={"disk_gib": 250, "disk_throughput": 449, "disk_iops": 3000})
    made = nodes.node_class(fast, role="r", subnets=[], security_group="g")
    assert made["ephemeralStorage"] == {"size": "250Gi", "throughput": 449}
