"""What is asked of a cloud before anything is made, and what its answers mean.

The answers have the form that the vendors document for each command; no account was available to record one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from infra.config import StackConfig
from infra.gpu import azure
from infra.gpu.pools import NodePool
from infra.targets import capacity_check
from infra.targets.aws.capacity import quota_of
from infra.targets.layout import CHECKOUT
from tests.rendering.examples import stack_settings


def config(cloud: str, **changed: Any) -> StackConfig:
    return StackConfig.model_validate(stack_settings(CHECKOUT / f"Pulumi.{cloud}.yaml") | changed)


class Cloud:
    """Answers by a part of the command; what nothing answers cannot be asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {key.replace("_", "-"): value for key, value in answers.items()}
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str]) -> Any:
        self.asked.append(" ".join(command))
        return next((answer for part, answer in self.answers.items() if part in self.asked[-1]), None)


def mistakes(settings: StackConfig, cloud: Cloud) -> list[str]:
    return [str(mistake) for mistake in capacity_check.mistakes(settings, cloud)]


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
    assert len(cloud.asked) == 5
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


# aws eks describe-addon-versions, as the command's `--query` reduces it
def addon_versions(**versions: list[str]) -> list[dict[str, Any]]:
    return [
        {"name": n.replace("_", "-"), "versions": [{"version": v, "standard": i == 1} for i, v in enumerate(found)]}
        for n, found in versions.items()
    ]


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
        "headrace:aws.addon_versions: has no version of kube-proxy, vpc-cni; for EKS' defaults of today, set"
        " addon_versions: {coredns: v1.13.2-eksbuild.3, kube-proxy: v1.35.0-eksbuild.2, vpc-cni: v1.21.1-eksbuild.3}"
    )
    [asked] = [command for command in cloud.asked if "describe-addon-versions" in command]
    assert "--kubernetes-version 1.35" in asked
    assert "clusterVersion=='1.35'" in asked


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


def test_spot_nodes_of_google_cloud_have_a_quota_of_their_own() -> None:
    pools = [*config("gcp").model_dump()["node_pools"]]
    pools[1] = {"name": "gpu", "accelerator": "l4", "gpus": 1, "capacity": "spot", "zones": ["europe-west4-a"]}
    region = limits(PREEMPTIBLE_NVIDIA_L4_GPUS=0.0, NVIDIA_L4_GPUS=8.0)
    [found] = mistakes(
        config("gcp", node_pools=pools), Cloud(regions=region, project_info=limits(GPUS_ALL_REGIONS=0.0))
    )
    assert "the quota PREEMPTIBLE_NVIDIA_L4_GPUS is 0" in found


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


def skus(*sizes: dict[str, Any]) -> dict[str, Any]:
    return {f"--size {size['name']} ": [size] for size in sizes}


def azure_cloud(usage: list[dict[str, Any]], *sizes: dict[str, Any]) -> Cloud:
    cloud = Cloud(list_usage=usage)
    cloud.answers |= skus(*sizes)
    return cloud


def test_quotas_of_azure_count_the_own_nodes_of_aks_and_those_of_an_upgrade() -> None:
    # Three of AKS with one of an upgrade, two and one of the pool `cpu`, each of 4 vCPUs; 24 of the A100.
    enough = usage(cores=4 * 6 + 24, standardDSv5Family=12, StandardNCADSA100v4Family=24)
    assert mistakes(config("azure"), azure_cloud(enough, D4, A100)) == []
    little = usage(cores=4 * 6 + 23, standardDSv5Family=11, StandardNCADSA100v4Family=0)
    cpu, family, regional = mistakes(config("azure"), azure_cloud(little, D4, A100))
    assert "node_pools[0]: needs 12 vCPUs with the pools before it, but the quota standardDSv5Family vCPUs is 11" in cpu
    assert "node_pools[1]: needs 24 vCPUs" in family
    assert "node_pools[1]: needs 48 vCPUs with the pools before it, but the quota cores vCPUs is 47" in regional


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
    cloud = Cloud(list_skus=[])
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
    assert azure.surge_nodes(NodePool.model_validate({"name": "a", **pool})) == nodes


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_what_cannot_be_asked_is_not_reported(cloud: str) -> None:
    nothing = Cloud()
    assert mistakes(config(cloud), nothing) == []
    assert nothing.asked


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_an_answer_of_another_form_is_not_taken_for_one(cloud: str) -> None:
    assert capacity_check.mistakes(config(cloud), lambda _: {"message": "x"}) == []


def test_only_clouds_with_node_pools_are_asked() -> None:
    asked = Cloud()
    autopilot = {"project": "example-project", "region": "europe-west4", "autopilot": True}
    settings = StackConfig.model_validate({"target": "gcp", "gcp": autopilot, "image": {"tag": "1"}})
    assert capacity_check.mistakes(settings, asked) == []
    assert capacity_check.mistakes(StackConfig.model_validate({}), asked) == []
    assert asked.asked == []


def test_a_program_is_run_and_its_failures_are_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "cloud"
    script = (
        f"#!/bin/sh\ncase $1 in ok) echo '{json.dumps({'a': 1})}';; text) echo no;; *) echo '{{}}'; exit 1;; esac\n"
    )
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert capacity_check.run(["cloud", "ok"]) == {"a": 1}
    assert capacity_check.run(["cloud", "text"]) is None
    assert capacity_check.run(["cloud", "fail"]) is None
    assert capacity_check.run(["no-such-cloud"]) is None
