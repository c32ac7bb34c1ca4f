"""The example stacks in clouds, planned with the real SDKs: no cloud, no credential and no network."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pulumi
import pytest

from infra.config import StackConfig
from infra.gpu import cost
from infra.gpu.placement import NODE_POOL_RULES
from infra.layout import CHECKOUT
from infra.policies.catalogue import RULES
from infra.policies.manifest import PlannedResource
from infra.policies.rule import violations
from infra.targets.cloud_stacks import cloud_stack
from infra.targets.operations import holdings
from tests.rendering.examples import stack_settings
from tests.unit.plan.golden import check, golden

CLOUDS = ("aws", "gcp", "azure")
MODULES = {"aws": "aws", "gcp": "gcp", "azure": "azure-native"}

Planner = Callable[..., Any]


def settings(cloud: str, **changed: Any) -> dict[str, Any]:
    return stack_settings(CHECKOUT / f"Pulumi.{cloud}.yaml") | changed


def of_cloud(planned: Any, cloud: str) -> list[Any]:
    """The resources in the cloud itself, and those that its component has in the cluster."""
    component = f"headrace:{cloud}:Cluster"
    provider = f"pulumi:providers:{MODULES[cloud]}"
    return [r for r in planned.resources.values() if component in r.urn or provider in r.urn]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_planned_cloud_resources_match_the_recorded_ones(cloud: str, plan_once: Planner) -> None:
    check(f"{cloud}.yaml", golden(of_cloud(plan_once(settings(cloud)), cloud)))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_stack_is_on_that_cluster_and_after_its_nodes(cloud: str, plan_once: Planner) -> None:
    planned = plan_once(settings(cloud))
    [provider] = [
        r
        for r in planned.resources.values()
        if r.urn.endswith("headrace:kubernetes:Stack$pulumi:providers:kubernetes::cluster")
    ]
    assert set(provider.secrets) >= {"kubeconfig"}
    assert "kubeconfig" not in provider.inputs
    namespace = planned["namespace"]
    assert namespace.provider == "cluster"
    assert {"cluster", "pool-cpu", "pool-gpu"} <= set(namespace.dependencies)
    assert {"pool-cpu", "pool-gpu"} <= set(planned["kubernetes:helm.sh/v3:Release kuberay"].dependencies)


@pytest.mark.parametrize(
    ("cloud", "data", "annotation", "identity"),
    [
        ("aws", "s3://headrace-", None, "169.254.170.23/32"),
        ("gcp", "gs://headrace-", "iam.gke.io/gcp-service-account", "169.254.169.254/32"),
        ("azure", "az://", "azure.workload.identity/client-id", "0.0.0.0/0"),
    ],
)
def test_pods_reach_the_bucket_by_their_identity(
    cloud: str, data: str, annotation: str | None, identity: str, plan_once: Planner
) -> None:
    values = plan_once(settings(cloud))["headrace"].inputs["values"]
    assert values["serving"]["store"]["data"].startswith(data)
    assert values["secrets"]["bucketCredentials"] == {"secret": ""}
    for account in ("worker", "jobs"):
        annotations = values["serviceAccounts"][account]["annotations"]
        assert set(annotations) == ({annotation} if annotation else set())
    assert identity in repr(values["networkPolicy"]["identity"])
    assert values["networkPolicy"]["bucket"]["port"] == 443


SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000"
AZURE_ZONE = f"{SUBSCRIPTION}/resourceGroups/dns/providers/Microsoft.Network/dnsZones/example.com"
ENTRANCES = {
    "aws": (
        "Z0123456789ABCDEFGHIJ",
        {
            "service.beta.kubernetes.io/aws-load-balancer-eip-allocations": (
                "eipalloc-headrace-example-entrance-eu-central-1a,eipalloc-headrace-example-entrance-eu-central-1b"
            ),
            "service.beta.kubernetes.io/aws-load-balancer-subnets": "public-eu-central-1a,public-eu-central-1b",
        },
        "aws:route53/record:Record entrance",
        {
            "zoneId": "Z0123456789ABCDEFGHIJ",
            "name": "llm.example.com",
            "type": "A",
            "ttl": 300,
            "records": ["192.0.2.7", "192.0.2.7"],
        },
    ),
    "gcp": (
        "example-zone",
        {
            "cloud.google.com/l4-rbs": "enabled",
            "networking.gke.io/load-balancer-ip-addresses": "headrace-example-entrance",
        },
        "gcp:dns/recordSet:RecordSet entrance-record",
        {
            "managedZone": "example-zone",
            "name": "llm.example.com.",
            "type": "A",
            "ttl": 300,
            "rrdatas": ["192.0.2.7"],
        },
    ),
    "azure": (
        AZURE_ZONE,
        {
            "service.beta.kubernetes.io/azure-pip-name": "entrance",
            "service.beta.kubernetes.io/azure-load-balancer-resource-group": "resource-group",
        },
        "azure-native:dns:RecordSet entrance-record",
        {
            "resourceGroupName": "dns",
            "zoneName": "example.com",
            "relativeRecordSetName": "llm",
            "recordType": "A",
            "ttl": 300,
            "aRecords": [{"ipv4Address": "20.0.0.1"}],
        },
    ),
}
"""For each cloud a zone, the annotations of the load balancer's Service, and the record of the host."""


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_record_leads_to_the_addresses_of_the_load_balancer(cloud: str, plan_once: Planner) -> None:
    zone, annotations, name, record = ENTRANCES[cloud]
    ingress = {
        "kind": "gateway",
        "host": "llm.example.com",
        "tls": {"acme": {"email": "ops@example.com"}},
        "zone": zone,
    }
    planned = plan_once(settings(cloud, ingress=ingress))
    chart = planned["headrace"]
    assert chart.inputs["values"]["httpRoute"]["gateway"]["infrastructure"] == {"annotations": annotations}
    [made] = [r for r in planned.resources.values() if f"{r.token} {r.name}" == name]
    assert made.inputs == record
    assert {made.name, *(r.name for r in addresses(planned))} <= set(planned["namespace"].dependencies)


def addresses(planned: Any) -> list[Any]:
    """The reserved addresses of the load balancer."""
    kinds = ("Eip", "Address", "PublicIPAddress")
    return [r for r in planned.resources.values() if r.name.startswith("entrance") and r.token.endswith(kinds)]


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("zone", [True, False])
def test_the_addresses_that_a_quota_must_allow_are_those_that_are_planned(
    cloud: str, zone: bool, plan_once: Planner
) -> None:
    entrance = {"kind": "gateway", "host": "llm.example.com", "tls": {"acme": {"email": "ops@example.com"}}}
    changed = {"ingress": {**entrance, "zone": ENTRANCES[cloud][0]}} if zone else {}
    if cloud == "aws":
        pools = settings(cloud)["node_pools"]
        changed["node_pools"] = [*pools[:-1], pools[-1] | {"zones": ["eu-central-1c"]}]
    wanted = settings(cloud, **changed)
    planned = plan_once(wanted)
    kinds = ("Eip", "Address", "PublicIPAddress")
    made = [r.name for r in planned.resources.values() if r.token.rpartition(":")[2] in kinds]
    # Cloud NAT takes its address itself.
    made += [r.name for r in planned.resources.values() if r.token == "gcp:compute/routerNat:RouterNat"]
    capacity = importlib.import_module(f"infra.targets.{cloud}.capacity")
    assert capacity.addresses_needed(cloud_stack(StackConfig.model_validate(wanted), "example")) == len(made)
    assert len(made) == {("aws", True): 4, ("gcp", True): 2, ("azure", True): 2}.get((cloud, zone), 1)


def test_aks_may_use_the_address(plan_once: Planner) -> None:
    ingress = {"kind": "gateway", "host": "llm.example.com", "tls": {"secret": "s"}, "zone": AZURE_ZONE}
    planned = plan_once(settings("azure", ingress=ingress))
    role = planned["cluster-entrance"].inputs
    assert role["principalId"] == "cluster-identity-principal"
    assert role["scope"] == f"{SUBSCRIPTION}/resourceGroups/resource-group"
    assert (
        "cluster-entrance"
        in next(r for r in planned.resources.values() if r.token.endswith("ManagedCluster")).dependencies
    )


@pytest.mark.parametrize("cloud", CLOUDS)
def test_without_a_zone_there_is_no_address(cloud: str, plan_once: Planner) -> None:
    assert addresses(plan_once(settings(cloud))) == []


@pytest.mark.parametrize("cloud", CLOUDS)
def test_pods_find_their_nodes(cloud: str, plan_once: Planner) -> None:
    pools = plan_once(settings(cloud))["headrace"].inputs["values"]["pools"]
    assert pools["gpu"]["nodeSelector"] == {"headrace.io/node-pool": "gpu"}
    assert pools["serving"]["nodeSelector"] == {"headrace.io/node-pool": "cpu"}
    assert [t["key"] for t in pools["gpu"]["tolerations"]] == ["nvidia.com/gpu"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_an_example_has_no_pool_that_nothing_scales(cloud: str) -> None:
    config = StackConfig.model_validate(settings(cloud))
    rules = NODE_POOL_RULES[cloud]
    assert rules.scales(getattr(config, cloud)) or not any(pool.autoscaled for pool in config.node_pools)


@pytest.mark.parametrize(("cloud", "installed"), [("aws", True), ("gcp", False), ("azure", True)])
def test_the_device_plugin_is_installed_where_the_cloud_has_none(
    cloud: str, installed: bool, plan_once: Planner
) -> None:
    planned = plan_once(settings(cloud))
    releases = [r.inputs["chart"] for r in planned.resources.values() if r.token == "kubernetes:helm.sh/v3:Release"]
    assert [c for c in releases if "nvidia" in c or "gpu" in c] == (["nvidia-device-plugin"] if installed else [])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_metrics_of_gpus_are_admitted_before_they_are_installed(cloud: str, plan_once: Planner) -> None:
    planned = plan_once(settings(cloud))
    release = next(r for r in planned.resources.values() if r.token.endswith("Release") and r.name == "dcgm")
    assert release.inputs["chart"] == "dcgm-exporter"
    assert release.inputs["values"]["serviceMonitor"] == {"enabled": True}
    assert {"dcgm-quota", "monitoring"} <= set(release.dependencies)
    assert planned["dcgm-quota"].inputs["metadata"] == {"name": "node-pods", "namespace": "gpu-metrics"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_bucket_of_yours_is_used(cloud: str, plan_once: Planner) -> None:
    own = settings(cloud, data={"uri": "s3://mine/headrace"})
    values = plan_once(own)["headrace"].inputs["values"]
    assert values["serving"]["store"]["data"] == "s3://mine/headrace"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_mistakes_come_before_any_resource(cloud: str, plan: Planner) -> None:
    wrong = settings(cloud)
    wrong["node_pools"][1]["gpus"] = 3
    wrong["cluster"] = {}
    with pytest.raises(pulumi.RunError) as raised:
        plan(wrong, stack="example")
    assert "headrace:cluster.authorized_ranges: is missing" in str(raised.value)
    assert "headrace:node_pools[1].gpus" in str(raised.value)


def test_a_missing_sdk_is_reported(plan: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.targets.aws.SDK", "no_such_package")
    with pytest.raises(pulumi.RunError, match="the Python package no_such_package is not installed; run `make up`"):
        plan(settings("aws"), stack="example")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_cost_table_and_remaining_resources_are_shown(
    cloud: str, plan: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", lambda text, *_, **__: shown.append(text))
    plan(settings(cloud), stack="example", preview=True)
    assert shown[0].startswith("node pool")
    assert any(text.startswith("`purge` does not delete: ") for text in shown[1:])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_cloud_packages_declare_their_sdk(cloud: str) -> None:
    """And loads it only when a cluster is planned."""
    folder = f"infra.targets.{cloud}"
    code = f"import sys, {folder} as c, {folder}.machines as m; print(c.SDK, bool(m.MACHINES), c.SDK in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=CHECKOUT).split()
    assert said == [f"pulumi_{MODULES[cloud].replace('-', '_')}", "True", "False"]


@pytest.mark.parametrize(("engine", "ports"), [("kserve", ["9443"]), (None, None)])
def test_google_cloud_opens_ports_of_webhooks_to_the_control_plane(
    engine: str | None, ports: list[str] | None, plan_once: Planner
) -> None:
    """KServe's is one that GKE does not open by itself."""
    models = {"models": [{"name": "m", "engine": engine, "existing": "a/m"}], "assistants": []} if engine else {}
    planned = plan_once(settings("gcp", **models))
    found = planned.resources.get("webhooks")
    assert (found and found.inputs["allows"]) == (ports and [{"protocol": "tcp", "ports": ports}])
    if found:
        ranges = planned["subnet"].inputs
        assert found.inputs["sourceRanges"] == [
            ranges["ipCidrRange"],
            ranges["secondaryIpRanges"][0]["ipCidrRange"],
        ]
        assert found.inputs["targetServiceAccounts"] == [planned["pool-cpu"].inputs["nodeConfig"]["serviceAccount"]]
        assert "webhooks" in planned["cluster"].dependencies


NOT_PROTECTED = ("node pool",)
"""What holds machines alone: decision 0019 leaves these to `--destroy`."""


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("protected", [True, False])
def test_what_holds_data_in_a_cloud_is_protected(cloud: str, protected: bool, plan_once: Planner) -> None:
    own = settings(cloud)
    if not protected:
        own["cluster"] = {**own["cluster"], "deletion_protection": False}
    known = {type for type, each in holdings().items() if each.kind not in NOT_PROTECTED}
    made = [r for r in plan_once(own).resources.values() if r.token in known and r.token.startswith(MODULES[cloud])]
    assert {"cluster", "bucket"} <= {holdings()[r.token].kind for r in made}
    assert {r.protect for r in made} == {protected}


def test_gke_upgrades_in_the_windows_of_the_configuration(plan_once: Planner) -> None:
    own = settings("gcp")
    assert plan_once(own)["cluster"].inputs["maintenancePolicy"]["recurringWindow"] == {
        "startTime": "2026-01-10T00:00:00Z",  # a Saturday
        "endTime": "2026-01-10T12:00:00Z",
        "recurrence": "FREQ=WEEKLY;BYDAY=SA,SU",
    }
    freeze = {"name": "freeze", "start": "2026-11-23", "end": "2026-12-01", "scope": "minor_and_nodes"}
    own["gcp"] = own["gcp"] | {
        "maintenance": {"days": ["thursday", "tuesday"], "start": "22:30", "hours": 6, "exclusions": [freeze]}
    }
    policy = plan_once(own)["cluster"].inputs["maintenancePolicy"]
    assert policy["recurringWindow"] == {
        "startTime": "2026-01-06T22:30:00Z",
        "endTime": "2026-01-07T04:30:00Z",
        "recurrence": "FREQ=WEEKLY;BYDAY=TU,TH",
    }
    assert policy["maintenanceExclusions"] == [
        {
            "exclusionName": "freeze",
            "startTime": "2026-11-23T00:00:00Z",
            "endTime": "2026-12-01T00:00:00Z",
            "exclusionOptions": {"scope": "NO_MINOR_OR_NODE_UPGRADES"},
        }
    ]


def test_aks_installs_patches_in_the_window_of_the_configuration(plan_once: Planner) -> None:
    own = settings("azure")
    freeze = {"start": "2026-11-23", "end": "2026-12-01"}
    maintenance = {"day": "tuesday", "start": "22:30", "hours": 4, "exclusions": [freeze]}
    own["azure"] = own["azure"] | {"maintenance": maintenance}
    for name in ("upgrade-window", "image-window"):
        assert plan_once(settings("azure"))[name].inputs["maintenanceWindow"]["durationHours"] == 8
        assert plan_once(own)[name].inputs["maintenanceWindow"] == {
            "schedule": {"weekly": {"dayOfWeek": "Tuesday", "intervalWeeks": 1}},
            "startTime": "22:30",
            "utcOffset": "+00:00",
            "durationHours": 4,
            "notAllowedDates": [freeze],
        }


POOLS = {"aws": ":NodeGroup", "gcp": ":NodePool", "azure": ":AgentPool"}


def surges(cloud: str, planned: Any, name: str) -> Any:
    [pool] = [r for r in planned.resources.values() if r.name == f"pool-{name}" and r.token.endswith(POOLS[cloud])]
    if cloud == "aws":
        return pool.inputs["updateConfig"]["updateStrategy"]
    return pool.inputs["upgradeSettings"]["maxSurge"], pool.inputs["upgradeSettings"]["maxUnavailable"]


@pytest.mark.parametrize(
    ("cloud", "default", "chosen"),
    [
        ("gcp", [(1, 0), (0, 1)], [(0, 1), (1, 0)]),
        ("azure", [("10%", "0"), ("0", "1")], [("0", "1"), ("1", "0")]),
        ("aws", ["DEFAULT", "MINIMAL"], ["MINIMAL", "DEFAULT"]),
    ],
)
def test_an_upgrade_adds_the_nodes_of_the_configuration(
    cloud: str, default: list[Any], chosen: list[Any], plan_once: Planner
) -> None:
    """Of a pool without GPUs and of one with them."""
    own = settings(cloud)
    assert [surges(cloud, plan_once(own), name) for name in ("cpu", "gpu")] == default
    surge = {"cpu": 0, "gpu": 1}
    own["node_pools"] = [{**pool, "surge": surge[pool["name"]]} for pool in own["node_pools"]]
    assert [surges(cloud, plan_once(own), name) for name in ("cpu", "gpu")] == chosen


def test_nat_has_ports_for_parallel_downloads(plan_once: Planner) -> None:
    nat = plan_once(settings("gcp"))["nat"].inputs
    least, most = nat["minPortsPerVm"], nat["maxPortsPerVm"]
    assert nat["enableDynamicPortAllocation"]
    assert not nat["enableEndpointIndependentMapping"]  # which dynamic allocation excludes
    assert 512 <= least < most <= 65536
    assert all(int(ports).bit_count() == 1 for ports in (least, most))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_policy_pack_counts_what_the_plan_counts(cloud: str, plan_once: Planner) -> None:
    """The pack reads resources, the plan reads settings; a budget that fits exactly shows that they agree."""
    rule, own = RULES["budget"], settings(cloud, cost={"max_per_month": 1_000_000})
    budget = next(line for line in cost.table(StackConfig.model_validate(own)).splitlines() if line[:7] == "Budget:")
    most = float(budget.split()[3].replace(",", ""))
    made = [PlannedResource(r.token, r.name, r.inputs) for r in plan_once(own).resources.values()]
    [stack] = [r for r in made if r.token == "headrace:kubernetes:Stack"]
    assert stack.props == {"maxPerMonth": 1_000_000, "prices": ""}
    rest = [r for r in made if r is not stack]

    def found(limit: float) -> list[str]:
        held = PlannedResource(stack.token, stack.name, {**stack.props, "maxPerMonth": limit})
        return [str(v) for v in violations(rule, [held, *rest])]

    assert found(most + 0.01) == []
    [over] = found(most - 0.01)
    assert f"cost up to {most:,.2f} USD per month" in over


def test_a_stack_over_its_budget_is_stopped_before_any_resource(plan: Planner) -> None:
    with pytest.raises(pulumi.RunError, match=r"headrace:cost.max_per_month: is 1.00 USD, but the nodes cost up to"):
        plan(settings("gcp", cost={"max_per_month": 1}), stack="example")
