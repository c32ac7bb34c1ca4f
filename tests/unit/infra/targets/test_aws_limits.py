"""What AWS cannot do is said before anything is made, with the setting and a way out."""

from __future__ import annotations

from typing import Any

import pytest

from infra.cloud_config import Cluster
from infra.nodes.accelerators import accelerator_by_key
from infra.nodes.pools import NodePool
from infra.targets.aws import limits
from infra.targets.aws.machines import MACHINES
from infra.targets.aws.settings import Aws

SETTINGS = {"account": "123456789012", "region": "eu-central-1"}
CLUSTER = {"authorized_ranges": ["203.0.113.7/32"]}
CPU = {"name": "cpu"}
L4 = {"name": "l4", "accelerator": "l4", "gpus": 1}
H100 = {"name": "h100", "accelerator": "h100-80gb", "gpus": 8}
EXISTING = {"existing": "vpc-0123456789abcdef0", "subnets": ["subnet-01234567", "subnet-89abcdef"]}


def mistakes_by_key(
    *pools: dict[str, Any], settings: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None
) -> dict[str, str]:
    """Mistakes by key; each has a fix."""
    every = limits.mistakes(
        Aws(**{**SETTINGS, **(settings or {})}),
        Cluster(**{**CLUSTER, **(cluster or {})}),
        [NodePool(**p) for p in pools or (CPU,)],
    )
    assert all(m.fix for m in every)
    assert len({m.key for m in every}) == len(every), "one thing is said once"
    return {m.key: f"{m.problem}; {m.fix}" for m in every}


def test_supported_settings_have_no_mistakes() -> None:
    zone = {"zones": ["eu-central-1c"]}
    assert mistakes_by_key(CPU, L4, H100) == {}
    assert mistakes_by_key(CPU, {**L4, "capacity": "spot", "min_nodes": 1, "max_nodes": 4}) == {}
    assert mistakes_by_key(CPU, {**H100, "capacity": "reserved", "reservation": "cr-0123456789abcdef0", **zone}) == {}
    assert (
        mistakes_by_key(CPU, {**H100, "capacity": "reserved", "reservation": "capacity-block:cr-01234567", **zone})
        == {}
    )
    assert mistakes_by_key(CPU, {**L4, "sharing": {"kind": "time_slicing", "replicas": 4}}) == {}
    assert (
        mistakes_by_key(CPU, {**L4, "sharing": {"kind": "mps", "replicas": 4}}, settings={"image": "bottlerocket"})
        == {}
    )
    assert (
        mistakes_by_key({**CPU, "min_nodes": 0}, {**L4, "min_nodes": 2, "max_nodes": 2}, settings={"mode": "auto"})
        == {}
    )
    assert mistakes_by_key(cluster={"network": EXISTING}) == {}
    assert mistakes_by_key(cluster={"endpoint": "private", "authorized_ranges": []}) == {}


@pytest.mark.parametrize(
    ("settings", "key", "said"),
    [
        ({"account": ""}, "aws.account", "get-caller-identity"),
        ({"region": ""}, "aws.region", "eu-central-1"),
        ({"region": "us-gov-west-1"}, "aws.region", "partition"),
        ({"region": "cn-north-1"}, "aws.region", "partition"),
        ({"mode": "auto", "image": "bottlerocket"}, "aws.image", "Auto Mode"),
        ({"zones": ["eu-central-1a"]}, "aws.zones", "needs two"),
        ({"zones": ["eu-central-1a", "eu-central-1a"]}, "aws.zones", "needs two"),
        ({"zones": ["eu-central-1a", "us-west-1c"]}, "aws.zones[1]", "is not a zone of eu-central-1"),
        ({"addon_versions": {"coredns": "1.12"}}, "aws.addon_versions.coredns", "--addon-name coredns"),
        ({"addon_versions": {"kube-proxy": "v1.36.0-eksbuild.2"}}, "aws.addon_versions.kube-proxy", "newer than"),
        (
            {"addon_versions": {"kube-proxy": "v1.31.9-eksbuild.2"}},
            "aws.addon_versions.kube-proxy",
            "4 minor versions older than the control plane; use a version of 1.35",
        ),
        (
            {"addon_versions": {"vpc-cni": "v1.20.4-eksbuild.2"}, "mode": "auto"},
            "aws.addon_versions.vpc-cni",
            "Auto Mode",
        ),
    ],
)
def test_mistakes_in_the_clouds_settings_name_the_setting(settings: dict[str, Any], key: str, said: str) -> None:
    mistakes = mistakes_by_key(settings=settings)
    assert list(mistakes) == [key]
    assert said in mistakes[key]


@pytest.mark.parametrize(
    ("cluster", "key", "said"),
    [
        ({"kubernetes_version": "1.99"}, "cluster.kubernetes_version", "1.36"),
        ({"authorized_ranges": ["203.0.113.7/32", "10.1.0.0/16"]}, "cluster.authorized_ranges[1]", "private"),
        ({"admins": ["arn:aws:iam::123456789012:role/ops", "ops"]}, "cluster.admins[1]", "arn:aws:iam::"),
        ({"tags": {"aws:owner": "x"}}, "cluster.tags", "aws:owner"),
        ({"tags": {"owner": "x" * 257}}, "cluster.tags", "256"),
        ({"tags": {f"t{i}": "" for i in range(46)}}, "cluster.tags", "at most 45"),
        ({"network": {"cidr": "10.0.0.0/14"}}, "cluster.network.cidr", "/16 to /20"),
        ({"network": {**EXISTING, "existing": "main"}}, "cluster.network.existing", "vpc-"),
        (
            {"network": {**EXISTING, "subnets": ["subnet-01234567", "private"]}},
            "cluster.network.subnets[1]",
            "subnet-",
        ),
        ({"network": {**EXISTING, "subnets": ["subnet-01234567"]}}, "cluster.network.subnets", "two"),
    ],
)
def test_mistakes_in_the_cluster_name_the_setting(cluster: dict[str, Any], key: str, said: str) -> None:
    mistakes = mistakes_by_key(cluster=cluster)
    assert list(mistakes) == [key]
    assert said in mistakes[key]


def test_zones_of_an_existing_network_are_those_of_its_subnets() -> None:
    zones = ["eu-central-1a", "eu-central-1b"]
    assert list(mistakes_by_key(settings={"zones": zones}, cluster={"network": EXISTING})) == ["aws.zones"]


@pytest.mark.parametrize(
    ("cidr", "pools", "room"),
    [
        # A zone has an eighth of the network, so 507 addresses of a /20, which are 31 nodes.
        ("10.60.0.0/20", [{**CPU, "max_nodes": 61}], None),
        ("10.60.0.0/20", [{**CPU, "max_nodes": 62}], "62 nodes in eu-central-1a, eu-central-1b,"),
        ("10.60.0.0/20", [{**CPU, "max_nodes": 400}], "up to 401"),
        ("10.60.0.0/20", [CPU, {**L4, "max_nodes": 40, "zones": ["eu-central-1c"]}], "31 nodes in eu-central-1c,"),
        ("10.60.0.0/16", [{**CPU, "max_nodes": 400}], None),
    ],
)
def test_a_network_has_addresses_for_all_nodes(cidr: str, pools: list[dict[str, Any]], room: str | None) -> None:
    found = mistakes_by_key(*pools, cluster={"network": {"cidr": cidr}})
    assert list(found) == (["cluster.network.cidr"] if room else [])
    assert (room or "") in found.get("cluster.network.cidr", "")


RESERVED = {**H100, "capacity": "reserved", "reservation": "cr-01234567", "zones": ["eu-central-1a"]}


@pytest.mark.parametrize(
    ("pool", "key", "said"),
    [
        ({"name": "a" * 51}, "name", "at most 50"),
        ({**CPU, "machine_type": "m7i.xlrge"}, "machine_type", "did you mean 'm7i.xlarge'?"),
        ({**CPU, "machine_type": "g6.xlarge"}, "machine_type", "1 l4"),
        ({**L4, "machine_type": "m7i.xlarge"}, "machine_type", "no GPUs"),
        ({**L4, "machine_type": "p5.48xlarge"}, "machine_type", "8 h100-80gb"),
        ({**H100, "accelerator": "h100-80g"}, "accelerator", "did you mean 'h100-80gb'?"),
        ({**H100, "accelerator": "H100-80GB"}, "accelerator", "did you mean 'h100-80gb'?"),
        ({**L4, "accelerator": "a10"}, "accelerator", "no machine on AWS"),
        ({**H100, "gpus": 3}, "gpus", "use 1 or"),
        ({**L4, "capacity": "queued"}, "capacity", "capacity-block:cr-"),
        ({**L4, "surge": 2}, "surge", "EKS chooses how many nodes it adds"),
        ({**RESERVED, "reservation": "my-reservation"}, "reservation", "capacity-block:cr-"),
        ({**RESERVED, "reservation": "capacity-block:"}, "reservation", "cr-"),
        ({**RESERVED, "zones": []}, "zones", "exactly the reservation's zone"),
        ({**RESERVED, "zones": ["eu-central-1a", "eu-central-1b"]}, "zones", "exactly the reservation's zone"),
        (
            {**RESERVED, "accelerator": "l4", "gpus": 1, "reservation": "capacity-block:cr-01234567"},
            "reservation",
            "no Capacity Blocks with g6.xlarge",
        ),
        ({**L4, "driver": "operator"}, "driver", "Amazon Linux 2023"),
        ({**L4, "driver": "preinstalled"}, "driver", "remove it"),
        ({**H100, "sharing": {"kind": "mig", "profile": "1g.10gb"}}, "sharing", "bottlerocket"),
        ({**CPU, "zones": ["eu-central-1a", "us-east-1a"]}, "zones[1]", "not a zone of eu-central-1"),
        ({**CPU, "zones": ["eu-central-1"]}, "zones[0]", "eu-central-1a"),
        ({**CPU, "labels": {"kubernetes.io/role": "x"}}, "labels", "is reserved"),
        ({**CPU, "labels": {"eks.amazonaws.com/nodegroup": "x"}}, "labels", "is reserved"),
        ({**L4, "taints": [{"key": "node.kubernetes.io/x"}]}, "taints[0].key", "is reserved"),
    ],
)
def test_mistakes_in_a_pool_name_the_setting(pool: dict[str, Any], key: str, said: str) -> None:
    mistakes = mistakes_by_key({"name": "system"}, pool)
    assert list(mistakes) == [f"node_pools[1].{key}"]
    assert said in mistakes[f"node_pools[1].{key}"]


def test_labels_of_other_domains_are_yours() -> None:
    assert mistakes_by_key({**CPU, "labels": {"team": "x", "example.com/team": "x", "notkubernetes.io/x": "y"}}) == {}


@pytest.mark.parametrize(
    ("pool", "key", "said"),
    [
        ({**L4, "min_nodes": 1, "max_nodes": 4}, "min_nodes", "use 0"),
        ({**L4, "sharing": {"kind": "time_slicing", "replicas": 2}}, "sharing", "node_groups"),
        ({**RESERVED}, "capacity", "node_groups"),
        ({**L4, "driver": "operator"}, "driver", "remove it"),
        ({**L4, "surge": 0}, "surge", "replaces nodes as pods need them"),
    ],
)
def test_auto_mode_limits_are_reported(pool: dict[str, Any], key: str, said: str) -> None:
    mistakes = mistakes_by_key({"name": "system", "min_nodes": 0}, pool, settings={"mode": "auto"})
    assert list(mistakes) == [f"node_pools[1].{key}"]
    assert said in mistakes[f"node_pools[1].{key}"]


@pytest.mark.parametrize(
    ("pool", "profile", "key", "said"),
    [
        (H100, "1g.10gb", "", ""),
        (H100, "1g.5gb", "sharing.profile", "did you mean '1g."),
        (H100, "4g.40gb", "sharing.profile", "there is no slice"),
        (L4, "1g.5gb", "sharing", "does not support MIG on l4"),
    ],
)
def test_bottlerocket_supports_known_profiles_only(pool: dict[str, Any], profile: str, key: str, said: str) -> None:
    sliced = {**pool, "sharing": {"kind": "mig", "profile": profile}}
    mistakes = mistakes_by_key(CPU, sliced, settings={"image": "bottlerocket"})
    assert list(mistakes) == ([f"node_pools[1].{key}"] if key else [])
    assert said in "".join(mistakes.values())


def test_sliceable_gpus_are_in_the_catalogue() -> None:
    assert all((gpu := accelerator_by_key(key)) and gpu.mig for key in limits.BOTTLEROCKET_GPUS)


@pytest.mark.parametrize(
    "pools",
    [
        [],
        [L4],
        [{**CPU, "min_nodes": 0}],
        [{**CPU, "taints": [{"key": "team", "value": "x"}]}],
        [{**CPU, "taints": [{"key": "team", "effect": "NoExecute"}]}],
    ],
)
def test_dns_and_add_ons_need_nodes(pools: list[dict[str, Any]]) -> None:
    every = limits.mistakes(Aws(**SETTINGS), Cluster(**CLUSTER), [NodePool(**p) for p in pools])
    assert "node_pools" in [m.key for m in every]


def test_a_taint_that_is_only_preferred_keeps_nobody_away() -> None:
    assert mistakes_by_key({**CPU, "taints": [{"key": "team", "effect": "PreferNoSchedule"}]}) == {}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, False), ({"image": "bottlerocket"}, True), ({"mode": "auto"}, True)],
)
def test_aws_advertises_gpus_in_some_settings_only(settings: dict[str, Any], expected: bool) -> None:
    assert limits.advertises(Aws(**SETTINGS, **settings), NodePool(**L4)) is expected
    assert not limits.advertises(Aws(**SETTINGS, **settings), NodePool(**CPU))


def test_a_pool_has_the_smallest_machine_that_fits() -> None:
    names = [(found.name if (found := NodePool(**p).machine("aws")) else None) for p in (CPU, L4, H100)]
    assert names == ["m7i.xlarge", "g6.xlarge", "p5.48xlarge"]
    assert NodePool(**CPU, machine_type="m99.huge").machine("aws") is None


def test_node_groups_cannot_scale_from_zero() -> None:
    said = mistakes_by_key(CPU, {**L4, "min_nodes": 0})
    assert list(said) == ["node_pools[1].min_nodes"]
    assert "set aws.mode to auto" in said["node_pools[1].min_nodes"]


PUBLISHED_PODS = {
    "g4dn.xlarge": 29,
    "g4dn.2xlarge": 29,
    "g4dn.4xlarge": 29,
    "g4dn.8xlarge": 58,
    "g4dn.12xlarge": 234,
    "g4dn.16xlarge": 58,
    "g4dn.metal": 737,
    "g5.xlarge": 58,
    "g5.2xlarge": 58,
    "g5.4xlarge": 234,
    "g5.8xlarge": 234,
    "g5.12xlarge": 737,
    "g5.16xlarge": 234,
    "g5.24xlarge": 737,
    "g5.48xlarge": 345,
    "p4d.24xlarge": 737,
    "p4de.24xlarge": 737,
}
"""https://github.com/awslabs/amazon-eks-ami/blob/02343f9bc5f996278d8e20a7f9d889d1a491a79e/files/eni-max-pods.txt"""


def test_no_node_counts_with_more_pods_than_it_has_addresses_for() -> None:
    machines = {machine.name: machine for machine in MACHINES}
    for name, published in PUBLISHED_PODS.items():
        counted = limits.allocatable(machines[name], 100).pods
        assert counted == published if published < 100 else counted <= published, name


@pytest.mark.parametrize("version", ["v1.35.0-eksbuild.2", "v1.32.9-eksbuild.1"])
def test_kube_proxy_may_be_three_minor_versions_older(version: str) -> None:
    assert mistakes_by_key(settings={"addon_versions": {"kube-proxy": version}}) == {}
