"""What is asked of a cloud before anything is made, and what its answers mean.

The answers have the form that the vendors document for each command; no account was available to record one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.config import StackConfig
from infra.layout import CHECKOUT
from infra.nodes.pools import NodePool
from infra.resources import capacity, inquiry
from infra.resources.inquiry import Findings, NoAnswer
from infra.targets import capacity_check
from infra.targets.aws.capacity import quota_of
from infra.targets.azure.limits import surge_nodes
from tests.rendering.examples import stack_settings
from tests.wait import eventually


def config(cloud: str, **changed: Any) -> StackConfig:
    return StackConfig.model_validate(stack_settings(CHECKOUT / f"Pulumi.{cloud}.yaml") | changed)


class Cloud:
    """Answers by a part of the command; what nothing answers cannot be asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {key.replace("_", "-"): value for key, value in answers.items()}
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], limit_s: float) -> Any:
        asked = " ".join(command)
        self.asked.append(asked)
        for part, answer in self.answers.items():
            if part in asked:
                return answer
        raise NoAnswer("the cloud is silent")


def findings(settings: StackConfig, cloud: Cloud) -> Findings:
    return inquiry.ask(capacity_check.checks(settings, "prod", cloud))


def mistakes(settings: StackConfig, cloud: Cloud) -> list[str]:
    return [str(mistake) for mistake in findings(settings, cloud).mistakes]


# aws service-quotas get-service-quota, aws ec2 describe-instance-type-offerings
def quota(vcpus: float) -> dict[str, Any]:
    return {"Quota": {"ServiceCode": "ec2", "QuotaName": "x", "Value": vcpus, "Unit": "None", "Adjustable": True}}


def offerings(*zones: str) -> dict[str, Any]:
    kind = {"InstanceType": "g6.xlarge", "LocationType": "availability-zone"}
    return {"InstanceTypeOfferings": [{**kind, "Location": zone} for zone in zones]}


HERE = offerings("eu-central-1c", "eu-central-1a", "eu-central-1b")


def test_enough_quota_on_aws_is_no_mistake() -> None:
    cloud = Cloud(L_DB2E81BA=quota(4.0), L_1216C47A=quota(8.0), describe_instance_type_offerings=HERE)
    assert mistakes(config("aws"), cloud) == []
    assert len(cloud.asked) == 7
    assert all("--region eu-central-1" in command for command in cloud.asked)


def test_a_quota_of_aws_is_named_with_its_code() -> None:
    cloud = Cloud(L_DB2E81BA=quota(0.0), L_1216C47A=quota(5.0), describe_instance_type_offerings=HERE)
    standard, gpus = mistakes(config("aws"), cloud)
    assert standard.startswith(
        "headrace:node_pools[0]: needs 8 vCPUs with the pools before it, but the quota Running On-Demand Standard"
        " (A, C, D, H, I, M, R, T, Z) instances (L-1216C47A) is 5; request more under Service Quotas"
    )
    assert "node_pools[1]: needs 4 vCPUs" in gpus
    assert "Running On-Demand G and VT instances (L-DB2E81BA) is 0" in gpus


def test_zones_of_aws_without_the_machine_are_named_with_those_that_have_it() -> None:
    pools = [{"name": "cpu", "min_nodes": 2, "max_nodes": 2}, {"name": "gpu", "accelerator": "l4", "gpus": 1}]
    pools[1]["zones"] = ["eu-central-1c"]
    cloud = Cloud(describe_instance_type_offerings=offerings("eu-central-1a", "eu-central-1b"))
    [found] = mistakes(config("aws", node_pools=pools), cloud)
    assert found == (
        "headrace:node_pools[1].zones: eu-central-1c has no g6.xlarge; use one of eu-central-1a, eu-central-1b"
    )
    # Without zones, EKS uses those of the network that have some.
    assert mistakes(config("aws"), Cloud(describe_instance_type_offerings=offerings("eu-central-1a"))) == []
    found = mistakes(config("aws"), Cloud(describe_instance_type_offerings=offerings()))[0]
    assert "eu-central-1 does not offer m7i.xlarge; use another machine type or region" in found


# aws eks describe-addon-versions
def addon_versions(**versions: list[str]) -> dict[str, Any]:
    """The second version of each is the default for Kubernetes 1.35, and the first for 1.34."""
    return {"addons": [*(addon(n.replace("_", "-"), found) for n, found in versions.items()), OF_A_MARKETPLACE]}


def addon(name: str, versions: list[str]) -> dict[str, Any]:
    offers = [
        {
            "addonVersion": version,
            "architecture": ["amd64", "arm64"],
            "computeTypes": ["ec2", "auto"],
            "compatibilities": [
                {"clusterVersion": "1.35", "platformVersions": ["*"], "defaultVersion": i == 1},
                {"clusterVersion": "1.34", "platformVersions": ["*"], "defaultVersion": i == 0},
            ],
            "requiresConfiguration": False,
        }
        for i, version in enumerate(versions)
    ]
    offers.append({"addonVersion": "v1.0.0-eksbuild.1", "compatibilities": [{**OTHER, "clusterVersion": "1.34"}]})
    return {"addonName": name, "type": "networking", "addonVersions": offers, "publisher": "eks", "owner": "aws"}


OTHER = {"platformVersions": ["*"], "defaultVersion": True}
OF_A_MARKETPLACE = {
    "addonName": "kubecost_kubecost",
    "type": "cost-management",
    "addonVersions": [{"addonVersion": "v2.1.0-eksbuild.1", "compatibilities": [{**OTHER, "clusterVersion": "1.35"}]}],
    "publisher": "kubecost",
    "owner": "aws-marketplace",
}


VERSIONS = addon_versions(
    coredns=["v1.13.2-eksbuild.3", "v1.13.2-eksbuild.1"],
    kube_proxy=["v1.35.1-eksbuild.1", "v1.35.0-eksbuild.2"],
    vpc_cni=["v1.21.1-eksbuild.4", "v1.21.1-eksbuild.3"],
)


def pinned(**versions: str) -> StackConfig:
    aws = stack_settings(CHECKOUT / "Pulumi.aws.yaml")["aws"]
    return config("aws", aws={**aws, "addon_versions": {n.replace("_", "-"): v for n, v in versions.items()}})


def test_add_ons_of_eks_without_a_version_are_named_with_the_ones_of_today() -> None:
    [found] = mistakes(pinned(coredns="v1.13.2-eksbuild.3"), cloud := Cloud(describe_addon_versions=VERSIONS))
    assert found == (
        "headrace:aws.addon_versions: has no version of kube-proxy, vpc-cni; for EKS' current defaults, set"
        " addon_versions: {coredns: v1.13.2-eksbuild.3, kube-proxy: v1.35.0-eksbuild.2, vpc-cni: v1.21.1-eksbuild.3}"
    )
    [asked] = [command for command in cloud.asked if "describe-addon-versions" in command]
    assert "--kubernetes-version 1.35" in asked


def test_versions_that_eks_has_are_enough() -> None:
    every = pinned(coredns="v1.13.2-eksbuild.1", kube_proxy="v1.35.1-eksbuild.1", vpc_cni="v1.21.1-eksbuild.4")
    assert mistakes(every, Cloud(describe_addon_versions=VERSIONS)) == []


def test_a_version_that_eks_does_not_have_for_this_kubernetes_is_named() -> None:
    wrong = pinned(coredns="v1.9.3-eksbuild.1", kube_proxy="v1.35.1-eksbuild.1", vpc_cni="v1.21.1-eksbuild.4")
    [found] = mistakes(wrong, Cloud(describe_addon_versions=VERSIONS))
    assert found == (
        "headrace:aws.addon_versions.coredns: EKS has no v1.9.3-eksbuild.1 for Kubernetes 1.35;"
        " use one of v1.13.2-eksbuild.3, v1.13.2-eksbuild.1"
    )


def test_auto_mode_has_no_add_ons_to_ask_for() -> None:
    aws = stack_settings(CHECKOUT / "Pulumi.aws.yaml")["aws"]
    assert mistakes(config("aws", aws={**aws, "mode": "auto"}), Cloud(describe_addon_versions=VERSIONS)) == []


@pytest.mark.parametrize(
    ("machine", "capacity", "code"),
    [
        ("g6e.12xlarge", "on_demand", "L-DB2E81BA"),
        ("gr6.4xlarge", "on_demand", "L-DB2E81BA"),
        ("g6.xlarge", "spot", "L-3819A6DF"),
        ("p5.48xlarge", "on_demand", "L-417A185B"),
        ("p6-b200.48xlarge", "on_demand", "L-417A185B"),
        ("p5.48xlarge", "spot", ""),
        ("m7i.xlarge", "on_demand", "L-1216C47A"),
        ("c7i.large", "spot", "L-34B43A08"),
        ("p5.48xlarge", "reserved", ""),
    ],
)
def test_quotas_of_machine_types(machine: str, capacity: str, code: str) -> None:
    assert quota_of(machine, capacity)[1] == code


# aws ec2 describe-addresses
def elastic(*stacks: str) -> dict[str, Any]:
    """An address of each stack; of somebody else if it is empty."""
    others = {"PublicIp": "198.51.100.7", "AllocationId": "eipalloc-1", "Domain": "vpc", "NetworkBorderGroup": "x"}
    tags = [[{"Key": "Name", "Value": "x"}, {"Key": "headrace-stack", "Value": stack}] for stack in stacks]
    return {"Addresses": [{**others, "Tags": own} if own[1]["Value"] else others for own in tags]}


ZONE = {"kind": "gateway", "host": "a.example.com", "tls": {"secret": "s"}, "zone": "Z0123456789ABCDEFGHIJ"}


@pytest.mark.parametrize(
    ("stacks", "limit", "expected"),
    [
        (["", ""], 5.0, ""),
        (["", "", "another"], 5.0, "needs 3 public addresses beside the 3 that are in use, but the quota EC2-VPC"),
        (["", "", "prod", "prod", "prod"], 5.0, ""),
        ([], 2.0, "needs 3 public addresses, but the quota EC2-VPC Elastic IPs (L-0263D0A3) is 2; request more"),
    ],
)
def test_elastic_ips_of_the_nat_gateway_and_the_entrance_must_be_left(
    stacks: list[str], limit: float, expected: str
) -> None:
    cloud = Cloud(L_0263D0A3=quota(limit), describe_addresses=elastic(*stacks))
    found = mistakes(config("aws", ingress=ZONE), cloud)
    assert [each.partition(": ")[2][: len(expected)] for each in found] == ([expected] if expected else [])


def test_one_elastic_ip_is_enough_without_an_entrance_and_none_in_an_existing_network() -> None:
    full = Cloud(L_0263D0A3=quota(5.0), describe_addresses=elastic(*[""] * 5))
    [found] = mistakes(config("aws"), full)
    assert found.startswith("headrace:cluster.network: needs a public address beside the 5 that are in use, but")
    subnets = ["subnet-0123456789abcdef0", "subnet-0fedcba9876543210"]
    network = {"existing": "vpc-0123456789abcdef0", "subnets": subnets}
    cluster = stack_settings(CHECKOUT / "Pulumi.aws.yaml")["cluster"] | {"network": network}
    full.asked.clear()
    assert mistakes(config("aws", cluster=cluster), full) == []
    assert not [command for command in full.asked if "L-0263D0A3" in command or "describe-addresses" in command]


def test_a_quota_of_elastic_ips_counts_though_those_in_use_are_not_known() -> None:
    found = findings(config("aws", ingress=ZONE), Cloud(L_0263D0A3=quota(2.0)))
    assert "needs 3 public addresses, but the quota" in str(found.mistakes[0])
    assert "the Elastic IPs that are in use" in found.unanswered


# gcloud compute regions describe, project-info describe, machine-types list
def limits(**quotas: float) -> dict[str, Any]:
    return {"name": "x", "quotas": [{"limit": v, "metric": k, "usage": 0.0} for k, v in quotas.items()]}


def types(*zones: str) -> list[dict[str, Any]]:
    return [{"name": "g2-standard-4", "zone": f"https://www.googleapis.com/compute/v1/zones/{z}"} for z in zones]


def test_quotas_of_google_cloud_are_those_of_the_region_and_of_all() -> None:
    enough = limits(NVIDIA_L4_GPUS=1.0, CPUS=24.0)
    there = types("europe-west4-a")
    assert (
        mistakes(config("gcp"), Cloud(regions=enough, project_info=limits(GPUS_ALL_REGIONS=1.0), machine_types=there))
        == []
    )
    none, little = limits(GPUS_ALL_REGIONS=0.0), limits(NVIDIA_L4_GPUS=0.0)
    every, region = mistakes(config("gcp"), Cloud(regions=little, project_info=none, machine_types=there))
    assert "node_pools[1]: needs 1 GPUs with the pools before it, but the quota GPUS_ALL_REGIONS is 0" in every
    assert "the quota NVIDIA_L4_GPUS is 0; request more under IAM & Admin, Quotas" in region


@pytest.mark.parametrize(
    ("preemptible", "standard", "expected"),
    [
        (1.0, 0.0, ""),
        # Without a preemptible quota, spot nodes count in the standard one.
        (0.0, 2.0, ""),
        (0.0, 1.0, "needs 2 GPUs with the pools before it, but the quota NVIDIA_L4_GPUS is 1"),
        (0.0, 0.0, "the quota NVIDIA_L4_GPUS is 0"),
    ],
)
def test_spot_nodes_of_google_cloud_have_a_quota_of_their_own_once_it_is_granted(
    preemptible: float, standard: float, expected: str
) -> None:
    spot = {"name": "spot", "accelerator": "l4", "gpus": 1, "capacity": "spot", "zones": ["europe-west4-a"]}
    on_demand = {"name": "gpu", "accelerator": "l4", "gpus": 1, "zones": ["europe-west4-a"], "max_nodes": 1}
    pools = [config("gcp").model_dump()["node_pools"][0], *([on_demand] if standard else []), spot]
    region = limits(PREEMPTIBLE_NVIDIA_L4_GPUS=preemptible, NVIDIA_L4_GPUS=standard)
    found = mistakes(config("gcp", node_pools=pools), Cloud(regions=region, project_info=limits(GPUS_ALL_REGIONS=1.0)))
    assert expected in "".join(found)
    assert bool(found) == bool(expected)


def test_a_preemptible_quota_that_is_granted_must_suffice() -> None:
    spot = {"name": "spot", "accelerator": "l4", "gpus": 1, "capacity": "spot", "zones": ["europe-west4-a"]}
    pools = [config("gcp").model_dump()["node_pools"][0], spot | {"min_nodes": 2, "max_nodes": 2}]
    region = limits(PREEMPTIBLE_NVIDIA_L4_GPUS=1.0, NVIDIA_L4_GPUS=8.0)
    [found] = mistakes(config("gcp", node_pools=pools), Cloud(regions=region))
    assert "needs 2 GPUs with the pools before it, but the quota PREEMPTIBLE_NVIDIA_L4_GPUS is 1" in found


# gcloud compute addresses list
def static(*names: str, router: str = "") -> list[dict[str, Any]]:
    """Addresses with these names, and one that a router's Cloud NAT took."""
    here = {"addressType": "EXTERNAL", "region": "https://www.googleapis.com/compute/v1/projects/p/regions/r"}
    nat = {**here, "name": "nat-auto-ip-1-0-1", "purpose": "NAT_AUTO", "status": "IN_USE"}
    found = [{**here, "name": name, "status": "RESERVED"} for name in names]
    return [*found, *([{**nat, "users": [f"https://x/regions/r/routers/{router}"]}] if router else [])]


@pytest.mark.parametrize(
    ("used", "there", "expected"),
    [
        (6.0, static("a"), ""),
        (
            7.0,
            static("a"),
            "needs 2 public addresses beside the 7 that are in use, but the quota STATIC_ADDRESSES is 8",
        ),
        (8.0, static("headrace-prod-entrance", router="headrace-prod"), ""),
        (8.0, static("headrace-prod-entrance", router="other"), "needs 2 public addresses beside the 7"),
    ],
)
def test_static_addresses_of_google_cloud_must_be_left(used: float, there: list[dict[str, Any]], expected: str) -> None:
    region = {"name": "r", "quotas": [{"limit": 8.0, "metric": "STATIC_ADDRESSES", "usage": used}]}
    settings = config("gcp", ingress={**ZONE, "zone": "example-zone"})
    found = mistakes(settings, Cloud(addresses=there, regions=region))
    assert [each.partition(": ")[2][: len(expected)] for each in found] == ([expected] if expected else [])


def test_zones_of_google_cloud_without_the_machine_are_named() -> None:
    cpu, gpu = mistakes(config("gcp"), Cloud(machine_types=types("europe-west4-c", "europe-west4-b")))
    assert "node_pools[0].zones: europe-west4-a has no n2-standard-4; use one of europe-west4-b, europe-west4-c" in cpu
    assert "node_pools[1].zones: europe-west4-a has no g2-standard-4" in gpu


# az vm list-usage, az vm list-skus
def usage(**families: int) -> list[dict[str, Any]]:
    return [
        {"currentValue": "0", "limit": str(v), "name": {"localizedValue": f"{k} vCPUs", "value": k}, "unit": "Count"}
        for k, v in families.items()
    ]


A100 = {
    "name": "Standard_NC24ads_A100_v4",
    "family": "StandardNCADSA100v4Family",
    "locationInfo": [{"location": "westeurope", "zones": ["2", "1", "3"]}],
    "resourceType": "virtualMachines",
    "restrictions": [],
}
D4 = {**A100, "name": "Standard_D4s_v5", "family": "standardDSv5Family"}


def azure_cloud(usage: list[dict[str, Any]], *sizes: dict[str, Any]) -> Cloud:
    return Cloud(list_usage=usage, list_skus=list(sizes))


def test_quotas_of_azure_count_the_own_nodes_of_aks_and_those_of_an_upgrade() -> None:
    # Three of AKS with one of an upgrade, two and one of the pool `cpu`, all of one family, each of 4 vCPUs; 24 of
    # the A100.
    enough = usage(cores=4 * 6 + 24, standardDSv5Family=4 * 6, StandardNCADSA100v4Family=24)
    assert mistakes(config("azure"), azure_cloud(enough, D4, A100)) == []
    little = usage(cores=4 * 6 + 23, standardDSv5Family=4 * 6 - 1, StandardNCADSA100v4Family=0)
    cpu, family, regional = mistakes(config("azure"), azure_cloud(little, D4, A100))
    assert cpu.startswith(
        "headrace:node_pools[0]: needs 24 vCPUs with AKS' own nodes, those that an upgrade adds and the pools before"
        " it, but the quota standardDSv5Family vCPUs is 23; request more under Quotas"
    )
    assert "node_pools[1]: needs 24 vCPUs" in family
    assert "node_pools[1]: needs 48 vCPUs" in regional
    assert "the quota cores vCPUs is 47" in regional


def test_an_upgrade_of_the_fewest_nodes_is_what_a_quota_of_azure_must_allow() -> None:
    pools = deepcopy(stack_settings(CHECKOUT / "Pulumi.azure.yaml")["node_pools"])
    pools[0] |= {"min_nodes": 2, "max_nodes": 20}
    enough = usage(cores=4 * 6 + 24, standardDSv5Family=4 * 6, StandardNCADSA100v4Family=24)
    assert mistakes(config("azure", node_pools=pools), azure_cloud(enough, D4, A100)) == []


def test_spot_nodes_of_azure_count_in_a_quota_of_all_families() -> None:
    pools = deepcopy(stack_settings(CHECKOUT / "Pulumi.azure.yaml")["node_pools"])
    pools[1]["capacity"] = "spot"
    little = usage(lowPriorityCores=23, cores=4 * 6, StandardNCADSA100v4Family=0)
    [found] = mistakes(config("azure", node_pools=pools), azure_cloud(little, D4, A100))
    assert "node_pools[1]: needs 24 vCPUs" in found
    assert "the quota lowPriorityCores vCPUs is 23" in found


# az network list-usages, az network public-ip list
def addresses(used: int, limit: int, name: str = "StandardSkuPublicIpAddresses") -> list[dict[str, Any]]:
    return [
        {"currentValue": 0, "limit": 0, "name": {"localizedValue": "Route Tables", "value": "RouteTables"}},
        {"currentValue": used, "limit": limit, "name": {"localizedValue": "Public IPs", "value": name}},
    ]


def public(*names: str, location: str = "westeurope") -> list[dict[str, Any]]:
    return [{"name": name, "location": location, "sku": {"name": "Standard"}} for name in names]


@pytest.mark.parametrize(
    ("used", "there", "expected"),
    [
        (8, public("a"), ""),
        (9, public("a"), "needs 2 public addresses beside the 9 that are in use, but the quota Public IPs is 10"),
        (10, public("headrace-prod-nat", "headrace-prod-entrance"), ""),
        (10, public("headrace-prod-nat", location="northeurope"), "needs 2 public addresses beside the 10"),
    ],
)
def test_public_addresses_of_azure_must_be_left(used: int, there: list[dict[str, Any]], expected: str) -> None:
    zone = f"/subscriptions/{'0' * 8}/resourceGroups/dns/providers/Microsoft.Network/dnszones/example.com"
    settings = config("azure", ingress={**ZONE, "zone": zone})
    for name in ("StandardSkuPublicIpAddresses", "IPv4StandardSkuPublicIpAddresses", "PublicIPAddresses"):
        cloud = Cloud(list_usages=addresses(used, 10, name), public_ip=there)
        found = mistakes(settings, cloud)
        assert [each.partition(": ")[2][: len(expected)] for each in found] == ([expected] if expected else [])


def test_a_subscription_without_a_quota_of_addresses_says_nothing_of_them() -> None:
    found = findings(config("azure"), Cloud(list_usages=addresses(0, 10, "VirtualNetworks")))
    assert found.mistakes == []
    assert "form that is not known" in found.unanswered["the quotas of public addresses"]


def test_without_the_sizes_of_azure_their_families_are_not_judged() -> None:
    [found] = mistakes(config("azure"), Cloud(list_usage=usage(cores=23, standardDSv5Family=0)))[:1]
    assert "the quota cores vCPUs is 23" in found


def test_families_of_azure_are_written_in_two_ways() -> None:
    t4 = {**A100, "name": "Standard_NC4as_T4_v3", "family": "standardNCASv3_T4Family"}
    pools = [{"name": "cpu", "min_nodes": 2, "max_nodes": 2}, {"name": "gpu", "accelerator": "t4", "gpus": 1}]
    cloud = azure_cloud(usage(**{"Standard NCASv3_T4 Family": 0}), D4, t4)
    [found] = mistakes(
        config("azure", node_pools=pools, pools=[{"name": "serving", "node_pool": "cpu"}], models=[], assistants=[]),
        cloud,
    )
    assert "the quota Standard NCASv3_T4 Family vCPUs is 0" in found


@pytest.mark.parametrize(
    ("restriction", "expected"),
    [
        (
            {"type": "Zone", "reasonCode": "NotAvailableForSubscription", "restrictionInfo": {"zones": ["1", "3"]}},
            "node_pools[1].zones: 1 has no Standard_NC24ads_A100_v4; use one of 2",
        ),
        (
            {"type": "Location", "reasonCode": "NotAvailableForSubscription", "restrictionInfo": {"zones": None}},
            "node_pools[1]: westeurope does not offer Standard_NC24ads_A100_v4; use another machine type or region",
        ),
    ],
)
def test_sizes_that_a_subscription_may_not_have_are_named(restriction: dict[str, Any], expected: str) -> None:
    pools = deepcopy(stack_settings(CHECKOUT / "Pulumi.azure.yaml")["node_pools"])
    pools[1]["zones"] = ["1", "2"]
    [found] = mistakes(config("azure", node_pools=pools), azure_cloud([], D4, {**A100, "restrictions": [restriction]}))
    assert expected in found


def test_a_size_that_the_location_has_not_is_named() -> None:
    cloud = azure_cloud([], A100)
    assert "westeurope does not offer Standard_D4s_v5" in mistakes(config("azure"), cloud)[0]


@pytest.mark.parametrize(
    ("pool", "nodes"),
    [
        ({"max_nodes": 2}, 1),
        ({"max_nodes": 10}, 1),
        ({"max_nodes": 11}, 2),
        ({"max_nodes": 11, "surge": 0}, 0),
        ({"max_nodes": 11, "surge": 3}, 3),
        ({"max_nodes": 11, "capacity": "spot"}, 0),
        ({"max_nodes": 11, "accelerator": "t4", "gpus": 1}, 0),
    ],
)
def test_an_upgrade_on_azure_adds_a_tenth_of_a_pool(pool: dict[str, Any], nodes: int) -> None:
    made = NodePool.model_validate({"name": "a", **pool})
    assert surge_nodes(made, made.max_nodes) == nodes


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_what_a_cloud_does_not_answer_is_named(cloud: str) -> None:
    silent = Cloud()
    found = findings(config(cloud), silent)
    assert found.mistakes == []
    assert len(found.unanswered) == len(silent.asked) > 0
    assert set(found.unanswered.values()) == {"the cloud is silent"}
    assert all(about in found.notice() for about in found.unanswered)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
@pytest.mark.parametrize("answer", [{"message": "x"}, [{"message": "x"}], "x", None, 0])
def test_an_answer_of_another_form_is_not_taken_for_one(cloud: str, answer: Any) -> None:
    asked = capacity_check.checks(config(cloud), "prod", lambda command, limit_s: answer)
    found = inquiry.ask(asked)
    assert found.mistakes == []
    assert set(found.unanswered) == set(asked[0].questions)
    assert all("answers in a form that is not known" in why for why in found.unanswered.values())


def test_quotas_that_nobody_can_be_asked_for_are_named() -> None:
    pools = [{"name": "cpu", "min_nodes": 2, "max_nodes": 2}, {"name": "gpu", "accelerator": "h100-80gb", "gpus": 8}]
    spot = [pools[0], {**pools[1], "capacity": "spot"}]
    found = findings(config("aws", node_pools=spot), Cloud())
    assert found.unanswered["the quota of p5.48xlarge on spot"] == "AWS has one for each generation"
    pools[1]["zones"] = ["europe-west4-a"]
    found = findings(config("gcp", node_pools=pools), Cloud())
    assert found.unanswered["the quota of h100-80gb in the region"] == "`gcloud compute` does not print it"


def test_only_clouds_are_asked() -> None:
    asked = Cloud()
    assert capacity_check.checks(StackConfig.model_validate({}), "prod", asked) == []
    autopilot = {"project": "example-project", "region": "europe-west4", "autopilot": True}
    settings = StackConfig.model_validate({"target": "gcp", "gcp": autopilot, "image": {"tag": "1"}})
    findings(settings, asked)
    assert [command.split(" --")[0] for command in asked.asked] == [
        "gcloud compute regions describe europe-west4",
        "gcloud compute addresses list",
    ], "Autopilot has no machine types, but addresses"


def test_a_program_is_run_and_its_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""#!/bin/sh
case $1 in
  ok) echo '{json.dumps({"a": 1})}' ;;
  text) echo no ;;
  slow) sleep 600 & echo $! > {tmp_path}/child; wait ;;
  *) echo 'warning: old' >&2; echo 'AccessDenied: not allowed to list' >&2; exit 1 ;;
esac
"""
    (tmp_path / "cloud").write_text(script)
    (tmp_path / "cloud").chmod(0o755)
    (tmp_path / "data").write_text("no program")
    (tmp_path / "data").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert capacity.run_program(["cloud", "ok"], 60) == {"a": 1}
    for command, limit_s, why in (
        (["cloud", "text"], 60, "`cloud text` did not print JSON"),
        (["cloud", "quotas", "list", "--region", "x"], 60, "`cloud quotas list` failed: AccessDenied: not allowed"),
        (["cloud", "slow"], 5, "`cloud slow` did not end in time"),
        (["no-such-cloud"], 60, "the program no-such-cloud is not on PATH"),
        (["data"], 60, "`data` cannot be run"),
    ):
        with pytest.raises(NoAnswer) as raised:
            capacity.run_program(command, limit_s)
        assert why in str(raised.value)
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not _runs(child), "what the program started ends too", 60)


def _runs(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
