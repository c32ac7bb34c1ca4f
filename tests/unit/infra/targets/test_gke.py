"""The cluster of a stack in Google Cloud: every resource that is made, and what it is asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc, settings
from pulumi.runtime.stack import run_pulumi_func

from infra.cloud_config import Cluster
from infra.nodes.pools import NodePool
from infra.resources.provisioned_cluster import SERVICE_ACCOUNTS, IdentityEndpoint, ProvisionedCluster
from infra.targets.gcp.gke import APIS, leftovers, provision_gke
from infra.targets.gcp.settings import Gcp
from tests.rendering.event_loop import event_loop
from tests.unit.plan import clouds

ZONE = ["europe-west4-a"]
CPU = {"name": "cpu", "zones": ZONE}
L4 = {"name": "l4", "accelerator": "l4", "gpus": 1, "zones": ZONE, "max_nodes": 4}
CLUSTER = {"authorized_ranges": ["203.0.113.7/32"], "tags": {"team": "search"}}
LABELS = {"team": "search", "headrace-stack": "headrace-prod"}
BUCKET = "headrace-prod-759b2c42"
EXISTING = {"existing": "office", "subnets": ["office-nodes"]}


@dataclass
class Made:
    """One resource as the engine is asked for it."""

    token: str
    inputs: dict[str, Any]
    parent: str
    provider: str
    protected: bool
    ignored: list[str]
    dependencies: set[str]
    deleted_with: str
    replaced_first: bool


class Monitor(mocks.MockMonitor):
    """Keeps what the program registers; answers no call."""

    def __init__(self) -> None:
        super().__init__(_Echo())
        self.made: dict[str, Made] = {}

    def RegisterResource(self, request: Any) -> Any:
        self.made[request.name] = Made(
            token=request.type,
            inputs=rpc.deserialize_properties(request.object, keep_unknowns=True),
            parent=_short(request.parent),
            provider=_short(request.provider.rpartition("::")[0]),
            protected=request.protect,
            ignored=list(request.ignoreChanges),
            dependencies={_short(urn) for urn in request.dependencies},
            deleted_with=_short(request.deletedWith),
            replaced_first=request.deleteBeforeReplace,
        )
        return super().RegisterResource(request)


class _Echo(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", clouds.outputs(args.typ, args.name, args.inputs)

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program calls {args.token}")


def _short(urn: str) -> str:
    return urn.rpartition("::")[2]


@dataclass
class Planned:
    """The resources by name, and what the target hands on."""

    made: dict[str, Made]
    provisioned: ProvisionedCluster
    kubeconfig: str
    kubeconfig_is_secret: bool
    identifier: str

    def __getitem__(self, name: str) -> Any:
        return self.made[name].inputs

    def of(self, kind: str) -> list[str]:
        return [name for name, made in self.made.items() if made.token.rpartition(":")[2] == kind]


@pytest.fixture(scope="module")
def plan() -> Callable[..., Planned]:
    """Plans once for each configuration: nobody changes a plan."""
    plans: dict[str, Planned] = {}

    def run(*pools: dict[str, Any], cluster: dict[str, Any] | None = None, stack: str = "prod", **gcp: Any) -> Planned:
        key = repr((pools, cluster, stack, gcp))
        if key in plans:
            return plans[key]
        monitor = Monitor()
        with event_loop() as loop:
            mocks.set_mocks(_Echo(), project="headrace", stack=stack, preview=False, monitor=monitor)
            settings.configure(settings.SETTINGS)
            kept: dict[str, Any] = {}

            def program() -> None:
                provisioned = provision_gke(
                    Gcp.model_validate({"project": "example-project", "region": "europe-west4", **gcp}),
                    Cluster.model_validate(CLUSTER if cluster is None else cluster),
                    [NodePool.model_validate(p) for p in pools],
                    stack,
                    "headrace",
                )
                kept["provisioned"] = provisioned
                kept["secret"] = asyncio.ensure_future(provisioned.kubeconfig.is_secret())
                kept["content"] = asyncio.ensure_future(provisioned.kubeconfig.future())
                kept["identifier"] = asyncio.ensure_future(pulumi.Output.from_input(provisioned.identifier).future())

            loop.run_until_complete(run_pulumi_func(program))
        plans[key] = planned = Planned(
            monitor.made,
            kept["provisioned"],
            kept["content"].result(),
            kept["secret"].result(),
            kept["identifier"].result(),
        )
        return planned

    return run


def test_everything_is_made_in_the_named_project(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU, L4)
    assert (planned["gcp"]["project"], planned["gcp"]["region"]) == ("example-project", "europe-west4")
    ours = {n: m for n, m in planned.made.items() if m.token.startswith("gcp:")}
    assert {m.parent for m in ours.values()} == {"gke"}
    assert {m.provider for m in ours.values()} == {"gcp"}


def test_services_stay_enabled_and_come_first(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    for api in APIS:
        service = planned[f"service-{api}"]
        assert service == {"service": f"{api}.googleapis.com", "disableOnDestroy": False}
    services = {f"service-{api}" for api in APIS}
    for name, made in planned.made.items():
        if made.token.startswith("gcp:") and name not in services:
            assert services <= made.dependencies, name
            assert made.replaced_first, name


def test_nodes_have_a_network_of_their_own_and_no_address_outside(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    assert planned["network"] == {"name": "headrace-prod", "autoCreateSubnetworks": False}
    subnet = planned["subnet"]
    assert subnet["ipCidrRange"] == "10.60.128.0/18"
    assert {r["rangeName"]: r["ipCidrRange"] for r in subnet["secondaryIpRanges"]} == {
        "pods": "10.60.0.0/17",
        "services": "10.60.192.0/22",
    }
    assert subnet["privateIpGoogleAccess"] is True
    assert subnet["network"] == planned["router"]["network"] == "network-id"
    nat = planned["nat"]
    assert nat["router"] == planned["router"]["name"]
    assert nat["sourceSubnetworkIpRangesToNat"] == "LIST_OF_SUBNETWORKS"
    assert nat["subnetworks"] == [{"name": "subnet-id", "sourceIpRangesToNats": ["ALL_IP_RANGES"]}]
    cluster = planned["cluster"]
    assert cluster["privateClusterConfig"]["enablePrivateNodes"] is True
    assert (cluster["network"], cluster["subnetwork"]) == ("network-id", "subnet-id")
    assert cluster["ipAllocationPolicy"] == {
        "clusterSecondaryRangeName": "pods",
        "servicesSecondaryRangeName": "services",
    }
    assert "nat" in planned.made["cluster"].dependencies


def test_an_existing_network_is_adopted_and_left_alone(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU, cluster={**CLUSTER, "network": EXISTING})
    assert planned.of("Network") + planned.of("Subnetwork") + planned.of("Router") + planned.of("RouterNat") == []
    cluster = planned["cluster"]
    assert (cluster["network"], cluster["subnetwork"]) == ("office", "office-nodes")
    assert cluster["ipAllocationPolicy"]["clusterSecondaryRangeName"] == "pods"


def test_the_cluster_is_regional_and_closed(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    cluster = planned["cluster"]
    assert (cluster["name"], cluster["location"]) == ("headrace-prod", "europe-west4")
    assert cluster["datapathProvider"] == "ADVANCED_DATAPATH"
    assert cluster["networkingMode"] == "VPC_NATIVE"
    assert cluster["workloadIdentityConfig"] == {"workloadPool": "example-project.svc.id.goog"}
    assert cluster["enableShieldedNodes"] is True
    assert cluster["releaseChannel"] == {"channel": "REGULAR"}
    assert cluster["minMasterVersion"] == "1.35"
    assert cluster["databaseEncryption"] == {"state": "ENCRYPTED", "keyName": "key-id"}
    assert set(cluster["rbacBindingConfig"].values()) == {False}
    assert cluster["resourceLabels"] == LABELS
    assert "APISERVER" in cluster["loggingConfig"]["enableComponents"]
    assert cluster["monitoringConfig"]["managedPrometheus"] == {"enabled": False}


def test_dns_requests_go_to_kube_dns(plan: Callable[..., Planned]) -> None:
    assert plan().provisioned.dns == ()
    """The chart's network policies let pods reach nothing else at port 53."""
    assert plan(CPU)["cluster"]["addonsConfig"]["dnsCacheConfig"] == {"enabled": False}


def test_the_first_pool_is_gone_at_once_and_never_has_the_default_account(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    cluster = planned["cluster"]
    assert (cluster["removeDefaultNodePool"], cluster["initialNodeCount"]) == (True, 1)
    assert cluster["nodeConfig"]["serviceAccount"].startswith("headrace-prod-nodes@")
    assert planned.made["cluster"].ignored == ["nodeConfig", "initialNodeCount"]


def test_a_public_api_server_admits_the_authorized_ranges_only(plan: Callable[..., Planned]) -> None:
    cluster = plan(CPU)["cluster"]
    assert cluster["privateClusterConfig"]["enablePrivateEndpoint"] is False
    assert cluster["masterAuthorizedNetworksConfig"] == {
        "cidrBlocks": [{"cidrBlock": "203.0.113.7/32"}],
        "gcpPublicCidrsAccessEnabled": False,
    }


def test_a_private_api_server_is_reached_from_inside_alone(plan: Callable[..., Planned]) -> None:
    cluster = plan(CPU, cluster={"endpoint": "private"})["cluster"]
    assert cluster["privateClusterConfig"]["enablePrivateEndpoint"] is True
    assert cluster["masterAuthorizedNetworksConfig"]["cidrBlocks"] == []


def test_gke_may_use_the_key_before_the_cluster_needs_it(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    assert planned["key-ring"] == {"location": "europe-west4"}  # no name: rings cannot be deleted
    assert planned["key"] == {"keyRing": "key-ring-id", "rotationPeriod": "7776000s", "labels": LABELS}
    assert planned["gke-agent"] == {"service": "container.googleapis.com"}
    assert planned["key-gke"] == {
        "cryptoKeyId": "key-id",
        "member": "serviceAccount:gke-agent",
        "role": "roles/cloudkms.cryptoKeyEncrypterDecrypter",
    }
    assert "key-gke" in planned.made["cluster"].dependencies


@pytest.mark.parametrize("protection", [True, False])
def test_resources_with_data_are_protected(plan: Callable[..., Planned], protection: bool) -> None:
    planned = plan(CPU, cluster={**CLUSTER, "deletion_protection": protection})
    assert planned["cluster"]["deletionProtection"] is protection
    assert planned["bucket"]["forceDestroy"] is not protection
    assert {n for n, m in planned.made.items() if m.protected} == ({"cluster", "bucket"} if protection else set())


def test_nodes_have_minimal_roles(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    member = "serviceAccount:headrace-prod-nodes@example-project.iam.gserviceaccount.com"
    grants = {name: m.inputs for name, m in planned.made.items() if m.inputs.get("member") == member}
    assert grants == {
        name: {"project": "example-project", "role": role, "member": member}
        for name, role in (
            ("node-defaults", "roles/container.defaultNodeServiceAccount"),
            ("node-images", "roles/artifactregistry.reader"),
        )
    }
    assert set(grants) <= planned.made["cluster"].dependencies


def test_pools_belong_to_the_cluster(plan: Callable[..., Planned]) -> None:
    planned = plan(L4, CPU)
    for name in ("pool-cpu", "pool-l4"):
        assert planned[name]["cluster"] == "headrace-prod"
        assert planned[name]["nodeConfig"]["resourceLabels"] == LABELS
        assert planned.made[name].deleted_with == "cluster"
    assert planned["pool-cpu"]["nodeCount"] == 1
    assert planned.made["pool-cpu"].ignored == []


def test_the_autoscaler_alone_says_how_many_nodes_there_are(plan: Callable[..., Planned]) -> None:
    planned = plan(L4, CPU)
    assert "nodeCount" not in planned["pool-l4"]
    assert planned.made["pool-l4"].ignored == ["nodeCount", "initialNodeCount"]


def test_nodes_with_gpus_come_after_others(plan: Callable[..., Planned]) -> None:
    """GKE taints them only where there are nodes without."""
    planned = plan(L4, CPU, {**CPU, "name": "more"})
    assert {"pool-cpu", "pool-more"} <= planned.made["pool-l4"].dependencies
    assert not {"pool-l4", "pool-more"} & planned.made["pool-cpu"].dependencies


def test_the_bucket_is_closed(plan: Callable[..., Planned]) -> None:
    assert plan(CPU)["bucket"] == {
        "name": BUCKET,
        "location": "europe-west4",
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "versioning": {"enabled": False},
        "softDeletePolicy": {"retentionDurationSeconds": 0},
        "lifecycleRules": [{"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 7}}],
        "forceDestroy": False,
        "labels": LABELS,
    }


def test_serving_pods_may_use_the_bucket_and_nothing_else(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    member = "serviceAccount:headrace-prod-pods@example-project.iam.gserviceaccount.com"
    assert planned["bucket-pods"] == {"bucket": BUCKET, "role": "roles/storage.objectUser", "member": member}
    grants = [n for n, m in planned.made.items() if m.inputs.get("member") == member]
    assert grants == ["bucket-pods"]
    for account in ("headrace", "headrace-jobs"):
        assert planned[f"identity-{account}"] == {
            "serviceAccountId": "projects/example-project/serviceAccounts/headrace-prod-pods",
            "role": "roles/iam.workloadIdentityUser",
            "member": f"serviceAccount:example-project.svc.id.goog[headrace/{account}]",
        }
        assert "cluster" in planned.made[f"identity-{account}"].dependencies
    assert planned.of("Key") == []


def test_the_cluster_outputs_what_the_stack_needs(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU, L4)
    handed = planned.provisioned
    assert planned.identifier == "cluster-id"
    assert handed.owner is handed.ready[0]
    assert {r.pulumi_resource_name for r in handed.ready} == {
        "cluster",
        "pool-cpu",
        "pool-l4",
        "bucket-pods",
        *(f"identity-{a}" for a in SERVICE_ACCOUNTS),
    }
    assert handed.storage_class == "standard-rwo"
    assert handed.data_uri == f"gs://{BUCKET}"
    assert handed.service_account_annotations == {
        "iam.gke.io/gcp-service-account": "headrace-prod-pods@example-project.iam.gserviceaccount.com"
    }
    assert handed.pod_labels == {}
    assert list(handed.identity) == [
        IdentityEndpoint("169.254.169.254/32", 80),
        IdentityEndpoint("169.254.169.254/32", 8080),
    ]
    assert handed.leftovers


def test_the_kubeconfig_is_secret_and_holds_no_credential(plan: Callable[..., Planned]) -> None:
    planned = plan(CPU)
    assert planned.kubeconfig_is_secret
    [user] = json.loads(planned.kubeconfig)["users"]
    assert list(user["user"]) == ["exec"]
    assert user["user"]["exec"]["command"] == "gke-gcloud-auth-plugin"
    [cluster] = json.loads(planned.kubeconfig)["clusters"]
    assert cluster["cluster"] == {"server": "https://192.0.2.1", "certificate-authority-data": "Q0E="}


def test_autopilot_gets_no_managed_settings(plan: Callable[..., Planned]) -> None:
    planned = plan(autopilot=True)
    cluster = planned["cluster"]
    assert cluster["enableAutopilot"] is True
    refused = {
        "addonsConfig",
        "datapathProvider",
        "enableShieldedNodes",
        "initialNodeCount",
        "monitoringConfig",
        "nodeConfig",
        "removeDefaultNodePool",
        "workloadIdentityConfig",
    }
    assert refused & set(cluster) == set()
    defaults = cluster["clusterAutoscaling"]["autoProvisioningDefaults"]
    assert defaults["serviceAccount"].startswith("headrace-prod-nodes@")
    assert cluster["databaseEncryption"]["state"] == "ENCRYPTED"
    assert planned.of("NodePool") == []
    cidrs = {peer["ipBlock"]["cidr"] for peer in planned.provisioned.dns if "ipBlock" in peer}
    assert cidrs == {"169.254.20.10/32", "169.254.169.254/32"}, "its DNS cache on every node cannot be disabled"
    assert "cluster" in {r.pulumi_resource_name for r in planned.provisioned.ready}


def test_two_stacks_share_a_project(plan: Callable[..., Planned]) -> None:
    """What has a name in the project has the stack's in it."""
    one, other = plan(CPU, stack="one"), plan(CPU, stack="other")
    for name in ("cluster", "network", "subnet", "router", "nat", "bucket"):
        assert one[name]["name"] != other[name]["name"], name
    for name in ("node-account", "pod-account"):
        assert one[name]["accountId"] != other[name]["accountId"]


def test_remaining_resources_are_listed_with_commands() -> None:
    words = "\n".join(leftovers(Gcp(project="example-project", region="europe-west4"), "headrace-prod"))
    for what in ("compute disks list", "forwarding-rules list", "network-endpoint-groups list", "firewall-rules list"):
        assert what in words
    assert words.count("--project example-project") == 4
    assert "ring" in words


def test_further_administrators_get_the_role_of_an_administrator(plan: Callable[..., Planned]) -> None:
    planned = plan(cluster={**CLUSTER, "admins": ["group:ops@example.com"]})
    [admin] = [name for name in planned.of("IAMMember") if name.startswith("admin-")]
    assert (planned[admin]["role"], planned[admin]["member"]) == ("roles/container.admin", "group:ops@example.com")
